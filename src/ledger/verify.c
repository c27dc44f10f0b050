/*
 * Two steps per op: check against the state as it is now, then apply. The changes of one op may
 * build on each other (a file is a dentry, an inode and a header), so the check runs on a
 * state_memory laid over the caller's state and throws it away; nothing of a refused op
 * reaches the caller's state. An entry is the same for each of its ops, under one signature.
 *
 * VERIFY-5: an op with an epoch change is the last of its entry: the rows that it brings lie in
 *   an object which the check has not read.
 * VERIFY-6: n rises per (patient, writer, host, lane), so that nothing is placed twice.
 */
#include "ledger/verify.h"

#include "base/scope.h"
#include "crypto/digest.h"
#include "ledger/state_memory.h"
#include "ledger/verify_apply.h"
#include "ledger/verify_change.h"

static inline void op_fini_scope(struct op *op)
{
    op_fini(op);
}

static inline void entry_fini_scope(struct entry *e)
{
    entry_fini(e);
}

/* The first op of a patient brings the owner's card along. */
static int find_first_card(const struct op *op, const struct verify_anchor *anchor,
                           struct card *out_card)
{
    int rc;

    if (op->changes[0].type != CHANGE_CARD_PIN || !id_equal(&op->writer, &op->patient))
        return PHR_E_CARD;
    rc = card_check(op->changes[0].body, &anchor->authority, out_card);
    if (rc < 0)
        return rc;
    return id_equal(&out_card->user, &op->patient) ? 0 : PHR_E_CARD;
}

/* The writer's and the owner's cards as the chain pins them. */
static int find_cards(const struct ledger_state *s, const struct verify_anchor *anchor,
                      const struct op *op, struct card *out_writer,
                      struct card *out_owner)
{
    struct digest leaf;
    struct id16 id;
    uint64_t seq;
    int rc = s->get_card(s->user, &op->patient, &op->patient, out_owner);

    if (rc == -ENOENT && s->get_head(s->user, &op->patient, &seq, &leaf) == -ENOENT)
        rc = find_first_card(op, anchor, out_owner);
    if (rc < 0)
        return rc == -ENOENT ? PHR_E_CARD : rc;
    id = patient_id(&out_owner->ed);
    if (!id_equal(&id, &op->patient))
        return PHR_E_CARD; /* a class record counts only by the owner whose key hashes to the patient */
    *out_writer = *out_owner;
    if (!id_equal(&op->writer, &op->patient))
        rc = s->get_card(s->user, &op->patient, &op->writer, out_writer);
    if (rc < 0)
        return rc == -ENOENT ? PHR_E_CARD : rc;
    return digest_equal(&out_writer->hash, &op->writer_card) ? 0 : PHR_E_CARD;
}

static int check_n(const struct ledger_state *s, const struct op *op)
{
    uint64_t last;
    int rc = s->get_last_n(s->user, &op->patient, &op->writer, &op->host, op_lane(op->n),
                           &last);

    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return rc;
    return op->n > last ? 0 : PHR_E_STALE; /* VERIFY-6 */
}

static int check_changes(struct verify_scope *v, struct state_memory *over)
{
    struct verify_place place = { .ctx = v->ctx, .now_s = v->now_s };
    int rc = 0;

    for (uint16_t i = 0; i < v->op->count && rc == 0; i++) {
        rc = verify_change_check(v, &v->op->changes[i]);
        if (rc == 0)
            rc = verify_apply_change(state_memory_get_state(over), &place,
                                     &v->op->changes[i]);
    }
    for (uint16_t i = 0; i < v->op->count && rc == 0; i++)
        rc = verify_change_close(v, &v->op->changes[i]);
    return rc;
}

static int check_op(const struct ledger_state *s, struct verify_scope *v,
                    const struct signed_op *signed_op)
{
    scoped(state_memory_free) struct state_memory *over = NULL;
    struct card writer;
    struct card owner;
    int rc;

    if (v->op->count == 0 || id_is_zero(&v->op->patient))
        return PHR_E_FORMAT;
    rc = find_cards(s, v->anchor, v->op, &writer, &owner);
    if (rc == 0 && !v->is_vouched)
        rc = op_check(signed_op->op, &signed_op->sig, &writer.ed);
    if (rc == 0)
        rc = check_n(s, v->op);
    if (rc < 0)
        return rc;
    v->owner = owner.ed;
    v->is_owner = id_equal(&v->op->writer, &v->op->patient);
    v->ctx = (struct class_ctx){ v->op->patient, v->op->class_id, v->op->epoch };
    v->has_class = !id_is_zero(&v->op->class_id);
    if (!v->has_class && !v->is_owner)
        return PHR_E_RIGHTS;
    rc = state_memory_new_over(s, &over);
    if (rc < 0)
        return rc;
    v->s = state_memory_get_state(over);
    return check_changes(v, over);
}

