/* Rows of the ledger that are no names: patients, classes, cards, grants, counters. */
#include "vault/nsdb_ledger.h"

#include <string.h>

static int one(struct nsdb_stmt *s)
{
    int rc = nsdb_step(s);

    if (rc > 0)
        return 0;
    nsdb_end(s);
    return rc < 0 ? rc : -ENOENT;
}

int nsdb_patient_get(struct nsdb *db, const struct id16 *patient, uint64_t *out_seq,
                     struct digest *out_leaf)
{
    static const char sql[] = "SELECT seq, leaf FROM patient WHERE patient = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, patient);
    rc = one(&s);
    if (rc < 0)
        return rc;
    *out_seq = nsdb_col_u64(&s, 0);
    ignored(nsdb_col_digest(&s, 1, out_leaf));
    nsdb_end(&s);
    return 0;
}

int nsdb_patient_put(struct nsdb *db, const struct id16 *patient, uint64_t seq,
                     const struct digest *leaf)
{
    static const char sql[] = "INSERT OR REPLACE INTO patient(patient, seq, leaf) VALUES(?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, patient);
    nsdb_bind_u64(&s, seq);
    nsdb_bind_digest(&s, leaf);
    return nsdb_run(&s);
}

int nsdb_patient_next(struct nsdb *db, const struct id16 *after, struct id16 *out_patient)
{
    static const char sql[] =
        "SELECT patient FROM patient WHERE patient > ? ORDER BY patient LIMIT 1";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, after);
    rc = one(&s);
    if (rc < 0)
        return rc;
    ignored(nsdb_col_id(&s, 0, out_patient));
    nsdb_end(&s);
    return 0;
}

#define CLASS_COLUMNS "class, epoch, patient, a, state, held_s, record"

int nsdb_class_next(struct nsdb_stmt *s, struct ledger_class *out_class, struct view *out_record)
{
    struct digest a;
    int rc = nsdb_step(s);

    if (rc <= 0)
        return rc;
    ignored(nsdb_col_id(s, 0, &out_class->ctx.class_id));
    out_class->ctx.epoch = (uint32_t)nsdb_col_u64(s, 1);
    ignored(nsdb_col_id(s, 2, &out_class->ctx.patient));
    ignored(nsdb_col_digest(s, 3, &a));
    memcpy(out_class->a.b, a.b, sizeof a.b);
    out_class->state = (enum ledger_epoch_state)nsdb_col_u64(s, 4);
    out_class->held_since_s = nsdb_col_u64(s, 5);
    if (out_record)
        *out_record = nsdb_col_view(s, 6);
    return 1;
}

int nsdb_class_get(struct nsdb *db, const struct id16 *class_id, uint32_t epoch,
                   struct ledger_class *out_class)
{
    static const char sql[] = "SELECT " CLASS_COLUMNS " FROM class WHERE class = ? AND epoch = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, class_id);
    nsdb_bind_u64(&s, epoch);
    rc = nsdb_class_next(&s, out_class, NULL);
    nsdb_end(&s);
    return rc > 0 ? 0 : rc < 0 ? rc : -ENOENT;
}

int nsdb_class_put(struct nsdb *db, const struct class_record *record, struct view bytes)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO class(" CLASS_COLUMNS ") VALUES(?,?,?,?,?,0,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, &record->ctx.class_id);
    nsdb_bind_u64(&s, record->ctx.epoch);
    nsdb_bind_id(&s, &record->ctx.patient);
    nsdb_bind_view(&s, view_of(record->a.b, sizeof record->a.b));
    nsdb_bind_u64(&s, LEDGER_EPOCH_CURRENT);
    nsdb_bind_view(&s, bytes);
    return nsdb_run(&s);
}

int nsdb_class_set_state(struct nsdb *db, const struct class_ctx *ctx,
                         enum ledger_epoch_state state, uint64_t time_s)
{
    static const char sql[] =
        "UPDATE class SET state = ?, held_s = ? WHERE class = ? AND epoch = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, state);
    nsdb_bind_u64(&s, time_s);
    nsdb_bind_id(&s, &ctx->class_id);
    nsdb_bind_u64(&s, ctx->epoch);
    return nsdb_run(&s);
}

int nsdb_class_current(struct nsdb *db, const struct id16 *class_id, struct class_ctx *out_ctx)
{
    static const char sql[] = "SELECT " CLASS_COLUMNS
                              " FROM class WHERE class = ? ORDER BY epoch DESC LIMIT 1";
    struct nsdb_stmt s;
    struct ledger_class c;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, class_id);
    rc = nsdb_class_next(&s, &c, NULL);
    nsdb_end(&s);
    if (rc <= 0)
        return rc < 0 ? rc : -ENOENT;
    *out_ctx = c.ctx;
    return 0;
}

int nsdb_class_copy_record(struct nsdb *db, const struct id16 *class_id, uint32_t epoch,
                           struct writer *out)
{
    static const char sql[] = "SELECT record FROM class WHERE class = ? AND epoch = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, class_id);
    nsdb_bind_u64(&s, epoch);
    rc = one(&s);
    if (rc < 0)
        return rc;
    writer_view(out, nsdb_col_view(&s, 0));
    nsdb_end(&s);
    return writer_ok(out) ? 0 : -ENOMEM;
}

