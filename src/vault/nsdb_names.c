/* Rows of names: inodes, dentries, headers, seals. The ledger's side of them: nsdb_shadow.c. */
#include "vault/nsdb_names.h"

#include <dirent.h>

#define INODE_COLUMNS                                                                      \
    "nodeid, ino, class, kind, epoch, version, conf, writer, gone, dirty, sealed"
#define DENTRY_COLUMNS                                                                     \
    "cookie, row, parent, tag, class, epoch, version, conf, writer, child, dtype, sealed"

static const struct id16 *id_or_null(const struct id16 *id)
{
    for (size_t i = 0; i < sizeof id->b; i++)
        if (id->b[i])
            return id;
    return NULL;
}

static int count_of(struct nsdb_stmt *s, uint32_t *out_n)
{
    int rc = nsdb_step(s);

    if (rc > 0)
        *out_n = (uint32_t)nsdb_col_u64(s, 0);
    nsdb_end(s);
    return rc < 0 ? rc : 0;
}

static void tell_inode(struct nsdb *db, uint64_t nodeid)
{
    const struct nsdb_watch *w = nsdb_get_watch(db);

    if (w)
        w->on_inode(w->user, nodeid);
}

static void tell_names(struct nsdb *db)
{
    const struct nsdb_watch *w = nsdb_get_watch(db);

    if (w)
        w->on_names(w->user);
}

/* One name came or went. */
static void tell_name(struct nsdb *db, const struct name_dentry *row)
{
    const struct nsdb_watch *w = nsdb_get_watch(db);

    if (!row->is_opened)
        tell_names(db);
    else if (w)
        w->on_name(w->user, row->dtype == DT_DIR ? &row->parent : NULL, &row->child);
}

static void tell_header(struct nsdb *db, const struct id16 *file)
{
    const struct nsdb_watch *w = nsdb_get_watch(db);

    if (w)
        w->on_header(w->user, file);
}

static int inode_load(struct nsdb_stmt *s, struct name_inode *out_row)
{
    int rc = nsdb_step(s);

    if (rc <= 0) {
        nsdb_end(s);
        return rc < 0 ? rc : -ENOENT;
    }
    out_row->nodeid = nsdb_col_u64(s, 0);
    ignored(nsdb_col_id(s, 1, &out_row->ino));
    ignored(nsdb_col_id(s, 2, &out_row->class_id));
    out_row->kind = (enum node_kind)nsdb_col_u64(s, 3);
    out_row->epoch = (uint32_t)nsdb_col_u64(s, 4);
    out_row->version = nsdb_col_u64(s, 5);
    out_row->conf = nsdb_col_u64(s, 6);
    ignored(nsdb_col_id(s, 7, &out_row->writer));
    out_row->is_gone = nsdb_col_u64(s, 8) != 0;
    out_row->is_forgotten = nsdb_col_u64(s, 8) == 2;
    out_row->is_dirty = nsdb_col_u64(s, 9) != 0;
    out_row->sealed = nsdb_col_view(s, 10);
    return 0;
}

int nsdb_inode_get(struct nsdb *db, uint64_t nodeid, struct nsdb_stmt *s,
                   struct name_inode *out_row)
{
    static const char sql[] = "SELECT " INODE_COLUMNS " FROM inode WHERE nodeid = ?";

    nsdb_query(db, sql, s);
    nsdb_bind_u64(s, nodeid);
    return inode_load(s, out_row);
}

int nsdb_inode_find(struct nsdb *db, const struct id16 *ino, struct nsdb_stmt *s,
                    struct name_inode *out_row)
{
    static const char sql[] = "SELECT " INODE_COLUMNS " FROM inode WHERE ino = ?";

    nsdb_query(db, sql, s);
    nsdb_bind_id(s, ino);
    return inode_load(s, out_row);
}

static void inode_bind(struct nsdb_stmt *s, const struct name_inode *row)
{
    nsdb_bind_id(s, id_or_null(&row->class_id));
    nsdb_bind_u64(s, row->kind);
    nsdb_bind_u64(s, row->epoch);
    nsdb_bind_u64(s, row->version);
    nsdb_bind_u64(s, row->conf);
    nsdb_bind_id(s, id_or_null(&row->writer));
    nsdb_bind_u64(s, row->is_gone ? (row->is_forgotten ? 2 : 1) : 0);
    nsdb_bind_u64(s, row->is_dirty ? 1 : 0);
    nsdb_bind_view(s, row->sealed);
}

