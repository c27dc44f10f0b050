/* Rows of the contents side: file contents, objects on their way, small facts. */
#include <string.h>

#include "vault/nsdb_sql.h"

#define CONTENT_COLUMNS                                                                    \
    "nodeid, file, size, mtime_s, mtime_ns, blocks, version, state, durable, boot_id, writer," \
    " changed_ms, locs"

static void content_load(const struct nsdb_stmt *s, struct content_row *out_row)
{
    struct content_row r = { 0 };

    r.nodeid = nsdb_col_u64(s, 0);
    ignored(nsdb_col_id(s, 1, &r.file));
    r.size = nsdb_col_u64(s, 2);
    r.mtime.s = (int64_t)nsdb_col_u64(s, 3);
    r.mtime.ns = (uint32_t)nsdb_col_u64(s, 4);
    r.blocks_512 = nsdb_col_u64(s, 5);
    r.content_version = nsdb_col_u64(s, 6);
    r.state = (enum content_state)nsdb_col_u64(s, 7);
    r.is_durable = nsdb_col_u64(s, 8) != 0;
    ignored(nsdb_col_id(s, 9, &r.boot_id));
    ignored(nsdb_col_id(s, 10, &r.writer));
    r.changed_ms = nsdb_col_u64(s, 11);
    r.locs = nsdb_col_view(s, 12);
    *out_row = r;
}

int nsdb_content_get(struct nsdb *db, uint64_t nodeid, struct writer *keep,
                     struct content_row *out_row)
{
    static const char sql[] = "SELECT " CONTENT_COLUMNS " FROM content WHERE nodeid = ?";
    struct nsdb_stmt s;
    struct content_row r;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, nodeid);
    rc = nsdb_step(&s);
    if (rc <= 0) {
        nsdb_end(&s);
        return rc < 0 ? rc : -ENOENT;
    }
    content_load(&s, &r);
    if (keep) {
        size_t at = keep->n;

        writer_view(keep, r.locs);
        r.locs = writer_ok(keep) ? view_of(keep->p + at, r.locs.n) : view_of(NULL, 0);
    } else {
        r.locs = view_of(NULL, 0);
    }
    nsdb_end(&s);
    if (keep && !writer_ok(keep))
        return -ENOMEM;
    *out_row = r;
    return 0;
}

int nsdb_content_put(struct nsdb *db, const struct content_row *row)
{
    static const char sql[] = "INSERT OR REPLACE INTO content(" CONTENT_COLUMNS
                              ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, row->nodeid);
    nsdb_bind_id(&s, &row->file);
    nsdb_bind_u64(&s, row->size);
    nsdb_bind_u64(&s, (uint64_t)row->mtime.s);
    nsdb_bind_u64(&s, row->mtime.ns);
    nsdb_bind_u64(&s, row->blocks_512);
    nsdb_bind_u64(&s, row->content_version);
    nsdb_bind_u64(&s, row->state);
    nsdb_bind_u64(&s, row->is_durable ? 1 : 0);
    nsdb_bind_id(&s, &row->boot_id);
    nsdb_bind_id(&s, &row->writer);
    nsdb_bind_u64(&s, row->changed_ms);
    nsdb_bind_view(&s, row->locs);
    return nsdb_run(&s);
}

int nsdb_content_delete(struct nsdb *db, uint64_t nodeid)
{
    static const char sql[] = "DELETE FROM content WHERE nodeid = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, nodeid);
    return nsdb_run(&s);
}

static int content_each(struct nsdb_stmt *s,
                        int (*on_row)(void *user, const struct content_row *row), void *user)
{
    int rc;

    while ((rc = nsdb_step(s)) > 0) {
        struct content_row r;

        content_load(s, &r);
        rc = on_row(user, &r);
        if (rc != 0)
            break;
    }
    nsdb_end(s);
    return rc;
}

int nsdb_content_each_dirty(struct nsdb *db,
                            int (*on_row)(void *user, const struct content_row *row), void *user)
{
    static const char sql[] = "SELECT " CONTENT_COLUMNS
                              " FROM content WHERE state <> 0 OR durable = 0 ORDER BY nodeid";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    return content_each(&s, on_row, user);
}

int nsdb_content_list_dirty(struct nsdb *db, uint64_t after, struct dirty_row *out_rows,
                            size_t room, size_t *out_n)
{
    static const char sql[] =
        "SELECT nodeid, state, changed_ms, writer FROM content INDEXED BY content_dirty"
        " WHERE (state <> 0 OR durable = 0) AND nodeid > ? ORDER BY nodeid LIMIT ?";
    struct nsdb_stmt s;
    size_t n = 0;
    int rc = 0;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, after);
    nsdb_bind_u64(&s, room);
    while (n < room && (rc = nsdb_step(&s)) > 0) {
        struct dirty_row *r = &out_rows[n++];

        *r = (struct dirty_row){ .nodeid = nsdb_col_u64(&s, 0),
                                 .state = (enum content_state)nsdb_col_u64(&s, 1),
                                 .changed_ms = nsdb_col_u64(&s, 2) };
        ignored(nsdb_col_id(&s, 3, &r->writer));
    }
    nsdb_end(&s);
    *out_n = n;
    return rc < 0 ? rc : 0;
}

