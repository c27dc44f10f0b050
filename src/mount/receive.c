/*
 * Who takes requests from the kernel.
 *
 * What a program asks for one after the other (lookup, getattr, create, ...) takes us a few tens of
 * us each, and less than the kernel takes to wake a thread for it, answer, and wake the program.
 * So where such requests come densely (pace.c), one thread takes them all, answers each itself, and
 * then looks for the next without sleeping, for a moment. All else goes from thread to thread, as
 * in libfuse's own loop: before work begins, another thread reads.
 *
 * RECEIVE-1 No request waits behind one that may take long. Those that read or write much, or
 *           sync, are handed on first. One that reads some data is answered like a quick one
 *           as long as they are in memory, and where another waits already it is not; when it
 *           must wait for the disk, it calls another reader before (base/waiting.h). For a quick
 *           one that takes longer than it should, the watch calls one within 2 * TICK_MS.
 * RECEIVE-2 Whoever reads or is about to is counted in `reading`: before, by who called him.
 * RECEIVE-3 At rest nobody spins: SPIN_NS after an answer the reader sleeps in the kernel, and
 *           WATCH_TICKS after it the watch sleeps.
 */
#include "mount/receive.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/scope.h"
#include "base/waiting.h"
#include "mount/pace.h"

enum { THREADS_MAX = 10 };
enum { SPIN_NS = 50 * 1000, SPIN_RELAX_COUNT = 16 };
enum { TICK_MS = 2, WATCH_TICKS = 10 };

struct receive {
    struct fuse_session *session;
    bool may_spin;
    pthread_mutex_t lock;
    pthread_cond_t called;  /* an idle thread should read */
    pthread_cond_t over;
    pthread_t threads[THREADS_MAX];
    size_t count;           /* lock; threads that were made */
    size_t ended;           /* lock; of them */
    size_t reading;         /* lock; RECEIVE-2 */
    size_t idle;            /* lock; threads that wait to be called */
    size_t calls;           /* lock; of them, how many were */
    struct pace pace;       /* lock */
    uint64_t turn;          /* lock; of requests */
    bool is_alone;          /* lock; the turn's request is answered without another reader */
    bool is_over;           /* lock */
    int failure;            /* lock */
    pthread_t watch;
    pthread_cond_t dense;   /* the watch should look */
    bool is_watching;       /* lock */
    bool has_watch;
};

static void *worker_main(void *arg);
static void *watch_main(void *arg);

/* Whether something else can run while one thread spins. */
static bool has_processors(void)
{
    cpu_set_t mine;

    return sched_getaffinity(0, sizeof mine, &mine) == 0 && CPU_COUNT(&mine) > 1;
}

