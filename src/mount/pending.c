/*
 * The table of parked requests.
 *
 *           run: an answer
 *   FRESH ------------------> (the thread's spare again)
 *     | run: PENDING
 *     v          the vault woke it          run: an answer
 *   PARKED ------------------> QUEUED ------------------------> (freed)
 *     |  ^                       | run: PENDING
 *     |  +-----------------------+
 *     | interrupt, deadline, stop
 *     v          the vault woke it
 *   ANSWERED ----------------> (freed)
 *
 * PENDING-1 A task is answered once: by whoever moves it out of PARKED under the lock.
 * PENDING-2 A task lives until it is answered and the vault has given the waiter back.
 * PENDING-3 The vault may wake a task before its worker has parked it; is_held tells.
 * PENDING-4 The hook of an interrupt is taken away (which waits for a running hook) before the
 *           request is answered: after the answer the request is no more.
 * PENDING-5 No lock is held while the vault or libfuse is called.
 */
#include "mount/pending.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/scope.h"
#include "base/secret.h"
#include "mount/inval.h"
#include "mount/reply.h"

enum { POOL_THREADS = 4, TICK_MS = 100 };
enum { PARKED_MAX = 4096 }; /* more than the kernel lets wait for one mount */
enum state { STATE_FRESH = 0, STATE_PARKED, STATE_QUEUED, STATE_ANSWERED };

struct task_list {
    struct task *head;
    struct task *tail;
    size_t count;
};

struct pending {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct task_list parked; /* lock; PARKED and ANSWERED */
    struct task_list queued; /* lock; to be run or answered by the pool */
    size_t busy;             /* lock; tasks in the hands of the pool */
    bool is_stopped;         /* lock */
    bool is_closed;          /* lock */
    pthread_t pool[POOL_THREADS];
    size_t pool_count;
};

static void on_wake(struct waiter *w, int rc);
static void on_interrupt(fuse_req_t req, void *data);
static void park(struct task *t);
static void *pool_main(void *arg);
static void task_free(struct task *t);

static void list_add(struct task_list *l, struct task *t)
{
    t->prev = l->tail;
    t->next = NULL;
    if (l->tail)
        l->tail->next = t;
    else
        l->head = t;
    l->tail = t;
    l->count++;
}

static void list_remove(struct task_list *l, struct task *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        l->head = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        l->tail = t->prev;
    l->count--;
}

