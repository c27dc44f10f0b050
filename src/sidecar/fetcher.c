#include "sidecar/fetcher.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "crypto/digest.h"
#include "sidecar/storekey.h"

enum {
    THREADS = 4,
    JOBS_MAX = 1024,
    GET_TIMEOUT_MS = 30 * 1000, /* and a second for each SLOW_BYTES_PER_S */
    SLOW_BYTES_PER_S = 256 * 1024,
    LOAD_TIMEOUT_MS = 20 * 1000, /* whoever pushes an epoch change waits for 30 */
    PROBE_EVERY_MS = 30 * 1000
};

enum job_kind { JOB_GET, JOB_LIST, JOB_PROBE };

struct job {
    struct job *next;
    enum job_kind kind;
    char key[STOREKEY_BYTES];
    struct digest sha256;
    int fd;
    uint64_t bytes_max;
    uint64_t count; /* of keys listed */
    bool (*is_wanted)(void *user);
    int (*on_key)(void *user, const char *key);
    fetcher_done done;
    void *user;
};

struct fetcher {
    struct objstore *store;
    struct storestate *state;
    pthread_t threads[THREADS];
    size_t thread_count;
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t wake;
    bool is_ending;
    struct job *jobs;
    struct job *jobs_last;
    uint32_t job_count;
};

static void *run(void *arg);

int fetcher_open(struct objstore *store, struct storestate *state, struct fetcher **out_fetcher)
{
    scoped(fetcher_close) struct fetcher *f = calloc(1, sizeof *f);
    int rc = 0;

    if (!f)
        return -ENOMEM;
    f->store = store;
    f->state = state;
    pthread_mutex_init(&f->lock, NULL);
    clock_cond_init(&f->wake);
    for (size_t i = 0; rc == 0 && i < THREADS; i++) {
        rc = -pthread_create(&f->threads[i], NULL, run, f);
        f->thread_count += rc == 0;
    }
    if (rc < 0)
        return rc;
    *out_fetcher = give(f);
    return 0;
}

static void end_job(struct job *job, int rc, uint64_t bytes)
{
    if (job->done)
        job->done(job->user, rc, bytes);
    if (job->fd >= 0)
        close(job->fd);
    free(job);
}

