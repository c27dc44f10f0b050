/* The calling side, asynchronous: a link that reconnects by itself and matches replies by id. */
#ifndef PHR_IPC_LINK_H
#define PHR_IPC_LINK_H

#include "base/scope.h"
#include "ipc/frame.h"

struct link;
struct link_opts {
    const char *socket_path; /* copied */
    struct id16 host;
    uint64_t lease_s;
    void *user;
    /* All from the link's own thread; must not block; each may be NULL. */
    void (*on_up)(void *user);   /* connected and HELLO answered */
    void (*on_down)(void *user); /* lost; calls in flight have been answered PHR_E_SIDECAR before */
    void (*on_push)(void *user, enum msg_type type, struct view payload);
};
/* Down, without a thread: so that whoever will use it can be given it first. */
int link_open(const struct link_opts *opts, struct link **out_link) PHR_MUST_CHECK;
/* Begins to dial; callbacks come from here on. Once. */
int link_start(struct link *l) PHR_MUST_CHECK;
/* Answers everything in flight with PHR_E_CLOSED, ends the thread (no on_down); calls that come
   later get PHR_E_SIDECAR. Not from a callback. */
void link_stop(struct link *l);
/* Stops it too; nobody else may use it any more. */
void link_close(struct link *l);
bool link_is_up(const struct link *l);
typedef void (*link_done)(void *user, int status, struct view payload);
/*
 * Never blocks: queues (bounded; -EAGAIN when full) or, when the link is down, returns
 * PHR_E_SIDECAR at once without calling done. Otherwise done is called exactly once from the
 * link's thread, with PHR_E_TIMEOUT after timeout_ms (0 = no deadline). fd is dup'ed, the
 * payload copied. Any thread, callbacks included.
 */
int link_call(struct link *l, enum msg_type type, struct view payload, int fd,
              uint32_t timeout_ms, link_done done, void *user) PHR_MUST_CHECK;
SCOPED_HANDLE(struct link, link_close)

#endif
