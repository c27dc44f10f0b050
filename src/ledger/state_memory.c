#include "ledger/state_memory.h"

#include <string.h>

#include "crypto/digest.h"
#include "ledger/memory_item.h"
#include "ledger/memory_rows.h"

static struct id16 epoch_id(uint32_t epoch)
{
    struct id16 id = { { 0 } };

    for (size_t i = 0; i < 4; i++)
        id.b[i] = (uint8_t)(epoch >> (24 - 8 * i)); /* rising in the order of the tree */
    return id;
}

static struct id16 lane_id(enum op_lane lane)
{
    return (struct id16){ { (uint8_t)lane } };
}

/* ---- questions ---- */

static int get_head(void *user, const struct id16 *patient, uint64_t *out_seq,
                    struct digest *out_leaf)
{
    const struct state_memory *m = user;
    const struct item *item = memory_item_find(m, ITEM_HEAD, IDS(patient));

    if (!item)
        return m->base ? m->base->get_head(m->base->user, patient, out_seq, out_leaf)
                       : -ENOENT;
    *out_seq = item->is.head.seq;
    *out_leaf = item->is.head.leaf;
    return 0;
}

static int get_card(void *user, const struct id16 *patient, const struct id16 *writer,
                    struct card *out_card)
{
    const struct state_memory *m = user;
    const struct item *item = memory_item_find(m, ITEM_CARD, IDS(patient, writer));

    if (!item)
        return m->base ? m->base->get_card(m->base->user, patient, writer, out_card)
                       : -ENOENT;
    *out_card = item->is.card;
    return 0;
}

static int get_epoch_current(void *user, const struct id16 *patient,
                             const struct id16 *class_id, uint32_t *out_epoch)
{
    const struct state_memory *m = user;
    const struct item *item = memory_item_find(m, ITEM_CURRENT, IDS(patient, class_id));

    if (!item)
        return m->base ? m->base->get_epoch_current(m->base->user, patient, class_id,
                                                    out_epoch)
                       : -ENOENT;
    *out_epoch = item->is.epoch;
    return 0;
}

static int get_class(void *user, const struct class_ctx *ctx,
                     struct ledger_class *out_class)
{
    const struct state_memory *m = user;
    const struct id16 epoch = epoch_id(ctx->epoch);
    const struct item *item =
        memory_item_find(m, ITEM_CLASS, IDS(&ctx->patient, &ctx->class_id, &epoch));

    if (!item)
        return m->base ? m->base->get_class(m->base->user, ctx, out_class) : -ENOENT;
    *out_class = item->is.class;
    return 0;
}

struct write_grant_wish {
    const struct class_ctx *ctx;
    const struct id16 *writer;
    const struct digest *card;
    bool is_found;
};

static void look_at_grant(void *user, const void *p)
{
    const struct item *item = p;
    struct write_grant_wish *w = user;
    const struct grant *g = &item->is.grant.grant;

    if (item->key.b[0] != ITEM_GRANT || item->is.grant.is_revoked)
        return;
    if (g->rights == GRANT_RW && class_ctx_equal(&g->ctx.class_ctx, w->ctx) &&
        id_equal(&g->ctx.reader, w->writer) && digest_equal(&g->ctx.reader_card, w->card))
        w->is_found = true;
}

static int find_write_grant(void *user, const struct class_ctx *ctx,
                            const struct id16 *writer, const struct digest *card)
{
    const struct state_memory *m = user;
    struct write_grant_wish w = { ctx, writer, card, false };

    idtree_each(&m->items, look_at_grant, &w);
    if (w.is_found)
        return 0;
    return m->base ? m->base->find_write_grant(m->base->user, ctx, writer, card)
                   : -ENOENT;
}

static int get_grant(void *user, const struct id16 *patient, const struct id16 *grant,
                     struct grant *out_grant, bool *out_revoked)
{
    const struct state_memory *m = user;
    const struct item *item = memory_item_find(m, ITEM_GRANT, IDS(patient, grant));

    if (!item)
        return m->base ? m->base->get_grant(m->base->user, patient, grant, out_grant,
                                            out_revoked)
                       : -ENOENT;
    *out_grant = item->is.grant.grant;
    *out_revoked = item->is.grant.is_revoked;
    return 0;
}

