/*
 * Sealed segments whose local bytes are not right any more, fetched again.
 *
 * REPAIR-1  Only segments that the object store has: their ids are in no object row. The old
 *           bytes stay until the new ones are there, hash checked and synced (HYDRATE-2, 3); when
 *           they do not come, the row and the table are as before.
 * REPAIR-2  Meanwhile the segment counts as absent, so that a reader waits for the same fetch.
 */
#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "vault/content_state.h"

struct repair_wait {
    struct waiter waiter; /* first: the vault hands back a pointer to it */
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
    int rc;
};

static void on_wake(struct waiter *w, int rc)
{
    struct repair_wait *r = (struct repair_wait *)(void *)w;

    pthread_mutex_lock(&r->lock);
    r->is_done = true;
    r->rc = rc;
    pthread_cond_broadcast(&r->done);
    pthread_mutex_unlock(&r->lock);
}

/* A fetch has a deadline of its own, so this ends (content.h: wake is called once). */
static int fetch(struct content *ct, uint64_t index)
{
    struct repair_wait r = { .waiter.wake = on_wake };
    int rc;

    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.done, NULL);
    rc = hydrate_want(ct->cs, ct, index, false, &r.waiter);
    if (rc == PHR_E_PENDING) {
        pthread_mutex_lock(&r.lock);
        while (!r.is_done)
            pthread_cond_wait(&r.done, &r.lock);
        rc = r.rc;
        pthread_mutex_unlock(&r.lock);
    }
    pthread_cond_destroy(&r.done);
    pthread_mutex_destroy(&r.lock);
    return rc;
}

struct waiting {
    const struct digest *object_id;
    bool is_waiting;
};

static int look_for(void *user, const struct object_row *row)
{
    struct waiting *w = user;

    w->is_waiting = w->is_waiting || digest_equal(&row->object_id, w->object_id);
    return 0;
}

/* REPAIR-1 */
static bool is_in_store(struct content *ct, const struct seg *seg)
{
    struct waiting w = { .object_id = &seg->object_id };

    return nsdb_object_each(ct->cs->db, look_for, &w) == 0 && !w.is_waiting;
}

/* Lock for reading held. */
static bool is_damaged(struct content *ct, const struct seg *seg, uint8_t *scratch)
{
    if (!seg->is_sealed || seg->is_frozen || seg->form == SEG_ABSENT || seg->building)
        return false;
    return content_check_hash(ct, seg, scratch) == PHR_E_SEAL ||
           (ct->keys && content_check_footer(ct, seg) == PHR_E_SEAL);
}

/* Lock not held. */
static void repair_seg(struct content *ct, const struct seg *old)
{
    struct seg *seg;

    pthread_rwlock_wrlock(&ct->lock);
    seg = layout_find(&ct->cur, old->index);
    if (!seg || seg->loc.container != old->loc.container || ct->is_retired || ct->is_sealing) {
        pthread_rwlock_unlock(&ct->lock);
        return; /* changed meanwhile */
    }
    seg->form = SEG_ABSENT;
    seg->loc = (struct loc){ 0 };
    strips_forget(ct->cs, old->loc.container);
    pthread_rwlock_unlock(&ct->lock);
    ignored(fetch(ct, old->index)); /* seen in the table */
    pthread_rwlock_wrlock(&ct->lock);
    seg = layout_find(&ct->cur, old->index);
    if (seg && seg->form == SEG_ABSENT && digest_equal(&seg->object_id, &old->object_id)) {
        seg->form = old->form;
        seg->loc = old->loc;
    } else {
        ignored(content_drop(ct, old->loc.container)); /* out of memory: its room stays taken */
    }
    pthread_rwlock_unlock(&ct->lock);
}

/* The first damaged segment from index on. */
static bool find_damaged(struct content *ct, uint64_t from, struct seg *out_seg)
{
    uint8_t *scratch = contents_scratch_take(ct->cs);
    bool is_found = false;

    pthread_rwlock_rdlock(&ct->lock);
    for (size_t i = layout_place(&ct->cur, from);
         scratch && ct->is_loaded && !is_found && i < ct->cur.seg_count; i++) {
        if (is_damaged(ct, &ct->cur.segs[i], scratch) && is_in_store(ct, &ct->cur.segs[i])) {
            *out_seg = ct->cur.segs[i];
            is_found = true;
        }
    }
    pthread_rwlock_unlock(&ct->lock);
    contents_scratch_give(ct->cs, scratch);
    return is_found;
}

void contents_repair(struct contents *cs, uint64_t nodeid)
{
    struct content *ct = NULL;
    struct seg seg = { 0 };

    if (vault_is_read_only(cs->v) || content_check_load(cs, nodeid, &ct) < 0)
        return;
    for (uint64_t from = 0; find_damaged(ct, from, &seg); from = seg.index + 1)
        repair_seg(ct, &seg);
    content_check_leave(ct);
}
