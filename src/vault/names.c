/* Loading a node, opening its dentries, filling its attributes. Changes: names_tx.c. */
#include "vault/names.h"

#include <dirent.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "vault/acl.h"
#include "vault/nodecache.h"
#include "vault/nsdb_ledger.h"

enum { DIR_BYTES = 4096 };

/* Below a patient nobody sees anything whose keys have gone with their owner (NODE-2). */
static int take_keys(struct vault *v, struct node *n)
{
    struct class_key *k;

    if (n->row.kind != NODE_BELOW && n->row.kind != NODE_CLASS) {
        n->ctx = (struct class_ctx){ .patient = n->row.ino };
        return 0;
    }
    k = session_class_any(v, &n->row.class_id);
    n->keys = session_rows(v, &n->row.class_id, n->row.epoch);
    if (!k || !n->keys)
        return PHR_E_LOCKED;
    n->ctx = k->ctx;
    n->ctx.epoch = n->row.epoch;
    return 0;
}

static int take_kept(struct vault *v, struct kept_node *take, struct node *n)
{
    int rc;

    n->kept = take;
    n->row = take->row;
    n->attr = take->attr;
    rc = take_keys(v, n);
    if (rc < 0)
        names_fini(n);
    return rc;
}

/* n->row from an open statement, which is ended. */
static int open_node(struct vault *v, struct nsdb_stmt *s, struct node *n)
{
    scoped(inode_plain_free) struct writer plain = { 0 };
    struct inode_row ids = { n->row.ino, n->row.version, n->row.sealed };
    int rc = take_keys(v, n);

    writer_init(&plain);
    if (rc == 0 && n->keys)
        rc = inode_open_sealed(n->keys, &ids, &plain, &n->attr);
    else
        n->attr.mode = S_IFDIR | 0555;
    nsdb_end(s);
    n->row.sealed = view_of(NULL, 0);
    if (rc == 0) {
        n->kept = nodecache_put(v, &n->row, &n->attr, &plain);
        rc = n->kept ? 0 : -ENOMEM;
    }
    if (rc < 0)
        names_fini(n);
    return rc;
}

int names_load(struct vault *v, uint64_t nodeid, struct node *out_node)
{
    struct kept_node *kept = nodecache_get(v, nodeid);
    struct nsdb_stmt s;
    int rc;

    memset(out_node, 0, sizeof *out_node);
    if (kept)
        return take_kept(v, kept, out_node);
    rc = nsdb_inode_get(v->db, nodeid, &s, &out_node->row);
    if (rc < 0)
        return rc == -ENOENT ? -ESTALE : rc;
    return open_node(v, &s, out_node);
}

int names_load_ino(struct vault *v, const struct id16 *ino, struct node *out_node)
{
    struct kept_node *kept = nodecache_find(v, ino);
    struct nsdb_stmt s;
    int rc;

    memset(out_node, 0, sizeof *out_node);
    if (kept)
        return take_kept(v, kept, out_node);
    rc = nsdb_inode_find(v->db, ino, &s, &out_node->row);
    if (rc < 0)
        return rc;
    return open_node(v, &s, out_node);
}

/* kept's reference is taken; without it the row of the query, which is ended. */
static int row_of(struct kept_node *take, int query_rc, struct nsdb_stmt *s,
                  struct name_inode *out_row)
{
    if (take) {
        *out_row = take->row;
        nodecache_release(take);
        return 0;
    }
    if (query_rc < 0)
        return query_rc;
    nsdb_end(s);
    out_row->sealed = view_of(NULL, 0);
    return 0;
}

int names_row(struct vault *v, uint64_t nodeid, struct name_inode *out_row)
{
    struct kept_node *kept = nodecache_get(v, nodeid);
    struct nsdb_stmt s;
    int rc = kept ? 0 : nsdb_inode_get(v->db, nodeid, &s, out_row);

    return row_of(kept, rc, &s, out_row);
}