static int get_header(void *user, const struct id16 *patient, const struct id16 *file,
                      struct ledger_header *out_header)
{
    const struct state_memory *m = user;
    const struct item *item = memory_item_find(m, ITEM_HEADER, IDS(patient, file));

    if (!item)
        return m->base ? m->base->get_header(m->base->user, patient, file, out_header)
                       : -ENOENT;
    if (item->is_gone)
        return -ENOENT;
    *out_header = item->is.header;
    return 0;
}

static int get_content_version(void *user, const struct id16 *patient,
                               const struct id16 *file, uint64_t *out_version)
{
    const struct state_memory *m = user;
    const struct item *item = memory_item_find(m, ITEM_SEAL, IDS(patient, file));

    if (!item)
        return m->base ? m->base->get_content_version(m->base->user, patient, file,
                                                      out_version)
                       : -ENOENT;
    if (item->is_gone)
        return -ENOENT;
    *out_version = item->is.number;
    return 0;
}

static int get_last_n(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t *out_n)
{
    const struct state_memory *m = user;
    const struct id16 lane16 = lane_id(lane);
    const struct item *item =
        memory_item_find(m, ITEM_LANE, IDS(patient, writer, host, &lane16));

    if (!item)
        return m->base ? m->base->get_last_n(m->base->user, patient, writer, host, lane,
                                             out_n)
                       : -ENOENT;
    *out_n = item->is.number;
    return 0;
}

/* ---- changes ---- */

static int put_head(void *user, const struct id16 *patient, uint64_t seq,
                    const struct digest *leaf, struct view entry_bytes)
{
    struct item *item = memory_item_want(user, ITEM_HEAD, IDS(patient));

    (void)entry_bytes;
    if (!item)
        return -ENOMEM;
    item->is.head.seq = seq;
    item->is.head.leaf = *leaf;
    return 0;
}

static int put_card(void *user, const struct id16 *patient, const struct card *card,
                    struct view bytes)
{
    struct item *item = memory_item_want(user, ITEM_CARD, IDS(patient, &card->user));

    (void)bytes;
    if (!item)
        return -ENOMEM;
    item->is.card = *card;
    return 0;
}

static int put_class(void *user, const struct class_record *record, struct view bytes)
{
    const struct id16 epoch = epoch_id(record->ctx.epoch);
    struct item *item = memory_item_want(
        user, ITEM_CLASS, IDS(&record->ctx.patient, &record->ctx.class_id, &epoch));
    struct item *current = memory_item_want(
        user, ITEM_CURRENT, IDS(&record->ctx.patient, &record->ctx.class_id));

    (void)bytes;
    if (!item || !current)
        return -ENOMEM;
    item->is.class = (struct ledger_class){ .ctx = record->ctx,
                                            .a = record->a,
                                            .state = LEDGER_EPOCH_CURRENT };
    current->is.epoch = record->ctx.epoch;
    return 0;
}

static int put_epoch_state(void *user, const struct class_ctx *ctx,
                           enum ledger_epoch_state state, uint64_t time_s)
{
    const struct id16 epoch = epoch_id(ctx->epoch);
    struct ledger_class found;
    struct item *item;
    int rc = get_class(user, ctx, &found);

    if (rc < 0)
        return rc;
    item = memory_item_want(user, ITEM_CLASS, IDS(&ctx->patient, &ctx->class_id, &epoch));
    if (!item)
        return -ENOMEM;
    found.state = state;
    found.held_since_s = state == LEDGER_EPOCH_HELD ? time_s : 0;
    item->is.class = found;
    return 0;
}

static int put_grant(void *user, const struct grant *grant, struct view bytes)
{
    struct item *item = memory_item_want(
        user, ITEM_GRANT, IDS(&grant->ctx.class_ctx.patient, &grant->ctx.grant));

    (void)bytes;
    if (!item)
        return -ENOMEM;
    item->is.grant.grant = *grant;
    item->is.grant.is_revoked = false;
    return 0;
}

static int put_revoke(void *user, const struct id16 *patient, const struct revoke *revoke)
{
    struct grant g;
    struct item *item;
    bool is_revoked;
    int rc = get_grant(user, patient, &revoke->grant, &g, &is_revoked);

    if (rc < 0)
        return rc;
    item = memory_item_want(user, ITEM_GRANT, IDS(patient, &revoke->grant));
    if (!item)
        return -ENOMEM;
    item->is.grant.grant = g;
    item->is.grant.is_revoked = true;
    return 0;
}