static int count_up_to(struct nsdb *db, const char *sql, uint32_t most, uint32_t *out_count)
{
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, most);
    rc = nsdb_step(&s);
    if (rc > 0)
        *out_count = (uint32_t)nsdb_col_u64(&s, 0);
    nsdb_end(&s);
    return rc < 0 ? rc : 0;
}

int nsdb_content_count_dirty(struct nsdb *db, uint32_t most, uint32_t *out_count)
{
    static const char sql[] =
        "SELECT ifnull(sum(state = 1), 0) FROM (SELECT state FROM content INDEXED BY content_dirty"
        " WHERE state <> 0 OR durable = 0 LIMIT ?)";

    return count_up_to(db, sql, most, out_count);
}

int nsdb_content_each(struct nsdb *db, uint64_t after,
                      int (*on_row)(void *user, const struct content_row *row), void *user)
{
    static const char sql[] =
        "SELECT " CONTENT_COLUMNS " FROM content WHERE nodeid > ? ORDER BY nodeid";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, after);
    return content_each(&s, on_row, user);
}

int nsdb_object_put(struct nsdb *db, const struct object_row *row)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO object(object_id, op_rowid, patient, nodeid, container, offset, len)"
        " VALUES(?,?,?,?,?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_digest(&s, &row->object_id);
    nsdb_bind_u64(&s, row->op_rowid);
    nsdb_bind_id(&s, &row->patient);
    nsdb_bind_u64(&s, row->nodeid);
    nsdb_bind_u64(&s, row->container);
    nsdb_bind_u64(&s, row->offset);
    nsdb_bind_u64(&s, row->len);
    return nsdb_run(&s);
}

int nsdb_object_delete(struct nsdb *db, const struct digest *object_id, uint64_t op_rowid)
{
    static const char sql[] = "DELETE FROM object WHERE object_id = ? AND op_rowid = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_digest(&s, object_id);
    nsdb_bind_u64(&s, op_rowid);
    return nsdb_run(&s);
}

static void object_load(const struct nsdb_stmt *s, struct object_row *out_row)
{
    struct object_row r = { 0 };

    ignored(nsdb_col_digest(s, 0, &r.object_id));
    r.op_rowid = nsdb_col_u64(s, 1);
    ignored(nsdb_col_id(s, 2, &r.patient));
    r.nodeid = nsdb_col_u64(s, 3);
    r.container = nsdb_col_u64(s, 4);
    r.offset = nsdb_col_u64(s, 5);
    r.len = nsdb_col_u64(s, 6);
    *out_row = r;
}

int nsdb_object_list(struct nsdb *db, const struct object_row *after,
                     struct object_row *out_rows, size_t room, size_t *out_n)
{
    static const char sql[] =
        "SELECT object_id, op_rowid, patient, nodeid, container, offset, len FROM object"
        " WHERE (op_rowid, object_id) > (?, ?) ORDER BY op_rowid, object_id LIMIT ?";
    struct nsdb_stmt s;
    size_t n = 0;
    int rc = 0;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, after->op_rowid);
    nsdb_bind_digest(&s, &after->object_id);
    nsdb_bind_u64(&s, room);
    while (n < room && (rc = nsdb_step(&s)) > 0)
        object_load(&s, &out_rows[n++]);
    nsdb_end(&s);
    *out_n = n;
    return rc < 0 ? rc : 0;
}

int nsdb_object_count_all(struct nsdb *db, uint32_t most, uint32_t *out_count)
{
    static const char sql[] = "SELECT count(*) FROM (SELECT 1 FROM object LIMIT ?)";

    return count_up_to(db, sql, most, out_count);
}

int nsdb_object_each(struct nsdb *db, int (*on_row)(void *user, const struct object_row *row),
                     void *user)
{
    static const char sql[] = "SELECT object_id, op_rowid, patient, nodeid, container, offset, len"
                              " FROM object ORDER BY op_rowid";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    while ((rc = nsdb_step(&s)) > 0) {
        struct object_row r;

        object_load(&s, &r);
        rc = on_row(user, &r);
        if (rc != 0)
            break;
    }
    nsdb_end(&s);
    return rc;
}

int nsdb_object_count(struct nsdb *db, uint64_t op_rowid, uint32_t *out_count)
{
    static const char sql[] = "SELECT count(*) FROM object WHERE op_rowid = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, op_rowid);
    rc = nsdb_step(&s);
    if (rc > 0)
        *out_count = (uint32_t)nsdb_col_u64(&s, 0);
    nsdb_end(&s);
    return rc < 0 ? rc : 0;
}

int nsdb_meta_get_u64(struct nsdb *db, const char *key, uint64_t *out_value)
{
    static const char sql[] = "SELECT value FROM meta WHERE key = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_text(&s, key);
    rc = nsdb_step(&s);
    if (rc > 0)
        *out_value = nsdb_col_u64(&s, 0);
    nsdb_end(&s);
    return rc > 0 ? 0 : rc < 0 ? rc : -ENOENT;
}

int nsdb_meta_put_u64(struct nsdb *db, const char *key, uint64_t value)
{
    static const char sql[] = "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_text(&s, key);
    nsdb_bind_u64(&s, value);
    return nsdb_run(&s);
}
