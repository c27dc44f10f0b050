/*
 * The table of contents in memory, references, and what files share: buffers, memory, the list
 * of what is to be freed. Everything under contents->lock but the pools.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "vault/content_state.h"

/* c->lock. */
static struct content **bucket_of(struct contents *c, uint64_t nodeid)
{
    return &c->buckets[(nodeid * UINT64_C(0x9e3779b97f4a7c15)) >> 32 &
                       (c->bucket_count - 1)];
}

/* c->lock. A retired one is no longer the node's. */
static struct content *table_find(struct contents *c, uint64_t nodeid)
{
    struct content *ct = *bucket_of(c, nodeid);

    while (ct && (ct->nodeid != nodeid || ct->is_retired))
        ct = ct->next;
    return ct;
}

/* c->lock. */
static void table_grow(struct contents *c)
{
    size_t old_count = c->bucket_count;
    struct content **old = c->buckets;
    struct content **grown = calloc(old_count * 2, sizeof(struct content *));

    if (!grown)
        return; /* longer chains then */
    c->buckets = grown;
    c->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i]) {
            struct content *ct = old[i];
            struct content **at = bucket_of(c, ct->nodeid);

            old[i] = ct->next;
            ct->next = *at;
            *at = ct;
        }
    }
    free(old);
}

static struct content *content_new(struct contents *c, uint64_t nodeid)
{
    struct content *ct = calloc(1, sizeof *ct);
    pthread_rwlockattr_t attr;

    if (!ct)
        return NULL;
    pthread_rwlockattr_init(&attr);
    /* Else a busy file's readers keep its writers out for ever (P7). */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    ct->cs = c;
    ct->nodeid = nodeid;
    ct->refs = 1;
    pthread_mutex_init(&ct->sync_lock, NULL);
    pthread_rwlock_init(&ct->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&ct->attr_lock, NULL);
    return ct;
}

static void content_free(struct content *ct)
{
    content_unload(ct);
    for (size_t i = 0; i < ct->dropped_count; i++)
        contents_free_part_later(ct->cs, ct->nodeid, &ct->dropped[i]);
    free(ct->touched);
    free(ct->dropped);
    pthread_mutex_destroy(&ct->sync_lock);
    pthread_rwlock_destroy(&ct->lock);
    pthread_mutex_destroy(&ct->attr_lock);
    free(ct);
}

struct content *content_find(struct contents *cs, uint64_t nodeid)
{
    scoped(unlock) pthread_mutex_t *held = lock(&cs->lock);
    struct content *ct = table_find(cs, nodeid);

    if (ct)
        ct->refs++;
    return ct;
}

int content_borrow(struct contents *cs, uint64_t nodeid, struct content **out_content)
{
    struct content *ct = content_find(cs, nodeid);
    struct content *fresh = NULL;

    if (!ct) {
        fresh = content_new(cs, nodeid);
        if (!fresh)
            return -ENOMEM;
        pthread_mutex_lock(&cs->lock);
        ct = table_find(cs, nodeid);
        if (ct) {
            ct->refs++;
        } else {
            struct content **at;

            if (cs->content_count >= cs->bucket_count)
                table_grow(cs);
            at = bucket_of(cs, nodeid);
            ct = give(fresh);
            ct->next = *at;
            *at = ct;
            cs->content_count++;
        }
        pthread_mutex_unlock(&cs->lock);
        if (fresh)
            content_free(fresh);
    }
    *out_content = ct;
    return 0;
}

void content_borrow_again(struct content *ct)
{
    scoped(unlock) pthread_mutex_t *held = lock(&ct->cs->lock);

    INVARIANT(ct->refs > 0);
    ct->refs++;
}

void content_release(struct content *ct)
{
    struct contents *c = ct->cs;
    struct content **at;

    pthread_mutex_lock(&c->lock);
    if (--ct->refs > 0) {
        pthread_mutex_unlock(&c->lock);
        return;
    }
    for (at = bucket_of(c, ct->nodeid); *at != ct; at = &(*at)->next)
        continue;
    *at = ct->next;
    c->content_count--;
    pthread_mutex_unlock(&c->lock);
    content_free(ct);
}

