/* Taking names away and moving them: unlink, rmdir, rename. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "crypto/digest.h"
#include "vault/names.h"
#include "vault/node.h"
#include "vault/spool.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#define RENAME_EXCHANGE (1 << 1)
#endif

/* A directory to change, and who changes it. */
struct place {
    struct node dir;
    struct session *session;
    struct class_key *key;
};

static void place_fini(struct place *p)
{
    names_fini(&p->dir);
}

static void place_fini_scope(struct place *p)
{
    place_fini(p);
}

static int place_load(struct vault *v, const struct who *who, uint64_t nodeid, struct place *p)
{
    int rc = names_load(v, nodeid, &p->dir);

    if (rc < 0)
        return rc;
    if (!names_is_dir(&p->dir))
        return -ENOTDIR;
    if (p->dir.row.kind != NODE_BELOW && p->dir.row.kind != NODE_CLASS)
        return -EPERM;
    rc = access_right(v, who, &p->dir.row.class_id, ACCESS_WRITE, &p->session, &p->key);
    if (rc == 0 && !p->key->has_rows)
        rc = PHR_E_LOCKED;
    return rc;
}

static void event_of(struct vault *v, struct event *e, enum event_type type, const struct who *who,
                     const struct place *p, const struct id16 *file, char program[32])
{
    spool_event_init(v, e, type, who, p->session, program);
    e->patient = p->key->ctx.patient;
    e->class_id = p->key->ctx.class_id;
    e->file = *file;
}

/* How many names a child that is no directory has; and whether this one is the last. */
static int is_last_name(struct vault *v, const struct id16 *child, bool *out_last)
{
    uint32_t links = 0;
    int rc = nsdb_dentry_count_links(v->db, child, &links);

    *out_last = links <= 1;
    return rc;
}

/* The name goes; with the last one the inode too. */
static int drop_name(struct names_tx *tx, const struct name_dentry *row, uint64_t *out_nodeid,
                     bool *out_last)
{
    struct name_inode inode;
    bool last = true;
    int rc = 0;

    if (row->dtype != DT_DIR)
        rc = is_last_name(tx->v, &row->child, &last);
    if (rc == 0)
        rc = names_remove_dentry(tx, row);
    if (rc < 0)
        return rc;
    rc = names_row_ino(tx->v, &row->child, &inode);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    *out_nodeid = inode.nodeid;
    *out_last = last;
    return last ? names_remove_inode(tx, &inode) : 0;
}

static int check_victim(struct vault *v, const struct name_dentry *row, bool want_dir)
{
    bool empty = true;
    int rc = 0;

    if (want_dir && row->dtype != DT_DIR)
        return -ENOTDIR;
    if (!want_dir && row->dtype == DT_DIR)
        return -EISDIR;
    if (want_dir)
        rc = nsdb_dentry_is_empty(v->db, &row->child, &empty);
    return rc < 0 ? rc : empty ? 0 : -ENOTEMPTY;
}

static int remove_locked(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                         bool want_dir)
{
    scoped(place_fini) struct place p = { 0 };
    struct name_dentry row;
    struct names_tx tx;
    uint64_t nodeid = 0;
    bool last = false;
    char program[32];
    struct event e;
    int rc = place_load(v, who, parent, &p);

    if (rc == 0)
        rc = names_find(v, &p.dir, name, &row);
    if (rc == 0)
        rc = check_victim(v, &row, want_dir);
    if (rc < 0)
        return rc;
    rc = names_begin(&tx, v, who, p.session, p.key);
    if (rc < 0)
        return rc;
    rc = drop_name(&tx, &row, &nodeid, &last);
    if (rc < 0) {
        names_rollback(&tx);
        return rc;
    }
    event_of(v, &e, EVENT_DELETE, who, &p, &row.child, program);
    rc = names_commit(&tx, &e, false);
    if (rc < 0)
        return rc;
    touch_set(v, parent, TOUCH_MTIME | TOUCH_CTIME, &p.session->id->user);
    if (nodeid && last)
        touch_drop(v, nodeid);
    if (nodeid && !want_dir)
        touch_set(v, nodeid, TOUCH_CTIME, &p.session->id->user);
    return 0;
}

static int node_remove(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                       bool want_dir)
{
    int rc;

    nsdb_lock(v->db);
    rc = remove_locked(v, who, parent, name, want_dir);
    nsdb_unlock(v->db);
    return rc;
}

int node_unlink(struct vault *v, const struct who *who, uint64_t parent, struct view name)
{
    return node_remove(v, who, parent, name, false);
}

int node_rmdir(struct vault *v, const struct who *who, uint64_t parent, struct view name)
{
    return node_remove(v, who, parent, name, true);
}

