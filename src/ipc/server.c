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

#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/fdio.h"
#include "base/secret.h"
#include "ipc/dial.h"

enum {
    STALL_MS = 30 * 1000,
    SWEEP_MS = 1000,
    BACKLOG = 64,
    EVENTS_MAX = 64,
    IN_BYTES_MAX = 16 * 1024 * 1024, /* payloads of one peer that are being answered */
    OUT_BYTES_MAX = 32 * 1024 * 1024 /* answers that one peer has not fetched */
};

struct piece { /* one frame on its way out */
    struct piece *next;
    struct frame_out out;
    uint8_t payload[];
};

struct connection {
    struct server *server;
    struct connection *next; /* of the server's list, or of the dead ones */
    int sock;
    uint32_t events;       /* what epoll watches */
    atomic_bool is_open;
    struct peer peer;      /* role and host: server->lock */
    struct frame_in in;
    bool has_head;         /* in.head is decoded and judged */
    int refusal;           /* of the frame that is being read */
    const struct rule *rule;
    struct request *incoming; /* gets the payload that is being read */
    uint32_t in_flight;
    size_t in_bytes;
    struct piece *head;
    struct piece *tail;
    size_t out_bytes;
    uint64_t moved_ms;     /* when bytes last went either way */
};

struct request {
    struct request *next;
    struct connection *connection;
    struct peer peer;
    uint16_t type;
    uint64_t id;
    int fd;
    bool is_secret;
    uint8_t *payload;
    size_t payload_bytes;
    struct piece *answer;
};

struct push {
    struct push *next;
    enum ipc_role role;
    uint16_t type;
    size_t n;
    uint8_t payload[];
};

struct server {
    struct server_opts opts;
    char *path;
    dev_t dev; /* of the socket we bound, with ino: so that we remove no other */
    ino_t ino;
    int listen_fd;
    int epoll_fd;
    int wake_fd;
    int spare_fd; /* given up for a moment when there are no others */
    atomic_bool is_stopping;
    struct connection *connections;
    uint32_t connection_count;
    uint64_t next_connection;
    uint64_t next_sweep_ms;
    pthread_mutex_t lock;
    bool is_closed;          /* lock */
    struct request *answered; /* lock */
    struct request *answered_last;
    struct push *pushes; /* lock */
    struct push *pushes_last;
    uint64_t open_requests; /* lock */
};

