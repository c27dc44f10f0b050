/* Asking the SRS for keys of files, of names, and for leases to go on; and what it answers. */
#include "vault/lease.h"

#include <dirent.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "format/open_request.h"
#include "ipc/message.h"
#include "vault/lease_inside.h"
#include "vault/nsdb_ledger.h"
#include "vault/spool.h"
#include "vault/worker.h"

enum {
    ASK_TIMEOUT_MS = 1800, /* other opens fail with a clear errno in under 2 s */
    AHEAD_FROM = 3,        /* the third file of a folder in a row */
    AHEAD_FIRST = 16       /* files of its request; each that follows brings twice as many */
};

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

/*
 * The next files of the folder, in its order, whose keys are neither here nor asked for, until the
 * request has `room`. The SRS takes 50 us for each, so the first requests are small: while one is
 * being read, the next is on its way.
 */
static void add_ahead(struct vault *v, struct identity *id, const struct class_key *k, struct ask *a,
                      struct open_file *files, size_t room)
{
    size_t before = a->count;
    struct name_dentry row;
    struct nsdb_stmt s;
    bool is_end = false;

    nsdb_dentry_scan(v->db, &a->parent, a->cookie, &s);
    while (a->count < room) {
        struct name_header header;
        struct nsdb_stmt hs;
        struct header h;

        is_end = nsdb_dentry_next(&s, &row) <= 0;
        if (is_end)
            break;
        a->cookie = row.cookie;
        if (!row.is_opened || row.dtype != DT_REG ||
            nsdb_header_get(v->db, &row.child, &hs, &header) < 0)
            continue;
        if (header.conf == header.hdr_gen && header_decode(header.bytes, &h) == 0 &&
            class_ctx_equal(&h.ctx.class_ctx, &k->ctx) &&
            !lease_find_held(v->lease, &id->user, &h.ctx) && !find_ask(v, &id->user, &h.ctx))
            add_file(a, files, &h.ctx, header.bytes, OPEN_WHY_AHEAD);
        nsdb_end(&hs);
    }
    nsdb_end(&s);
    a->ahead_left = is_end ? 0 : a->ahead_left - (a->count - before);
}

/* What comes behind the files that are here now. Nobody waits for it yet, so nobody is told. */
static void ask_further_locked(struct vault *v, const struct ask *before)
{
    struct identity *id = session_identity(v, &before->user);
    struct class_key *k = id ? session_class_grant(id, &before->grant) : NULL;
    size_t room = before->count < OPEN_FILES_MAX / 2 ? before->count * 2 : OPEN_FILES_MAX;
    scoped(free) struct open_file *files = NULL;
    struct ask *a;

    if (!k || !v->link || !link_is_up(v->link))
        return;
    room = room < before->ahead_left ? room : before->ahead_left;
    files = calloc(room, sizeof *files);
    a = files ? ask_new(v, ASK_FILES, id, k, room) : NULL;
    if (!a)
        return;
    a->who = before->who;
    a->purpose = before->purpose;
    a->parent = before->parent;
    a->cookie = before->cookie;
    a->ahead_left = before->ahead_left;
    add_ahead(v, id, k, a, files, room);
    if (a->count > 0)
        ignored(send_ask(v, id, &a->who, a->purpose, a, files)); /* asked for when they are opened */
    else
        ask_free(a);
}

static void ask_further(struct vault *v, const struct ask *before)
{
    nsdb_lock(v->db);
    ask_further_locked(v, before);
    nsdb_unlock(v->db);
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
        return lease_add_waiting(&a->waiting, w, &ctx->file, ASK_TIMEOUT_MS);
    files = calloc(AHEAD_FIRST, sizeof *files);
    a = files ? ask_new(v, ASK_FILES, s->id, k, AHEAD_FIRST) : NULL;
    if (!a)
        return -ENOMEM;
    a->who = *who;
    a->purpose = s->purpose;
    add_file(a, files, ctx, header, OPEN_WHY_OPEN);
    if (nsdb_dentry_of(v->db, &ctx->file, &st, &opened) == 0) {
        nsdb_end(&st);
        a->parent = opened.parent;
        a->cookie = opened.cookie;
        a->ahead_left = wants_ahead(s->id, &opened) ? OPEN_FILES_MAX - 1 : 0;
        if (a->ahead_left > 0)
            add_ahead(v, s->id, k, a, files, AHEAD_FIRST);
    }
    rc = lease_add_waiting(&mine, w, &ctx->file, ASK_TIMEOUT_MS);
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

int lease_ask_root(struct vault *v, struct identity *id, struct class_key *k, enum ask_kind kind)
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
            k->is_asking = lease_ask_root(v, id, k, ASK_NAMES) == 0;
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
        lease_grant_key(id, k) == 0 &&
        lease_open_released(k->d, &k->grant.a, &h, &item->w1, keys, &count) == 0) {
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
    h = lease_add_held(a->v->lease, &id->user, &a->files[i]);
    if (!h)
        return -ENOMEM;
    if (h->keys)
        return 0;
    h->w1 = item->w1;
    if (i > 0 || !a->waiting) /* else he who waits for it opens it himself */
        opener_want(a->v->lease->opener, &a->user, &a->files[i]);
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
    if (rc < 0)
        a->ahead_left = 0;
    for (struct waiting *w = a->waiting; w && rc < 0; w = w->next)
        w->rc = rc;
    woken = a->waiting;
    for (at = &l->asks; *at != a; at = &(*at)->next)
        continue;
    *at = a->next;
    nsdb_unlock(v->db);

    pthread_mutex_lock(&l->wait_lock);
    l->answers++;
    pthread_cond_broadcast(&l->answered);
    pthread_mutex_unlock(&l->wait_lock);
    lease_wake_all(woken);
    if (a->ahead_left > 0)
        ask_further(v, a);
    ask_free(a);
    if (names_changed)
        worker_names_changed(v);
}
