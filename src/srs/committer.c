/*
 * One thread decides, writes and answers (S-3).
 *
 * COMMIT-1  Nothing leaves before the transaction that records it is on disk: answers, released
 *   points and announced entries come after srs_db_commit, and when that fails there are none of
 *   them and every job of the batch that is more than reading is answered PHR_E_AUDIT.
 * COMMIT-2  Jobs are decided one after the other, and answered in that order. A release that was
 *   decided before a revocation is on its way before the revocation is acknowledged; one decided
 *   after it finds no key. (The model in the crypto notes shows both races without this.)
 * COMMIT-3  Keys of grants that ended are overwritten and fsynced after the commit and before the
 *   answers. A crash in between leaves slots that no grant names: the next start overwrites them.
 * COMMIT-4  There is no window: the next batch is what came while this one was being written.
 *
 *   queue ──► begin ─► decide each ─► commit = 1 fsync ─► release each ─► shred ─► answer each ─► announce
 *                          └ refused: undone to its mark      └ failed: undo all, answer PHR_E_AUDIT
 */
#include "srs/committer.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "srs/checkpointer.h"
#include "srs/srs_inside.h"

enum {
    QUEUE_JOBS_MAX = 4096,
    QUEUE_BYTES_MAX = 64 * 1024 * 1024,
    BATCH_JOBS_MAX = 256,
    CHECKPOINT_PERIOD_MS = 60 * 1000
};

struct committer {
    struct srs *srs;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* lock: work, or the end */
    struct job *first;   /* lock */
    struct job *last;    /* lock */
    size_t count;        /* lock */
    size_t bytes;        /* lock */
    bool is_closing;     /* lock */
};

static void job_free(struct job *job)
{
    if (job->free_held)
        job->free_held(job->held);
    loader_free_objects(job->objects);
    writer_fini(&job->answer);
    free(job->bytes);
    free(job);
}

/* ---- one batch ---- */

/* A job that meets a failure of the machine is refused alone, as long as SQLite kept the transaction. */
static int decide(struct srs *s, struct job *job)
{
    struct batch_mark mark;
    int rc = batch_mark(s, &mark);

    if (rc < 0)
        return rc;
    s->current = job;
    job->status =
        job->call ? job->call(s, job->user) : committer_asks[job->ask].decide(s, job);
    s->current = NULL;
    if (job->status == 0)
        return batch_keep(s);
    if (!job->call && srs_state_is_failure(job->status))
        job->status = PHR_E_AUDIT;
    return batch_undo(s, &mark);
}

static int decide_all(struct srs *s, struct job *jobs)
{
    int rc = 0;

    for (struct job *job = jobs; job && rc == 0; job = job->next)
        rc = decide(s, job);
    return rc;
}

static bool is_checkpoint_due(const struct srs *s, bool is_last)
{
    return s->log.tree.size > s->checkpoint_size &&
           (is_last || clock_boottime_ms() - s->checkpoint_ms >= CHECKPOINT_PERIOD_MS);
}

static int write_batch(struct srs *s, struct job *jobs, bool is_last)
{
    const uint64_t changes = srs_db_changes(s->db);
    int rc = srs_db_begin(s->db);

    if (rc < 0)
        return rc;
    rc = decide_all(s, jobs);
    if (rc == 0 && is_checkpoint_due(s, is_last))
        rc = checkpointer_sign(s);
    if (rc == 0 && srs_db_changes(s->db) != changes) {
        rc = rkslot_sync(s->slots); /* a key that the database names must be there */
        if (rc == 0)
            rc = srs_db_commit(s->db);
    }
    srs_db_rollback(s->db); /* nothing is open any more after a commit */
    return rc;
}

static void release_all(struct srs *s, struct job *jobs)
{
    for (struct job *job = jobs; job; job = job->next) {
        if (job->status == 0 && !job->call && committer_asks[job->ask].release)
            job->status = committer_asks[job->ask].release(s, job);
        if (job->status == 0 && !writer_ok(&job->answer))
            job->status = -ENOMEM;
    }
}

static void announce(struct srs *s)
{
    struct batch news = batch_take_news(s);

    for (size_t i = 0; i < news.entry_count && s->opts.on_entry; i++)
        s->opts.on_entry(s->opts.user, &news.entries[i].patient, news.entries[i].seq,
                         view_of(news.entries[i].bytes, news.entries[i].n));
    if (news.note && s->opts.on_checkpoint)
        s->opts.on_checkpoint(s->opts.user, news.note_size,
                              view_of(news.note, news.note_bytes));
    batch_fini(&news);
}

/* True when the job is the loader's for now. */
static bool send_to_loader(struct srs *s, struct job *job)
{
    if (job->status != PHR_E_PENDING || job->call)
        return false;
    job->answer.n = 0;
    job->status = loader_submit(s->loader, job);
    return job->status == 0;
}

static void answer_all(struct srs *s, struct job *jobs)
{
    struct job *next;

    for (struct job *job = jobs; job; job = next) {
        const struct view none = { NULL, 0 };

        next = job->next;
        if (send_to_loader(s, job))
            continue;
        job->done(job->user, job->status,
                  job->status == 0 ? writer_done(&job->answer) : none);
        job_free(job);
    }
}

/* Who only reads is answered even when the disk takes no more. */
static void decide_reader(struct srs *s, struct job *job)
{
    if (srs_db_begin(s->db) < 0)
        return;
    job->answer.n = 0;
    job->status = committer_asks[job->ask].decide(s, job);
    srs_db_rollback(s->db);
}

