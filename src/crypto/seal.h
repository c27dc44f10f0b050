/* Sealing to a public key (CRYPTO 2.2): Ee(32) || commitment(32) || AES-256-GCM ct || tag16. */
#ifndef PHR_CRYPTO_SEAL_H
#define PHR_CRYPTO_SEAL_H

#include "phr/err.h"
#include "phr/types.h"

enum { SEAL_EXTRA_BYTES = 32 + 32 + 16 };

/* out.n must be message.n + SEAL_EXTRA_BYTES. PHR_E_POINT when to is not a valid key. */
int seal_to(const struct point *to, struct view aad, struct view message,
            struct span out) PHR_MUST_CHECK;
/* out.n must be sealed.n - SEAL_EXTRA_BYTES; PHR_E_SEAL for every failure, out wiped. */
int seal_open(const struct scalar *secret, struct view aad, struct view sealed,
              struct span out) PHR_MUST_CHECK;

#endif
