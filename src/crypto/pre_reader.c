#include "crypto/pre_reader.h"

#include <sodium.h>

#include "crypto/pre_kem.h"
#include "crypto/wipe.h"

int pre_reader_grant_key(const struct scalar *b, const struct grant_ctx *ctx,
                         const struct point *a_pub, const struct point *b_pub,
                         const struct point *x, const struct point *r,
                         struct scalar *out_d)
{
    scoped(wipe_point) struct point shared;
    scoped(wipe_scalar) struct scalar d;
    struct point product;
    int rc;

    if (pre_scalar_check(b->b) < 0 || pre_point_check(a_pub) < 0 ||
        pre_point_check(b_pub) < 0 || pre_point_check(x) < 0 || pre_point_check(r) < 0)
        return PHR_E_POINT;
    if (crypto_scalarmult_ristretto255(shared.b, b->b, x->b) != 0)
        return PHR_E_POINT;
    rc = pre_kem_grant_scalar(ctx, a_pub, b_pub, x, &shared, &d);
    if (rc < 0)
        return rc;
    /* d*R = d*(a/d)*G: a grant whose R is another's, or for another epoch, is the owner's fault. */
    if (crypto_scalarmult_ristretto255(product.b, d.b, r->b) != 0 ||
        sodium_memcmp(product.b, a_pub->b, sizeof product.b) != 0)
        return PHR_E_POINT;
    *out_d = d;
    sodium_stackzero(WIPE_STACK_BYTES);
    return 0;
}

int pre_reader_decaps(const struct scalar *d, const struct file_ctx *ctx,
                      const struct point *a_pub, const struct capsule *capsule,
                      const struct point *w1, const struct digest *commit,
                      struct symkey *out_kek)
{
    scoped(wipe_point) struct point shared;
    int rc;

    if (pre_scalar_check(d->b) < 0 || pre_point_check(a_pub) < 0 ||
        pre_point_check(w1) < 0)
        return PHR_E_POINT;
    if (crypto_scalarmult_ristretto255(shared.b, d->b, w1->b) != 0)
        return PHR_E_POINT;
    rc = pre_kem_open(&shared, ctx, a_pub, capsule, commit, out_kek);
    sodium_stackzero(WIPE_STACK_BYTES);
    return rc;
}
