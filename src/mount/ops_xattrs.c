#include "mount/ops.h"

#include <string.h>

#include "mount/negotiate.h"
#include "mount/reply.h"

static void reply_value(fuse_req_t req, int rc, const struct writer *value, size_t room)
{
    if (rc == 0 && !writer_ok(value))
        rc = -ENOMEM;
    if (rc < 0)
        reply_fail(req, rc);
    else
        reply_xattr(req, writer_done(value), room);
}

/* Replies: xattr, or fail. */
static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct who who = reply_who(req);
    scoped(writer_fini) struct writer value;
    int rc;

    writer_init(&value);
    rc = node_getxattr(reply_vault(req), &who, ino, view_text(name), &value);
    reply_value(req, rc, &value, size);
}

/* Replies: xattr, or fail. */
static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct who who = reply_who(req);
    scoped(writer_fini) struct writer names;
    int rc;

    writer_init(&names);
    rc = node_listxattr(reply_vault(req), &who, ino, &names);
    reply_value(req, rc, &names, size);
}

/* An ACL set by somebody outside the group takes set-group-id away; the kernel judged that. */
static int drop_set_gid(fuse_req_t req, fuse_ino_t ino)
{
    struct who who = reply_who(req);
    struct node_change change = { .set = NODE_SET_MODE };
    struct node_attr attr;
    int rc = node_getattr(reply_vault(req), &who, ino, &attr);

    if (rc < 0 || (attr.st.st_mode & S_ISGID) == 0)
        return rc;
    change.mode = attr.st.st_mode & ~(mode_t)S_ISGID;
    return node_setattr(reply_vault_writing(req), &who, ino, &change, NULL, &attr);
}

/* Replies: done, or fail. */
static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
                        const char *value, size_t size, int flags)
{
    struct who who = reply_who(req);
    int rc = node_setxattr(reply_vault_writing(req), &who, ino, view_text(name),
                           view_of(value, size), flags);

    /* The kernel judges default ACLs as well, but they have no say in the mode. */
    if (rc == 0 && negotiate_get_raw()->kill_sgid_acl &&
        strcmp(name, "system.posix_acl_access") == 0)
        rc = drop_set_gid(req, ino);
    reply_result(req, rc);
}

/* Replies: done, or fail. */
static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct who who = reply_who(req);

    reply_result(req, node_removexattr(reply_vault_writing(req), &who, ino, view_text(name)));
}

void ops_xattrs_register(struct fuse_lowlevel_ops *ops)
{
    ops->getxattr = op_getxattr;
    ops->setxattr = op_setxattr;
    ops->listxattr = op_listxattr;
    ops->removexattr = op_removexattr;
}
