#include "mount/reply.h"

#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "base/secret.h"
#include "mount/kernel_order.h"
#include "mount/negotiate.h"

enum { ROOM_BYTES = 1024 * 1024 };
/* Long: the vault tells of every change that the kernel did not make itself. */
static const double valid_s = 3600;
/* Short: should an invalidation get lost, a new file is not invisible for long. */
static const double absent_s = 1;
/* Of root, patients and compartments. Logins, logouts, grants and cut-offs drop them at once. */
static const double top_valid_s = 1;

#ifdef __SANITIZE_THREAD__
char kernel_order_edge;
#endif

struct mountpoint *reply_mountpoint(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

struct vault *reply_vault(fuse_req_t req)
{
    return reply_mountpoint(req)->vault;
}

struct vault *reply_vault_writing(fuse_req_t req)
{
    struct vault *v = reply_vault(req);

    if (vault_begin_writing(v))
        log_info("remounted_writable");
    return v;
}

struct who reply_who(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);

    return (struct who){
        .uid = ctx->uid, .gid = ctx->gid, .pid = ctx->pid, .umask = ctx->umask
    };
}

/* A negative answer of libfuse means that the request was aborted: the kernel forgot it. */
static void answered(int rc)
{
    if (rc < 0 && rc != -ENOENT && rc != -ENODEV)
        log_warn("reply_lost", LOG_RC("cause", rc));
}

/* ENOSYS would switch the operation off for ever. */
static int to_errno(int rc)
{
    int sys = phr_err_errno(rc);

    return sys == ENOSYS ? EOPNOTSUPP : sys;
}

/* A user can do nothing about EIO; whoever reads the log may. */
static bool is_worth_a_line(int rc)
{
    return to_errno(rc) == EIO;
}

void reply_fail(fuse_req_t req, int rc)
{
    if (is_worth_a_line(rc))
        log_error("request_failed", LOG_U64("opcode", negotiate_get_raw()->opcode),
                  LOG_U64("node", negotiate_get_raw()->nodeid), LOG_RC("cause", rc));
    else
        log_debug("request_refused", LOG_U64("opcode", negotiate_get_raw()->opcode),
                  LOG_U64("node", negotiate_get_raw()->nodeid), LOG_RC("cause", rc));
    kernel_order_answering();
    answered(fuse_reply_err(req, to_errno(rc)));
}

void reply_done(fuse_req_t req)
{
    kernel_order_answering();
    answered(fuse_reply_err(req, 0));
}

void reply_none(fuse_req_t req)
{
    kernel_order_answering();
    fuse_reply_none(req);
}

void reply_result(fuse_req_t req, int rc)
{
    if (rc < 0)
        reply_fail(req, rc);
    else
        reply_done(req);
}

/* What stat shows: the options of the mount may say whose the files look. */
static struct stat shown_stat(fuse_req_t req, const struct node_attr *attr)
{
    const struct mount_opts *o = reply_mountpoint(req)->opts;
    struct stat st = attr->st;

    if (o->has_uid)
        st.st_uid = o->uid;
    if (o->has_gid)
        st.st_gid = o->gid;
    if (o->has_umask)
        st.st_mode &= ~(o->umask & 0777);
    st.st_blksize = 4096;
    return st;
}

/*
 * With rights from grants an attempt without a right must be seen and logged, cached attributes
 * or not: before the kernel says EACCES to somebody it asks for the attributes once more, in his
 * name (fuse_permission). So who has the right needs not be asked about at each step of a path;
 * that was five requests for an open by its absolute path.
 */
static struct fuse_entry_param entry_of(fuse_req_t req, const struct node_attr *attr)
{
    double valid = attr->is_top ? top_valid_s : valid_s;

    return (struct fuse_entry_param){ .ino = attr->nodeid,
                                      .generation = attr->generation,
                                      .attr = shown_stat(req, attr),
                                      .attr_timeout = valid,
                                      .entry_timeout = valid };
}

void reply_attr(fuse_req_t req, const struct node_attr *attr)
{
    struct fuse_entry_param e = entry_of(req, attr);

    kernel_order_answering();
    answered(fuse_reply_attr(req, &e.attr, e.attr_timeout));
}

void reply_entry(fuse_req_t req, const struct node_attr *attr)
{
    struct fuse_entry_param e = entry_of(req, attr);
    struct vault *v = reply_vault(req);
    int rc;

    kernel_order_answering();
    rc = fuse_reply_entry(req, &e);

    if (rc < 0)
        node_forget(v, attr->nodeid, 1);
    answered(rc);
}

void reply_no_entry(fuse_req_t req)
{
    struct fuse_entry_param e = { .entry_timeout = absent_s };

    kernel_order_answering();
    answered(fuse_reply_entry(req, &e));
}

/* write(2) must fail at once where the disk is nearly full, so it may not end in the cache. */
static struct fuse_file_info file_info(const struct file *f, int flags, bool keep_cache)
{
    struct fuse_file_info fi = { .flags = flags, .keep_cache = keep_cache };

    fi.fh = (uint64_t)(uintptr_t)f;
    fi.direct_io = (flags & O_ACCMODE) != O_RDONLY && file_wants_direct_io(f);
    return fi;
}

