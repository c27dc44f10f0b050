/*
 * One frame: LE32 payload bytes || LE16 type || LE16 zero || LE32 status (two's complement, 0 in
 * requests) || LE64 request id || payload. 20 bytes of head. Descriptors ride on the first
 * byte of a frame by SCM_RIGHTS. A request has an id > 0; its reply repeats type and id.
 */
#ifndef PHR_IPC_FRAME_H
#define PHR_IPC_FRAME_H

#include "base/cursor.h"
#include "ipc/message.h"
#include "phr/err.h"

enum { FRAME_HEAD_BYTES = 20, FRAME_FDS_MAX = 1 };

struct frame_head {
    uint32_t payload_bytes;
    uint16_t type;
    int32_t status;
    uint64_t id;
};

void frame_head_encode(const struct frame_head *h, uint8_t out[FRAME_HEAD_BYTES]);
/* PHR_E_PROTOCOL beyond IPC_PAYLOAD_BYTES_MAX or with a reserved field set. */
int frame_head_decode(const uint8_t in[FRAME_HEAD_BYTES], struct frame_head *out_head) PHR_MUST_CHECK;

/*
 * A frame on its way through a stream socket, in as many pieces as the socket likes. Nothing
 * below waits. Results: 1 = complete, 0 = the socket has no room or no bytes now,
 * PHR_E_CLOSED when the other side has gone, PHR_E_PROTOCOL, or -errno.
 */
struct frame_out {
    uint8_t head[FRAME_HEAD_BYTES];
    struct view payload; /* stays the owner's, unchanged until the frame is out */
    int fd;              /* -1, or a descriptor to send along; stays the owner's */
    size_t at;           /* bytes that are out */
};
void frame_out_init(struct frame_out *f, const struct frame_head *h, struct view payload, int fd);
int frame_out_write(struct frame_out *f, int sock) PHR_MUST_CHECK;

struct frame_in {
    uint8_t bytes[FRAME_HEAD_BYTES];
    size_t head_at;
    struct frame_head head; /* after frame_in_head said 1 */
    int fd;                 /* -1, or what came along; whoever takes it sets -1 */
    size_t payload_at;
};
void frame_in_init(struct frame_in *f); /* also between two frames */
void frame_in_fini(struct frame_in *f); /* closes a descriptor that nobody took */
int frame_in_head(struct frame_in *f, int sock) PHR_MUST_CHECK;
/* p has room for head.payload_bytes; NULL reads and forgets them. */
int frame_in_payload(struct frame_in *f, int sock, uint8_t *p) PHR_MUST_CHECK;

#endif
