/*
 * A link is one thread that owns a socket. Callers hand it items under the lock and wake it;
 * it writes them, matches replies by id, keeps deadlines and reconnects.
 *
 *   down --dialled, HELLO answered--> up --socket lost--> down (waits 50 ms .. 1 s, then dials)
 *
 * LINK-1 An item is answered exactly once: whoever takes it out of the table answers it.
 * LINK-2 A frame whose first byte is out goes out whole, even when its deadline has passed:
 *        otherwise the stream would lose its frames. So an item lives as long as it is in the
 *        table or in the queue.
 * LINK-3 No callback is called with the lock held.
 */
#include "ipc/link.h"

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "ipc/dial.h"
#include "ipc/hello.h"

enum {
    CALLS_MAX = 4096,                     /* in flight; phrfs has a few per FUSE worker */
    QUEUED_BYTES_MAX = 64 * 1024 * 1024,  /* not yet in the socket */
    WAIT_MS_MIN = 50,
    WAIT_MS_MAX = 1000,
    HELLO_TIMEOUT_MS = 2000
};

struct item {
    struct item *next; /* in the queue */
    bool is_queued;
    bool is_waiting; /* in the table: not answered */
    uint64_t id;
    uint64_t deadline_ms; /* 0 = none */
    link_done done;
    void *user;
    struct frame_out out;
    uint8_t payload[];
};

struct link {
    struct link_opts opts; /* fixed after open, as the next two */
    char *path;
    int wake_fd;
    pthread_t thread;
    bool has_thread;
    atomic_bool is_up;
    pthread_mutex_t lock;
    bool is_closing;                /* lock */
    struct item *table[CALLS_MAX];  /* lock; at id % CALLS_MAX */
    size_t count;                   /* lock */
    struct item *head;              /* lock; the queue */
    struct item *tail;              /* lock */
    size_t queued_bytes;            /* lock */
    uint64_t next_id;               /* lock */
    uint64_t next_deadline_ms;      /* lock; no item is due before it; 0 = none */
    int sock;                       /* the thread's own from here on */
    struct frame_in in;
    uint8_t *in_payload;
};

static void *run(void *arg);
static int connect_and_greet(struct link *l);
static int serve(struct link *l);
static int write_queue(struct link *l);
static int read_frames(struct link *l);
static int take_frame(struct link *l);
static int expire(struct link *l);
static void answer_all(struct link *l, int status);
static int wait_for(struct link *l, int sock, short events, int wait_ms);
static void drop_input(struct link *l);

int link_open(const struct link_opts *opts, struct link **out_link)
{
    scoped(link_close) struct link *l = calloc(1, sizeof *l);

    if (!l)
        return -ENOMEM;
    l->sock = -1;
    l->wake_fd = -1;
    l->next_id = 1;
    pthread_mutex_init(&l->lock, NULL);
    frame_in_init(&l->in);
    l->opts = *opts;
    l->path = strdup(opts->socket_path);
    if (!l->path)
        return -ENOMEM;
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0)
        return -errno;
    *out_link = give(l);
    return 0;
}

int link_start(struct link *l)
{
    int rc;

    INVARIANT(!l->has_thread);
    rc = -pthread_create(&l->thread, NULL, run, l);
    l->has_thread = rc == 0;
    return rc;
}

static void wake(struct link *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one, sizeof one);

    INVARIANT(n == sizeof one || errno == EAGAIN);
}

void link_stop(struct link *l)
{
    if (!l || !l->has_thread)
        return;
    INVARIANT(!pthread_equal(pthread_self(), l->thread));
    pthread_mutex_lock(&l->lock);
    l->is_closing = true;
    pthread_mutex_unlock(&l->lock);
    wake(l);
    pthread_join(l->thread, NULL);
    l->has_thread = false;
}

void link_close(struct link *l)
{
    if (!l)
        return;
    link_stop(l);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    pthread_mutex_destroy(&l->lock);
    free(l->path);
    free(l);
}

