#include "base/secret.h"

#include <pthread.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/checked.h"

enum { SLOT_COUNT = SECRET_ARENA_BYTES / SECRET_SLOT_BYTES };

/*
 * The one place where a process keeps its keys; a global because the arena has the life of
 * the process and every module borrows from it.
 */
static struct {
    pthread_mutex_t lock;
    uint8_t *base;             /* fixed after open */
    uint16_t run[SLOT_COUNT];  /* lock; slots of the allocation that starts here, or 0 */
    uint8_t taken[SLOT_COUNT]; /* lock */
    size_t next;               /* lock; where the search goes on */
    size_t used_slots;         /* lock */
} arena = { .lock = PTHREAD_MUTEX_INITIALIZER };

int secret_arena_open(void)
{
    struct rlimit none = { 0, 0 };
    struct rlimit lim;

    if (arena.base)
        return 0;
    if (sodium_init() < 0)
        return PHR_E_SELFTEST;
    if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    if (getrlimit(RLIMIT_MEMLOCK, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        ignored(setrlimit(RLIMIT_MEMLOCK, &lim)); /* the mlock below is what counts */
    }
    arena.base = sodium_malloc(SECRET_ARENA_BYTES);
    if (!arena.base)
        return PHR_E_MEMLOCK;
    if (mlock(arena.base, SECRET_ARENA_BYTES) < 0) {
        sodium_free(arena.base);
        arena.base = NULL;
        return PHR_E_MEMLOCK;
    }
    sodium_memzero(arena.base, SECRET_ARENA_BYTES);
    return 0;
}

static bool is_run_free(size_t first, size_t slots)
{
    for (size_t i = 0; i < slots; i++) {
        if (arena.taken[first + i])
            return false;
    }
    return true;
}

static void *take_run(size_t first, size_t slots)
{
    memset(arena.taken + first, 1, slots);
    arena.run[first] = (uint16_t)slots;
    arena.next = (first + slots) % SLOT_COUNT;
    arena.used_slots += slots;
    return arena.base + first * SECRET_SLOT_BYTES;
}

void *secret_alloc(size_t n)
{
    size_t slots = n / SECRET_SLOT_BYTES + (n % SECRET_SLOT_BYTES != 0);
    scoped(unlock) pthread_mutex_t *held = lock(&arena.lock);

    (void)held;
    INVARIANT(arena.base != NULL);
    if (slots == 0 || slots > SLOT_COUNT / 4)
        return NULL;
    for (size_t tried = 0; tried < SLOT_COUNT; tried++) {
        size_t first = (arena.next + tried) % SLOT_COUNT;

        if (first + slots <= SLOT_COUNT && is_run_free(first, slots))
            return take_run(first, slots);
    }
    return NULL;
}

void secret_free(void *p)
{
    size_t first;
    size_t slots;

    if (!p)
        return;
    scoped(unlock) pthread_mutex_t *held = lock(&arena.lock);

    (void)held;
    INVARIANT((uint8_t *)p >= arena.base && (uint8_t *)p < arena.base + SECRET_ARENA_BYTES);
    first = (size_t)((uint8_t *)p - arena.base) / SECRET_SLOT_BYTES;
    slots = arena.run[first];
    INVARIANT(slots > 0);
    sodium_memzero(p, slots * SECRET_SLOT_BYTES);
    memset(arena.taken + first, 0, slots);
    arena.run[first] = 0;
    arena.used_slots -= slots;
}

size_t secret_used_bytes(void)
{
    scoped(unlock) pthread_mutex_t *held = lock(&arena.lock);

    (void)held;
    return arena.used_slots * SECRET_SLOT_BYTES;
}

bool secret_equal(const void *a, const void *b, size_t n)
{
    return sodium_memcmp(a, b, n) == 0;
}

void secret_wipe(void *p, size_t n)
{
    sodium_memzero(p, n);
}
