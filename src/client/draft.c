#include "client/owner.h"

#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "crypto/digest.h"

int draft_init(struct draft *d, const struct class_ctx *ctx)
{
    *d = (struct draft){ .ctx = *ctx };
    writer_init(&d->rks);
    d->changes = calloc(OP_CHANGES_MAX, sizeof *d->changes);
    return d->changes ? 0 : -ENOMEM;
}

void draft_fini(struct draft *d)
{
    for (uint16_t i = 0; i < d->count; i++)
        writer_fini(&d->changes[i].body);
    free(d->changes);
    writer_fini(&d->rks);
    *d = (struct draft){ 0 };
}

bool draft_is_full(const struct draft *d)
{
    return d->count == OP_CHANGES_MAX;
}

struct writer *draft_add(struct draft *d, enum change_type type)
{
    struct draft_change *change = &d->changes[d->count];

    INVARIANT(d->count < OP_CHANGES_MAX);
    d->count++;
    change->type = type;
    writer_init(&change->body);
    return &change->body;
}

void draft_add_rk(struct draft *d, const struct id16 *grant, struct view sealed_rk)
{
    writer_bytes(&d->rks, grant->b, sizeof grant->b);
    writer_lp(&d->rks, sealed_rk);
    d->rk_count++;
}

static int sign_draft(const struct draft *d, struct phr_owner *o, struct writer *out_op)
{
    const struct phr_identity *i = o->identity;
    scoped(free) struct change *changes = calloc(d->count, sizeof *changes);
    const uint64_t lane = (uint64_t)OP_LANE_TOOL << 56;
    struct op op = { .patient = i->ring->user,
                     .class_id = d->ctx.class_id,
                     .epoch = d->ctx.epoch,
                     .time_s = clock_realtime_s(),
                     .writer = i->ring->user,
                     .writer_card = i->card.hash,
                     .count = d->count,
                     .changes = changes };
    uint64_t seq;
    int rc;

    if (!changes)
        return -ENOMEM;
    for (uint16_t k = 0; k < d->count; k++) {
        if (!writer_ok(&d->changes[k].body))
            return -ENOMEM;
        changes[k] =
            (struct change){ d->changes[k].type, writer_done(&d->changes[k].body) };
    }
    rc = client_get_host(o->client, &op.host);
    if (rc < 0)
        return rc;
    if (!replica_get_head(o->replica, &seq, &op.base_leaf))
        op.base_leaf = (struct digest){ 0 };
    op.n = replica_get_last_n(o->replica, &op.writer, &op.host);
    op.n = (op.n < lane ? lane : op.n) + 1;
    return op_encode(&op, out_op);
}

static int push(const struct draft *d, struct phr_owner *o, struct view op,
                uint64_t *out_seq)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    scoped(writer_fini) struct writer ask;
    const struct signature sig = op_sign(op, o->identity->sign);
    struct reader in;
    uint64_t seq;
    int rc;

    writer_init(&ask);
    writer_u16(&ask, 1);
    writer_lp(&ask, op);
    writer_bytes(&ask, sig.b, sizeof sig.b);
    writer_u16(&ask, d->rk_count);
    writer_view(&ask, writer_done(&d->rks));
    if (!writer_ok(&ask) || !writer_ok(&d->rks))
        return -ENOMEM;
    rc = client_ask(o->client, MSG_OP_PUSH, writer_done(&ask), -1, CLIENT_CALL_TIMEOUT_MS,
                    &reply);
    if (rc < 0)
        return rc;
    in = reader_over(view_of(reply.bytes, reply.n));
    if (reader_u16(&in) != 1)
        return PHR_E_PROTOCOL;
    rc = (int)(int32_t)reader_u32(&in);
    seq = reader_u64(&in);
    if (!reader_done(&in) || rc > 0)
        return PHR_E_PROTOCOL;
    *out_seq = seq;
    return rc;
}

int draft_submit(struct draft *d, struct phr_owner *o, uint64_t *out_seq)
{
    scoped(writer_fini) struct writer op;
    uint64_t seq = 0;
    int refreshed;
    int rc;

    writer_init(&op);
    INVARIANT(d->count > 0);
    rc = sign_draft(d, o, &op);
    if (rc == 0)
        rc = push(d, o, writer_done(&op), &seq);
    if (rc == PHR_E_EPOCH_HELD)
        return client_fail(
            o->client, rc,
            "another client of this owner is changing these keys; try again "
            "in a minute");
    if (rc < 0 && rc != PHR_E_STALE)
        return o->client->why[0]
                   ? rc
                   : client_fail(o->client, rc, "the server refused the change: %s",
                                 phr_err_text(rc));
    refreshed = replica_refresh(o->replica); /* our entry, verified like anybody's */
    if (refreshed < 0 && !(rc == PHR_E_STALE && refreshed == PHR_E_UNKNOWN_ID))
        return refreshed;
    if (rc == 0 && out_seq)
        *out_seq = seq;
    return rc;
}
