/* The DLEQ proof with the caller's k: known answers only. */
#ifndef PHR_CRYPTO_PRE_PROXY_TEST_H
#define PHR_CRYPTO_PRE_PROXY_TEST_H

#include "crypto/pre_proxy.h"

int pre_prove_with(const struct scalar *k, const struct scalar *rk,
                   const struct file_ctx *ctx, const struct id16 *grant,
                   const struct point *a_pub, const struct point *r,
                   const struct point *w, const struct point *w1,
                   struct dleq *out_proof) PHR_MUST_CHECK;

#endif
