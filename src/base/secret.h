/*
 * The arena of locked memory in which every key lives.
 *
 * One sodium_malloc block, taken at start and checked to be really locked (libsodium does
 * not report a failed mlock); slots of 64 bytes, wiped on release. Larger secrets
 * (passphrases, a keyring's body) take several slots in a row.
 *
 * Threads: all functions may be called from any thread after secret_arena_open().
 */
#ifndef PHR_BASE_SECRET_H
#define PHR_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/scope.h"
#include "phr/err.h"

enum { SECRET_SLOT_BYTES = 64, SECRET_ARENA_BYTES = 1024 * 1024 };

/*
 * Once, before any secret. Also runs sodium_init and forbids core files and tracing.
 * Errors: PHR_E_MEMLOCK when the block cannot be locked.
 */
int secret_arena_open(void) PHR_MUST_CHECK;

/* Zeroed locked memory for n bytes, or NULL when the arena is full. */
void *secret_alloc(size_t n) PHR_MUST_CHECK;

/* Wipes and releases; NULL is fine. p must come from secret_alloc. */
void secret_free(void *p);

/* How many bytes are handed out (tests look for leaks). */
size_t secret_used_bytes(void);

/* Wipe a buffer that is not in the arena (stack inside crypto/, record plaintext). */
void secret_wipe(void *p, size_t n);
/* In a time that tells nothing of the bytes. */
bool secret_equal(const void *a, const void *b, size_t n);

static inline void secret_free_scope(void *slot)
{
    void **p = (void **)slot;

    secret_free(*p);
    *p = NULL;
}

#endif
