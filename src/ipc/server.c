/*
 * One thread owns the sockets: it accepts, reads frames, looks them up in the table of rules
 * and calls the handler. Answers may come from any thread: they go to a list under the lock,
 * an eventfd wakes the owner, and only the owner writes.
 *
 * SERVER-1 A peer costs a bounded amount of memory: connections, requests in flight, payload
 *          bytes in flight and bytes waiting to be read by him are all limited. At a limit he
 *          is not read from (it is our answers that are late) or closed (he is).
 * SERVER-2 Half a frame, or output that nobody fetches, ends the connection after STALL_MS.
 * SERVER-3 A request that breaks a rule is read to its end, forgotten and refused by status;
 *          one that breaks the framing ends the connection.
 * SERVER-4 A connection is freed by its last request or by the end of its socket, whichever
 *          is later; the server likewise. So a late answer finds something to be put in.
 * SERVER-5 Strangers (not root, not our own user, not the trusted one) hold at most half of the
 *          connections together, and one of them a quarter: the mount always finds a place.
 */
#include "ipc/server.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/fdio.h"
#include "ipc/dial.h"
#include "ipc/server_state.h"

enum { STALL_MS = 30 * 1000, SWEEP_MS = 1000, BACKLOG = 64, EVENTS_MAX = 64 };

static int listen_at(struct server *s);
static void accept_all(struct server *s);
static void collect_answers(struct server *s);
static void sweep(struct server *s);
static void server_free(struct server *s);

int server_open(const struct server_opts *opts, struct server **out_server)
{
    scoped(server_close) struct server *s = calloc(1, sizeof *s);
    struct epoll_event ev = { .events = EPOLLIN };
    int rc;

    if (!s)
        return -ENOMEM;
    s->listen_fd = s->epoll_fd = s->wake_fd = s->spare_fd = -1;
    s->next_connection = 1;
    pthread_mutex_init(&s->lock, NULL);
    s->opts = *opts;
    INVARIANT(opts->connections_max > 0 && opts->in_flight_max > 0);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll_fd < 0)
        return -errno;
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake_fd < 0)
        return -errno;
    rc = fdio_open(AT_FDCWD, "/dev/null", O_RDONLY, 0, &s->spare_fd);
    if (rc == 0)
        rc = listen_at(s);
    if (rc < 0)
        return rc;
    ev.data.ptr = &s->listen_fd;
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->listen_fd, &ev) < 0)
        return -errno;
    ev.data.ptr = &s->wake_fd;
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->wake_fd, &ev) < 0)
        return -errno;
    *out_server = give(s);
    return 0;
}

/* Two that start at once: both find nobody, both unlink, the later one wins the name. Callers
   that must be alone hold a lock file, as phrd and phrfs do. */
static int clear_path(const char *path)
{
    scoped(close_fd) int rival = -1;
    struct stat st;
    int rc;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST; /* somebody's file, not ours to remove */
    rc = dial(path, &rival);
    if (rc == 0)
        return PHR_E_BUSY;
    if (rc != PHR_E_SIDECAR)
        return rc;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int listen_at(struct server *s)
{
    struct sockaddr_un addr;
    struct stat st;
    int rc = dial_address(s->opts.socket_path, &addr);

    if (rc == 0)
        rc = clear_path(s->opts.socket_path);
    if (rc < 0)
        return rc;
    s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen_fd < 0)
        return -errno;
    if (bind(s->listen_fd, (const struct sockaddr *)&addr, sizeof addr) < 0)
        return -errno;
    s->path = strdup(s->opts.socket_path);
    if (!s->path)
        return -ENOMEM;
    /* Nobody can connect before listen, so the mode is right in time. */
    if (chmod(s->path, s->opts.socket_mode) < 0 || lstat(s->path, &st) < 0)
        return -errno;
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    return listen(s->listen_fd, BACKLOG) < 0 ? -errno : 0;
}

