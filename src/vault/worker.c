/*
 * The worker: one thread, a round at a time.
 *
 *   link came up ► list ledgers ► fetch and apply ► push ops ► push audit events ► wait
 *   ledger changed ─────────────────┘               ▲
 *   something needs its op in the ledger now ───────┘        every second: leases, spool;
 *                                                            every two: attributes are signed
 *
 * WORKER-1  It alone applies entries and pushes ops, so no op is in flight while a rebase runs.
 * WORKER-2  Each call has a deadline; a call that fails is tried again after a pause.
 * WORKER-3  Nothing here waits for the store but a snapshot: revocations must not wait for it.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "crypto/digest.h"
#include "vault/apply.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/notify.h"
#include "vault/nsdb_ledger.h"
#include "vault/outbox.h"
#include "vault/rebase.h"
#include "vault/spool.h"
#include "vault/worker_inside.h"

enum {
    OBJECT_TIMEOUT_MS = 60000,
    FETCH_BYTES = 2 * 1024 * 1024,
    SNAPSHOT_BYTES_MAX = 1024 * 1024 * 1024,
    ROUND_MS = 250,
    TICK_MS = 1000,
    HOLD_MS = 2000,  /* drafts of metadata are gathered this long */
    PAUSE_MS = 1000, /* after a failure */
    REBASES_MAX = 4  /* in a row without progress, then a pause */
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

/* ---- fetching ---- */

struct applied {
    struct id16 patient;
    uint64_t seq;
};

static void on_applied_sent(void *user, int status, struct view payload)
{
    (void)user;
    (void)status; /* phrd asks again by pushing the next change */
    (void)payload;
}

/* On the notifier, after the cut-offs that were queued before. */
static void send_applied(struct vault *v, void *arg)
{
    struct applied *a = arg;
    scoped(writer_fini) struct writer payload = { 0 };

    writer_init(&payload);
    writer_bytes(&payload, a->patient.b, sizeof a->patient.b);
    writer_u64(&payload, a->seq);
    if (v->link && writer_ok(&payload))
        ignored(link_call(v->link, MSG_APPLIED, writer_done(&payload), -1, CALL_TIMEOUT_MS,
                          on_applied_sent, NULL)); /* the link is down: said again when it is up */
    free(a);
}

void worker_tell_applied(struct vault *v, const struct id16 *patient, uint64_t seq)
{
    struct applied *a = calloc(1, sizeof *a);

    if (!a)
        return;
    a->patient = *patient;
    a->seq = seq;
    notify_call(v, send_applied, a);
}

static void tell_applied(struct vault *v, const struct id16 *patient)
{
    struct digest leaf;
    uint64_t seq;

    if (nsdb_patient_get(v->db, patient, &seq, &leaf) == 0)
        worker_tell_applied(v, patient, seq);
}

/* The whole object into memory; the caller's (munmap). */
static int fetch_object(struct vault *v, const struct id16 *patient, const struct digest *id,
                        void **out_map, size_t *out_n)
{
    scoped(writer_fini) struct writer payload = { 0 };
    scoped(writer_fini) struct writer answer = { 0 };
    int fd = memfd_create("snapshot", MFD_CLOEXEC);
    struct stat st;
    void *p;
    int rc;

    if (fd < 0)
        return -errno;
    writer_init(&payload);
    writer_init(&answer);
    writer_bytes(&payload, patient->b, sizeof patient->b);
    writer_bytes(&payload, id->b, sizeof id->b);
    writer_u64(&payload, SNAPSHOT_BYTES_MAX);
    rc = worker_call(v, MSG_OBJECT_GET, writer_done(&payload), fd, OBJECT_TIMEOUT_MS, &answer);
    if (rc == 0 && fstat(fd, &st) < 0)
        rc = -errno;
    if (rc == 0 && st.st_size <= 0)
        rc = PHR_E_FORMAT;
    if (rc == 0) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = -errno;
        else
            *out_map = p;
        *out_n = (size_t)st.st_size;
    }
    close(fd);
    return rc;
}

static int apply_one(struct vault *v, const struct id16 *patient, struct view entry)
{
    struct apply_object object = { 0 };
    void *map = NULL;
    size_t n = 0;
    int rc = apply_entry(v, entry, &object);

    if (rc != PHR_E_PENDING)
        return rc;
    rc = fetch_object(v, patient, &object.id, &map, &n);
    if (rc < 0)
        return rc;
    object.bytes = view_of(map, n);
    rc = apply_entry(v, entry, &object);
    munmap(map, n);
    return rc;
}

