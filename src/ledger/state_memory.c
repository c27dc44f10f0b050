/*
 * One tree of items, ordered by kind and ids. An item that is gone stays as a mark, which is what
 * hides the base's item of the same key.
 */
#include "ledger/state_memory.h"

#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "format/row.h"
#include "format/snapshot.h"
#include "ledger/idtree.h"

enum item_kind {
    ITEM_HEAD = 1,
    ITEM_CARD,
    ITEM_CLASS,
    ITEM_CURRENT,
    ITEM_GRANT,
    ITEM_ROW,
    ITEM_NAME,
    ITEM_HEADER,
    ITEM_SEAL,
    ITEM_LANE,
    ITEM_CHILDREN
};

struct item {
    struct idtree_key key; /* first */
    bool is_gone;
    union {
        struct {
            uint64_t seq;
            struct digest leaf;
        } head;
        struct card card;
        struct ledger_class class;
        uint32_t epoch;
        struct {
            struct grant grant;
            bool is_revoked;
        } grant;
        struct {
            struct id16 id;
            struct ledger_row row;
            uint8_t *bytes;
            size_t byte_count;
        } row;
        struct id16 name; /* the row that has it */
        struct ledger_header header;
        uint64_t number; /* content version, last n */
        int64_t children; /* over a base: what is added to its count */
    } is;
};

struct state_memory {
    struct idtree items;
    const struct ledger_state *base;
    struct ledger_state state;
    int (*load)(void *user, const struct id16 *patient, const struct digest *object_id,
                uint8_t **out_p, size_t *out_n);
    void *load_user;
};

#define IDS(...) ((const struct id16 *const[IDTREE_IDS]){ __VA_ARGS__ })

/* NULL: nothing is known on top; a gone item says that there is none. */
static struct item *find(const struct state_memory *m, enum item_kind kind,
                         const struct id16 *const ids[IDTREE_IDS])
{
    const struct idtree_key key = idtree_key((uint8_t)kind, ids);

    return idtree_find(&m->items, &key);
}

/* The item, made when it is not there; NULL without memory. */
static struct item *want(struct state_memory *m, enum item_kind kind,
                         const struct id16 *const ids[IDTREE_IDS])
{
    struct item *item = find(m, kind, ids);

    if (item) {
        item->is_gone = false;
        return item;
    }
    item = calloc(1, sizeof *item);
    if (!item)
        return NULL;
    item->key = idtree_key((uint8_t)kind, ids);
    if (idtree_add(&m->items, item) < 0) {
        free(item);
        return NULL;
    }
    return item;
}

static void item_free(void *p)
{
    struct item *item = p;

    if (item->key.b[0] == ITEM_ROW)
        free(item->is.row.bytes);
    free(item);
}

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

static int get_head(void *user, const struct id16 *patient, uint64_t *out_seq, struct digest *out_leaf)
{
    const struct state_memory *m = user;
    const struct item *item = find(m, ITEM_HEAD, IDS(patient));

    if (!item)
        return m->base ? m->base->get_head(m->base->user, patient, out_seq, out_leaf) : -ENOENT;
    *out_seq = item->is.head.seq;
    *out_leaf = item->is.head.leaf;
    return 0;
}

static int get_card(void *user, const struct id16 *patient, const struct id16 *writer, struct card *out_card)
{
    const struct state_memory *m = user;
    const struct item *item = find(m, ITEM_CARD, IDS(patient, writer));

    if (!item)
        return m->base ? m->base->get_card(m->base->user, patient, writer, out_card) : -ENOENT;
    *out_card = item->is.card;
    return 0;
}

static int get_epoch_current(void *user, const struct id16 *patient, const struct id16 *class_id,
                             uint32_t *out_epoch)
{
    const struct state_memory *m = user;
    const struct item *item = find(m, ITEM_CURRENT, IDS(patient, class_id));

    if (!item)
        return m->base ? m->base->get_epoch_current(m->base->user, patient, class_id, out_epoch)
                       : -ENOENT;
    *out_epoch = item->is.epoch;
    return 0;
}

