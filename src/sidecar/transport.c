#include "sidecar/transport.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "crypto/digest.h"
#include "sidecar/fetcher.h"
#include "sidecar/storekey.h"

enum {
    PUT_THREADS_MAX = 16,
    OBJECTS_MAX = 8192,      /* waiting; each holds a descriptor */
    ENTRIES_MAX = 512,       /* waiting; each holds its bytes */
    ENTRIES_WANTED = 128,    /* room for more again */
    WAIT_MS_MAX = 1000,
    PARKED_SHOWN_MAX = 200
};

struct waiter {
    struct waiter *next;
    transport_done done;
    void *user;
};

struct transport {
    struct transport_opts opts;
    struct storestate state;
    struct fetcher *fetcher;
    pthread_t threads[PUT_THREADS_MAX];
    size_t thread_count;
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t puts;  /* something to upload, or the end */
    bool is_ending;
    bool has_missed_entries;
    struct queue *queue;
    uint32_t object_count; /* in the queue, parked included */
    uint32_t entry_count;
};

static void *put_thread(void *arg);
static int requeue_checkpoints(struct transport *t);

static uint32_t random_u32(void)
{
    uint32_t v = 0;

    if (getrandom(&v, sizeof v, 0) != sizeof v)
        v = (uint32_t)clock_boottime_ms(); /* only jitter */
    return v;
}

int transport_open(const struct transport_opts *opts, struct transport **out_transport)
{
    scoped(transport_close) struct transport *t = calloc(1, sizeof *t);
    int rc;

    if (!t)
        return -ENOMEM;
    t->opts = *opts;
    pthread_mutex_init(&t->lock, NULL);
    storestate_init(&t->state);
    clock_cond_init(&t->puts);
    rc = queue_new(random_u32, &t->queue);
    if (rc == 0)
        rc = requeue_checkpoints(t);
    if (rc == 0)
        rc = fetcher_open(opts->store, &t->state, &t->fetcher);
    for (size_t i = 0; rc == 0 && i < opts->store->ops->puts_at_once && i < PUT_THREADS_MAX; i++) {
        rc = -pthread_create(&t->threads[i], NULL, put_thread, t);
        t->thread_count += rc == 0;
    }
    if (rc < 0)
        return rc;
    transport_tick(t); /* the first question: is the store there? */
    *out_transport = give(t);
    return 0;
}

static void answer_waiters(struct waiter *w, int rc, uint64_t bytes)
{
    while (w) {
        struct waiter *next = w->next;

        w->done(w->user, rc, bytes);
        free(w);
        w = next;
    }
}