/* One answer's entries. *out_more: the ledger goes on. */
static int apply_answer(struct vault *v, const struct id16 *patient, struct view answer,
                        bool *out_more)
{
    struct reader r = reader_over(answer);
    uint64_t head = reader_u64(&r);
    uint16_t n = reader_u16(&r);
    struct digest leaf;
    uint64_t seq = 0;
    int rc = reader_ok(&r) ? 0 : PHR_E_PROTOCOL;

    for (uint16_t i = 0; rc == 0 && i < n; i++) {
        struct view entry = reader_lp(&r, ENTRY_BYTES_MAX);

        rc = reader_ok(&r) ? apply_one(v, patient, entry) : PHR_E_PROTOCOL;
    }
    *out_more = false;
    if (rc == 0 && n > 0 && nsdb_patient_get(v->db, patient, &seq, &leaf) == 0)
        *out_more = seq < head;
    return rc;
}

/* No op is on its way (WORKER-1): what was removed here before the ledger had it will not come. */
static int forget_removals(struct vault *v, const struct id16 *patient)
{
    uint32_t parked = 0;
    int rc;

    nsdb_lock(v->db);
    rc = nsdb_parked_count(v->db, &parked);
    if (rc == 0 && parked > 0)
        rc = nsdb_parked_forget(v->db, patient);
    nsdb_unlock(v->db);
    return rc;
}

static int fetch_patient(struct vault *v, struct patient_work *p)
{
    bool more = true;
    int rc = 0;

    while (rc == 0 && more) {
        scoped(writer_fini) struct writer payload = { 0 };
        scoped(writer_fini) struct writer answer = { 0 };
        struct digest leaf;
        uint64_t from = 0;

        writer_init(&payload);
        writer_init(&answer);
        if (nsdb_patient_get(v->db, &p->patient, &from, &leaf) == 0)
            from++;
        writer_bytes(&payload, p->patient.b, sizeof p->patient.b);
        writer_u64(&payload, from);
        writer_u32(&payload, FETCH_BYTES);
        rc = worker_call(v, MSG_LEDGER_FETCH, writer_done(&payload), -1, CALL_TIMEOUT_MS, &answer);
        if (rc == 0)
            rc = apply_answer(v, &p->patient, writer_done(&answer), &more);
    }
    if (rc == 0)
        rc = forget_removals(v, &p->patient);
    if (rc == PHR_E_FORK || rc == PHR_E_ROLLBACK || rc == PHR_E_SIGNATURE)
        p->is_contradicted = true;
    if (rc < 0) {
        log_debug("ledger_fetch_failed", LOG_ID("patient", p->patient.b), LOG_RC("cause", rc));
        p->pause_until_ms = clock_boottime_ms() + PAUSE_MS;
        v->worker->owes_redo = true;
        return rc;
    }
    lease_wake_headers(v);
    tell_applied(v, &p->patient);
    return 0;
}

/* ---- pushing ---- */

static void park(struct vault *v, uint64_t id, int reason)
{
    nsdb_lock(v->db);
    ignored(nsdb_outbox_set_state(v->db, id, OUTBOX_PARKED, reason)); /* refused again next time */
    nsdb_unlock(v->db);
}

static int renew_locked(struct vault *v, const struct id16 *patient, uint64_t id)
{
    struct outbox_row row;
    struct nsdb_stmt s;
    int rc;

    rc = nsdb_begin(v->db);
    if (rc < 0)
        return rc;
    rc = nsdb_outbox_get(v->db, id, &s, &row);
    if (rc == 0) {
        nsdb_end(&s);
        rc = row.lane == OP_LANE_SEAL ? outbox_renew_seals(v, id, NULL) : rebase_unwind(v, patient);
    }
    if (rc < 0) {
        nsdb_rollback(v->db);
        spool_undo_tx(v->spool);
        return rc == -ENOENT || rc == PHR_E_LOCKED ? 0 : rc;
    }
    rc = nsdb_commit(v->db);
    if (rc == 0)
        rc = rebase_redo(v, patient);
    return rc < 0 ? rc : forget_removals(v, patient);
}

/* What is still here after a fetch does not fit: made anew. Nobody sees the ledger's view between. */
static int renew(struct vault *v, const struct id16 *patient, uint64_t id)
{
    int rc;

    nsdb_lock(v->db);
    rc = renew_locked(v, patient, id);
    nsdb_unlock(v->db);
    return rc;
}

struct push_result {
    bool any_taken;
    bool is_held;
    uint64_t stale_id;
};

static int take_push_answer(struct vault *v, struct view answer, const uint64_t *ids, size_t count,
                            struct push_result *out)
{
    struct reader r = reader_over(answer);
    uint16_t n = reader_u16(&r);

