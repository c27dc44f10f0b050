/*
 * The store: vault/data/ as a whole. Numbers of containers, room on the disk, freeing in the
 * background, the sweep for what nobody refers to. Bytes only; containers one by one are in
 * container.h, the crash story in README.md.
 */
#ifndef PHR_STORE_STORE_H
#define PHR_STORE_STORE_H

#include "base/scope.h"
#include "phr/err.h"
#include "phr/types.h"

struct store;

/* Opens data/ below vault_fd (made when missing), finds the highest number, starts the freeing
   thread. floor_bytes of free space are kept (S-7). */
int store_open(int vault_fd, uint64_t floor_bytes, struct store **out_store) PHR_MUST_CHECK;
/* Finishes what store_free was told; NULL is fine. */
void store_close(struct store *s);

/* -ENOSPC when writing that much would pass the floor. From memory, refreshed every 100 ms. */
int store_check_room(struct store *s, uint64_t bytes) PHR_MUST_CHECK;
bool store_is_low(struct store *s);
/* Bytes above the floor, as they are now; negative below it. */
int64_t store_get_room(struct store *s);

/* Number of the next container: all existing ones are below it. */
uint64_t store_get_next(struct store *s);
/* Numbers below this one are taken, whether or not their containers are there. */
void store_skip(struct store *s, uint64_t below);

/*
 * Nothing refers to it any more and what says so is durable: unlinked by the background
 * thread. A punch frees a part of a container (a pack, the old strip of a short segment).
 */
void store_free(struct store *s, uint64_t container);
void store_free_part(struct store *s, uint64_t container, uint64_t offset, uint64_t len);
/* Waits until everything freed so far is gone (tests, close). */
void store_free_wait(struct store *s);

/*
 * Unlinks containers numbered [from, below) that is_used denies: what a crash left between
 * making a container and committing the row that names it. It is asked about files: of packs
 * (container_file), not of what lies in them.
 */
int store_sweep(struct store *s, uint64_t from, uint64_t below,
                bool (*is_used)(void *user, uint64_t container), void *user) PHR_MUST_CHECK;

SCOPED_HANDLE(struct store, store_close)

#endif
