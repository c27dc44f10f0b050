#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "ipc/server_state.h"

struct request *request_new(struct connection *c, const struct rule *rule)
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

void request_free(struct request *r)
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

struct piece *request_make_piece(const struct frame_head *head, struct view payload)
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
    struct frame_head head = { .type = r->type, .status = status, .id = r->id };

    INVARIANT(status <= 0);
    if (payload.n > IPC_PAYLOAD_BYTES_MAX) {
        head.status = PHR_E_LIMIT;
        payload = view_of(NULL, 0);
    }
    head.payload_bytes = (uint32_t)payload.n;
    r->answer = request_make_piece(&head, payload);
    server_take_answer(r->connection->server, r);
}
