/*
 * From prepared objects to the row, the signed op and the list of objects to offer: one
 * transaction for up to OP_CHANGES_MAX files of one class and writer.
 *
 * COMMIT-1  The new table replaces only what is still what the snapshot saw: a segment that was
 *           cut away or replaced meanwhile stays as it is. Levels of the snapshot go; those
 *           above stay and win.
 * COMMIT-2  Memory changes first and is put back when the transaction fails.
 */
#include <string.h>

#include "base/checked.h"
#include "vault/nsdb_names.h"
#include "vault/sealer_state.h"

/* What a failed transaction puts back. */
struct undo {
    struct layout cur;
    struct level levels[LEVELS_MAX];
    size_t level_count;
    size_t frozen;
    enum content_state state;
    uint64_t version;
    bool was_durable;
    bool is_done; /* something to put back */
};

static int install(struct prepared *p, struct undo *u);
static void put_back(struct prepared *p, struct undo *u);
static int put_rows(struct sealer *s, struct prepared **files, size_t count,
                    uint64_t *out_op);
static void settle(struct sealer *s, struct prepared *p, struct undo *u, uint64_t op);

int sealer_commit(struct sealer *s, struct prepared **files, size_t count)
{
    scoped(free) struct undo *undo = calloc(count, sizeof *undo);
    uint64_t op = 0;
    int rc = undo ? 0 : -ENOMEM;

    INVARIANT(count <= OP_CHANGES_MAX);
    for (size_t i = 0; i < count; i++)
        pthread_rwlock_wrlock(
            &files[i]->ct->lock); /* the only thread that holds several */
    for (size_t i = 0; rc == 0 && i < count; i++) {
        files[i]->rc = install(files[i], &undo[i]);
        if (files[i]->rc < 0 && files[i]->rc != -ESTALE)
            rc = files[i]->rc;
    }
    if (rc == 0)
        rc = put_rows(s, files, count, &op);
    for (size_t i = 0; i < count; i++) {
        if (undo && rc < 0)
            put_back(files[i], &undo[i]);
        else if (undo && files[i]->rc == 0)
            settle(s, files[i], &undo[i], op);
        if (rc < 0)
            files[i]->rc = rc;
        pthread_rwlock_unlock(&files[i]->ct->lock);
    }
    return rc;
}

static int install_seg(struct prepared *p, const struct sealed_seg *g, struct layout *cur)
{
    size_t place = layout_place(cur, g->seg.index);
    bool is_there = place < cur->seg_count && cur->segs[place].index == g->seg.index;
    struct seg *seg = NULL;
    int rc;

    if (is_there && cur->segs[place].loc.container != g->old)
        return 0; /* COMMIT-1 */
    if (!is_there && (g->old != 0 || layout_find(&p->snap, g->seg.index)))
        return 0;            /* it was there and was cut away */
    if (!g->seg.is_sealed) { /* nothing but holes */
        if (is_there)
            layout_remove(cur, place);
        return 0;
    }
    if (!is_there) {
        rc = layout_insert(cur, g->seg.index, &seg);
        if (rc < 0)
            return rc;
        place = (size_t)(seg - cur->segs);
    }
    cur->segs[place] = g->seg;
    cur->segs[place].is_frozen = false;
    cur->segs[place].building = NULL;
    return 0;
}

