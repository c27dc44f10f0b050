#include "crypto/pre_writer.h"

#include <sodium.h>
#include <string.h>

#include "crypto/pre_kem.h"
#include "crypto/pre_writer_test.h"
#include "crypto/wipe.h"

static int capsule_make(const struct scalar *r, const struct scalar *u,
                        const struct point *a, const struct file_ctx *ctx,
                        struct capsule *out_capsule);

int pre_encaps(const struct point *a, const struct file_ctx *ctx,
               struct capsule *out_capsule, struct symkey *out_kek,
               struct digest *out_commit)
{
    scoped(wipe_scalar) struct scalar r;
    scoped(wipe_scalar) struct scalar u;
    scoped(wipe_scalar) struct scalar sum;

    do { /* r + u = 0 once in 2^252 */
        pre_scalar_random(&r);
        pre_scalar_random(&u);
        crypto_core_ristretto255_scalar_add(sum.b, r.b, u.b);
    } while (sodium_is_zero(sum.b, sizeof sum.b) == 1);
    return pre_encaps_with(&r, &u, a, ctx, out_capsule, out_kek, out_commit);
}

int pre_encaps_with(const struct scalar *r, const struct scalar *u, const struct point *a,
                    const struct file_ctx *ctx, struct capsule *out_capsule,
                    struct symkey *out_kek, struct digest *out_commit)
{
    scoped(wipe_scalar) struct scalar sum;
    scoped(wipe_point) struct point shared;
    struct capsule c;
    int rc = pre_point_check(a);

    if (rc < 0)
        return rc;
    crypto_core_ristretto255_scalar_add(sum.b, r->b, u->b);
    rc = pre_scalar_check(sum.b); /* not zero, so W = (r+u)G is not the identity */
    if (rc < 0)
        return rc;
    rc = capsule_make(r, u, a, ctx, &c);
    if (rc < 0)
        return rc;
    if (crypto_scalarmult_ristretto255(shared.b, sum.b, a->b) != 0)
        return PHR_E_POINT;
    pre_kem_derive(&shared, ctx, a, &c, out_kek, out_commit);
    *out_capsule = c;
    sodium_stackzero(WIPE_STACK_BYTES);
    return 0;
}

/* E = rG, V = uG and the Schnorr proof s = u + r*h over the context. */
static int capsule_make(const struct scalar *r, const struct scalar *u,
                        const struct point *a, const struct file_ctx *ctx,
                        struct capsule *out_capsule)
{
    scoped(wipe_scalar) struct scalar rh;
    struct capsule c;
    uint8_t h[32];
    int rc;

    if (crypto_scalarmult_ristretto255_base(c.e.b, r->b) != 0 ||
        crypto_scalarmult_ristretto255_base(c.v.b, u->b) != 0)
        return PHR_E_POINT;
    rc = pre_capsule_challenge(ctx, a, &c.e, &c.v, h);
    if (rc < 0)
        return rc;
    crypto_core_ristretto255_scalar_mul(rh.b, r->b, h);
    crypto_core_ristretto255_scalar_add(c.s, u->b, rh.b);
    rc = pre_scalar_check(c.s);
    if (rc < 0)
        return rc;
    *out_capsule = c;
    return 0;
}
