/*
 * rk.keys: a random key per grant, under which srs.db holds the grant's re-encryption key. The
 * file is in no backup; a slot that is overwritten and fsynced takes the grant's key out of the world.
 *   "PHRFS-K2" padded to 32 bytes, then slots of 32 bytes; zeros: free.
 * One thread: the committer's.
 */
#ifndef PHR_SRS_RKSLOT_H
#define PHR_SRS_RKSLOT_H

#include "base/scope.h"
#include "phr/err.h"
#include "phr/types.h"

struct rkslot_file;

int rkslot_make(int dir_fd) PHR_MUST_CHECK; /* an empty file; 0 when there is one */
int rkslot_open(int dir_fd, struct rkslot_file **out_file) PHR_MUST_CHECK;
void rkslot_close(struct rkslot_file *f);
SCOPED_HANDLE(struct rkslot_file, rkslot_close)

/* A grant in the database uses this slot; all of them, before the first take. */
void rkslot_mark_used(struct rkslot_file *f, uint32_t slot);
/* Overwrites every slot that nobody marked: grants that ended in a crash. */
int rkslot_sweep(struct rkslot_file *f) PHR_MUST_CHECK;

/* A new random key in a free slot; not durable before rkslot_sync. out_key in the arena. */
int rkslot_take(struct rkslot_file *f, uint32_t *out_slot,
                struct symkey *out_key) PHR_MUST_CHECK;
/* PHR_E_SEAL: the file has no such slot; srs.db came from a backup, and this file is in none. */
int rkslot_load(const struct rkslot_file *f, uint32_t slot,
                struct symkey *out_key) PHR_MUST_CHECK;
/* Makes what was taken durable; nothing to do when nothing was. */
int rkslot_sync(struct rkslot_file *f) PHR_MUST_CHECK;
/* The transaction that took it was rolled back. */
void rkslot_give_back(struct rkslot_file *f, uint32_t slot);
/* Overwritten and fsynced when it returns 0. */
int rkslot_shred(struct rkslot_file *f, uint32_t slot) PHR_MUST_CHECK;

#endif
