#include "mount/negotiate.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>

#include "base/log.h"
#include "base/scope.h"

enum { BACKGROUND_MAX = 64, CONGESTION_AT = 48 };
enum { REQUEST_HEAD_BYTES = 4096 }; /* libfuse's buffers: so much more than the largest write */

/*
 * Never SPLICE_* (encryption needs the bytes in user memory), never POSIX_LOCKS or FLOCK_LOCKS
 * (left to the kernel), never AUTO_INVAL_DATA (a live inode never changes version), never
 * HANDLE_KILLPRIV (its version 2 asks only when a bit is set).
 */
static const unsigned wanted =
    FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_DONT_MASK |
    FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO |
    FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL |
    FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA;
/* Without these the mount would mean something else; every kernel since 4.9 has them. */
static const unsigned needed = FUSE_CAP_DONT_MASK | FUSE_CAP_POSIX_ACL |
                               FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_ATOMIC_O_TRUNC;
static const uint32_t extra_flags = FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT;
/* FUSE_DIRECT_IO_ALLOW_MMAP, bit 36, since Linux 6.6: shared mappings also where the disk is
   nearly full and write(2) therefore goes past the cache. Newer than our headers. */
static const uint32_t extra_flags2 = 1U << 4;

/* One FUSE session per process. */
static struct {
    void (*on_init)(void *user);
    void *user;
    _Atomic uint64_t init_unique; /* of the INIT that is not answered yet */
    _Atomic uint32_t offered;     /* the kernel's flags in it, */
    _Atomic uint32_t offered2;    /* and the upper half */
    atomic_bool has_setxattr_ext;
} link_state;

static _Thread_local struct raw_request raw;

static ssize_t on_read(int fd, void *buf, size_t room, void *userdata);
static ssize_t on_writev(int fd, struct iovec *iov, int count, void *userdata);

const struct raw_request *negotiate_get_raw(void)
{
    return &raw;
}

void negotiate_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    if ((conn->capable & needed) != needed)
        log_error("kernel_too_old", LOG_U64("capable", conn->capable));
    conn->want = wanted & conn->capable;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = CONGESTION_AT;
    conn->time_gran = 1;
}

int negotiate_attach(struct fuse_session *se, int fd)
{
    static const struct fuse_custom_io io = { .read = on_read, .writev = on_writev };

    return fuse_session_custom_io(se, &io, fd);
}

void negotiate_on_init(void (*on_init)(void *user), void *user)
{
    link_state.on_init = on_init;
    link_state.user = user;
}