static int get_class(void *user, const struct class_ctx *ctx, struct ledger_class *out_class)
{
    const struct state_memory *m = user;
    const struct id16 epoch = epoch_id(ctx->epoch);
    const struct item *item = find(m, ITEM_CLASS, IDS(&ctx->patient, &ctx->class_id, &epoch));

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

static int find_write_grant(void *user, const struct class_ctx *ctx, const struct id16 *writer,
                            const struct digest *card)
{
    const struct state_memory *m = user;
    struct write_grant_wish w = { ctx, writer, card, false };

    idtree_each(&m->items, look_at_grant, &w);
    if (w.is_found)
        return 0;
    return m->base ? m->base->find_write_grant(m->base->user, ctx, writer, card) : -ENOENT;
}

static int get_grant(void *user, const struct id16 *patient, const struct id16 *grant,
                     struct grant *out_grant, bool *out_revoked)
{
    const struct state_memory *m = user;
    const struct item *item = find(m, ITEM_GRANT, IDS(patient, grant));

    if (!item)
        return m->base ? m->base->get_grant(m->base->user, patient, grant, out_grant, out_revoked)
                       : -ENOENT;
    *out_grant = item->is.grant.grant;
    *out_revoked = item->is.grant.is_revoked;
    return 0;
}

static int get_row(void *user, const struct id16 *patient, const struct id16 *row,
                   struct ledger_row *out_row)
{
    const struct state_memory *m = user;
    const struct item *item = find(m, ITEM_ROW, IDS(patient, row));

    if (!item)
        return m->base ? m->base->get_row(m->base->user, patient, row, out_row) : -ENOENT;
    if (item->is_gone)
        return -ENOENT;
    *out_row = item->is.row.row;
    return 0;
}

static int find_name(void *user, const struct id16 *patient, const struct id16 *parent,
                     const struct id16 *tag, struct id16 *out_row)
{
    const struct state_memory *m = user;
    const struct item *item = find(m, ITEM_NAME, IDS(patient, parent, tag));

    if (!item)
        return m->base ? m->base->find_name(m->base->user, patient, parent, tag, out_row) : -ENOENT;
    if (item->is_gone)
        return -ENOENT;
    *out_row = item->is.name;
    return 0;
}

static int get_header(void *user, const struct id16 *patient, const struct id16 *file,
                      struct ledger_header *out_header)
{
    const struct state_memory *m = user;
    const struct item *item = find(m, ITEM_HEADER, IDS(patient, file));

    if (!item)
        return m->base ? m->base->get_header(m->base->user, patient, file, out_header) : -ENOENT;
    if (item->is_gone)
        return -ENOENT;
    *out_header = item->is.header;
    return 0;
}

static int get_content_version(void *user, const struct id16 *patient, const struct id16 *file,
                               uint64_t *out_version)
{
    const struct state_memory *m = user;
    const struct item *item = find(m, ITEM_SEAL, IDS(patient, file));

    if (!item)
        return m->base ? m->base->get_content_version(m->base->user, patient, file, out_version)
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
    const struct item *item = find(m, ITEM_LANE, IDS(patient, writer, host, &lane16));

    if (!item)
        return m->base ? m->base->get_last_n(m->base->user, patient, writer, host, lane, out_n) : -ENOENT;
    *out_n = item->is.number;
    return 0;
}

static int count_children(void *user, const struct id16 *patient, const struct id16 *parent,
                          uint64_t *out_count)
{
    const struct state_memory *m = user;
    const struct item *item = find(m, ITEM_CHILDREN, IDS(patient, parent));
    uint64_t count = 0;
    int rc = m->base ? m->base->count_children(m->base->user, patient, parent, &count) : 0;

    if (rc == 0)
        *out_count = count + (uint64_t)(item ? item->is.children : 0);
    return rc;
}

/* ---- changes ---- */

static int put_head(void *user, const struct id16 *patient, uint64_t seq, const struct digest *leaf,
                    struct view entry_bytes)
{
    struct item *item = want(user, ITEM_HEAD, IDS(patient));

    (void)entry_bytes;
    if (!item)
        return -ENOMEM;
    item->is.head.seq = seq;
    item->is.head.leaf = *leaf;
    return 0;
}

static int put_card(void *user, const struct id16 *patient, const struct card *card, struct view bytes)
{
    struct item *item = want(user, ITEM_CARD, IDS(patient, &card->user));

    (void)bytes;
    if (!item)
        return -ENOMEM;
    item->is.card = *card;
    return 0;
}

static int put_class(void *user, const struct class_record *record, struct view bytes)
{
    const struct id16 epoch = epoch_id(record->ctx.epoch);
    struct item *item = want(user, ITEM_CLASS, IDS(&record->ctx.patient, &record->ctx.class_id, &epoch));
    struct item *current = want(user, ITEM_CURRENT, IDS(&record->ctx.patient, &record->ctx.class_id));

    (void)bytes;
    if (!item || !current)
        return -ENOMEM;
    item->is.class =
        (struct ledger_class){ .ctx = record->ctx, .a = record->a, .state = LEDGER_EPOCH_CURRENT };
    current->is.epoch = record->ctx.epoch;
    return 0;
}

static int put_epoch_state(void *user, const struct class_ctx *ctx, enum ledger_epoch_state state,
                           uint64_t time_s)
{
    const struct id16 epoch = epoch_id(ctx->epoch);
    struct ledger_class found;
    struct item *item;
    int rc = get_class(user, ctx, &found);

    if (rc < 0)
        return rc;
    item = want(user, ITEM_CLASS, IDS(&ctx->patient, &ctx->class_id, &epoch));
    if (!item)
        return -ENOMEM;
    found.state = state;
    found.held_since_s = state == LEDGER_EPOCH_HELD ? time_s : 0;
    item->is.class = found;
    return 0;
}

static int put_grant(void *user, const struct grant *grant, struct view bytes)
{
    struct item *item = want(user, ITEM_GRANT, IDS(&grant->ctx.class_ctx.patient, &grant->ctx.grant));

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
    item = want(user, ITEM_GRANT, IDS(patient, &revoke->grant));
    if (!item)
        return -ENOMEM;
    item->is.grant.grant = g;
    item->is.grant.is_revoked = true;
    return 0;
}

static int put_header(void *user, const struct file_ctx *ctx, const struct digest *hash, struct view bytes)
{
    struct item *item = want(user, ITEM_HEADER, IDS(&ctx->class_ctx.patient, &ctx->file));

    (void)bytes;
    if (!item)
        return -ENOMEM;
    item->is.header = (struct ledger_header){ .ctx = *ctx, .hash = *hash };
    return 0;
}

static int add_children(struct state_memory *m, const struct id16 *patient, const struct id16 *parent,
                        int64_t by)
{
    struct item *item = want(m, ITEM_CHILDREN, IDS(patient, parent));

    if (!item)
        return -ENOMEM;
    item->is.children += by;
    return 0;
}

/* A live row goes, or is about to be replaced: its name is free, its parent has one child less. */
static int drop_name(struct state_memory *m, const struct id16 *patient, const struct id16 *id)
{
    struct ledger_row row;
    struct id16 holder;
    struct item *item;
    int rc = get_row(m, patient, id, &row);

    if (rc < 0 || row.kind != LEDGER_ROW_DENTRY)
        return rc == -ENOENT ? 0 : rc;
    rc = find_name(m, patient, &row.parent, &row.tag, &holder);
    if (rc == 0 && id_equal(&holder, id)) {
        item = want(m, ITEM_NAME, IDS(patient, &row.parent, &row.tag));
        if (!item)
            return -ENOMEM;
        item->is_gone = true;
    }
    return add_children(m, patient, &row.parent, -1);
}

static int put_row(struct state_memory *m, const struct id16 *patient, const struct id16 *id,
                   const struct ledger_row *row, struct view bytes)
{
    struct item *item;
    uint8_t *copy = NULL;
    int rc = drop_name(m, patient, id);

    if (rc < 0)
        return rc;
    item = want(m, ITEM_ROW, IDS(patient, id));
    if (item && !m->base) { /* scratch paper needs no bytes */
        copy = malloc(bytes.n);
        if (copy)
            memcpy(copy, bytes.p, bytes.n);
    }
    if (!item || (!m->base && !copy))
        return -ENOMEM;
    free(item->is.row.bytes);
    item->is.row.id = *id;
    item->is.row.row = *row;
    item->is.row.bytes = copy;
    item->is.row.byte_count = bytes.n;
    return 0;
}

static int put_dentry(void *user, const struct class_ctx *ctx, struct view row_bytes)
{
    struct state_memory *m = user;
    struct dentry_row d;
    struct ledger_row row;
    struct item *name;
    int rc = dentry_row_decode(row_bytes, &d);

    if (rc < 0)
        return rc;
    row = (struct ledger_row){ .kind = LEDGER_ROW_DENTRY,
                               .class_id = ctx->class_id,
                               .epoch = ctx->epoch,
                               .version = d.version,
                               .parent = d.parent,
                               .tag = d.tag };
    rc = put_row(m, &ctx->patient, &d.row, &row, row_bytes);
    if (rc < 0)
        return rc;
    name = want(m, ITEM_NAME, IDS(&ctx->patient, &d.parent, &d.tag));
    if (!name)
        return -ENOMEM;
    name->is.name = d.row;
    return add_children(m, &ctx->patient, &d.parent, 1);
}

static int put_inode(void *user, const struct class_ctx *ctx, struct view row_bytes)
{
    struct inode_row i;
    struct ledger_row row;
    int rc = inode_row_decode(row_bytes, &i);

    if (rc < 0)
        return rc;
    row = (struct ledger_row){ .kind = LEDGER_ROW_INODE,
                               .class_id = ctx->class_id,
                               .epoch = ctx->epoch,
                               .version = i.version };
    return put_row(user, &ctx->patient, &i.ino, &row, row_bytes);
}

static int mark_gone(struct state_memory *m, enum item_kind kind, const struct id16 *patient,
                     const struct id16 *id)
{
    struct item *item = want(m, kind, IDS(patient, id));

    if (!item)
        return -ENOMEM;
    item->is_gone = true;
    return 0;
}

static int put_remove(void *user, const struct class_ctx *ctx, const struct id16 *row)
{
    struct state_memory *m = user;
    struct ledger_row known;
    int rc = get_row(m, &ctx->patient, row, &known);

    if (rc == 0)
        rc = drop_name(m, &ctx->patient, row);
    if (rc == 0)
        rc = mark_gone(m, ITEM_ROW, &ctx->patient, row);
    if (rc < 0 || known.kind != LEDGER_ROW_INODE)
        return rc;
    rc = mark_gone(m, ITEM_HEADER, &ctx->patient, row);
    return rc < 0 ? rc : mark_gone(m, ITEM_SEAL, &ctx->patient, row);
}

static int put_seal(void *user, const struct class_ctx *ctx, const struct seal_change *seal)
{
    struct item *item = want(user, ITEM_SEAL, IDS(&ctx->patient, &seal->file));

    if (!item)
        return -ENOMEM;
    item->is.number = seal->content_version;
    return 0;
}

static int put_last_n(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t n)
{
    const struct id16 lane16 = lane_id(lane);
    struct item *item = want(user, ITEM_LANE, IDS(patient, writer, host, &lane16));

    if (!item)
        return -ENOMEM;
    item->is.number = n;
    return 0;
}

/* ---- all rows of a class ---- */

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
                               .bytes = view_of(item->is.row.bytes, item->is.row.byte_count) };
    w->rc = w->on_row(w->user, &row);
}

