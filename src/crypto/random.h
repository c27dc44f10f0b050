/* Random bytes straight from libsodium; never through a seam of ours (STYLE 29). */
#ifndef PHR_CRYPTO_RANDOM_H
#define PHR_CRYPTO_RANDOM_H

#include "phr/types.h"

void random_fill(void *p, size_t n);
struct id16 random_id(void);

#endif
