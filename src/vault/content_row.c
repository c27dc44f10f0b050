/*
 * The row of a file, from disk to memory and back.
 *
 * ROW-1  The row is the flush point: what it names counts, what it does not name never was.
 *        Only a log may be ahead of it: groups of an fsync that needed no row.
 * ROW-2  While the row is not durable it also names base, the last version that was
 *        fdatasynced, and no container of base is freed.
 * ROW-3  A row that is not durable and was written under another boot is believed only after
 *        every block was opened: the kernel may have kept the row and lost the bytes. Else base.
 */
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "vault/content_state.h"

static int load_row(struct content *ct, bool *out_is_trusted);
static int load_levels(struct content *ct, bool is_trusted);
static int catch_up(struct content *ct, const struct level_replay *r);

int content_touch(struct content *ct, uint64_t container)
{
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
        ct->is_loaded = true;
        ct->has_levels = ct->cur.level_count == 0 && is_trusted;
    }
    if (ct->has_levels || !ct->keys)
        return 0;
    rc = load_levels(ct, ct->is_trusted);
    if (rc < 0)
        return rc;
    ct->has_levels = true;
    return 0;
}

static int load_row(struct content *ct, bool *out_is_trusted)
{
    scoped(writer_fini) struct writer keep;
    struct content_row row;
    int rc;

    writer_init(&keep);
    rc = nsdb_content_get(ct->cs->db, ct->nodeid, &keep, &row);
    if (rc == 0)
        rc = locs_decode(row.locs, &ct->cur, &ct->base, &ct->has_base);
    if (rc < 0)
        return rc;
    ct->file = row.file;
    ct->size = row.size;
    ct->committed_size = row.size;
    ct->is_row_durable = row.is_durable;
    ct->has_dirty_row = row.state == CONTENT_DIRTY;
    pthread_mutex_lock(&ct->attr_lock);
    ct->attr = (struct content_attr){ row.size, row.mtime, row.blocks_512 };
    ct->has_attr = true;
    ct->state = row.state;
    ct->content_version = row.content_version;
    ct->writer = row.writer;
    ct->changed_ms = row.changed_ms;
    pthread_mutex_unlock(&ct->attr_lock);
    *out_is_trusted = row.is_durable || id_equal(&row.boot_id, &ct->cs->boot_id);
    return 0;
}

/* Groups of this log that base counts on. */
static uint64_t base_groups(const struct content *ct, const struct level_ref *ref)
{
    for (size_t i = 0; ct->has_base && i < ct->base.level_count; i++)
        if (ct->base.levels[i].container == ref->container)
            return ct->base.levels[i].groups;
    return 0;
}

static int open_levels(struct content *ct, bool is_trusted, struct level_replay *r)
{
    for (size_t i = 0; i < ct->cur.level_count; i++) {
        const struct level_ref *ref = &ct->cur.levels[i];
        int rc;

        r->groups_max = UINT64_MAX;
        r->groups_min = is_trusted ? ref->groups : base_groups(ct, ref);
        r->verify_from = is_trusted ? ref->groups : r->groups_min;
        r->file_size = ct->size;
        r->is_ahead = false;
        rc = level_open(ct, ref, &ct->levels[i], r);
        ct->level_count = i + 1; /* also a half-opened one is freed with the others */
        if (rc < 0)
            return rc;
        if (ct->levels[i].groups < ref->groups && i + 1 < ct->cur.level_count)
            return PHR_E_SEAL; /* what came later stands on what is missing */
        r->is_ahead = ct->levels[i].groups != ref->groups;
    }
    return 0;
}

