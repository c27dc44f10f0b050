#include "crypto/pop.h"

#include <sodium.h>

#include "base/checked.h"
#include "crypto/label.h"
#include "crypto/pop_test.h"
#include "crypto/pre.h"
#include "crypto/wipe.h"

static int pop_challenge(struct view body, const struct point *b_pub,
                         const struct point *t, uint8_t out_c[32]);

int pop_prove(const struct scalar *b, const struct point *b_pub, struct view body,
              struct pop *out_pop)
{
    scoped(wipe_scalar) struct scalar k;

    pre_scalar_random(&k);
    return pop_prove_with(&k, b, b_pub, body, out_pop);
}

int pop_prove_with(const struct scalar *k, const struct scalar *b,
                   const struct point *b_pub, struct view body, struct pop *out_pop)
{
    scoped(wipe_scalar) struct scalar cb;
    struct point t;
    struct pop pop;
    int rc;

    if (pre_scalar_check(b->b) < 0 || pre_point_check(b_pub) < 0 ||
        crypto_scalarmult_ristretto255_base(t.b, k->b) != 0)
        return PHR_E_POINT;
    rc = pop_challenge(body, b_pub, &t, pop.c);
    if (rc < 0)
        return rc;
    crypto_core_ristretto255_scalar_mul(cb.b, pop.c, b->b);
    crypto_core_ristretto255_scalar_add(pop.z, k->b, cb.b);
    rc = pre_scalar_check(pop.z);
    if (rc < 0)
        return rc;
    *out_pop = pop;
    sodium_stackzero(WIPE_STACK_BYTES);
    return 0;
}

int pop_check(const struct pop *pop, const struct point *b_pub, struct view body)
{
    struct point zg;
    struct point cb;
    struct point t;
    uint8_t c[32];

    if (pre_point_check(b_pub) < 0 || pre_scalar_check(pop->c) < 0 ||
        pre_scalar_check(pop->z) < 0)
        return PHR_E_POINT;
    if (crypto_scalarmult_ristretto255_base(zg.b, pop->z) != 0 ||
        crypto_scalarmult_ristretto255(cb.b, pop->c, b_pub->b) != 0 ||
        crypto_core_ristretto255_sub(t.b, zg.b, cb.b) != 0)
        return PHR_E_POINT;
    if (pop_challenge(body, b_pub, &t, c) < 0)
        return PHR_E_POINT;
    return sodium_memcmp(c, pop->c, sizeof c) == 0 ? 0 : PHR_E_SIGNATURE;
}

static int pop_challenge(struct view body, const struct point *b_pub,
                         const struct point *t, uint8_t out_c[32])
{
    struct view parts[] = {
        body,
        { b_pub->b, sizeof b_pub->b },
        { t->b, sizeof t->b },
    };

    return pre_hash_to_scalar(LABEL_POP, parts, ARRAY_COUNT(parts), out_c);
}