int state_memory_each_row(const struct state_memory *m, const struct id16 *patient,
                          int (*on_row)(void *user, const struct memory_row *row), void *user)
{
    struct row_walk w = { patient, on_row, user, 0 };

    idtree_each(&m->items, look_at_row, &w);
    return w.rc;
}

struct row_list {
    const struct class_ctx *ctx;
    struct id16 *ids;
    size_t count;
    size_t room;
};

static int list_row(void *user, const struct memory_row *row)
{
    struct row_list *l = user;

    if (!id_equal(&row->row.class_id, &l->ctx->class_id))
        return 0;
    if (l->count == l->room) {
        const size_t room = l->room ? l->room * 2 : 64;
        struct id16 *bigger = reallocarray(l->ids, room, sizeof *bigger);

        if (!bigger)
            return -ENOMEM;
        l->ids = bigger;
        l->room = room;
    }
    l->ids[l->count++] = row->id;
    return 0;
}

/* Headers and versions of the files stay: an epoch change replaces rows only. */
static int drop_rows(struct state_memory *m, const struct class_ctx *ctx)
{
    struct row_list l = { .ctx = ctx };
    int rc = state_memory_each_row(m, &ctx->patient, list_row, &l);

    for (size_t i = 0; i < l.count && rc == 0; i++) {
        rc = drop_name(m, &ctx->patient, &l.ids[i]);
        if (rc == 0)
            rc = mark_gone(m, ITEM_ROW, &ctx->patient, &l.ids[i]);
    }
    free(l.ids);
    return rc;
}

