/*
 * Flush points, fsync, and the thread that makes everything durable within a second.
 *
 * SYNC-1  A flush point is: strips and groups written, then the row (CONTENT-3). An overwrite
 *         that only made a group needs no row: the group carries size and mtime.
 * SYNC-2  base is the last flush point that was synced; it is replaced only after the containers
 *         of the newer one were fdatasynced, and the WAL.
 * SYNC-3  What no row names is freed one pass later, when the row that stopped naming it is
 *         itself on disk (STORE-5), and not while an object on its way needs it.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "vault/content_state.h"

enum {
    SYNC_PERIOD_MS = 900,
    SYNC_FILES_AT_A_TIME = 64,
    SYNC_OFTEN_MS = 250 /* fsyncs so close upon each other are worth some zeros ahead */
};

struct sync_point { /* what one content wants on disk */
    struct content *ct;
    uint64_t *touched;
    size_t count;
    uint64_t seq;
    uint64_t reset_seq;
    struct layout layout;
    bool is_whole; /* layout holds */
    int rc;
    struct sync_point *next;
};

int content_begin_change(struct content *ct)
{
    int rc;

    if (ct->is_retired)
        return -ESTALE;
    if (vault_is_read_only(ct->cs->v))
        return -EROFS;
    if (!ct->keys)
        return PHR_E_LOCKED;
    INVARIANT(ct->is_loaded && ct->has_levels);
    rc = content_keep_base(ct);
    if (rc < 0)
        return rc;
    if (ct->sealed_at_ms == 0) {
        ct->sealed_at_ms = content_now_ms();
        sealer_note(ct->cs->sealer, ct->nodeid, ct->sealed_at_ms + SEAL_OPEN_MS);
    }
    return 0;
}

static bool row_is_stale(struct content *ct)
{
    scoped(unlock) pthread_mutex_t *held = lock(&ct->attr_lock);

    return ct->has_row_to_come;
}

static void mark_dirty(struct content *ct)
{
    pthread_mutex_lock(&ct->attr_lock);
    ct->state = CONTENT_DIRTY;
    ct->changed_ms = content_real_ms();
    pthread_mutex_unlock(&ct->attr_lock);
}

int content_flush(struct content *ct, bool for_row)
{
    bool is_stale = row_is_stale(ct);
    int rc = 0;

    if (!ct->has_change && !ct->needs_row && !(for_row && is_stale))
        return 0;
    if (ct->is_retired)
        return -ESTALE;
    if (!ct->has_dirty_row || ct->is_row_durable || for_row)
        ct->needs_row = true;
    for (size_t i = 0; rc == 0 && i < ct->cur.seg_count; i++)
        if (ct->cur.segs[i].building)
            rc = building_flush(ct, &ct->cur.segs[i]);
    for (size_t i = 0; rc == 0 && i < ct->level_count; i++)
        rc = level_flush(ct, &ct->levels[i], true);
    if (rc < 0)
        return rc;
    if (ct->has_change)
        mark_dirty(ct);
    if (ct->needs_row || ct->size != ct->committed_size) {
        rc = content_row_commit(ct);
    } else {
        ct->has_change = false;
        ct->change_seq++;
        content_note_unsynced(ct);
    }
    return rc;
}

/* ---- one sync ---- */

static void point_fini(struct sync_point *p)
{
    free(p->touched);
    layout_fini(&p->layout);
}

/* ct->lock for writing. Takes what was touched. */
static int point_take(struct content *ct, struct sync_point *p)
{
    int rc = 0;

    *p = (struct sync_point){ .ct = ct,
                              .seq = ct->change_seq,
                              .reset_seq = ct->reset_seq };
    if (!ct->is_loaded) {
        rc = content_load(ct); /* the row alone: no keys needed */
        if (rc < 0)
            return rc;
    }
    if (!ct->has_change && !ct->needs_row) { /* exactly at a flush point */
        rc = content_snapshot(ct, &p->layout);
        p->is_whole = rc == 0;
    }
    if (rc < 0)
        return rc;
    p->touched = ct->touched;
    p->count = ct->touched_count;
    ct->touched = NULL;
    ct->touched_count = 0;
    ct->touched_room = 0;
    return 0;
}

/* ct->lock for writing. A failed sync leaves them to the next. */
static void point_give_back(struct sync_point *p)
{
    for (size_t i = 0; i < p->count; i++)
        ignored(content_touch(
            p->ct, p->touched[i])); /* out of memory: the row stays not durable */
}

/* ct->lock for writing, after containers and WAL: the point is the new base (SYNC-2). */
static void point_done(struct sync_point *p)
{
    struct content *ct = p->ct;

    if (ct->durable_seq < p->seq)
        ct->durable_seq = p->seq;
    if (!p->is_whole || !ct->is_loaded || !ct->is_trusted) /* base stays till cur is proven */
        return;
    layout_fini(&ct->base);
    ct->base = p->layout;
    ct->has_base = true;
    p->layout = (struct layout){ 0 };
    p->is_whole = false;
}

