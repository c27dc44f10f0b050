/* The ledger's image of rows that differ here, and local changes taken back for a rebase. */
#include "vault/nsdb_names.h"

#define SHADOW_COLUMNS "kind, id, class, epoch, version, base, parent, tag, writer, bytes"
#define PARKED_COLUMNS                                                                     \
    "kind, id, class, epoch, base, number, writer, removed, fk_user, fk_box, bytes"

static int shadow_next(struct nsdb_stmt *s, struct shadow_row *out_row)
{
    int rc = nsdb_step(s);

    if (rc <= 0)
        return rc;
    out_row->kind = (enum shadow_kind)nsdb_col_u64(s, 0);
    ignored(nsdb_col_id(s, 1, &out_row->id));
    ignored(nsdb_col_id(s, 2, &out_row->class_id));
    out_row->epoch = (uint32_t)nsdb_col_u64(s, 3);
    out_row->version = nsdb_col_u64(s, 4);
    out_row->base = nsdb_col_u64(s, 5);
    out_row->has_name = nsdb_col_id(s, 6, &out_row->parent);
    ignored(nsdb_col_id(s, 7, &out_row->tag));
    ignored(nsdb_col_id(s, 8, &out_row->writer));
    out_row->bytes = nsdb_col_view(s, 9);
    return 1;
}

int nsdb_shadow_get(struct nsdb *db, enum shadow_kind kind, const struct id16 *id,
                    struct nsdb_stmt *s, struct shadow_row *out_row)
{
    static const char sql[] = "SELECT " SHADOW_COLUMNS " FROM shadow WHERE kind = ? AND id = ?";
    int rc;

    nsdb_query(db, sql, s);
    nsdb_bind_u64(s, kind);
    nsdb_bind_id(s, id);
    rc = shadow_next(s, out_row);
    if (rc > 0)
        return 0;
    nsdb_end(s);
    return rc < 0 ? rc : -ENOENT;
}

int nsdb_shadow_find_name(struct nsdb *db, const struct id16 *parent, const struct id16 *tag,
                          struct id16 *out_row)
{
    static const char sql[] =
        "SELECT id FROM shadow WHERE parent IS NOT NULL AND parent = ? AND tag = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, parent);
    nsdb_bind_id(&s, tag);
    rc = nsdb_step(&s);
    if (rc > 0)
        ignored(nsdb_col_id(&s, 0, out_row));
    nsdb_end(&s);
    return rc > 0 ? 0 : rc < 0 ? rc : -ENOENT;
}

int nsdb_shadow_put(struct nsdb *db, const struct shadow_row *row)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO shadow(" SHADOW_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, row->kind);
    nsdb_bind_id(&s, &row->id);
    nsdb_bind_id(&s, &row->class_id);
    nsdb_bind_u64(&s, row->epoch);
    nsdb_bind_u64(&s, row->version);
    nsdb_bind_u64(&s, row->base);
    nsdb_bind_id(&s, row->has_name ? &row->parent : NULL);
    nsdb_bind_id(&s, row->has_name ? &row->tag : NULL);
    nsdb_bind_id(&s, &row->writer);
    nsdb_bind_view(&s, row->bytes);
    return nsdb_run(&s);
}

static int delete_kind(struct nsdb *db, const char *sql, enum shadow_kind kind,
                       const struct id16 *id)
{
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, kind);
    nsdb_bind_id(&s, id);
    return nsdb_run(&s);
}

int nsdb_shadow_delete(struct nsdb *db, enum shadow_kind kind, const struct id16 *id)
{
    static const char sql[] = "DELETE FROM shadow WHERE kind = ? AND id = ?";

    return delete_kind(db, sql, kind, id);
}

int nsdb_parked_put(struct nsdb *db, const struct parked_row *row)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO parked(" PARKED_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, row->kind);
    nsdb_bind_id(&s, &row->id);
    nsdb_bind_id(&s, &row->class_id);
    nsdb_bind_u64(&s, row->epoch);
    nsdb_bind_u64(&s, row->base);
    nsdb_bind_u64(&s, row->number);
    nsdb_bind_id(&s, &row->writer);
    nsdb_bind_u64(&s, row->is_removed ? 1 : 0);
    nsdb_bind_id(&s, &row->fk_user);
    nsdb_bind_view(&s, row->fk_box);
    nsdb_bind_view(&s, row->bytes);
    return nsdb_run(&s);
}

