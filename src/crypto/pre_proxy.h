/* What the SRS and any auditor can do without a secret of a person. CRYPTO 2.1. */
#ifndef PHR_CRYPTO_PRE_PROXY_H
#define PHR_CRYPTO_PRE_PROXY_H

#include "crypto/pre.h"

/* The Schnorr proof of a capsule, bound to its file context. PHR_E_POINT or PHR_E_SIGNATURE. */
int pre_check_capsule(const struct capsule *capsule, const struct point *a_pub,
                      const struct file_ctx *ctx) PHR_MUST_CHECK;
/* R == rk*G, rk canonical and not zero: at ingest of a grant. */
int pre_check_rk(const struct scalar *rk, const struct point *r) PHR_MUST_CHECK;
/* W1 = rk*W. */
int pre_reencrypt(const struct scalar *rk, const struct point *w, struct point *out_w1) PHR_MUST_CHECK;
/* On demand: proof that W1 = rk*W for the rk behind R. */
int pre_prove(const struct scalar *rk, const struct file_ctx *ctx, const struct id16 *grant,
              const struct point *a_pub, const struct point *r, const struct point *w,
              const struct point *w1, struct dleq *out_proof) PHR_MUST_CHECK;
int pre_check_proof(const struct dleq *proof, const struct file_ctx *ctx,
                    const struct id16 *grant, const struct point *a_pub, const struct point *r,
                    const struct point *w, const struct point *w1) PHR_MUST_CHECK;

#endif