struct epoch_rows {
    struct state_memory *m;
    const struct class_ctx *ctx;
};

static int put_epoch_row(void *user, enum snapshot_kind kind, struct view row)
{
    const struct epoch_rows *e = user;

    if (kind == SNAPSHOT_DENTRY)
        return put_dentry(e->m, e->ctx, row);
    return kind == SNAPSHOT_INODE ? put_inode(e->m, e->ctx, row) : PHR_E_FORMAT;
}

static int put_epoch_rows(void *user, const struct class_ctx *ctx, const struct digest *object_id)
{
    struct epoch_rows e = { user, ctx };
    scoped(free) uint8_t *bytes = NULL;
    struct snapshot_head head;
    struct digest hash;
    size_t n = 0;
    int rc;

    if (e.m->base)
        return 0;
    if (!e.m->load)
        return PHR_E_PENDING;
    rc = e.m->load(e.m->load_user, &ctx->patient, object_id, &bytes, &n);
    if (rc < 0)
        return rc;
    hash = digest_sha256(view_of(bytes, n));
    rc = digest_equal(&hash, object_id) ? drop_rows(e.m, ctx) : PHR_E_SEAL;
    if (rc == 0)
        rc = snapshot_decode(view_of(bytes, n), &head, put_epoch_row, &e);
    if (rc < 0)
        return rc;
    return class_ctx_equal(&head.ctx, ctx) ? 0 : PHR_E_FORMAT;
}

/* ---- the object's life ---- */

static const struct ledger_state memory_verbs = {
    .get_head = get_head,
    .get_card = get_card,
    .get_epoch_current = get_epoch_current,
    .get_class = get_class,
    .find_write_grant = find_write_grant,
    .get_grant = get_grant,
    .get_row = get_row,
    .find_name = find_name,
    .get_header = get_header,
    .get_content_version = get_content_version,
    .get_last_n = get_last_n,
    .count_children = count_children,
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

int state_memory_new_over(const struct ledger_state *base, struct state_memory **out_memory)
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
    idtree_fini(&m->items, item_free);
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
