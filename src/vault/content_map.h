/*
 * What an overlay level holds, in memory: block -> where its newest bytes are, and the ranges
 * that read as zeros. A level answers for a block when it has either; a slot wins over a range.
 */
#ifndef PHR_VAULT_CONTENT_MAP_H
#define PHR_VAULT_CONTENT_MAP_H

#include "format/overlay.h"
#include "phr/err.h"

enum { MAP_SLOTS_SEAL = 262144 }; /* more: the file is sealed, which merges them */

enum map_place { MAP_FREE = 0, MAP_ON_DISK = 1, MAP_PENDING = 2 };
struct map_slot {
    uint64_t block;
    uint32_t page;  /* of the container; pending: number of the data block in its group */
    uint32_t group; /* part of the aad */
    uint16_t len;   /* 1..BLOCK_BYTES */
    uint8_t place;
    uint8_t nonce[AEAD_XCHACHA_NONCE_BYTES];
    uint8_t tag[AEAD_TAG_BYTES];
};

struct block_range {
    uint64_t from;
    uint64_t to; /* first block behind it */
};

struct block_map {
    struct map_slot *slots; /* count of them, in any order */
    size_t slot_room;
    uint32_t *index; /* 1 + number of the slot; 0: free */
    size_t room;     /* of the index: a power of two, or 0 */
    size_t count;
    struct block_range *holes; /* sorted, apart from each other */
    size_t hole_count;
    size_t hole_room;
};

void map_fini(struct block_map *m);
const struct map_slot *map_find(const struct block_map *m, uint64_t block);
/* Replaces; s->place is not MAP_FREE. */
int map_put(struct block_map *m, const struct map_slot *s) PHR_MUST_CHECK;
/* Forgets slots in the range and notes it as zeros. */
int map_zero(struct block_map *m, uint64_t from, uint64_t to) PHR_MUST_CHECK;
bool map_is_zero(const struct block_map *m, uint64_t block);
/* A slot or a zero range lies in [from, to). */
bool map_touches(const struct block_map *m, uint64_t from, uint64_t to);
/* First block >= from of [from, to) for which this level answers; `to` when none. */
uint64_t map_next(const struct block_map *m, uint64_t from, uint64_t to);
/* The block behind the last slot; 0: no slot. */
uint64_t map_end(const struct block_map *m);
bool map_is_empty(const struct block_map *m);

#endif
