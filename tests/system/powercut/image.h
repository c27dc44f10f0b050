/*
 * What a disk may hold after a power cut, built from the journal of recfs.
 *
 * The model is that of POSIX, stricter than any one file system: fsync of a file makes its bytes
 * and size certain, fsync of a directory its names. Of what came later each sector is as it was
 * at some moment since, sizes the same, and of each directory's changes a prefix.
 */
#ifndef PHR_TESTS_SYSTEM_POWERCUT_IMAGE_H
#define PHR_TESTS_SYSTEM_POWERCUT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum image_variant {
    IMAGE_DROP,     /* what was not synced is gone */
    IMAGE_KEEP,     /* all of it is there */
    IMAGE_SIZES,    /* names and sizes, no bytes */
    IMAGE_TORN_512, /* each file up to some change, that one by sectors of 512 bytes */
    IMAGE_TORN_4K,
    IMAGE_MIXED,    /* each page of some moment */
    IMAGE_FILES,    /* some files whole, others as synced */
    IMAGE_VARIANTS
};
extern const char *const image_variant_names[IMAGE_VARIANTS];

struct images;

struct images *images_open(const char *journal);
/* Records so far; the next call of images_step reads the one of this number. */
uint64_t images_position(const struct images *s);
/* Takes one record in; false at the end of the journal. */
bool images_step(struct images *s);
/* The record to come is a sync of something below dir ("/vault"). */
bool images_is_boundary(const struct images *s, const char *dir);
/* Changes below dir that are not synced. */
size_t images_pending(const struct images *s, const char *dir);
/* Writes one of the possible disks below target, for every top folder in the list. */
void images_write(struct images *s, enum image_variant variant, uint64_t seed,
                  const char *const *tops, const char *target);

#endif
