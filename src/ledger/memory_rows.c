#include "ledger/memory_rows.h"

#include <string.h>

#include "crypto/digest.h"
#include "format/row.h"
#include "format/snapshot.h"
#include "ledger/memory_item.h"

int memory_rows_get(void *user, const struct id16 *patient, const struct id16 *row,
                    struct ledger_row *out_row)
{
    const struct state_memory *m = user;
    const struct item *item = memory_item_find(m, ITEM_ROW, IDS(patient, row));

    if (!item)
        return m->base ? m->base->get_row(m->base->user, patient, row, out_row) : -ENOENT;
    if (item->is_gone)
        return -ENOENT;
    *out_row = item->is.row.row;
    return 0;
}

int memory_rows_find_name(void *user, const struct id16 *patient,
                          const struct id16 *parent, const struct id16 *tag,
                          struct id16 *out_row)
{
    const struct state_memory *m = user;
    const struct item *item = memory_item_find(m, ITEM_NAME, IDS(patient, parent, tag));

    if (!item)
        return m->base ? m->base->find_name(m->base->user, patient, parent, tag, out_row)
                       : -ENOENT;
    if (item->is_gone)
        return -ENOENT;
    *out_row = item->is.name;
    return 0;
}

int memory_rows_count_children(void *user, const struct id16 *patient,
                               const struct id16 *parent, uint64_t *out_count)
{
    const struct state_memory *m = user;
    const struct item *item = memory_item_find(m, ITEM_CHILDREN, IDS(patient, parent));
    uint64_t count = 0;
    int rc =
        m->base ? m->base->count_children(m->base->user, patient, parent, &count) : 0;

    if (rc == 0)
        *out_count = count + (uint64_t)(item ? item->is.children : 0);
    return rc;
}

static int add_children(struct state_memory *m, const struct id16 *patient,
                        const struct id16 *parent, int64_t by)
{
    struct item *item = memory_item_want(m, ITEM_CHILDREN, IDS(patient, parent));

    if (!item)
        return -ENOMEM;
    item->is.children += by;
    return 0;
}

/* A live row goes, or is about to be replaced: its name is free, its parent has one child less. */
static int drop_name(struct state_memory *m, const struct id16 *patient,
                     const struct id16 *id)
{
    struct ledger_row row;
    struct id16 holder;
    struct item *item;
    int rc = memory_rows_get(m, patient, id, &row);

    if (rc < 0 || row.kind != LEDGER_ROW_DENTRY)
        return rc == -ENOENT ? 0 : rc;
    rc = memory_rows_find_name(m, patient, &row.parent, &row.tag, &holder);
    if (rc == 0 && id_equal(&holder, id)) {
        item = memory_item_want(m, ITEM_NAME, IDS(patient, &row.parent, &row.tag));
        if (!item)
            return -ENOMEM;
        item->is_gone = true;
    }
    return add_children(m, patient, &row.parent, -1);
}

static int put_row(struct state_memory *m, const struct id16 *patient,
                   const struct id16 *id, const struct ledger_row *row, struct view bytes)
{
    struct item *item;
    uint8_t *copy = NULL;
    int rc = drop_name(m, patient, id);

    if (rc < 0)
        return rc;
    item = memory_item_want(m, ITEM_ROW, IDS(patient, id));
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

int memory_rows_put_dentry(void *user, const struct class_ctx *ctx, struct view row_bytes)
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
    name = memory_item_want(m, ITEM_NAME, IDS(&ctx->patient, &d.parent, &d.tag));
    if (!name)
        return -ENOMEM;
    name->is.name = d.row;
    return add_children(m, &ctx->patient, &d.parent, 1);
}

int memory_rows_put_inode(void *user, const struct class_ctx *ctx, struct view row_bytes)
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

static int mark_gone(struct state_memory *m, enum item_kind kind,
                     const struct id16 *patient, const struct id16 *id)
{
    struct item *item = memory_item_want(m, kind, IDS(patient, id));

    if (!item)
        return -ENOMEM;
    item->is_gone = true;
    return 0;
}

int memory_rows_put_remove(void *user, const struct class_ctx *ctx,
                           const struct id16 *row)
{
    struct state_memory *m = user;
    struct ledger_row known;
    int rc = memory_rows_get(m, &ctx->patient, row, &known);

    if (rc == 0)
        rc = drop_name(m, &ctx->patient, row);
    if (rc == 0)
        rc = mark_gone(m, ITEM_ROW, &ctx->patient, row);
    if (rc < 0 || known.kind != LEDGER_ROW_INODE)
        return rc;
    rc = mark_gone(m, ITEM_HEADER, &ctx->patient, row);
    return rc < 0 ? rc : mark_gone(m, ITEM_SEAL, &ctx->patient, row);
}

/* ---- all rows of a class ---- */

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
        return memory_rows_put_dentry(e->m, e->ctx, row);
    return kind == SNAPSHOT_INODE ? memory_rows_put_inode(e->m, e->ctx, row)
                                  : PHR_E_FORMAT;
}

int memory_rows_put_epoch(void *user, const struct class_ctx *ctx,
                          const struct digest *object_id)
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
