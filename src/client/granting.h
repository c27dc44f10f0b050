/* One grant: the re-encryption key, sealed to the SRS, and the signed record (CRYPTO 2.1, 2.6). */
#ifndef PHR_CLIENT_GRANTING_H
#define PHR_CLIENT_GRANTING_H

#include "client/owner.h"

/*
 * Adds a grant change and its sealed rk to the draft, for the epoch of keys. Of like: reader
 * and card, B, rights, times, opens, purpose and policy; id and keys are new.
 */
int granting_add(struct phr_owner *o, const struct compartment *keys,
                 const struct grant *like, struct draft *d) PHR_MUST_CHECK;

#endif