int nsdb_parked_delete(struct nsdb *db, enum shadow_kind kind, const struct id16 *id)
{
    static const char sql[] = "DELETE FROM parked WHERE kind = ? AND id = ?";

    return delete_kind(db, sql, kind, id);
}

void nsdb_parked_scan(struct nsdb *db, const struct id16 *class_id, struct nsdb_stmt *s)
{
    static const char sql[] = "SELECT " PARKED_COLUMNS
                              " FROM parked WHERE class = ? ORDER BY removed DESC,"
                              " CASE WHEN removed = 0 AND kind = 1 THEN 4 ELSE kind END, number";

    nsdb_query(db, sql, s);
    nsdb_bind_id(s, class_id);
}

int nsdb_parked_next(struct nsdb_stmt *s, struct parked_row *out_row)
{
    int rc = nsdb_step(s);

    if (rc <= 0)
        return rc;
    out_row->kind = (enum shadow_kind)nsdb_col_u64(s, 0);
    ignored(nsdb_col_id(s, 1, &out_row->id));
    ignored(nsdb_col_id(s, 2, &out_row->class_id));
    out_row->epoch = (uint32_t)nsdb_col_u64(s, 3);
    out_row->base = nsdb_col_u64(s, 4);
    out_row->number = nsdb_col_u64(s, 5);
    ignored(nsdb_col_id(s, 6, &out_row->writer));
    out_row->is_removed = nsdb_col_u64(s, 7) != 0;
    ignored(nsdb_col_id(s, 8, &out_row->fk_user));
    out_row->fk_box = nsdb_col_view(s, 9);
    out_row->bytes = nsdb_col_view(s, 10);
    return 1;
}

int nsdb_parked_set_base(struct nsdb *db, const struct parked_row *row, bool *io_any)
{
    static const char sql[] = "UPDATE parked SET base = ? WHERE kind = ? AND id = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, row->base);
    nsdb_bind_u64(&s, row->kind);
    nsdb_bind_id(&s, &row->id);
    rc = nsdb_run(&s);
    if (rc == 0 && nsdb_changes(db) > 0)
        *io_any = true;
    return rc;
}

int nsdb_parked_forget(struct nsdb *db, const struct id16 *patient, const struct id16 *host)
{
    static const char any[] = "SELECT EXISTS(SELECT 1 FROM parked WHERE removed = 1 AND base = 0)";
    static const char sql[] =
        "DELETE FROM parked WHERE removed = 1 AND base = 0"
        " AND class IN (SELECT class FROM class WHERE patient = ?1)"
        " AND NOT EXISTS (SELECT 1 FROM unwound u WHERE u.patient = ?1 AND u.n > ifnull((SELECT l.n FROM last_n l"
        " WHERE l.patient = ?1 AND l.writer = u.writer AND l.host = ?2 AND l.lane = 0), 0))";
    struct nsdb_stmt s;
    uint64_t is_there = 0;
    int rc = nsdb_query_u64(db, any, &is_there);

    if (rc < 0 || !is_there)
        return rc;
    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, patient);
    nsdb_bind_id(&s, host);
    return nsdb_run(&s);
}

int nsdb_parked_count(struct nsdb *db, uint32_t *out_n)
{
    static const char sql[] = "SELECT count(*) FROM parked WHERE NOT (removed = 1 AND base = 0)";
    uint64_t n = 0;
    int rc = nsdb_query_u64(db, sql, &n);

    *out_n = (uint32_t)n;
    return rc;
}

int nsdb_local_list(struct nsdb *db, const struct id16 *class_id, enum shadow_kind kind,
                    struct writer *out_ids)
{
    static const char dentries[] =
        "SELECT row FROM dentry WHERE class = ?1 AND conf <> version UNION"
        " SELECT id FROM shadow WHERE class = ?1 AND kind = 1";
    static const char inodes[] =
        "SELECT ino FROM inode WHERE class = ?1 AND conf <> version AND gone = 0 AND kind < 2 UNION"
        " SELECT id FROM shadow WHERE class = ?1 AND kind = 2";
    static const char headers[] =
        "SELECT file FROM header WHERE class = ?1 AND conf <> hdr_gen UNION"
        " SELECT id FROM shadow WHERE class = ?1 AND kind = 3";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, kind == SHADOW_DENTRY ? dentries : kind == SHADOW_INODE ? inodes : headers, &s);
    nsdb_bind_id(&s, class_id);
    while ((rc = nsdb_step(&s)) > 0)
        writer_view(out_ids, nsdb_col_view(&s, 0));
    nsdb_end(&s);
    if (rc == 0 && !writer_ok(out_ids))
        rc = -ENOMEM;
    return rc;
}

