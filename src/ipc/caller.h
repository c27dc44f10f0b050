/*
 * The calling side of a connection, blocking, one request at a time: for the command line.
 * phrfs uses ipc/link.h. One thread per caller.
 */
#ifndef PHR_IPC_CALLER_H
#define PHR_IPC_CALLER_H

#include "base/scope.h"
#include "ipc/frame.h"
#include "ipc/link.h"

struct caller_reply {
    int status;      /* of the frame, or PHR_E_TIMEOUT, PHR_E_CLOSED, PHR_E_SIDECAR */
    uint8_t *bytes;  /* caller_reply_fini; a NUL stands behind them; NULL when n is 0 */
    size_t n;
};
void caller_reply_fini(struct caller_reply *r);

struct caller;
/*
 * PHR_E_SIDECAR when nobody listens there. Says HELLO when role is not NONE. A connected
 * caller that got PHR_E_TIMEOUT or PHR_E_CLOSED is of no further use.
 */
int caller_open(const char *socket_path, enum ipc_role role, struct caller **out_caller) PHR_MUST_CHECK;
void caller_close(struct caller *c);
/*
 * fd: -1 or a descriptor to send along (stays the caller's). Returns the status of the reply.
 * timeout_ms 0 waits for ever. The payload is copied nowhere in this process.
 */
int caller_call(struct caller *c, enum msg_type type, struct view payload, int fd,
                uint32_t timeout_ms, struct caller_reply *out_reply) PHR_MUST_CHECK;
/* host16 of phrd and hash of the SRS card, from HELLO's reply; NULL when role was NONE. */
const struct id16 *caller_get_host(const struct caller *c);
const struct digest *caller_get_srs_card(const struct caller *c);
SCOPED_HANDLE(struct caller, caller_close)

#endif