/* A flush of what came after the snapshot first: the row will say what memory says. */
static int install(struct prepared *p, struct undo *u)
{
    struct content *ct = p->ct;
    struct layout cur = { 0 };
    int rc;

    if (ct->is_retired || ct->reset_seq != p->reset_seq || !ct->is_loaded || !ct->keys)
        return -ESTALE;
    rc = content_flush(ct, true);
    small_forget(ct);
    if (rc == 0)
        rc = content_keep_base(ct); /* the row is about to be not durable (ROW-2) */
    if (rc == 0)
        rc = layout_dup(&ct->cur, &cur);
    for (size_t i = 0; rc == 0 && i < cur.seg_count; i++)
        cur.segs[i].building = ct->cur.segs[i].building; /* new ones that grow above */
    for (size_t i = 0; rc == 0 && i < p->seg_count; i++)
        rc = install_seg(p, &p->segs[i], &cur);
    if (rc < 0) {
        layout_fini(&cur);
        return rc;
    }
    u->cur = ct->cur;
    memcpy(u->levels, ct->levels, sizeof u->levels);
    u->level_count = ct->level_count;
    u->frozen = p->frozen;
    u->was_durable = ct->is_row_durable;
    u->is_done = true;
    ct->cur = cur;
    memmove(ct->levels, ct->levels + p->frozen,
            (LEVELS_MAX - p->frozen) * sizeof *ct->levels);
    ct->level_count -= p->frozen;
    ct->frozen_count = 0;
    ct->is_row_durable = false;
    pthread_mutex_lock(&ct->attr_lock);
    u->state = ct->state;
    u->version = ct->content_version;
    ct->state = ct->change_seq == p->seq ? CONTENT_SEALED : CONTENT_DIRTY;
    ct->content_version++;
    pthread_mutex_unlock(&ct->attr_lock);
    content_attr_changed(ct);
    return 0;
}

static void put_back(struct prepared *p, struct undo *u)
{
    struct content *ct = p->ct;

    if (!u->is_done)
        return;
    layout_fini(&ct->cur);
    ct->cur = u->cur;
    memcpy(ct->levels, u->levels, sizeof u->levels);
    ct->level_count = u->level_count;
    ct->frozen_count = u->frozen;
    ct->is_row_durable = u->was_durable;
    pthread_mutex_lock(&ct->attr_lock);
    ct->state = u->state;
    ct->content_version = u->version;
    pthread_mutex_unlock(&ct->attr_lock);
    content_attr_changed(ct);
}

static void seal_of(const struct prepared *p, struct seal_change *out)
{
    const struct content *ct = p->ct;
    uint64_t listed = p->manifest_bytes / MANIFEST_ENTRY_BYTES;

    *out = (struct seal_change){ .file = ct->file,
                                 .content_version = ct->content_version,
                                 .base_version = ct->content_version - 1,
                                 .header = header_digest(
                                     view_of(ct->keys->header, ct->keys->header_bytes)),
                                 .size = p->size,
                                 .segment_count = listed,
                                 .manifest_root = p->manifest_root,
                                 .manifest_object = p->manifest_object };
}

static int put_objects(struct sealer *s, const struct prepared *p, uint64_t op)
{
    struct object_row row = { .patient = p->ctx.patient,
                              .nodeid = p->ct->nodeid,
                              .op_rowid = op };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < p->seg_count; i++) {
        const struct sealed_seg *g = &p->segs[i];

        if (!g->is_new_object)
            continue;
        row.object_id = g->seg.object_id;
        row.container = g->seg.loc.container;
        row.offset = g->seg.loc.offset;
        row.len = g->seg.loc.len;
        rc = nsdb_object_put(s->cs->db, &row);
    }
    if (rc < 0 || p->manifest_container == 0)
        return rc;
    row.object_id = p->manifest_object;
    row.container = p->manifest_container;
    row.offset = 0;
    row.len = p->manifest_bytes;
    return nsdb_object_put(s->cs->db, &row);
}

/* The file has gone on under another number since (REBASE-5): these contents will be a copy. */
static bool has_left(const struct content *ct)
{
    struct name_inode inode;
    struct nsdb_stmt s;

    if (nsdb_inode_find(ct->cs->db, &ct->file, &s, &inode) < 0)
        return false;
    nsdb_end(&s);
    return inode.nodeid != ct->nodeid;
}

static int put_in_tx(struct sealer *s, struct prepared **files, size_t count,
                     uint64_t *out_op)
{
    scoped(free) struct seal_change *seals = calloc(count, sizeof *seals);
    size_t n = 0;
    uint64_t op = 0;
    int rc = seals ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (files[i]->rc < 0)
            continue;
        if (files[i]->ct->is_retired || has_left(files[i]->ct))
            return -EAGAIN; /* just now: all once more */
        seal_of(files[i], &seals[n++]);
        rc = content_row_put(files[i]->ct);
    }
    if (rc < 0 || n == 0)
        return rc;
    rc = outbox_add_seals(s->cs->v, &files[0]->writer, &files[0]->ctx, seals, n, &op);
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (files[i]->rc == 0)
            rc = put_objects(s, files[i], op);
    *out_op = op;
    return rc;
}