int nsdb_inode_insert(struct nsdb *db, struct name_inode *io_row)
{
    static const char sql[] =
        "INSERT INTO inode(class, kind, epoch, version, conf, writer, gone, dirty, sealed, ino, nodeid)"
        " VALUES(?,?,?,?,?,?,?,?,?,?,?)";
    uint64_t nodeid = io_row->nodeid;
    struct nsdb_stmt s;
    int rc = nodeid ? 0 : nsdb_number_next(db, NSDB_NUMBER_NODE, &nodeid);

    if (rc < 0)
        return rc;
    tell_inode(db, nodeid);
    nsdb_query(db, sql, &s);
    inode_bind(&s, io_row);
    nsdb_bind_id(&s, &io_row->ino);
    nsdb_bind_u64(&s, nodeid);
    rc = nsdb_run(&s);
    if (rc == 0)
        io_row->nodeid = nodeid;
    return rc;
}

int nsdb_inode_update(struct nsdb *db, const struct name_inode *row)
{
    static const char sql[] = "UPDATE inode SET class=?, kind=?, epoch=?, version=?, conf=?,"
                              " writer=?, gone=?, dirty=?, sealed=? WHERE nodeid = ?";
    struct nsdb_stmt s;

    tell_inode(db, row->nodeid);
    nsdb_query(db, sql, &s);
    inode_bind(&s, row);
    nsdb_bind_u64(&s, row->nodeid);
    return nsdb_run(&s);
}

int nsdb_inode_confirm(struct nsdb *db, uint64_t nodeid, uint64_t conf)
{
    static const char sql[] = "UPDATE inode SET conf = ? WHERE nodeid = ?";
    struct nsdb_stmt s;

    tell_inode(db, nodeid);
    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, conf);
    nsdb_bind_u64(&s, nodeid);
    return nsdb_run(&s);
}

int nsdb_inode_mark_gone(struct nsdb *db, uint64_t nodeid)
{
    static const char sql[] = "UPDATE inode SET gone = 1, dirty = 0 WHERE nodeid = ?";
    const struct nsdb_watch *w = nsdb_get_watch(db);
    struct nsdb_stmt s;

    if (w)
        w->on_gone(w->user, nodeid);
    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, nodeid);
    return nsdb_run(&s);
}

int nsdb_inode_mark_forgotten(struct nsdb *db, uint64_t nodeid)
{
    static const char sql[] = "UPDATE inode SET gone = 2 WHERE nodeid = ? AND gone = 1";
    struct nsdb_stmt s;

    tell_inode(db, nodeid);
    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, nodeid);
    return nsdb_run(&s);
}

int nsdb_inode_delete(struct nsdb *db, uint64_t nodeid)
{
    static const char sql[] = "DELETE FROM inode WHERE nodeid = ?";
    struct nsdb_stmt s;

    tell_inode(db, nodeid);
    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, nodeid);
    return nsdb_run(&s);
}

int nsdb_inode_renumber(struct nsdb *db, uint64_t nodeid, uint64_t *out_nodeid)
{
    static const char blank[] = "UPDATE inode SET ino = NULL WHERE nodeid = ?";
    struct name_inode row;
    struct nsdb_stmt get;
    struct nsdb_stmt s;
    int rc = nsdb_inode_get(db, nodeid, &get, &row);

    if (rc < 0)
        return rc;
    nsdb_query(db, blank, &s);
    nsdb_bind_u64(&s, nodeid);
    row.nodeid = 0;
    /* The views of row live in the open statement, which sees the row as it was. */
    scoped(writer_fini) struct writer sealed = { 0 };

    writer_init(&sealed);
    writer_view(&sealed, row.sealed);
    nsdb_end(&get);
    row.sealed = writer_done(&sealed);
    rc = nsdb_run(&s);
    if (rc == 0)
        rc = nsdb_inode_insert(db, &row);
    if (rc == 0)
        rc = nsdb_inode_delete(db, nodeid);
    if (rc == 0)
        *out_nodeid = row.nodeid;
    return rc;
}

static int list_u64(struct nsdb_stmt *s, uint64_t *out, size_t room, size_t *out_n)
{
    size_t n = 0;
    int rc = 0;

    while (n < room && (rc = nsdb_step(s)) > 0)
        out[n++] = nsdb_col_u64(s, 0);
    nsdb_end(s);
    *out_n = n;
    return rc < 0 ? rc : 0;
}

int nsdb_inode_list_gone(struct nsdb *db, uint64_t *out_nodeids, size_t room, size_t *out_n)
{
    static const char sql[] = "SELECT nodeid FROM inode WHERE gone <> 0";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    return list_u64(&s, out_nodeids, room, out_n);
}

