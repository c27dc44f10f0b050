/* What leaves this host: ops, made anew when the ledger has moved on, and audit events. */
#include "base/clock.h"
#include "base/log.h"
#include "vault/nsdb_ledger.h"
#include "vault/outbox.h"
#include "vault/rebase.h"
#include "vault/spool.h"
#include "vault/worker_inside.h"

enum {
    REBASES_MAX = 4, /* in a row without progress, then a pause */
    SPOOL_PUSHES_MAX = 16,
    SPOOL_FEW = 64 /* events that wait for the next round */
};

static void park(struct vault *v, uint64_t id, int reason)
{
    nsdb_lock(v->db);
    ignored(nsdb_outbox_set_state(v->db, id, OUTBOX_PARKED, reason)); /* refused again next time */
    nsdb_unlock(v->db);
}

static int renew_locked(struct vault *v, const struct id16 *patient, uint64_t id)
{
    struct outbox_row row;
    struct nsdb_stmt s;
    int rc;

    rc = nsdb_begin(v->db);
    if (rc < 0)
        return rc;
    rc = nsdb_outbox_get(v->db, id, &s, &row);
    if (rc == 0) {
        nsdb_end(&s);
        rc = row.lane == OP_LANE_SEAL ? outbox_renew_seals(v, id, NULL) : rebase_unwind(v, patient);
    }
    if (rc < 0) {
        nsdb_rollback(v->db);
        spool_undo_tx(v->spool);
        return rc == -ENOENT || rc == PHR_E_LOCKED ? 0 : rc;
    }
    rc = nsdb_commit(v->db);
    if (rc == 0)
        rc = rebase_redo(v, patient);
    return rc < 0 ? rc : fetching_forget_removals(v, patient);
}

/* What is still here after a fetch does not fit: made anew. Nobody sees the ledger's view between. */
static int renew(struct vault *v, const struct id16 *patient, uint64_t id)
{
    int rc;

    nsdb_lock(v->db);
    rc = renew_locked(v, patient, id);
    nsdb_unlock(v->db);
    return rc;
}

int pushing_take_answer(struct vault *v, struct view answer, const uint64_t *ids, size_t count,
                        struct push_result *out)
{
    enum { RESULT_BYTES = 4 + 8 };
    struct reader r = reader_over(answer);

    if (reader_u16(&r) != count || r.left != count * RESULT_BYTES)
        return PHR_E_PROTOCOL; /* before anything of it counts */
    for (size_t i = 0; i < count; i++) {
        int32_t rc = (int32_t)reader_u32(&r);

        (void)reader_u64(&r);
        if (rc > 0)
            return PHR_E_PROTOCOL;
        if (rc < 0)
            log_debug("op_not_taken", LOG_U64("op", ids[i]), LOG_RC("cause", rc));
        if (rc == 0)
            out->any_taken = true;
        else if (rc == PHR_E_EPOCH_HELD || rc == -EAGAIN || rc == PHR_E_STORE)
            out->is_held = true;
        else if (rc == PHR_E_STALE || rc == PHR_E_STALE_HEADER)
            out->stale_id = out->stale_id ? out->stale_id : ids[i];
        else
            park(v, ids[i], rc);
    }
    return 0;
}

/* One batch of a patient. 1: there may be more. */
static int push_patient(struct vault *v, struct patient_work *p, uint64_t hold_ms)
{
    scoped(writer_fini) struct writer payload = { 0 };
    scoped(writer_fini) struct writer answer = { 0 };
    const struct outbox_wish wish = { .hold_ms = hold_ms, .is_single = p->rebases > 0 };
    struct push_result result = { 0 };
    uint64_t ids[ENTRY_OPS_MAX];
    size_t count = 0;
    int rc;

    writer_init(&payload);
    writer_init(&answer);
    rc = outbox_take(v, &p->patient, &wish, &payload, ids, &count);
    if (rc < 0 || count == 0)
        return rc;
    rc = worker_call(v, MSG_OP_PUSH, writer_done(&payload), -1, CALL_TIMEOUT_MS, &answer);
    if (rc == 0)
        rc = pushing_take_answer(v, writer_done(&answer), ids, count, &result);
    if (rc < 0)
        return rc;
    if (result.any_taken || result.stale_id)
        rc = fetching_run(v, p);
    if (rc < 0)
        return rc;
    if (result.any_taken)
        p->rebases = 0;
    if (result.stale_id && ++p->rebases <= REBASES_MAX) {
        rc = renew(v, &p->patient, result.stale_id);
        return rc < 0 ? rc : 1;
    }
    if (result.is_held || result.stale_id) {
        p->rebases = 0;
        p->pause_until_ms = clock_boottime_ms() + PAUSE_MS;
        return 0;
    }
    return result.any_taken ? 1 : 0;
}

void pushing_run(struct worker *w, uint64_t hold_ms)
{
    struct id16 patient = { { 0 } };

    if (w->owes_redo)
        w->owes_redo = rebase_redo_all(w->v) < 0;
    while (nsdb_outbox_patient_next(w->v->db, &patient, &patient) == 0) {
        struct patient_work *p;
        int rc = 1;

        pthread_mutex_lock(&w->lock);
        p = following_get(&w->following, &patient);
        pthread_mutex_unlock(&w->lock);
        if (!p || following_is_contradicted(w, p) || p->pause_until_ms > clock_boottime_ms())
            continue;
        while (rc > 0 && !w->is_stopping)
            rc = push_patient(w->v, p, hold_ms);
        if (rc < 0) {
            p->pause_until_ms = clock_boottime_ms() + PAUSE_MS;
            w->owes_redo = true;
        }
    }
}

/* What came while a bundle was on its way is in no hurry: the server syncs its log for each. */
int pushing_spool(struct vault *v, bool table)
{
    uint64_t before = 0;

    for (int i = 0; i < SPOOL_PUSHES_MAX; i++) {
        scoped(writer_fini) struct writer payload = { 0 };
        scoped(writer_fini) struct writer answer = { 0 };
        struct reader r;
        uint64_t no = 0;
        uint64_t next;
        uint32_t count = 0;
        int rc;

        writer_init(&payload);
        writer_init(&answer);
        rc = spool_take(v->spool, table, &payload, &no, &count);
        if (rc < 0 || count == 0 || (no == before && count < SPOOL_FEW))
            return rc;
        before = no; /* none is 0 */
        rc = worker_call(v, MSG_SPOOL_PUSH, writer_done(&payload), -1, CALL_TIMEOUT_MS, &answer);
        if (rc < 0)
            return rc;
        r = reader_over(writer_done(&answer));
        next = reader_u64(&r);
        if (!reader_done(&r))
            return PHR_E_PROTOCOL;
        rc = spool_acknowledge(v->spool, table, no, next);
        if (rc < 0)
            return rc;
    }
    return 0;
}
