#include "ipc/frame.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/checked.h"

enum { SCRAP_BYTES = 16 * 1024 };

void frame_head_encode(const struct frame_head *h, uint8_t out[FRAME_HEAD_BYTES])
{
    put_le32(out, h->payload_bytes);
    put_le16(out + 4, h->type);
    put_le16(out + 6, 0);
    put_le32(out + 8, (uint32_t)h->status);
    put_le64(out + 12, h->id);
}

int frame_head_decode(const uint8_t in[FRAME_HEAD_BYTES], struct frame_head *out_head)
{
    struct reader r = reader_over(view_of(in, FRAME_HEAD_BYTES));
    struct frame_head h = { 0 };
    uint16_t reserved;

    h.payload_bytes = reader_u32(&r);
    h.type = reader_u16(&r);
    reserved = reader_u16(&r);
    h.status = (int32_t)reader_u32(&r);
    h.id = reader_u64(&r);
    if (!reader_done(&r) || reserved != 0 || h.payload_bytes > IPC_PAYLOAD_BYTES_MAX)
        return PHR_E_PROTOCOL;
    *out_head = h;
    return 0;
}

void frame_out_init(struct frame_out *f, const struct frame_head *h, struct view payload, int fd)
{
    INVARIANT(h->payload_bytes == payload.n && payload.n <= IPC_PAYLOAD_BYTES_MAX);
    frame_head_encode(h, f->head);
    f->payload = payload;
    f->fd = fd;
    f->at = 0;
}

static int socket_reason(int err)
{
    if (err == EAGAIN || err == EWOULDBLOCK)
        return 0;
    if (err == EPIPE || err == ECONNRESET)
        return PHR_E_CLOSED;
    return -err;
}

static void attach_fd(struct msghdr *msg, void *room, size_t room_bytes, int fd)
{
    struct cmsghdr *c;

    memset(room, 0, room_bytes);
    msg->msg_control = room;
    msg->msg_controllen = room_bytes;
    c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
}

int frame_out_write(struct frame_out *f, int sock)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    size_t total = FRAME_HEAD_BYTES + f->payload.n;

    while (f->at < total) {
        size_t body_at = f->at > FRAME_HEAD_BYTES ? f->at - FRAME_HEAD_BYTES : 0;
        size_t head_left = f->at < FRAME_HEAD_BYTES ? FRAME_HEAD_BYTES - f->at : 0;
        /* sendmsg writes through no iovec; the cast only drops the const. */
        struct iovec iov[2] = { { f->head + FRAME_HEAD_BYTES - head_left, head_left },
                                { (void *)((uintptr_t)f->payload.p + body_at),
                                  f->payload.n - body_at } };
        struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
        ssize_t n;

        if (f->at == 0 && f->fd >= 0)
            attach_fd(&msg, &control, sizeof control, f->fd);
        n = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return socket_reason(errno);
        f->at += (size_t)n;
    }
    return 1;
}

void frame_in_init(struct frame_in *f)
{
    memset(f, 0, sizeof *f);
    f->fd = -1;
}

void frame_in_fini(struct frame_in *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* Takes the first descriptor and closes what nobody asked for. */
static int take_fds(struct frame_in *f, struct msghdr *msg)
{
    int rc = msg->msg_flags & MSG_CTRUNC ? PHR_E_PROTOCOL : 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (f->head_at == 0 && f->fd < 0) {
                f->fd = fd;
            } else {
                close(fd); /* too many, or in the middle of a frame */
                rc = PHR_E_PROTOCOL;
            }
        }
    }
    return rc;
}

int frame_in_head(struct frame_in *f, int sock)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * 4)];
    } control;
    int rc;

    while (f->head_at < FRAME_HEAD_BYTES) {
        struct iovec iov = { f->bytes + f->head_at, FRAME_HEAD_BYTES - f->head_at };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                              .msg_controllen = sizeof control };
        ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return socket_reason(errno);
        rc = take_fds(f, &msg);
        if (rc < 0)
            return rc;
        if (n == 0)
            return PHR_E_CLOSED;
        f->head_at += (size_t)n;
    }
    rc = frame_head_decode(f->bytes, &f->head);
    return rc < 0 ? rc : 1;
}

int frame_in_payload(struct frame_in *f, int sock, uint8_t *p)
{
    uint8_t scrap[SCRAP_BYTES];

    while (f->payload_at < f->head.payload_bytes) {
        size_t left = f->head.payload_bytes - f->payload_at;
        ssize_t n;

        /* Without room for control data the kernel closes descriptors that hide in here. */
        if (p)
            n = recv(sock, p + f->payload_at, left, MSG_DONTWAIT);
        else
            n = recv(sock, scrap, left < sizeof scrap ? left : sizeof scrap, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return socket_reason(errno);
        if (n == 0)
            return PHR_E_CLOSED;
        f->payload_at += (size_t)n;
    }
    return 1;
}
