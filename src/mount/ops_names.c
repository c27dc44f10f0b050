#include <string.h>

#include "mount/ops.h"
#include "mount/reply.h"

/* An absent name may be remembered for a moment, except where it may appear by a login. */
static bool may_remember_absence(fuse_req_t req, fuse_ino_t parent)
{
    struct who who = reply_who(req);
    struct node_attr attr;

    if (parent == VAULT_ROOT_NODE)
        return false;
    return node_getattr(reply_vault(req), &who, parent, &attr) == 0 && !attr.is_top;
}

/* Replies: entry, no entry, or fail. */
static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct who who = reply_who(req);
    struct node_attr attr;
    int rc = node_lookup(reply_vault(req), &who, parent, view_text(name), &attr);

    if (rc == 0)
        reply_entry(req, &attr);
    else if (rc == -ENOENT && may_remember_absence(req, parent))
        reply_no_entry(req);
    else
        reply_fail(req, rc);
}

/* Replies: none. */
static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    node_forget(reply_vault(req), ino, nlookup);
    reply_none(req);
}

/* Replies: none. */
static void op_forget_multi(fuse_req_t req, size_t count,
                            struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        node_forget(reply_vault(req), forgets[i].ino, forgets[i].nlookup);
    reply_none(req);
}

static void reply_made(fuse_req_t req, int rc, const struct node_attr *attr)
{
    if (rc < 0)
        reply_fail(req, rc);
    else
        reply_entry(req, attr);
}

/* Replies: entry, or fail. */
static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                     dev_t rdev)
{
    struct who who = reply_who(req);
    struct node_attr attr;

    (void)rdev; /* devices are refused */
    reply_made(req,
               node_mknod(reply_vault_writing(req), &who, parent, view_text(name), mode, &attr),
               &attr);
}

/* Replies: entry, or fail. */
static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct who who = reply_who(req);
    struct node_attr attr;

    reply_made(req,
               node_mkdir(reply_vault_writing(req), &who, parent, view_text(name), mode, &attr),
               &attr);
}

/* Replies: entry, or fail. */
static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
                       const char *name)
{
    struct who who = reply_who(req);
    struct node_attr attr;

    reply_made(req,
               node_symlink(reply_vault_writing(req), &who, parent, view_text(name),
                            view_text(target), &attr),
               &attr);
}

/* Replies: entry, or fail. */
static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent,
                    const char *new_name)
{
    struct who who = reply_who(req);
    struct node_attr attr;

    reply_made(
        req,
        node_link(reply_vault_writing(req), &who, ino, new_parent, view_text(new_name), &attr),
        &attr);
}

/* Replies: done, or fail. */
static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct who who = reply_who(req);

    reply_result(req, node_unlink(reply_vault_writing(req), &who, parent, view_text(name)));
}

/* Replies: done, or fail. */
static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct who who = reply_who(req);

    reply_result(req, node_rmdir(reply_vault_writing(req), &who, parent, view_text(name)));
}

/* Replies: done, or fail. */
static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
                      fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
    struct who who = reply_who(req);

    reply_result(req, node_rename(reply_vault_writing(req), &who, parent, view_text(name),
                                  new_parent, view_text(new_name), flags));
}

/* Replies: link, or fail. */
static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    uint8_t room[SYMLINK_BYTES_MAX + 1];
    struct who who = reply_who(req);
    struct writer target;
    int rc;

    writer_init_fixed(&target, (struct span){ room, SYMLINK_BYTES_MAX });
    rc = node_readlink(reply_vault(req), &who, ino, &target);
    if (rc == 0 && !writer_ok(&target))
        rc = -EIO;
    if (rc < 0) {
        reply_fail(req, rc);
        return;
    }
    room[writer_done(&target).n] = '\0';
    reply_link(req, (const char *)room);
}

void ops_names_register(struct fuse_lowlevel_ops *ops)
{
    ops->lookup = op_lookup;
    ops->forget = op_forget;
    ops->forget_multi = op_forget_multi;
    ops->mknod = op_mknod;
    ops->mkdir = op_mkdir;
    ops->symlink = op_symlink;
    ops->link = op_link;
    ops->unlink = op_unlink;
    ops->rmdir = op_rmdir;
    ops->rename = op_rename;
    ops->readlink = op_readlink;
}
