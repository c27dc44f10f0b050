#include "srs/srs_rows.h"

#include "crypto/digest.h"
#include "format/row.h"
#include "format/snapshot.h"

int srs_rows_get(void *user, const struct id16 *patient, const struct id16 *row,
                 struct ledger_row *out_row)
{
    const struct srs_state *s = user;
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT kind, class, epoch, version, parent, tag FROM row "
                            "WHERE patient = ? AND id = ?");
    struct ledger_row found = { 0 };
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, row);
    rc = srs_db_first(&q);
    if (rc < 0)
        return rc;
    found.kind = (enum ledger_row_kind)srs_db_col_u64(&q, 0);
    srs_db_col_bytes(&q, 1, found.class_id.b, sizeof found.class_id.b, &rc);
    found.epoch = (uint32_t)srs_db_col_u64(&q, 2);
    found.version = srs_db_col_u64(&q, 3);
    srs_db_col_bytes(&q, 4, found.parent.b, sizeof found.parent.b, &rc);
    srs_db_col_bytes(&q, 5, found.tag.b, sizeof found.tag.b, &rc);
    if (rc == 0)
        *out_row = found;
    return rc;
}

int srs_rows_find_name(void *user, const struct id16 *patient, const struct id16 *parent,
                       const struct id16 *tag, struct id16 *out_row)
{
    const struct srs_state *s = user;
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db,
        "SELECT id FROM row INDEXED BY row_name WHERE kind = 1 AND patient = ? AND parent = ?"
        " AND tag = ?");
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, parent);
    srs_db_bind_id(&q, tag);
    rc = srs_db_first(&q);
    if (rc == 0)
        srs_db_col_bytes(&q, 0, out_row->b, sizeof out_row->b, &rc);
    return rc;
}

int srs_rows_count_children(void *user, const struct id16 *patient,
                            const struct id16 *parent, uint64_t *out_count)
{
    const struct srs_state *s = user;
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db, "SELECT count(*) FROM row INDEXED BY row_name WHERE kind = 1 AND patient = ?"
               " AND parent = ?");
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, parent);
    rc = srs_db_first(&q);
    if (rc == 0)
        *out_count = srs_db_col_u64(&q, 0);
    return rc;
}

static int put_row(const struct srs_state *s, const struct class_ctx *ctx,
                   const struct id16 *id, const struct ledger_row *row)
{
    struct srs_stmt q = srs_db_query(s->db, "INSERT OR REPLACE INTO row(patient, id, "
                                            "kind, class, epoch, version, parent, tag)"
                                            " VALUES(?,?,?,?,?,?,?,?)");

    srs_db_bind_id(&q, &ctx->patient);
    srs_db_bind_id(&q, id);
    srs_db_bind_u64(&q, row->kind);
    srs_db_bind_id(&q, &ctx->class_id);
    srs_db_bind_u64(&q, ctx->epoch);
    srs_db_bind_u64(&q, row->version);
    srs_db_bind_id(&q, &row->parent);
    srs_db_bind_id(&q, &row->tag);
    return srs_db_run(&q);
}

int srs_rows_put_dentry(void *user, const struct class_ctx *ctx, struct view row_bytes)
{
    struct dentry_row d;
    int rc = dentry_row_decode(row_bytes, &d);
    const struct ledger_row row = {
        .kind = LEDGER_ROW_DENTRY, .version = d.version, .parent = d.parent, .tag = d.tag
    };

    return rc < 0 ? rc : put_row(user, ctx, &d.row, &row);
}

int srs_rows_put_inode(void *user, const struct class_ctx *ctx, struct view row_bytes)
{
    struct inode_row i;
    int rc = inode_row_decode(row_bytes, &i);
    const struct ledger_row row = { .kind = LEDGER_ROW_INODE, .version = i.version };

    return rc < 0 ? rc : put_row(user, ctx, &i.ino, &row);
}

static int run_on_file(const struct srs_state *s, const char *sql,
                       const struct id16 *patient, const struct id16 *id)
{
    struct srs_stmt q = srs_db_query(s->db, sql);

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, id);
    return srs_db_run(&q);
}

int srs_rows_put_remove(void *user, const struct class_ctx *ctx, const struct id16 *row)
{
    const struct srs_state *s = user;
    struct ledger_row known;
    int rc = srs_rows_get(user, &ctx->patient, row, &known);

    if (rc == 0)
        rc = run_on_file(s, "DELETE FROM row WHERE patient = ? AND id = ?", &ctx->patient,
                         row);
    if (rc < 0 || known.kind != LEDGER_ROW_INODE)
        return rc;
    rc = run_on_file(s, "DELETE FROM header WHERE patient = ? AND file = ?",
                     &ctx->patient, row);
    if (rc == 0)
        rc = run_on_file(s, "DELETE FROM seal WHERE patient = ? AND file = ?",
                         &ctx->patient, row);
    return rc;
}

struct epoch_rows {
    struct srs_state *s;
    const struct class_ctx *ctx;
};

static int put_epoch_row(void *user, enum snapshot_kind kind, struct view row)
{
    const struct epoch_rows *e = user;

    if (kind == SNAPSHOT_DENTRY)
        return srs_rows_put_dentry(e->s, e->ctx, row);
    return kind == SNAPSHOT_INODE ? srs_rows_put_inode(e->s, e->ctx, row) : PHR_E_FORMAT;
}

/* The object is written by the owner, but read from a store: it must be the one that he named. */
int srs_rows_put_epoch(void *user, const struct class_ctx *ctx,
                       const struct digest *object_id)
{
    struct epoch_rows e = { user, ctx };
    scoped(free) uint8_t *bytes = NULL;
    struct snapshot_head head = { 0 };
    struct digest hash;
    size_t n = 0;
    int rc;

    rc = e.s->load_object(e.s->load_user, &ctx->patient, object_id, &bytes, &n);
    if (rc < 0)
        return rc == PHR_E_PENDING || rc == PHR_E_LIMIT || rc == -ENOMEM ? rc
                                                                         : PHR_E_STORE;
    hash = digest_sha256(view_of(bytes, n));
    if (!digest_equal(&hash, object_id))
        return PHR_E_STORE;
    rc = run_on_file(e.s, "DELETE FROM row WHERE patient = ? AND class = ?",
                     &ctx->patient, &ctx->class_id);
    if (rc == 0)
        rc = snapshot_decode(view_of(bytes, n), &head, put_epoch_row, &e);
    if (rc < 0)
        return rc;
    return class_ctx_equal(&head.ctx, ctx) ? 0 : PHR_E_FORMAT;
}