/* Opens every block of what was never known to be on disk. */
static int verify_segs(struct content *ct)
{
    uint8_t *scratch = contents_scratch_take(ct->cs);
    int rc = scratch ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < ct->cur.seg_count; i++) {
        const struct seg *seg = &ct->cur.segs[i];
        uint32_t blocks = layout_blocks(seg->plaintext_len);
        struct strip *s = NULL;

        if (seg->is_sealed || seg->form == SEG_ABSENT)
            continue;
        rc = strips_borrow(ct, seg, &s);
        for (uint32_t j = 0; rc == 0 && j < blocks; j += SCRATCH_BYTES / BLOCK_BYTES) {
            uint32_t n = blocks - j;

            if (n > SCRATCH_BYTES / BLOCK_BYTES)
                n = SCRATCH_BYTES / BLOCK_BYTES;
            rc = seg_read(ct, seg, s, j, n, scratch);
            secret_wipe(scratch, SCRATCH_BYTES);
        }
        if (s)
            strips_release(ct->cs, s);
    }
    contents_scratch_give(ct->cs, scratch);
    return rc;
}

static void close_levels(struct content *ct)
{
    for (size_t i = 0; i < ct->level_count; i++)
        level_fini(ct, &ct->levels[i]);
    ct->level_count = 0;
}

/* cur did not survive: the last version that was on disk for certain. Logs are cut there. */
static int fall_back(struct content *ct)
{
    int rc = 0;

    close_levels(ct);
    layout_fini(&ct->cur);
    ct->cur = ct->base;
    ct->base = (struct layout){ 0 };
    ct->has_base = false;
    ct->size = ct->cur.size;
    ct->committed_size = ct->size;
    for (size_t i = 0; rc == 0 && i < ct->cur.level_count; i++) {
        const struct level_ref *ref = &ct->cur.levels[i];
        struct level_replay r = { .groups_min = ref->groups,
                                  .groups_max = ref->groups,
                                  .verify_from = UINT64_MAX };

        rc = level_open(ct, ref, &ct->levels[i], &r);
        ct->level_count = i + 1;
        if (rc == 0)
            rc = container_truncate(ct->cs->store, ref->container,
                                    ct->levels[i].end_page * BLOCK_BYTES);
    }
    strips_forget(ct->cs, 0);
    return rc;
}

static int load_levels(struct content *ct, bool is_trusted)
{
    struct level_replay r = { 0 };
    int rc = open_levels(ct, is_trusted, &r);

    if (rc == 0 && !is_trusted)
        rc = verify_segs(ct);
    if (rc < 0 && rc != -ENOMEM && !is_trusted && ct->has_base) {
        rc = fall_back(ct);
        r.is_ahead = false;
    } else if (rc < 0 && !is_trusted && rc != -ENOMEM && rc != PHR_E_ROLLBACK) {
        rc = 0; /* no older version: whole blocks are served, damaged ones are EIO (P6) */
    }
    if (rc == 0 && r.is_ahead)
        rc = catch_up(ct, &r);
    if (rc == 0 && !is_trusted) {
        ct->is_trusted = true;
        rc = content_row_commit(ct);
    }
    if (rc < 0)
        close_levels(ct);
    return rc;
}

/* The log is ahead of the row: its last group tells size and mtime; what lies beyond that size
   was never flushed (LOG-3) and is cut as a truncate would. */
static int catch_up(struct content *ct, const struct level_replay *r)
{
    uint64_t size = r->file_size;
    uint64_t end = ct->size > size ? ct->size : size;

    for (size_t i = 0; i < ct->level_count; i++) {
        uint64_t to = map_end(&ct->levels[i].map) * BLOCK_BYTES;

        end = to > end && to - size >= BLOCK_BYTES ? to : end;
    }
    if (ct->cur.seg_count > 0) {
        const struct seg *last = &ct->cur.segs[ct->cur.seg_count - 1];
        uint64_t to = last->index * SEG_BYTES + last->plaintext_len;

        end = to > end ? to : end;
    }
    ct->has_levels = true;
    pthread_mutex_lock(&ct->attr_lock);
    ct->attr.mtime = r->mtime;
    pthread_mutex_unlock(&ct->attr_lock);
    ct->size = end;
    ct->has_change = true;
    if (end > size) {
        int rc = content_resize(ct, size);

        if (rc < 0)
            return rc;
    }
    content_attr_changed(ct);
    return 0;
}
