/*
 * Keys that were released ahead, opened ahead: 60 us of PRE each, which the reader of a series
 * would otherwise spend in each of its opens, with the names lock held.
 *
 * OPENER-1  A key comes into memory only where its release still is (ACCESS-3): what was
 *           forgotten meanwhile, by a revocation or a logout, is wiped.
 */
#include "vault/lease.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/secret.h"
#include "format/open_request.h"
#include "vault/lease_inside.h"
#include "vault/names.h"

enum { WANTS_MAX = 2 * OPEN_FILES_MAX };

struct want {
    struct id16 user;
    struct file_ctx ctx;
};

struct opener {
    struct vault *v;
    pthread_mutex_t lock; /* leaf: all below */
    pthread_cond_t wake;
    struct want wants[WANTS_MAX]; /* a ring */
    size_t first;
    size_t count;
    bool is_stopping;
    bool has_thread;
    pthread_t thread;
};

struct job { /* what opens one key, without a lock */
    struct scalar *d; /* arena */
    struct point a_pub;
    struct point w1;
    uint8_t header[HEADER_BYTES_MAX];
    size_t header_bytes;
};

static void *opener_main(void *arg);

int opener_open(struct vault *v, struct opener **out_opener)
{
    struct opener *o = calloc(1, sizeof *o);
    int rc;

    if (!o)
        return -ENOMEM;
    o->v = v;
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->wake, NULL);
    rc = -pthread_create(&o->thread, NULL, opener_main, o);
    o->has_thread = rc == 0;
    if (rc < 0) {
        opener_close(o);
        return rc;
    }
    *out_opener = o;
    return 0;
}

void opener_close(struct opener *o)
{
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    o->is_stopping = true;
    pthread_cond_signal(&o->wake);
    pthread_mutex_unlock(&o->lock);
    if (o->has_thread)
        pthread_join(o->thread, NULL);
    pthread_mutex_destroy(&o->lock);
    pthread_cond_destroy(&o->wake);
    free(o);
}

void opener_want(struct opener *o, const struct id16 *user, const struct file_ctx *ctx)
{
    scoped(unlock) pthread_mutex_t *held = lock(&o->lock);

    if (o->count == WANTS_MAX)
        return;
    o->wants[(o->first + o->count++) % WANTS_MAX] = (struct want){ *user, *ctx };
    pthread_cond_signal(&o->wake);
}

/* Names lock. -ENOENT: nothing is to be done. */
static int prepare(struct vault *v, const struct want *want, struct job *job)
{
    struct identity *id = session_identity(v, &want->user);
    struct held *h = id ? lease_find_held(v->lease, &want->user, &want->ctx) : NULL;
    struct class_key *k = id ? session_class_epoch(id, &want->ctx.class_ctx) : NULL;
    struct name_header row;
    struct nsdb_stmt s;
    int rc;

    if (!h || h->keys || !k || k->is_owner || k->lease_end_ms <= clock_boottime_ms())
        return -ENOENT;
    rc = lease_grant_key(id, k);
    if (rc == 0)
        rc = nsdb_header_get(v->db, &want->ctx.file, &s, &row);
    if (rc < 0)
        return rc;
    if (row.bytes.n > sizeof job->header) {
        nsdb_end(&s);
        return PHR_E_LIMIT;
    }
    memcpy(job->header, row.bytes.p, row.bytes.n);
    job->header_bytes = row.bytes.n;
    nsdb_end(&s);
    memcpy(job->d, k->d, sizeof *job->d);
    job->a_pub = k->grant.a;
    job->w1 = h->w1;
    return 0;
}

static int open_job(const struct want *want, const struct job *job, struct key_set **out_keys)
{
    struct file_key keys[FK_COUNT_MAX];
    size_t count = 0;
    struct header h;
    int rc = header_decode(view_of(job->header, job->header_bytes), &h);

    if (rc == 0 && !file_ctx_equal(&h.ctx, &want->ctx))
        rc = PHR_E_STALE_HEADER;
    if (rc == 0)
        rc = lease_open_released(job->d, &job->a_pub, &h, &job->w1, keys, &count);
    return rc < 0 ? rc : key_set_new(&h, keys, count, out_keys);
}

/* Names lock. OPENER-1 */
static void keep(struct vault *v, const struct want *want, const struct job *job, struct key_set *take)
{
    struct held *h = lease_find_held(v->lease, &want->user, &want->ctx);

    if (!h || h->keys || memcmp(h->w1.b, job->w1.b, sizeof job->w1.b) != 0) {
        key_set_release(take);
        return;
    }
    take->is_released = true;
    h->keys = take;
}

/* A failure is told to who opens the file: he tries again. */
static void open_one(struct vault *v, const struct want *want)
{
    struct job job = { .d = secret_alloc(sizeof *job.d) };
    struct key_set *keys = NULL;
    int rc = -ENOMEM;

    if (job.d) {
        nsdb_lock(v->db);
        rc = prepare(v, want, &job);
        nsdb_unlock(v->db);
    }
    if (rc == 0)
        rc = open_job(want, &job, &keys);
    secret_free(job.d);
    if (rc < 0)
        return;
    nsdb_lock(v->db);
    keep(v, want, &job, keys);
    nsdb_unlock(v->db);
}

static void *opener_main(void *arg)
{
    struct opener *o = arg;

    pthread_mutex_lock(&o->lock);
    while (!o->is_stopping) {
        struct want want;

        if (o->count == 0) {
            pthread_cond_wait(&o->wake, &o->lock);
            continue;
        }
        want = o->wants[o->first];
        o->first = (o->first + 1) % WANTS_MAX;
        o->count--;
        pthread_mutex_unlock(&o->lock);
        open_one(o->v, &want);
        pthread_mutex_lock(&o->lock);
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}