void content_note_unsynced(struct content *ct)
{
    scoped(unlock) pthread_mutex_t *held = lock(&ct->cs->lock);

    if (ct->is_unsynced)
        return;
    ct->is_unsynced = true;
    ct->refs++;
    ct->next_unsynced = ct->cs->unsynced;
    ct->cs->unsynced = ct;
}

bool contents_is_open(struct contents *c, uint64_t nodeid)
{
    scoped(unlock) pthread_mutex_t *held = lock(&c->lock);
    const struct content *ct = *bucket_of(c, nodeid);

    while (ct && (ct->nodeid != nodeid || ct->open_count == 0))
        ct = ct->next;
    return ct != NULL;
}

bool contents_is_open_retired(struct contents *cs, uint64_t nodeid)
{
    scoped(unlock) pthread_mutex_t *held = lock(&cs->lock);
    const struct content *ct = *bucket_of(cs, nodeid);

    while (ct && (ct->nodeid != nodeid || !ct->is_retired || ct->open_count == 0))
        ct = ct->next;
    return ct != NULL;
}

/* ---- buffers and memory ---- */

uint8_t *contents_scratch_take(struct contents *cs)
{
    uint8_t *p = NULL;

    pthread_mutex_lock(&cs->scratch_lock);
    if (cs->scratch_count > 0)
        p = cs->scratch[--cs->scratch_count];
    pthread_mutex_unlock(&cs->scratch_lock);
    return p ? p : malloc(SCRATCH_BYTES);
}

void contents_scratch_give(struct contents *cs, uint8_t *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&cs->scratch_lock);
    if (cs->scratch_count < SCRATCH_KEPT_MAX) {
        cs->scratch[cs->scratch_count++] = p;
        p = NULL;
    }
    pthread_mutex_unlock(&cs->scratch_lock);
    free(p);
}

uint8_t *contents_small_room_take(struct contents *cs)
{
    uint8_t *p = NULL;

    pthread_mutex_lock(&cs->scratch_lock);
    if (cs->small_room_count > 0)
        p = cs->small_rooms[--cs->small_room_count];
    pthread_mutex_unlock(&cs->scratch_lock);
    return p ? p : malloc(SMALL_ROOM_BYTES);
}

void contents_small_room_give(struct contents *cs, uint8_t *p)
{
    pthread_mutex_lock(&cs->scratch_lock);
    if (p && cs->small_room_count < SMALL_ROOMS_KEPT_MAX) {
        cs->small_rooms[cs->small_room_count++] = p;
        p = NULL;
    }
    pthread_mutex_unlock(&cs->scratch_lock);
    free(p);
}

bool contents_memory_take(struct contents *cs, size_t bytes)
{
    if (atomic_fetch_add(&cs->memory_bytes, (int64_t)bytes) + (int64_t)bytes <=
        MEMORY_BYTES_MAX)
        return true;
    atomic_fetch_sub(&cs->memory_bytes, (int64_t)bytes);
    return false;
}

void contents_memory_give(struct contents *cs, size_t bytes)
{
    atomic_fetch_sub(&cs->memory_bytes, (int64_t)bytes);
}

void contents_free_part_later(struct contents *cs, uint64_t nodeid, const struct loc *loc)
{
    struct freed_row *f;

    if (loc->container == 0)
        return;
    f = calloc(1, sizeof *f);
    if (!f)
        return; /* it stays until the sweep of a later start */
    f->nodeid = nodeid;
    f->loc = *loc;
    pthread_mutex_lock(&cs->lock);
    f->next = cs->freed;
    cs->freed = f;
    pthread_mutex_unlock(&cs->lock);
}

void contents_free_later(struct contents *cs, uint64_t nodeid, uint64_t container)
{
    contents_free_part_later(cs, nodeid, &(struct loc){ .container = container });
}
