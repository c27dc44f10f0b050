/* ReKeyGen with the caller's x: known answers only. */
#ifndef PHR_CRYPTO_PRE_OWNER_TEST_H
#define PHR_CRYPTO_PRE_OWNER_TEST_H

#include "crypto/pre_owner.h"

int pre_rekeygen_with(const struct scalar *x, const struct scalar *a,
                      const struct point *a_pub, const struct point *b_pub,
                      const struct grant_ctx *ctx, struct scalar *out_rk,
                      struct point *out_x, struct point *out_r) PHR_MUST_CHECK;

#endif
