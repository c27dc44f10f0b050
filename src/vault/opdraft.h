/* Changes of metadata until an op holds them: kept with their rows, signed in batches before a push. */
#ifndef PHR_VAULT_OPDRAFT_H
#define PHR_VAULT_OPDRAFT_H

#include "format/op.h"
#include "vault/session.h"

/* Stores the changes, all of this class-epoch, for this identity to sign: in the caller's transaction. */
int opdraft_add(struct vault *v, const struct identity *id, const struct class_ctx *ctx,
              const struct change *changes, size_t count) PHR_MUST_CHECK;
/*
 * Ops out of a patient's drafts, in their order; those of writers who are logged out stay.
 * OPDRAFT_SINGLE: an op for each, so that one that does not fit takes no others along.
 */
enum opdraft_sign_flags { OPDRAFT_MERGED = 0, OPDRAFT_SINGLE = 1 };
int opdraft_sign(struct vault *v, const struct id16 *patient, enum opdraft_sign_flags flags) PHR_MUST_CHECK;
/* Of all patients: in one order, so whoever leaves has all signed that can be. */
int opdraft_sign_all(struct vault *v) PHR_MUST_CHECK;

#endif