static void wait_for_syncer(struct content *ct)
{
    scoped(unlock) pthread_mutex_t *held = lock(&ct->cs->lock);

    while (ct->is_syncing)
        pthread_cond_wait(&ct->cs->synced, &ct->cs->lock);
}

int content_fsync(struct content *ct)
{
    scoped(unlock) pthread_mutex_t *held = lock(&ct->sync_lock);
    uint64_t now_ms = content_now_ms();
    bool is_often = now_ms - atomic_exchange(&ct->cs->fsync_ms, now_ms) <= SYNC_OFTEN_MS;
    struct sync_point p = { 0 };
    bool needs_wal = false;
    int rc;

    pthread_rwlock_wrlock(&ct->lock);
    while (ct->is_syncing) { /* what the syncer took is not among the touched any more */
        pthread_rwlock_unlock(&ct->lock);
        wait_for_syncer(ct);
        pthread_rwlock_wrlock(&ct->lock);
    }
    ct->is_synced_often = is_often;
    rc = ct->is_loaded ? content_flush(ct, false) : 0;
    ct->is_synced_often = false;
    if (rc == 0)
        rc = point_take(ct, &p);
    needs_wal = ct->has_unsynced_row;
    pthread_rwlock_unlock(&ct->lock);
    if (rc == 0)
        rc = contents_sync_disk(ct->cs, p.touched, p.count, needs_wal);
    pthread_rwlock_wrlock(&ct->lock);
    if (rc < 0) {
        point_give_back(&p);
    } else {
        point_done(&p);
        if (ct->change_seq == p.seq)
            ct->has_unsynced_row = false;
    }
    pthread_rwlock_unlock(&ct->lock);
    point_fini(&p);
    return rc;
}

/* ---- the syncer ---- */

/* The row stops naming base; what cur does not name can go. */
static void mark_durable(struct content *ct)
{
    bool was_durable = ct->is_row_durable;
    int rc = nsdb_begin(ct->cs->db);

    if (rc < 0)
        return;
    if (ct->is_retired) {
        nsdb_rollback(ct->cs->db);
        return;
    }
    ct->is_row_durable = true;
    rc = content_row_put(ct);
    if (rc < 0) {
        ct->is_row_durable = was_durable;
        nsdb_rollback(ct->cs->db);
        return;
    }
    nsdb_commit_soon(ct->cs->db);
    for (size_t i = 0; i < ct->dropped_count; i++)
        contents_free_part_later(ct->cs, ct->nodeid, &ct->dropped[i]);
    ct->dropped_count = 0;
    layout_fini(&ct->base);
    ct->has_base = false;
}

static struct content *take_unsynced(struct contents *cs)
{
    scoped(unlock) pthread_mutex_t *held = lock(&cs->lock);
    struct content *list = cs->unsynced;

    cs->unsynced = NULL;
    return list;
}

/* The mark falls when the content leaves the list, not before: a writer that notes it meanwhile
   would link it into the next list and tear this one. */
static struct content *pop_unsynced(struct contents *cs, struct content **io_list)
{
    scoped(unlock) pthread_mutex_t *held = lock(&cs->lock);
    struct content *ct = *io_list;

    *io_list = ct->next_unsynced;
    ct->is_unsynced = false;
    return ct;
}

/* NULL: no memory, the next pass tries. */
static struct sync_point *take_point(struct content *ct)
{
    struct sync_point *p = calloc(1, sizeof *p);

    if (!p) {
        content_note_unsynced(ct);
        return NULL;
    }
    pthread_rwlock_wrlock(&ct->lock);
    p->rc = ct->is_retired ? -ESTALE : point_take(ct, p);
    p->ct = ct;
    ct->is_syncing = true;
    pthread_rwlock_unlock(&ct->lock);
    return p;
}

/* What all of them touched, synced at once; each gets the result. */
static void sync_points(struct contents *cs, struct sync_point **points, size_t count)
{
    uint64_t *ids;
    size_t all = 0;
    size_t n = 0;
    int rc;

    for (size_t i = 0; i < count; i++)
        all += points[i]->count;
    ids = malloc((all + 1) * sizeof *ids);
    for (size_t i = 0; ids && i < count; i++) {
        if (points[i]->count > 0)
            memcpy(ids + n, points[i]->touched, points[i]->count * sizeof *ids);
        n += points[i]->count;
    }
    rc = ids ? contents_sync_disk(cs, ids, contents_sort_ids(ids, all), false) : -ENOMEM;
    free(ids);
    for (size_t i = 0; rc < 0 && i < count; i++)
        if (points[i]->rc == 0) /* one of many failed: each alone tells which */
            points[i]->rc =
                contents_sync_disk(cs, points[i]->touched, points[i]->count, false);
}

