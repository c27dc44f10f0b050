/*
 * The worker: one thread, a round at a time.
 *
 *   link came up ► list ledgers ► fetch and apply ► push ops ► push audit events ► wait
 *   ledger changed ─────────────────┘               ▲
 *   something needs its op in the ledger now ───────┘        every second: leases, spool;
 *                                                            every two: attributes are signed
 *
 * WORKER-1  It alone applies entries and pushes ops, so no answer is waited for while a rebase runs; a push whose
 *           answer was lost may still arrive (REBASE-3, REBASE-4).
 * WORKER-2  Each call has a deadline; a call that fails is tried again after a pause.
 * WORKER-3  Nothing here waits for the store but a snapshot: revocations must not wait for it.
 */
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/log.h"
#include "vault/apply.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/nsdb_ledger.h"
#include "vault/rebase.h"
#include "vault/spool.h"
#include "vault/worker_inside.h"

enum {
    ROUND_MS = 250,
    TICK_MS = 1000,
    HOLD_MS = 2000 /* drafts of metadata are gathered this long */
};

static void *worker_main(void *arg);

int worker_open(struct vault *v, struct worker **out_worker)
{
    struct worker *w = calloc(1, sizeof *w);
    pthread_condattr_t monotonic;
    int rc;

    if (!w)
        return -ENOMEM;
    w->v = v;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_cond_init(&w->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    writer_init(&w->following.named);
    writer_init(&w->following.strangers);
    v->worker = w;
    rc = -pthread_create(&w->thread, NULL, worker_main, w);
    if (rc < 0) {
        v->worker = NULL;
        worker_close(w);
        return rc;
    }
    w->has_thread = true;
    *out_worker = w;
    return 0;
}

void worker_stop(struct worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->is_stopping = true;
    pthread_cond_broadcast(&w->wake);
    pthread_cond_broadcast(&w->done);
    pthread_mutex_unlock(&w->lock);
}

void worker_close(struct worker *w)
{
    if (!w)
        return;
    worker_stop(w);
    if (w->has_thread)
        pthread_join(w->thread, NULL);
    if (w->has_copier)
        pthread_join(w->copier, NULL);
    following_fini(&w->following);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->done);
    free(w);
}

void worker_on_up(struct vault *v)
{
    struct worker *w = v->worker;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    following_restart(&w->following);
    w->wants_push = true;
    w->is_fresh = false;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

bool worker_is_stopping(struct vault *v)
{
    bool is_stopping;

    pthread_mutex_lock(&v->worker->lock);
    is_stopping = v->worker->is_stopping;
    pthread_mutex_unlock(&v->worker->lock);
    return is_stopping;
}

static void set_flag(struct vault *v, bool *flag)
{
    if (!v->worker)
        return;
    pthread_mutex_lock(&v->worker->lock);
    *flag = true;
    pthread_cond_broadcast(&v->worker->wake);
    pthread_mutex_unlock(&v->worker->lock);
}

void worker_push_now(struct vault *v)
{
    if (v->worker)
        set_flag(v, &v->worker->wants_push);
}

void worker_names_changed(struct vault *v)
{
    if (v->worker)
        set_flag(v, &v->worker->wants_settle);
}

void worker_kick(struct vault *v)
{
    worker_names_changed(v);
    worker_push_now(v);
}

static struct timespec after_ms(uint32_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000L;
    t.tv_sec += t.tv_nsec / 1000000000L;
    t.tv_nsec %= 1000000000L;
    return t;
}

void worker_wait_fresh(struct vault *v, uint32_t timeout_ms)
{
    struct worker *w = v->worker;
    struct timespec until = after_ms(timeout_ms);

    pthread_mutex_lock(&w->lock);
    while (!w->is_fresh && !w->is_stopping)
        if (pthread_cond_timedwait(&w->done, &w->lock, &until) != 0)
            break;
    pthread_mutex_unlock(&w->lock);
}

bool worker_is_fresh(struct vault *v)
{
    bool fresh;

    pthread_mutex_lock(&v->worker->lock);
    fresh = v->worker->is_fresh;
    pthread_mutex_unlock(&v->worker->lock);
    return fresh;
}

void worker_wait_round(struct vault *v, uint32_t timeout_ms)
{
    struct worker *w = v->worker;
    struct timespec until = after_ms(timeout_ms);

    pthread_mutex_lock(&w->lock);
    if (!w->is_stopping)
        pthread_cond_timedwait(&w->done, &w->lock, &until);
    pthread_mutex_unlock(&w->lock);
}

/* ---- calls ---- */

struct call {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_done;
    int status;
    struct writer *out;
};

static void on_call_done(void *user, int status, struct view payload)
{
    struct call *c = user;

    pthread_mutex_lock(&c->lock);
    c->status = status;
    if (status == 0)
        writer_view(c->out, payload);
    c->is_done = true;
    pthread_cond_signal(&c->cond);
    pthread_mutex_unlock(&c->lock);
}

int worker_call(struct vault *v, enum msg_type type, struct view payload, int fd,
                uint32_t timeout_ms, struct writer *out_payload)
{
    struct call c = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .out = out_payload
    };
    int rc;

    if (!v->link)
        return PHR_E_SIDECAR;
    rc = link_call(v->link, type, payload, fd, timeout_ms, on_call_done, &c);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&c.lock);
    while (!c.is_done) /* the link keeps the deadline, and link_close ends it */
        pthread_cond_wait(&c.cond, &c.lock);
    pthread_mutex_unlock(&c.lock);
    if (c.status == 0 && !writer_ok(out_payload))
        return -ENOMEM;
    return c.status;
}