int verify_op(const struct ledger_state *s, const struct verify_anchor *anchor,
              const struct signed_op *signed_op, uint64_t now_s)
{
    scoped(op_fini) struct op op = { 0 };
    struct verify_scope v = { .anchor = anchor, .op = &op, .now_s = now_s };
    int rc = op_decode(signed_op->op, &op);

    return rc < 0 ? rc : check_op(s, &v, signed_op);
}

static int apply_op(const struct ledger_state *s, const struct op *op, uint64_t now_s)
{
    struct verify_place place = { .ctx = { op->patient, op->class_id, op->epoch },
                                  .now_s = now_s };
    int rc = s->put_last_n(s->user, &op->patient, &op->writer, &op->host, op_lane(op->n),
                           op->n);

    for (uint16_t i = 0; i < op->count && rc == 0; i++)
        rc = verify_apply_change(s, &place, &op->changes[i]);
    return rc;
}

int verify_op_apply(const struct ledger_state *s, const struct signed_op *signed_op,
                    uint64_t now_s)
{
    scoped(op_fini) struct op op = { 0 };
    int rc = op_decode(signed_op->op, &op);

    return rc < 0 ? rc : apply_op(s, &op, now_s);
}

/* ---- entries ---- */

static int check_place(const struct ledger_state *s, const struct entry *e)
{
    static const struct digest none;
    struct digest leaf;
    uint64_t seq;
    int rc = s->get_head(s->user, &e->patient, &seq, &leaf);

    if (rc == -ENOENT)
        return e->seq == 0 && digest_equal(&e->prev, &none) ? 0 : PHR_E_FORK;
    if (rc < 0)
        return rc;
    return e->seq > 0 && e->seq - 1 == seq && digest_equal(&e->prev, &leaf) ? 0
                                                                            : PHR_E_FORK;
}

/* One op of an entry; io_count adds up the entry's changes. */
static int check_and_apply(const struct ledger_state *s, struct verify_scope *v,
                           const struct entry *e, size_t index, unsigned *io_count)
{
    scoped(op_fini) struct op op = { 0 };
    int rc = op_decode(e->ops[index].op, &op);

    if (rc < 0)
        return rc;
    *io_count += op.count;
    if (*io_count > OP_CHANGES_MAX || !id_equal(&op.patient, &e->patient))
        return PHR_E_FORMAT;
    v->op = &op;
    rc = check_op(s, v, &e->ops[index]);
    if (rc == 0 && v->has_epoch && index + 1 < e->op_count)
        rc = PHR_E_FORMAT; /* VERIFY-5 */
    if (rc == 0)
        rc = apply_op(s, &op, e->time_s);
    v->op = NULL;
    return rc;
}

int verify_entry_apply(const struct ledger_state *s, const struct verify_anchor *anchor,
                       struct view entry_bytes, enum verify_flags flags)
{
    scoped(entry_fini) struct entry e = { 0 };
    unsigned count = 0;
    int rc = entry_check(entry_bytes, &anchor->srs);

    if (rc == 0)
        rc = entry_decode(entry_bytes, &e);
    if (rc < 0)
        return rc;
    if (!digest_equal(&e.srs_card, &anchor->srs_card))
        return PHR_E_CARD;
    if (e.type != ENTRY_TYPE_OPS || e.op_count == 0)
        return PHR_E_FORMAT;
    rc = check_place(s, &e);
    for (size_t i = 0; i < e.op_count && rc == 0; i++) {
        struct verify_scope v = { .anchor = anchor,
                                  .now_s = e.time_s,
                                  .ignores_hold = true,
                                  .is_vouched = (flags & VERIFY_VOUCHED) != 0 };

        rc = check_and_apply(s, &v, &e, i, &count);
    }
    return rc < 0 ? rc : s->put_head(s->user, &e.patient, e.seq, &e.leaf, entry_bytes);
}
