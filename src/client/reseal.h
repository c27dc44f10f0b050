/* All names and attributes of a compartment under a new key (EPOCH-3). */
#ifndef PHR_CLIENT_RESEAL_H
#define PHR_CLIENT_RESEAL_H

#include "client/owner.h"

/*
 * Opens every live dentry and inode with was's keys, seals it with now's, and stores them as one
 * object through phrd. Ids and versions stay. Nothing but ciphertext leaves this process.
 */
int reseal_namespace(struct phr_owner *o, const struct compartment *was,
                     const struct compartment *now, struct digest *out_id) PHR_MUST_CHECK;

#endif
