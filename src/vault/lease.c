/*
 * Keys in memory, and how a reader's keys come and go.
 *
 *   asked ──(SRS releases W1)──► released ──(opened: PRE)──► key set ──► gone: lease end, revoke,
 *                                                                        logout, least recently used
 * LEASE-1  A reader's key is used until the lease of its grant ends (CLOCK_BOOTTIME), counted
 *          from when the request was sent; at half time it is renewed while files are open.
 * LEASE-2  A waiter is woken exactly once, with no lock held.
 */
#include "vault/lease.h"

#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/pre_reader.h"
#include "vault/lease_inside.h"
#include "vault/nsdb_ledger.h"
#include "vault/worker.h"

enum {
    KEYS_MAX = 4096,
    HEADER_TIMEOUT_MS = 1800 /* other opens fail with a clear errno in under 2 s */
};

int lease_open(struct vault *v)
{
    pthread_condattr_t monotonic;

    v->lease = calloc(1, sizeof *v->lease);
    if (!v->lease)
        return -ENOMEM;
    pthread_mutex_init(&v->lease->wait_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&v->lease->answered, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return opener_open(v, &v->lease->opener);
}

/* ---- the cache ---- */

static size_t bucket_of(const struct id16 *file)
{
    return get_le32(file->b + sizeof file->b - 4) % LEASE_BUCKETS;
}

static void unlink_lru(struct lease *l, struct held *h)
{
    *(h->older ? &h->older->newer : &l->oldest) = h->newer;
    *(h->newer ? &h->newer->older : &l->newest) = h->older;
}

static void link_newest(struct lease *l, struct held *h)
{
    h->older = l->newest;
    h->newer = NULL;
    *(l->newest ? &l->newest->newer : &l->oldest) = h;
    l->newest = h;
}

static void drop_held(struct lease *l, struct held *h)
{
    struct held **at = &l->buckets[bucket_of(&h->ctx.file)];

    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
    unlink_lru(l, h);
    l->count--;
    key_set_release(h->keys);
    free(h);
}

struct held *lease_find_held(struct lease *l, const struct id16 *user, const struct file_ctx *ctx)
{
    for (struct held *h = l->buckets[bucket_of(&ctx->file)]; h; h = h->next)
        if (id_equal(&h->user, user) && file_ctx_equal(&h->ctx, ctx))
            return h;
    return NULL;
}

struct held *lease_add_held(struct lease *l, const struct id16 *user, const struct file_ctx *ctx)
{
    struct held *h = lease_find_held(l, user, ctx);

    if (h)
        return h;
    if (l->count >= KEYS_MAX)
        drop_held(l, l->oldest);
    h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->user = *user;
    h->ctx = *ctx;
    h->next = l->buckets[bucket_of(&ctx->file)];
    l->buckets[bucket_of(&ctx->file)] = h;
    link_newest(l, h);
    l->count++;
    return h;
}

void lease_keep_keys(struct vault *v, const struct identity *id, struct key_set *keys)
{
    struct held *h = lease_add_held(v->lease, &id->user, &keys->ctx);

    if (!h || h->keys == keys)
        return; /* without a place in the cache it is opened again */
    key_set_release(h->keys);
    h->keys = key_set_borrow(keys);
}

int lease_grant_key(struct identity *id, struct class_key *k)
{
    struct scalar *d;
    int rc;

    if (k->d)
        return 0;
    d = secret_alloc(sizeof *d);
    if (!d)
        return -ENOMEM;
    rc = pre_reader_grant_key(id->ring->b, &k->grant.ctx, &k->grant.a, &k->grant.b, &k->grant.x,
                              &k->grant.r, d);
    if (rc < 0) {
        secret_free(d);
        return rc;
    }
    k->d = d;
    return 0;
}

/* The keys in a header, by what the SRS released. out_keys: the caller's. */
int lease_open_released(const struct scalar *d, const struct point *a_pub, const struct header *h,
                        const struct point *w1, struct file_key *out_keys, size_t *out_count)
{
    scoped(secret_free) struct symkey *kek = secret_alloc(sizeof *kek);
    int rc = kek ? pre_reader_decaps(d, &h->ctx, a_pub, &h->capsule, w1, &h->commit, kek) : -ENOMEM;

    return rc < 0 ? rc : header_open_sealed(h, kek, out_keys, out_count);
}

static int open_held(struct vault *v, struct identity *id, struct class_key *k, struct held *held)
{
    struct file_key keys[FK_COUNT_MAX];
    struct name_header row;
    struct header h;
    struct nsdb_stmt s;
    size_t count = 0;
    int rc = nsdb_header_get(v->db, &held->ctx.file, &s, &row);

    if (rc < 0)
        return rc;
    rc = header_decode(row.bytes, &h);
    if (rc == 0 && !file_ctx_equal(&h.ctx, &held->ctx))
        rc = PHR_E_STALE_HEADER;
    if (rc == 0)
        rc = lease_grant_key(id, k);
    if (rc == 0)
        rc = lease_open_released(k->d, &k->grant.a, &h, &held->w1, keys, &count);
    if (rc == 0)
        rc = key_set_new(&h, keys, count, &held->keys);
    if (rc == 0)
        held->keys->is_released = true;
    nsdb_end(&s);
    return rc;
}

/* Dropped when it may no longer be used. */
static struct key_set *use_held(struct vault *v, struct identity *id, struct held *h)
{
    struct class_key *k = session_class_epoch(id, &h->ctx.class_ctx);

    /* One's own new file has a key that nobody released: it needs no lease. */
    if (!k || ((!h->keys || h->keys->is_released) && k->lease_end_ms <= clock_boottime_ms()) ||
        (!h->keys && open_held(v, id, k, h) < 0)) {
        drop_held(v->lease, h);
        return NULL;
    }
    unlink_lru(v->lease, h);
    link_newest(v->lease, h);
    return key_set_borrow(h->keys);
}

struct key_set *lease_find_keys(struct vault *v, struct identity *id, const struct file_ctx *ctx)
{
    struct held *h = lease_find_held(v->lease, &id->user, ctx);

    return h ? use_held(v, id, h) : NULL;
}

struct key_set *lease_find_current(struct vault *v, struct identity *id, const struct id16 *file)
{
    struct held *h = v->lease->buckets[bucket_of(file)];

    while (h && !(h->is_current && id_equal(&h->ctx.file, file) && id_equal(&h->user, &id->user)))
        h = h->next;
    return h ? use_held(v, id, h) : NULL;
}

void lease_mark_current(struct vault *v, const struct identity *id, const struct file_ctx *ctx)
{
    struct held *h = lease_find_held(v->lease, &id->user, ctx);

    if (h)
        h->is_current = true;
}

void lease_header_changed(struct vault *v, const struct id16 *file)
{
    for (struct held *h = v->lease->buckets[bucket_of(file)]; h; h = h->next)
        if (id_equal(&h->ctx.file, file))
            h->is_current = false;
}

void lease_headers_changed(struct vault *v)
{
    for (struct held *h = v->lease->oldest; h; h = h->newer)
        h->is_current = false;
}

static bool held_matches(const struct held *h, const struct id16 *user, const struct id16 *class_id)
{
    return id_equal(&h->user, user) && (!class_id || id_equal(&h->ctx.class_ctx.class_id, class_id));
}

void lease_forget(struct vault *v, const struct id16 *user, const struct id16 *class_id)
{
    struct held *next;

    for (struct held *h = v->lease->oldest; h; h = next) {
        next = h->newer;
        if (held_matches(h, user, class_id))
            drop_held(v->lease, h);
    }
}

void lease_forget_file(struct vault *v, const struct id16 *file)
{
    struct held *next;

    for (struct held *h = v->lease->buckets[bucket_of(file)]; h; h = next) {
        next = h->next;
        if (id_equal(&h->ctx.file, file))
            drop_held(v->lease, h);
    }
}

bool lease_has_keys(struct vault *v, const struct id16 *user, const struct id16 *class_id)
{
    for (struct held *h = v->lease->oldest; h; h = h->newer)
        if (held_matches(h, user, class_id))
            return true;
    return false;
}

/* ---- waiting ---- */

void lease_wake_all(struct waiting *list)
{
    while (list) {
        struct waiting *next = list->next;

        list->w->wake(list->w, list->rc);
        free(list);
        list = next;
    }
}

int lease_add_waiting(struct waiting **list, struct waiter *w, const struct id16 *file,
                      uint64_t timeout_ms)
{
    struct waiting *one;

    if (!w)
        return PHR_E_TIMEOUT; /* nobody who could wait */
    one = calloc(1, sizeof *one);
    if (!one)
        return -ENOMEM;
    one->w = w;
    one->file = *file;
    one->deadline_ms = clock_boottime_ms() + timeout_ms;
    one->next = *list;
    *list = one;
    return PHR_E_PENDING;
}

int lease_wait_header(struct vault *v, const struct id16 *file, const struct digest *not_hash,
                      struct waiter *w)
{
    int rc;

    if (!v->link || !link_is_up(v->link))
        return PHR_E_SIDECAR;
    rc = lease_add_waiting(&v->lease->header_waits, w, file, HEADER_TIMEOUT_MS);
    if (rc == PHR_E_PENDING && not_hash)
        v->lease->header_waits->not_hash = *not_hash;
    worker_push_now(v);
    return rc;
}

static bool header_is_there(struct vault *v, const struct waiting *one)
{
    struct name_header row;
    struct nsdb_stmt s;
    bool there;

    if (nsdb_header_get(v->db, &one->file, &s, &row) < 0)
        return false;
    there = row.conf == row.hdr_gen;
    if (there) {
        struct digest hash = header_digest(row.bytes);

        there = !digest_equal(&hash, &one->not_hash);
    }
    nsdb_end(&s);
    return there;
}

void lease_wake_headers(struct vault *v)
{
    struct waiting *woken = NULL;
    struct waiting **at;
    uint64_t now = clock_boottime_ms();

    nsdb_lock(v->db);
    at = &v->lease->header_waits;
    while (*at) {
        struct waiting *one = *at;
        bool there = header_is_there(v, one);

        if (!there && now < one->deadline_ms) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        one->rc = there ? 0 : PHR_E_NO_HEADER;
        one->next = woken;
        woken = one;
    }
    nsdb_unlock(v->db);
    lease_wake_all(woken);
}

/* ---- time ---- */

static bool has_open(struct vault *v, const struct id16 *user, const struct id16 *class_id)
{
    bool found = false;

    pthread_mutex_lock(&v->access_lock);
    for (struct access *a = v->accesses; a && !found; a = a->next)
        found = id_equal(&a->user, user) && id_equal(&a->class_id, class_id) &&
                a->keys->is_released && atomic_load(&a->rc) == 0;
    pthread_mutex_unlock(&v->access_lock);
    return found;
}

static void tick_class(struct vault *v, struct identity *id, struct class_key *k, uint64_t now)
{
    uint64_t half = k->lease_sent_ms + (k->lease_end_ms - k->lease_sent_ms) / 2;
    bool is_used;

    if (k->is_owner || k->lease_end_ms == 0 || now < half)
        return;
    is_used = has_open(v, &id->user, &k->ctx.class_id);
    if (now >= k->lease_end_ms) {
        k->lease_end_ms = 0;
        lease_forget(v, &id->user, &k->ctx.class_id);
        if (is_used)
            cutoff_leased(v, &id->user, &k->ctx.class_id);
    } else if (is_used && !k->is_renewing) {
        k->is_renewing = lease_ask_root(v, id, k, ASK_RENEW) == 0;
    }
}

void lease_tick(struct vault *v)
{
    uint64_t now = clock_boottime_ms();

    nsdb_lock(v->db);
    for (struct identity *id = v->identities; id; id = id->next) {
        for (struct class_key *k = id->classes; k; k = k->next)
            tick_class(v, id, k, now);
        lease_ask_names(v, id);
    }
    nsdb_unlock(v->db);
    lease_wake_headers(v);
}

void lease_close(struct vault *v)
{
    struct lease *l = v->lease;

    if (!l)
        return;
    INVARIANT(!l->asks); /* link_close answered them */
    opener_close(l->opener);
    for (struct waiting *w = l->header_waits; w; w = w->next)
        w->rc = PHR_E_CLOSED;
    lease_wake_all(l->header_waits);
    while (l->oldest)
        drop_held(l, l->oldest);
    pthread_cond_destroy(&l->answered);
    pthread_mutex_destroy(&l->wait_lock);
    free(l);
    v->lease = NULL;
}
