/*
 * Events of a mount come into the log (CRYPTO 2.5), one leaf per event.
 *
 * SPOOL-1  Each (host, no, header) is a stream of its own: n rises by one from its first record (0 or
 *   1), and each record names the hash of the one before. What was taken already is skipped, so a push
 *   may be repeated. The header belongs to it, since anybody can name a host and a number: under
 *   the two alone, a stranger's high n would have the mount's own records taken for old ones.
 * SPOOL-2  Where records are missing, or one does not open, a leaf says so (EVENT_GAP) and the
 *   stream goes on behind: the record right behind a gap cannot be opened, since it names what is
 *   missing, and counts as part of it. A second header under one (host, no) has such a leaf, too.
 * SPOOL-3  What only the SRS can know is not taken from a mount: a leaf says that one tried.
 */
#include "srs/asks.h"

#include <string.h>

#include "base/secret.h"
#include "crypto/digest.h"
#include "format/event.h"
#include "format/spool_record.h"
#include "srs/srs_inside.h"

enum {
    SPOOL_RECORDS_BYTES_MAX = 4 * 1024 * 1024,
    RECORD_LEN_BYTES = 4, /* LE32 len, of all that follows, then LE64 n */
    FIRST_N_MAX = 1
};

struct stream {
    struct srs *s;
    struct job *job;
    struct id16 host;
    uint64_t no;
    struct digest header;
    struct symkey *key;
    uint64_t next_n;
    struct digest prev;
    bool is_known;
};

static int load(struct stream *t)
{
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        t->s->db,
        "SELECT next_n, prev FROM spool WHERE host = ? AND no = ? AND header = ?");
    int rc;

    srs_db_bind_id(&q, &t->host);
    srs_db_bind_u64(&q, t->no);
    srs_db_bind_digest(&q, &t->header);
    rc = srs_db_first(&q);
    if (rc == -ENOENT)
        return 0;
    if (rc == 0) {
        t->next_n = srs_db_col_u64(&q, 0);
        srs_db_col_bytes(&q, 1, t->prev.b, sizeof t->prev.b, &rc);
        t->is_known = true;
    }
    return rc;
}

static int save(const struct stream *t)
{
    struct srs_stmt q = srs_db_query(
        t->s->db,
        "INSERT OR REPLACE INTO spool(host, no, header, next_n, prev) VALUES(?,?,?,?,?)");

    srs_db_bind_id(&q, &t->host);
    srs_db_bind_u64(&q, t->no);
    srs_db_bind_digest(&q, &t->header);
    srs_db_bind_u64(&q, t->next_n);
    srs_db_bind_digest(&q, &t->prev);
    return srs_db_run(&q);
}

static int log_gap(const struct stream *t, int outcome)
{
    const struct event e = { .type = EVENT_GAP,
                             .outcome = outcome,
                             .time_s = srs_now_s(t->s),
                             .host = t->host,
                             .uid = t->job->peer.uid };

    return srs_log(t->s, &e, NULL);
}

/* SPOOL-2: a store that was set back, or somebody who takes the host's name. */
static int note_second(const struct stream *t)
{
    struct srs_stmt q =
        srs_db_query(t->s->db, "SELECT 1 FROM spool WHERE host = ? AND no = ?");
    int rc;

    srs_db_bind_id(&q, &t->host);
    srs_db_bind_u64(&q, t->no);
    rc = srs_db_first(&q);
    srs_db_end(&q);
    if (rc == -ENOENT)
        return 0;
    return rc < 0 ? rc : log_gap(t, PHR_E_ROLLBACK);
}

/* A mount speaks for itself only, and of what happened to it. */
static int log_event(const struct stream *t, struct view plain)
{
    struct event e;
    int rc = event_decode(plain, &e);

    if (rc < 0 || !id_equal(&e.host, &t->host))
        return log_gap(t, PHR_E_FORMAT);
    if (ask_event_is_own(e.type))
        return log_gap(t, PHR_E_RIGHTS); /* SPOOL-3 */
    atomic_fetch_add(&t->s->counters.events, 1);
    rc = srs_log(t->s, &e, NULL);
    return rc == PHR_E_FORMAT || rc == PHR_E_LIMIT ? log_gap(t, rc) : rc;
}

/* The first record of bytes, framed; its whole length, or 0 where it is not framed. */
static size_t frame_of(struct view bytes, uint64_t *out_n)
{
    uint32_t len;

    if (bytes.n < SPOOL_RECORD_EXTRA_BYTES)
        return 0;
    len = get_le32(bytes.p);
    *out_n = get_le64(bytes.p + 4);
    if (len > bytes.n - RECORD_LEN_BYTES ||
        len > EVENT_BYTES_MAX + SPOOL_RECORD_EXTRA_BYTES)
        return 0;
    return RECORD_LEN_BYTES + len;
}

/* One record that is due; always goes on behind it. */
static int take_record(struct stream *t, uint64_t n, struct view record,
                       bool is_behind_gap)
{
    scoped(writer_fini) struct writer plain;
    size_t used = 0;
    int rc;

    writer_init(&plain);
    rc = spool_record_open(t->key, &t->host, n, &t->prev, record, &used, &plain);
    if (rc == -ENOMEM)
        return rc;
    if (rc == 0)
        rc = log_event(t, writer_done(&plain));
    else
        rc = is_behind_gap
                 ? 0
                 : log_gap(t, PHR_E_SEAL); /* SPOOL-2: the gap has its leaf already */
    t->prev = digest_sha256(record);
    t->next_n = n + 1;
    return rc;
}

static int take_records(struct stream *t, uint64_t first_n, struct view bytes)
{
    uint64_t n = first_n;
    int rc = 0;

    if (!t->is_known && first_n <= FIRST_N_MAX)
        t->next_n = first_n;
    while (bytes.n > 0 && rc == 0) {
        const bool is_gap = n > t->next_n;
        uint64_t stated = 0;
        const size_t used = frame_of(bytes, &stated);

        if (used == 0 || stated != n)
            return PHR_E_FORMAT;
        if (is_gap)
            rc = log_gap(t, -ENODATA);
        if (rc == 0 && n >= t->next_n) /* SPOOL-1 */
            rc = take_record(t, n, view_of(bytes.p, used), is_gap);
        bytes = view_of(bytes.p + used, bytes.n - used);
        n++;
    }
    return rc;
}

int ask_spool_push(struct srs *s, struct job *job)
{
    scoped(secret_free) struct symkey *key = secret_alloc(sizeof *key);
    struct stream t = { .s = s, .job = job, .key = key };
    struct reader r = reader_over(job->payload);
    struct view header = reader_lp(&r, SPOOL_HEADER_BYTES);
    const uint64_t first_n = reader_u64(&r);
    const struct view records = reader_lp(&r, SPOOL_RECORDS_BYTES_MAX);
    int rc;

    if (!reader_done(&r))
        return PHR_E_FORMAT;
    rc = key ? spool_header_open(header, s->key.b, &t.host, &t.no, key) : -ENOMEM;
    t.header = digest_sha256(header);
    if (rc == 0)
        rc = load(&t);
    if (rc == 0 && !t.is_known && records.n > 0)
        rc = note_second(&t);
    if (rc == 0)
        rc = take_records(&t, first_n, records);
    if (rc == 0 && records.n > 0)
        rc = save(&t);
    if (rc == 0)
        writer_u64(&job->answer, t.next_n);
    return rc;
}
