/*
 * Local changes that no longer fit the ledger (DESIGN 7): taken back to what the ledger says,
 * then made anew on what it says now, signed by who made them.
 */
#ifndef PHR_VAULT_REBASE_H
#define PHR_VAULT_REBASE_H

#include "vault/vault_state.h"

/* In the caller's transaction: every local change of the patient is parked, its ops are dropped. */
int rebase_unwind(struct vault *v, const struct id16 *patient) PHR_MUST_CHECK;
/*
 * A transaction of its own: parked changes of identities that are logged in are made anew. What
 * cannot be (logged out, no names key yet, no right any more) stays parked.
 */
int rebase_redo(struct vault *v, const struct id16 *patient) PHR_MUST_CHECK;
int rebase_redo_all(struct vault *v) PHR_MUST_CHECK;

#endif
