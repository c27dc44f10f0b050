/*
 * GRANT-1  A re-encryption key is taken only with its grant, when it is the one that the owner signed:
 *   the sealed bytes have the hash in the grant, and R = rk*G.
 * GRANT-2  A grant that ends takes its key along: dropped in this transaction, its slot overwritten
 *   before anybody is told (COMMIT-3).
 * GRANT-3  A grant under a policy (a second factor, say) is refused: this version knows none, and to
 *   release without what the owner asked for would be worse.
 */
#include "srs/asks.h"

#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/pre_proxy.h"
#include "crypto/seal.h"
#include "srs/rkstore.h"
#include "srs/srs_inside.h"

static int log_about(struct srs *s, const struct op *op, enum event_type type,
                     const struct class_ctx *ctx, const struct id16 *grant)
{
    struct event e = { .type = type,
                       .time_s = srs_now_s(s),
                       .host = op->host,
                       .user = op->writer,
                       .card = op->writer_card,
                       .patient = op->patient };

    if (ctx)
        e.class_id = ctx->class_id;
    if (grant)
        e.grant = *grant;
    return srs_log(s, &e, NULL);
}

static int unseal(struct srs *s, const struct grant *g, struct view sealed,
                  struct scalar *out_rk)
{
    const struct digest hash = digest_sha256(sealed);
    uint8_t ctx[GRANT_CTX_BYTES];
    int rc;

    if (!digest_equal(&hash, &g->sealed_rk) ||
        sealed.n != sizeof out_rk->b + SEAL_EXTRA_BYTES)
        return PHR_E_SEAL;
    grant_ctx_encode(&g->ctx, ctx);
    rc = seal_open(s->key.b, view_of(ctx, sizeof ctx), sealed,
                   (struct span){ out_rk->b, sizeof out_rk->b });
    return rc < 0 ? rc : pre_check_rk(out_rk, &g->r); /* GRANT-1 */
}

/* Terms that can be kept, and a reader who may be granted something today. */
static int check_reader(struct srs *s, const struct grant *g)
{
    static const struct digest none;
    const uint64_t now_s = srs_now_s(s);
    struct card card;
    int rc = 0;

    if (!digest_equal(&g->policy, &none))
        return PHR_E_FORMAT; /* GRANT-3 */
    if (g->not_after_s < now_s)
        return PHR_E_EXPIRED;
    if (srs_is_suspended(s, &g->ctx.reader, &rc))
        return PHR_E_CARD;
    if (rc == 0)
        rc = srs_state_get_card(&s->state, &g->ctx.class_ctx.patient, &g->ctx.reader_card,
                                &card);
    return rc < 0 ? rc : card_check_time(&card, now_s);
}

static int place_grant(struct srs *s, const struct placed_op *p, struct view body)
{
    scoped(secret_free) struct scalar *rk = secret_alloc(sizeof *rk);
    struct view sealed;
    struct grant g;
    uint32_t slot;
    int rc = rk ? grant_decode(body, &g) : -ENOMEM;

    if (rc == 0 && !p->find_rk(p->user, &g.ctx.grant, &sealed))
        rc = PHR_E_NO_GRANT; /* a grant without its key would be of no use */
    if (rc == 0)
        rc = check_reader(s, &g);
    if (rc == 0)
        rc = unseal(s, &g, sealed, rk);
    if (rc == 0)
        rc = rkstore_put(&s->state, s->slots, &g, rk, &slot);
    if (rc == 0)
        rc = batch_add_taken(s, slot);
    return rc < 0 ? rc : log_about(s, p->op, EVENT_GRANT, &g.ctx.class_ctx, &g.ctx.grant);
}

static int drop_rk(struct srs *s, const struct id16 *grant)
{
    uint32_t slot = 0;
    bool had = false;
    int rc = rkstore_drop(&s->state, grant, &had, &slot);

    return rc == 0 && had ? batch_add_to_shred(s, slot) : rc; /* GRANT-2 */
}

static int place_revoke(struct srs *s, const struct placed_op *p, struct view body)
{
    struct srs_grant g;
    struct revoke revoke;
    int rc = revoke_decode(body, &revoke);

    if (rc == 0)
        rc = srs_state_get_grant(&s->state, &revoke.grant, &g);
    if (rc == 0)
        rc = drop_rk(s, &revoke.grant);
    return rc < 0
               ? rc
               : log_about(s, p->op, EVENT_REVOKE, &g.grant.ctx.class_ctx, &revoke.grant);
}

static int place_retire(struct srs *s, const struct placed_op *p, struct view body)
{
    struct class_ctx ctx;
    struct id16 grant;
    int rc = class_ctx_body_decode(body, &ctx);

    while (rc == 0) {
        rc = rkstore_find(&s->state, &ctx, &grant);
        if (rc == 0)
            rc = drop_rk(s, &grant);
    }
    return rc == -ENOENT ? log_about(s, p->op, EVENT_EPOCH, &ctx, NULL) : rc;
}

static int place_epoch(struct srs *s, const struct placed_op *p, struct view body)
{
    struct class_record record;
    struct epoch_change epoch;
    int rc = epoch_decode(body, &epoch);

    if (rc == 0)
        rc = class_record_decode(epoch.class_record, &record);
    return rc < 0 ? rc : log_about(s, p->op, EVENT_EPOCH, &record.ctx, NULL);
}

int ask_grant_place(struct srs *s, const struct placed_op *p)
{
    int rc = p->is_genesis ? log_about(s, p->op, EVENT_PATIENT_ADD, NULL, NULL) : 0;

    for (uint16_t i = 0; i < p->op->count && rc == 0; i++) {
        const struct change *c = &p->op->changes[i];

        if (c->type == CHANGE_GRANT)
            rc = place_grant(s, p, c->body);
        else if (c->type == CHANGE_REVOKE)
            rc = place_revoke(s, p, c->body);
        else if (c->type == CHANGE_EPOCH)
            rc = place_epoch(s, p, c->body);
        else if (c->type == CHANGE_RETIRE_EPOCH)
            rc = place_retire(s, p, c->body);
    }
    return rc;
}
