#include "crypto/pre_proxy.h"

#include <sodium.h>

#include "base/checked.h"
#include "crypto/label.h"
#include "crypto/pre_proxy_test.h"
#include "crypto/wipe.h"

/* What a DLEQ proof is about; all public. */
struct dleq_claim {
    const struct file_ctx *ctx;
    const struct id16 *grant;
    const struct point *a_pub;
    const struct point *r;
    const struct point *w;
    const struct point *w1;
};

static int dleq_challenge(const struct dleq_claim *claim, const struct point *t1,
                          const struct point *t2, uint8_t out_c[32]);
static int point_minus(const struct point *p, const uint8_t c[32], const struct point *q,
                       struct point *out);

int pre_check_capsule(const struct capsule *capsule, const struct point *a_pub,
                      const struct file_ctx *ctx)
{
    struct point left;
    struct point right;
    struct point w;
    uint8_t h[32];

    if (pre_point_check(a_pub) < 0 || pre_scalar_check(capsule->s) < 0 ||
        pre_capsule_w(capsule, &w) < 0 ||
        pre_capsule_challenge(ctx, a_pub, &capsule->e, &capsule->v, h) < 0)
        return PHR_E_POINT;
    if (crypto_scalarmult_ristretto255(right.b, h, capsule->e.b) != 0 ||
        crypto_core_ristretto255_add(right.b, right.b, capsule->v.b) != 0 ||
        crypto_scalarmult_ristretto255_base(left.b, capsule->s) != 0)
        return PHR_E_POINT;
    return sodium_memcmp(left.b, right.b, sizeof left.b) == 0 ? 0 : PHR_E_SIGNATURE;
}

int pre_check_rk(const struct scalar *rk, const struct point *r)
{
    struct point found;

    if (pre_point_check(r) < 0 || pre_public(rk, &found) < 0)
        return PHR_E_POINT;
    return sodium_memcmp(found.b, r->b, sizeof found.b) == 0 ? 0 : PHR_E_POINT;
}

int pre_reencrypt(const struct scalar *rk, const struct point *w, struct point *out_w1)
{
    struct point w1;

    if (pre_scalar_check(rk->b) < 0)
        return PHR_E_POINT;
    /* Refuses what does not decode, and the identity as input and as result. */
    if (crypto_scalarmult_ristretto255(w1.b, rk->b, w->b) != 0)
        return PHR_E_POINT;
    *out_w1 = w1;
    sodium_stackzero(WIPE_STACK_BYTES);
    return 0;
}

int pre_prove(const struct scalar *rk, const struct file_ctx *ctx,
              const struct id16 *grant, const struct point *a_pub, const struct point *r,
              const struct point *w, const struct point *w1, struct dleq *out_proof)
{
    scoped(wipe_scalar) struct scalar k;

    pre_scalar_random(&k);
    return pre_prove_with(&k, rk, ctx, grant, a_pub, r, w, w1, out_proof);
}

int pre_prove_with(const struct scalar *k, const struct scalar *rk,
                   const struct file_ctx *ctx, const struct id16 *grant,
                   const struct point *a_pub, const struct point *r,
                   const struct point *w, const struct point *w1, struct dleq *out_proof)
{
    const struct dleq_claim claim = { ctx, grant, a_pub, r, w, w1 };
    scoped(wipe_scalar) struct scalar c_rk;
    struct dleq proof;
    struct point t1;
    struct point t2;
    int rc;

    if (pre_scalar_check(rk->b) < 0 ||
        crypto_scalarmult_ristretto255_base(t1.b, k->b) != 0 ||
        crypto_scalarmult_ristretto255(t2.b, k->b, w->b) != 0)
        return PHR_E_POINT;
    rc = dleq_challenge(&claim, &t1, &t2, proof.c);
    if (rc < 0)
        return rc;
    crypto_core_ristretto255_scalar_mul(c_rk.b, proof.c, rk->b);
    crypto_core_ristretto255_scalar_add(proof.z, k->b, c_rk.b);
    rc = pre_scalar_check(proof.z);
    if (rc < 0)
        return rc;
    *out_proof = proof;
    sodium_stackzero(WIPE_STACK_BYTES);
    return 0;
}

int pre_check_proof(const struct dleq *proof, const struct file_ctx *ctx,
                    const struct id16 *grant, const struct point *a_pub,
                    const struct point *r, const struct point *w, const struct point *w1)
{
    const struct dleq_claim claim = { ctx, grant, a_pub, r, w, w1 };
    struct point zg;
    struct point zw;
    struct point t1;
    struct point t2;
    uint8_t c[32];

    if (pre_scalar_check(proof->c) < 0 || pre_scalar_check(proof->z) < 0 ||
        pre_point_check(a_pub) < 0 || pre_point_check(r) < 0 || pre_point_check(w) < 0 ||
        pre_point_check(w1) < 0)
        return PHR_E_POINT;
    if (crypto_scalarmult_ristretto255_base(zg.b, proof->z) != 0 ||
        crypto_scalarmult_ristretto255(zw.b, proof->z, w->b) != 0 ||
        point_minus(&zg, proof->c, r, &t1) < 0 || point_minus(&zw, proof->c, w1, &t2) < 0)
        return PHR_E_POINT;
    if (dleq_challenge(&claim, &t1, &t2, c) < 0)
        return PHR_E_POINT;
    return sodium_memcmp(c, proof->c, sizeof c) == 0 ? 0 : PHR_E_SIGNATURE;
}

static int dleq_challenge(const struct dleq_claim *claim, const struct point *t1,
                          const struct point *t2, uint8_t out_c[32])
{
    uint8_t encoded[FILE_CTX_BYTES];
    struct view parts[] = {
        { encoded, sizeof encoded },
        { claim->grant->b, sizeof claim->grant->b },
        { claim->a_pub->b, sizeof claim->a_pub->b },
        { claim->r->b, sizeof claim->r->b },
        { claim->w->b, sizeof claim->w->b },
        { claim->w1->b, sizeof claim->w1->b },
        { t1->b, sizeof t1->b },
        { t2->b, sizeof t2->b },
    };

    file_ctx_encode(claim->ctx, encoded);
    return pre_hash_to_scalar(LABEL_PRE_DLEQ, parts, ARRAY_COUNT(parts), out_c);
}

/* p - c*q. A result of zero is fine to hash: no honest prover's k makes it. */
static int point_minus(const struct point *p, const uint8_t c[32], const struct point *q,
                       struct point *out)
{
    struct point cq;

    if (crypto_scalarmult_ristretto255(cq.b, c, q->b) != 0 ||
        crypto_core_ristretto255_sub(out->b, p->b, cq.b) != 0)
        return PHR_E_POINT;
    return 0;
}
