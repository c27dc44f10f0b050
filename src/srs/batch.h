/*
 * What a batch of the committer leaves to be done outside the database: announced entries, slots
 * to overwrite, slots that were taken. Undone together with the transaction, or to a mark.
 */
#ifndef PHR_SRS_BATCH_H
#define PHR_SRS_BATCH_H

#include "audit/tree.h"
#include "base/cursor.h"

struct srs;

struct batch_entry {
    struct id16 patient;
    uint64_t seq;
    uint8_t *bytes;
    size_t n;
};
struct batch_slots {
    uint32_t *p;
    size_t count;
    size_t room;
};
struct batch {
    struct batch_entry *entries;
    size_t entry_count;
    size_t entry_room;
    struct batch_slots taken;
    struct batch_slots to_shred;
    uint8_t *note; /* newest checkpoint signed in this batch */
    size_t note_bytes;
    uint64_t note_size;
};
/* Where a savepoint was: tree and lists of then. */
struct batch_mark {
    struct tree tree;
    size_t entry_count;
    size_t taken_count;
    size_t to_shred_count;
};

/* Opens a savepoint in the database as well. */
int batch_mark(struct srs *s, struct batch_mark *out_mark) PHR_MUST_CHECK;
int batch_keep(struct srs *s) PHR_MUST_CHECK;
int batch_undo(struct srs *s, const struct batch_mark *mark) PHR_MUST_CHECK;
/* Where a whole batch begins, without a savepoint; and back to it when its transaction failed. */
struct batch_mark batch_start(const struct srs *s);
void batch_undo_all(struct srs *s, const struct batch_mark *start);

int batch_add_entry(struct srs *s, const struct id16 *patient, uint64_t seq,
                    struct view bytes) PHR_MUST_CHECK;
int batch_add_taken(struct srs *s, uint32_t slot) PHR_MUST_CHECK;
int batch_add_to_shred(struct srs *s, uint32_t slot) PHR_MUST_CHECK;
int batch_set_note(struct srs *s, uint64_t size, struct view note) PHR_MUST_CHECK;

/* After the commit: overwrites what is to be; what cannot be stays for the next time. */
void batch_shred(struct srs *s);
/* Takes entries and note out, so that callbacks may start a batch of their own. */
struct batch batch_take_news(struct srs *s);
void batch_fini(struct batch *b);

#endif