int nsdb_inode_list_dirty(struct nsdb *db, uint64_t after, uint64_t *out_nodeids, size_t room, size_t *out_n)
{
    static const char sql[] = "SELECT nodeid FROM inode WHERE dirty = 1 AND nodeid > ? ORDER BY nodeid";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, after);
    return list_u64(&s, out_nodeids, room, out_n);
}

int nsdb_inode_list_class(struct nsdb *db, const struct id16 *class_id, uint64_t after,
                          uint64_t *out_nodeids, size_t room, size_t *out_n)
{
    static const char sql[] =
        "SELECT nodeid FROM inode WHERE class = ? AND nodeid > ? ORDER BY nodeid";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, class_id);
    nsdb_bind_u64(&s, after);
    return list_u64(&s, out_nodeids, room, out_n);
}

int nsdb_dentry_next(struct nsdb_stmt *s, struct name_dentry *out_row)
{
    int rc = nsdb_step(s);

    if (rc <= 0)
        return rc;
    out_row->cookie = nsdb_col_u64(s, 0);
    ignored(nsdb_col_id(s, 1, &out_row->row));
    ignored(nsdb_col_id(s, 2, &out_row->parent));
    ignored(nsdb_col_id(s, 3, &out_row->tag));
    ignored(nsdb_col_id(s, 4, &out_row->class_id));
    out_row->epoch = (uint32_t)nsdb_col_u64(s, 5);
    out_row->version = nsdb_col_u64(s, 6);
    out_row->conf = nsdb_col_u64(s, 7);
    ignored(nsdb_col_id(s, 8, &out_row->writer));
    out_row->is_opened = nsdb_col_id(s, 9, &out_row->child);
    out_row->dtype = (uint8_t)nsdb_col_u64(s, 10);
    out_row->sealed = nsdb_col_view(s, 11);
    return 1;
}

static int dentry_one(struct nsdb_stmt *s, struct name_dentry *out_row)
{
    int rc = nsdb_dentry_next(s, out_row);

    if (rc > 0)
        return 0;
    nsdb_end(s);
    return rc < 0 ? rc : -ENOENT;
}

int nsdb_dentry_get(struct nsdb *db, const struct id16 *row, struct nsdb_stmt *s,
                    struct name_dentry *out_row)
{
    static const char sql[] = "SELECT " DENTRY_COLUMNS " FROM dentry WHERE row = ?";

    nsdb_query(db, sql, s);
    nsdb_bind_id(s, row);
    return dentry_one(s, out_row);
}

int nsdb_dentry_find(struct nsdb *db, const struct id16 *parent, const struct id16 *tag,
                     struct nsdb_stmt *s, struct name_dentry *out_row)
{
    static const char sql[] =
        "SELECT " DENTRY_COLUMNS " FROM dentry WHERE parent = ? AND tag = ?";

    nsdb_query(db, sql, s);
    nsdb_bind_id(s, parent);
    nsdb_bind_id(s, tag);
    return dentry_one(s, out_row);
}

int nsdb_dentry_of(struct nsdb *db, const struct id16 *child, struct nsdb_stmt *s,
                   struct name_dentry *out_row)
{
    static const char sql[] = "SELECT " DENTRY_COLUMNS " FROM dentry WHERE child = ? LIMIT 1";

    nsdb_query(db, sql, s);
    nsdb_bind_id(s, child);
    return dentry_one(s, out_row);
}

void nsdb_dentry_scan(struct nsdb *db, const struct id16 *parent, uint64_t after,
                      struct nsdb_stmt *s)
{
    static const char sql[] = "SELECT " DENTRY_COLUMNS " FROM dentry"
                              " WHERE parent = ? AND cookie > ? ORDER BY cookie";

    nsdb_query(db, sql, s);
    nsdb_bind_id(s, parent);
    nsdb_bind_u64(s, after);
}

void nsdb_dentry_scan_unopened(struct nsdb *db, const struct id16 *class_id, struct nsdb_stmt *s)
{
    static const char sql[] =
        "SELECT " DENTRY_COLUMNS " FROM dentry WHERE class = ? AND child IS NULL LIMIT 1000";

    nsdb_query(db, sql, s);
    nsdb_bind_id(s, class_id);
}

