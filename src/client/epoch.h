/* Giving a compartment a new key, step by step, each step derived from the ledger (CRYPTO 2.7). */
#ifndef PHR_CLIENT_EPOCH_H
#define PHR_CLIENT_EPOCH_H

#include "client/owner.h"

struct epoch_done {
    uint32_t class_count;  /* compartments that got a new epoch */
    uint64_t header_count; /* re-wrapped */
};
/* A revocation in the newest epoch, a held class, or an old epoch that is not retired. */
bool epoch_is_unfinished(const struct replica *r, const struct id16 *class_id);
/* Does what is left to do for one class, or for all of them; out_done adds up and may be NULL. */
int epoch_finish(struct phr_owner *o, const struct id16 *class_id,
                 struct epoch_done *out_done) PHR_MUST_CHECK;
int epoch_finish_all(struct phr_owner *o, struct epoch_done *out_done) PHR_MUST_CHECK;

#endif
