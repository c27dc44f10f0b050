/*
 * Reading the log. The server's own administrator sees all, an owner what names his patient; entries
 * and leaves of all are shown to both, so each verifies the whole tree. Reading is itself recorded,
 * at most once a minute for each reader, or watching the log would fill it.
 */
#include "srs/asks.h"

#include <string.h>

#include "crypto/digest.h"
#include "crypto/label.h"
#include "srs/checkpointer.h"
#include "srs/srs_inside.h"

enum {
    FETCH_BYTES_MAX = 3 * 1024 * 1024,
    PROOF_BYTES = 16 + 8 + 32 + 64,
    SKEW_S_MAX = 120,
    READ_AGAIN_S = 60
};

struct asking {
    uint64_t from;
    uint32_t count;
    bool is_all; /* may see all records */
    struct id16 patient;
};

/* The owner's signature over what he asks for, now. */
static int check_proof(struct srs *s, struct asking *a, struct view proof)
{
    scoped(writer_fini) struct writer signed_bytes;
    struct reader r = reader_over(proof);
    const uint64_t now_s = srs_now_s(s);
    struct verify_key owner;
    struct signature sig;
    struct digest hash_of_head;
    struct digest hash;
    struct id16 id;
    uint64_t time_s;
    uint64_t seq;
    int rc;

    reader_bytes(&r, a->patient.b, sizeof a->patient.b);
    time_s = reader_u64(&r);
    reader_bytes(&r, owner.b, sizeof owner.b);
    reader_bytes(&r, sig.b, sizeof sig.b);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    writer_init(&signed_bytes);
    writer_text(&signed_bytes, "audit");
    writer_bytes(&signed_bytes, a->patient.b, sizeof a->patient.b);
    writer_u64(&signed_bytes, time_s);
    writer_u64(&signed_bytes, a->from);
    writer_u32(&signed_bytes, a->count);
    if (!writer_ok(&signed_bytes))
        return -ENOMEM;
    hash = digest_sha256(writer_done(&signed_bytes));
    id = patient_id(&owner);
    if (!id_equal(&id, &a->patient))
        return PHR_E_RIGHTS;
    rc = s->state.ledger.get_head(&s->state, &a->patient, &seq, &hash_of_head);
    if (rc < 0)
        return rc == -ENOENT ? PHR_E_RIGHTS : rc; /* anybody can make a key and call it a patient */
    if (time_s > now_s + SKEW_S_MAX || time_s + SKEW_S_MAX < now_s)
        return PHR_E_TIME_SKEW;
    return sign_check_labelled(&owner, LABEL_OPEN, &hash, &sig);
}

static int parse(struct srs *s, struct job *job, struct asking *a)
{
    struct reader r = reader_over(job->payload);
    struct view proof;

    a->from = reader_u64(&r);
    a->count = reader_u32(&r);
    proof = reader_lp(&r, PROOF_BYTES);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    if (proof.n > 0)
        return check_proof(s, a, proof);
    a->is_all = job->peer.is_admin;
    return a->is_all ? 0 : PHR_E_RIGHTS;
}

static int log_reading(struct srs *s, struct job *job, const struct asking *a)
{
    struct event e = { .type = EVENT_LOG_READ,
                       .time_s = srs_now_s(s),
                       .uid = job->peer.uid,
                       .user = a->patient,
                       .patient = a->patient };
    struct srs_stmt q =
        srs_db_query(s->db, "SELECT time_s FROM log_read WHERE uid = ? AND patient = ?");
    int rc;

    srs_db_bind_u64(&q, job->peer.uid);
    srs_db_bind_id(&q, &a->patient);
    rc = srs_db_first(&q);
    if (rc == 0 && srs_db_col_u64(&q, 0) + READ_AGAIN_S > e.time_s)
        rc = 1;
    srs_db_end(&q);
    if (rc == 1 || (rc < 0 && rc != -ENOENT))
        return rc == 1 ? 0 : rc;
    q = srs_db_query(
        s->db, "INSERT OR REPLACE INTO log_read(uid, patient, time_s) VALUES(?,?,?)");
    srs_db_bind_u64(&q, job->peer.uid);
    srs_db_bind_id(&q, &a->patient);
    srs_db_bind_u64(&q, e.time_s);
    rc = srs_db_run(&q);
    return rc < 0 ? rc : srs_log(s, &e, NULL);
}

int ask_audit_fetch(struct srs *s, struct job *job)
{
    struct asking a = { 0 };
    uint64_t index;
    size_t count_at;
    uint32_t count = 0;
    int rc = parse(s, job, &a);

    if (rc == 0 && a.from < s->log.tree.size)
        rc = log_reading(s, job, &a);
    if (rc < 0)
        return rc;
    writer_u64(&job->answer, s->log.tree.size);
    count_at = job->answer.n;
    writer_u32(&job->answer, 0);
    for (index = a.from; index < s->log.tree.size && count < a.count; index++) {
        rc =
            auditlog_copy_row(&s->log, index, a.is_all ? NULL : &a.patient, &job->answer);
        if (rc < 0)
            return rc == PHR_E_SEAL ? PHR_E_AUDIT_BROKEN : rc;
        count++;
        if (job->answer.n > FETCH_BYTES_MAX)
            break;
    }
    if (writer_ok(&job->answer))
        writer_patch_u32(&job->answer, count_at, count);
    return 0;
}

int ask_audit_head(struct srs *s, struct job *job)
{
    return job->payload.n == 0 ? checkpointer_copy_note(s, &job->answer) : PHR_E_FORMAT;
}

int ask_audit_consistency(struct srs *s, struct job *job)
{
    struct reader r = reader_over(job->payload);
    const uint64_t old_size = reader_u64(&r);
    const uint64_t new_size = reader_u64(&r);
    struct tree_proof proof;
    int rc;

    if (!reader_done(&r))
        return PHR_E_FORMAT;
    rc = tree_prove_consistency(&s->log.tree, old_size, new_size, &proof);
    if (rc < 0)
        return rc;
    writer_u16(&job->answer, (uint16_t)proof.count);
    for (size_t i = 0; i < proof.count; i++)
        writer_bytes(&job->answer, proof.hashes[i].b, sizeof proof.hashes[i].b);
    return 0;
}