    if (n != count)
        return PHR_E_PROTOCOL;
    for (size_t i = 0; i < count; i++) {
        int32_t rc = (int32_t)reader_u32(&r);

        (void)reader_u64(&r);
        if (!reader_ok(&r))
            return PHR_E_PROTOCOL;
        if (rc < 0)
            log_debug("op_not_taken", LOG_U64("op", ids[i]), LOG_RC("cause", rc));
        if (rc == 0)
            out->any_taken = true;
        else if (rc == PHR_E_EPOCH_HELD || rc == -EAGAIN || rc == PHR_E_STORE)
            out->is_held = true;
        else if (rc == PHR_E_STALE || rc == PHR_E_STALE_HEADER)
            out->stale_id = out->stale_id ? out->stale_id : ids[i];
        else
            park(v, ids[i], rc);
    }
    return 0;
}

/* One batch of a patient. 1: there may be more. */
static int push_patient(struct vault *v, struct patient_work *p, uint64_t hold_ms)
{
    scoped(writer_fini) struct writer payload = { 0 };
    scoped(writer_fini) struct writer answer = { 0 };
    const struct outbox_wish wish = { .hold_ms = hold_ms, .is_single = p->rebases > 0 };
    struct push_result result = { 0 };
    uint64_t ids[ENTRY_OPS_MAX];
    size_t count = 0;
    int rc;

    writer_init(&payload);
    writer_init(&answer);
    rc = outbox_take(v, &p->patient, &wish, &payload, ids, &count);
    if (rc < 0 || count == 0)
        return rc;
    rc = worker_call(v, MSG_OP_PUSH, writer_done(&payload), -1, CALL_TIMEOUT_MS, &answer);
    if (rc == 0)
        rc = take_push_answer(v, writer_done(&answer), ids, count, &result);
    if (rc < 0)
        return rc;
    if (result.any_taken || result.stale_id)
        rc = fetch_patient(v, p);
    if (rc < 0)
        return rc;
    if (result.any_taken)
        p->rebases = 0;
    if (result.stale_id && ++p->rebases <= REBASES_MAX) {
        rc = renew(v, &p->patient, result.stale_id);
        return rc < 0 ? rc : 1;
    }
    if (result.is_held || result.stale_id) {
        p->rebases = 0;
        p->pause_until_ms = clock_boottime_ms() + PAUSE_MS;
        return 0;
    }
    return result.any_taken ? 1 : 0;
}

static void push_all(struct worker *w, uint64_t hold_ms)
{
    struct id16 patient = { { 0 } };

    if (w->owes_redo)
        w->owes_redo = rebase_redo_all(w->v) < 0;
    while (nsdb_outbox_patient_next(w->v->db, &patient, &patient) == 0) {
        struct patient_work *p;
        int rc = 1;

        pthread_mutex_lock(&w->lock);
        p = following_get(&w->following, &patient);
        pthread_mutex_unlock(&w->lock);
        if (!p || p->is_contradicted || p->pause_until_ms > clock_boottime_ms())
            continue;
        while (rc > 0 && !w->is_stopping)
            rc = push_patient(w->v, p, hold_ms);
        if (rc < 0) {
            p->pause_until_ms = clock_boottime_ms() + PAUSE_MS;
            w->owes_redo = true;
        }
    }
}

static int push_spool(struct vault *v, bool table)
{
    for (int i = 0; i < 16; i++) {
        scoped(writer_fini) struct writer payload = { 0 };
        scoped(writer_fini) struct writer answer = { 0 };
        struct reader r;
        uint64_t no = 0;
        uint64_t next;
        uint32_t count = 0;
        int rc;

        writer_init(&payload);
        writer_init(&answer);
        rc = spool_take(v->spool, table, &payload, &no, &count);
        if (rc < 0 || count == 0)
            return rc;
        rc = worker_call(v, MSG_SPOOL_PUSH, writer_done(&payload), -1, CALL_TIMEOUT_MS, &answer);
        if (rc < 0)
            return rc;
        r = reader_over(writer_done(&answer));
        next = reader_u64(&r);
        if (!reader_done(&r))
            return PHR_E_PROTOCOL;
        rc = spool_acknowledge(v->spool, table, no, next);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- the round ---- */

static void sign_attributes(struct vault *v)
{
    nsdb_lock(v->db);
    ignored(touch_flush(v, NULL, false)); /* tried again in two seconds */
    ignored(names_sign_dirty(v, NULL));
    nsdb_unlock(v->db);
}

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
        if (p->is_contradicted)
            continue;
        pthread_mutex_unlock(&w->lock);
        has_failed = p->pause_until_ms > clock_boottime_ms() || fetch_patient(w->v, p) < 0;
        pthread_mutex_lock(&w->lock);
        if (has_failed && !p->is_contradicted)
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
    push_all(w, push ? 0 : HOLD_MS);
    if (w->audit_pause_ms <= clock_boottime_ms() &&
        (push_spool(w->v, false) < 0 || push_spool(w->v, true) < 0))
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
        sign_attributes(w->v);
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
