#include "mount/kernel_order.h"
#include "mount/negotiate.h"
#include "mount/ops.h"
#include "mount/pending.h"
#include "mount/reply.h"

/* Replies: attr, or fail. */
static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct who who = reply_who(req);
    struct node_attr attr;
    int rc;

    (void)fi; /* by node also for an open, unlinked file */
    rc = node_getattr(reply_vault(req), &who, ino, &attr);
    if (rc < 0)
        reply_fail(req, rc);
    else
        reply_attr(req, &attr);
}

static unsigned to_node_set(int to_set, bool kill_suidgid)
{
    static const struct {
        int fuse;
        unsigned node;
    } map[] = {
        { FUSE_SET_ATTR_MODE, NODE_SET_MODE },
        { FUSE_SET_ATTR_UID, NODE_SET_UID },
        { FUSE_SET_ATTR_GID, NODE_SET_GID },
        { FUSE_SET_ATTR_SIZE, NODE_SET_SIZE },
        { FUSE_SET_ATTR_ATIME, NODE_SET_ATIME },
        { FUSE_SET_ATTR_MTIME, NODE_SET_MTIME },
        { FUSE_SET_ATTR_ATIME_NOW, NODE_SET_ATIME_NOW },
        { FUSE_SET_ATTR_MTIME_NOW, NODE_SET_MTIME_NOW },
        { FUSE_SET_ATTR_CTIME, NODE_SET_CTIME },
    };
    unsigned set = kill_suidgid ? NODE_KILL_SUIDGID : 0;

    if ((to_set & ~FUSE_SET_ATTR_CTIME) == 0 && !kill_suidgid)
        set |= NODE_KILL_NO_REASON;
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++) {
        if (to_set & map[i].fuse)
            set |= map[i].node;
    }
    return set;
}

static int run_setattr(struct task *t)
{
    struct who who = reply_who(t->req);
    struct node_attr attr;
    int rc =
        node_setattr(reply_vault_writing(t->req), &who, t->nodeid, &t->change, &t->waiter, &attr);

    if (rc == PHR_E_PENDING)
        return rc;
    if (rc < 0)
        reply_fail(t->req, rc);
    else
        reply_attr(t->req, &attr);
    return 0;
}

/* Replies: attr, or fail; may wait. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                       struct fuse_file_info *fi)
{
    struct task *t = pending_prepare(reply_mountpoint(req)->pending, req, run_setattr);

    if (!t) {
        reply_fail(req, -ENOMEM);
        return;
    }
    kernel_order_asked();
    t->nodeid = ino;
    t->change = (struct node_change){
        .set = (enum node_set)to_node_set(to_set, negotiate_get_raw()->kill_suidgid),
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .size = (uint64_t)st->st_size,
        .atime = st->st_atim,
        .mtime = st->st_mtim,
        .ctime = st->st_ctim,
        .file = fi ? (struct file *)(uintptr_t)fi->fh : NULL,
    };
    pending_run(t);
}

/* Replies: statfs, or fail. From memory. */
static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st;
    int rc;

    (void)ino;
    rc = node_statfs(reply_vault(req), &st);
    if (rc < 0)
        reply_fail(req, rc);
    else
        reply_statfs(req, &st);
}

/* Replies: fail. No ioctl means anything here, and programs ask with ENOTTY in mind. */
static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
                     struct fuse_file_info *fi, unsigned flags, const void *in_buf,
                     size_t in_bytes, size_t out_bytes)
{
    (void)ino, (void)cmd, (void)arg, (void)fi, (void)flags;
    (void)in_buf, (void)in_bytes, (void)out_bytes;
    reply_fail(req, -ENOTTY);
}

void ops_attrs_register(struct fuse_lowlevel_ops *ops)
{
    ops->getattr = op_getattr;
    ops->setattr = op_setattr;
    ops->statfs = op_statfs;
    ops->ioctl = op_ioctl;
}
