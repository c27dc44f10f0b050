/*
 * Ops become entries. Each op is verified and applied under a mark of its own, so that a refused
 * one leaves nothing; what was accepted of one push goes into one entry, or more when it is full.
 */
#include "srs/asks.h"

#include <stdlib.h>

#include "crypto/digest.h"
#include "srs/srs_inside.h"

enum { SEALED_RK_BYTES_MAX = 256, ENTRY_COUNT_BYTES = 2 };

struct push {
    struct srs *s;
    struct job *job;
    uint16_t count;
    struct signed_op *ops;
    struct view rks; /* k * (grant16 || LP(sealed)) */
    uint16_t rk_count;
    struct result {
        int32_t rc;
        uint64_t seq;
    } * results;
    struct id16 patient;
    /* the entry that is being filled */
    struct signed_op *open_ops;
    uint16_t *open_index; /* of each in results */
    uint16_t open_count;
    unsigned open_changes;
    size_t open_bytes;
    bool is_signed; /* the op at hand is the writer's, whatever else is wrong with it */
};

static void push_fini(struct push *p)
{
    free(p->ops);
    free(p->results);
    free(p->open_ops);
    free(p->open_index);
}

static inline void push_fini_scope(struct push *p)
{
    push_fini(p);
}

static int alloc_push(struct push *p)
{
    const size_t room = p->count ? p->count : 1;

    p->ops = calloc(room, sizeof *p->ops);
    p->results = calloc(room, sizeof *p->results);
    p->open_ops = calloc(room, sizeof *p->open_ops);
    p->open_index = calloc(room, sizeof *p->open_index);
    return p->ops && p->results && p->open_ops && p->open_index ? 0 : -ENOMEM;
}

static struct view read_rk(struct reader *r, struct id16 *out_grant)
{
    reader_bytes(r, out_grant->b, sizeof out_grant->b);
    return reader_lp(r, SEALED_RK_BYTES_MAX);
}

static int parse(struct push *p)
{
    struct reader r = reader_over(p->job->payload);
    struct id16 grant;
    size_t rk_at;
    int rc;

    p->count = reader_u16(&r);
    if (!reader_ok(&r) || p->count > ENTRY_OPS_MAX)
        return PHR_E_FORMAT;
    rc = alloc_push(p);
    for (uint16_t i = 0; i < p->count && rc == 0; i++) {
        p->ops[i].op = reader_lp(&r, OP_BYTES_MAX);
        reader_bytes(&r, p->ops[i].sig.b, sizeof p->ops[i].sig.b);
    }
    p->rk_count = reader_u16(&r);
    if (rc < 0 || !reader_ok(&r))
        return rc < 0 ? rc : PHR_E_FORMAT;
    rk_at = p->job->payload.n - r.left;
    p->rks = view_of(p->job->payload.p + rk_at, r.left);
    for (uint16_t i = 0; i < p->rk_count; i++)
        (void)read_rk(&r, &grant);
    return reader_done(&r) ? 0 : PHR_E_FORMAT;
}

static bool find_rk(const void *user, const struct id16 *grant, struct view *out_sealed)
{
    const struct push *p = user;
    struct reader r = reader_over(p->rks);

    for (uint16_t i = 0; i < p->rk_count; i++) {
        struct id16 of;

        *out_sealed = read_rk(&r, &of);
        if (id_equal(&of, grant))
            return true;
    }
    return false;
}

/* ---- entries ---- */

static int next_place(struct push *p, uint64_t *out_seq, struct digest *out_prev)
{
    const struct ledger_state *l = &p->s->state.ledger;
    int rc = l->get_head(l->user, &p->patient, out_seq, out_prev);

    if (rc == 0) {
        *out_seq += 1;
        return 0;
    }
    *out_seq = 0;
    *out_prev = (struct digest){ { 0 } };
    return rc == -ENOENT ? 0 : rc;
}