int receive_open(struct fuse_session *session, struct receive **out_receive)
{
    struct receive *r = calloc(1, sizeof *r);
    pthread_condattr_t attr;
    int rc;

    if (!r)
        return -ENOMEM;
    r->session = session;
    r->may_spin = has_processors();
    pace_init(&r->pace);
    ignored(pthread_mutex_init(&r->lock, NULL)); /* default kinds: cannot fail */
    ignored(pthread_cond_init(&r->called, NULL));
    ignored(pthread_cond_init(&r->over, NULL));
    ignored(pthread_condattr_init(&attr));
    ignored(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    ignored(pthread_cond_init(&r->dense, &attr));
    pthread_condattr_destroy(&attr);
    rc = -pthread_create(&r->watch, NULL, watch_main, r);
    r->has_watch = rc == 0;
    if (rc < 0) {
        receive_close(r);
        return rc;
    }
    *out_receive = r;
    return 0;
}

/* One more reader, counted at once; r->lock is held. Where all are at work, the first to end reads. */
static int call_reader(struct receive *r)
{
    if (r->is_over)
        return 0;
    if (r->calls < r->idle) {
        r->calls++;
        r->reading++;
        pthread_cond_signal(&r->called);
    } else if (r->count < THREADS_MAX) {
        int rc = pthread_create(&r->threads[r->count], NULL, worker_main, r);

        if (rc != 0)
            return -rc;
        r->count++;
        r->reading++;
    }
    return 0;
}

int receive_run(struct receive *r)
{
    int rc;

    pthread_mutex_lock(&r->lock);
    rc = call_reader(r);
    while (rc == 0 && r->ended < r->count)
        ignored(pthread_cond_wait(&r->over, &r->lock)); /* valid arguments: cannot fail */
    if (rc == 0)
        rc = r->failure;
    pthread_mutex_unlock(&r->lock);
    return rc;
}

void receive_kick(struct receive *r)
{
    scoped(unlock) pthread_mutex_t *held = lock(&r->lock);

    (void)held;
    if (fuse_session_exited(r->session)) {
        r->is_over = true;
        pthread_cond_broadcast(&r->called);
    }
    for (size_t i = 0; i < r->count; i++)
        ignored(pthread_kill(r->threads[i], SIGUSR2)); /* not joined yet: a valid thread */
}

void receive_close(struct receive *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->is_over = true;
    pthread_cond_signal(&r->dense);
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->count; i++)
        ignored(pthread_join(r->threads[i], NULL));
    if (r->has_watch)
        ignored(pthread_join(r->watch, NULL));
    pthread_cond_destroy(&r->dense);
    pthread_cond_destroy(&r->over);
    pthread_cond_destroy(&r->called);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- a request ---- */

static uint32_t read_bytes(const struct fuse_buf *buf)
{
    struct fuse_read_in in;

    if (buf->size < sizeof(struct fuse_in_header) + sizeof in)
        return UINT32_MAX; /* libfuse refuses it */
    memcpy(&in, (const uint8_t *)buf->mem + sizeof(struct fuse_in_header), sizeof in);
    return in.size;
}

static bool has_more(const struct receive *r)
{
    struct pollfd p = { .fd = fuse_session_fd(r->session), .events = POLLIN };

    return poll(&p, 1, 0) != 0;
}

/* Decrypting this takes as long as several hand-overs, and less than anybody notices. */
static bool is_quick_read(const struct receive *r, const struct fuse_buf *buf)
{
    enum { QUICK_READ_BYTES = 16 * 1024, QUICK_READ_ALONE_BYTES = 256 * 1024 };
    uint32_t n = read_bytes(buf);

    return n <= QUICK_READ_BYTES || (n <= QUICK_READ_ALONE_BYTES && !has_more(r));
}

/* From memory, or so little from the disk that a hand-over costs more. */
static bool is_quick(const struct receive *r, const struct fuse_in_header *h, const struct fuse_buf *buf)
{
    enum { QUICK_WRITE_BYTES = 16 * 1024 };

    switch (h->opcode) {
    case FUSE_LOOKUP:
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_GETATTR:
    case FUSE_SETATTR:
    case FUSE_READLINK:
    case FUSE_SYMLINK:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_LINK:
    case FUSE_OPEN:
    case FUSE_CREATE:
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_GETXATTR:
    case FUSE_LISTXATTR:
    case FUSE_OPENDIR:
    case FUSE_RELEASEDIR:
    case FUSE_INTERRUPT:
        return true;
    case FUSE_READ:
        return is_quick_read(r, buf);
    case FUSE_WRITE:
        return h->len <= QUICK_WRITE_BYTES;
    default:
        return false;
    }
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* Looks for a request without sleeping, for a moment. Whoever had the processor meanwhile must have
   it: what came by then is no hit. */
static enum pace_wait spin(const struct receive *r)
{
    uint64_t until = clock_monotonic_ns() + SPIN_NS;

    for (;;) {
        bool has_come = has_more(r);

        if (clock_monotonic_ns() > until)
            return PACE_SPIN_MISS;
        if (has_come)
            return PACE_SPIN_HIT;
        for (int i = 0; i < SPIN_RELAX_COUNT; i++)
            relax();
    }
}

/* Counts this thread out of the readers. Whether it answers with nobody reading meanwhile. */
static bool begin(struct receive *r, const struct fuse_in_header *h, bool quick, enum pace_wait waited)
{
    scoped(unlock) pthread_mutex_t *held = lock(&r->lock);
    int rc = 0;

    (void)held;
    pace_asked(&r->pace, clock_monotonic_ns(), quick, waited);
    r->turn++;
    r->reading--;
    r->is_alone = r->reading == 0 && quick && pace_is_close(&r->pace);
    if (r->is_alone && !r->is_watching) {
        r->is_watching = true;
        pthread_cond_signal(&r->dense);
    }
    /* Forgotten nodes come in thousands and are quick: no thread is made for them. */
    if (r->reading == 0 && !r->is_alone && h->opcode != FUSE_FORGET && h->opcode != FUSE_BATCH_FORGET)
        rc = call_reader(r);
    if (rc < 0)
        log_debug("no_reader", LOG_RC("cause", rc)); /* this thread reads when it has answered */
    return r->is_alone;
}

/* By who answers alone, before it waits for the disk. */
static void will_wait(void *user)
{
    struct receive *r = user;
    scoped(unlock) pthread_mutex_t *held = lock(&r->lock);

    (void)held;
    pace_waits(&r->pace);
    if (r->reading == 0)
        ignored(call_reader(r)); /* the watch tries again */
}

/* Back among the readers, or idle until called where one is enough. Whether there is to be spun. */
static bool end(struct receive *r)
{
    scoped(unlock) pthread_mutex_t *held = lock(&r->lock);

    (void)held;
    pace_answered(&r->pace, clock_monotonic_ns());
    r->is_alone = false;
    if (pace_is_close(&r->pace) && r->reading > 0) {
        r->idle++;
        while (r->calls == 0 && !r->is_over)
            ignored(pthread_cond_wait(&r->called, &r->lock));
        r->idle--;
        if (r->calls > 0)
            r->calls--; /* RECEIVE-2: counted by the caller */
        return false;
    }
    r->reading++;
    return r->may_spin && r->reading == 1 && pace_may_spin(&r->pace);
}

static void leave(struct receive *r, int failure)
{
    scoped(unlock) pthread_mutex_t *held = lock(&r->lock);

    (void)held;
    if (failure < 0) {
        fuse_session_exit(r->session);
        r->failure = failure;
    }
    r->is_over = true;
    r->ended++;
    pthread_cond_broadcast(&r->called);
    pthread_cond_signal(&r->over);
}

static void *worker_main(void *arg)
{
    struct receive *r = arg;
    struct fuse_buf buf = { 0 };
    enum pace_wait waited = PACE_SLEPT;
    int n = 0;

    ignored(pthread_setname_np(pthread_self(), "phrfs-receive"));
    while (!fuse_session_exited(r->session)) {
        struct fuse_in_header h;

        n = fuse_session_receive_buf(r->session, &buf);
        if (n == -EINTR)
            continue;
        if (n < (int)sizeof h)
            break;
        memcpy(&h, buf.mem, sizeof h);
        if (begin(r, &h, is_quick(r, &h, &buf), waited))
            waiting_set_watcher(will_wait, r);
        fuse_session_process_buf(r->session, &buf);
        waiting_set_watcher(NULL, NULL);
        waited = end(r) ? spin(r) : PACE_SLEPT;
    }
    leave(r, n < 0 && n != -EINTR ? n : 0);
    free(buf.mem); /* libfuse has made it */
    return NULL;
}

/* ---- RECEIVE-1 ---- */

/* r->lock is held, and given up meanwhile. */
static void wait_a_tick(struct receive *r)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    while (!r->is_over && pthread_cond_timedwait(&r->dense, &r->lock, &until) == 0)
        ;
}

static void *watch_main(void *arg)
{
    struct receive *r = arg;
    uint64_t seen = 0;
    unsigned quiet = 0;

    ignored(pthread_setname_np(pthread_self(), "phrfs-watch"));
    pthread_mutex_lock(&r->lock);
    while (!r->is_over) {
        if (!r->is_watching) {
            ignored(pthread_cond_wait(&r->dense, &r->lock)); /* valid arguments: cannot fail */
            continue;
        }
        wait_a_tick(r);
        quiet = r->turn == seen ? quiet + 1 : 0;
        if (r->is_alone && r->turn == seen && r->reading == 0)
            ignored(call_reader(r)); /* tried again at the next tick */
        if (quiet >= WATCH_TICKS && !(r->is_alone && r->reading == 0))
            r->is_watching = false;
        seen = r->turn;
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}
