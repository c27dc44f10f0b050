/*
 * The pool. A compartment is active from its first create until it was quiet for a while; the
 * keys that are ready for it lie in the arena, are in no file yet, and are wiped at logout.
 *
 * How many are kept ready follows the use: who makes one file needs a few, and 512 of them are
 * 47 ms of a processor that his own bytes could use.
 */
#include "vault/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/scope.h"
#include "crypto/random.h"
#include "vault/header_new.h"

enum {
    POOL_CLASSES = 4,
    POOL_READY_MAX = 512,       /* of one class: 512 slots of the arena's 16,384 */
    POOL_READY_MIN = 32,        /* and at first */
    POOL_BATCH = 16,            /* between two looks at who is waiting */
    POOL_QUIET_MS = 60 * 1000,
    POOL_NICE = 5               /* who makes files, and who answers him, need the processors first */
};

struct pool_class {
    struct class_ctx ctx;
    struct point a;
    bool is_active;
    uint64_t used_ms;
    struct key_set *ready[POOL_READY_MAX];
    size_t count;
    size_t wanted; /* doubles each time that so many were too few */
    bool was_full; /* since it did */
};

struct pool {
    pthread_mutex_t lock; /* leaf: all below */
    pthread_cond_t wake;
    pthread_t thread;
    bool has_thread;
    bool is_stopping;
    uint64_t generation; /* rises with pool_forget: what was being made for before is wiped */
    struct pool_class classes[POOL_CLASSES];
};

static void *pool_main(void *arg);

int pool_open(struct pool **out_pool)
{
    struct pool *p = calloc(1, sizeof *p);
    int rc;

    if (!p)
        return -ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    rc = -pthread_create(&p->thread, NULL, pool_main, p);
    if (rc < 0) {
        pool_close(p);
        return rc;
    }
    p->has_thread = true;
    *out_pool = p;
    return 0;
}

/* lock held. */
static void drop(struct pool_class *c)
{
    while (c->count > 0)
        key_set_release(c->ready[--c->count]);
    c->is_active = false;
}

void pool_close(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->is_stopping = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    if (p->has_thread)
        pthread_join(p->thread, NULL);
    for (size_t i = 0; i < POOL_CLASSES; i++)
        drop(&p->classes[i]);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    free(p);
}

void pool_forget(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->generation++;
    for (size_t i = 0; i < POOL_CLASSES; i++)
        drop(&p->classes[i]);
    pthread_mutex_unlock(&p->lock);
}

/* lock held. The class's own place, or the one that was quiet longest. */
static struct pool_class *place_of(struct pool *p, const struct class_ctx *ctx)
{
    struct pool_class *oldest = &p->classes[0];

    for (size_t i = 0; i < POOL_CLASSES; i++) {
        struct pool_class *c = &p->classes[i];

        if (c->is_active && class_ctx_equal(&c->ctx, ctx))
            return c;
        if (!c->is_active || (oldest->is_active && c->used_ms < oldest->used_ms))
            oldest = c;
    }
    drop(oldest);
    oldest->ctx = *ctx;
    oldest->is_active = true;
    oldest->wanted = POOL_READY_MIN;
    oldest->was_full = false;
    return oldest;
}

struct key_set *pool_take(struct pool *p, const struct class_ctx *ctx, const struct point *a_pub)
{
    struct key_set *keys = NULL;
    struct pool_class *c;

    pthread_mutex_lock(&p->lock);
    c = place_of(p, ctx);
    c->a = *a_pub;
    c->used_ms = clock_boottime_ms();
    if (c->count > 0)
        keys = c->ready[--c->count];
    if (c->was_full && c->count < c->wanted / 4 && c->wanted < POOL_READY_MAX) {
        c->wanted *= 2;
        c->was_full = false;
    }
    if (c->count < c->wanted / 2)
        pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    return keys;
}

/* lock held. A class that runs low and was used lately; quiet ones are wiped. */
static struct pool_class *find_hungry(struct pool *p)
{
    uint64_t now = clock_boottime_ms();

    for (size_t i = 0; i < POOL_CLASSES; i++) {
        struct pool_class *c = &p->classes[i];

        if (c->is_active && now - c->used_ms > POOL_QUIET_MS)
            drop(c);
        else if (c->is_active && c->count < c->wanted)
            return c;
    }
    return NULL;
}

/* lock held on entry and return; let go while the headers are made. */
static void make_some(struct pool *p, struct pool_class *c)
{
    struct class_ctx ctx = c->ctx;
    struct point a = c->a;
    uint64_t generation = p->generation;
    struct key_set *made[POOL_BATCH];
    size_t n = 0;

    pthread_mutex_unlock(&p->lock);
    while (n < POOL_BATCH) {
        struct id16 file = random_id_rising();

        if (header_new(&ctx, &a, &file, 1, header_new_fk_gen(ctx.epoch, 0), &made[n]) < 0)
            break; /* the arena is full: creates make their own */
        n++;
    }
    pthread_mutex_lock(&p->lock);
    while (n > 0) {
        if (generation == p->generation && c->is_active && class_ctx_equal(&c->ctx, &ctx) &&
            c->count < POOL_READY_MAX)
            c->ready[c->count++] = made[--n];
        else
            key_set_release(made[--n]);
    }
    c->was_full = c->was_full || c->count >= c->wanted;
}

static void *pool_main(void *arg)
{
    struct pool *p = arg;

    ignored(pthread_setname_np(pthread_self(), "phrfs-pool"));
    ignored(nice(POOL_NICE)); /* of this thread alone, on Linux */
    pthread_mutex_lock(&p->lock);
    while (!p->is_stopping) {
        struct pool_class *c = find_hungry(p);
        size_t before = c ? c->count : 0;

        if (c)
            make_some(p, c);
        if (!p->is_stopping && (!c || c->count == before))
            pthread_cond_wait(&p->wake, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}