static int listen_at(struct server *s);
static void accept_all(struct server *s);
static void on_ready(struct connection *c, uint32_t events);
static int read_frame(struct connection *c);
static int judge(struct connection *c);
static int hand_over(struct connection *c);
static void collect_answers(struct server *s);
static int write_pieces(struct connection *c);
static void rearm(struct connection *c);
static void shut(struct connection *c);
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
                on_ready(events[i].data.ptr, events[i].events);
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
    struct connection *c = NULL;
    struct epoll_event ev = { .events = EPOLLIN };

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &n) == 0 && may_join(s, cred.uid))
        c = calloc(1, sizeof *c);
    if (!c) {
        close(sock);
        return;
    }
    c->server = s;
    c->sock = sock;
    c->events = EPOLLIN;
    atomic_init(&c->is_open, true);
    c->peer = (struct peer){ .pid = cred.pid, .uid = cred.uid, .gid = cred.gid,
                             .connection = s->next_connection++ };
    c->moved_ms = clock_boottime_ms();
    frame_in_init(&c->in);
    ev.data.ptr = c;
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, sock, &ev) < 0) {
        free(c);
        close(sock);
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

static void on_ready(struct connection *c, uint32_t events)
{
    int rc = 0;

    if (!atomic_load(&c->is_open))
        return; /* closed earlier in this round */
    if (events & EPOLLOUT)
        rc = write_pieces(c);
    if (rc >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        rc = read_frame(c);
    if (rc < 0)
        shut(c);
    else
        rearm(c);
}

static void request_free(struct request *r)
{
    if (r->fd >= 0)
        close(r->fd);
    if (r->is_secret)
        secret_free(r->payload);
    else
        free(r->payload);
    free(r->answer);
    free(r);
}

/* At most one frame: epoll brings us back, and the others get their turn. */
static int read_frame(struct connection *c)
{
    size_t before = c->in.head_at + c->in.payload_at;
    int rc;

    if (!c->has_head) {
        rc = frame_in_head(&c->in, c->sock);
        if (rc == 1)
            rc = judge(c);
        if (c->in.head_at != before)
            c->moved_ms = clock_boottime_ms();
        if (rc <= 0)
            return rc;
        c->has_head = true;
    }
    rc = frame_in_payload(&c->in, c->sock, c->incoming ? c->incoming->payload : NULL);
    if (c->in.head_at + c->in.payload_at != before)
        c->moved_ms = clock_boottime_ms();
    return rc <= 0 ? rc : hand_over(c);
}

static const struct rule *find_rule(const struct server *s, uint16_t type)
{
    for (size_t i = 0; i < s->opts.rule_count; i++) {
        if ((uint16_t)s->opts.rules[i].type == type)
            return &s->opts.rules[i];
    }
    return NULL;
}

static int refusal_of(struct connection *c, const struct rule *rule)
{
    enum ipc_role role;

    pthread_mutex_lock(&c->server->lock);
    role = c->peer.role;
    pthread_mutex_unlock(&c->server->lock);
    if (!rule)
        return PHR_E_PROTOCOL;
    if (!(rule->roles & (1u << role)))
        return -EPERM;
    if (c->in.head.payload_bytes > rule->bytes_max)
        return PHR_E_LIMIT;
    if ((c->in.fd >= 0 ? 1 : 0) != rule->fds)
        return PHR_E_PROTOCOL;
    return 0;
}

static struct request *request_new(struct connection *c, const struct rule *rule)
{
    struct request *r = calloc(1, sizeof *r);
    size_t n = c->in.head.payload_bytes;

    if (!r)
        return NULL;
    r->connection = c;
    r->type = c->in.head.type;
    r->id = c->in.head.id;
    r->fd = -1;
    r->is_secret = rule && rule->is_secret;
    if (rule) {
        r->payload = r->is_secret ? secret_alloc(n + 1) : malloc(n + 1);
        r->payload_bytes = n;
        if (!r->payload) {
            free(r);
            return NULL;
        }
    }
    return r;
}

/* The head is complete: is it worth memory? 1 to go on, negative to close. */
static int judge(struct connection *c)
{
    const struct rule *rule = find_rule(c->server, c->in.head.type);

    if (c->in.head.id == 0 || c->in.head.status != 0)
        return PHR_E_PROTOCOL;
    c->refusal = refusal_of(c, rule);
    c->rule = c->refusal == 0 ? rule : NULL;
    if (c->refusal < 0)
        frame_in_fini(&c->in); /* its descriptor */
    if (c->rule) {
        c->incoming = request_new(c, c->rule);
        if (!c->incoming)
            return -ENOMEM;
    }
    return 1;
}

static int hand_over(struct connection *c)
{
    struct request *r = give(c->incoming);
    const struct rule *rule = c->rule;
    struct server *s = c->server;
    struct view payload;

    if (!r)
        r = request_new(c, NULL);
    if (!r)
        return -ENOMEM;
    r->fd = give_fd(c->in.fd);
    frame_in_init(&c->in);
    c->has_head = false;
    c->in_flight++;
    c->in_bytes += r->payload_bytes;
    pthread_mutex_lock(&s->lock);
    r->peer = c->peer;
    s->open_requests++;
    pthread_mutex_unlock(&s->lock);
    if (!rule) {
        request_reply(r, c->refusal, view_of(NULL, 0));
        return 1;
    }
    payload = view_of(r->payload, r->payload_bytes);
    rule->handle(s->opts.user, r, payload);
    return 1;
}

const struct peer *request_get_peer(const struct request *r)
{
    return &r->peer;
}

enum msg_type request_get_type(const struct request *r)
{
    return (enum msg_type)r->type;
}

void request_set_role(struct request *r, enum ipc_role role, const struct id16 *host)
{
    struct server *s = r->connection->server;

    r->peer.role = role;
    if (host)
        r->peer.host = *host;
    pthread_mutex_lock(&s->lock);
    r->connection->peer.role = r->peer.role;
    r->connection->peer.host = r->peer.host;
    pthread_mutex_unlock(&s->lock);
}

int request_take_fd(struct request *r)
{
    return give_fd(r->fd);
}

bool request_is_wanted(const struct request *r)
{
    return atomic_load(&r->connection->is_open);
}

static struct piece *piece_new(const struct frame_head *head, struct view payload)
{
    struct piece *p = malloc(sizeof *p + payload.n);

    if (!p)
        return NULL;
    p->next = NULL;
    if (payload.n)
        memcpy(p->payload, payload.p, payload.n);
    frame_out_init(&p->out, head, view_of(p->payload, payload.n), -1);
    return p;
}

void request_reply(struct request *r, int status, struct view payload)
{
    struct server *s = r->connection->server;
    struct frame_head head = { .type = r->type, .status = status, .id = r->id };
    bool is_last;

    INVARIANT(status <= 0);
    if (payload.n > IPC_PAYLOAD_BYTES_MAX) {
        head.status = PHR_E_LIMIT;
        payload = view_of(NULL, 0);
    }
    head.payload_bytes = (uint32_t)payload.n;
    r->answer = piece_new(&head, payload); /* without memory the connection is closed */

    pthread_mutex_lock(&s->lock);
    if (!s->is_closed) {
        r->next = NULL;
        if (s->answered_last)
            s->answered_last->next = r;
        else
            s->answered = r;
        s->answered_last = r;
        pthread_mutex_unlock(&s->lock);
        wake(s);
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
    pthread_mutex_unlock(&s->lock);
    wake(s);
}

static void queue_piece(struct connection *c, struct piece *p)
{
    if (c->head == NULL)
        c->moved_ms = clock_boottime_ms(); /* the stall counts from here */
    if (c->tail)
        c->tail->next = p;
    else
        c->head = p;
    c->tail = p;
    c->out_bytes += p->out.payload.n + FRAME_HEAD_BYTES;
}

static void send_answer(struct request *r)
{
    struct connection *c = r->connection;

    c->in_flight--;
    c->in_bytes -= r->payload_bytes;
    if (atomic_load(&c->is_open)) {
        if (r->answer)
            queue_piece(c, give(r->answer));
        if (c->out_bytes == 0 || c->out_bytes > OUT_BYTES_MAX || write_pieces(c) < 0)
            shut(c);
        else
            rearm(c);
    }
    request_free(r);
}

static void send_push(struct server *s, const struct push *p)
{
    struct frame_head head = { .payload_bytes = (uint32_t)p->n, .type = p->type };

    for (struct connection *c = s->connections; c; c = c->next) {
        enum ipc_role role;
        struct piece *piece;

        pthread_mutex_lock(&s->lock);
        role = c->peer.role;
        pthread_mutex_unlock(&s->lock);
        if (role != p->role || !atomic_load(&c->is_open))
            continue;
        piece = piece_new(&head, view_of(p->payload, p->n));
        if (!piece)
            continue;
        queue_piece(c, piece);
        if (c->out_bytes > OUT_BYTES_MAX || write_pieces(c) < 0)
            shut(c);
        else
            rearm(c);
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

static int write_pieces(struct connection *c)
{
    while (c->head) {
        struct piece *p = c->head;
        size_t before = p->out.at;
        int rc = frame_out_write(&p->out, c->sock);

        if (p->out.at != before)
            c->moved_ms = clock_boottime_ms();
        if (rc <= 0)
            return rc;
        c->head = p->next;
        if (!c->head)
            c->tail = NULL;
        c->out_bytes -= p->out.payload.n + FRAME_HEAD_BYTES;
        free(p);
    }
    return 1;
}

/* SERVER-1: who has enough in flight is not read from. */
static void rearm(struct connection *c)
{
    struct epoll_event ev = { .data.ptr = c };
    bool may_read = c->in_flight < c->server->opts.in_flight_max && c->in_bytes < IN_BYTES_MAX;

    ev.events = (may_read ? EPOLLIN : 0u) | (c->head ? EPOLLOUT : 0u);
    if (ev.events == c->events)
        return;
    c->events = ev.events;
    if (epoll_ctl(c->server->epoll_fd, EPOLL_CTL_MOD, c->sock, &ev) < 0)
        shut(c);
}

/* Ends the socket; the rest goes with the sweep after the last request (SERVER-4). */
static void shut(struct connection *c)
{
    if (!atomic_load(&c->is_open))
        return;
    atomic_store(&c->is_open, false);
    /* By name: a copy in a child that was forked meanwhile would keep it in the set. */
    ignored(epoll_ctl(c->server->epoll_fd, EPOLL_CTL_DEL, c->sock, NULL));
    close(c->sock);
    c->sock = -1;
    if (c->server->opts.on_close)
        c->server->opts.on_close(c->server->opts.user, &c->peer);
}

static void connection_free(struct connection *c)
{
    if (c->sock >= 0)
        close(c->sock);
    frame_in_fini(&c->in);
    if (c->incoming)
        request_free(c->incoming);
    while (c->head) {
        struct piece *p = c->head;

        c->head = p->next;
        free(p);
    }
    free(c);
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
            shut(c);
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
    pthread_mutex_unlock(&s->lock);
    collect_answers(s);
    for (struct connection *c = s->connections; c; c = c->next)
        shut(c);
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    if (s->path && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
        ignored(unlink(s->path)); /* the next server clears it as well */
    s->listen_fd = -1;
    pthread_mutex_lock(&s->lock);
    is_idle = s->open_requests == 0;
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
