#include "mount/ops.h"

#include "mount/inval.h"
#include "mount/kernel_order.h"
#include "mount/negotiate.h"
#include "mount/pending.h"
#include "mount/reply.h"

static struct file *file_of(const struct fuse_file_info *fi)
{
    kernel_order_asked();
    return (struct file *)(uintptr_t)fi->fh;
}

/* NULL: the request has been answered. */
static struct task *prepare(fuse_req_t req, fuse_ino_t ino,
                            const struct fuse_file_info *fi, int (*run)(struct task *t))
{
    struct task *t = pending_prepare(reply_mountpoint(req)->pending, req, run);

    if (!t) {
        reply_fail(req, -ENOMEM);
        return NULL;
    }
    t->nodeid = ino;
    t->flags = fi->flags;
    t->file = file_of(fi);
    return t;
}

/* The kernel asked for the set-id bits to fall together with what the request changes. */
static int drop_set_id(fuse_req_t req, uint64_t nodeid, struct file *f)
{
    struct node_change kill = { .set = NODE_KILL_SUIDGID, .file = f };
    struct who who = reply_who(req);
    struct node_attr attr;

    return node_setattr(reply_vault_writing(req), &who, nodeid, &kill, NULL, &attr);
}

static int run_open(struct task *t)
{
    struct who who = reply_who(t->req);
    bool keep_cache = false;
    struct file *f;
    bool writes = (t->flags & (O_WRONLY | O_RDWR | O_TRUNC)) != 0;
    struct vault *v = writes ? reply_vault_writing(t->req) : reply_vault(t->req);
    int rc = file_open(v, &who, t->nodeid, t->flags, &t->waiter, &f, &keep_cache);

    if (rc == PHR_E_PENDING)
        return rc;
    if (rc == 0 && t->kill_suidgid) {
        rc = drop_set_id(t->req, t->nodeid, f);
        if (rc < 0)
            file_release(f);
    }
    if (rc < 0)
        reply_fail(t->req, rc);
    else
        reply_open(t->req, f, t->flags, keep_cache);
    return 0;
}

/* Replies: open, or fail; may wait. */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct task *t = prepare(req, ino, fi, run_open);

    if (!t)
        return;
    t->kill_suidgid = negotiate_get_raw()->kill_suidgid;
    t->deadline_after_ms = PENDING_OPEN_MS;
    pending_run(t);
}

/* Replies: create, or fail. */
static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    struct who who = reply_who(req);
    struct node_attr attr;
    struct file *f;
    int rc = node_create(reply_vault_writing(req), &who, parent, view_text(name), mode, fi->flags,
                         &attr, &f);

    if (rc < 0)
        reply_fail(req, rc);
    else
        reply_create(req, &attr, f, fi->flags);
}

static int run_read(struct task *t)
{
    uint8_t *room = reply_room(t->length);
    size_t n = 0;
    int rc = -ENOMEM;

    if (room)
        rc = file_read(t->file, t->offset, (struct span){ room, t->length }, &t->waiter,
                       &n);
    if (rc == PHR_E_PENDING)
        return rc;
    if (rc < 0)
        reply_fail(t->req, rc);
    else
        reply_data(t->req, view_of(room, n));
    return 0;
}

/* Replies: data, or fail; may wait. */
static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    struct task *t = prepare(req, ino, fi, run_read);

    if (!t)
        return;
    t->offset = (uint64_t)off;
    t->length = size;
    pending_run(t);
}

static int run_write(struct task *t)
{
    int rc = 0;

    if (t->kill_suidgid) {
        rc = drop_set_id(t->req, t->nodeid, t->file);
        t->kill_suidgid = rc < 0;
    }
    if (rc == 0)
        rc = file_write(t->file, t->offset, t->bytes, &t->waiter);
    if (rc == PHR_E_PENDING)
        return rc;
    if (rc < 0)
        reply_fail(t->req, rc);
    else
        reply_written(t->req, t->bytes.n);
    return 0;
}

/* Replies: written, or fail; may wait. */
static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
                     off_t off, struct fuse_file_info *fi)
{
    struct task *t = prepare(req, ino, fi, run_write);

    if (!t)
        return;
    t->offset = (uint64_t)off;
    t->bytes = view_of(buf, size);
    t->kill_suidgid = negotiate_get_raw()->kill_suidgid;
    pending_run(t);
}

/* Replies: done, or fail. Once per closed descriptor. */
static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    reply_result(req, file_flush(file_of(fi)));
}

/* Replies: done, or fail. */
static void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only,
                     struct fuse_file_info *fi)
{
    (void)ino;
    reply_result(req, file_fsync(file_of(fi), data_only != 0));
}

/* Replies: done. */
static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if ((fi->flags & O_ACCMODE) != O_RDONLY)
        atomic_fetch_sub(mountpoint_get_writers(reply_mountpoint(req), ino), 1);
    file_release(file_of(fi));
    reply_done(req);
}

/*
 * Pages that the kernel has not written back yet are holes to us: cp --sparse would lose them.
 * So a node that is open for writing is flushed first, by the notifier and not by this worker.
 */
static int run_lseek(struct task *t)
{
    struct mountpoint *m = reply_mountpoint(t->req);
    uint64_t offset = 0;
    int rc;

    if (!t->is_second_run && atomic_load(mountpoint_get_writers(m, t->nodeid)) > 0)
        return inval_flush(m->notifier, t->nodeid, &t->waiter);
    rc = file_lseek(t->file, t->offset, t->flags, &offset);
    if (rc < 0)
        reply_fail(t->req, rc);
    else
        reply_offset(t->req, offset);
    return 0;
}

/* Replies: offset, or fail; may wait. */
static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                     struct fuse_file_info *fi)
{
    struct task *t = prepare(req, ino, fi, run_lseek);

    if (!t)
        return;
    t->offset = (uint64_t)off;
    t->flags = whence;
    pending_run(t);
}

static int run_fallocate(struct task *t)
{
    int rc = 0;

    if (t->kill_suidgid) {
        rc = drop_set_id(t->req, t->nodeid, t->file);
        t->kill_suidgid = rc < 0;
    }
    if (rc == 0)
        rc = file_fallocate(t->file, t->flags, t->offset, t->length, &t->waiter);
    if (rc == PHR_E_PENDING)
        return rc;
    reply_result(t->req, rc);
    return 0;
}

/* Replies: done, or fail; may wait. */
static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                         struct fuse_file_info *fi)
{
    struct task *t = prepare(req, ino, fi, run_fallocate);

    if (!t)
        return;
    t->flags = mode;
    t->offset = (uint64_t)off;
    t->length = (uint64_t)len;
    /* The protocol has no flag for it; root keeps the bits, as on a local disk. */
    t->kill_suidgid = fuse_req_ctx(req)->uid != 0;
    pending_run(t);
}

void ops_files_register(struct fuse_lowlevel_ops *ops)
{
    ops->open = op_open;
    ops->create = op_create;
    ops->read = op_read;
    ops->write = op_write;
    ops->flush = op_flush;
    ops->fsync = op_fsync;
    ops->release = op_release;
    ops->lseek = op_lseek;
    ops->fallocate = op_fallocate;
}
