/*
 * REPLICA-1: a table only grows; what is removed is marked dead, so that places stay valid.
 * REPLICA-2: after any failure the whole replica is thrown away, so nothing is rolled back.
 */
#include "client/replica_state.h"

#include <string.h>

#include "base/checked.h"
#include "client/replica_ask.h"
#include "crypto/digest.h"
#include "format/row.h"
#include "format/snapshot.h"

enum { TABLE_ROOM_FIRST = 16 };

/* Room for one more; the room is the power of two at or above the count. Keeps the table on failure. */
static void *grown(void *table, size_t count, size_t item_bytes, int *io_rc)
{
    size_t room = TABLE_ROOM_FIRST;
    size_t bytes;
    void *bigger;

    if (*io_rc < 0)
        return table;
    if (count != 0 && (count < TABLE_ROOM_FIRST || (count & (count - 1)) != 0))
        return table;
    if (count >= TABLE_ROOM_FIRST)
        room = count * 2;
    bigger = count < IDMAP_NONE / 2 && checked_mul(room, item_bytes, &bytes)
                 ? realloc(table, bytes)
                 : NULL;
    if (!bigger)
        *io_rc = -ENOMEM;
    return bigger ? bigger : table;
}

#define GROW(table, count, io_rc) \
    ((table) = grown((table), (count), sizeof *(table), (io_rc)))

static int dup_view(struct view from, struct view *out)
{
    uint8_t *copy = malloc(from.n ? from.n : 1);

    if (!copy)
        return -ENOMEM;
    memcpy(copy, from.p, from.n);
    *out = view_of(copy, from.n);
    return 0;
}

static void free_view(struct view *v)
{
    free((void *)(uintptr_t)v->p); /* ours: dup_view made it */
    *v = (struct view){ 0 };
}

void replica_state_fini(struct replica *r)
{
    for (size_t i = 0; i < r->class_count; i++)
        free_view(&r->classes[i].record);
    for (size_t i = 0; i < r->row_count; i++)
        free_view(&r->rows[i].bytes);
    for (size_t i = 0; i < r->header_count; i++)
        free_view(&r->headers[i].bytes);
    free(r->classes);
    free(r->grants);
    free(r->cards);
    free(r->lanes);
    free(r->rows);
    free(r->headers);
    free(r->versions);
    idmap_fini(&r->grant_map);
    idmap_fini(&r->row_map);
    idmap_fini(&r->name_map);
    idmap_fini(&r->header_map);
    idmap_fini(&r->version_map);
}

static bool is_ours(const struct replica *r, const struct id16 *patient)
{
    return id_equal(&r->patient, patient);
}

struct id16 replica_state_name_key(const struct id16 *parent, const struct id16 *tag)
{
    uint8_t both[32];
    struct digest d;
    struct id16 key;

    memcpy(both, parent->b, 16);
    memcpy(both + 16, tag->b, 16);
    d = digest_sha256(view_of(both, sizeof both));
    memcpy(key.b, d.b, sizeof key.b);
    return key;
}

struct replica_lane *replica_state_find_lane(const struct replica *r,
                                             const struct id16 *writer,
                                             const struct id16 *host, enum op_lane lane)
{
    for (size_t i = 0; i < r->lane_count; i++) {
        struct replica_lane *l = &r->lanes[i];

        if (l->lane == lane && id_equal(&l->writer, writer) && id_equal(&l->host, host))
            return l;
    }
    return NULL;
}

uint64_t replica_get_last_n(const struct replica *r, const struct id16 *writer,
                            const struct id16 *host)
{
    const struct replica_lane *l = replica_state_find_lane(r, writer, host, OP_LANE_TOOL);

    return l ? l->n : 0;
}

/* ---- changes ---- */

static int put_head(void *user, const struct id16 *patient, uint64_t seq,
                    const struct digest *leaf, struct view entry_bytes)
{
    struct replica *r = user;

    (void)entry_bytes;
    if (!is_ours(r, patient))
        return PHR_E_FORK;
    if (r->has_pin && r->pin.seq == seq && !digest_equal(&r->pin.leaf, leaf))
        return PHR_E_FORK;
    r->seq = seq;
    r->leaf = *leaf;
    r->has_head = true;
    return 0;
}

static int put_card(void *user, const struct id16 *patient, const struct card *card,
                    struct view bytes)
{
    struct replica *r = user;
    int rc = 0;

