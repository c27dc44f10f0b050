#include "ipc/caller.h"

#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "ipc/dial.h"
#include "ipc/hello.h"

enum { HELLO_TIMEOUT_MS = 2000 };

struct caller {
    int sock;
    bool is_broken; /* half a frame is on the way: nothing further can be told apart */
    bool has_hello;
    struct hello_reply hello;
    uint64_t next_id;
};

static int say_hello(struct caller *c, enum ipc_role role);
static int await(int sock, short events, uint64_t deadline_ms);
static int receive(struct caller *c, uint64_t id, uint64_t deadline_ms, struct caller_reply *out);

void caller_reply_fini(struct caller_reply *r)
{
    free(r->bytes);
    r->bytes = NULL;
    r->n = 0;
}

int caller_open(const char *socket_path, enum ipc_role role, struct caller **out_caller)
{
    scoped(caller_close) struct caller *c = calloc(1, sizeof *c);
    int rc;

    if (!c)
        return -ENOMEM;
    c->sock = -1;
    c->next_id = 1;
    rc = dial(socket_path, &c->sock);
    if (rc < 0)
        return rc;
    if (role != IPC_ROLE_NONE) {
        rc = say_hello(c, role);
        if (rc < 0)
            return rc;
    }
    *out_caller = give(c);
    return 0;
}

static int say_hello(struct caller *c, enum ipc_role role)
{
    struct hello hello = { .role = role };
    struct caller_reply reply = { 0 };
    uint8_t bytes[HELLO_BYTES];
    int rc;

    hello_encode(&hello, bytes);
    rc = caller_call(c, MSG_HELLO, view_of(bytes, sizeof bytes), -1, HELLO_TIMEOUT_MS, &reply);
    if (rc == 0)
        rc = hello_reply_decode(view_of(reply.bytes, reply.n), &c->hello);
    c->has_hello = rc == 0;
    caller_reply_fini(&reply);
    return rc;
}

void caller_close(struct caller *c)
{
    if (!c)
        return;
    if (c->sock >= 0)
        close(c->sock);
    free(c);
}

const struct id16 *caller_get_host(const struct caller *c)
{
    return c->has_hello ? &c->hello.host : NULL;
}

const struct digest *caller_get_srs_card(const struct caller *c)
{
    return c->has_hello ? &c->hello.srs_card : NULL;
}

static int send_request(struct caller *c, const struct frame_head *head, struct view payload,
                        int fd, uint64_t deadline_ms)
{
    struct frame_out out;
    int rc;

    frame_out_init(&out, head, payload, fd);
    while ((rc = frame_out_write(&out, c->sock)) == 0) {
        rc = await(c->sock, POLLOUT, deadline_ms);
        if (rc < 0)
            return rc;
    }
    return rc < 0 ? rc : 0;
}

int caller_call(struct caller *c, enum msg_type type, struct view payload, int fd,
                uint32_t timeout_ms, struct caller_reply *out_reply)
{
    struct caller_reply reply = { 0 };
    struct frame_head head = { .payload_bytes = (uint32_t)payload.n, .type = (uint16_t)type };
    uint64_t deadline_ms = timeout_ms ? clock_boottime_ms() + timeout_ms : 0;
    int rc;

    if (payload.n > IPC_PAYLOAD_BYTES_MAX)
        return PHR_E_LIMIT;
    if (c->is_broken)
        return PHR_E_CLOSED;
    head.id = c->next_id++;
    rc = send_request(c, &head, payload, fd, deadline_ms);
    if (rc == 0)
        rc = receive(c, head.id, deadline_ms, &reply);
    if (rc < 0) {
        c->is_broken = true;
        return rc;
    }
    *out_reply = reply;
    return reply.status;
}

/* 0 when ready; PHR_E_TIMEOUT. A deadline of 0 never comes. */
static int await(int sock, short events, uint64_t deadline_ms)
{
    struct pollfd p = { .fd = sock, .events = events };

    for (;;) {
        int wait_ms = -1;
        int n;

        if (deadline_ms) {
            uint64_t now = clock_boottime_ms();

            if (now >= deadline_ms)
                return PHR_E_TIMEOUT;
            wait_ms = deadline_ms - now > 60000 ? 60000 : (int)(deadline_ms - now);
        }
        n = poll(&p, 1, wait_ms);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static int receive_frame(struct caller *c, struct frame_in *in, uint64_t deadline_ms,
                         uint8_t **out_bytes)
{
    scoped(free) uint8_t *bytes = NULL;
    int rc;

    while ((rc = frame_in_head(in, c->sock)) == 0) {
        rc = await(c->sock, POLLIN, deadline_ms);
        if (rc < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    bytes = malloc((size_t)in->head.payload_bytes + 1); /* text reads as text */
    if (!bytes)
        return -ENOMEM;
    bytes[in->head.payload_bytes] = '\0';
    while ((rc = frame_in_payload(in, c->sock, bytes)) == 0) {
        rc = await(c->sock, POLLIN, deadline_ms);
        if (rc < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    *out_bytes = give(bytes);
    return 0;
}

/* Pushes (id 0) are of no interest here; any other id was never asked for. */
static int receive(struct caller *c, uint64_t id, uint64_t deadline_ms, struct caller_reply *out)
{
    for (;;) {
        scoped(free) uint8_t *bytes = NULL;
        struct frame_in in;
        int rc;

        frame_in_init(&in);
        rc = receive_frame(c, &in, deadline_ms, &bytes);
        frame_in_fini(&in);
        if (rc < 0)
            return rc;
        if (in.head.id == 0)
            continue;
        if (in.head.id != id || in.head.status > 0)
            return PHR_E_PROTOCOL;
        out->status = in.head.status;
        out->n = in.head.payload_bytes;
        if (out->n > 0)
            out->bytes = give(bytes);
        return 0;
    }
}
