/* The first message of a connection to phrd, both ways. */
#ifndef PHR_IPC_HELLO_H
#define PHR_IPC_HELLO_H

#include "base/cursor.h"
#include "ipc/message.h"
#include "phr/err.h"

enum { HELLO_BYTES = 2 + 1 + 16 + 8, HELLO_REPLY_BYTES = 2 + 16 + 32 + 8 };

struct hello {
    enum ipc_role role;
    struct id16 host; /* zero for tools */
    uint64_t lease_s; /* how long a mount keeps opened keys */
};
void hello_encode(const struct hello *h, uint8_t out[HELLO_BYTES]);
/* PHR_E_PROTOCOL: another version, an unknown role, a mount without host or a wrong length. */
int hello_decode(struct view bytes, struct hello *out_hello) PHR_MUST_CHECK;

struct hello_reply {
    struct id16 host;       /* of phrd */
    struct digest srs_card; /* hash of the SRS's card */
    uint64_t time_s;
};
void hello_reply_encode(const struct hello_reply *h, uint8_t out[HELLO_REPLY_BYTES]);
int hello_reply_decode(struct view bytes, struct hello_reply *out_reply) PHR_MUST_CHECK;

#endif
