/* Rows of the outbox, of audit events that ride in transactions, and of local keys. */
#include "vault/nsdb_outbox.h"

#include <string.h>


#define OUTBOX_COLUMNS                                                                     \
    "id, patient, class, writer, lane, n, state, created_ms, reason, hash, op, sig"

int nsdb_outbox_next(struct nsdb_stmt *s, struct outbox_row *out_row)
{
    struct view sig;
    int rc = nsdb_step(s);

    if (rc <= 0)
        return rc;
    out_row->id = nsdb_col_u64(s, 0);
    ignored(nsdb_col_id(s, 1, &out_row->patient));
    ignored(nsdb_col_id(s, 2, &out_row->class_id));
    ignored(nsdb_col_id(s, 3, &out_row->writer));
    out_row->lane = (enum op_lane)nsdb_col_u64(s, 4);
    out_row->n = nsdb_col_u64(s, 5);
    out_row->state = (enum outbox_state)nsdb_col_u64(s, 6);
    out_row->created_ms = nsdb_col_u64(s, 7);
    out_row->reason = (int32_t)nsdb_col_u64(s, 8);
    ignored(nsdb_col_digest(s, 9, &out_row->hash));
    out_row->op = nsdb_col_view(s, 10);
    sig = nsdb_col_view(s, 11);
    if (sig.n != sizeof out_row->sig.b)
        return PHR_E_FORMAT;
    memcpy(out_row->sig.b, sig.p, sig.n);
    return 1;
}

int nsdb_outbox_add(struct nsdb *db, struct outbox_row *io_row)
{
    static const char sql[] = "INSERT INTO outbox(patient, class, writer, lane, n, state, created_ms,"
                              " reason, hash, op, sig, id) VALUES(?,?,?,?,?,?,?,?,?,?,?,?)";
    struct nsdb_stmt s;
    uint64_t id;
    int rc = nsdb_number_next(db, NSDB_NUMBER_OP, &id);

    if (rc < 0)
        return rc;
    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, &io_row->patient);
    nsdb_bind_id(&s, &io_row->class_id);
    nsdb_bind_id(&s, &io_row->writer);
    nsdb_bind_u64(&s, io_row->lane);
    nsdb_bind_u64(&s, io_row->n);
    nsdb_bind_u64(&s, io_row->state);
    nsdb_bind_u64(&s, io_row->created_ms);
    nsdb_bind_u64(&s, (uint64_t)(int64_t)io_row->reason);
    nsdb_bind_digest(&s, &io_row->hash);
    nsdb_bind_view(&s, io_row->op);
    nsdb_bind_view(&s, view_of(io_row->sig.b, sizeof io_row->sig.b));
    nsdb_bind_u64(&s, id);
    rc = nsdb_run(&s);
    if (rc == 0)
        io_row->id = id;
    return rc;
}

int nsdb_outbox_replace(struct nsdb *db, const struct outbox_row *row)
{
    static const char sql[] = "UPDATE outbox SET n = ?, state = ?, created_ms = ?, reason = ?, hash = ?,"
                              " op = ?, sig = ? WHERE id = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, row->n);
    nsdb_bind_u64(&s, row->state);
    nsdb_bind_u64(&s, row->created_ms);
    nsdb_bind_u64(&s, (uint64_t)(int64_t)row->reason);
    nsdb_bind_digest(&s, &row->hash);
    nsdb_bind_view(&s, row->op);
    nsdb_bind_view(&s, view_of(row->sig.b, sizeof row->sig.b));
    nsdb_bind_u64(&s, row->id);
    return nsdb_run(&s);
}

int nsdb_outbox_get(struct nsdb *db, uint64_t id, struct nsdb_stmt *s, struct outbox_row *out_row)
{
    static const char sql[] = "SELECT " OUTBOX_COLUMNS " FROM outbox WHERE id = ?";
    int rc;

    nsdb_query(db, sql, s);
    nsdb_bind_u64(s, id);
    rc = nsdb_outbox_next(s, out_row);
    if (rc > 0)
        return 0;
    nsdb_end(s);
    return rc < 0 ? rc : -ENOENT;
}

int nsdb_outbox_find(struct nsdb *db, const struct digest *hash, uint64_t *out_id,
                     struct signature *out_sig)
{
    static const char sql[] = "SELECT id, sig FROM outbox WHERE hash = ?";
    struct view sig = { NULL, 0 };
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_digest(&s, hash);
    rc = nsdb_step(&s);
    if (rc > 0) {
        *out_id = nsdb_col_u64(&s, 0);
        sig = nsdb_col_view(&s, 1);
        if (sig.n == sizeof out_sig->b)
            memcpy(out_sig->b, sig.p, sig.n);
        else
            rc = PHR_E_FORMAT;
    }
    nsdb_end(&s);
    return rc > 0 ? 0 : rc < 0 ? rc : -ENOENT;
}

