#include "ipc/hello.h"

#include <string.h>

void hello_encode(const struct hello *h, uint8_t out[HELLO_BYTES])
{
    put_le16(out, IPC_VERSION);
    out[2] = (uint8_t)h->role;
    memcpy(out + 3, h->host.b, sizeof h->host.b);
    put_le64(out + 19, h->lease_s);
}

int hello_decode(struct view bytes, struct hello *out_hello)
{
    static const struct id16 none;
    struct reader r = reader_over(bytes);
    struct hello h = { 0 };
    uint16_t version = reader_u16(&r);
    uint8_t role = reader_u8(&r);

    reader_bytes(&r, h.host.b, sizeof h.host.b);
    h.lease_s = reader_u64(&r);
    if (!reader_done(&r) || version != IPC_VERSION)
        return PHR_E_PROTOCOL;
    if (role != IPC_ROLE_MOUNT && role != IPC_ROLE_TOOL)
        return PHR_E_PROTOCOL;
    if (role == IPC_ROLE_MOUNT && memcmp(h.host.b, none.b, sizeof none.b) == 0)
        return PHR_E_PROTOCOL;
    h.role = role == IPC_ROLE_MOUNT ? IPC_ROLE_MOUNT : IPC_ROLE_TOOL;
    *out_hello = h;
    return 0;
}

void hello_reply_encode(const struct hello_reply *h, uint8_t out[HELLO_REPLY_BYTES])
{
    put_le16(out, IPC_VERSION);
    memcpy(out + 2, h->host.b, sizeof h->host.b);
    memcpy(out + 18, h->srs_card.b, sizeof h->srs_card.b);
    put_le64(out + 50, h->time_s);
}

int hello_reply_decode(struct view bytes, struct hello_reply *out_reply)
{
    struct reader r = reader_over(bytes);
    struct hello_reply h = { 0 };
    uint16_t version = reader_u16(&r);

    reader_bytes(&r, h.host.b, sizeof h.host.b);
    reader_bytes(&r, h.srs_card.b, sizeof h.srs_card.b);
    h.time_s = reader_u64(&r);
    if (!reader_done(&r) || version != IPC_VERSION)
        return PHR_E_PROTOCOL;
    *out_reply = h;
    return 0;
}
