/* The inside of the server: for server.c, connection.c and request.c only. */
#ifndef PHR_IPC_SERVER_STATE_H
#define PHR_IPC_SERVER_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "ipc/server.h"

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

/* ---- connection.c: on the server's thread ---- */

struct connection *connection_new(struct server *s, int sock, const struct peer *peer) PHR_MUST_CHECK;
void connection_free(struct connection *c);
/* What epoll said about it. */
void connection_ready(struct connection *c, uint32_t events);
/* Takes the piece (NULL: there was no memory for it, which ends the connection). */
void connection_send(struct connection *c, struct piece *p);
/* Ends the socket; the rest goes with the sweep after the last request (SERVER-4). */
void connection_shut(struct connection *c);
enum ipc_role connection_role(struct connection *c);

/* ---- request.c ---- */

/* With room for the payload of the frame that comes in, when there is a rule for it. */
struct request *request_new(struct connection *c, const struct rule *rule) PHR_MUST_CHECK;
void request_free(struct request *r);
struct piece *request_make_piece(const struct frame_head *head, struct view payload) PHR_MUST_CHECK;

/* ---- server.c ---- */

void server_take_answer(struct server *s, struct request *r); /* any thread */

#endif