void transport_close(struct transport *t)
{
    struct queue_item *it;

    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->is_ending = true;
    pthread_cond_broadcast(&t->puts);
    pthread_mutex_unlock(&t->lock);
    objstore_interrupt(t->opts.store);
    for (size_t i = 0; i < t->thread_count; i++)
        pthread_join(t->threads[i], NULL);
    fetcher_close(t->fetcher);
    while (t->queue && (it = queue_pop(t->queue))) {
        answer_waiters(give(it->waiters), PHR_E_CLOSED, 0);
        queue_item_free(it);
    }
    queue_free(t->queue);
    pthread_cond_destroy(&t->puts);
    storestate_fini(&t->state);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- uploads: coming in ---- */

static int add_waiter(struct queue_item *it, transport_done done, void *user)
{
    struct waiter *w = calloc(1, sizeof *w);

    if (!w)
        return -ENOMEM;
    *w = (struct waiter){ it->waiters, done, user };
    it->waiters = w;
    return 0;
}

static void count_item(struct transport *t, const struct queue_item *it, int by)
{
    if (it->kind == QUEUE_OBJECT)
        t->object_count += (uint32_t)by;
    else
        t->entry_count += (uint32_t)by;
}

static void add_item(struct transport *t, struct queue_item *it)
{
    queue_add(t->queue, it, clock_boottime_ms());
    count_item(t, it, 1);
    pthread_cond_signal(&t->puts);
}

/* 1: answered by what is in the queue already; 0: not there; negative. Lock held. */
static int join_queued(struct transport *t, const char *key, transport_done done, void *user)
{
    struct queue_item *it = queue_find(t->queue, key);
    int rc;

    if (!it)
        return 0;
    if (it->state == QUEUE_PARKED)
        return PHR_E_STORE_REFUSED;
    rc = add_waiter(it, done, user);
    return rc < 0 ? rc : 1;
}

int transport_put_object(struct transport *t, const struct id16 *patient, const struct digest *id,
                         int fd, uint64_t offset, uint64_t bytes, transport_done done, void *user)
{
    struct queue_item *it = queue_item_new();
    struct syncdb_item known;
    int rc = it ? 0 : -ENOMEM;

    if (rc < 0) {
        close(fd);
        return rc;
    }
    it->fd = fd;
    it->kind = QUEUE_OBJECT;
    it->offset = offset;
    it->bytes = bytes;
    it->sha256 = *id;
    storekey_object(patient, id, it->key);
    rc = syncdb_find(t->opts.db, it->key, &known);
    if (rc == 0 && known.state == SYNCDB_STORED) {
        queue_item_free(it);
        done(user, 0, bytes);
        return 0;
    }
    pthread_mutex_lock(&t->lock);
    rc = join_queued(t, it->key, done, user);
    if (rc == 0 && (t->object_count >= OBJECTS_MAX || t->is_ending))
        rc = -EAGAIN;
    if (rc == 0)
        rc = add_waiter(it, done, user);
    if (rc == 0) {
        add_item(t, it);
        it = NULL;
    }
    pthread_mutex_unlock(&t->lock);
    queue_item_free(it);
    return rc > 0 ? 0 : rc;
}

/* Entries and checkpoints: bytes of our own. */
static int put_bytes(struct transport *t, enum queue_kind kind, const char *key,
                     const struct id16 *patient, uint64_t seq, struct view body)
{
    struct queue_item *it = queue_item_new();
    int rc = 0;

    if (!it)
        return -ENOMEM;
    it->body = malloc(body.n + 1);
    if (!it->body) {
        queue_item_free(it);
        return -ENOMEM;
    }
    if (body.n)
        memcpy(it->body, body.p, body.n);
    it->bytes = body.n;
    it->kind = kind;
    it->seq = seq;
    it->sha256 = digest_sha256(body);
    if (patient) {
        it->patient = *patient;
        it->has_group = true;
    }
    memcpy(it->key, key, strlen(key) + 1);
    pthread_mutex_lock(&t->lock);
    if (t->entry_count >= ENTRIES_MAX || t->is_ending) {
        t->has_missed_entries = true;
        rc = -EAGAIN;
    } else if (!queue_find(t->queue, key)) {
        add_item(t, it);
        it = NULL;
    }
    pthread_mutex_unlock(&t->lock);
    queue_item_free(it);
    return rc;
}

int transport_put_entry(struct transport *t, const struct id16 *patient, uint64_t seq,
                        struct view entry)
{
    char key[STOREKEY_BYTES];

    storekey_entry(patient, seq, key);
    return put_bytes(t, QUEUE_ENTRY, key, patient, seq, entry);
}

bool transport_wants_entries(struct transport *t)
{
    scoped(unlock) pthread_mutex_t *held = lock(&t->lock);
    bool wants = t->has_missed_entries && t->entry_count <= ENTRIES_WANTED && !t->is_ending;

    (void)held;
    if (wants)
        t->has_missed_entries = false;
    return wants;
}

static void fill_row(struct syncdb_item *row, const char *key, enum queue_kind kind,
                     enum syncdb_state state)
{
    memset(row, 0, sizeof *row);
    memcpy(row->key, key, strlen(key) + 1);
    row->kind = (int)kind;
    row->state = state;
}

int transport_put_checkpoint(struct transport *t, uint64_t size, struct view note)
{
    char key[STOREKEY_BYTES];
    struct syncdb_item row;
    int rc;

    storekey_checkpoint(size, key);
    if (syncdb_find(t->opts.db, key, &row) == 0)
        return 0; /* known: stored, or waiting with its bytes */
    fill_row(&row, key, QUEUE_CHECKPOINT, SYNCDB_QUEUED);
    rc = syncdb_note(t->opts.db, &row, note);
    if (rc < 0)
        return rc;
    rc = put_bytes(t, QUEUE_CHECKPOINT, key, NULL, size, note);
    return rc == -EAGAIN ? 0 : rc; /* sync.db has it: the next start sends it */
}

static int requeue_checkpoint(void *user, const struct syncdb_item *item, struct view body)
{
    struct transport *t = user;

    if (item->kind != QUEUE_CHECKPOINT || body.n == 0)
        return 0;
    ignored(put_bytes(t, QUEUE_CHECKPOINT, item->key, NULL, 0, body)); /* or the next start */
    return 0;
}

static int requeue_checkpoints(struct transport *t)
{
    int rc = syncdb_each(t->opts.db, SYNCDB_QUEUED, ENTRIES_MAX, requeue_checkpoint, t);

    t->has_missed_entries = false; /* what did not fit were checkpoints */
    return rc;
}

/* ---- uploads: going out ---- */

static int send_item(struct transport *t, struct queue_item *it, struct objstore_note *note)
{
    struct objstore_put put = { .key = it->key, .fd = it->fd, .offset = it->offset,
                                .bytes = it->bytes, .sha256 = it->sha256,
                                .is_sole = it->kind != QUEUE_OBJECT };
    scoped(close_fd) int memory = -1;

    if (it->body) {
        int rc;

        memory = memfd_create("phrd-entry", MFD_CLOEXEC);
        if (memory < 0)
            return -errno;
        rc = fdio_pwrite_all(memory, it->body, (size_t)it->bytes, 0);
        if (rc < 0)
            return rc;
        put.fd = memory;
    }
    return objstore_put(t->opts.store, &put, note);
}

/* TRANSPORT-1: in sync.db, then to whoever waits. */
static void report_stored(struct transport *t, struct queue_item *it)
{
    struct syncdb_item row;

    fill_row(&row, it->key, it->kind, SYNCDB_STORED);
    row.attempts = it->attempts;
    if (it->kind == QUEUE_ENTRY) {
        t->opts.on_entry_stored(t->opts.user, &it->patient, it->seq);
    } else {
        int rc = syncdb_note(t->opts.db, &row, view_of(NULL, 0));

        if (rc < 0)
            log_warn("sync_db_write", LOG_RC("cause", rc)); /* it will be compared again */
    }
    answer_waiters(give(it->waiters), 0, it->bytes);
    queue_item_free(it);
}

/* Every failure is remembered, so that a restart does not hide that something keeps failing. */
static void report_failed(struct transport *t, const struct syncdb_item *row, struct view body,
                          enum queue_verdict verdict, struct waiter *waiters, int rc)
{
    int noted = syncdb_note(t->opts.db, row, body);

    if (noted < 0)
        log_warn("sync_db_write", LOG_RC("cause", noted));
    if (verdict == QUEUE_STUCK) {
        log_error("upload_parked", LOG_RC("cause", rc), LOG_U64("attempts", row->attempts),
                  LOG_U64("kind", (uint64_t)row->kind));
        answer_waiters(waiters, PHR_E_STORE_REFUSED, 0);
    } else {
        log_debug("upload_retry", LOG_RC("cause", rc), LOG_U64("attempts", row->attempts));
    }
}

static void finish_item(struct transport *t, struct queue_item *it, int rc,
                        const struct objstore_note *note)
{
    struct syncdb_item row;
    struct waiter *waiters = NULL;
    scoped(free) uint8_t *body = NULL;
    size_t body_bytes = 0;
    enum queue_verdict verdict;

    fill_row(&row, it->key, it->kind, SYNCDB_QUEUED);
    row.attempts = it->attempts;
    row.reason = rc;
    memcpy(row.words, note->words, sizeof row.words);
    if (rc < 0 && it->kind == QUEUE_CHECKPOINT) { /* copied: the item may go once the lock is free */
        body = malloc((size_t)it->bytes + 1);
        body_bytes = body ? (size_t)it->bytes : 0;
        if (body)
            memcpy(body, it->body, body_bytes);
    }
    storestate_note(&t->state, rc, note);
    pthread_mutex_lock(&t->lock);
    verdict = queue_end(t->queue, it, rc, note, clock_boottime_ms());
    if (verdict == QUEUE_DONE)
        count_item(t, it, -1);
    if (verdict == QUEUE_STUCK)
        waiters = give(it->waiters);
    pthread_cond_broadcast(&t->puts); /* a gate may have opened */
    pthread_mutex_unlock(&t->lock);
    if (verdict == QUEUE_DONE) {
        report_stored(t, it);
        return;
    }
    if (verdict == QUEUE_STUCK)
        row.state = SYNCDB_PARKED;
    report_failed(t, &row, view_of(body, body_bytes), verdict, waiters, rc);
}

/*
 * At most a second, also when nothing is due: CLOCK_BOOTTIME may run ahead of what we wait on,
 * and glibc before 2.41 can lose a signal (bug 25847), which then costs no more than that.
 */
static void wait_until(pthread_cond_t *c, pthread_mutex_t *m, uint64_t wait_ms)
{
    clock_cond_wait_ms(c, m, wait_ms > WAIT_MS_MAX ? WAIT_MS_MAX : wait_ms);
}

static void *put_thread(void *arg)
{
    struct transport *t = arg;

    pthread_mutex_lock(&t->lock);
    while (!t->is_ending) {
        uint64_t now = clock_boottime_ms();
        struct queue_item *it = queue_take(t->queue, now);
        struct objstore_note note = { 0 };
        uint64_t next;
        int rc;

        if (!it) {
            next = queue_next_ms(t->queue, now);
            wait_until(&t->puts, &t->lock, next <= now ? 1 : next - now);
            continue;
        }
        pthread_mutex_unlock(&t->lock);
        rc = send_item(t, it, &note);
        if (rc < 0 && note.blame == OBJSTORE_BLAME_NONE)
            objstore_note_set(&note, OBJSTORE_BLAME_WAY, "on this machine: %s", phr_err_text(rc));
        finish_item(t, it, rc, &note);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

uint32_t transport_retry(struct transport *t)
{
    uint32_t in_db = 0;
    uint32_t in_memory;

    if (syncdb_unpark(t->opts.db, &in_db) < 0)
        in_db = 0; /* those in memory go all the same */
    pthread_mutex_lock(&t->lock);
    in_memory = queue_unpark(t->queue, clock_boottime_ms());
    pthread_cond_broadcast(&t->puts);
    pthread_mutex_unlock(&t->lock);
    return in_db > in_memory ? in_db : in_memory;
}

/* ---- fetching ---- */

int transport_get_object(struct transport *t, const struct id16 *patient, const struct digest *id,
                         int fd, uint64_t bytes_max, bool (*is_wanted)(void *user),
                         transport_done done, void *user)
{
    char key[STOREKEY_BYTES];

    storekey_object(patient, id, key);
    return fetcher_get(t->fetcher, key, id, fd, bytes_max, is_wanted, done, user);
}

int transport_list(struct transport *t, const char *prefix,
                   int (*on_key)(void *user, const char *key), transport_done done, void *user)
{
    return fetcher_list(t->fetcher, prefix, on_key, done, user);
}

int transport_load_object(struct transport *t, const struct id16 *patient, const struct digest *id,
                          uint8_t **out_p, size_t *out_n)
{
    char key[STOREKEY_BYTES];
    int rc;

    storekey_object(patient, id, key);
    rc = fetcher_load(t->fetcher, key, id, out_p, out_n);
    return rc == -ENOENT ? PHR_E_STORE : rc; /* its upload is still on the way */
}

void transport_tick(struct transport *t)
{
    fetcher_probe_now_and_then(t->fetcher);
}

/* ---- status ---- */

static int add_parked(void *user, const struct syncdb_item *item, struct view body)
{
    static const char *const kinds[] = { "object", "entry", "checkpoint" };
    const char *slash = strrchr(item->key, '/');
    char id[21];
    json_t *row;

    (void)body;
    snprintf(id, sizeof id, "%.*s", item->kind == QUEUE_OBJECT ? 8 : 20, slash ? slash + 1 : "");
    /* No patient in it: anybody may ask. The id is enough for the log and for support. */
    row = json_pack("{s:s, s:s, s:I, s:i, s:s, s:s, s:I}", "kind",
                    item->kind >= 0 && item->kind <= 2 ? kinds[item->kind] : "?", "id",
                    id, "attempts", (json_int_t)item->attempts, "reason", item->reason, "error",
                    phr_err_text(item->reason), "words", item->words, "since",
                    (json_int_t)item->at_s);
    return row && json_array_append_new(user, row) == 0 ? 0 : -ENOMEM;
}

json_t *transport_dup_status(struct transport *t)
{
    json_t *parked = json_array();
    uint64_t now = clock_boottime_ms();
    struct queue_counts c;
    struct storestate_view state;

    if (!parked)
        return NULL;
    if (syncdb_each(t->opts.db, SYNCDB_PARKED, PARKED_SHOWN_MAX, add_parked, parked) < 0)
        json_array_clear(parked);
    pthread_mutex_lock(&t->lock);
    queue_count(t->queue, &c);
    pthread_mutex_unlock(&t->lock);
    storestate_copy(&t->state, &state);
    return json_pack(
        "{s:{s:s, s:s, s:s, s:I, s:I}, s:{s:i, s:i, s:i, s:i, s:I}, s:o}", "store", "url",
        t->opts.store_url, "state", storestate_text(state.word), "last_error", state.last_error,
        "last_error_at", (json_int_t)state.last_error_s, "next_try_ms",
        (json_int_t)(c.is_gated && c.gate_ms > now ? c.gate_ms - now : 0), "queue", "objects",
        (int)c.waiting[QUEUE_OBJECT], "entries", (int)c.waiting[QUEUE_ENTRY], "checkpoints",
        (int)c.waiting[QUEUE_CHECKPOINT], "parked",
        (int)(c.parked[0] + c.parked[1] + c.parked[2]), "bytes", (json_int_t)c.bytes, "parked",
        parked);
}