void fetcher_close(struct fetcher *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->is_ending = true;
    pthread_cond_broadcast(&f->wake);
    pthread_mutex_unlock(&f->lock);
    for (size_t i = 0; i < f->thread_count; i++)
        pthread_join(f->threads[i], NULL);
    while (f->jobs) {
        struct job *job = f->jobs;

        f->jobs = job->next;
        end_job(job, PHR_E_CLOSED, 0);
    }
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static int add_job(struct fetcher *f, struct job *job)
{
    int rc = 0;

    pthread_mutex_lock(&f->lock);
    if (f->job_count >= JOBS_MAX || f->is_ending) {
        rc = -EAGAIN;
    } else {
        if (f->jobs_last)
            f->jobs_last->next = job;
        else
            f->jobs = job;
        f->jobs_last = job;
        f->job_count++;
        pthread_cond_signal(&f->wake);
    }
    pthread_mutex_unlock(&f->lock);
    if (rc < 0) {
        if (job->fd >= 0)
            close(job->fd);
        free(job);
    }
    return rc;
}

int fetcher_get(struct fetcher *f, const char *key, const struct digest *sha256, int fd,
                uint64_t bytes_max, bool (*is_wanted)(void *user), fetcher_done done, void *user)
{
    struct job *job = calloc(1, sizeof *job);

    if (!job) {
        close(fd);
        return -ENOMEM;
    }
    *job = (struct job){ .kind = JOB_GET, .sha256 = *sha256, .fd = fd, .bytes_max = bytes_max,
                         .is_wanted = is_wanted, .done = done, .user = user };
    snprintf(job->key, sizeof job->key, "%s", key);
    return add_job(f, job);
}

int fetcher_list(struct fetcher *f, const char *prefix, int (*on_key)(void *user, const char *key),
                 fetcher_done done, void *user)
{
    struct job *job = calloc(1, sizeof *job);

    if (!job)
        return -ENOMEM;
    *job = (struct job){ .kind = JOB_LIST, .fd = -1, .on_key = on_key, .done = done, .user = user };
    snprintf(job->key, sizeof job->key, "%s", prefix);
    return add_job(f, job);
}

/* FETCH-1. Fetches into fd; on failure the file is empty again. */
static int fetch(struct fetcher *f, const char *key, const struct digest *want, int fd,
                 uint64_t bytes_max, uint32_t timeout_ms, uint64_t *out_bytes)
{
    struct objstore_note note;
    struct digest have;
    int rc = objstore_get(f->store, key, fd, bytes_max, timeout_ms, out_bytes, &have, &note);

    if (rc == 0 && !digest_equal(&have, want)) {
        objstore_note_set(&note, OBJSTORE_BLAME_WAY, "other bytes came than their name says");
        rc = PHR_E_SEAL;
        log_error("object_damaged_in_store", LOG_ID("object", want->b));
    }
    if (rc < 0 && ftruncate(fd, 0) < 0)
        log_warn("truncate", LOG_RC("cause", -errno));
    storestate_note(f->state, rc, &note);
    return rc;
}

static void run_get(struct fetcher *f, struct job *job)
{
    uint32_t timeout_ms =
        GET_TIMEOUT_MS + (uint32_t)(job->bytes_max / SLOW_BYTES_PER_S) * 1000;
    uint64_t bytes = 0;
    int rc = PHR_E_CLOSED;

    if (job->is_wanted && !job->is_wanted(job->user)) {
        end_job(job, rc, 0);
        return;
    }
    rc = fetch(f, job->key, &job->sha256, job->fd, job->bytes_max, timeout_ms, &bytes);
    if (rc == PHR_E_SEAL || rc == PHR_E_STORE) /* once more: a bit may have flipped on its way */
        rc = fetch(f, job->key, &job->sha256, job->fd, job->bytes_max, timeout_ms, &bytes);
    end_job(job, rc, rc == 0 ? bytes : 0);
}

static int count_key(void *user, const char *key)
{
    struct job *job = user;

    job->count++;
    return job->on_key(job->user, key);
}

static void run_job(struct fetcher *f, struct job *job)
{
    struct objstore_note note = { 0 };
    int rc;

    if (job->kind == JOB_GET) {
        run_get(f, job);
        return;
    }
    if (job->kind == JOB_LIST)
        rc = objstore_list(f->store, job->key, count_key, job, &note);
    else
        rc = objstore_probe(f->store, &note);
    storestate_note(f->state, rc, &note);
    end_job(job, rc, job->count);
}

/* Not for ever: glibc before 2.41 can lose a signal (bug 25847). */
static void wait_a_second(struct fetcher *f)
{
    clock_cond_wait_ms(&f->wake, &f->lock, 1000);
}

static void *run(void *arg)
{
    struct fetcher *f = arg;

    pthread_mutex_lock(&f->lock);
    while (!f->is_ending) {
        struct job *job = f->jobs;

        if (!job) {
            wait_a_second(f);
            continue;
        }
        f->jobs = job->next;
        if (!f->jobs)
            f->jobs_last = NULL;
        f->job_count--;
        pthread_mutex_unlock(&f->lock);
        run_job(f, job);
        pthread_mutex_lock(&f->lock);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

int fetcher_load(struct fetcher *f, const char *key, const struct digest *sha256,
                 uint8_t **out_p, size_t *out_n)
{
    scoped(close_fd) int fd = memfd_create("phrd-load", MFD_CLOEXEC);
    scoped(free) uint8_t *p = NULL;
    uint64_t bytes = 0;
    int rc;

    if (fd < 0)
        return -errno;
    rc = fetch(f, key, sha256, fd, OBJSTORE_OBJECT_BYTES_MAX, LOAD_TIMEOUT_MS, &bytes);
    if (rc < 0)
        return rc;
    p = malloc((size_t)bytes + 1);
    if (!p)
        return -ENOMEM;
    rc = fdio_pread_all(fd, p, (size_t)bytes, 0);
    if (rc < 0)
        return rc;
    *out_n = (size_t)bytes;
    *out_p = give(p);
    return 0;
}

void fetcher_probe_now_and_then(struct fetcher *f)
{
    struct job *job = storestate_take_turn(f->state, PROBE_EVERY_MS) ? calloc(1, sizeof *job) : NULL;

    if (!job)
        return;
    job->kind = JOB_PROBE;
    job->fd = -1;
    ignored(add_job(f, job)); /* a full line of jobs asks the store anyway */
}
