#include "crypto/pre_owner.h"

#include <sodium.h>

#include "crypto/pre_kem.h"
#include "crypto/pre_owner_test.h"
#include "crypto/wipe.h"

int pre_owner_decaps(const struct scalar *a, const struct file_ctx *ctx,
                     const struct capsule *capsule, const struct digest *commit,
                     struct symkey *out_kek)
{
    scoped(wipe_point) struct point shared;
    struct point w;
    struct point a_pub;
    int rc = pre_public(a, &a_pub); /* also checks a */

    if (rc < 0)
        return rc;
    rc = pre_capsule_w(capsule, &w);
    if (rc < 0)
        return rc;
    if (crypto_scalarmult_ristretto255(shared.b, a->b, w.b) != 0)
        return PHR_E_POINT;
    rc = pre_kem_open(&shared, ctx, &a_pub, capsule, commit, out_kek);
    sodium_stackzero(WIPE_STACK_BYTES);
    return rc;
}

int pre_rekeygen(const struct scalar *a, const struct point *a_pub,
                 const struct point *b_pub, const struct grant_ctx *ctx,
                 struct scalar *out_rk, struct point *out_x, struct point *out_r)
{
    scoped(
        wipe_scalar) struct scalar x; /* x and rk together give a: fresh, wiped at once */

    pre_scalar_random(&x);
    return pre_rekeygen_with(&x, a, a_pub, b_pub, ctx, out_rk, out_x, out_r);
}

int pre_rekeygen_with(const struct scalar *x, const struct scalar *a,
                      const struct point *a_pub, const struct point *b_pub,
                      const struct grant_ctx *ctx, struct scalar *out_rk,
                      struct point *out_x, struct point *out_r)
{
    scoped(wipe_point) struct point shared;
    scoped(wipe_scalar) struct scalar d;
    scoped(wipe_scalar) struct scalar inverse;
    scoped(wipe_scalar) struct scalar rk;
    struct point x_pub;
    struct point r;
    int rc;

    if (pre_scalar_check(a->b) < 0 || pre_point_check(a_pub) < 0 ||
        pre_point_check(b_pub) < 0)
        return PHR_E_POINT;
    if (crypto_scalarmult_ristretto255_base(x_pub.b, x->b) != 0 ||
        crypto_scalarmult_ristretto255(shared.b, x->b, b_pub->b) != 0)
        return PHR_E_POINT;
    rc = pre_kem_grant_scalar(ctx, a_pub, b_pub, &x_pub, &shared,
                              &d); /* canonical, not zero */
    if (rc < 0)
        return rc;
    if (crypto_core_ristretto255_scalar_invert(inverse.b, d.b) != 0)
        return PHR_E_POINT;
    crypto_core_ristretto255_scalar_mul(rk.b, a->b, inverse.b);
    if (crypto_scalarmult_ristretto255_base(r.b, rk.b) != 0)
        return PHR_E_POINT;
    *out_rk = rk;
    *out_x = x_pub;
    *out_r = r;
    sodium_stackzero(WIPE_STACK_BYTES);
    return 0;
}