int names_row_ino(struct vault *v, const struct id16 *ino, struct name_inode *out_row)
{
    struct kept_node *kept = nodecache_find(v, ino);
    struct nsdb_stmt s;
    int rc = kept ? 0 : nsdb_inode_find(v->db, ino, &s, out_row);

    return row_of(kept, rc, &s, out_row);
}

void names_fini(struct node *n)
{
    nodecache_release(n->kept);
    memset(n, 0, sizeof *n);
}

bool names_is_dir(const struct node *n)
{
    return S_ISDIR(n->attr.mode);
}

int names_open_dentry(struct vault *v, struct name_dentry *row, struct dentry *out_dentry)
{
    const struct row_keys *keys = session_rows(v, &row->class_id, row->epoch);
    struct dentry_row ids = {
        .row = row->row, .parent = row->parent, .tag = row->tag, .version = row->version,
        .sealed = row->sealed
    };
    int rc;

    if (!keys)
        return PHR_E_LOCKED;
    rc = dentry_open_sealed(keys, &ids, out_dentry);
    if (rc < 0)
        return rc;
    if (!row->is_opened) {
        row->is_opened = true;
        row->child = out_dentry->ino;
        row->dtype = out_dentry->type;
    }
    return 0;
}

int names_find(struct vault *v, const struct node *parent, struct view name,
               struct name_dentry *out_row)
{
    struct nsdb_stmt s;
    struct dentry d;
    struct id16 tag;
    int rc;

    if (name.n == 0 || name.n > NAME_BYTES_MAX)
        return name.n ? -ENAMETOOLONG : -ENOENT;
    tag = name_tag(parent->keys, &parent->row.ino, name);
    rc = nsdb_dentry_find(v->db, &parent->row.ino, &tag, &s, out_row);
    if (rc < 0)
        return rc;
    if (!out_row->is_opened)
        rc = names_open_dentry(v, out_row, &d);
    nsdb_end(&s);
    out_row->sealed = view_of(NULL, 0);
    return rc;
}

static int index_some(struct vault *v, const struct id16 *class_id, size_t *out_done)
{
    struct name_dentry row;
    struct nsdb_stmt s;
    int rc;

    *out_done = 0;
    nsdb_dentry_scan_unopened(v->db, class_id, &s);
    while ((rc = nsdb_dentry_next(&s, &row)) > 0) {
        struct dentry d;

        rc = names_open_dentry(v, &row, &d);
        if (rc == PHR_E_LOCKED)
            break;
        if (rc < 0)
            continue; /* one damaged row must not hide the others */
        rc = nsdb_dentry_set_child(v->db, &row.row, &row.child, row.dtype);
        if (rc < 0)
            break;
        (*out_done)++;
    }
    nsdb_end(&s);
    return rc == PHR_E_LOCKED ? 0 : rc;
}

int names_index_class(struct vault *v, const struct id16 *class_id)
{
    enum { SCAN_ROWS = 1000 }; /* of nsdb_dentry_scan_unopened */
    size_t done;
    int rc;

    do {
        rc = nsdb_begin(v->db);
        if (rc < 0)
            return rc;
        rc = index_some(v, class_id, &done);
        if (rc < 0 || done == 0)
            nsdb_rollback(v->db);
        else
            rc = nsdb_commit(v->db);
    } while (rc == 0 && done >= SCAN_ROWS);
    return rc;
}

uint64_t names_st_ino(const struct id16 *ino)
{
    uint64_t n = get_le64(ino->b + sizeof ino->b - 8) & INT64_MAX;

    return n < 16 ? n + 16 : n; /* 0 means none, 1 is the root */
}

struct row_time names_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now); /* as the kernel's own; else times go backwards */
    return (struct row_time){ now.tv_sec, (uint32_t)now.tv_nsec };
}

static struct timespec timespec_of(struct row_time t)
{
    return (struct timespec){ .tv_sec = t.s, .tv_nsec = (long)t.ns };
}

