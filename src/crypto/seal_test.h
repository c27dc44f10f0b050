/* Sealing with the caller's e: known answers only. */
#ifndef PHR_CRYPTO_SEAL_TEST_H
#define PHR_CRYPTO_SEAL_TEST_H

#include "crypto/seal.h"

int seal_to_with(const struct scalar *e, const struct point *to, struct view aad,
                 struct view message, struct span out) PHR_MUST_CHECK;

#endif