/* ---- the round ---- */

static void fetch_wanted(struct worker *w)
{
    struct patient_work *p;
    struct patient_work *next;

    pthread_mutex_lock(&w->lock);
    p = following_take(&w->following);
    for (; p; p = next) {
        bool has_failed;

        next = p->next_wanted;
        p->is_wanted = false; /* what changes from here on is fetched once more */
        if (p->contradiction != 0)
            continue;
        pthread_mutex_unlock(&w->lock);
        has_failed = p->pause_until_ms > clock_boottime_ms() || fetching_run(w->v, p) < 0;
        pthread_mutex_lock(&w->lock);
        if (has_failed && p->contradiction == 0)
            following_want(&w->following, p);
    }
    pthread_mutex_unlock(&w->lock);
}

/* Every ledger that concerns somebody here has been applied once. */
static void note_fresh(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    if (!w->is_fresh && !w->following.wanted && !following_wants_list(&w->following)) {
        w->is_fresh = true;
        pthread_cond_broadcast(&w->done);
    }
    pthread_mutex_unlock(&w->lock);
}

static void online_round(struct worker *w, bool push)
{
    if (following_list(w) < 0)
        return;
    fetch_wanted(w);
    note_fresh(w);
    pushing_run(w, push ? 0 : HOLD_MS);
    if (w->audit_pause_ms <= clock_boottime_ms() &&
        (pushing_spool(w->v, false) < 0 || pushing_spool(w->v, true) < 0))
        w->audit_pause_ms = clock_boottime_ms() + PAUSE_MS;
}

static void *copier_main(void *arg)
{
    struct worker *w = arg;

    retire_copy_conflicts(w->v);
    atomic_store(&w->is_copied, true);
    return NULL;
}

static void copy_conflicts(struct worker *w)
{
    struct conflict_row row;

    if (w->has_copier && !atomic_load(&w->is_copied))
        return;
    if (w->has_copier)
        pthread_join(w->copier, NULL);
    atomic_store(&w->is_copied, false);
    w->has_copier = nsdb_conflict_next(w->v->db, 0, &row) == 0 &&
                    pthread_create(&w->copier, NULL, copier_main, w) == 0;
}

static void tick(struct worker *w)
{
    uint64_t now = clock_boottime_ms();

    if (now - w->tick_ms >= TICK_MS) {
        w->tick_ms = now;
        lease_tick(w->v);
        ignored(spool_sync(w->v->spool)); /* an fsync reports it; here it is tried again */
    }
    if (now - w->sign_ms >= HOLD_MS) {
        w->sign_ms = now;
        ignored(touch_sign(w->v)); /* tried again in two seconds */
        copy_conflicts(w);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    pthread_mutex_lock(&w->lock);
    while (!w->is_stopping) {
        struct timespec until = after_ms(ROUND_MS);
        bool push = w->wants_push;
        bool settle = w->wants_settle;
        bool is_up;

        w->has_news = w->wants_push = w->wants_settle = false;
        pthread_mutex_unlock(&w->lock);
        if (settle) {
            apply_settle(w->v);
            ignored(rebase_redo_all(w->v)); /* what cannot be made anew stays parked */
        }
        tick(w);
        is_up = w->v->link && link_is_up(w->v->link);
        if (is_up)
            online_round(w, push);
        pthread_mutex_lock(&w->lock);
        if (!is_up)
            w->wants_push |= push;
        pthread_cond_broadcast(&w->done);
        if (!w->is_stopping && (!is_up || (!w->wants_push && !w->wants_settle && !w->has_news)))
            pthread_cond_timedwait(&w->wake, &w->lock, &until);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}