static void refuse_all(struct srs *s, struct job *jobs)
{
    for (struct job *job = jobs; job; job = job->next) {
        job->status = PHR_E_AUDIT; /* COMMIT-1 */
        if (!job->call && committer_asks[job->ask].is_reading)
            decide_reader(s, job);
    }
}

static void run_batch(struct srs *s, struct job *jobs, bool is_last)
{
    const struct batch_mark start = batch_start(s);
    int rc = write_batch(s, jobs, is_last);

    atomic_fetch_add(&s->counters.batches, 1);
    if (rc < 0) {
        atomic_fetch_add(&s->counters.failed_batches, 1);
        batch_undo_all(s, &start);
        checkpointer_load(s);
        refuse_all(s, jobs);
    } else {
        release_all(s, jobs);
        batch_shred(s); /* COMMIT-3 */
    }
    answer_all(s, jobs);
    announce(s);
}

/* ---- the thread ---- */

/* Up to a batch of jobs; NULL when it is time for a checkpoint or the end. */
static struct job *take_jobs(struct committer *c, bool *out_is_closing)
{
    struct timespec until;
    struct job *first;
    struct job *last;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += CHECKPOINT_PERIOD_MS / 1000;
    pthread_mutex_lock(&c->lock);
    while (!c->first && !c->is_closing && rc == 0)
        rc = pthread_cond_timedwait(&c->wake, &c->lock, &until);
    first = c->first;
    last = first;
    for (size_t i = 0; last; i++) {
        c->count--;
        c->bytes -= last->payload.n;
        if (i + 1 == BATCH_JOBS_MAX || !last->next)
            break;
        last = last->next;
    }
    if (last) {
        c->first = last->next;
        last->next = NULL;
    }
    if (!c->first)
        c->last = NULL;
    *out_is_closing = c->is_closing && !first;
    pthread_mutex_unlock(&c->lock);
    return first;
}

static void *thread_main(void *p)
{
    struct committer *c = p;
    bool is_closing = false;

    while (!is_closing) {
        struct job *jobs = take_jobs(c, &is_closing);

        run_batch(c->srs, jobs, is_closing);
    }
    aead_thread_fini();
    return NULL;
}

int committer_open(struct srs *s, struct committer **out_committer)
{
    struct committer *c = calloc(1, sizeof *c);
    pthread_condattr_t attr;
    int rc;

    if (!c)
        return -ENOMEM;
    c->srs = s;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &attr);
    pthread_condattr_destroy(&attr);
    /* The thread finds itself through the handle, so this is set before it starts. */
    *out_committer = c;
    pthread_mutex_lock(&c->lock);
    rc = -pthread_create(&c->thread, NULL, thread_main, c);
    c->has_thread = rc == 0;
    pthread_mutex_unlock(&c->lock);
    if (rc < 0) {
        *out_committer = NULL;
        committer_close(c);
    }
    return rc;
}

void committer_close(struct committer *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->is_closing = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    if (c->has_thread)
        pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* lock is held. */
static void append(struct committer *c, struct job *job)
{
    job->next = NULL;
    if (c->last)
        c->last->next = job;
    else
        c->first = job;
    c->last = job;
    c->count++;
    c->bytes += job->payload.n;
    pthread_cond_signal(&c->wake);
}

void committer_resubmit(struct committer *c, struct job *job)
{
    pthread_mutex_lock(&c->lock);
    append(c, job);
    pthread_mutex_unlock(&c->lock);
}

int committer_submit(struct committer *c, struct job *job)
{
    int rc = 0;

    pthread_mutex_lock(&c->lock);
    if (c->is_closing)
        rc = PHR_E_CLOSED;
    else if (c->count >= QUEUE_JOBS_MAX || c->bytes + job->payload.n > QUEUE_BYTES_MAX)
        rc = -EAGAIN;
    if (rc == 0)
        append(c, job);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

size_t committer_queued(struct committer *c)
{
    size_t count;

    pthread_mutex_lock(&c->lock);
    count = c->count;
    pthread_mutex_unlock(&c->lock);
    return count;
}

/* ---- calls that wait ---- */

struct waiting_call {
    int (*call)(struct srs *s, void *user);
    void *user;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_done; /* lock */
    int rc;       /* lock */
};

static int run_call(struct srs *s, void *user)
{
    struct waiting_call *w = user;

    return w->call(s, w->user);
}

static void on_call_done(void *user, int status, struct view payload)
{
    struct waiting_call *w = user;

    (void)payload;
    pthread_mutex_lock(&w->lock);
    w->is_done = true;
    w->rc = status;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

int committer_call(struct committer *c, int (*call)(struct srs *s, void *user),
                   void *user)
{
    struct waiting_call w = { .call = call, .user = user };
    struct job *job = calloc(1, sizeof *job);
    int rc = 0;

    if (!job)
        return -ENOMEM;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.cond, NULL);
    job->call = run_call;
    job->done = on_call_done;
    job->user = &w;
    writer_init(&job->answer);
    if (pthread_equal(pthread_self(), c->thread))
        run_batch(c->srs, job, false);
    else
        rc = committer_submit(c, job);
    if (rc < 0)
        job_free(job);
    pthread_mutex_lock(&w.lock);
    while (rc == 0 && !w.is_done)
        pthread_cond_wait(&w.cond, &w.lock);
    if (rc == 0)
        rc = w.rc;
    pthread_mutex_unlock(&w.lock);
    pthread_cond_destroy(&w.cond);
    pthread_mutex_destroy(&w.lock);
    return rc;
}
