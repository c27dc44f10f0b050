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

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/pre_reader.h"
#include "crypto/random.h"
#include "format/open_request.h"
#include "ipc/message.h"
#include "vault/access_state.h"
#include "vault/nsdb_ledger.h"
#include "vault/spool.h"
#include "vault/worker.h"

enum {
    KEYS_MAX = 4096,
    KEY_BUCKETS = 1024,
    ASK_TIMEOUT_MS = 1800, /* other opens fail with a clear errno in under 2 s */
    HEADER_TIMEOUT_MS = 1800,
    AHEAD_FROM = 3 /* the third file of a folder in a row */
};

struct held { /* one file's key of one identity */
    struct held *next;    /* bucket */
    struct held *newer;   /* least recently used first */
    struct held *older;
    struct id16 user;
    struct file_ctx ctx;
    bool is_current;      /* ctx is what the row of the file's header says */
    struct key_set *keys; /* NULL: released, not opened yet */
    struct point w1;
};

struct waiting {
    struct waiting *next;
    struct waiter *w;
    struct id16 file;
    struct digest not_hash;
    uint64_t deadline_ms;
    int rc;
};

enum ask_kind { ASK_FILES, ASK_NAMES, ASK_RENEW };
struct ask {
    struct ask *next;
    struct vault *v;
    enum ask_kind kind;
    struct id16 user;
    struct id16 grant;
    struct file_ctx *files;
    size_t count;
    uint64_t sent_ms;
    struct waiting *waiting;
};

struct lease {
    struct held *buckets[KEY_BUCKETS];
    struct held *oldest;
    struct held *newest;
    size_t count;
    struct ask *asks;
    struct waiting *header_waits;
    pthread_cond_t answered; /* with wait_lock */
    pthread_mutex_t wait_lock; /* leaf */
    uint64_t answers; /* wait_lock */
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
    return 0;
}

/* ---- the cache ---- */

