/*
 * Logs and blocks of a file as a start finds them: after a clean end, a kill, a power cut.
 *
 * RECOVER-1  A log may be ahead of its row by whole groups (ROW-1); its last one tells the size.
 *            So a row with a log that an earlier process wrote tells no size before the log was
 *            replayed: the kernel would pad what is shorter with zeros. Which were is remembered
 *            for a while; once too often is only work.
 * RECOVER-2  A row of another boot that is not durable is proven before anything of it is told:
 *            every block of cur is opened. What does not prove gives way to base, the version that
 *            was on disk for certain; a file that never was on disk is empty, as it was made.
 *            A log with fewer groups than the row says does not prove: the last that is left may
 *            carry the size before its own flush point (LOG-3), less than what base promises.
 * RECOVER-3  What was proven is on this disk, so it is the base of what comes next: a second power
 *            cut finds it again.
 * RECOVER-4  A number that a row names is not given to a new container, whether or not the power
 *            cut left its file: else the row of one file would name the bytes of another.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "vault/content_state.h"
#include "vault/nsdb_names.h"

static int open_levels(struct content *ct, bool is_trusted, struct level_replay *r);
static int verify_segs(struct content *ct);
static int fall_back(struct content *ct, struct level_replay *r);
static int catch_up(struct content *ct, const struct level_replay *r);
static int keep_proven(struct content *ct);
static void close_levels(struct content *ct);
static void note_replayed(struct contents *cs, uint64_t nodeid);

/* The bytes are not there or not right; anything else may be different at the next try. */
static bool is_lost(int rc)
{
    return rc == PHR_E_SEAL || rc == PHR_E_FORMAT || rc == PHR_E_ROLLBACK || rc == -ENOENT ||
           rc == -ENODATA || rc == -EIO;
}

