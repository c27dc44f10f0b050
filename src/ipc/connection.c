/* One peer: his frames come in, are judged by the table of rules, and answers go out. The
   numbers SERVER-1..4 are those of server.c. */
#include <string.h>
#include <sys/epoll.h>

#include "base/checked.h"
#include "base/clock.h"
#include "ipc/server_state.h"

enum {
    IN_BYTES_MAX = 16 * 1024 * 1024, /* payloads of one peer that are being answered */
    OUT_BYTES_MAX = 32 * 1024 * 1024 /* answers that one peer has not fetched */
};

static int read_frame(struct connection *c);
static int judge(struct connection *c);
static int hand_over(struct connection *c);
static int write_pieces(struct connection *c);
static void rearm(struct connection *c);

struct connection *connection_new(struct server *s, int sock, const struct peer *peer)
{
    struct connection *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->server = s;
    c->sock = sock;
    c->events = EPOLLIN;
    atomic_init(&c->is_open, true);
    c->peer = *peer;
    c->moved_ms = clock_boottime_ms();
    frame_in_init(&c->in);
    return c;
}

void connection_free(struct connection *c)
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

enum ipc_role connection_role(struct connection *c)
{
    scoped(unlock) pthread_mutex_t *held = lock(&c->server->lock);

    (void)held;
    return c->peer.role;
}

void connection_ready(struct connection *c, uint32_t events)
{
    int rc = 0;

    if (!atomic_load(&c->is_open))
        return; /* closed earlier in this round */
    if (events & EPOLLOUT)
        rc = write_pieces(c);
    if (rc >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        rc = read_frame(c);
    if (rc < 0)
        connection_shut(c);
    else
        rearm(c);
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
    enum ipc_role role = connection_role(c);

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

void connection_send(struct connection *c, struct piece *p)
{
    if (!atomic_load(&c->is_open)) {
        free(p);
        return;
    }
    if (p)
        queue_piece(c, p);
    if (!p || c->out_bytes > OUT_BYTES_MAX || write_pieces(c) < 0)
        connection_shut(c);
    else
        rearm(c);
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
        connection_shut(c);
}

void connection_shut(struct connection *c)
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

