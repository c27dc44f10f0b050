/* Fetching and listing: what is read here may be of this very batch, and leaves with its commit. */
#include "srs/asks.h"

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

int ask_ledger_list(struct srs *s, struct job *job)
{
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT patient, seq, leaf FROM head");
    uint32_t count = 0;
    int rc = srs_db_step(&q);

    writer_u32(&job->answer, 0);
    while (rc > 0 && job->answer.n < LIST_BYTES_MAX) {
        int bad = 0;
        struct id16 patient;
        struct digest leaf;

        srs_db_col_bytes(&q, 0, patient.b, sizeof patient.b, &bad);
        srs_db_col_bytes(&q, 2, leaf.b, sizeof leaf.b, &bad);
        if (bad < 0)
            return bad;
        writer_bytes(&job->answer, patient.b, sizeof patient.b);
        writer_u64(&job->answer, srs_db_col_u64(&q, 1));
        writer_bytes(&job->answer, leaf.b, sizeof leaf.b);
        count++;
        rc = srs_db_step(&q);
    }
    if (rc < 0)
        return rc;
    if (rc > 0)
        return PHR_E_LIMIT; /* more patients than one answer holds: about 55,000 */
    if (writer_ok(&job->answer))
        writer_patch_u32(&job->answer, 0, count);
    return 0;
}