/* Takes the extension of a SETXATTR out of the request: libfuse knows only the short form. */
static ssize_t shorten_setxattr(uint8_t *buf, ssize_t n)
{
    struct fuse_setxattr_in in;
    size_t head = sizeof(struct fuse_in_header);
    size_t cut = sizeof in - FUSE_COMPAT_SETXATTR_IN_SIZE;
    struct fuse_in_header h;

    if ((size_t)n < head + sizeof in)
        return n;
    memcpy(&in, buf + head, sizeof in);
    raw.kill_sgid_acl = (in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
    memmove(buf + head + FUSE_COMPAT_SETXATTR_IN_SIZE, buf + head + sizeof in,
            (size_t)n - head - sizeof in);
    memcpy(&h, buf, sizeof h);
    h.len -= (uint32_t)cut;
    memcpy(buf, &h, sizeof h);
    return n - (ssize_t)cut;
}

/* The body of a request as this structure, or zeros when it is shorter. */
#define BODY(type, buf, n)                                          \
    __extension__({                                                 \
        type body_;                                                 \
        size_t have_ = (size_t)(n) - sizeof(struct fuse_in_header); \
        memset(&body_, 0, sizeof body_);                            \
        memcpy(&body_, (buf) + sizeof(struct fuse_in_header),       \
               have_ < sizeof body_ ? have_ : sizeof body_);        \
        body_;                                                      \
    })

static ssize_t look_at(uint8_t *buf, size_t room, ssize_t n)
{
    struct fuse_in_header h;

    memcpy(&h, buf, sizeof h);
    raw = (struct raw_request){ .opcode = h.opcode, .nodeid = h.nodeid };
    if ((size_t)n <= REQUEST_HEAD_BYTES && room > REQUEST_HEAD_BYTES)
        raw.idle = (struct span){ buf + REQUEST_HEAD_BYTES, room - REQUEST_HEAD_BYTES };
    switch (h.opcode) {
    case FUSE_INIT:
        atomic_store(&link_state.offered, BODY(struct fuse_init_in, buf, n).flags);
        atomic_store(&link_state.offered2, BODY(struct fuse_init_in, buf, n).flags2);
        atomic_store(&link_state.init_unique, h.unique);
        break;
    case FUSE_WRITE:
        raw.kill_suidgid = (BODY(struct fuse_write_in, buf, n).write_flags &
                            FUSE_WRITE_KILL_SUIDGID) != 0;
        break;
    case FUSE_OPEN:
        raw.kill_suidgid =
            (BODY(struct fuse_open_in, buf, n).open_flags & FUSE_OPEN_KILL_SUIDGID) != 0;
        break;
    case FUSE_CREATE:
        raw.kill_suidgid = (BODY(struct fuse_create_in, buf, n).open_flags &
                            FUSE_OPEN_KILL_SUIDGID) != 0;
        break;
    case FUSE_SETATTR:
        raw.kill_suidgid =
            (BODY(struct fuse_setattr_in, buf, n).valid & FATTR_KILL_SUIDGID) != 0;
        break;
    case FUSE_SETXATTR:
        if (atomic_load(&link_state.has_setxattr_ext))
            return shorten_setxattr(buf, n);
        break;
    default:
        break;
    }
    return n;
}

static ssize_t on_read(int fd, void *buf, size_t room, void *userdata)
{
    ssize_t n = read(fd, buf, room);

    (void)userdata;
    if (n < (ssize_t)sizeof(struct fuse_in_header))
        return n;
    return look_at(buf, room, n);
}

static ssize_t answer_init(int fd, struct iovec *iov, int count)
{
    struct fuse_init_out out;
    uint32_t extra = extra_flags & atomic_load(&link_state.offered);
    struct iovec patched[2];
    ssize_t n;

    if (count != 2 || iov[1].iov_len < offsetof(struct fuse_init_out, max_background) ||
        iov[1].iov_len > sizeof out)
        return writev(fd, iov, count); /* refused, or a version handshake */
    memset(&out, 0, sizeof out);
    memcpy(&out, iov[1].iov_base, iov[1].iov_len);
    out.flags = (out.flags & ~(uint32_t)FUSE_HANDLE_KILLPRIV) | extra;
    if (out.flags & FUSE_INIT_EXT)
        out.flags2 |= extra_flags2 & atomic_load(&link_state.offered2);
    atomic_store(&link_state.has_setxattr_ext, (extra & FUSE_SETXATTR_EXT) != 0);
    patched[0] = iov[0];
    patched[1] = (struct iovec){ .iov_base = &out, .iov_len = iov[1].iov_len };
    n = writev(fd, patched, 2);
    if (n > 0)
        link_state.on_init(link_state.user);
    return n;
}

static ssize_t on_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    uint64_t init = atomic_load(&link_state.init_unique);
    struct fuse_out_header h;

    (void)userdata;
    if (init == 0 || iov[0].iov_len < sizeof h)
        return writev(fd, iov, count);
    memcpy(&h, iov[0].iov_base, sizeof h);
    if (h.unique != init)
        return writev(fd, iov, count);
    atomic_store(&link_state.init_unique, 0);
    return h.error == 0 ? answer_init(fd, iov, count) : writev(fd, iov, count);
}
