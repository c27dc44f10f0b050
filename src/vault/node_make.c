/* Making nodes: mknod, mkdir, create, symlink, link. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "base/checked.h"
#include "crypto/random.h"
#include "vault/access_state.h"
#include "vault/acl.h"
#include "vault/header_new.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/node.h"
#include "vault/nodecache.h"
#include "vault/pool.h"
#include "vault/spool.h"

static const char acl_access_name[] = "system.posix_acl_access";
static const char acl_default_name[] = "system.posix_acl_default";

enum { LINKS_MAX = 65000 }; /* names of one file, as ext4 has it: each is counted by stat */

struct make {
    struct vault *v;
    const struct who *who;
    uint64_t parent;
    struct view name;
    mode_t mode; /* type and permissions as asked */
    struct view target;
    bool wants_access;

    struct id16 ino;
    struct class_ctx ctx; /* of keys */
    struct key_set *keys; /* regular files */
    uint64_t nodeid;
    struct access *access;
    struct node_attr attr;
};

static int name_check(struct view name)
{
    if (name.n == 0)
        return -ENOENT;
    if (name.n > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    if (memchr(name.p, '/', name.n) || memchr(name.p, '\0', name.n))
        return -EINVAL;
    if ((name.n == 1 && name.p[0] == '.') || (name.n == 2 && name.p[0] == '.' && name.p[1] == '.'))
        return -EEXIST;
    return 0;
}

/* The header costs 80 us of PRE: made before the lock is taken, thrown away if the epoch changed. */
static int prepare_header(struct make *m)
{
    scoped(names_fini) struct node dir = { 0 };
    struct session *s;
    struct class_key *k;
    struct point a;
    int rc;

    nsdb_lock(m->v->db);
    rc = names_load(m->v, m->parent, &dir);
    if (rc == 0 && dir.row.kind != NODE_BELOW && dir.row.kind != NODE_CLASS)
        rc = -EPERM;
    if (rc == 0)
        rc = access_right(m->v, m->who, &dir.row.class_id, ACCESS_WRITE, &s, &k);
    if (rc == 0) {
        m->ctx = k->ctx;
        a = k->a_pub;
    }
    nsdb_unlock(m->v->db);
    if (rc < 0)
        return rc;
    m->keys = pool_take(m->v->pool, &m->ctx, &a);
    if (m->keys) {
        m->ino = m->keys->ctx.file;
        return 0;
    }
    return header_new(&m->ctx, &a, &m->ino, 1, header_new_fk_gen(m->ctx.epoch, 0), &m->keys);
}

/* Mode, group and ACLs as the parent wants them. The list lives in *xattrs. */
static int inherit(const struct make *m, const struct node *dir, struct inode_attr *attr,
                   struct writer *xattrs)
{
    scoped(writer_fini) struct writer access = { 0 };
    scoped(writer_fini) struct writer with_access = { 0 };
    struct view dir_default = { NULL, 0 };
    mode_t mode = m->mode;
    int rc = 0;

    writer_init(&access);
    writer_init(&with_access);
    ignored(xattr_get(dir->attr.xattrs, view_text(acl_default_name), &dir_default)); /* or none */
    if (!S_ISLNK(m->mode)) {
        rc = acl_inherit(dir_default, m->mode, m->who->umask, &mode, &access);
        if (rc < 0)
            return rc;
    }
    attr->uid = m->who->uid;
    attr->gid = m->who->gid;
    if (dir->attr.mode & S_ISGID) {
        attr->gid = dir->attr.gid;
        if (S_ISDIR(mode))
            mode |= S_ISGID;
    }
    attr->mode = mode;
    if (access.n > 0)
        rc = xattr_set(view_of(NULL, 0), view_text(acl_access_name), writer_done(&access),
                       &with_access);
    if (rc == 0 && S_ISDIR(mode) && dir_default.n > 0)
        rc = xattr_set(writer_done(&with_access), view_text(acl_default_name), dir_default, xattrs);
    else if (rc == 0)
        writer_view(xattrs, writer_done(&with_access));
    attr->xattrs = writer_done(xattrs);
    return rc < 0 ? rc : writer_ok(xattrs) ? 0 : -ENOMEM;
}

static uint8_t dtype_of(mode_t mode)
{
    return (uint8_t)IFTODT(mode);
}

static int store(struct make *m, struct names_tx *tx, const struct node *dir)
{
    scoped(writer_fini) struct writer xattrs = { 0 };
    struct inode_attr attr = { .link_target = m->target };
    struct dentry d = { .name_bytes = m->name.n, .ino = m->ino, .type = dtype_of(m->mode) };
    int rc;

    writer_init(&xattrs);
    attr.atime = attr.mtime = attr.ctime = attr.btime = names_now();
    rc = inherit(m, dir, &attr, &xattrs);
    if (rc == 0)
        rc = names_new_inode(tx, &m->ino, &attr, &m->nodeid);
    if (rc == 0 && m->keys)
        rc = names_put_header(tx, m->keys);
    memcpy(d.name, m->name.p, m->name.n);
    if (rc == 0)
        rc = names_new_dentry(tx, NULL, &dir->row.ino, &d);
    if (rc == 0 && m->keys)
        rc = contents_create(m->v->contents, m->nodeid, &m->ino, &tx->session->id->user);
    return rc;
}

static int make_locked(struct make *m)
{
    scoped(names_fini) struct node dir = { 0 };
    scoped(names_fini) struct node made = { 0 };
    struct name_dentry there;
    struct names_tx tx;
    struct session *s;
    struct class_key *k;
    char program[32];
    struct event e;
    int rc = names_load(m->v, m->parent, &dir);

    if (rc < 0)
        return rc;
    if (!names_is_dir(&dir))
        return -ENOTDIR;
    if (dir.row.kind != NODE_BELOW && dir.row.kind != NODE_CLASS)
        return -EPERM;
    rc = access_right(m->v, m->who, &dir.row.class_id, ACCESS_WRITE, &s, &k);
    if (rc < 0)
        return rc;
    if (!k->has_rows)
        return PHR_E_LOCKED;
    if (dir.row.is_gone)
        return -ENOENT;
    if (m->keys && !class_ctx_equal(&m->ctx, &k->ctx))
        return -EAGAIN;
    rc = names_find(m->v, &dir, m->name, &there);
    if (rc != -ENOENT)
        return rc < 0 ? rc : -EEXIST;
    rc = names_begin(&tx, m->v, m->who, s, k);
    if (rc < 0)
        return rc;
    rc = store(m, &tx, &dir);
    if (rc < 0) {
        names_rollback(&tx);
        return rc;
    }
    spool_event_init(m->v, &e, EVENT_CREATE, m->who, s, program);
    e.patient = k->ctx.patient;
    e.class_id = k->ctx.class_id;
    e.file = m->ino;
    rc = names_commit(&tx, &e, !S_ISDIR(m->mode));
    if (rc < 0)
        return rc;
    touch_set(m->v, m->parent, TOUCH_MTIME | TOUCH_CTIME, &s->id->user);
    if (m->keys) {
        lease_keep_keys(m->v, s->id, m->keys);
        lease_mark_current(m->v, s->id, &m->keys->ctx);
    }
    if (m->wants_access) {
        m->access = access_new(m->v, &s->id->user, &k->ctx.class_id, m->nodeid,
                               ACCESS_READ | ACCESS_WRITE, key_set_borrow(m->keys));
        if (!m->access)
            return -ENOMEM;
    }
    rc = names_load(m->v, m->nodeid, &made);
    if (rc < 0)
        return rc;
    nodecache_set_links(m->v, made.kept, S_ISDIR(m->mode) ? 0 : 1);
    return names_fill_attr(m->v, &made, &m->attr);
}

static int make(struct make *m)
{
    enum { TRIES = 3 };
    int rc = name_check(m->name);

    for (int i = 0; rc == 0 && i < TRIES; i++) {
        m->ino = random_id_rising();
        if (S_ISREG(m->mode))
            rc = prepare_header(m);
        if (rc < 0)
            break;
        nsdb_lock(m->v->db);
        rc = make_locked(m);
        nsdb_unlock(m->v->db);
        key_set_release(m->keys);
        m->keys = NULL;
        if (rc != -EAGAIN)
            break;
        rc = i + 1 < TRIES ? 0 : PHR_E_EPOCH_HELD;
    }
    return rc < 0 ? rc : names_finish_attr(m->v, &m->attr);
}

int node_mknod(struct vault *v, const struct who *who, uint64_t parent, struct view name,
               uint32_t mode, struct node_attr *out_attr)
{
    struct make m = { .v = v, .who = who, .parent = parent, .name = name, .mode = mode };
    int rc;

    if (S_ISCHR(mode) || S_ISBLK(mode))
        return -EPERM;
    if (!(mode & S_IFMT))
        m.mode |= S_IFREG;
    if (!S_ISREG(m.mode) && !S_ISFIFO(m.mode) && !S_ISSOCK(m.mode))
        return -EINVAL;
    rc = make(&m);
    if (rc == 0)
        *out_attr = m.attr;
    return rc;
}

int node_mkdir(struct vault *v, const struct who *who, uint64_t parent, struct view name,
               uint32_t mode, struct node_attr *out_attr)
{
    struct make m = {
        .v = v, .who = who, .parent = parent, .name = name, .mode = S_IFDIR | (mode & 07777)
    };
    int rc = make(&m);

    if (rc == 0)
        *out_attr = m.attr;
    return rc;
}

int node_symlink(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                 struct view target, struct node_attr *out_attr)
{
    struct make m = {
        .v = v, .who = who, .parent = parent, .name = name, .mode = S_IFLNK | 0777, .target = target
    };
    int rc;

    if (target.n == 0)
        return -ENOENT;
    if (target.n > SYMLINK_BYTES_MAX)
        return -ENAMETOOLONG;
    rc = make(&m);
    if (rc == 0)
        *out_attr = m.attr;
    return rc;
}

int node_create(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                uint32_t mode, int open_flags, struct node_attr *out_attr, struct file **out_file)
{
    struct make m = {
        .v = v, .who = who, .parent = parent, .name = name, .mode = S_IFREG | (mode & 07777),
        .wants_access = true
    };
    int rc = make(&m);

    if (rc < 0) {
        access_release(m.access);
        return rc;
    }
    rc = contents_open_file(v->contents, m.nodeid, m.access, open_flags, out_file);
    access_release(m.access);
    if (rc == 0)
        *out_attr = m.attr;
    return rc;
}

/* ---- link ---- */

static int link_locked(struct vault *v, const struct who *who, uint64_t nodeid, uint64_t new_parent,
                       struct view name, struct node_attr *out_attr)
{
    scoped(names_fini) struct node dir = { 0 };
    scoped(names_fini) struct node n = { 0 };
    struct name_dentry there;
    struct dentry d = { .name_bytes = name.n };
    struct names_tx tx;
    struct session *s;
    struct class_key *k;
    char program[32];
    struct event e;
    uint32_t links;
    int rc = names_load(v, nodeid, &n);

    if (rc == 0)
        rc = names_load(v, new_parent, &dir);
    if (rc < 0)
        return rc;
    if (names_is_dir(&n) || (dir.row.kind != NODE_BELOW && dir.row.kind != NODE_CLASS))
        return -EPERM;
    if (memcmp(n.row.class_id.b, dir.row.class_id.b, sizeof n.row.class_id.b) != 0)
        return -EXDEV;
    rc = access_right(v, who, &dir.row.class_id, ACCESS_WRITE, &s, &k);
    if (rc < 0)
        return rc;
    if (n.row.is_gone || dir.row.is_gone)
        return -ENOENT;
    rc = names_find(v, &dir, name, &there);
    if (rc != -ENOENT)
        return rc < 0 ? rc : -EEXIST;
    rc = nsdb_dentry_count_links(v->db, &n.row.ino, &links);
    if (rc < 0 || links >= LINKS_MAX)
        return rc < 0 ? rc : -EMLINK;
    rc = names_begin(&tx, v, who, s, k);
    if (rc < 0)
        return rc;
    memcpy(d.name, name.p, name.n);
    d.ino = n.row.ino;
    d.type = dtype_of(n.attr.mode);
    rc = names_new_dentry(&tx, NULL, &dir.row.ino, &d);
    if (rc < 0) {
        names_rollback(&tx);
        return rc;
    }
    spool_event_init(v, &e, EVENT_LINK, who, s, program);
    e.patient = k->ctx.patient;
    e.class_id = k->ctx.class_id;
    e.file = n.row.ino;
    rc = names_commit(&tx, &e, false);
    if (rc < 0)
        return rc;
    touch_set(v, new_parent, TOUCH_MTIME | TOUCH_CTIME, &s->id->user);
    touch_set(v, nodeid, TOUCH_CTIME, &s->id->user);
    return names_fill_attr(v, &n, out_attr);
}

int node_link(struct vault *v, const struct who *who, uint64_t nodeid, uint64_t new_parent,
              struct view new_name, struct node_attr *out_attr)
{
    struct node_attr attr;
    int rc = name_check(new_name);

    if (rc < 0)
        return rc;
    nsdb_lock(v->db);
    rc = link_locked(v, who, nodeid, new_parent, new_name, &attr);
    nsdb_unlock(v->db);
    if (rc == 0)
        rc = names_finish_attr(v, &attr);
    if (rc == 0)
        *out_attr = attr;
    return rc;
}