static int put_rows(struct sealer *s, struct prepared **files, size_t count,
                    uint64_t *out_op)
{
    uint32_t waiting = 0;
    int rc = nsdb_begin(s->cs->db);

    if (rc < 0)
        return rc;
    rc = put_in_tx(s, files, count, out_op);
    if (rc == 0 && *out_op)
        rc = nsdb_object_count(s->cs->db, *out_op, &waiting);
    if (rc == 0 && *out_op && waiting == 0) /* empty files: nothing to wait for */
        rc = outbox_release(s->cs->v, *out_op);
    if (rc < 0) {
        nsdb_rollback(s->cs->db);
        return rc;
    }
    return nsdb_commit(s->cs->db);
}

static void drop_replaced(struct prepared *p, struct undo *u)
{
    struct content *ct = p->ct;

    for (size_t i = 0; i < p->seg_count; i++) {
        struct sealed_seg *g = &p->segs[i];
        const struct seg *now = layout_find(&ct->cur, g->seg.index);
        bool is_in =
            now && g->seg.is_sealed && now->loc.container == g->seg.loc.container;

        if (is_in && g->freed.len > 0)
            ignored(content_drop_part(ct, &g->freed)); /* space only */
        if (g->old && g->old != g->seg.loc.container && (is_in || !g->seg.is_sealed))
            ignored(content_drop(ct, g->old)); /* else the sweep finds it */
        else if (!is_in && g->seg.loc.container && g->seg.loc.container != g->old)
            ignored(content_drop(ct, g->seg.loc.container)); /* offered, then freed */
        strips_forget(ct->cs, g->seg.loc.container);
    }
    for (size_t i = 0; i < u->frozen; i++) {
        ignored(content_drop(ct, u->levels[i].container)); /* else the sweep finds it */
        level_fini(ct, &u->levels[i]);
    }
}

/* All of cur was fdatasynced before the transaction: the sealed version is what a power cut goes
   back to, also when the next change comes before the syncer does (ROW-2). */
static void keep_sealed(struct content *ct)
{
    struct layout sealed = { 0 };
    bool is_whole;

    pthread_mutex_lock(&ct->attr_lock);
    is_whole = ct->state == CONTENT_SEALED;
    pthread_mutex_unlock(&ct->attr_lock);
    if (!is_whole || content_snapshot(ct, &sealed) < 0)
        return; /* the older base does as well */
    layout_fini(&ct->base);
    ct->base = sealed;
    ct->has_base = true;
}

/* The transaction is through. */
static void settle(struct sealer *s, struct prepared *p, struct undo *u, uint64_t op)
{
    struct content *ct = p->ct;
    struct object_row row = { .patient = p->ctx.patient,
                              .nodeid = ct->nodeid,
                              .op_rowid = op };

    drop_replaced(p, u);
    keep_sealed(ct);
    layout_fini(&u->cur);
    ct->has_unsynced_row = true;
    ct->change_seq++;
    ct->dirt_bytes = 0;
    ct->sealed_at_ms = 0;
    content_note_unsynced(ct);
    for (size_t i = 0; i < p->seg_count; i++) {
        const struct sealed_seg *g = &p->segs[i];

        if (!g->is_new_object)
            continue;
        row.object_id = g->seg.object_id;
        row.container = g->seg.loc.container;
        row.offset = g->seg.loc.offset;
        row.len = g->seg.loc.len;
        ignored(offer_add(s, &row)); /* out of memory: with the next reconnect */
    }
    if (p->manifest_container == 0)
        return;
    row.object_id = p->manifest_object;
    row.container = p->manifest_container;
    row.offset = 0;
    row.len = p->manifest_bytes;
    ignored(offer_add(s, &row)); /* out of memory: with the next reconnect */
}