/* Signs what was accepted so far. */
static int close_entry(struct push *p)
{
    scoped(writer_fini) struct writer bytes;
    struct entry e = { .patient = p->patient,
                       .type = ENTRY_TYPE_OPS,
                       .time_s = srs_now_s(p->s),
                       .srs = p->s->card.user,
                       .srs_card = p->s->card.hash,
                       .op_count = p->open_count,
                       .ops = p->open_ops };
    int rc = 0;

    writer_init(&bytes);
    if (p->open_count == 0)
        return 0;
    rc = next_place(p, &e.seq, &e.prev);
    if (rc == 0)
        rc = entry_encode(&e, p->s->key.sign, &bytes);
    if (rc == 0)
        rc = srs_state_put_entry(&p->s->state, &p->patient, e.seq, &e.leaf,
                                 writer_done(&bytes), false);
    if (rc == 0)
        rc = batch_add_entry(p->s, &p->patient, e.seq, writer_done(&bytes));
    if (rc < 0)
        return srs_state_is_failure(rc) ? rc
                                        : -EIO; /* every op in it was within its limits */
    for (uint16_t i = 0; i < p->open_count; i++)
        p->results[p->open_index[i]].seq = e.seq;
    atomic_fetch_add(&p->s->counters.entries, 1);
    p->open_count = 0;
    p->open_changes = 0;
    p->open_bytes = 0;
    return 0;
}

static size_t bytes_in_entry(const struct signed_op *op)
{
    return 4 + op->op.n + sizeof op->sig.b;
}

static bool has_room(const struct push *p, const struct signed_op *op,
                     const struct op *decoded)
{
    return p->open_changes + decoded->count <= OP_CHANGES_MAX &&
           ENTRY_COUNT_BYTES + p->open_bytes + bytes_in_entry(op) <= ENTRY_BODY_BYTES_MAX;
}

/* ---- one op ---- */

static bool has_change(const struct op *op, enum change_type type)
{
    for (uint16_t i = 0; i < op->count; i++) {
        if (op->changes[i].type == type)
            return true;
    }
    return false;
}

/*
 * A right to write lasts as long as its grant and the writer's card do, by the SRS's clock. Who verifies
 * the chain later does not ask for the time (CRYPTO 2.7): what was placed, was placed in time.
 */
static int check_terms(struct push *p, const struct op *op, uint64_t now_s)
{
    const struct ledger_state *l = &p->s->state.ledger;
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        p->s->db, "SELECT bytes FROM grants WHERE patient = ? AND class = ? AND epoch = ?"
                  " AND reader = ? AND card = ? AND rights = ? AND is_revoked = 0");
    struct card card;
    struct grant g;
    int rc = l->get_card(l->user, &op->patient, &op->writer, &card);

    if (rc == 0)
        rc = card_check_time(&card, now_s);
    if (rc < 0)
        return rc;
    srs_db_bind_id(&q, &op->patient);
    srs_db_bind_id(&q, &op->class_id);
    srs_db_bind_u64(&q, op->epoch);
    srs_db_bind_id(&q, &op->writer);
    srs_db_bind_digest(&q, &op->writer_card);
    srs_db_bind_u64(&q, GRANT_RW);
    rc = srs_db_step(&q);
    while (rc > 0) {
        rc = grant_decode(srs_db_col_view(&q, 0), &g);
        if (rc < 0)
            return rc;
        if (grant_check_time(&g, now_s) == 0)
            return 0;
        rc = srs_db_step(&q);
    }
    return rc < 0 ? rc : PHR_E_EXPIRED;
}

static int place(struct push *p, const struct signed_op *signed_op, const struct op *op)
{
    const struct ledger_state *l = &p->s->state.ledger;
    const uint64_t now_s = srs_now_s(p->s);
    struct placed_op placed = { .op = op, .find_rk = find_rk, .user = p };
    struct digest leaf;
    uint64_t seq;
    int rc;

    placed.is_genesis =
        l->get_head(l->user, &op->patient, &seq, &leaf) == -ENOENT && p->open_count == 0;
    rc = verify_op(l, &p->s->anchor, signed_op, now_s);
    p->is_signed = rc == 0;
    if (rc == 0 && !id_equal(&op->writer, &op->patient))
        rc = check_terms(p, op, now_s);
    if (rc == 0 && srs_is_suspended(p->s, &op->writer, &rc))
        rc = PHR_E_CARD;
    if (rc == 0)
        rc = verify_op_apply(l, signed_op, now_s);
    return rc < 0 ? rc : ask_grant_place(p->s, &placed);
}