int pending_open(struct pending **out_pending)
{
    struct pending *p = calloc(1, sizeof *p);
    pthread_condattr_t attr;

    if (!p)
        return -ENOMEM;
    ignored(pthread_mutex_init(&p->lock, NULL)); /* default kind: cannot fail */
    ignored(pthread_condattr_init(&attr));
    ignored(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    ignored(pthread_cond_init(&p->work, &attr));
    pthread_condattr_destroy(&attr);
    while (p->pool_count < POOL_THREADS) {
        int rc = pthread_create(&p->pool[p->pool_count], NULL, pool_main, p);

        if (rc != 0) {
            pending_close(p);
            return -rc;
        }
        p->pool_count++;
    }
    *out_pending = p;
    return 0;
}

void pending_stop(struct pending *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->is_stopped = true;
    pthread_cond_broadcast(&p->work);
    while (p->busy > 0 || p->queued.count > 0) /* each is bounded: none waits outside */
        pthread_cond_wait(&p->work, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void pending_close(struct pending *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->is_stopped = p->is_closed = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->pool_count; i++)
        ignored(pthread_join(p->pool[i], NULL));
    while (p->parked.head) {
        struct task *t = p->parked.head;

        list_remove(&p->parked, t);
        task_free(t);
    }
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static pthread_key_t spare_key;
static pthread_once_t spare_once = PTHREAD_ONCE_INIT;

static void spare_key_make(void)
{
    ignored(pthread_key_create(&spare_key, free)); /* without it each task is new */
}

struct task *pending_prepare(struct pending *p, fuse_req_t req,
                             int (*run)(struct task *t))
{
    struct task *t;

    ignored(
        pthread_once(&spare_once, spare_key_make)); /* cannot fail with a static once */
    t = pthread_getspecific(spare_key);
    if (t) {
        ignored(pthread_setspecific(spare_key, NULL)); /* clearing needs no memory */
        memset(t, 0, sizeof *t);
    } else {
        t = calloc(1, sizeof *t);
    }
    if (!t)
        return NULL;
    t->waiter.wake = on_wake;
    t->req = req;
    t->run = run;
    t->table = p;
    t->deadline_after_ms = PENDING_DATA_MS;
    return t;
}

void pending_run(struct task *take)
{
    /* The vault may wake the task before run has returned. */
    take->is_held = true;
    if (take->run(take) == PHR_E_PENDING) {
        park(take);
        return;
    }
    if (pthread_getspecific(spare_key) || pthread_setspecific(spare_key, take) != 0)
        free(take);
}

static void task_free(struct task *t)
{
    if (t->copy) {
        secret_wipe(t->copy, t->bytes.n); /* plaintext */
        free(t->copy);
    }
    free(t);
}

/* The worker's buffer is used for the next request as soon as its handler returns. */
static bool copy_bytes(struct task *t)
{
    if (t->bytes.n == 0 || t->copy)
        return true;
    t->copy = malloc(t->bytes.n);
    if (!t->copy)
        return false;
    memcpy(t->copy, t->bytes.p, t->bytes.n);
    t->bytes.p = t->copy;
    return true;
}

static void park(struct task *t)
{
    struct pending *p = t->table;
    bool has_copy = copy_bytes(t);

    /* Before the task is in the table: until then the request is ours alone (PENDING-4). */
    fuse_req_interrupt_func(t->req, on_interrupt, t);
    scoped(unlock) pthread_mutex_t *held = lock(&p->lock);

    (void)held;
    t->deadline_ms = clock_boottime_ms() + t->deadline_after_ms;
    if (!has_copy || p->parked.count >= PARKED_MAX || p->is_stopped) {
        t->is_interrupted = true;
        t->wake_rc = has_copy ? -EAGAIN : -ENOMEM;
    }
    t->state = STATE_PARKED;
    list_add(&p->parked, t);
    pthread_cond_signal(&p->work);
}

static void on_wake(struct waiter *w, int rc)
{
    struct task *t = (struct task *)w;
    struct pending *p = t->table;
    bool is_over = false;

    pthread_mutex_lock(&p->lock);
    t->is_held = false;
    if (t->state == STATE_ANSWERED) {
        list_remove(&p->parked, t);
        is_over = true;
    } else if (!t->is_interrupted) {
        t->wake_rc = rc;
    }
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    if (is_over)
        task_free(t);
}

/* libfuse holds the request's own lock here: only leave a mark, the pool answers. */
static void on_interrupt(fuse_req_t req, void *data)
{
    struct task *t = data;
    struct pending *p = t->table;

    (void)req;
    pthread_mutex_lock(&p->lock);
    if (!t->is_interrupted && t->is_held) {
        t->is_interrupted = true;
        t->wake_rc = -EINTR;
        pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
}

/* Moves what can go on from parked to queued; p->lock is held. */
static void sort_parked(struct pending *p)
{
    uint64_t now = clock_boottime_ms();

    for (struct task *t = p->parked.head, *after; t; t = after) {
        after = t->next;
        if (t->state != STATE_PARKED)
            continue;
        if (t->is_held && !t->is_interrupted &&
            (p->is_stopped || now >= t->deadline_ms)) {
            t->is_interrupted = true;
            t->wake_rc = p->is_stopped ? PHR_E_CLOSED : PHR_E_TIMEOUT;
        }
        if (t->is_held && !t->is_interrupted)
            continue;
        list_remove(&p->parked, t);
        t->state = STATE_QUEUED;
        list_add(&p->queued, t);
    }
}

/* A task that was answered stays until the vault has let go of it; p->lock is not held. */
static void finish(struct pending *p, struct task *t)
{
    bool is_over;

    pthread_mutex_lock(&p->lock);
    is_over = !t->is_held;
    if (!is_over) {
        t->state = STATE_ANSWERED;
        list_add(&p->parked, t);
    }
    pthread_mutex_unlock(&p->lock);
    if (is_over)
        task_free(t);
}

static void give_up(struct pending *p, struct task *t, int rc)
{
    fuse_req_interrupt_func(t->req, NULL, NULL); /* PENDING-4 */
    reply_fail(t->req, rc);
    finish(p, t);
}

static void run_again(struct pending *p, struct task *t, bool is_stopped)
{
    int rc = t->wake_rc;

    if (rc == 0 && is_stopped)
        rc = PHR_E_CLOSED;
    if (t->is_interrupted || rc < 0) {
        give_up(p, t, rc);
        return;
    }
    fuse_req_interrupt_func(t->req, NULL, NULL);
    t->state = STATE_FRESH;
    t->is_held = true;
    t->is_second_run = true;
    if (t->run(t) == PHR_E_PENDING) {
        uint64_t deadline = t->deadline_ms;
        uint64_t now = clock_boottime_ms();

        t->deadline_after_ms = deadline > now ? (uint32_t)(deadline - now) : 0;
        park(t);
        return;
    }
    task_free(t);
}

static void wait_a_tick(struct pending *p)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    if (p->parked.count > 0)
        ignored(pthread_cond_timedwait(&p->work, &p->lock, &until)); /* deadlines */
    else
        ignored(pthread_cond_wait(&p->work, &p->lock));
}

static void *pool_main(void *arg)
{
    struct pending *p = arg;

    inval_mark_worker();
    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct task *t;
        bool is_stopped = p->is_stopped;

        sort_parked(p);
        t = p->queued.head;
        if (!t && p->is_closed)
            break;
        if (!t) {
            wait_a_tick(p);
            continue;
        }
        list_remove(&p->queued, t);
        p->busy++;
        pthread_mutex_unlock(&p->lock);
        run_again(p, t, is_stopped);
        pthread_mutex_lock(&p->lock);
        p->busy--;
        pthread_cond_broadcast(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}