    (void)patient;
    (void)bytes;
    for (size_t i = 0; i < r->card_count; i++) {
        if (id_equal(&r->cards[i].user, &card->user)) {
            r->cards[i] = *card;
            return 0;
        }
    }
    GROW(r->cards, r->card_count, &rc);
    if (rc == 0)
        r->cards[r->card_count++] = *card;
    return rc;
}

static int put_class(void *user, const struct class_record *record, struct view bytes)
{
    struct replica *r = user;
    struct view copy;
    int rc = 0;

    GROW(r->classes, r->class_count, &rc);
    if (rc == 0)
        rc = dup_view(bytes, &copy);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < r->class_count; i++) {
        struct replica_class *c = &r->classes[i];

        if (id_equal(&c->ctx.class_id, &record->ctx.class_id) &&
            c->state != LEDGER_EPOCH_RETIRED)
            c->state = LEDGER_EPOCH_OLD;
    }
    r->classes[r->class_count++] = (struct replica_class){
        .ctx = record->ctx, .a = record->a, .state = LEDGER_EPOCH_CURRENT, .record = copy
    };
    return 0;
}

static int put_epoch_state(void *user, const struct class_ctx *ctx,
                           enum ledger_epoch_state state, uint64_t time_s)
{
    struct replica *r = user;

    (void)time_s;
    for (size_t i = 0; i < r->class_count; i++) {
        if (class_ctx_equal(&r->classes[i].ctx, ctx)) {
            r->classes[i].state = state;
            return 0;
        }
    }
    return -ENOENT;
}

static int put_grant(void *user, const struct grant *grant, struct view bytes)
{
    struct replica *r = user;
    int rc = 0;

    (void)bytes;
    GROW(r->grants, r->grant_count, &rc);
    if (rc == 0)
        rc = idmap_put(&r->grant_map, &grant->ctx.grant, (uint32_t)r->grant_count);
    if (rc == 0)
        r->grants[r->grant_count++] = (struct replica_grant){ .grant = *grant };
    return rc;
}

static int put_revoke(void *user, const struct id16 *patient, const struct revoke *revoke)
{
    struct replica *r = user;
    uint32_t place = idmap_get(&r->grant_map, &revoke->grant);

    (void)patient;
    if (place == IDMAP_NONE)
        return -ENOENT;
    r->grants[place].is_revoked = true;
    r->grants[place].reason = revoke->reason;
    return 0;
}

static int put_header(void *user, const struct file_ctx *ctx, const struct digest *hash,
                      struct view bytes)
{
    struct replica *r = user;
    uint32_t place = idmap_get(&r->header_map, &ctx->file);
    struct view copy;
    int rc = dup_view(bytes, &copy);

    (void)hash;
    if (rc < 0)
        return rc;
    if (place != IDMAP_NONE) {
        free_view(&r->headers[place].bytes);
        r->headers[place] = (struct replica_header){ .ctx = *ctx, .bytes = copy };
        return 0;
    }
    GROW(r->headers, r->header_count, &rc);
    if (rc == 0)
        rc = idmap_put(&r->header_map, &ctx->file, (uint32_t)r->header_count);
    if (rc < 0) {
        free_view(&copy);
        return rc;
    }
    r->headers[r->header_count++] = (struct replica_header){ .ctx = *ctx, .bytes = copy };
    return 0;
}

static int put_row(struct replica *r, const struct replica_row *row)
{
    uint32_t place = idmap_get(&r->row_map, &row->id);
    struct id16 key = replica_state_name_key(&row->row.parent, &row->row.tag);
    struct view copy;
    int rc = dup_view(row->bytes, &copy);

    if (rc == 0 && place == IDMAP_NONE) {
        GROW(r->rows, r->row_count, &rc);
        place = (uint32_t)r->row_count;
        if (rc == 0)
            rc = idmap_put(&r->row_map, &row->id, place);
        if (rc == 0)
            r->rows[r->row_count++] = (struct replica_row){ .is_dead = true };
    }
    if (rc == 0 && row->row.kind == LEDGER_ROW_DENTRY)
        rc = idmap_put(&r->name_map, &key, place);
    if (rc < 0)
        return rc; /* REPLICA-2 */
    free_view(&r->rows[place].bytes);
    r->rows[place] = *row;
    r->rows[place].bytes = copy;
    return 0;
}

static int put_dentry(void *user, const struct class_ctx *ctx, struct view row_bytes)
{
    struct dentry_row d;
    struct replica_row row;
    int rc = dentry_row_decode(row_bytes, &d);

    if (rc < 0)
        return rc;
    row = (struct replica_row){ .row = { .kind = LEDGER_ROW_DENTRY,
                                         .class_id = ctx->class_id,
                                         .epoch = ctx->epoch,
                                         .version = d.version,
                                         .parent = d.parent,
                                         .tag = d.tag },
                                .id = d.row,
                                .bytes = row_bytes };
    return put_row(user, &row);
}

