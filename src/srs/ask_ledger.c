/* Fetching and listing: what is read here may be of this very batch, and leaves with its commit. */
#include "srs/asks.h"

#include "crypto/digest.h"
#include "srs/srs_inside.h"

/* Behind the entries stands nothing, before them head and count. */
enum {
    FETCH_BYTES_MAX = 3 * 1024 * 1024,
    FETCH_ENTRIES_MAX = 65535,
    LIST_BYTES_MAX = 3 * 1024 * 1024
};

static int copy_entries(struct srs *s, const struct id16 *patient, uint64_t from,
                        size_t bytes_max, struct writer *out)
{
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db, "SELECT bytes FROM entry WHERE patient = ? AND seq >= ? ORDER BY seq");
    const size_t count_at = out->n;
    uint16_t count = 0;
    size_t bytes = 0;
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_u64(&q, from);
    writer_u16(out, 0);
    rc = srs_db_step(&q);
    while (rc > 0) {
        const struct view entry = srs_db_col_view(&q, 0);

        bytes += entry.n;
        if ((count > 0 && bytes > bytes_max) || count == FETCH_ENTRIES_MAX)
            break; /* at least one, however little was asked for */
        writer_lp(out, entry);
        count++;
        rc = srs_db_step(&q);
    }
    if (writer_ok(out)) {
        out->p[count_at] = (uint8_t)count;
        out->p[count_at + 1] = (uint8_t)(count >> 8);
    }
    return rc < 0 ? rc : 0;
}

int ask_ledger_fetch(struct srs *s, struct job *job)
{
    const struct ledger_state *l = &s->state.ledger;
    struct reader r = reader_over(job->payload);
    struct digest leaf;
    struct id16 patient;
    uint64_t head;
    uint64_t from;
    uint32_t bytes_max;
    int rc;

    reader_bytes(&r, patient.b, sizeof patient.b);
    from = reader_u64(&r);
    bytes_max = reader_u32(&r);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    rc = l->get_head(l->user, &patient, &head, &leaf);
    if (rc < 0)
        return rc == -ENOENT ? PHR_E_UNKNOWN_ID : rc;
    writer_u64(&job->answer, head);
    if (from > INT64_MAX)
        from = INT64_MAX; /* numbers of entries stay far below */
    return copy_entries(s, &patient, from,
                        bytes_max < FETCH_BYTES_MAX ? bytes_max : FETCH_BYTES_MAX,
                        &job->answer);
}

static int add_head(struct srs_stmt *q, struct writer *out)
{
    struct id16 patient;
    struct digest leaf;
    int bad = 0;

    srs_db_col_bytes(q, 0, patient.b, sizeof patient.b, &bad);
    srs_db_col_bytes(q, 2, leaf.b, sizeof leaf.b, &bad);
    if (bad < 0)
        return bad;
    writer_bytes(out, patient.b, sizeof patient.b);
    writer_u64(out, srs_db_col_u64(q, 1));
    writer_bytes(out, leaf.b, sizeof leaf.b);
    return 0;
}

/* Ledgers in which somebody has a grant, behind `after`, in the order of ids. */
static int list_of_reader(struct srs *s, struct reader *r, struct writer *out, uint32_t *out_count,
                          bool *out_more)
{
    struct id16 reader;
    struct id16 after;
    int rc;

    reader_bytes(r, reader.b, sizeof reader.b);
    reader_bytes(r, after.b, sizeof after.b);
    if (!reader_done(r))
        return PHR_E_FORMAT;
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db, "SELECT patient, seq, leaf FROM head WHERE patient IN"
               " (SELECT patient FROM grants WHERE reader = ?1 AND is_revoked = 0 AND patient > ?2)"
               " ORDER BY patient");
    srs_db_bind_id(&q, &reader);
    srs_db_bind_id(&q, &after);
    while ((rc = srs_db_step(&q)) > 0 && out->n < LIST_BYTES_MAX) {
        int bad = add_head(&q, out);

        if (bad < 0)
            return bad;
        ++*out_count;
    }
    *out_more = rc > 0;
    return rc < 0 ? rc : 0;
}

/* 1: one of the users owns the ledger or has a grant in it. */
static int concerns(struct srs *s, const struct id16 *patient, struct reader users)
{
    while (users.left > 0) {
        struct id16 user;

        reader_bytes(&users, user.b, sizeof user.b);
        if (id_equal(&user, patient))
            return 1;
        scoped(srs_db_end) struct srs_stmt q =
            srs_db_query(s->db, "SELECT 1 FROM grants WHERE reader = ? AND patient = ? AND is_revoked = 0");
        srs_db_bind_id(&q, &user);
        srs_db_bind_id(&q, patient);
        int rc = srs_db_step(&q);

        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Those of the ledgers asked for that exist and concern one of the users; without users, all. */
static int list_named(struct srs *s, struct reader *r, struct writer *out, uint32_t *out_count)
{
    const uint32_t n = reader_u32(r);
    struct reader ids = reader_over(reader_view(r, n <= LEDGER_LIST_IDS_MAX ? n * sizeof(struct id16) : 0));
    const uint32_t m = reader_u32(r);
    struct reader users =
        reader_over(reader_view(r, m <= LEDGER_LIST_IDS_MAX ? m * sizeof(struct id16) : 0));

    if (n > LEDGER_LIST_IDS_MAX || m > LEDGER_LIST_IDS_MAX || !reader_done(r))
        return PHR_E_FORMAT;
    while (ids.left > 0) {
        struct id16 patient;
        int rc = 1;

        reader_bytes(&ids, patient.b, sizeof patient.b);
        if (m > 0)
            rc = concerns(s, &patient, users);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        scoped(srs_db_end) struct srs_stmt q =
            srs_db_query(s->db, "SELECT patient, seq, leaf FROM head WHERE patient = ?");
        srs_db_bind_id(&q, &patient);
        rc = srs_db_step(&q);
        if (rc > 0 && (rc = add_head(&q, out)) == 0)
            ++*out_count;
        if (rc < 0)
            return rc;
    }
    return 0;
}

int ask_ledger_list(struct srs *s, struct job *job)
{
    struct reader r = reader_over(job->payload);
    const uint8_t kind = reader_u8(&r);
    uint32_t count = 0;
    bool more = false;
    int rc = PHR_E_FORMAT;

    writer_u32(&job->answer, 0);
    if (kind == LEDGER_LIST_OF_READER)
        rc = list_of_reader(s, &r, &job->answer, &count, &more);
    else if (kind == LEDGER_LIST_NAMED)
        rc = list_named(s, &r, &job->answer, &count);
    if (rc < 0)
        return rc;
    writer_u8(&job->answer, more ? 1 : 0);
    if (writer_ok(&job->answer))
        writer_patch_u32(&job->answer, 0, count);
    return 0;
}
