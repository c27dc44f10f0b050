/* Proof of possession of a KEM key, bound to a card's body (CRYPTO 2.6). */
#ifndef PHR_CRYPTO_POP_H
#define PHR_CRYPTO_POP_H

#include "phr/err.h"
#include "phr/types.h"

struct pop {
    uint8_t c[32];
    uint8_t z[32];
};

int pop_prove(const struct scalar *b, const struct point *b_pub, struct view body,
              struct pop *out_pop) PHR_MUST_CHECK;
int pop_check(const struct pop *pop, const struct point *b_pub, struct view body) PHR_MUST_CHECK;

#endif
