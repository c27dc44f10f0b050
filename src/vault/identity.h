/* Making an identity of a keyring: what login does before anything is bound. */
#ifndef PHR_VAULT_IDENTITY_H
#define PHR_VAULT_IDENTITY_H

#include "vault/session.h"

/*
 * Takes the keyring. Checks its card, its anchors against the realm's and its pins against the
 * ledger as applied; loads or makes the local key. Under the names lock.
 */
int identity_new(struct vault *v, struct keyring *take, struct identity **out_id) PHR_MUST_CHECK;
void identity_free(struct identity *id); /* wipes; NULL is fine */

#endif