static void dentry_bind(struct nsdb_stmt *s, const struct name_dentry *row)
{
    nsdb_bind_id(s, &row->row);
    nsdb_bind_id(s, &row->parent);
    nsdb_bind_id(s, &row->tag);
    nsdb_bind_id(s, &row->class_id);
    nsdb_bind_u64(s, row->epoch);
    nsdb_bind_u64(s, row->version);
    nsdb_bind_u64(s, row->conf);
    nsdb_bind_id(s, id_or_null(&row->writer));
    nsdb_bind_id(s, row->is_opened ? &row->child : NULL);
    nsdb_bind_u64(s, row->is_opened ? row->dtype : 0);
    nsdb_bind_view(s, row->sealed);
}

int nsdb_dentry_insert(struct nsdb *db, struct name_dentry *io_row)
{
    static const char sql[] =
        "INSERT INTO dentry(row, parent, tag, class, epoch, version, conf,"
        " writer, child, dtype, sealed, cookie) VALUES(?,?,?,?,?,?,?,?,?,?,?,?)";
    uint64_t cookie = io_row->cookie;
    struct nsdb_stmt s;
    int rc = cookie ? 0 : nsdb_number_next(db, NSDB_NUMBER_COOKIE, &cookie);

    if (rc < 0)
        return rc;
    nsdb_query(db, sql, &s);
    dentry_bind(&s, io_row);
    nsdb_bind_u64(&s, cookie);
    rc = nsdb_run(&s);
    if (rc == 0)
        io_row->cookie = cookie;
    tell_name(db, io_row);
    return rc;
}

int nsdb_dentry_update(struct nsdb *db, const struct name_dentry *row)
{
    static const char sql[] =
        "UPDATE dentry SET row=?, parent=?, tag=?, class=?, epoch=?, version=?, conf=?,"
        " writer=?, child=?, dtype=?, sealed=?, cookie=? WHERE row = ?";
    struct nsdb_stmt s;

    tell_names(db);
    nsdb_query(db, sql, &s);
    dentry_bind(&s, row);
    nsdb_bind_u64(&s, row->cookie);
    nsdb_bind_id(&s, &row->row);
    return nsdb_run(&s);
}

int nsdb_dentry_confirm(struct nsdb *db, const struct id16 *row, uint64_t conf)
{
    static const char sql[] = "UPDATE dentry SET conf = ? WHERE row = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, conf);
    nsdb_bind_id(&s, row);
    return nsdb_run(&s);
}

int nsdb_dentry_set_child(struct nsdb *db, const struct id16 *row, const struct id16 *child,
                          uint8_t dtype)
{
    static const char sql[] = "UPDATE dentry SET child = ?, dtype = ? WHERE row = ?";
    struct nsdb_stmt s;

    tell_names(db);
    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, child);
    nsdb_bind_u64(&s, dtype);
    nsdb_bind_id(&s, row);
    return nsdb_run(&s);
}

int nsdb_dentry_delete(struct nsdb *db, const struct id16 *row)
{
    static const char sql[] = "DELETE FROM dentry WHERE row = ?";
    struct nsdb_stmt s;

    tell_names(db);
    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, row);
    return nsdb_run(&s);
}

int nsdb_dentry_remove(struct nsdb *db, const struct name_dentry *row)
{
    static const char sql[] = "DELETE FROM dentry WHERE parent = ? AND cookie = ?";
    struct nsdb_stmt s;

    tell_name(db, row);
    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, &row->parent);
    nsdb_bind_u64(&s, row->cookie);
    return nsdb_run(&s);
}

int nsdb_dentry_count_links(struct nsdb *db, const struct id16 *child, uint32_t *out_n)
{
    static const char sql[] = "SELECT count(*) FROM dentry WHERE child = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, child);
    return count_of(&s, out_n);
}

int nsdb_dentry_count_dirs(struct nsdb *db, const struct id16 *parent, uint32_t *out_n)
{
    static const char sql[] =
        "SELECT count(*) FROM dentry INDEXED BY dentry_dirs WHERE parent = ? AND dtype = 4";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, parent);
    return count_of(&s, out_n);
}

int nsdb_dentry_is_empty(struct nsdb *db, const struct id16 *parent, bool *out_empty)
{
    static const char sql[] = "SELECT 1 FROM dentry WHERE parent = ? LIMIT 1";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, parent);
    rc = nsdb_step(&s);
    nsdb_end(&s);
    if (rc < 0)
        return rc;
    *out_empty = rc == 0;
    return 0;
}

int nsdb_header_get(struct nsdb *db, const struct id16 *file, struct nsdb_stmt *s,
                    struct name_header *out_row)
{
    static const char sql[] = "SELECT file, class, epoch, hdr_gen, conf, writer, fk_user, fk_box,"
                              " bytes FROM header WHERE file = ?";
    int rc;

