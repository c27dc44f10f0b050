/* Rows of drafts. The table has no index: rows come at its end and leave from its beginning. */
#include "vault/nsdb_opdraft.h"

int nsdb_opdraft_add(struct nsdb *db, const struct opdraft_row *row)
{
    static const char sql[] = "INSERT INTO draft(id, patient, class, epoch, writer, created_ms, changes)"
                              " VALUES(?,?,?,?,?,?,?)";
    struct nsdb_stmt s;
    uint64_t id;
    int rc = nsdb_number_next(db, NSDB_NUMBER_OP, &id);

    if (rc < 0)
        return rc;
    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, id);
    nsdb_bind_id(&s, &row->ctx.patient);
    nsdb_bind_id(&s, &row->ctx.class_id);
    nsdb_bind_u64(&s, row->ctx.epoch);
    nsdb_bind_id(&s, &row->writer);
    nsdb_bind_u64(&s, row->created_ms);
    nsdb_bind_view(&s, row->changes);
    return nsdb_run(&s);
}

void nsdb_opdraft_scan(struct nsdb *db, const struct id16 *patient, uint64_t after, struct nsdb_stmt *s)
{
    static const char sql[] = "SELECT id, patient, class, epoch, writer, created_ms, changes FROM draft"
                              " WHERE id > ? AND patient = ? ORDER BY id";

    nsdb_query(db, sql, s);
    nsdb_bind_u64(s, after);
    nsdb_bind_id(s, patient);
}

int nsdb_opdraft_next(struct nsdb_stmt *s, struct opdraft_row *out_row)
{
    int rc = nsdb_step(s);

    if (rc <= 0)
        return rc;
    out_row->id = nsdb_col_u64(s, 0);
    ignored(nsdb_col_id(s, 1, &out_row->ctx.patient));
    ignored(nsdb_col_id(s, 2, &out_row->ctx.class_id));
    out_row->ctx.epoch = (uint32_t)nsdb_col_u64(s, 3);
    ignored(nsdb_col_id(s, 4, &out_row->writer));
    out_row->created_ms = nsdb_col_u64(s, 5);
    out_row->changes = nsdb_col_view(s, 6);
    return 1;
}

int nsdb_opdraft_delete(struct nsdb *db, const struct opdraft_row *first, uint64_t last)
{
    static const char sql[] =
        "DELETE FROM draft WHERE id BETWEEN ? AND ? AND patient = ? AND writer = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, first->id);
    nsdb_bind_u64(&s, last);
    nsdb_bind_id(&s, &first->ctx.patient);
    nsdb_bind_id(&s, &first->writer);
    return nsdb_run(&s);
}

int nsdb_opdraft_drop(struct nsdb *db, const struct id16 *patient)
{
    static const char sql[] = "DELETE FROM draft WHERE patient = ?";

    return nsdb_run_id(db, sql, patient);
}

int nsdb_opdraft_oldest(struct nsdb *db, const struct id16 *patient, uint64_t *out_created_ms)
{
    struct opdraft_row row;
    struct nsdb_stmt s;
    int rc;

    nsdb_opdraft_scan(db, patient, 0, &s);
    rc = nsdb_opdraft_next(&s, &row);
    if (rc > 0)
        *out_created_ms = row.created_ms;
    nsdb_end(&s);
    return rc > 0 ? 0 : rc < 0 ? rc : -ENOENT;
}

int nsdb_opdraft_count(struct nsdb *db, uint32_t *out_n)
{
    static const char sql[] = "SELECT count(*) FROM draft";
    uint64_t n = 0;
    int rc = nsdb_query_u64(db, sql, &n);

    *out_n = (uint32_t)n;
    return rc;
}