static void wake(struct server *s)
{
    uint64_t one = 1;
    ssize_t n = write(s->wake_fd, &one, sizeof one);

    (void)n; /* full means it is awake already */
}

void server_stop(struct server *s)
{
    int kept = errno;

    atomic_store(&s->is_stopping, true);
    wake(s);
    errno = kept;
}

int server_run(struct server *s)
{
    struct epoll_event events[EVENTS_MAX];

    while (!atomic_load(&s->is_stopping)) {
        int n = epoll_wait(s->epoll_fd, events, EVENTS_MAX, SWEEP_MS);
        uint64_t count;

        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &s->listen_fd) {
                accept_all(s);
            } else if (events[i].data.ptr == &s->wake_fd) {
                ssize_t got = read(s->wake_fd, &count, sizeof count);

                INVARIANT(got == sizeof count || errno == EAGAIN || errno == EINTR);
            } else {
                connection_ready(events[i].data.ptr, events[i].events);
            }
        }
        collect_answers(s);
        sweep(s);
    }
    return 0;
}

static bool is_stranger(const struct server *s, uid_t uid)
{
    return uid != 0 && uid != geteuid() && uid != s->opts.trusted_uid;
}

/* SERVER-5 */
static bool may_join(const struct server *s, uid_t uid)
{
    const uint32_t max = s->opts.connections_max;
    uint32_t strangers = 0;
    uint32_t same = 0;

    for (const struct connection *c = s->connections; c; c = c->next) {
        strangers += is_stranger(s, c->peer.uid);
        same += c->peer.uid == uid;
    }
    if (s->connection_count >= max)
        return false;
    return !is_stranger(s, uid) || (strangers < max / 2 && same < max / 4);
}

static void accept_one(struct server *s, int sock)
{
    struct ucred cred;
    socklen_t n = sizeof cred;
    struct peer peer = { .connection = s->next_connection++ };
    struct connection *c = NULL;
    struct epoll_event ev = { .events = EPOLLIN };

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &n) == 0 && may_join(s, cred.uid)) {
        peer.pid = cred.pid;
        peer.uid = cred.uid;
        peer.gid = cred.gid;
        c = connection_new(s, sock, &peer);
    }
    if (!c) {
        close(sock);
        return;
    }
    ev.data.ptr = c;
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, sock, &ev) < 0) {
        connection_free(c); /* with the socket */
        return;
    }
    c->next = s->connections;
    s->connections = c;
    s->connection_count++;
}

/* Without descriptors a waiting caller would keep epoll awake for ever: he is taken and closed. */
static void turn_away(struct server *s)
{
    int sock;

    if (s->spare_fd >= 0)
        close(s->spare_fd);
    sock = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (sock >= 0)
        close(sock);
    s->spare_fd = -1;
    ignored(fdio_open(AT_FDCWD, "/dev/null", O_RDONLY, 0, &s->spare_fd)); /* or the next time */
}

static void accept_all(struct server *s)
{
    for (int i = 0; i < BACKLOG; i++) {
        int sock = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (sock < 0 && (errno == EMFILE || errno == ENFILE))
            turn_away(s);
        if (sock < 0)
            return;
        accept_one(s, sock);
    }
}

/* Under the lock to its end: after it, the server may be gone. */
void server_take_answer(struct server *s, struct request *r)
{
    bool is_last;

    pthread_mutex_lock(&s->lock);
    if (!s->is_closed) {
        r->next = NULL;
        if (s->answered_last)
            s->answered_last->next = r;
        else
            s->answered = r;
        s->answered_last = r;
        wake(s);
        pthread_mutex_unlock(&s->lock);
        return;
    }
    is_last = --s->open_requests == 0;
    pthread_mutex_unlock(&s->lock);
    request_free(r);
    if (is_last)
        server_free(s);
}

