/*
 * The row of a file, from disk to memory and back.
 *
 * ROW-1  The row is the flush point: what it names counts, what it does not name never was.
 *        Only a log may be ahead of it: groups of an fsync that needed no row.
 * ROW-2  While the row is not durable it also names base, the last version that was
 *        fdatasynced, and no container of base is freed. Without base nothing ever was.
 * ROW-3  A row that is not durable and was written under another boot is believed only after
 *        every block was opened (content_recover.c): the kernel may have kept the row and lost
 *        the bytes. Until then it tells nobody a size.
 * ROW-4  A row that is not durable and was written by an earlier process of this boot: what that
 *        process wrote is in the page cache and counts as written here, so that an fsync syncs it.
 */
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "vault/content_state.h"

static int load_row(struct content *ct, bool *out_is_trusted);
static int take_over(struct content *ct);

int content_touch(struct content *ct, uint64_t container)
{
    container = container_file(container);
    for (size_t i = ct->touched_count; i > 0; i--)
        if (ct->touched[i - 1] == container)
            return 0;
    if (ct->touched_count == ct->touched_room) {
        size_t room = ct->touched_room ? ct->touched_room * 2 : TOUCHED_ROOM_MIN;
        uint64_t *p = realloc(ct->touched, room * sizeof *p);

        if (!p)
            return -ENOMEM;
        ct->touched = p;
        ct->touched_room = room;
    }
    ct->touched[ct->touched_count++] = container;
    return 0;
}

int content_drop_part(struct content *ct, const struct loc *loc)
{
    if (ct->dropped_count == ct->dropped_room) {
        size_t room = ct->dropped_room ? ct->dropped_room * 2 : TOUCHED_ROOM_MIN;
        struct loc *p = realloc(ct->dropped, room * sizeof *p);

        if (!p)
            return -ENOMEM;
        ct->dropped = p;
        ct->dropped_room = room;
    }
    ct->dropped[ct->dropped_count++] = *loc;
    return 0;
}

int content_drop(struct content *ct, uint64_t container)
{
    struct loc whole = { .container = container };
    int rc;

    if (container == 0)
        return 0;
    rc = content_drop_part(ct, &whole);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ct->touched_count;) {
        if (ct->touched[i] == container)
            ct->touched[i] = ct->touched[--ct->touched_count];
        else
            i++;
    }
    strips_forget(ct->cs, container);
    return 0;
}

/* ---- keys ---- */

int content_set_keys(struct content *ct, struct key_set *keys)
{
    struct header h;
    int rc;

    if (!keys || ct->keys == keys)
        return 0;
    if (ct->keys && ct->keys->ctx.hdr_gen >= keys->ctx.hdr_gen)
        return 0;
    rc = header_decode(view_of(keys->header, keys->header_bytes), &h);
    if (rc < 0)
        return rc;
    if (h.block_log2 != BLOCK_LOG2 || h.seg_log2 != SEG_LOG2 || keys->count == 0)
        return PHR_E_FORMAT; /* larger blocks are of another writer; this store has none */
    content_drop_keys(ct);
    ct->keys = key_set_borrow(keys);
    ct->geometry = (struct seg_geometry){ h.suite, h.block_log2, h.seg_log2 };
    return 0;
}

void content_drop_keys(struct content *ct)
{
    key_set_release(ct->keys);
    ct->keys = NULL;
}

/* ---- to the row ---- */

int content_snapshot(struct content *ct, struct layout *out)
{
    int rc = layout_dup(&ct->cur, out);

    if (rc < 0)
        return rc;
    out->size = ct->size;
    out->mtime = content_mtime(ct);
    if (!ct->has_levels)
        return 0; /* never opened here: the refs of the row are true */
    out->level_count = 0;
    for (size_t i = 0; i < ct->level_count; i++) {
        const struct level *l = &ct->levels[i];

        if (l->groups == 0)
            continue;
        out->levels[out->level_count++] = (struct level_ref){ .container = l->container,
                                                              .log_id = l->log_id,
                                                              .fk_gen = l->fk_gen,
                                                              .groups = l->groups,
                                                              .pin = level_pin(ct, l) };
    }
    return 0;
}

int content_keep_base(struct content *ct)
{
    int rc;

    if (!ct->is_row_durable || ct->has_base || ct->has_change)
        return 0;
    rc = content_snapshot(ct, &ct->base);
    if (rc < 0)
        return rc;
    ct->has_base = true;
    return 0;
}

int content_row_put(struct content *ct)
{
    scoped(layout_fini) struct layout cur = { 0 };
    scoped(writer_fini) struct writer w;
    struct content_row row = { .nodeid = ct->nodeid,
                               .file = ct->file,
                               .size = ct->size,
                               .is_durable = ct->is_row_durable };
    int rc = content_snapshot(ct, &cur);

    writer_init(&w);
    if (rc < 0)
        return rc;
    locs_encode(&cur, ct->has_base && !ct->is_row_durable ? &ct->base : NULL, &w);
    if (!writer_ok(&w))
        return -ENOMEM;
    row.locs = writer_done(&w);
    rc = nsdb_container_promise(ct->cs->db, store_get_next(ct->cs->store));
    if (rc < 0)
        return rc;
    if (!row.is_durable)
        row.boot_id = ct->cs->boot_id;
    pthread_mutex_lock(&ct->attr_lock);
    row.mtime = ct->attr.mtime;
    row.blocks_512 = ct->attr.blocks_512;
    row.content_version = ct->content_version;
    row.state = ct->state;
    row.writer = ct->writer;
    row.changed_ms = ct->changed_ms;
    ct->has_row_to_come = false;
    pthread_mutex_unlock(&ct->attr_lock);
    rc = nsdb_content_put(ct->cs->db, &row);
    if (rc == 0)
        ct->has_dirty_row = row.state == CONTENT_DIRTY;
    return rc;
}

