#include "mount/inval.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "base/checked.h"
#include "base/log.h"
#include "base/scope.h"
#include "mount/negotiate.h"

enum {
    INC_EPOCH_CODE = 8
}; /* FUSE_NOTIFY_INC_EPOCH, since Linux 6.16; newer than our headers */
enum { ROOT_INODE = 1 };

enum item_kind { ITEM_NODE, ITEM_ENTRY, ITEM_NAMES };

struct item {
    struct item *next;
    enum item_kind kind;
    uint64_t nodeid;
    struct waiter *waiter; /* or NULL */
    uint64_t ticket;
    size_t name_bytes;
    char name[];
};

struct notifier {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t done;
    struct item *head;         /* lock */
    struct item *tail;         /* lock */
    uint64_t ticket_last;      /* lock; given */
    uint64_t ticket_done;      /* lock; every item up to it is done */
    struct fuse_session *fuse; /* lock; NULL: nobody to tell */
    bool is_telling;           /* lock; fuse is in use */
    bool is_closed;            /* lock */
    bool has_epoch;            /* the thread's own */
    bool has_thread;
    pthread_t thread;
};

static void *notifier_main(void *arg);
static int add(struct notifier *n, struct item *take, bool wait);

static _Thread_local bool is_worker;

void inval_mark_worker(void)
{
    is_worker = true;
}