void server_push(struct server *s, enum ipc_role role, enum msg_type type, struct view payload)
{
    struct push *p = malloc(sizeof *p + payload.n);

    if (!p)
        return; /* a push is a hint; who missed it asks again */
    INVARIANT(payload.n <= IPC_PAYLOAD_BYTES_MAX);
    p->next = NULL;
    p->role = role;
    p->type = (uint16_t)type;
    p->n = payload.n;
    if (payload.n)
        memcpy(p->payload, payload.p, payload.n);
    pthread_mutex_lock(&s->lock);
    if (s->is_closed) {
        pthread_mutex_unlock(&s->lock);
        free(p);
        return;
    }
    if (s->pushes_last)
        s->pushes_last->next = p;
    else
        s->pushes = p;
    s->pushes_last = p;
    wake(s);
    pthread_mutex_unlock(&s->lock);
}

static void send_answer(struct request *r)
{
    struct connection *c = r->connection;

    c->in_flight--;
    c->in_bytes -= r->payload_bytes;
    connection_send(c, give(r->answer));
    request_free(r);
}

static void send_push(struct server *s, const struct push *p)
{
    struct frame_head head = { .payload_bytes = (uint32_t)p->n, .type = p->type };

    for (struct connection *c = s->connections; c; c = c->next) {
        struct piece *piece;

        if (!atomic_load(&c->is_open) || connection_role(c) != p->role)
            continue;
        piece = request_make_piece(&head, view_of(p->payload, p->n));
        if (piece) /* else: a push is a hint */
            connection_send(c, piece);
    }
}

static void collect_answers(struct server *s)
{
    struct request *answered;
    struct push *pushes;

    pthread_mutex_lock(&s->lock);
    answered = give(s->answered);
    s->answered_last = NULL;
    pushes = give(s->pushes);
    s->pushes_last = NULL;
    for (const struct request *r = answered; r; r = r->next)
        s->open_requests--;
    pthread_mutex_unlock(&s->lock);
    while (answered) {
        struct request *r = answered;

        answered = r->next;
        send_answer(r);
    }
    while (pushes) {
        struct push *p = pushes;

        pushes = p->next;
        send_push(s, p);
        free(p);
    }
}

/* SERVER-2, and the end of connections that nobody holds any more. Never inside a batch of events. */
static void sweep(struct server *s)
{
    uint64_t now = clock_boottime_ms();
    bool is_due = now >= s->next_sweep_ms;
    struct connection **at = &s->connections;

    if (is_due)
        s->next_sweep_ms = now + SWEEP_MS;
    while (*at) {
        struct connection *c = *at;
        bool is_half = c->in.head_at > 0 && (c->events & EPOLLIN);

        if (is_due && atomic_load(&c->is_open) && (is_half || c->head) &&
            now - c->moved_ms > STALL_MS)
            connection_shut(c);
        if (!atomic_load(&c->is_open) && c->in_flight == 0) {
            *at = c->next;
            s->connection_count--;
            connection_free(c);
        } else {
            at = &c->next;
        }
    }
}

void server_close(struct server *s)
{
    struct stat st;
    bool is_idle;

    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->is_closed = true;
    s->open_requests++; /* ours: a late answer does not free the server under this function */
    pthread_mutex_unlock(&s->lock);
    collect_answers(s);
    for (struct connection *c = s->connections; c; c = c->next)
        connection_shut(c);
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    if (s->path && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
        ignored(unlink(s->path)); /* the next server clears it as well */
    s->listen_fd = -1;
    pthread_mutex_lock(&s->lock);
    is_idle = --s->open_requests == 0;
    pthread_mutex_unlock(&s->lock);
    if (is_idle)
        server_free(s);
}

static void server_free(struct server *s)
{
    while (s->connections) {
        struct connection *c = s->connections;

        s->connections = c->next;
        connection_free(c);
    }
    if (s->epoll_fd >= 0)
        close(s->epoll_fd);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    if (s->spare_fd >= 0)
        close(s->spare_fd);
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s);
}