void nsdb_outbox_scan(struct nsdb *db, const struct id16 *patient, struct nsdb_stmt *s)
{
    static const char all[] = "SELECT " OUTBOX_COLUMNS " FROM outbox ORDER BY id";
    static const char of_patient[] =
        "SELECT " OUTBOX_COLUMNS " FROM outbox WHERE patient = ? ORDER BY id";

    nsdb_query(db, patient ? of_patient : all, s);
    if (patient)
        nsdb_bind_id(s, patient);
}

int nsdb_outbox_set_state(struct nsdb *db, uint64_t id, enum outbox_state state, int32_t reason)
{
    static const char sql[] = "UPDATE outbox SET state = ?, reason = ? WHERE id = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, state);
    nsdb_bind_u64(&s, (uint64_t)(int64_t)reason);
    nsdb_bind_u64(&s, id);
    return nsdb_run(&s);
}

int nsdb_outbox_delete(struct nsdb *db, uint64_t id)
{
    static const char sql[] = "DELETE FROM outbox WHERE id = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, id);
    return nsdb_run(&s);
}

int nsdb_outbox_drop_objects(struct nsdb *db, uint64_t id)
{
    static const char sql[] = "DELETE FROM object WHERE op_rowid = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, id);
    return nsdb_run(&s);
}

int nsdb_outbox_delete_meta(struct nsdb *db, const struct id16 *patient)
{
    static const char sql[] = "DELETE FROM outbox WHERE patient = ? AND lane = 0";

    return nsdb_run_id(db, sql, patient);
}

int nsdb_outbox_patient_next(struct nsdb *db, const struct id16 *after, struct id16 *out_patient)
{
    static const char sql[] =
        "SELECT min(patient) FROM (SELECT min(patient) AS patient FROM outbox WHERE patient > ?1"
        " UNION ALL SELECT min(patient) FROM draft WHERE patient > ?1)";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, after);
    rc = nsdb_step(&s);
    if (rc > 0 && nsdb_col_is_null(&s, 0))
        rc = 0;
    if (rc > 0 && !nsdb_col_id(&s, 0, out_patient))
        rc = -EIO;
    nsdb_end(&s);
    return rc > 0 ? 0 : rc < 0 ? rc : -ENOENT;
}

int nsdb_outbox_count(struct nsdb *db, uint32_t *out_waiting, uint32_t *out_parked)
{
    static const char sql[] =
        "SELECT ifnull(sum(state <> 2), 0), ifnull(sum(state = 2), 0) FROM outbox";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    rc = nsdb_step(&s);
    if (rc > 0) {
        *out_waiting = (uint32_t)nsdb_col_u64(&s, 0);
        *out_parked = (uint32_t)nsdb_col_u64(&s, 1);
    }
    nsdb_end(&s);
    return rc < 0 ? rc : 0;
}

int nsdb_op_n_load(struct nsdb *db, const struct id16 *writer, enum op_lane lane, uint64_t floor,
                   uint64_t *out_n)
{
    static const char sql[] =
        "SELECT ifnull(max(n), 0) FROM (SELECT n FROM op_n WHERE writer = ?1 AND lane = ?2"
        " UNION ALL SELECT n FROM outbox WHERE writer = ?1 AND lane = ?2)";
    uint64_t n = (uint64_t)lane << 56;
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, writer);
    nsdb_bind_u64(&s, lane);
    rc = nsdb_step(&s);
    if (rc > 0 && nsdb_col_u64(&s, 0) > n)
        n = nsdb_col_u64(&s, 0);
    nsdb_end(&s);
    if (rc < 0)
        return rc;
    *out_n = n > floor ? n : floor;
    return 0;
}

int nsdb_op_n_keep(struct nsdb *db, const struct id16 *patient)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO op_n(writer, lane, n) SELECT o.writer, o.lane,"
        " max(max(o.n), ifnull((SELECT n FROM op_n p WHERE p.writer = o.writer AND p.lane = o.lane), 0))"
        " FROM outbox o WHERE o.patient = ? GROUP BY o.writer, o.lane";

    return nsdb_run_id(db, sql, patient);
}