int content_row_commit(struct content *ct)
{
    bool was_durable = ct->is_row_durable;
    int rc;

    rc = content_keep_base(ct);
    if (rc < 0)
        return rc;
    content_attr_changed(ct);
    rc = nsdb_begin(ct->cs->db);
    if (rc < 0)
        return rc;
    if (ct->is_retired) { /* read under the names lock, where it is set */
        nsdb_rollback(ct->cs->db);
        return -ESTALE;
    }
    ct->is_row_durable = false;
    rc = content_row_put(ct);
    if (rc < 0)
        nsdb_rollback(ct->cs->db);
    else
        rc = nsdb_commit(ct->cs->db);
    if (rc < 0) {
        ct->is_row_durable = was_durable;
        pthread_mutex_lock(&ct->attr_lock);
        ct->has_row_to_come = true;
        pthread_mutex_unlock(&ct->attr_lock);
        return rc;
    }
    atomic_fetch_add(&ct->cs->flush_count, 1);
    ct->committed_size = ct->size;
    ct->needs_row = false;
    ct->has_change = false;
    ct->has_unsynced_row = true;
    ct->change_seq++;
    content_note_unsynced(ct);
    return 0;
}

/* ---- from the row ---- */

void content_unload(struct content *ct)
{
    for (size_t i = 0; i < ct->cur.seg_count; i++)
        building_free(ct, &ct->cur.segs[i]);
    for (size_t i = 0; i < ct->level_count; i++)
        level_fini(ct, &ct->levels[i]);
    layout_fini(&ct->cur);
    layout_fini(&ct->base);
    content_drop_keys(ct);
    ct->level_count = 0;
    ct->frozen_count = 0;
    ct->has_levels = false;
    ct->has_base = false;
    ct->is_loaded = false;
    ct->has_change = false;
    ct->needs_row = false;
}

int content_load(struct content *ct)
{
    bool is_trusted = true;
    int rc;

    if (!ct->is_loaded) {
        rc = load_row(ct, &is_trusted);
        if (rc < 0)
            return rc;
        ct->is_trusted = is_trusted;
        rc = is_trusted && !ct->is_row_durable ? take_over(ct) : 0;
        if (rc < 0) {
            content_unload(ct);
            return rc;
        }
        ct->is_loaded = true;
        ct->has_levels = ct->cur.level_count == 0 && is_trusted;
    }
    if (ct->has_levels || !ct->keys)
        return 0;
    rc = content_recover(ct);
    if (rc < 0)
        return rc;
    ct->has_levels = true;
    pthread_mutex_lock(&ct->attr_lock);
    ct->has_attr = true; /* what was held back until its logs had told */
    pthread_mutex_unlock(&ct->attr_lock);
    return 0;
}

struct take_over {
    struct content *ct;
    int rc;
};

static void take_over_container(void *user, uint64_t container)
{
    struct take_over *t = user;

    if (t->rc == 0)
        t->rc = content_touch(t->ct, container);
}

/* ROW-4 */
static int take_over(struct content *ct)
{
    struct take_over t = { .ct = ct };

    if (ct->has_unsynced_row)
        return 0; /* a row of this process: what it wrote is noted */
    layout_each(&ct->cur, take_over_container, &t);
    if (t.rc < 0)
        return t.rc;
    ct->has_unsynced_row = true;
    content_note_unsynced(ct);
    return 0;
}

static int load_row(struct content *ct, bool *out_is_trusted)
{
    scoped(writer_fini) struct writer keep;
    struct content_row row;
    bool is_trusted;
    bool is_behind;
    int rc;

    writer_init(&keep);
    rc = nsdb_content_get(ct->cs->db, ct->nodeid, &keep, &row);
    if (rc == 0)
        rc = locs_decode(row.locs, &ct->cur, &ct->base, &ct->has_base);
    if (rc < 0)
        return rc;
    is_trusted = row.is_durable || id_equal(&row.boot_id, &ct->cs->boot_id);
    is_behind = contents_is_behind(ct->cs, ct->nodeid, row.locs);
    ct->file = row.file;
    ct->size = row.size;
    ct->committed_size = row.size;
    ct->is_row_durable = row.is_durable;
    ct->has_dirty_row = row.state == CONTENT_DIRTY;
    pthread_mutex_lock(&ct->attr_lock);
    ct->attr = (struct content_attr){ row.size, row.mtime, row.blocks_512 };
    ct->has_attr = is_trusted && !is_behind; /* ROW-3, RECOVER-1 */
    ct->state = row.state;
    ct->content_version = row.content_version;
    ct->writer = row.writer;
    ct->changed_ms = row.changed_ms;
    pthread_mutex_unlock(&ct->attr_lock);
    *out_is_trusted = is_trusted;
    return 0;
}