/* An fsync of this file may go on. What could not be synced is the file's again before. */
static void end_sync(struct sync_point *p)
{
    struct content *ct = p->ct;

    if (p->rc < 0) {
        pthread_rwlock_wrlock(&ct->lock);
        point_give_back(p);
        p->count = 0;
        pthread_rwlock_unlock(&ct->lock);
    }
    pthread_mutex_lock(&ct->cs->lock);
    ct->is_syncing = false;
    pthread_cond_broadcast(&ct->cs->synced);
    pthread_mutex_unlock(&ct->cs->lock);
}

/* A handful of files at a time: an fsync waits for no more than these. */
static struct sync_point *take_points(struct contents *cs, struct content *list)
{
    struct sync_point *points = NULL;

    while (list) {
        struct sync_point *some[SYNC_FILES_AT_A_TIME];
        size_t count = 0;

        while (list && count < SYNC_FILES_AT_A_TIME) {
            struct content *ct = pop_unsynced(cs, &list);

            some[count] = take_point(ct);
            if (some[count])
                count++;
            else
                content_release(ct);
        }
        sync_points(cs, some, count);
        for (size_t i = 0; i < count; i++) {
            end_sync(some[i]);
            some[i]->next = points;
            points = some[i];
        }
    }
    return points;
}

static void finish_point(struct sync_point *p)
{
    struct content *ct = p->ct;

    pthread_rwlock_wrlock(&ct->lock);
    if (p->rc < 0) {
        point_give_back(p);
        if (p->rc != -ENOENT && p->rc != -ESTALE)
            content_note_unsynced(ct); /* again in the next pass */
    } else if (p->reset_seq == ct->reset_seq || p->is_whole) {
        point_done(p);
        if (ct->is_loaded && ct->is_trusted && ct->change_seq == p->seq &&
            !ct->has_change && !ct->needs_row) {
            ct->has_unsynced_row = false;
            mark_durable(ct);
        } else {
            content_note_unsynced(ct);
        }
    }
    pthread_rwlock_unlock(&ct->lock);
    point_fini(p);
    content_release(ct);
    free(p);
}

/* ---- the pass ---- */

void contents_sync_pass(struct contents *cs)
{
    scoped(unlock) pthread_mutex_t *held = lock(&cs->pass_lock);
    struct sync_point *points;
    struct freed_row *freed;
    int rc;

    pthread_mutex_lock(&cs->lock);
    freed = cs->freed;
    cs->freed = NULL;
    pthread_mutex_unlock(&cs->lock);
    points = take_points(cs, take_unsynced(cs));
    if (!points && !freed)
        return;
    rc = nsdb_sync(cs->db);
    while (points) {
        struct sync_point *p = points;

        points = p->next;
        if (rc < 0 && p->rc == 0)
            p->rc = rc;
        finish_point(p);
    }
    if (rc == 0) {
        contents_free_dropped(cs, freed);
        return;
    }
    while (freed) {
        struct freed_row *f = freed;

        freed = f->next;
        contents_free_part_later(cs, f->nodeid, &f->loc);
        free(f);
    }
}

static void *syncer_main(void *arg)
{
    struct contents *cs = arg;

    contents_sweep(cs);
    pthread_mutex_lock(&cs->wake_lock);
    while (!cs->is_stopping) {
        clock_cond_wait_ms(&cs->wake, &cs->wake_lock, SYNC_PERIOD_MS);
        if (cs->is_stopping)
            break;
        pthread_mutex_unlock(&cs->wake_lock);
        contents_sync_pass(cs);
        contents_evict(cs);
        pthread_mutex_lock(&cs->wake_lock);
    }
    pthread_mutex_unlock(&cs->wake_lock);
    return NULL;
}

int contents_syncer_start(struct contents *cs)
{
    int rc = -pthread_create(&cs->syncer, NULL, syncer_main, cs);

    cs->has_syncer = rc == 0;
    return rc;
}

void contents_syncer_stop(struct contents *cs)
{
    if (!cs->has_syncer)
        return;
    pthread_mutex_lock(&cs->wake_lock);
    cs->is_stopping = true;
    pthread_cond_broadcast(&cs->wake);
    pthread_mutex_unlock(&cs->wake_lock);
    pthread_join(cs->syncer, NULL);
    contents_sync_pass(cs); /* containers and rows */
    contents_sync_pass(cs); /* what the first one stopped naming */
    cs->has_syncer = false;
    if (cs->freed || cs->unsynced)
        return; /* the next start sweeps */
    store_free_wait(cs->store);
    contents_mark_clean(cs);
}
