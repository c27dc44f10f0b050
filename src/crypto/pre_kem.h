/* Inside the people's side of crypto: what Encaps and both Decaps share. CRYPTO 2.1. */
#ifndef PHR_CRYPTO_PRE_KEM_H
#define PHR_CRYPTO_PRE_KEM_H

#include "crypto/pre.h"

/* kek and commitment from the shared point K = encode((r+u)*A). */
void pre_kem_derive(const struct point *shared, const struct file_ctx *ctx,
                    const struct point *a_pub, const struct capsule *capsule,
                    struct symkey *out_kek, struct digest *out_commit);
/* The same, and the commitment must be the header's: PHR_E_SEAL. */
int pre_kem_open(const struct point *shared, const struct file_ctx *ctx,
                 const struct point *a_pub, const struct capsule *capsule,
                 const struct digest *commit, struct symkey *out_kek) PHR_MUST_CHECK;
/* d of a grant from the shared point xB = bX. */
int pre_kem_grant_scalar(const struct grant_ctx *ctx, const struct point *a_pub,
                         const struct point *b_pub, const struct point *x,
                         const struct point *shared, struct scalar *out_d) PHR_MUST_CHECK;

#endif