/* Who tried without the right is recorded; his signature was verified before. */
static int log_denied(struct push *p, const struct op *op, int outcome)
{
    const struct event e = { .type = EVENT_DENIED,
                             .outcome = outcome,
                             .time_s = srs_now_s(p->s),
                             .host = op->host,
                             .user = op->writer,
                             .card = op->writer_card,
                             .uid = p->job->peer.uid,
                             .patient = op->patient,
                             .class_id = op->class_id };

    return srs_log(p->s, &e, NULL);
}

static uint64_t last_n(struct push *p, const struct op *op)
{
    const struct ledger_state *l = &p->s->state.ledger;
    uint64_t n;

    return l->get_last_n(l->user, &op->patient, &op->writer, &op->host, op_lane(op->n),
                         &n) == 0
               ? n
               : 0;
}

static int refuse(struct push *p, uint16_t index, const struct op *op, int rc)
{
    p->results[index].rc = rc;
    atomic_fetch_add(&p->s->counters.ops_refused, 1);
    if (rc == PHR_E_STALE)
        p->results[index].seq = last_n(p, op);
    /* RIGHTS is found behind the signature only; CARD also before it, and then it is nobody's. */
    if (rc == PHR_E_RIGHTS || (p->is_signed && (rc == PHR_E_CARD || rc == PHR_E_EXPIRED)))
        return log_denied(p, op, rc);
    return 0;
}

static int accept(struct push *p, uint16_t index, const struct op *op)
{
    p->open_ops[p->open_count] = p->ops[index];
    p->open_index[p->open_count] = index;
    p->open_count++;
    p->open_changes += op->count;
    p->open_bytes += bytes_in_entry(&p->ops[index]);
    atomic_fetch_add(&p->s->counters.ops, 1);
    return has_change(op, CHANGE_EPOCH) ? close_entry(p) : 0; /* VERIFY-5 */
}

static int take_op(struct push *p, uint16_t index, const struct op *op)
{
    struct batch_mark mark;
    int rc = 0;

    if (!has_room(p, &p->ops[index], op))
        rc = close_entry(p);
    if (rc == 0)
        rc = batch_mark(p->s, &mark);
    if (rc < 0)
        return rc;
    rc = place(p, &p->ops[index], op);
    if (srs_state_is_failure(rc) || rc == PHR_E_PENDING)
        return rc; /* undoes the push as a whole */
    if (rc < 0) {
        int undone = batch_undo(p->s, &mark);

        return undone < 0 ? undone : refuse(p, index, op, rc);
    }
    rc = batch_keep(p->s);
    return rc < 0 ? rc : accept(p, index, op);
}

/* Ops of one patient only: the push of another is a mistake of the caller. */
static int take_bytes(struct push *p, uint16_t index)
{
    struct op op;
    int rc = op_decode(p->ops[index].op, &op);

    if (rc == -ENOMEM)
        return rc;
    if (rc < 0) {
        p->results[index].rc = rc;
        return 0;
    }
    if (index == 0 || id_is_zero(&p->patient))
        p->patient = op.patient;
    if (id_equal(&op.patient, &p->patient))
        rc = take_op(p, index, &op);
    else
        p->results[index].rc = PHR_E_FORMAT;
    op_fini(&op);
    return rc;
}

int ask_push_decide(struct srs *s, struct job *job)
{
    scoped(push_fini) struct push p = { .s = s, .job = job };
    int rc = parse(&p);

    for (uint16_t i = 0; i < p.count && rc == 0; i++)
        rc = take_bytes(&p, i);
    if (rc == 0)
        rc = close_entry(&p);
    if (rc < 0)
        return rc;
    writer_u16(&job->answer, p.count);
    for (uint16_t i = 0; i < p.count; i++) {
        writer_u32(&job->answer, (uint32_t)p.results[i].rc);
        writer_u64(&job->answer, p.results[i].seq);
    }
    return 0;
}