bool link_is_up(const struct link *l)
{
    return atomic_load(&l->is_up);
}

static void item_free(struct item *it)
{
    if (it->out.fd >= 0)
        close(it->out.fd);
    free(it);
}

/* Takes fd (-1 for none), also on failure. */
static struct item *item_new(enum msg_type type, struct view payload, int fd)
{
    struct item *it = calloc(1, sizeof *it + payload.n);
    struct frame_head head = { .payload_bytes = (uint32_t)payload.n, .type = (uint16_t)type };

    if (!it) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    if (payload.n)
        memcpy(it->payload, payload.p, payload.n);
    frame_out_init(&it->out, &head, view_of(it->payload, payload.n), fd);
    return it;
}

static void queue_item(struct link *l, struct item *it)
{
    while (l->table[l->next_id % CALLS_MAX])
        l->next_id++;
    it->id = l->next_id++;
    put_le64(it->out.head + 12, it->id);
    l->table[it->id % CALLS_MAX] = it;
    l->count++;
    it->is_waiting = true;
    it->is_queued = true;
    if (l->tail)
        l->tail->next = it;
    else
        l->head = it;
    l->tail = it;
    l->queued_bytes += it->out.payload.n;
    if (it->deadline_ms && (!l->next_deadline_ms || it->deadline_ms < l->next_deadline_ms))
        l->next_deadline_ms = it->deadline_ms;
}

int link_call(struct link *l, enum msg_type type, struct view payload, int fd,
              uint32_t timeout_ms, link_done done, void *user)
{
    struct item *it;
    int copy = -1;
    int rc = 0;

    if (payload.n > IPC_PAYLOAD_BYTES_MAX)
        return PHR_E_LIMIT;
    if (!atomic_load(&l->is_up))
        return PHR_E_SIDECAR;
    if (fd >= 0) {
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            return -errno;
    }
    it = item_new(type, payload, copy);
    if (!it)
        return -ENOMEM;
    it->done = done;
    it->user = user;
    it->deadline_ms = timeout_ms ? clock_boottime_ms() + timeout_ms : 0;

    pthread_mutex_lock(&l->lock);
    if (l->is_closing || !atomic_load(&l->is_up))
        rc = PHR_E_SIDECAR;
    else if (l->count >= CALLS_MAX - 1 || l->queued_bytes + payload.n > QUEUED_BYTES_MAX)
        rc = -EAGAIN;
    else
        queue_item(l, it);
    pthread_mutex_unlock(&l->lock);
    if (rc < 0) {
        item_free(it);
        return rc;
    }
    wake(l);
    return 0;
}

static bool is_closing(struct link *l)
{
    scoped(unlock) pthread_mutex_t *held = lock(&l->lock);

    (void)held;
    return l->is_closing;
}

static void *run(void *arg)
{
    struct link *l = arg;
    int wait_ms = WAIT_MS_MIN;

    while (!is_closing(l)) {
        bool was_up = false;

        if (connect_and_greet(l) == 0) {
            wait_ms = WAIT_MS_MIN;
            was_up = true;
            atomic_store(&l->is_up, true);
            if (l->opts.on_up)
                l->opts.on_up(l->opts.user);
            ignored(serve(l)); /* why it ended changes nothing */
        }
        pthread_mutex_lock(&l->lock);
        atomic_store(&l->is_up, false); /* from here on link_call queues nothing */
        pthread_mutex_unlock(&l->lock);
        drop_input(l);
        if (l->sock >= 0)
            close(l->sock);
        l->sock = -1;
        if (is_closing(l))
            break;
        answer_all(l, PHR_E_SIDECAR);
        if (was_up && l->opts.on_down)
            l->opts.on_down(l->opts.user);
        ignored(wait_for(l, -1, 0, wait_ms)); /* or until it closes */
        wait_ms = wait_ms * 2 > WAIT_MS_MAX ? WAIT_MS_MAX : wait_ms * 2;
    }
    answer_all(l, PHR_E_CLOSED);
    return NULL;
}

