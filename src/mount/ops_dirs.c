#include "mount/ops.h"

#include "mount/kernel_order.h"
#include "mount/reply.h"

struct fill {
    fuse_req_t req;
    uint8_t *room;
    size_t used;
    size_t size;
    bool plus;
};

static struct dir *dir_of(const struct fuse_file_info *fi)
{
    kernel_order_asked();
    return (struct dir *)(uintptr_t)fi->fh;
}

/* Replies: opendir, or fail. */
static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct who who = reply_who(req);
    struct vault *v = reply_vault(req);
    struct node_attr attr;
    struct dir *d;
    int rc = node_opendir(v, &who, ino, &d);

    (void)fi;
    if (rc < 0) {
        reply_fail(req, rc);
        return;
    }
    /* What the top levels list depends on who asks, so the kernel may not remember it. */
    reply_opendir(req, d, node_getattr(v, &who, ino, &attr) == 0 && !attr.is_top);
}

static bool on_entry(void *user, const struct dir_entry *e)
{
    struct fill *f = user;
    struct span room = { f->room + f->used, f->size - f->used };
    size_t n = reply_pack_entry(f->req, room, e, f->plus);

    if (n > room.n)
        return false;
    f->used += n;
    return true;
}

static void read_entries(fuse_req_t req, size_t size, off_t off,
                         const struct fuse_file_info *fi, bool plus)
{
    struct who who = reply_who(req);
    struct fill f = { .req = req, .room = reply_room(size), .size = size, .plus = plus };
    int rc = -ENOMEM;

    if (f.room)
        rc = node_readdir(dir_of(fi), &who, (uint64_t)off, plus, on_entry, &f);
    if (rc < 0)
        reply_fail(req, rc);
    else
        reply_data(req, view_of(f.room, f.used));
}

/* Replies: data, or fail. */
static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    (void)ino;
    read_entries(req, size, off, fi, false);
}

/* Replies: data, or fail. Each entry taken counts as a lookup of its node. */
static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                           struct fuse_file_info *fi)
{
    (void)ino;
    read_entries(req, size, off, fi, true);
}

/* Replies: done. */
static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    node_releasedir(dir_of(fi));
    reply_done(req);
}

/* Replies: done, or fail. */
static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only,
                        struct fuse_file_info *fi)
{
    (void)data_only, (void)fi;
    reply_result(req, node_fsyncdir(reply_vault(req), ino));
}

void ops_dirs_register(struct fuse_lowlevel_ops *ops)
{
    ops->opendir = op_opendir;
    ops->readdir = op_readdir;
    ops->readdirplus = op_readdirplus;
    ops->releasedir = op_releasedir;
    ops->fsyncdir = op_fsyncdir;
}
