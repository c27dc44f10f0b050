/* A proof of possession with the caller's k: known answers only. */
#ifndef PHR_CRYPTO_POP_TEST_H
#define PHR_CRYPTO_POP_TEST_H

#include "crypto/pop.h"

int pop_prove_with(const struct scalar *k, const struct scalar *b,
                   const struct point *b_pub, struct view body,
                   struct pop *out_pop) PHR_MUST_CHECK;

#endif
