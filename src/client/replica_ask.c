#include "client/replica_ask.h"

#include "client/replica_state.h"
#include "crypto/digest.h"

static bool is_ours(const struct replica *r, const struct id16 *patient)
{
    return id_equal(&r->patient, patient);
}

static int get_head(void *user, const struct id16 *patient, uint64_t *out_seq,
                    struct digest *out_leaf)
{
    struct replica *r = user;

    if (!is_ours(r, patient) || !r->has_head)
        return -ENOENT;
    *out_seq = r->seq;
    *out_leaf = r->leaf;
    return 0;
}

static int get_card(void *user, const struct id16 *patient, const struct id16 *writer,
                    struct card *out_card)
{
    struct replica *r = user;

    return is_ours(r, patient) ? replica_find_card(r, writer, out_card) : -ENOENT;
}

static int get_epoch_current(void *user, const struct id16 *patient,
                             const struct id16 *class_id, uint32_t *out_epoch)
{
    struct replica *r = user;
    const struct replica_class *c =
        is_ours(r, patient) ? replica_find_class(r, class_id) : NULL;

    if (!c)
        return -ENOENT;
    *out_epoch = c->ctx.epoch;
    return 0;
}

static int get_class(void *user, const struct class_ctx *ctx,
                     struct ledger_class *out_class)
{
    const struct replica_class *c = replica_find_epoch(user, ctx);

    if (!c)
        return -ENOENT;
    *out_class = (struct ledger_class){ .ctx = c->ctx, .a = c->a, .state = c->state };
    return 0;
}

static int find_write_grant(void *user, const struct class_ctx *ctx,
                            const struct id16 *writer, const struct digest *card)
{
    const struct replica *r = user;

    for (size_t i = 0; i < r->grant_count; i++) {
        const struct grant *g = &r->grants[i].grant;

        if (!r->grants[i].is_revoked && g->rights == GRANT_RW &&
            class_ctx_equal(&g->ctx.class_ctx, ctx) && id_equal(&g->ctx.reader, writer) &&
            digest_equal(&g->ctx.reader_card, card))
            return 0;
    }
    return -ENOENT;
}

static int get_grant(void *user, const struct id16 *patient, const struct id16 *grant,
                     struct grant *out_grant, bool *out_revoked)
{
    struct replica *r = user;
    uint32_t place =
        is_ours(r, patient) ? idmap_get(&r->grant_map, grant) : (uint32_t)IDMAP_NONE;

    if (place == IDMAP_NONE)
        return -ENOENT;
    *out_grant = r->grants[place].grant;
    *out_revoked = r->grants[place].is_revoked;
    return 0;
}

static int get_row(void *user, const struct id16 *patient, const struct id16 *row,
                   struct ledger_row *out_row)
{
    struct replica *r = user;
    const struct replica_row *found =
        is_ours(r, patient) ? replica_find_row(r, row) : NULL;

    if (!found)
        return -ENOENT;
    *out_row = found->row;
    return 0;
}

static int find_name(void *user, const struct id16 *patient, const struct id16 *parent,
                     const struct id16 *tag, struct id16 *out_row)
{
    struct replica *r = user;
    const struct id16 key = replica_state_name_key(parent, tag);
    uint32_t place =
        is_ours(r, patient) ? idmap_get(&r->name_map, &key) : (uint32_t)IDMAP_NONE;
    const struct replica_row *row = place == IDMAP_NONE ? NULL : &r->rows[place];

    /* The place may hold a row that has died or moved since. */
    if (!row || row->is_dead || !id_equal(&row->row.parent, parent) ||
        !id_equal(&row->row.tag, tag))
        return -ENOENT;
    *out_row = row->id;
    return 0;
}

static int get_header(void *user, const struct id16 *patient, const struct id16 *file,
                      struct ledger_header *out_header)
{
    struct replica *r = user;
    const struct replica_header *h =
        is_ours(r, patient) ? replica_find_header(r, file) : NULL;

    if (!h)
        return -ENOENT;
    *out_header =
        (struct ledger_header){ .ctx = h->ctx, .hash = header_digest(h->bytes) };
    return 0;
}

static int get_content_version(void *user, const struct id16 *patient,
                               const struct id16 *file, uint64_t *out_version)
{
    struct replica *r = user;
    uint32_t place =
        is_ours(r, patient) ? idmap_get(&r->version_map, file) : (uint32_t)IDMAP_NONE;

    if (place == IDMAP_NONE || r->versions[place] == 0)
        return -ENOENT;
    *out_version = r->versions[place];
    return 0;
}

static int get_last_n(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t *out_n)
{
    struct replica *r = user;
    const struct replica_lane *l =
        is_ours(r, patient) ? replica_state_find_lane(r, writer, host, lane) : NULL;

    if (!l)
        return -ENOENT;
    *out_n = l->n;
    return 0;
}

void replica_ask_fill(struct ledger_state *io_state)
{
    io_state->get_head = get_head;
    io_state->get_card = get_card;
    io_state->get_epoch_current = get_epoch_current;
    io_state->get_class = get_class;
    io_state->find_write_grant = find_write_grant;
    io_state->get_grant = get_grant;
    io_state->get_row = get_row;
    io_state->find_name = find_name;
    io_state->get_header = get_header;
    io_state->get_content_version = get_content_version;
    io_state->get_last_n = get_last_n;
}