int content_recover(struct content *ct)
{
    struct level_replay r = { 0 };
    bool is_trusted = ct->is_trusted;
    bool is_parked = false;
    int rc = is_trusted ? 0 : nsdb_parked_has(ct->cs->db, SHADOW_HEADER, &ct->file, &is_parked);

    if (rc < 0 || is_parked)
        return rc < 0 ? rc : PHR_E_LOCKED; /* bytes of this host under keys that these are not */
    rc = open_levels(ct, is_trusted, &r);
    if (rc == 0 && !is_trusted)
        rc = verify_segs(ct);
    if (!is_trusted && is_lost(rc))
        rc = fall_back(ct, &r);
    if (rc == 0 && r.is_ahead)
        rc = catch_up(ct, &r);
    if (rc == 0 && !is_trusted)
        rc = keep_proven(ct);
    if (rc < 0)
        close_levels(ct);
    return rc;
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
        if (ct->levels[i].groups < ref->groups)
            return PHR_E_SEAL; /* RECOVER-2: the last one there tells an older size than base */
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

static void drop_lost(void *user, uint64_t container)
{
    struct content *ct = user;

    if (!layout_names(&ct->cur, container))
        ignored(content_drop(ct, container)); /* out of memory: its room stays taken */
}

/* Logs of what was base are cut where it counted them, and blocks behind its size are cut off. */
static int fall_back(struct content *ct, struct level_replay *r)
{
    scoped(layout_fini) struct layout lost = ct->cur;
    int rc = 0;

    close_levels(ct);
    ct->cur = ct->base; /* zeros without one: RECOVER-2 */
    *r = (struct level_replay){ .is_ahead = true,
                                .file_size = ct->cur.size,
                                .mtime = ct->has_base ? ct->cur.mtime : content_mtime(ct) };
    ct->base = (struct layout){ 0 };
    ct->has_base = false;
    ct->size = ct->cur.size;
    ct->committed_size = ct->size;
    pthread_mutex_lock(&ct->attr_lock);
    ct->state = CONTENT_DIRTY; /* whatever was sealed, this is not it */
    pthread_mutex_unlock(&ct->attr_lock);
    for (size_t i = 0; rc == 0 && i < ct->cur.level_count; i++) {
        const struct level_ref *ref = &ct->cur.levels[i];
        struct level_replay one = { .groups_min = ref->groups,
                                    .groups_max = ref->groups,
                                    .verify_from = UINT64_MAX };

        rc = level_open(ct, ref, &ct->levels[i], &one);
        ct->level_count = i + 1;
        if (rc == 0)
            rc = container_truncate(ct->cs->store, ref->container,
                                    ct->levels[i].end_page * BLOCK_BYTES);
    }
    strips_forget(ct->cs, 0);
    layout_each(&lost, drop_lost, ct);
    return rc;
}

/* RECOVER-3 */
static int keep_proven(struct content *ct)
{
    struct layout proven = { 0 };
    int rc;

    ct->has_levels = true; /* the logs as they were opened are what the row will say */
    rc = content_snapshot(ct, &proven);
    if (rc < 0)
        return rc;
    layout_fini(&ct->base);
    ct->base = proven;
    ct->has_base = true;
    ct->is_trusted = true;
    return ct->has_change ? content_flush(ct, true) : content_row_commit(ct);
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

/* ---- before keys are asked for ---- */

/* ct->lock for writing. What a log told beyond its row is in the row before it is told. */
static int load_and_keep(struct content *ct, struct key_set *keys)
{
    bool was_loaded = ct->is_loaded && ct->has_levels;
    int rc = content_set_keys(ct, keys);

    if (rc == 0)
        rc = content_load(ct);
    if (rc == 0 && !was_loaded && ct->has_change && !vault_is_read_only(ct->cs->v))
        rc = content_flush(ct, true);
    return rc;
}

int content_recover_attr(struct contents *cs, uint64_t nodeid, struct content_attr *out_attr)
{
    struct content *ct = NULL;
    struct key_set *keys = NULL;
    int rc = content_borrow(cs, nodeid, &ct);

    if (rc < 0)
        return rc;
    rc = access_keys_local(cs->v, nodeid, &keys);
    if (rc == 0) {
        pthread_rwlock_wrlock(&ct->lock);
        rc = load_and_keep(ct, keys);
        if (!contents_is_open(cs, nodeid) && !ct->is_sealing && !ct->has_change)
            content_drop_keys(ct);
        pthread_rwlock_unlock(&ct->lock);
        key_set_release(keys);
    }
    if (rc == 0 || is_lost(rc))
        note_replayed(cs, nodeid);
    if (rc == 0)
        rc = content_attr_get(ct, out_attr);
    content_release(ct);
    return rc;
}

/* ---- rows that their logs may have outrun ---- */

/* cs->lock. */
static uint64_t *replayed_place(struct contents *cs, uint64_t nodeid)
{
    return &cs->replayed[nodeid % REPLAYED_KEPT];
}

bool contents_is_behind(struct contents *cs, uint64_t nodeid, struct view locs)
{
    if (!locs_have_log_below(locs, cs->first_number))
        return false;
    scoped(unlock) pthread_mutex_t *held = lock(&cs->lock);

    return *replayed_place(cs, nodeid) != nodeid;
}

static void note_replayed(struct contents *cs, uint64_t nodeid)
{
    scoped(unlock) pthread_mutex_t *held = lock(&cs->lock);

    *replayed_place(cs, nodeid) = nodeid;
}

/* ---- once, before anything is made ---- */

static void skip_container(void *user, uint64_t container)
{
    struct contents *cs = user;

    store_skip(cs->store, container_number(container) + 1);
}

static int look_at_row(void *user, const struct content_row *row)
{
    scoped(layout_fini) struct layout cur = { 0 };
    scoped(layout_fini) struct layout base = { 0 };
    bool has_base;

    if (locs_decode(row->locs, &cur, &base, &has_base) < 0)
        return 0;
    layout_each(&cur, skip_container, user); /* base is on disk */
    return 0;
}

int contents_recover_rows(struct contents *cs)
{
    uint64_t bound = 0;
    int rc = nsdb_container_bound(cs->db, &bound);

    if (rc == -ENOENT) /* a vault that is new, or that was written when nobody promised */
        return nsdb_content_each_dirty(cs->db, look_at_row, cs);
    if (rc == 0)
        store_skip(cs->store, bound);
    return rc;
}
