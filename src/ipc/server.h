/*
 * The answering side: one epoll thread, a table of rules, replies from any thread.
 */
#ifndef PHR_IPC_SERVER_H
#define PHR_IPC_SERVER_H

#include <sys/types.h>

#include "base/scope.h"
#include "ipc/frame.h"

struct server;
struct request; /* one question that is still to be answered */

struct peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    enum ipc_role role; /* set by the HELLO handler through request_set_role */
    struct id16 host;   /* of a mount */
    uint64_t connection; /* never reused, > 0 */
};

struct rule {
    enum msg_type type;
    unsigned roles;      /* bit 1 << enum ipc_role */
    uint32_t bytes_max;  /* of the payload */
    uint8_t fds;         /* exactly this many descriptors */
    bool is_secret;      /* the payload lies in the secret arena and is wiped with the reply */
    /*
     * Owns req from now on and must end it once with request_reply, now or later, from any
     * thread. payload lives until then. Input is hostile. Called on the server's thread, so
     * whatever may wait goes elsewhere.
     */
    void (*handle)(void *user, struct request *req, struct view payload);
};

struct server_opts {
    const char *socket_path; /* replaced when nobody listens on it; PHR_E_BUSY otherwise */
    mode_t socket_mode;
    const struct rule *rules;
    size_t rule_count;
    void *user;
    /* A connection ended; on the server's thread; may be NULL. Its requests may still be open. */
    void (*on_close)(void *user, const struct peer *peer);
    uint32_t connections_max;
    uid_t trusted_uid; /* beside root and our own user: SERVER-5 */
    uint32_t in_flight_max; /* requests per connection; more are not read */
};
int server_open(const struct server_opts *opts, struct server **out_server) PHR_MUST_CHECK;
/* Runs until server_stop; call it on the thread that is to be the server's. */
int server_run(struct server *s) PHR_MUST_CHECK;
void server_stop(struct server *s); /* any thread, async-signal-safe */
/* After server_run has returned. Requests that are still open may be answered later, into nothing. */
void server_close(struct server *s);
SCOPED_HANDLE(struct server, server_close)
/* Sends to every connection of this role; any thread. */
void server_push(struct server *s, enum ipc_role role, enum msg_type type, struct view payload);

const struct peer *request_get_peer(const struct request *r); /* until the reply */
enum msg_type request_get_type(const struct request *r);
/* For the handler of HELLO, before its reply. */
void request_set_role(struct request *r, enum ipc_role role, const struct id16 *host);
int request_take_fd(struct request *r); /* -1 when there is none; the caller's from now on */
/* False when the peer has gone: long work may stop. */
bool request_is_wanted(const struct request *r);
void request_reply(struct request *r, int status, struct view payload);

#endif