int nsdb_unwound_keep(struct nsdb *db, const struct id16 *patient)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO unwound(patient, writer, n) SELECT o.patient, o.writer,"
        " max(max(o.n), ifnull((SELECT n FROM unwound u WHERE u.patient = o.patient AND u.writer = o.writer), 0))"
        " FROM outbox o WHERE o.patient = ? AND o.lane = 0 GROUP BY o.writer";

    return nsdb_run_id(db, sql, patient);
}

static void bind_local_key(struct nsdb_stmt *s, const struct id16 *user, enum local_key_kind kind,
                           const struct id16 *class_id, uint32_t epoch)
{
    static const struct id16 none;

    nsdb_bind_id(s, user);
    nsdb_bind_u64(s, kind);
    nsdb_bind_id(s, class_id ? class_id : &none);
    nsdb_bind_u64(s, epoch);
}

int nsdb_local_key_get(struct nsdb *db, const struct id16 *user, enum local_key_kind kind,
                       const struct id16 *class_id, uint32_t epoch, struct writer *out)
{
    static const char sql[] =
        "SELECT box FROM local_key WHERE user = ? AND kind = ? AND class = ? AND epoch = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    bind_local_key(&s, user, kind, class_id, epoch);
    rc = nsdb_step(&s);
    if (rc > 0)
        writer_view(out, nsdb_col_view(&s, 0));
    nsdb_end(&s);
    return rc > 0 ? 0 : rc < 0 ? rc : -ENOENT;
}

int nsdb_local_key_put(struct nsdb *db, const struct id16 *user, enum local_key_kind kind,
                       const struct id16 *class_id, uint32_t epoch, struct view box)
{
    static const char sql[] =
        "INSERT OR REPLACE INTO local_key(user, kind, class, epoch, box) VALUES(?,?,?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    bind_local_key(&s, user, kind, class_id, epoch);
    nsdb_bind_view(&s, box);
    return nsdb_run(&s);
}

int nsdb_local_key_delete(struct nsdb *db, const struct id16 *user, enum local_key_kind kind,
                          const struct id16 *class_id, uint32_t epoch)
{
    static const char sql[] =
        "DELETE FROM local_key WHERE user = ? AND kind = ? AND class = ? AND epoch = ?";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    bind_local_key(&s, user, kind, class_id, epoch);
    return nsdb_run(&s);
}

int nsdb_audit_stream_put(struct nsdb *db, uint64_t no, struct view header)
{
    static const char sql[] = "INSERT INTO audit_stream(no, header) VALUES(?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, no);
    nsdb_bind_view(&s, header);
    return nsdb_run(&s);
}

int nsdb_audit_stream_get(struct nsdb *db, uint64_t no, struct writer *out)
{
    static const char sql[] = "SELECT header FROM audit_stream WHERE no = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, no);
    rc = nsdb_step(&s);
    if (rc > 0)
        writer_view(out, nsdb_col_view(&s, 0));
    nsdb_end(&s);
    return rc > 0 ? 0 : rc < 0 ? rc : -ENOENT;
}

int nsdb_audit_add(struct nsdb *db, uint64_t no, uint64_t n, struct view record)
{
    static const char sql[] = "INSERT INTO audit_out(no, n, record) VALUES(?,?,?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, no);
    nsdb_bind_u64(&s, n);
    nsdb_bind_view(&s, record);
    return nsdb_run(&s);
}

int nsdb_audit_take(struct nsdb *db, size_t bytes_max, struct writer *out, uint64_t *out_no,
                    uint64_t *out_first, uint32_t *out_count)
{
    static const char sql[] = "SELECT no, n, record FROM audit_out ORDER BY no, n";
    struct nsdb_stmt s;
    uint32_t count = 0;
    int rc;

    nsdb_query(db, sql, &s);
    while ((rc = nsdb_step(&s)) > 0) {
        struct view record = nsdb_col_view(&s, 2);
        uint64_t no = nsdb_col_u64(&s, 0);

        if (count > 0 && (no != *out_no || out->n + record.n > bytes_max))
            break;
        if (count == 0) {
            *out_no = no;
            *out_first = nsdb_col_u64(&s, 1);
        }
        writer_view(out, record);
        count++;
    }
    nsdb_end(&s);
    if (rc < 0)
        return rc;
    if (!writer_ok(out))
        return -ENOMEM;
    *out_count = count;
    return 0;
}

int nsdb_audit_trim(struct nsdb *db, uint64_t no, uint64_t n)
{
    static const char records[] = "DELETE FROM audit_out WHERE no = ? AND n < ?";
    struct nsdb_stmt s;

    nsdb_query(db, records, &s);
    nsdb_bind_u64(&s, no);
    nsdb_bind_u64(&s, n);
    return nsdb_run(&s);
}
