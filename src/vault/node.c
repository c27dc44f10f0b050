/* Finding nodes and their attributes; changing attributes; forgetting. Making and moving: node_make.c, node_move.c. */
#include "vault/node.h"

#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/config.h"
#include "vault/access_state.h"
#include "vault/acl.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/node_top.h"
#include "vault/nsdb_ledger.h"
#include "vault/spool.h"

static const char acl_access_name[] = "system.posix_acl_access";

static int attr_of(struct vault *v, uint64_t nodeid, struct node_attr *out_attr)
{
    scoped(names_fini) struct node n = { 0 };
    int rc = names_load(v, nodeid, &n);

    return rc < 0 ? rc : names_fill_attr(v, &n, out_attr);
}

static int lookup_locked(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                         struct node_attr *out_attr)
{
    scoped(names_fini) struct node dir = { 0 };
    scoped(names_fini) struct node child = { 0 };
    struct name_dentry row;
    struct session *s;
    struct class_key *k;
    uint64_t nodeid;
    int rc = names_load(v, parent, &dir);

    if (rc < 0)
        return rc;
    if (!names_is_dir(&dir))
        return -ENOTDIR;
    if (name.n > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    if (dir.row.kind == NODE_ROOT || dir.row.kind == NODE_PATIENT) {
        rc = node_top_lookup(v, &dir, name, &nodeid);
        if (rc == -ENOENT && !session_of_uid(v, who->uid))
            return v->sessions ? -EACCES : PHR_E_LOCKED; /* who is logged out must not think it is gone */
        return rc < 0 ? rc : attr_of(v, nodeid, out_attr);
    }
    rc = access_right(v, who, &dir.row.class_id, ACCESS_READ, &s, &k);
    if (rc < 0)
        return rc;
    rc = names_find(v, &dir, name, &row);
    if (rc < 0)
        return rc;
    rc = names_load_ino(v, &row.child, &child);
    return rc < 0 ? rc : names_fill_attr(v, &child, out_attr);
}

int node_lookup(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                struct node_attr *out_attr)
{
    struct node_attr attr;
    int rc;

    nsdb_lock(v->db);
    rc = lookup_locked(v, who, parent, name, &attr);
    nsdb_unlock(v->db);
    if (rc == 0)
        rc = names_finish_attr(v, &attr);
    if (rc == 0)
        *out_attr = attr;
    return rc;
}

int node_getattr(struct vault *v, const struct who *who, uint64_t nodeid,
                 struct node_attr *out_attr)
{
    scoped(names_fini) struct node n = { 0 };
    struct node_attr attr;
    int rc;

    nsdb_lock(v->db);
    rc = names_load(v, nodeid, &n);
    if (rc == 0 && (n.row.kind == NODE_BELOW || n.row.kind == NODE_CLASS)) {
        struct session *s = session_of_uid(v, who->uid);

        /* Answered all the same: the kernel needs the ACL to refuse (DESIGN 9). */
        if (!s || !session_class(s->id, &n.row.class_id))
            access_denied(v, who, &n.row.class_id, -EACCES);
    }
    if (rc == 0 && n.row.kind == NODE_PATIENT) {
        struct session *s = session_of_uid(v, who->uid);

        if (!s || !session_has_patient(s->id, &n.row.ino))
            access_denied_patient(v, who, &n.row.ino);
    }
    if (rc == 0)
        rc = names_fill_attr(v, &n, &attr);
    nsdb_unlock(v->db);
    if (rc == 0)
        rc = names_finish_attr(v, &attr);
    if (rc == 0)
        *out_attr = attr;
    return rc == -ENOENT ? -ESTALE : rc;
}

int node_get_class(struct vault *v, uint64_t nodeid, struct class_ctx *out_ctx)
{
    struct name_inode row;
    int rc;

    nsdb_lock(v->db);
    rc = names_row(v, nodeid, &row);
    if (rc == 0)
        rc = nsdb_class_current(v->db, &row.class_id, out_ctx);
    nsdb_unlock(v->db);
    return rc;
}

/* ---- attributes ---- */

static void take_time(struct row_time *t, const struct timespec *given, bool now)
{
    if (now)
        *t = names_now();
    else
        *t = (struct row_time){ given->tv_sec, (uint32_t)given->tv_nsec };
}

/* chmod rewrites the stored ACL's owner, mask and other entries. */
static int chmod_acl(struct inode_attr *attr, mode_t mode, struct writer *xattrs)
{
    scoped(writer_fini) struct writer acl = { 0 };
    struct view access;
    int rc = xattr_get(attr->xattrs, view_text(acl_access_name), &access);

    if (rc == -ENODATA)
        return 0;
    if (rc < 0)
        return rc;
    writer_init(&acl);
    rc = acl_chmod(access, mode, &acl);
    if (rc == 0)
        rc = xattr_set(attr->xattrs, view_text(acl_access_name), writer_done(&acl), xattrs);
    if (rc == 0)
        attr->xattrs = writer_done(xattrs);
    return rc;
}

/*
 * As a local disk does it: without group-execute, set-group-id stays for members of the group.
 * Of the caller's groups FUSE tells one, so for the others it falls, which harms nobody.
 */
static void kill_suid(const struct who *who, uint32_t gid, struct inode_attr *attr)
{
    if (S_ISDIR(attr->mode))
        return;
    attr->mode &= ~(uint32_t)S_ISUID;
    if ((attr->mode & S_IXGRP) || (who->uid != 0 && who->gid != gid))
        attr->mode &= ~(uint32_t)S_ISGID;
}

struct setattr_try {
    struct vault *v;
    const struct who *who;
    const struct node_change *change;
    struct identity *id;
    bool set_content_mtime;
    struct row_time content_mtime;
};

/*
 * The kernel says neither that bits should fall nor why. Of a file with nothing in the request:
 * another than root writes to it. Else chown(-1, -1), which is for owners where bits do fall.
 */
static int kill_without_reason(const struct setattr_try *t, const struct node *n, struct inode_attr *io_attr)
{
    bool is_write = S_ISREG(n->attr.mode) && !(t->change->set & NODE_SET_CTIME);

    if (is_write && t->who->uid == 0)
        return 0; /* it is file capabilities that fall */
    kill_suid(t->who, n->attr.gid, io_attr);
    if (!is_write && io_attr->mode != n->attr.mode && t->who->uid != 0 && t->who->uid != n->attr.uid)
        return -EPERM;
    return 0;
}

/* True when something must go into the row now (else a touch will do). */
static int change_row(struct setattr_try *t, struct node *n)
{
    scoped(writer_fini) struct writer xattrs = { 0 };
    const struct node_change *c = t->change;
    struct inode_attr attr = n->attr;
    bool is_changed = false;
    int rc = 0;

    writer_init(&xattrs);
    touch_apply(t->v, n->row.nodeid, &attr.mtime, &attr.ctime);
    if (c->set & NODE_SET_MODE) {
        attr.mode = (attr.mode & S_IFMT) | (c->mode & 07777);
        rc = chmod_acl(&attr, c->mode, &xattrs);
        is_changed = true;
    }
    if (c->set & (NODE_SET_UID | NODE_SET_GID)) {
        if (c->set & NODE_SET_UID)
            attr.uid = c->uid;
        if (c->set & NODE_SET_GID)
            attr.gid = c->gid;
        is_changed = true;
    }
    if (c->set & NODE_KILL_SUIDGID) {
        kill_suid(t->who, n->attr.gid, &attr);
        is_changed |= attr.mode != n->attr.mode;
    }
    if (c->set & NODE_KILL_NO_REASON) {
        rc = kill_without_reason(t, n, &attr);
        is_changed |= attr.mode != n->attr.mode;
    }
    if (c->set & (NODE_SET_ATIME | NODE_SET_ATIME_NOW)) {
        take_time(&attr.atime, &c->atime, c->set & NODE_SET_ATIME_NOW);
        is_changed = true;
    }
    if (c->set & (NODE_SET_MTIME | NODE_SET_MTIME_NOW)) {
        take_time(&attr.mtime, &c->mtime, c->set & NODE_SET_MTIME_NOW);
        t->set_content_mtime = S_ISREG(attr.mode);
        t->content_mtime = attr.mtime;
        is_changed |= !S_ISREG(attr.mode);
    }
    if (rc < 0)
        return rc;
    if (c->set & NODE_SET_CTIME)
        attr.ctime = (struct row_time){ c->ctime.tv_sec, (uint32_t)c->ctime.tv_nsec };
    else
        attr.ctime = names_now();
    if (!is_changed && S_ISREG(attr.mode)) {
        /* The kernel's mtime of a file being written: it rides with the next seal. */
        touch_set(t->v, n->row.nodeid, TOUCH_CTIME | TOUCH_CONTENT, &t->id->user);
        return 0;
    }
    touch_drop(t->v, n->row.nodeid);
    return names_set_attr(t->v, n, &attr, &t->id->user);
}

/* The kernel sends the ctime of a file that it unlinked when it drops it: nobody will look. Who holds
   a removed folder open may. */
static bool is_for_nobody(struct setattr_try *t, const struct node *n)
{
    const unsigned times = NODE_SET_ATIME | NODE_SET_MTIME | NODE_SET_ATIME_NOW |
                           NODE_SET_MTIME_NOW | NODE_SET_CTIME;

    return n->row.is_gone && S_ISREG(n->attr.mode) && (t->change->set & ~times) == 0 &&
           !contents_is_open(t->v->contents, n->row.nodeid);
}

static int setattr_locked(struct setattr_try *t, uint64_t nodeid)
{
    scoped(names_fini) struct node n = { 0 };
    struct session *s;
    struct class_key *k;
    int rc = names_load(t->v, nodeid, &n);

    if (rc < 0)
        return rc;
    if (n.row.kind == NODE_ROOT || n.row.kind == NODE_PATIENT)
        return -EPERM;
    rc = access_right(t->v, t->who, &n.row.class_id, ACCESS_WRITE, &s, &k);
    if (rc < 0 && t->change->file && session_identity(t->v, access_get_user(file_get_access(t->change->file)))) {
        /* Write-back comes with no useful uid: the handle's identity counts. */
        rc = access_check(file_get_access(t->change->file));
        t->id = session_identity(t->v, access_get_user(file_get_access(t->change->file)));
    } else if (rc == 0) {
        t->id = s->id;
    }
    if (rc < 0 || is_for_nobody(t, &n))
        return rc;
    return change_row(t, &n);
}

static int set_size(struct vault *v, const struct who *who, uint64_t nodeid,
                    const struct node_change *c, struct waiter *w)
{
    struct access *a = NULL;
    int rc;

    if (c->file)
        return contents_truncate(v->contents, nodeid, file_get_access(c->file), c->size, w);
    rc = access_open(v, who, nodeid, ACCESS_WRITE, c->size == 0, w, &a);
    if (rc < 0)
        return rc;
    rc = contents_truncate(v->contents, nodeid, a, c->size, w);
    access_release(a);
    return rc;
}

int node_setattr(struct vault *v, const struct who *who, uint64_t nodeid,
                 const struct node_change *change, struct waiter *w, struct node_attr *out_attr)
{
    struct setattr_try t = { .v = v, .who = who, .change = change };
    int rc = 0;

    if (vault_is_read_only(v))
        return -EROFS;
    if (change->set & NODE_SET_SIZE)
        rc = set_size(v, who, nodeid, change, w);
    if (rc < 0)
        return rc;
    nsdb_lock(v->db);
    rc = setattr_locked(&t, nodeid);
    nsdb_unlock(v->db);
    if (rc == 0 && t.set_content_mtime)
        rc = contents_set_mtime(v->contents, nodeid, &t.content_mtime);
    if (rc < 0)
        return rc;
    return node_getattr(v, who, nodeid, out_attr);
}

int node_readlink(struct vault *v, const struct who *who, uint64_t nodeid, struct writer *out)
{
    scoped(names_fini) struct node n = { 0 };
    struct session *s;
    struct class_key *k;
    int rc;

    nsdb_lock(v->db);
    rc = names_load(v, nodeid, &n);
    if (rc == 0 && !S_ISLNK(n.attr.mode))
        rc = -EINVAL;
    if (rc == 0)
        rc = access_right(v, who, &n.row.class_id, ACCESS_READ, &s, &k);
    if (rc == 0) {
        writer_view(out, n.attr.link_target);
        rc = writer_ok(out) ? 0 : -ENOMEM;
    }
    nsdb_unlock(v->db);
    return rc;
}

int node_statfs(struct vault *v, struct statvfs *out_st)
{
    struct statvfs st;

    if (fstatvfs(v->dir_fd, &st) < 0)
        return -errno;
    st.f_namemax = NAME_BYTES_MAX;
    st.f_bsize = BLOCK_BYTES;
    if (st.f_frsize != 0 && v->opts.config->floor_bytes > 0) {
        fsblkcnt_t floor = (fsblkcnt_t)(v->opts.config->floor_bytes / st.f_frsize);

        st.f_bavail = st.f_bavail > floor ? st.f_bavail - floor : 0;
        st.f_bfree = st.f_bfree > floor ? st.f_bfree - floor : 0;
    }
    *out_st = st;
    return 0;
}

int node_fsyncdir(struct vault *v, uint64_t nodeid)
{
    int rc;

    (void)nodeid;
    rc = spool_sync(v->spool);
    return rc < 0 ? rc : nsdb_sync(v->db);
}

/* ---- nodes without a name ---- */

static int purge(struct vault *v, uint64_t nodeid, bool is_copied)
{
    struct name_inode row;
    struct nsdb_stmt s;
    int rc = nsdb_begin(v->db);

    if (rc < 0)
        return rc;
    rc = names_row(v, nodeid, &row);
    if (rc == 0 && !row.is_gone)
        rc = -EBUSY;
    if (is_copied && (rc == 0 || rc == -ENOENT)) {
        int conflict_rc = nsdb_conflict_delete(v->db, nodeid);

        rc = conflict_rc < 0 ? conflict_rc : rc;
    }
    if (rc == 0 && row.is_forgotten && !is_copied)
        rc = retire_keep_late(v, &row);
    if (rc == -EALREADY) { /* it is to be copied first */
        nsdb_commit_soon(v->db);
        return -EBUSY;
    }
    if (rc == 0 || rc == -ENOENT) {
        bool is_wanted = false;
        int has_rc = nsdb_conflict_has(v->db, nodeid, &is_wanted);

        if (has_rc < 0 || is_wanted)
            rc = has_rc < 0 ? has_rc : -EBUSY; /* its contents are still to be copied */
    }
    if (rc == 0) {
        struct shadow_row shadow;

        if (nsdb_shadow_get(v->db, SHADOW_INODE, &row.ino, &s, &shadow) == 0) {
            nsdb_end(&s); /* its removal is still on the way: the header stays until then */
        } else {
            rc = nsdb_header_delete(v->db, &row.ino);
            if (rc == 0)
                rc = nsdb_seal_delete(v->db, &row.ino);
        }
        lease_forget_file(v, &row.ino);
        touch_drop(v, nodeid);
        if (rc == 0)
            rc = nsdb_inode_delete(v->db, nodeid);
    }
    if (rc == 0 || rc == -ENOENT) {
        rc = contents_delete(v->contents, nodeid);
        rc = rc == -ENOENT ? 0 : rc;
    }
    if (rc < 0) {
        nsdb_rollback(v->db);
        return rc;
    }
    nsdb_commit_soon(v->db);
    return 0;
}

int node_purge(struct vault *v, uint64_t nodeid)
{
    return purge(v, nodeid, false);
}

int node_purge_copied(struct vault *v, uint64_t nodeid)
{
    return purge(v, nodeid, true);
}

/* 0: has a name (or is none of ours); 1: nameless; 2: and forgotten, or a retired number. */
static int namelessness(struct vault *v, uint64_t nodeid)
{
    struct name_inode row;
    int rc;

    nsdb_lock(v->db);
    rc = names_row(v, nodeid, &row);
    nsdb_unlock(v->db);
    if (rc < 0)
        return rc == -ENOENT ? 2 : 0;
    return !row.is_gone ? 0 : row.is_forgotten ? 2 : 1;
}

/* Its last handle purges it. */
static void mark_forgotten(struct vault *v, uint64_t nodeid)
{
    if (nsdb_begin(v->db) < 0)
        return; /* purged at the next start */
    if (nsdb_inode_mark_forgotten(v->db, nodeid) < 0)
        nsdb_rollback(v->db);
    else
        nsdb_commit_soon(v->db);
}

void node_forget(struct vault *v, uint64_t nodeid, uint64_t n)
{
    (void)n; /* the kernel forgets all at once when it evicts */
    if (nodeid == VAULT_ROOT_NODE || namelessness(v, nodeid) == 0)
        return;
    if (contents_is_open(v->contents, nodeid)) {
        mark_forgotten(v, nodeid);
        if (contents_is_open(v->contents, nodeid))
            return; /* the last release sees the mark */
    }
    ignored(node_purge(v, nodeid)); /* else purged at the next start */
}

/*
 * A nameless node that the kernel still knows may be opened again by /proc/self/fd: its FORGET
 * purges it. What is forgotten or retired goes now.
 */
void node_on_last_release(struct vault *v, uint64_t nodeid)
{
    if (namelessness(v, nodeid) == 2)
        ignored(node_purge(v, nodeid)); /* else purged at the next start */
}
