/* Secrets on the stack, wiped by scope; inside crypto/ only (STYLE 27). */
#ifndef PHR_CRYPTO_WIPE_H
#define PHR_CRYPTO_WIPE_H

#include <sodium.h>

#include "base/scope.h"
#include "phr/types.h"

/* What the group operations of libsodium may leave below our frames. */
enum { WIPE_STACK_BYTES = 16384 };

struct wipe64 {
    uint8_t b[64];
};

static inline void wipe_scalar_scope(struct scalar *s)
{
    sodium_memzero(s, sizeof *s);
}

static inline void wipe_symkey_scope(struct symkey *k)
{
    sodium_memzero(k, sizeof *k);
}

/* A point that is secret: the shared element of a key agreement. */
static inline void wipe_point_scope(struct point *p)
{
    sodium_memzero(p, sizeof *p);
}

static inline void wipe_wide_scope(struct wipe64 *w)
{
    sodium_memzero(w, sizeof *w);
}

#endif