static size_t bucket_of(const struct id16 *file)
{
    return get_le32(file->b) % KEY_BUCKETS;
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

static struct held *find_held(struct lease *l, const struct id16 *user, const struct file_ctx *ctx)
{
    for (struct held *h = l->buckets[bucket_of(&ctx->file)]; h; h = h->next)
        if (id_equal(&h->user, user) && file_ctx_equal(&h->ctx, ctx))
            return h;
    return NULL;
}

static struct held *add_held(struct lease *l, const struct id16 *user, const struct file_ctx *ctx)
{
    struct held *h = find_held(l, user, ctx);

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
    struct held *h = add_held(v->lease, &id->user, &keys->ctx);

    if (!h || h->keys == keys)
        return; /* without a place in the cache it is opened again */
    key_set_release(h->keys);
    h->keys = key_set_borrow(keys);
}

static int grant_key(struct identity *id, struct class_key *k)
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
static int open_released(struct identity *id, struct class_key *k, const struct header *h,
                         const struct point *w1, struct file_key *out_keys, size_t *out_count)
{
    scoped(secret_free) struct symkey *kek = secret_alloc(sizeof *kek);
    int rc = kek ? grant_key(id, k) : -ENOMEM;

    if (rc == 0)
        rc = pre_reader_decaps(k->d, &h->ctx, &k->grant.a, &h->capsule, w1, &h->commit, kek);
    if (rc == 0)
        rc = header_open_sealed(h, kek, out_keys, out_count);
    return rc;
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
        rc = open_released(id, k, &h, &held->w1, keys, &count);
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
    struct held *h = find_held(v->lease, &id->user, ctx);

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
    struct held *h = find_held(v->lease, &id->user, ctx);

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

static void wake_all(struct waiting *list)
{
    while (list) {
        struct waiting *next = list->next;

        list->w->wake(list->w, list->rc);
        free(list);
        list = next;
    }
}

static int add_waiting(struct waiting **list, struct waiter *w, const struct id16 *file,
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
    rc = add_waiting(&v->lease->header_waits, w, file, HEADER_TIMEOUT_MS);
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
    wake_all(woken);
}

/* ---- asking ---- */

static void ask_free(struct ask *a)
{
    if (!a)
        return;
    free(a->files);
    free(a);
}

static struct ask *find_ask(struct vault *v, const struct id16 *user, const struct file_ctx *ctx)
{
    for (struct ask *a = v->lease->asks; a; a = a->next)
        if (id_equal(&a->user, user))
            for (size_t i = 0; i < a->count; i++)
                if (file_ctx_equal(&a->files[i], ctx))
                    return a;
    return NULL;
}

static void on_answer(void *user, int status, struct view payload);

/* Signs and sends; a is taken. files run along a->files. */
static int send_ask(struct vault *v, struct identity *id, const struct who *who, enum purpose purpose,
                    struct ask *a, struct open_file *files)
{
    scoped(writer_fini) struct writer context = { 0 };
    scoped(writer_fini) struct writer request = { 0 };
    scoped(writer_fini) struct writer payload = { 0 };
    struct open_context c = { .host = v->host };
    struct open_request r = {
        .req = random_id(), .grant = a->grant, .purpose = purpose, .time_s = clock_realtime_s(),
        .count = (uint16_t)a->count, .files = files
    };
    char program[32] = "";
    struct event e;
    int rc;

    writer_init(&context);
    writer_init(&request);
    writer_init(&payload);
    if (who) {
        spool_event_init(v, &e, EVENT_OPEN, who, NULL, program);
        c.uid = who->uid;
        c.program = view_text(program);
    }
    open_context_encode(&c, &context);
    r.context = digest_sha256(writer_done(&context));
    rc = open_request_encode(&r, id->sign, &request);
    if (rc < 0) {
        ask_free(a);
        return rc;
    }
    writer_lp(&payload, writer_done(&request));
    writer_lp(&payload, writer_done(&context));
    a->sent_ms = clock_boottime_ms();
    a->next = v->lease->asks;
    v->lease->asks = a;
    rc = writer_ok(&payload) ? link_call(v->link, MSG_OPEN, writer_done(&payload), -1,
                                         ASK_TIMEOUT_MS, on_answer, a)
                             : -ENOMEM;
    if (rc < 0) {
        v->lease->asks = a->next;
        ask_free(a);
    }
    return rc;
}

static struct ask *ask_new(struct vault *v, enum ask_kind kind, const struct identity *id,
                           const struct class_key *k, size_t room)
{
    struct ask *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->files = calloc(room, sizeof *a->files);
    if (!a->files) {
        free(a);
        return NULL;
    }
    a->v = v;
    a->kind = kind;
    a->user = id->user;
    a->grant = k->grant.ctx.grant;
    return a;
}

static void add_file(struct ask *a, struct open_file *files, const struct file_ctx *ctx,
                     struct view header, enum open_why why)
{
    a->files[a->count] = *ctx;
    files[a->count] = (struct open_file){ *ctx, header_digest(header), why };
    a->count++;
}

/* The next files of the folder, in its order, whose keys are neither here nor asked for. */
static void add_ahead(struct vault *v, struct identity *id, const struct class_key *k, struct ask *a,
                      struct open_file *files, const struct name_dentry *opened)
{
    struct name_dentry row;
    struct nsdb_stmt s;

    nsdb_dentry_scan(v->db, &opened->parent, opened->cookie, &s);
    while (a->count < OPEN_FILES_MAX && nsdb_dentry_next(&s, &row) > 0) {
        struct name_header header;
        struct nsdb_stmt hs;
        struct header h;

        if (!row.is_opened || row.dtype != DT_REG ||
            nsdb_header_get(v->db, &row.child, &hs, &header) < 0)
            continue;
        if (header.conf == header.hdr_gen && header_decode(header.bytes, &h) == 0 &&
            class_ctx_equal(&h.ctx.class_ctx, &k->ctx) &&
            !find_held(v->lease, &id->user, &h.ctx) && !find_ask(v, &id->user, &h.ctx))
            add_file(a, files, &h.ctx, header.bytes, OPEN_WHY_AHEAD);
        nsdb_end(&hs);
    }
    nsdb_end(&s);
}

static bool wants_ahead(struct identity *id, const struct name_dentry *opened)
{
    if (!id_equal(&id->ahead_parent, &opened->parent)) {
        id->ahead_parent = opened->parent;
        id->ahead_count = 0;
    }
    return ++id->ahead_count >= AHEAD_FROM;
}

int lease_ask_file(struct vault *v, const struct who *who, struct session *s, struct class_key *k,
                   const struct file_ctx *ctx, struct view header, struct waiter *w)
{
    scoped(free) struct open_file *files = NULL;
    struct name_dentry opened;
    struct waiting *mine = NULL;
    struct nsdb_stmt st;
    struct ask *a;
    int rc;

    if (!v->link || !link_is_up(v->link))
        return PHR_E_SIDECAR;
    a = find_ask(v, &s->id->user, ctx);
    if (a)
        return add_waiting(&a->waiting, w, &ctx->file, ASK_TIMEOUT_MS);
    files = calloc(OPEN_FILES_MAX, sizeof *files);
    a = files ? ask_new(v, ASK_FILES, s->id, k, OPEN_FILES_MAX) : NULL;
    if (!a)
        return -ENOMEM;
    add_file(a, files, ctx, header, OPEN_WHY_OPEN);
    if (nsdb_dentry_of(v->db, &ctx->file, &st, &opened) == 0) {
        nsdb_end(&st);
        if (wants_ahead(s->id, &opened))
            add_ahead(v, s->id, k, a, files, &opened);
    }
    rc = add_waiting(&mine, w, &ctx->file, ASK_TIMEOUT_MS);
    if (rc != PHR_E_PENDING) {
        ask_free(a);
        return rc;
    }
    /* The answer cannot overtake: its handler needs the names lock that is held here. */
    a->waiting = mine;
    rc = send_ask(v, s->id, who, s->purpose, a, files);
    if (rc < 0) {
        free(mine);
        return rc;
    }
    return PHR_E_PENDING;
}

static int ask_root(struct vault *v, struct identity *id, struct class_key *k, enum ask_kind kind)
{
    struct open_file file;
    struct name_header row;
    enum purpose purpose = k->grant.purpose ? k->grant.purpose : PURPOSE_TREAT;
    struct nsdb_stmt st;
    struct header h;
    struct ask *a;
    int rc;

    for (struct session *s = v->sessions; s; s = s->next)
        if (s->id == id)
            purpose = s->purpose;
    if (!v->link || !link_is_up(v->link))
        return PHR_E_SIDECAR;
    rc = nsdb_header_get(v->db, &k->ctx.class_id, &st, &row);
    if (rc < 0)
        return rc;
    rc = header_decode(row.bytes, &h);
    a = rc == 0 ? ask_new(v, kind, id, k, 1) : NULL;
    if (a)
        add_file(a, &file, &h.ctx, row.bytes, kind == ASK_NAMES ? OPEN_WHY_NAMES : OPEN_WHY_RENEW);
    nsdb_end(&st);
    if (!a)
        return rc < 0 ? rc : -ENOMEM;
    if (kind == ASK_NAMES && !class_ctx_equal(&h.ctx.class_ctx, &k->ctx)) {
        ask_free(a);
        return PHR_E_NO_HEADER; /* names of an older epoch: rows are no longer sealed with it */
    }
    return send_ask(v, id, NULL, purpose, a, &file);
}

void lease_ask_names(struct vault *v, struct identity *id)
{
    for (struct class_key *k = id->classes; k; k = k->next)
        if (!k->is_owner && k->is_current && !k->has_rows && !k->is_asking)
            k->is_asking = ask_root(v, id, k, ASK_NAMES) == 0;
}

void lease_wait_names(struct vault *v, const struct id16 *user, uint32_t timeout_ms)
{
    struct lease *l = v->lease;
    struct timespec until;
    bool is_asking = true;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    for (;;) {
        uint64_t seen;
        int rc = 0;

        pthread_mutex_lock(&l->wait_lock);
        seen = l->answers;
        pthread_mutex_unlock(&l->wait_lock);
        is_asking = false;
        nsdb_lock(v->db);
        struct identity *id = session_identity(v, user);
        for (struct class_key *k = id ? id->classes : NULL; k; k = k->next)
            is_asking |= k->is_asking;
        nsdb_unlock(v->db);
        if (!is_asking)
            return;
        pthread_mutex_lock(&l->wait_lock);
        while (l->answers == seen && rc == 0)
            rc = pthread_cond_timedwait(&l->answered, &l->wait_lock, &until);
        pthread_mutex_unlock(&l->wait_lock);
        if (rc != 0)
            return;
    }
}

/* ---- answers ---- */

static void take_names_answer(struct vault *v, struct identity *id, struct class_key *k,
                              const struct open_answer_item *item)
{
    struct file_key keys[FK_COUNT_MAX];
    struct name_header row;
    struct nsdb_stmt s;
    struct header h;
    size_t count = 0;

    if (item->rc < 0 || nsdb_header_get(v->db, &k->ctx.class_id, &s, &row) < 0)
        return;
    if (header_decode(row.bytes, &h) == 0 && class_ctx_equal(&h.ctx.class_ctx, &k->ctx) &&
        open_released(id, k, &h, &item->w1, keys, &count) == 0) {
        ignored(session_take_names(v, id, k, keys[0].key)); /* without it: asked again by the worker */
        file_keys_free(keys, count);
    }
    nsdb_end(&s);
}

/* One item of an answer. Returns what its waiters are told. */
static int take_item(struct ask *a, struct identity *id, size_t i,
                     const struct open_answer_item *item)
{
    struct held *h;

    if (item->rc < 0)
        return item->rc;
    if (a->kind != ASK_FILES)
        return 0;
    h = add_held(a->v->lease, &id->user, &a->files[i]);
    if (!h)
        return -ENOMEM;
    if (!h->keys)
        h->w1 = item->w1;
    return 0;
}

static int take_answer(struct ask *a, struct view payload, struct identity *id, struct class_key *k)
{
    struct open_answer answer = { 0 };
    int rc = open_answer_decode(payload, &answer);

    if (rc < 0)
        return rc;
    if (answer.count != a->count)
        rc = PHR_E_PROTOCOL;
    if (rc == 0)
        rc = open_answer_check(&answer, &a->v->anchor.srs);
    if (rc == 0) {
        k->lease_sent_ms = a->sent_ms;
        k->lease_end_ms = a->sent_ms + (uint64_t)answer.lease_s * 1000;
        if (a->kind == ASK_NAMES)
            take_names_answer(a->v, id, k, &answer.items[0]);
    }
    for (size_t i = 0; rc == 0 && i < a->count; i++) {
        int item_rc = take_item(a, id, i, &answer.items[i]);

        for (struct waiting *w = a->waiting; w; w = w->next)
            if (id_equal(&w->file, &a->files[i].file))
                w->rc = item_rc;
    }
    open_answer_fini(&answer);
    return rc;
}

static void on_answer(void *user, int status, struct view payload)
{
    struct ask *a = user;
    struct vault *v = a->v;
    struct lease *l = v->lease;
    struct identity *id;
    struct class_key *k;
    struct waiting *woken;
    struct ask **at;
    bool names_changed = false;
    int rc = status;

    nsdb_lock(v->db);
    id = session_identity(v, &a->user);
    k = id ? session_class_grant(id, &a->grant) : NULL;
    if (rc == 0 && !k)
        rc = id ? PHR_E_REVOKED : PHR_E_LOCKED;
    if (rc == 0)
        rc = take_answer(a, payload, id, k);
    if (k && a->kind == ASK_NAMES) {
        k->is_asking = false;
        names_changed = k->has_rows;
    }
    if (k && a->kind == ASK_RENEW)
        k->is_renewing = false;
    for (struct waiting *w = a->waiting; w && rc < 0; w = w->next)
        w->rc = rc;
    woken = a->waiting;
    for (at = &l->asks; *at != a; at = &(*at)->next)
        continue;
    *at = a->next;
    ask_free(a);
    nsdb_unlock(v->db);

    pthread_mutex_lock(&l->wait_lock);
    l->answers++;
    pthread_cond_broadcast(&l->answered);
    pthread_mutex_unlock(&l->wait_lock);
    wake_all(woken);
    if (names_changed)
        worker_names_changed(v);
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
        k->is_renewing = ask_root(v, id, k, ASK_RENEW) == 0;
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
    for (struct waiting *w = l->header_waits; w; w = w->next)
        w->rc = PHR_E_CLOSED;
    wake_all(l->header_waits);
    while (l->oldest)
        drop_held(l, l->oldest);
    pthread_cond_destroy(&l->answered);
    pthread_mutex_destroy(&l->wait_lock);
    free(l);
    v->lease = NULL;
}
