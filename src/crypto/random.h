/* Random bytes straight from libsodium; never through a seam of ours (STYLE 29). */
#ifndef PHR_CRYPTO_RANDOM_H
#define PHR_CRYPTO_RANDOM_H

#include "phr/types.h"

void random_fill(void *p, size_t n);
struct id16 random_id(void);
/*
 * The same, but behind the ids of earlier seconds in the order of bytes: what was made together lies
 * together in every index, however many others there are. It tells the second, which the op that
 * carries it tells too. Whoever hashes ids takes the last bytes: 11 are random.
 */
struct id16 random_id_rising(void);

#endif
