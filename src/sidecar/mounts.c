#include "sidecar/mounts.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "sidecar/applied.h"

enum { SEEN_EVERY_MS = 60 * 1000, ROWS_MAX = APPLIED_HOSTS_MAX };

struct wait {
    struct wait *next;
    struct request *req;
    struct id16 patient;
    uint64_t seq;
    uint64_t asked_ms;
    uint64_t deadline_ms;
};

struct connected {
    struct id16 host;
    uint64_t lease_s;
    uint64_t connection; /* 0: free */
};

struct mounts {
    struct syncdb *db;
    uint64_t lease_s;
    pthread_mutex_t lock; /* of everything below */
    struct applied *applied;
    struct wait *waits;
    size_t wait_count;
    struct connected connected[APPLIED_HOSTS_MAX];
    uint64_t saved_ms;
};

/* CLOCK_BOOTTIME of a wall clock time that lies behind us; 0 when that was before this boot. */
static uint64_t boot_of(uint64_t wall_s)
{
    uint64_t wall_now = clock_realtime_s();
    uint64_t boot_now = clock_boottime_ms();
    uint64_t ago_ms = wall_s < wall_now ? (wall_now - wall_s) * 1000 : 0;

    return ago_ms < boot_now ? boot_now - ago_ms : 0;
}

static uint64_t wall_of(uint64_t boot_ms)
{
    uint64_t boot_now = clock_boottime_ms();
    uint64_t wall_now = clock_realtime_s();

    if (boot_ms >= boot_now)
        return wall_now + (boot_ms - boot_now + 999) / 1000; /* rather later */
    return wall_now - (boot_now - boot_ms) / 1000;
}

static void remember(void *user, const struct id16 *host, uint64_t lease_s, uint64_t seen_s)
{
    struct mounts *m = user;

    /* After a crash the last note is that old, and the mount may have been given keys since. */
    seen_s += SEEN_EVERY_MS / 1000;
    if (seen_s + lease_s <= clock_realtime_s())
        return; /* APPLIED-2 */
    ignored(applied_remember(m->applied, host, lease_s, boot_of(seen_s))); /* more than a thousand: no */
}

int mounts_open(struct syncdb *db, uint64_t lease_s, struct mounts **out_mounts)
{
    scoped(mounts_close) struct mounts *m = calloc(1, sizeof *m);
    int rc;

    if (!m)
        return -ENOMEM;
    pthread_mutex_init(&m->lock, NULL);
    m->db = db;
    m->lease_s = lease_s;
    rc = applied_new(&m->applied);
    if (rc == 0)
        rc = syncdb_each_mount(db, remember, m);
    if (rc < 0)
        return rc;
    *out_mounts = give(m);
    return 0;
}

/* Unlinked already; without the lock. */
static void answer(struct mounts *m, struct wait *w)
{
    scoped(free) struct applied_row *rows = calloc(ROWS_MAX, sizeof *rows);
    scoped(writer_fini) struct writer out;
    size_t n = 0;

    writer_init(&out);
    if (rows) {
        pthread_mutex_lock(&m->lock);
        n = applied_list(m->applied, &w->patient, w->seq, w->asked_ms, clock_boottime_ms(), rows,
                         ROWS_MAX);
        pthread_mutex_unlock(&m->lock);
    }
    writer_u16(&out, (uint16_t)n);
    for (size_t i = 0; i < n; i++) {
        writer_bytes(&out, rows[i].host.b, sizeof rows[i].host.b);
        writer_u8(&out, rows[i].has_applied ? 1 : 0);
        writer_u64(&out, wall_of(rows[i].cut_off_ms));
    }
    if (rows && writer_ok(&out))
        request_reply(w->req, 0, writer_done(&out));
    else
        request_reply(w->req, -ENOMEM, view_of(NULL, 0));
    free(w);
}

/* Those that are done or out of time, unlinked. Lock held. */
static struct wait *take_finished(struct mounts *m, bool all)
{
    uint64_t now = clock_boottime_ms();
    struct wait *finished = NULL;
    struct wait **at = &m->waits;

