#include "srs/rkstore.h"

#include "base/cursor.h"
#include "base/secret.h"
#include "crypto/aead.h"

int rkstore_put(const struct srs_state *s, struct rkslot_file *slots,
                const struct grant *grant, const struct scalar *rk, uint32_t *out_slot)
{
    scoped(secret_free) struct symkey *key = secret_alloc(sizeof *key);
    uint8_t box[sizeof rk->b + AEAD_BOX_EXTRA_BYTES];
    uint8_t ctx[GRANT_CTX_BYTES];
    uint32_t slot = 0;
    struct srs_stmt q;
    int rc = key ? rkslot_take(slots, &slot, key) : -ENOMEM;

    if (rc < 0)
        return rc;
    grant_ctx_encode(&grant->ctx, ctx);
    rc = aead_box(key, view_of(ctx, sizeof ctx), view_of(rk->b, sizeof rk->b),
                  (struct span){ box, sizeof box });
    if (rc == 0) {
        q = srs_db_query(s->db, "UPDATE grants SET slot = ?, box = ? WHERE grant_id = ?");
        srs_db_bind_u64(&q, slot);
        srs_db_bind_view(&q, view_of(box, sizeof box));
        srs_db_bind_id(&q, &grant->ctx.grant);
        rc = srs_db_run(&q);
    }
    if (rc < 0) {
        rkslot_give_back(slots, slot);
        return rc;
    }
    *out_slot = slot;
    return 0;
}

int rkstore_load(const struct rkslot_file *slots, const struct srs_grant *g,
                 struct scalar *out_rk)
{
    scoped(secret_free) struct symkey *key = secret_alloc(sizeof *key);
    uint8_t ctx[GRANT_CTX_BYTES];
    int rc = key ? rkslot_load(slots, g->slot, key) : -ENOMEM;

    if (rc < 0)
        return rc;
    grant_ctx_encode(&g->grant.ctx, ctx);
    return aead_open_box(key, view_of(ctx, sizeof ctx), view_of(g->box, sizeof g->box),
                         (struct span){ out_rk->b, sizeof out_rk->b });
}

int rkstore_drop(const struct srs_state *s, const struct id16 *grant, bool *out_had,
                 uint32_t *out_slot)
{
    struct srs_grant g;
    struct srs_stmt q;
    int rc = srs_state_get_grant(s, grant, &g);

    if (rc < 0)
        return rc;
    *out_had = g.has_key;
    *out_slot = g.slot;
    q = srs_db_query(s->db,
                     "UPDATE grants SET slot = NULL, box = NULL WHERE grant_id = ?");
    srs_db_bind_id(&q, grant);
    return srs_db_run(&q);
}

int rkstore_find(const struct srs_state *s, const struct class_ctx *ctx,
                 struct id16 *out_grant)
{
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db, "SELECT grant_id FROM grants WHERE patient = ? AND class = ? AND epoch = ?"
               " AND slot IS NOT NULL");
    int rc;

    srs_db_bind_id(&q, &ctx->patient);
    srs_db_bind_id(&q, &ctx->class_id);
    srs_db_bind_u64(&q, ctx->epoch);
    rc = srs_db_first(&q);
    if (rc == 0)
        srs_db_col_bytes(&q, 0, out_grant->b, sizeof out_grant->b, &rc);
    return rc;
}

int rkstore_mark_slots(const struct srs_state *s, struct rkslot_file *slots)
{
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT slot FROM grants WHERE slot IS NOT NULL");
    int rc = srs_db_step(&q);

    while (rc > 0) {
        rkslot_mark_used(slots, (uint32_t)srs_db_col_u64(&q, 0));
        rc = srs_db_step(&q);
    }
    return rc;
}
