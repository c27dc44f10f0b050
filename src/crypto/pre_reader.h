/* What a reader's secret b does with a grant and the SRS's answer. CRYPTO 2.1. */
#ifndef PHR_CRYPTO_PRE_READER_H
#define PHR_CRYPTO_PRE_READER_H

#include "crypto/pre.h"

/*
 * d of a grant, once: also checks d*R == A (PHR_E_GRANT is PHR_E_POINT here). Keep out_d in
 * the arena for the life of the grant.
 */
int pre_reader_grant_key(const struct scalar *b, const struct grant_ctx *ctx,
                         const struct point *a_pub, const struct point *b_pub,
                         const struct point *x, const struct point *r,
                         struct scalar *out_d) PHR_MUST_CHECK;

/* PHR_E_SEAL when the commitment differs (then ask the SRS for its DLEQ proof). */
int pre_reader_decaps(const struct scalar *d, const struct file_ctx *ctx,
                      const struct point *a_pub, const struct capsule *capsule,
                      const struct point *w1, const struct digest *commit,
                      struct symkey *out_kek) PHR_MUST_CHECK;

#endif
