/*
 * The notifier. Telling the kernel may block on write-back, which comes back to us as WRITEs:
 * so it happens on this thread alone, which holds no lock and for which nobody waits but
 * logout (bounded).
 */
#include "vault/notify.h"

#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/scope.h"

enum { NOTIFY_QUEUE_MAX = 65536 };

enum notify_kind { NOTIFY_NODE, NOTIFY_ENTRY, NOTIFY_NAMES, NOTIFY_CALL };
struct notify_item {
    struct notify_item *next;
    enum notify_kind kind;
    uint64_t nodeid;
    void (*fn)(struct vault *v, void *arg);
    void *arg;
    size_t name_bytes;
    uint8_t name[];
};

struct notify {
    struct vault *v;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_cond_t done;
    struct notify_item *head; /* lock */
    struct notify_item **tail;
    size_t count;      /* lock */
    uint64_t queued;   /* lock: items ever queued */
    uint64_t told;     /* lock: items ever told */
    bool is_stopping;  /* lock */
    pthread_t thread;
    bool has_thread;
};

static void *notify_main(void *arg);

int notify_open(struct vault *v, struct notify **out_notify)
{
    struct notify *n = calloc(1, sizeof *n);
    pthread_condattr_t monotonic;
    int rc;

    if (!n)
        return -ENOMEM;
    n->v = v;
    n->tail = &n->head;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->wake, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&n->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    rc = -pthread_create(&n->thread, NULL, notify_main, n);
    if (rc < 0) {
        notify_close(n);
        return rc;
    }
    n->has_thread = true;
    *out_notify = n;
    return 0;
}

void notify_close(struct notify *n)
{
    if (!n)
        return;
    pthread_mutex_lock(&n->lock);
    n->is_stopping = true;
    pthread_cond_broadcast(&n->wake);
    pthread_mutex_unlock(&n->lock);
    if (n->has_thread)
        pthread_join(n->thread, NULL);
    while (n->head) {
        struct notify_item *item = n->head;

        n->head = item->next;
        if (item->kind == NOTIFY_CALL)
            free(item->arg);
        free(item);
    }
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->wake);
    pthread_cond_destroy(&n->done);
    free(n);
}

static void push(struct vault *v, const struct notify_item *what, struct view name)
{
    struct notify *n = v->notify;
    struct notify_item *item;

    if (!n)
        return;
    item = malloc(sizeof *item + name.n);
    if (!item)
        return; /* out of memory: timeouts of the kernel's caches must do */
    *item = *what;
    item->next = NULL;
    item->name_bytes = name.n;
    if (name.n)
        memcpy(item->name, name.p, name.n);
    pthread_mutex_lock(&n->lock);
    if (n->count < NOTIFY_QUEUE_MAX || what->kind == NOTIFY_CALL) {
        *n->tail = item;
        n->tail = &item->next;
        n->count++;
        n->queued++;
        item = NULL;
        pthread_cond_signal(&n->wake);
    }
    pthread_mutex_unlock(&n->lock);
    free(item);
}

void notify_node(struct vault *v, uint64_t nodeid)
{
    push(v, &(struct notify_item){ .kind = NOTIFY_NODE, .nodeid = nodeid }, view_of(NULL, 0));
}

void notify_entry(struct vault *v, uint64_t parent, struct view name)
{
    push(v, &(struct notify_item){ .kind = NOTIFY_ENTRY, .nodeid = parent }, name);
}

void notify_names(struct vault *v)
{
    push(v, &(struct notify_item){ .kind = NOTIFY_NAMES }, view_of(NULL, 0));
}

void notify_call(struct vault *v, void (*fn)(struct vault *v, void *arg), void *arg)
{
    push(v, &(struct notify_item){ .kind = NOTIFY_CALL, .fn = fn, .arg = arg }, view_of(NULL, 0));
}

static void tell(struct vault *v, struct notify_item *item)
{
    const struct vault_upcalls *up = &v->opts.upcalls;

    switch (item->kind) {
    case NOTIFY_NODE:
        if (up->inval_node)
            up->inval_node(up->user, item->nodeid);
        break;
    case NOTIFY_ENTRY:
        if (up->inval_entry)
            up->inval_entry(up->user, item->nodeid, view_of(item->name, item->name_bytes));
        break;
    case NOTIFY_NAMES:
        if (up->inval_names)
            up->inval_names(up->user);
        break;
    case NOTIFY_CALL:
        item->fn(v, item->arg);
        break;
    default:
        INVARIANT(false);
    }
}

static void *notify_main(void *arg)
{
    struct notify *n = arg;

    pthread_mutex_lock(&n->lock);
    for (;;) {
        struct notify_item *item = n->head;

        if (n->is_stopping)
            break;
        if (!item) {
            pthread_cond_wait(&n->wake, &n->lock);
            continue;
        }
        n->head = item->next;
        if (!n->head)
            n->tail = &n->head;
        n->count--;
        pthread_mutex_unlock(&n->lock);
        tell(n->v, item);
        free(item);
        pthread_mutex_lock(&n->lock);
        n->told++;
        pthread_cond_broadcast(&n->done);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

void notify_wait(struct vault *v, uint32_t timeout_ms)
{
    struct notify *n = v->notify;
    struct timespec until;
    uint64_t want;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&n->lock);
    want = n->queued;
    while (n->told < want && !n->is_stopping)
        if (pthread_cond_timedwait(&n->done, &n->lock, &until) != 0)
            break;
    pthread_mutex_unlock(&n->lock);
}