static void count_writer(struct mountpoint *m, const struct file *f, int flags, bool add)
{
    _Atomic uint32_t *n = mountpoint_get_writers(m, file_get_nodeid(f));

    if ((flags & O_ACCMODE) == O_RDONLY)
        return;
    if (add)
        atomic_fetch_add(n, 1);
    else
        atomic_fetch_sub(n, 1);
}

void reply_create(fuse_req_t req, const struct node_attr *attr, struct file *take,
                  int flags)
{
    struct fuse_entry_param e = entry_of(req, attr);
    struct fuse_file_info fi = file_info(take, flags, false);
    struct mountpoint *m = reply_mountpoint(req);
    int rc;

    count_writer(m, take, flags, true);
    kernel_order_answering();
    rc = fuse_reply_create(req, &e, &fi);
    if (rc < 0) {
        count_writer(m, take, flags, false);
        file_release(take);
        node_forget(m->vault, attr->nodeid, 1);
    }
    answered(rc);
}

void reply_open(fuse_req_t req, struct file *take, int flags, bool keep_cache)
{
    struct fuse_file_info fi = file_info(take, flags, keep_cache);
    struct mountpoint *m = reply_mountpoint(req);
    int rc;

    count_writer(m, take, flags, true);
    kernel_order_answering();
    rc = fuse_reply_open(req, &fi);
    if (rc < 0) {
        count_writer(m, take, flags, false);
        file_release(take);
    }
    answered(rc);
}

void reply_opendir(fuse_req_t req, struct dir *take, bool may_cache)
{
    struct fuse_file_info fi = { .cache_readdir = may_cache, .keep_cache = may_cache };
    int rc;

    fi.fh = (uint64_t)(uintptr_t)take;
    kernel_order_answering();
    rc = fuse_reply_open(req, &fi);
    if (rc < 0)
        node_releasedir(take);
    answered(rc);
}

void reply_data(fuse_req_t req, struct view data)
{
    kernel_order_answering();
    answered(fuse_reply_buf(req, (const char *)data.p, data.n));
}

void reply_written(fuse_req_t req, size_t n)
{
    kernel_order_answering();
    answered(fuse_reply_write(req, n));
}

void reply_link(fuse_req_t req, const char *target)
{
    kernel_order_answering();
    answered(fuse_reply_readlink(req, target));
}

void reply_xattr(fuse_req_t req, struct view value, size_t room)
{
    kernel_order_answering();
    if (room == 0)
        answered(fuse_reply_xattr(req, value.n));
    else if (value.n > room)
        answered(fuse_reply_err(req, ERANGE));
    else
        reply_data(req, value);
}

void reply_statfs(fuse_req_t req, const struct statvfs *st)
{
    kernel_order_answering();
    answered(fuse_reply_statfs(req, st));
}

void reply_offset(fuse_req_t req, uint64_t offset)
{
    kernel_order_answering();
    answered(fuse_reply_lseek(req, (off_t)offset));
}

size_t reply_pack_entry(fuse_req_t req, struct span room, const struct dir_entry *e,
                        bool plus)
{
    struct fuse_entry_param p = { 0 };
    char name[NAME_BYTES_MAX + 1];

    if (e->name.n > NAME_BYTES_MAX)
        return 0; /* no such entry can exist: nothing to show */
    memcpy(name, e->name.p, e->name.n);
    name[e->name.n] = '\0';
    if (plus && e->attr)
        p = entry_of(req, e->attr);
    p.attr.st_ino = e->st_ino;
    if (!e->attr)
        p.attr.st_mode = (mode_t)e->type << 12; /* DT_* to S_IFMT */
    if (plus)
        return fuse_add_direntry_plus(req, (char *)room.p, room.n, name, &p,
                                      (off_t)e->cookie);
    return fuse_add_direntry(req, (char *)room.p, room.n, name, &p.attr,
                             (off_t)e->cookie);
}

static pthread_key_t room_key;
static pthread_once_t room_once = PTHREAD_ONCE_INIT;

static void room_free(void *room)
{
    secret_wipe(room, ROOM_BYTES);
    munmap(room, ROOM_BYTES);
}

static void room_key_make(void)
{
    ignored(pthread_key_create(&room_key, room_free)); /* the getters find NULL then */
}

uint8_t *reply_room(size_t n)
{
    struct span idle = negotiate_get_raw()->idle;
    void *room;

    if (n <= idle.n)
        return idle.p; /* a worker; only a parked request's thread needs room of its own */
    ignored(pthread_once(&room_once, room_key_make)); /* cannot fail with a static once */
    if (n > ROOM_BYTES)
        return NULL;
    room = pthread_getspecific(room_key);
    if (room)
        return room;
    room = mmap(NULL, ROOM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0);
    if (room == MAP_FAILED)
        return NULL;
    ignored(madvise(room, ROOM_BYTES, MADV_DONTDUMP)); /* cores are off anyway */
    if (pthread_setspecific(room_key, room) != 0) {
        munmap(room, ROOM_BYTES);
        return NULL;
    }
    return room;
}