/* 1 = the socket is ready, 0 = woken or time is up, negative = the link closes. */
static int wait_for(struct link *l, int sock, short events, int wait_ms)
{
    struct pollfd p[2] = { { .fd = l->wake_fd, .events = POLLIN },
                           { .fd = sock, .events = events } };
    int n = poll(p, 2, wait_ms);
    uint64_t count;

    if (n < 0 && errno != EINTR)
        return -errno;
    if (n > 0 && (p[0].revents & POLLIN)) {
        ssize_t got = read(l->wake_fd, &count, sizeof count);

        INVARIANT(got == sizeof count || errno == EAGAIN || errno == EINTR);
    }
    if (is_closing(l))
        return PHR_E_CLOSED;
    return n > 0 && p[1].revents ? 1 : 0;
}

static void drop_input(struct link *l)
{
    frame_in_fini(&l->in);
    frame_in_init(&l->in);
    free(l->in_payload);
    l->in_payload = NULL;
}

/* Reads one whole frame into l->in and l->in_payload; 1, 0 or negative as frame.h says. */
static int read_one(struct link *l)
{
    int rc;

    if (!l->in_payload) {
        rc = frame_in_head(&l->in, l->sock);
        if (rc <= 0)
            return rc;
        l->in_payload = malloc((size_t)l->in.head.payload_bytes + 1);
        if (!l->in_payload)
            return -ENOMEM;
    }
    return frame_in_payload(&l->in, l->sock, l->in_payload);
}