int nsdb_conflict_put(struct nsdb *db, const struct conflict_row *row)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO conflict(nodeid, file, class, writer) VALUES(?,?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, row->nodeid);
    nsdb_bind_id(&s, &row->file);
    nsdb_bind_id(&s, &row->class_id);
    nsdb_bind_id(&s, &row->writer);
    return nsdb_run(&s);
}

int nsdb_conflict_next(struct nsdb *db, uint64_t after, struct conflict_row *out_row)
{
    static const char sql[] =
        "SELECT nodeid, file, class, writer FROM conflict WHERE nodeid > ? ORDER BY nodeid LIMIT 1";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, after);
    rc = nsdb_step(&s);
    if (rc > 0) {
        out_row->nodeid = nsdb_col_u64(&s, 0);
        ignored(nsdb_col_id(&s, 1, &out_row->file));
        ignored(nsdb_col_id(&s, 2, &out_row->class_id));
        ignored(nsdb_col_id(&s, 3, &out_row->writer));
    }
    nsdb_end(&s);
    return rc > 0 ? 0 : rc < 0 ? rc : -ENOENT;
}

static int has_row(struct nsdb_stmt *s, bool *out_has)
{
    int rc = nsdb_step(s);

    nsdb_end(s);
    if (rc < 0)
        return rc;
    *out_has = rc > 0;
    return 0;
}

int nsdb_conflict_has(struct nsdb *db, uint64_t nodeid, bool *out_has)
{
    static const char sql[] = "SELECT 1 FROM conflict WHERE nodeid = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, nodeid);
    return has_row(&s, out_has);
}

int nsdb_conflict_has_file(struct nsdb *db, const struct id16 *file, bool *out_has)
{
    static const char sql[] = "SELECT 1 FROM conflict WHERE file = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, file);
    return has_row(&s, out_has);
}

int nsdb_parked_has(struct nsdb *db, enum shadow_kind kind, const struct id16 *id, bool *out_has)
{
    static const char sql[] = "SELECT 1 FROM parked WHERE kind = ? AND id = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, kind);
    nsdb_bind_id(&s, id);
    return has_row(&s, out_has);
}

int nsdb_conflict_delete(struct nsdb *db, uint64_t nodeid)
{
    static const char sql[] = "DELETE FROM conflict WHERE nodeid = ?";
    static const char keys[] = "DELETE FROM conflict_keys WHERE nodeid = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, nodeid);
    rc = nsdb_run(&s);
    if (rc < 0)
        return rc;
    nsdb_query(db, keys, &s);
    nsdb_bind_u64(&s, nodeid);
    return nsdb_run(&s);
}

int nsdb_conflict_put_keys(struct nsdb *db, uint64_t nodeid, const struct conflict_keys *keys)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO conflict_keys(nodeid, user, header, box) VALUES(?,?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, nodeid);
    nsdb_bind_id(&s, &keys->user);
    nsdb_bind_view(&s, keys->header);
    nsdb_bind_view(&s, keys->box);
    return nsdb_run(&s);
}

int nsdb_conflict_put_keys_of(struct nsdb *db, const struct id16 *file,
                              const struct conflict_keys *keys)
{
    static const char sql[] = "INSERT OR IGNORE INTO conflict_keys(nodeid, user, header, box)"
                              " SELECT nodeid, ?, ?, ? FROM conflict WHERE file = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, &keys->user);
    nsdb_bind_view(&s, keys->header);
    nsdb_bind_view(&s, keys->box);
    nsdb_bind_id(&s, file);
    return nsdb_run(&s);
}

int nsdb_conflict_get_keys(struct nsdb *db, uint64_t nodeid, struct nsdb_stmt *s,
                           struct conflict_keys *out_keys)
{
    static const char sql[] = "SELECT user, header, box FROM conflict_keys WHERE nodeid = ?";
    int rc;

    nsdb_query(db, sql, s);
    nsdb_bind_u64(s, nodeid);
    rc = nsdb_step(s);
    if (rc <= 0) {
        nsdb_end(s);
        return rc < 0 ? rc : -ENOENT;
    }
    ignored(nsdb_col_id(s, 0, &out_keys->user));
    out_keys->header = nsdb_col_view(s, 1);
    out_keys->box = nsdb_col_view(s, 2);
    return 0;
}