    nsdb_query(db, sql, s);
    nsdb_bind_id(s, file);
    rc = nsdb_step(s);
    if (rc <= 0) {
        nsdb_end(s);
        return rc < 0 ? rc : -ENOENT;
    }
    ignored(nsdb_col_id(s, 0, &out_row->file));
    ignored(nsdb_col_id(s, 1, &out_row->class_id));
    out_row->epoch = (uint32_t)nsdb_col_u64(s, 2);
    out_row->hdr_gen = (uint32_t)nsdb_col_u64(s, 3);
    out_row->conf = (uint32_t)nsdb_col_u64(s, 4);
    ignored(nsdb_col_id(s, 5, &out_row->writer));
    ignored(nsdb_col_id(s, 6, &out_row->fk_user));
    out_row->fk_box = nsdb_col_view(s, 7);
    out_row->bytes = nsdb_col_view(s, 8);
    return 0;
}

int nsdb_header_put(struct nsdb *db, const struct name_header *row)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO header(file, class, epoch, hdr_gen, conf, writer, fk_user, fk_box,"
        " bytes) VALUES(?,?,?,?,?,?,?,?,?)";
    struct nsdb_stmt s;

    tell_header(db, &row->file);
    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, &row->file);
    nsdb_bind_id(&s, &row->class_id);
    nsdb_bind_u64(&s, row->epoch);
    nsdb_bind_u64(&s, row->hdr_gen);
    nsdb_bind_u64(&s, row->conf);
    nsdb_bind_id(&s, id_or_null(&row->writer));
    nsdb_bind_id(&s, id_or_null(&row->fk_user));
    nsdb_bind_view(&s, row->fk_box);
    nsdb_bind_view(&s, row->bytes);
    return nsdb_run(&s);
}

int nsdb_header_confirm(struct nsdb *db, const struct id16 *file, uint32_t conf)
{
    static const char sql[] = "UPDATE header SET conf = ? WHERE file = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, conf);
    nsdb_bind_id(&s, file);
    return nsdb_run(&s);
}

int nsdb_header_set_box(struct nsdb *db, const struct id16 *file, const struct id16 *user,
                        struct view box)
{
    static const char sql[] = "UPDATE header SET fk_user = ?, fk_box = ? WHERE file = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, id_or_null(user));
    nsdb_bind_view(&s, box);
    nsdb_bind_id(&s, file);
    return nsdb_run(&s);
}

static int delete_file(struct nsdb *db, const char *sql, const struct id16 *file)
{

    return nsdb_run_id(db, sql, file);
}

int nsdb_header_delete(struct nsdb *db, const struct id16 *file)
{
    static const char sql[] = "DELETE FROM header WHERE file = ?";

    tell_header(db, file);
    return delete_file(db, sql, file);
}

int nsdb_seal_get(struct nsdb *db, const struct id16 *file, uint64_t *out_version)
{
    static const char sql[] = "SELECT version FROM seal WHERE file = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, file);
    rc = nsdb_step(&s);
    if (rc > 0)
        *out_version = nsdb_col_u64(&s, 0);
    nsdb_end(&s);
    return rc > 0 ? 0 : rc < 0 ? rc : -ENOENT;
}

int nsdb_seal_load(struct nsdb *db, const struct id16 *file, struct nsdb_stmt *s,
                   struct view *out_bytes)
{
    static const char sql[] = "SELECT bytes FROM seal WHERE file = ?";
    int rc;

    nsdb_query(db, sql, s);
    nsdb_bind_id(s, file);
    rc = nsdb_step(s);
    if (rc > 0) {
        *out_bytes = nsdb_col_view(s, 0);
        return 0;
    }
    nsdb_end(s);
    return rc < 0 ? rc : -ENOENT;
}

int nsdb_seal_put(struct nsdb *db, const struct class_ctx *ctx, const struct id16 *file,
                  uint64_t version, struct view bytes)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO seal(file, class, epoch, version, bytes) VALUES(?,?,?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, file);
    nsdb_bind_id(&s, &ctx->class_id);
    nsdb_bind_u64(&s, ctx->epoch);
    nsdb_bind_u64(&s, version);
    nsdb_bind_view(&s, bytes);
    return nsdb_run(&s);
}

int nsdb_seal_delete(struct nsdb *db, const struct id16 *file)
{
    static const char sql[] = "DELETE FROM seal WHERE file = ?";

    return delete_file(db, sql, file);
}