static int connect_and_greet(struct link *l)
{
    struct hello hello = { .role = IPC_ROLE_MOUNT, .host = l->opts.host,
                           .lease_s = l->opts.lease_s };
    struct hello_reply reply;
    struct frame_out out;
    uint8_t bytes[HELLO_BYTES];
    uint64_t end = clock_boottime_ms() + HELLO_TIMEOUT_MS;
    int rc = dial(l->path, &l->sock);

    if (rc < 0)
        return rc;
    hello_encode(&hello, bytes);
    frame_out_init(&out,
                   &(struct frame_head){ .payload_bytes = sizeof bytes, .type = MSG_HELLO,
                                         .id = UINT64_MAX },
                   view_of(bytes, sizeof bytes), -1);
    rc = frame_out_write(&out, l->sock); /* a fresh socket has room for it */
    if (rc <= 0)
        return rc < 0 ? rc : PHR_E_SIDECAR;
    while ((rc = read_one(l)) == 0) {
        uint64_t now = clock_boottime_ms();

        if (now >= end)
            return PHR_E_TIMEOUT;
        rc = wait_for(l, l->sock, POLLIN, (int)(end - now));
        if (rc < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    if (l->in.head.type != MSG_HELLO || l->in.head.id != UINT64_MAX || l->in.head.status != 0)
        return PHR_E_PROTOCOL;
    rc = hello_reply_decode(view_of(l->in_payload, l->in.head.payload_bytes), &reply);
    drop_input(l);
    return rc;
}

/* Until the socket fails or the link closes. */
static int serve(struct link *l)
{
    for (;;) {
        short events = POLLIN;
        int wait_ms = -1;
        int rc = expire(l);

        if (rc >= 0)
            rc = write_queue(l);
        if (rc < 0)
            return rc;
        pthread_mutex_lock(&l->lock);
        if (l->head)
            events |= POLLOUT;
        if (l->next_deadline_ms) {
            uint64_t now = clock_boottime_ms();

            wait_ms = l->next_deadline_ms <= now ? 0
                      : l->next_deadline_ms - now > 60000
                          ? 60000
                          : (int)(l->next_deadline_ms - now);
        }
        pthread_mutex_unlock(&l->lock);
        rc = wait_for(l, l->sock, events, wait_ms);
        if (rc > 0)
            rc = read_frames(l);
        if (rc < 0)
            return rc;
    }
}

static void unqueue_head(struct link *l)
{
    struct item *it = l->head;

    l->head = it->next;
    if (!l->head)
        l->tail = NULL;
    it->next = NULL;
    it->is_queued = false;
    l->queued_bytes -= it->out.payload.n;
    if (!it->is_waiting)
        item_free(it);
}

/* 0 when the queue is empty or the socket full. */
static int write_queue(struct link *l)
{
    for (;;) {
        struct item *it;
        int rc;

        pthread_mutex_lock(&l->lock);
        /* What timed out before its first byte needs not go; LINK-2 for the rest. */
        while (l->head && !l->head->is_waiting && l->head->out.at == 0)
            unqueue_head(l);
        it = l->head;
        pthread_mutex_unlock(&l->lock);
        if (!it)
            return 0;
        rc = frame_out_write(&it->out, l->sock); /* only this thread frees queued items */
        if (rc <= 0)
            return rc;
        pthread_mutex_lock(&l->lock);
        unqueue_head(l);
        pthread_mutex_unlock(&l->lock);
    }
}

/* Takes the item out of the table; frees it unless it is still queued. Lock held. */
static void untable(struct link *l, struct item *it)
{
    l->table[it->id % CALLS_MAX] = NULL;
    l->count--;
    it->is_waiting = false;
    if (!it->is_queued)
        item_free(it);
}

static int read_frames(struct link *l)
{
    /* Bounded, so that a chatty server cannot keep the queue and the deadlines waiting. */
    for (int i = 0; i < 64; i++) {
        int rc = read_one(l);

        if (rc == 1)
            rc = take_frame(l);
        if (rc <= 0)
            return rc;
    }
    return 0;
}

static int take_frame(struct link *l)
{
    struct frame_head h = l->in.head;
    uint8_t *bytes = give(l->in_payload);
    link_done done = NULL;
    void *user = NULL;
    struct item *it;

    drop_input(l);
    if (h.id == 0) {
        if (l->opts.on_push)
            l->opts.on_push(l->opts.user, (enum msg_type)h.type, view_of(bytes, h.payload_bytes));
        free(bytes);
        return 1;
    }
    pthread_mutex_lock(&l->lock);
    it = l->table[h.id % CALLS_MAX];
    if (it && it->id == h.id) { /* else: its deadline has passed */
        done = it->done;
        user = it->user;
        untable(l, it);
    }
    pthread_mutex_unlock(&l->lock);
    if (done)
        done(user, h.status > 0 ? PHR_E_PROTOCOL : h.status, view_of(bytes, h.payload_bytes));
    free(bytes);
    return 1;
}

static int expire(struct link *l)
{
    uint64_t now = clock_boottime_ms();

    pthread_mutex_lock(&l->lock);
    if (!l->next_deadline_ms || now < l->next_deadline_ms) {
        pthread_mutex_unlock(&l->lock);
        return 0;
    }
    l->next_deadline_ms = 0;
    for (size_t i = 0; i < CALLS_MAX; i++) {
        struct item *it = l->table[i];
        link_done done;
        void *user;

        if (!it || !it->deadline_ms)
            continue;
        if (it->deadline_ms > now) {
            if (!l->next_deadline_ms || it->deadline_ms < l->next_deadline_ms)
                l->next_deadline_ms = it->deadline_ms;
            continue;
        }
        done = it->done;
        user = it->user;
        untable(l, it);
        pthread_mutex_unlock(&l->lock); /* LINK-3 */
        done(user, PHR_E_TIMEOUT, view_of(NULL, 0));
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return 0;
}

static void answer_all(struct link *l, int status)
{
    pthread_mutex_lock(&l->lock);
    while (l->head)
        unqueue_head(l);
    for (size_t i = 0; i < CALLS_MAX; i++) {
        struct item *it = l->table[i];
        link_done done;
        void *user;

        if (!it)
            continue;
        done = it->done;
        user = it->user;
        untable(l, it);
        pthread_mutex_unlock(&l->lock);
        done(user, status, view_of(NULL, 0));
        pthread_mutex_lock(&l->lock);
    }
    l->next_deadline_ms = 0;
    pthread_mutex_unlock(&l->lock);
}