    while (*at) {
        struct wait *w = *at;

        if (!all && w->deadline_ms > now && request_is_wanted(w->req) &&
            !applied_is_done(m->applied, &w->patient, w->seq, now)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = finished;
        finished = w;
        m->wait_count--;
    }
    return finished;
}

static void answer_finished(struct mounts *m, bool all)
{
    struct wait *w;

    pthread_mutex_lock(&m->lock);
    w = take_finished(m, all);
    pthread_mutex_unlock(&m->lock);
    while (w) {
        struct wait *next = w->next;

        answer(m, w);
        w = next;
    }
}

void mounts_stop(struct mounts *m)
{
    if (m)
        answer_finished(m, true);
}

void mounts_close(struct mounts *m)
{
    if (!m)
        return;
    applied_free(m->applied);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static void save(struct mounts *m, const struct id16 *host, uint64_t lease_s)
{
    int rc = syncdb_save_mount(m->db, host, lease_s, clock_realtime_s());

    if (rc < 0)
        log_warn("sync_db_write", LOG_RC("cause", rc));
}

static struct connected *find_connected(struct mounts *m, uint64_t connection)
{
    for (size_t i = 0; i < APPLIED_HOSTS_MAX; i++) {
        if (m->connected[i].connection == connection)
            return &m->connected[i];
    }
    return NULL;
}

int mounts_join(struct mounts *m, const struct peer *peer, const struct id16 *host, uint64_t lease_s)
{
    uint64_t longest = lease_s > m->lease_s ? lease_s : m->lease_s;
    struct connected *slot;
    int rc = PHR_E_LIMIT;

    if (longest > 7 * 24 * 3600)
        return PHR_E_LIMIT; /* nobody keeps keys for longer */
    pthread_mutex_lock(&m->lock);
    slot = find_connected(m, 0);
    if (slot)
        rc = applied_join(m->applied, host, peer->connection, longest, clock_boottime_ms());
    if (rc == 0)
        *slot = (struct connected){ *host, longest, peer->connection };
    pthread_mutex_unlock(&m->lock);
    if (rc == 0)
        save(m, host, longest);
    return rc;
}

void mounts_leave(struct mounts *m, const struct peer *peer)
{
    struct connected was = { 0 };
    struct connected *slot;

    pthread_mutex_lock(&m->lock);
    applied_leave(m->applied, &peer->host, peer->connection, clock_boottime_ms());
    slot = find_connected(m, peer->connection);
    if (slot) {
        was = *slot;
        *slot = (struct connected){ 0 };
    }
    pthread_mutex_unlock(&m->lock);
    if (was.connection != 0)
        save(m, &was.host, was.lease_s);
}

int mounts_applied(struct mounts *m, const struct id16 *host, const struct id16 *patient, uint64_t seq)
{
    int rc;

    pthread_mutex_lock(&m->lock);
    rc = applied_set(m->applied, host, patient, seq);
    pthread_mutex_unlock(&m->lock);
    if (rc == 0)
        answer_finished(m, false);
    return rc;
}

void mounts_wait(struct mounts *m, struct request *req, const struct id16 *patient, uint64_t seq,
                 uint32_t timeout_ms)
{
    struct wait *w = calloc(1, sizeof *w);
    uint64_t now = clock_boottime_ms();

    if (!w) {
        request_reply(req, -ENOMEM, view_of(NULL, 0));
        return;
    }
    if (timeout_ms > MOUNTS_WAIT_MS_MAX)
        timeout_ms = MOUNTS_WAIT_MS_MAX;
    *w = (struct wait){ .req = req, .patient = *patient, .seq = seq, .asked_ms = now,
                        .deadline_ms = now + timeout_ms };
    pthread_mutex_lock(&m->lock);
    if (m->wait_count < MOUNTS_WAITERS_MAX) {
        w->next = m->waits;
        m->waits = w;
        m->wait_count++;
        w = NULL;
    }
    pthread_mutex_unlock(&m->lock);
    if (w) {
        free(w);
        request_reply(req, -EAGAIN, view_of(NULL, 0));
        return;
    }
    answer_finished(m, false);
}

void mounts_tick(struct mounts *m)
{
    scoped(free) struct connected *now_connected = NULL;
    uint64_t now = clock_boottime_ms();
    bool is_due;

    answer_finished(m, false);
    pthread_mutex_lock(&m->lock);
    is_due = now - m->saved_ms > SEEN_EVERY_MS;
    if (is_due) {
        m->saved_ms = now;
        now_connected = malloc(sizeof m->connected);
        if (now_connected)
            memcpy(now_connected, m->connected, sizeof m->connected);
    }
    pthread_mutex_unlock(&m->lock);
    for (size_t i = 0; now_connected && i < APPLIED_HOSTS_MAX; i++) {
        if (now_connected[i].connection != 0)
            save(m, &now_connected[i].host, now_connected[i].lease_s);
    }
}

size_t mounts_connected(struct mounts *m)
{
    scoped(unlock) pthread_mutex_t *held = lock(&m->lock);

    (void)held;
    return applied_connected_count(m->applied);
}