int inval_open(struct notifier **out_notifier)
{
    struct notifier *n = calloc(1, sizeof *n);
    pthread_condattr_t attr;
    int rc;

    if (!n)
        return -ENOMEM;
    n->has_epoch = true;                         /* until the kernel says no */
    ignored(pthread_mutex_init(&n->lock, NULL)); /* default kinds: cannot fail */
    ignored(pthread_condattr_init(&attr));
    ignored(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    ignored(pthread_cond_init(&n->work, &attr));
    ignored(pthread_cond_init(&n->done, &attr));
    pthread_condattr_destroy(&attr);
    rc = pthread_create(&n->thread, NULL, notifier_main, n);
    if (rc != 0) {
        inval_close(n);
        return -rc;
    }
    n->has_thread = true;
    *out_notifier = n;
    return 0;
}

void inval_attach(struct notifier *n, struct fuse_session *se)
{
    scoped(unlock) pthread_mutex_t *held = lock(&n->lock);

    (void)held;
    n->fuse = se;
}

void inval_detach(struct notifier *n)
{
    pthread_mutex_lock(&n->lock);
    n->fuse = NULL;
    while (n->is_telling) /* the connection has ended: the kernel answers at once */
        pthread_cond_wait(&n->done, &n->lock);
    pthread_mutex_unlock(&n->lock);
}

void inval_close(struct notifier *n)
{
    if (!n)
        return;
    pthread_mutex_lock(&n->lock);
    n->is_closed = true;
    pthread_cond_broadcast(&n->work);
    pthread_mutex_unlock(&n->lock);
    if (n->has_thread)
        ignored(pthread_join(n->thread, NULL));
    pthread_cond_destroy(&n->work);
    pthread_cond_destroy(&n->done);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

static struct item *item_new(enum item_kind kind, uint64_t nodeid, struct view name)
{
    struct item *it = calloc(1, sizeof *it + name.n + 1);

    /* A revoked reader would keep his pages: better no mount than that. */
    INVARIANT(it != NULL);
    it->kind = kind;
    it->nodeid = nodeid;
    it->name_bytes = name.n;
    if (name.n > 0)
        memcpy(it->name, name.p, name.n);
    return it;
}

void inval_node(struct notifier *n, uint64_t nodeid)
{
    ignored(
        add(n, item_new(ITEM_NODE, nodeid, view_of(NULL, 0)), true)); /* it is queued */
}

void inval_entry(struct notifier *n, uint64_t parent, struct view name)
{
    ignored(add(n, item_new(ITEM_ENTRY, parent, name), true)); /* it is queued */
}

void inval_names(struct notifier *n)
{
    ignored(add(n, item_new(ITEM_NAMES, ROOT_INODE, view_of(NULL, 0)),
                true)); /* it is queued */
}

int inval_flush(struct notifier *n, uint64_t nodeid, struct waiter *w)
{
    struct item *it = item_new(ITEM_NODE, nodeid, view_of(NULL, 0));

    it->waiter = w;
    return add(n, it, false);
}

static bool wait_until(struct notifier *n, uint64_t ticket)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += INVAL_WAIT_MS / 1000;
    while (n->ticket_done < ticket) {
        if (pthread_cond_timedwait(&n->done, &n->lock, &until) == ETIMEDOUT)
            return false;
    }
    return true;
}

/* PHR_E_PENDING with a waiter, else 0 or PHR_E_TIMEOUT. */
static int add(struct notifier *n, struct item *take, bool wait)
{
    bool is_pending = take->waiter != NULL;
    uint64_t ticket;
    bool is_done = true;

    pthread_mutex_lock(&n->lock);
    ticket = take->ticket = ++n->ticket_last;
    if (n->tail)
        n->tail->next = take;
    else
        n->head = take;
    n->tail = take;
    pthread_cond_signal(&n->work);
    /* The kernel waits for this thread's answer, so this thread does not wait for the kernel. */
    if (wait && !is_worker && negotiate_get_raw()->opcode == 0)
        is_done = wait_until(n, ticket);
    pthread_mutex_unlock(&n->lock);
    if (is_pending)
        return PHR_E_PENDING;
    if (!is_done)
        log_warn("invalidation_slow", LOG_U64("wait_ms", INVAL_WAIT_MS));
    return is_done ? 0 : PHR_E_TIMEOUT;
}

/* Not in libfuse 3.14: the frame as the kernel takes it. */
static int tell_epoch(struct fuse_session *se)
{
    struct fuse_out_header h = { .len = sizeof h, .error = INC_EPOCH_CODE, .unique = 0 };

    if (write(fuse_session_fd(se), &h, sizeof h) < 0)
        return -errno;
    return 0;
}

static void tell(struct notifier *n, struct fuse_session *se, const struct item *it)
{
    int rc = 0;

    switch (it->kind) {
    case ITEM_NODE:
        rc = fuse_lowlevel_notify_inval_inode(se, it->nodeid, 0, 0);
        break;
    case ITEM_ENTRY:
        rc = fuse_lowlevel_notify_inval_entry(se, it->nodeid, it->name, it->name_bytes);
        break;
    case ITEM_NAMES:
        if (n->has_epoch)
            rc = tell_epoch(se);
        if (rc == -EINVAL)
            n->has_epoch = false;
        /* The two top levels and negative entries live for a second, and who lost a right is
           told by node, so an older kernel needs no more than the root's own pages dropped. */
        rc = fuse_lowlevel_notify_inval_inode(se, ROOT_INODE, 0, 0);
        break;
    }
    if (rc < 0 && rc != -ENOENT && rc != -ENODEV && rc != -ENOTCONN)
        log_warn("invalidation_failed", LOG_U64("node", it->nodeid), LOG_RC("cause", rc));
}

static void *notifier_main(void *arg)
{
    struct notifier *n = arg;

    pthread_mutex_lock(&n->lock);
    for (;;) {
        struct item *it = n->head;
        struct fuse_session *se = n->fuse;

        if (!it && n->is_closed)
            break;
        if (!it) {
            pthread_cond_wait(&n->work, &n->lock);
            continue;
        }
        n->head = it->next;
        if (!n->head)
            n->tail = NULL;
        n->is_telling = se != NULL;
        pthread_mutex_unlock(&n->lock);
        if (se)
            tell(n, se, it);
        if (it->waiter)
            it->waiter->wake(it->waiter, 0);
        pthread_mutex_lock(&n->lock);
        n->is_telling = false;
        n->ticket_done = it->ticket;
        free(it);
        pthread_cond_broadcast(&n->done);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}
