/*
 * The calling side of a connection: blocking calls for the command line, and asynchronous
 * ones with a deadline for phrfs (one reader thread per link, replies matched by id).
 */
#ifndef PHR_IPC_CALLER_H
#define PHR_IPC_CALLER_H

#include "base/scope.h"
#include "ipc/frame.h"

struct caller_reply {
    int status;      /* of the frame, or PHR_E_TIMEOUT, PHR_E_CLOSED, PHR_E_SIDECAR */
    uint8_t *bytes;  /* caller_reply_fini */
    size_t n;
};
void caller_reply_fini(struct caller_reply *r);

/* ---- blocking: one request at a time ---- */
struct caller;
/* PHR_E_SIDECAR when nobody listens there. Says HELLO when role is not NONE. */
int caller_open(const char *socket_path, enum ipc_role role, struct caller **out_caller) PHR_MUST_CHECK;
void caller_close(struct caller *c);
/* fd: -1 or a descriptor to send along (stays the caller's). Returns the status of the reply. */
int caller_call(struct caller *c, enum msg_type type, struct view payload, int fd,
                uint32_t timeout_ms, struct caller_reply *out_reply) PHR_MUST_CHECK;
/* host16 of phrd and hash of the SRS card, from HELLO's reply. */
const struct id16 *caller_get_host(const struct caller *c);
SCOPED_HANDLE(struct caller, caller_close)

/* ---- asynchronous: a link that reconnects by itself ---- */
struct link;
struct link_opts {
    const char *socket_path;
    struct id16 host;
    uint64_t lease_s;
    void *user;
    /* All from the link's own thread; must not block. */
    void (*on_up)(void *user);   /* connected and HELLO answered */
    void (*on_down)(void *user); /* lost; calls in flight have been answered PHR_E_SIDECAR before */
    void (*on_push)(void *user, enum msg_type type, struct view payload);
};
int link_open(const struct link_opts *opts, struct link **out_link) PHR_MUST_CHECK;
/* Answers everything in flight with PHR_E_CLOSED, ends the thread. */
void link_close(struct link *l);
bool link_is_up(const struct link *l);
typedef void (*link_done)(void *user, int status, struct view payload);
/*
 * Never blocks: queues (bounded; -EAGAIN when full) or, when the link is down, returns
 * PHR_E_SIDECAR at once without calling done. Otherwise done is called exactly once from the
 * link's thread, with PHR_E_TIMEOUT after timeout_ms (0 = no deadline). fd is dup'ed.
 */
int link_call(struct link *l, enum msg_type type, struct view payload, int fd,
              uint32_t timeout_ms, link_done done, void *user) PHR_MUST_CHECK;

#endif
