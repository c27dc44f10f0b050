/* What only the owner's secret a of a compartment-epoch can do. CRYPTO 2.1. */
#ifndef PHR_CRYPTO_PRE_OWNER_H
#define PHR_CRYPTO_PRE_OWNER_H

#include "crypto/pre.h"

/* Opens a capsule with a; PHR_E_SEAL when the commitment differs. out_kek in the arena. */
int pre_owner_decaps(const struct scalar *a, const struct file_ctx *ctx,
                     const struct capsule *capsule, const struct digest *commit,
                     struct symkey *out_kek) PHR_MUST_CHECK;

/* rk = a * d^-1 for reader key b_pub. out_rk in the arena. x is made and wiped inside. */
int pre_rekeygen(const struct scalar *a, const struct point *a_pub, const struct point *b_pub,
                 const struct grant_ctx *ctx, struct scalar *out_rk, struct point *out_x,
                 struct point *out_r) PHR_MUST_CHECK;

#endif
