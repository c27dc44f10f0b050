/* Ed25519 by libsodium (strict: small-order keys and S >= L are refused). RFC 8032. */
#ifndef PHR_CRYPTO_SIGN_H
#define PHR_CRYPTO_SIGN_H

#include "phr/err.h"
#include "phr/types.h"

struct sign_key; /* SECRET, in the arena: 64 bytes (seed || public key) */

/* A new random key; NULL when the arena is full. */
struct sign_key *sign_key_new(void) PHR_MUST_CHECK;
/* From a 32-byte seed in the arena; NULL when the arena is full. */
struct sign_key *sign_key_from_seed(const struct symkey *seed) PHR_MUST_CHECK;
void sign_key_free(struct sign_key *k);
void sign_key_seed(const struct sign_key *k, struct symkey *out_seed);
struct verify_key sign_key_public(const struct sign_key *k);
/* Signs label || 0x00 || h, the only shape that we sign but receipts and notes. */
struct signature sign_labelled(const struct sign_key *k, const char *label, const struct digest *h);
int sign_check_labelled(const struct verify_key *pk, const char *label, const struct digest *h,
                        const struct signature *sig) PHR_MUST_CHECK; /* PHR_E_SIGNATURE */
/* Raw message: checkpoints (signed notes). */
struct signature sign_bytes(const struct sign_key *k, struct view message);
int sign_check_bytes(const struct verify_key *pk, struct view message,
                     const struct signature *sig) PHR_MUST_CHECK;

#include "base/scope.h"
SCOPED_HANDLE(struct sign_key, sign_key_free)

#endif