/* ---- rename ---- */

struct move {
    struct vault *v;
    const struct who *who;
    struct place from;
    struct place to;
    struct name_dentry row;
    struct name_dentry onto; /* has_onto */
    bool has_onto;
    struct view name;
    struct view new_name;
    uint64_t victim;
    bool victim_last;
};

static void dentry_of(const struct name_dentry *row, struct view name, struct dentry *out)
{
    *out = (struct dentry){ .name_bytes = name.n, .ino = row->child, .type = row->dtype };
    memcpy(out->name, name.p, name.n);
}

/* Two names change what they point at, so no two rows ever claim one name. */
static int exchange(struct names_tx *tx, struct move *m)
{
    struct dentry a;
    struct dentry b;
    int rc;

    dentry_of(&m->onto, m->name, &a);
    dentry_of(&m->row, m->new_name, &b);
    rc = names_change_dentry(tx, &m->row, &m->from.dir.row.ino, &a);
    return rc < 0 ? rc : names_change_dentry(tx, &m->onto, &m->to.dir.row.ino, &b);
}

static int move_over(struct names_tx *tx, struct move *m)
{
    struct dentry d;
    int rc = 0;

    if (m->has_onto)
        rc = drop_name(tx, &m->onto, &m->victim, &m->victim_last);
    dentry_of(&m->row, m->new_name, &d);
    return rc < 0 ? rc : names_change_dentry(tx, &m->row, &m->to.dir.row.ino, &d);
}

static int check_move(struct move *m, unsigned flags)
{
    int rc;

    if (!id_equal(&m->from.dir.row.class_id, &m->to.dir.row.class_id))
        return -EXDEV;
    if (m->to.dir.row.is_gone)
        return -ENOENT;
    rc = names_find(m->v, &m->from.dir, m->name, &m->row);
    if (rc < 0)
        return rc;
    rc = names_find(m->v, &m->to.dir, m->new_name, &m->onto);
    m->has_onto = rc == 0;
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (flags & RENAME_EXCHANGE)
        return m->has_onto ? 0 : -ENOENT;
    if (!m->has_onto)
        return 0;
    if (flags & RENAME_NOREPLACE)
        return -EEXIST;
    if (id_equal(&m->row.child, &m->onto.child))
        return 1; /* two names of one file: nothing happens */
    return check_victim(m->v, &m->onto, m->row.dtype == DT_DIR);
}

static void touch_after_move(struct move *m, uint64_t parent, uint64_t new_parent)
{
    const struct id16 *user = &m->from.session->id->user;
    struct name_inode moved;
    struct nsdb_stmt s;

    touch_set(m->v, parent, TOUCH_MTIME | TOUCH_CTIME, user);
    touch_set(m->v, new_parent, TOUCH_MTIME | TOUCH_CTIME, user);
    if (nsdb_inode_find(m->v->db, &m->row.child, &s, &moved) == 0) {
        nsdb_end(&s);
        touch_set(m->v, moved.nodeid, TOUCH_CTIME, user);
    }
    if (m->victim && m->victim_last)
        touch_drop(m->v, m->victim);
}

static int rename_locked(struct move *m, uint64_t parent, uint64_t new_parent, unsigned flags)
{
    struct names_tx tx;
    char program[32];
    struct event e;
    int rc = place_load(m->v, m->who, parent, &m->from);

    if (rc == 0)
        rc = place_load(m->v, m->who, new_parent, &m->to);
    if (rc == 0)
        rc = check_move(m, flags);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = names_begin(&tx, m->v, m->who, m->from.session, m->from.key);
    if (rc < 0)
        return rc;
    event_of(m->v, &e, EVENT_RENAME, m->who, &m->from, &m->row.child, program);
    rc = flags & RENAME_EXCHANGE ? exchange(&tx, m) : move_over(&tx, m);
    if (rc < 0) {
        names_rollback(&tx);
        return rc;
    }
    rc = names_commit(&tx, &e, false);
    if (rc == 0)
        touch_after_move(m, parent, new_parent);
    return rc;
}

int node_rename(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                uint64_t new_parent, struct view new_name, unsigned flags)
{
    struct move m = { .v = v, .who = who, .name = name, .new_name = new_name };
    int rc;

    if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    if (new_name.n > NAME_BYTES_MAX || name.n > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    if (new_name.n == 0 || memchr(new_name.p, '/', new_name.n) ||
        memchr(new_name.p, '\0', new_name.n))
        return -EINVAL;
    nsdb_lock(v->db);
    rc = rename_locked(&m, parent, new_parent, flags);
    place_fini(&m.from);
    place_fini(&m.to);
    nsdb_unlock(v->db);
    return rc;
}