void nsdb_class_scan(struct nsdb *db, const struct id16 *patient, struct nsdb_stmt *s)
{
    static const char sql[] = "SELECT " CLASS_COLUMNS
                              " FROM class WHERE patient = ? AND state <> 4 ORDER BY class, epoch";

    nsdb_query(db, sql, s);
    nsdb_bind_id(s, patient);
}

int nsdb_card_get(struct nsdb *db, const struct id16 *patient, const struct id16 *user,
                  struct card *out_card)
{
    static const char sql[] = "SELECT bytes FROM card WHERE patient = ? AND user = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, patient);
    nsdb_bind_id(&s, user);
    rc = one(&s);
    if (rc < 0)
        return rc;
    rc = card_decode(nsdb_col_view(&s, 0), out_card);
    nsdb_end(&s);
    return rc;
}

int nsdb_card_put(struct nsdb *db, const struct id16 *patient, const struct card *card,
                  struct view bytes)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO card(patient, user, hash, bytes) VALUES(?,?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, patient);
    nsdb_bind_id(&s, &card->user);
    nsdb_bind_digest(&s, &card->hash);
    nsdb_bind_view(&s, bytes);
    return nsdb_run(&s);
}

int nsdb_grant_get(struct nsdb *db, const struct id16 *grant, struct grant *out_grant,
                   bool *out_revoked)
{
    static const char sql[] = "SELECT bytes, revoked FROM grants WHERE grant_id = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, grant);
    rc = one(&s);
    if (rc < 0)
        return rc;
    rc = grant_decode(nsdb_col_view(&s, 0), out_grant);
    if (rc == 0)
        *out_revoked = nsdb_col_u64(&s, 1) != 0;
    nsdb_end(&s);
    return rc;
}

int nsdb_grant_put(struct nsdb *db, const struct grant *g, struct view bytes)
{
    static const char sql[] = "INSERT OR REPLACE INTO grants(grant_id, patient, class, epoch, reader,"
                              " revoked, bytes) VALUES(?,?,?,?,?,0,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, &g->ctx.grant);
    nsdb_bind_id(&s, &g->ctx.class_ctx.patient);
    nsdb_bind_id(&s, &g->ctx.class_ctx.class_id);
    nsdb_bind_u64(&s, g->ctx.class_ctx.epoch);
    nsdb_bind_id(&s, &g->ctx.reader);
    nsdb_bind_view(&s, bytes);
    return nsdb_run(&s);
}

int nsdb_grant_revoke(struct nsdb *db, const struct id16 *grant)
{
    static const char sql[] = "UPDATE grants SET revoked = 1 WHERE grant_id = ?";

    return nsdb_run_id(db, sql, grant);
}

void nsdb_grant_scan(struct nsdb *db, const struct id16 *reader, struct nsdb_stmt *s)
{
    static const char of_reader[] =
        "SELECT bytes FROM grants WHERE reader = ? AND revoked = 0 ORDER BY class, epoch";
    static const char all[] = "SELECT bytes FROM grants WHERE revoked = 0 ORDER BY class, epoch";

    nsdb_query(db, reader ? of_reader : all, s);
    if (reader)
        nsdb_bind_id(s, reader);
}

int nsdb_grant_next(struct nsdb_stmt *s, struct grant *out_grant)
{
    int rc = nsdb_step(s);

    if (rc <= 0)
        return rc;
    rc = grant_decode(nsdb_col_view(s, 0), out_grant);
    return rc < 0 ? rc : 1;
}

int nsdb_last_n_get(struct nsdb *db, const struct id16 *patient, const struct id16 *writer,
                    const struct id16 *host, enum op_lane lane, uint64_t *out_n)
{
    static const char sql[] =
        "SELECT n FROM last_n WHERE patient = ? AND writer = ? AND host = ? AND lane = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, patient);
    nsdb_bind_id(&s, writer);
    nsdb_bind_id(&s, host);
    nsdb_bind_u64(&s, lane);
    rc = one(&s);
    if (rc < 0)
        return rc;
    *out_n = nsdb_col_u64(&s, 0);
    nsdb_end(&s);
    return 0;
}

int nsdb_last_n_put(struct nsdb *db, const struct id16 *patient, const struct id16 *writer,
                    const struct id16 *host, enum op_lane lane, uint64_t n)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO last_n(patient, writer, host, lane, n) VALUES(?,?,?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, patient);
    nsdb_bind_id(&s, writer);
    nsdb_bind_id(&s, host);
    nsdb_bind_u64(&s, lane);
    nsdb_bind_u64(&s, n);
    return nsdb_run(&s);
}

int nsdb_last_n_max(struct nsdb *db, const struct id16 *writer, const struct id16 *host,
                    enum op_lane lane, uint64_t *out_n)
{
    static const char sql[] =
        "SELECT ifnull(max(n), 0) FROM last_n WHERE writer = ? AND host = ? AND lane = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, writer);
    nsdb_bind_id(&s, host);
    nsdb_bind_u64(&s, lane);
    rc = one(&s);
    if (rc < 0)
        return rc;
    *out_n = nsdb_col_u64(&s, 0);
    nsdb_end(&s);
    return 0;
}
