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

#endif
