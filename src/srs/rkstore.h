/*
 * Re-encryption keys in srs.db, each under the key of its slot in rk.keys. RK-1: where the slot is
 * overwritten, what the database (or a backup of it) holds is dead.
 */
#ifndef PHR_SRS_RKSTORE_H
#define PHR_SRS_RKSTORE_H

#include "srs/rkslot.h"
#include "srs/srs_state.h"

/* Takes a slot; rk is in the arena. */
int rkstore_put(const struct srs_state *s, struct rkslot_file *slots,
                const struct grant *grant, const struct scalar *rk,
                uint32_t *out_slot) PHR_MUST_CHECK;
/* out_rk in the arena; PHR_E_SEAL when the slot's key is another or gone. Only where g->has_key. */
int rkstore_load(const struct rkslot_file *slots, const struct srs_grant *g,
                 struct scalar *out_rk) PHR_MUST_CHECK;
/* Forgets the box; *out_had: out_slot is to be shredded after the commit. */
int rkstore_drop(const struct srs_state *s, const struct id16 *grant, bool *out_had,
                 uint32_t *out_slot) PHR_MUST_CHECK;
/* Some grant of this class-epoch that still has a key; -ENOENT. */
int rkstore_find(const struct srs_state *s, const struct class_ctx *ctx,
                 struct id16 *out_grant) PHR_MUST_CHECK;
/* Marks every slot that a grant uses. */
int rkstore_mark_slots(const struct srs_state *s,
                       struct rkslot_file *slots) PHR_MUST_CHECK;

#endif