static int fill_top(struct vault *v, const struct node *n, struct stat *st)
{
    st->st_ino = n->row.kind == NODE_ROOT ? 1 : names_st_ino(&n->row.ino);
    st->st_uid = v->opts.ownership == VAULT_OWNERSHIP_GRANTS ? 0 : geteuid();
    st->st_gid = v->opts.ownership == VAULT_OWNERSHIP_GRANTS ? 0 : getegid();
    st->st_mode = S_IFDIR | (n->row.kind == NODE_ROOT ? 0555 : acl_top_mode(v));
    st->st_nlink = 2;
    st->st_size = DIR_BYTES;
    st->st_blocks = DIR_BYTES / 512;
    return 0;
}

static int count_links(struct vault *v, const struct node *n, uint32_t *out_links)
{
    int rc;

    if (nodecache_links(v, n->kept, out_links))
        return 0;
    rc = names_is_dir(n) ? nsdb_dentry_count_dirs(v->db, &n->row.ino, out_links)
                         : nsdb_dentry_count_links(v->db, &n->row.ino, out_links);
    if (rc == 0)
        nodecache_set_links(v, n->kept, *out_links);
    return rc;
}

static int fill_links(struct vault *v, const struct node *n, struct stat *st)
{
    uint32_t links = 0;
    int rc = n->row.is_gone ? 0 : count_links(v, n, &links);

    st->st_nlink = links + (names_is_dir(n) && !n->row.is_gone ? 2 : 0);
    return rc;
}

int names_fill_attr(struct vault *v, const struct node *n, struct node_attr *out_attr)
{
    struct row_time mtime = n->attr.mtime;
    struct row_time ctime = n->attr.ctime;
    struct stat st = { 0 };
    int rc;

    *out_attr = (struct node_attr){ .nodeid = n->row.nodeid, .generation = 1 };
    out_attr->is_top = n->row.kind != NODE_BELOW;
    st.st_blksize = 4096;
    if (n->row.kind == NODE_ROOT || n->row.kind == NODE_PATIENT) {
        rc = fill_top(v, n, &st);
        out_attr->st = st;
        return rc;
    }
    st.st_ino = names_st_ino(&n->row.ino);
    st.st_mode = n->attr.mode;
    st.st_uid = n->attr.uid;
    st.st_gid = n->attr.gid;
    st.st_rdev = n->attr.rdev;
    st.st_size = (off_t)n->attr.size;
    if (S_ISLNK(n->attr.mode))
        st.st_size = (off_t)n->attr.link_target.n;
    else if (names_is_dir(n))
        st.st_size = DIR_BYTES;
    st.st_blocks = names_is_dir(n) ? DIR_BYTES / 512 : 0;
    rc = fill_links(v, n, &st);
    if (rc < 0)
        return rc;
    touch_apply(v, n->row.nodeid, &mtime, &ctime);
    st.st_atim = timespec_of(n->attr.atime);
    st.st_mtim = timespec_of(mtime);
    st.st_ctim = timespec_of(ctime);
    if (v->opts.ownership == VAULT_OWNERSHIP_GRANTS)
        acl_show_grants(v, &n->row.class_id, &st);
    else if (n->row.kind == NODE_CLASS && n->row.conf == n->row.version)
        acl_show_root(&st);
    out_attr->st = st;
    return 0;
}

int names_finish_attr(struct vault *v, struct node_attr *io_attr)
{
    struct content_attr c;
    int rc;

    if (!S_ISREG(io_attr->st.st_mode))
        return 0;
    rc = contents_getattr(v->contents, io_attr->nodeid, &c);
    if (rc < 0)
        return rc;
    io_attr->st.st_size = (off_t)c.size;
    io_attr->st.st_blocks = (blkcnt_t)c.blocks_512;
    if (c.mtime.s != 0 || c.mtime.ns != 0) /* a version that came while nobody was logged in has none */
        io_attr->st.st_mtim = timespec_of(c.mtime);
    return 0;
}