static int put_inode(void *user, const struct class_ctx *ctx, struct view row_bytes)
{
    struct inode_row i;
    struct replica_row row;
    int rc = inode_row_decode(row_bytes, &i);

    if (rc < 0)
        return rc;
    row = (struct replica_row){ .row = { .kind = LEDGER_ROW_INODE,
                                         .class_id = ctx->class_id,
                                         .epoch = ctx->epoch,
                                         .version = i.version },
                                .id = i.ino,
                                .bytes = row_bytes };
    return put_row(user, &row);
}

/* An inode goes with its header and its versions. */
static int put_remove(void *user, const struct class_ctx *ctx, const struct id16 *row)
{
    struct replica *r = user;
    uint32_t place = idmap_get(&r->row_map, row);
    uint32_t header = idmap_get(&r->header_map, row);
    uint32_t version = idmap_get(&r->version_map, row);

    (void)ctx;
    if (place == IDMAP_NONE)
        return -ENOENT;
    r->rows[place].is_dead = true;
    if (r->rows[place].row.kind != LEDGER_ROW_INODE)
        return 0;
    if (header != IDMAP_NONE)
        free_view(&r->headers[header].bytes); /* no bytes: no header */
    if (version != IDMAP_NONE)
        r->versions[version] = 0; /* never sealed */
    return 0;
}

static int put_seal(void *user, const struct class_ctx *ctx,
                    const struct seal_change *seal)
{
    struct replica *r = user;
    uint32_t place = idmap_get(&r->version_map, &seal->file);
    int rc = 0;

    (void)ctx;
    if (place != IDMAP_NONE) {
        r->versions[place] = seal->content_version;
        return 0;
    }
    GROW(r->versions, r->version_count, &rc);
    if (rc == 0)
        rc = idmap_put(&r->version_map, &seal->file, (uint32_t)r->version_count);
    if (rc == 0)
        r->versions[r->version_count++] = seal->content_version;
    return rc;
}

struct epoch_rows {
    struct replica *replica;
    const struct class_ctx *ctx;
};

static int on_epoch_row(void *user, enum snapshot_kind kind, struct view row)
{
    const struct epoch_rows *e = user;

    if (kind == SNAPSHOT_DENTRY)
        return put_dentry(e->replica, e->ctx, row);
    return kind == SNAPSHOT_INODE ? put_inode(e->replica, e->ctx, row) : 0;
}

static int put_epoch_rows(void *user, const struct class_ctx *ctx,
                          const struct digest *object_id)
{
    struct replica *r = user;
    struct epoch_rows e = { .replica = r, .ctx = ctx };
    scoped(free) uint8_t *bytes = NULL;
    struct snapshot_head head;
    size_t n = 0;
    int rc = replica_load_object(r->client, &r->patient, object_id, &bytes, &n);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < r->row_count; i++) {
        if (id_equal(&r->rows[i].row.class_id, &ctx->class_id))
            r->rows[i].is_dead = true;
    }
    rc = snapshot_decode(view_of(bytes, n), &head, on_epoch_row, &e);
    if (rc == 0 && !class_ctx_equal(&head.ctx, ctx))
        rc = PHR_E_FORMAT;
    return rc;
}

static int put_last_n(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t n)
{
    struct replica *r = user;
    struct replica_lane *l = replica_state_find_lane(r, writer, host, lane);
    int rc = 0;

    (void)patient;
    if (!l)
        GROW(r->lanes, r->lane_count, &rc);
    if (rc < 0)
        return rc;
    if (!l) {
        l = &r->lanes[r->lane_count++];
        *l = (struct replica_lane){ .writer = *writer, .host = *host, .lane = lane };
    }
    l->n = n;
    return 0;
}

struct ledger_state replica_state(struct replica *r)
{
    struct ledger_state s = {
        .user = r,
        .put_head = put_head,
        .put_card = put_card,
        .put_class = put_class,
        .put_epoch_state = put_epoch_state,
        .put_grant = put_grant,
        .put_revoke = put_revoke,
        .put_header = put_header,
        .put_dentry = put_dentry,
        .put_inode = put_inode,
        .put_remove = put_remove,
        .put_seal = put_seal,
        .put_epoch_rows = put_epoch_rows,
        .put_last_n = put_last_n,
    };

    replica_ask_fill(&s);
    return s;
}