static int put_header(void *user, const struct file_ctx *ctx, const struct digest *hash,
                      struct view bytes)
{
    struct item *item =
        memory_item_want(user, ITEM_HEADER, IDS(&ctx->class_ctx.patient, &ctx->file));

    (void)bytes;
    if (!item)
        return -ENOMEM;
    item->is.header = (struct ledger_header){ .ctx = *ctx, .hash = *hash };
    return 0;
}

static int put_seal(void *user, const struct class_ctx *ctx,
                    const struct seal_change *seal)
{
    struct item *item =
        memory_item_want(user, ITEM_SEAL, IDS(&ctx->patient, &seal->file));

    if (!item)
        return -ENOMEM;
    item->is.number = seal->content_version;
    return 0;
}

static int put_last_n(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t n)
{
    const struct id16 lane16 = lane_id(lane);
    struct item *item =
        memory_item_want(user, ITEM_LANE, IDS(patient, writer, host, &lane16));

    if (!item)
        return -ENOMEM;
    item->is.number = n;
    return 0;
}

struct row_walk {
    const struct id16 *patient;
    int (*on_row)(void *user, const struct memory_row *row);
    void *user;
    int rc;
};

static void look_at_row(void *user, const void *p)
{
    const struct item *item = p;
    struct row_walk *w = user;
    struct memory_row row;

    if (item->key.b[0] != ITEM_ROW || item->is_gone || w->rc != 0 ||
        memcmp(item->key.b + 1, w->patient->b, 16) != 0)
        return;
    row = (struct memory_row){ .id = item->is.row.id,
                               .row = item->is.row.row,
                               .bytes =
                                   view_of(item->is.row.bytes, item->is.row.byte_count) };
    w->rc = w->on_row(w->user, &row);
}

int state_memory_each_row(const struct state_memory *m, const struct id16 *patient,
                          int (*on_row)(void *user, const struct memory_row *row),
                          void *user)
{
    struct row_walk w = { patient, on_row, user, 0 };

    idtree_each(&m->items, look_at_row, &w);
    return w.rc;
}

/* ---- the object's life ---- */

static const struct ledger_state memory_verbs = {
    .get_head = get_head,
    .get_card = get_card,
    .get_epoch_current = get_epoch_current,
    .get_class = get_class,
    .find_write_grant = find_write_grant,
    .get_grant = get_grant,
    .get_row = memory_rows_get,
    .find_name = memory_rows_find_name,
    .get_header = get_header,
    .get_content_version = get_content_version,
    .get_last_n = get_last_n,
    .count_children = memory_rows_count_children,
    .put_head = put_head,
    .put_card = put_card,
    .put_class = put_class,
    .put_epoch_state = put_epoch_state,
    .put_grant = put_grant,
    .put_revoke = put_revoke,
    .put_header = put_header,
    .put_dentry = memory_rows_put_dentry,
    .put_inode = memory_rows_put_inode,
    .put_remove = memory_rows_put_remove,
    .put_seal = put_seal,
    .put_epoch_rows = memory_rows_put_epoch,
    .put_last_n = put_last_n,
};

int state_memory_new_over(const struct ledger_state *base,
                          struct state_memory **out_memory)
{
    struct state_memory *m = calloc(1, sizeof *m);

    if (!m)
        return -ENOMEM;
    m->base = base;
    m->state = memory_verbs;
    m->state.user = m;
    if (base && !base->count_children)
        m->state.count_children = NULL;
    *out_memory = m;
    return 0;
}

int state_memory_new(struct state_memory **out_memory)
{
    return state_memory_new_over(NULL, out_memory);
}

void state_memory_free(struct state_memory *m)
{
    if (!m)
        return;
    idtree_fini(&m->items, memory_item_free);
    free(m);
}

const struct ledger_state *state_memory_get_state(const struct state_memory *m)
{
    return &m->state;
}

void state_memory_set_loader(struct state_memory *m,
                             int (*load)(void *user, const struct id16 *patient,
                                         const struct digest *object_id, uint8_t **out_p,
                                         size_t *out_n),
                             void *user)
{
    m->load = load;
    m->load_user = user;
}
