/* Reading everything to see whether it is whole; letting go of keys. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "vault/content_state.h"

enum { LOGOUT_MS_MAX = 5000, FOOTER_PAGES = 2, UNSEALED_ROWS = 256 };

struct check {
    struct contents *cs;
    void (*on_damage)(void *user, uint64_t nodeid, uint64_t first, uint64_t count, int rc);
    void *user;
};

/* Without keys: what is sealed has a name that is its hash. lock held for reading. */
int content_check_hash(struct content *ct, const struct seg *seg, uint8_t *scratch)
{
    struct digest_stream *d = digest_stream_new();
    struct digest have;
    uint64_t at = 0;
    int rc = 0;

    while (rc == 0 && at < seg->loc.len) {
        size_t n = seg->loc.len - at < SCRATCH_BYTES ? (size_t)(seg->loc.len - at)
                                                     : SCRATCH_BYTES;

        rc = container_read(ct->cs->store, seg->loc.container,
                            (struct span){ scratch, n }, seg->loc.offset + at);
        if (rc == 0)
            digest_stream_add(d, view_of(scratch, n));
        at += n;
    }
    have = digest_stream_finish(d);
    if (rc < 0)
        return rc == -ENODATA || rc == -ENOENT ? PHR_E_SEAL : rc;
    return digest_equal(&have, &seg->object_id) ? 0 : PHR_E_SEAL;
}

static void check_hashes(struct check *c, struct content *ct, uint8_t *scratch)
{
    for (size_t i = 0; i < ct->cur.seg_count; i++) {
        const struct seg *seg = &ct->cur.segs[i];
        int rc;

        if (!seg->is_sealed || seg->form == SEG_ABSENT)
            continue;
        rc = content_check_hash(ct, seg, scratch);
        if (rc < 0)
            c->on_damage(c->user, ct->nodeid, seg->index * SEG_BLOCKS,
                         layout_blocks(seg->plaintext_len), rc);
    }
}

/* With keys: every block as a reader would get it. lock held for reading. */
static void check_blocks(struct check *c, struct content *ct, uint8_t *scratch)
{
    uint64_t blocks = (ct->size + BLOCK_BYTES - 1) / BLOCK_BYTES;
    uint64_t at = 0;

    while (at < blocks) {
        uint64_t n = SCRATCH_BYTES / BLOCK_BYTES;
        uint64_t bytes;
        int rc;

        n = blocks - at < n ? blocks - at : n;
        bytes = ct->size - at * BLOCK_BYTES < n * BLOCK_BYTES
                    ? ct->size - at * BLOCK_BYTES
                    : n * BLOCK_BYTES;
        rc = content_read_range(ct, at * BLOCK_BYTES,
                                (struct span){ scratch, (size_t)bytes });
        for (uint64_t b = at; rc < 0 && rc != PHR_E_PENDING && b < at + n; b++) {
            int one = content_read_block(ct, b, scratch);

            if (one < 0 && one != PHR_E_PENDING)
                c->on_damage(c->user, ct->nodeid, b, 1, one);
        }
        secret_wipe(scratch, SCRATCH_BYTES);
        at += n;
    }
}

/* The pages behind a sealed segment: one of them vouches for it, or they were never written (a
   segment that was fetched while nobody here had its keys). */
int content_check_footer(struct content *ct, const struct seg *seg)
{
    const struct symkey *fk = key_set_find(ct->keys, seg->fk_gen);
    scoped(free) uint8_t *page = malloc(FOOTER_BYTES);
    uint64_t at = (seg->loc.len + FOOTER_BYTES - 1) / FOOTER_BYTES * FOOTER_BYTES;
    bool is_empty = true;

    if (!page)
        return -ENOMEM;
    for (int i = 0; fk && i < FOOTER_PAGES; i++, at += FOOTER_BYTES) {
        struct footer f;
        int rc = container_read(ct->cs->store, seg->loc.container,
                                (struct span){ page, FOOTER_BYTES }, seg->loc.offset + at);

        if (rc < 0)
            continue; /* the container ends before */
        is_empty = is_empty && page[0] == 0 && memcmp(page, page + 1, FOOTER_BYTES - 1) == 0;
        if (footer_decode(view_of(page, FOOTER_BYTES), &f) == 0 && f.seg_index == seg->index &&
            f.fk_gen == seg->fk_gen && footer_check(view_of(page, FOOTER_BYTES), &f, fk) == 0)
            return 0;
    }
    return is_empty ? 0 : PHR_E_SEAL;
}

static void check_footers(struct check *c, struct content *ct)
{
    for (size_t i = 0; i < ct->cur.seg_count; i++) {
        const struct seg *seg = &ct->cur.segs[i];

        if (seg->is_sealed && seg->form == SEG_DENSE && content_check_footer(ct, seg) == PHR_E_SEAL)
            c->on_damage(c->user, ct->nodeid, seg->index * SEG_BLOCKS, 0, PHR_E_SEAL);
    }
}

/* Keys where somebody here has them, else hashes must do. */
int content_check_load(struct contents *cs, uint64_t nodeid, struct content **out_content)
{
    struct content *ct = NULL;
    struct key_set *keys = NULL;
    int rc = content_borrow(cs, nodeid, &ct);

    if (rc < 0)
        return rc;
    if (access_keys_local(cs->v, nodeid, &keys) < 0)
        keys = NULL;
    pthread_rwlock_wrlock(&ct->lock);
    rc = keys ? content_set_keys(ct, keys) : 0;
    if (rc == 0)
        rc = content_load(ct);
    pthread_rwlock_unlock(&ct->lock);
    key_set_release(keys);
    if (rc < 0) {
        content_release(ct);
        return rc;
    }
    *out_content = ct;
    return 0;
}

void content_check_leave(struct content *ct)
{
    if (!contents_is_open(ct->cs, ct->nodeid)) {
        pthread_rwlock_wrlock(&ct->lock);
        if (!ct->is_sealing && !ct->has_change)
            content_drop_keys(ct);
        pthread_rwlock_unlock(&ct->lock);
    }
    content_release(ct);
}

int contents_check_node(struct contents *cs, uint64_t nodeid,
                        void (*on_damage)(void *user, uint64_t nodeid, uint64_t first,
                                          uint64_t count, int rc),
                        void *user)
{
    struct check c = { .cs = cs, .on_damage = on_damage, .user = user };
    uint8_t *scratch = contents_scratch_take(cs);
    struct content *ct = NULL;
    int rc = scratch ? content_check_load(cs, nodeid, &ct) : -ENOMEM;

    if (rc < 0) {
        contents_scratch_give(cs, scratch);
        if (rc != -ENOENT && rc != -ENOMEM && rc != PHR_E_LOCKED)
            on_damage(user, nodeid, 0, 1, rc); /* its logs: nothing of it can be read */
        return rc == -ENOENT || rc == -ENOMEM ? rc : 0;
    }
    pthread_rwlock_rdlock(&ct->lock);
    if (ct->is_loaded && ct->keys && ct->has_levels) {
        check_blocks(&c, ct, scratch);
        check_footers(&c, ct);
    } else if (ct->is_loaded) {
        check_hashes(&c, ct, scratch);
    }
    pthread_rwlock_unlock(&ct->lock);
    content_check_leave(ct);
    contents_scratch_give(cs, scratch);
    return 0;
}

int contents_has_container(struct contents *cs, uint64_t container)
{
    uint64_t bytes;

    return container_get_bytes(cs->store, container, &bytes);
}

/* ---- logout ---- */

/* A page at a time: the names lock is everybody's. */
static int count_unsealed(struct contents *c, const struct id16 *user, uint32_t *out_count)
{
    struct dirty_row rows[UNSEALED_ROWS];
    uint64_t after = 0;
    size_t n = 0;

    *out_count = 0;
    do {
        int rc = nsdb_content_list_dirty(c->db, after, rows, UNSEALED_ROWS, &n);

        if (rc < 0)
            return rc;
        for (size_t i = 0; i < n; i++)
            *out_count += rows[i].state == CONTENT_DIRTY && id_equal(&rows[i].writer, user);
        after = n > 0 ? rows[n - 1].nodeid : after;
    } while (n == UNSEALED_ROWS);
    return 0;
}

/* References to everything in memory; *out_n of them. */
static struct content **borrow_all(struct contents *c, size_t *out_n)
{
    scoped(unlock) pthread_mutex_t *held = lock(&c->lock);
    struct content **all = calloc(c->content_count + 1, sizeof(struct content *));
    size_t n = 0;

    for (size_t i = 0; all && i < c->bucket_count; i++)
        for (struct content *ct = c->buckets[i]; ct; ct = ct->next) {
            ct->refs++;
            all[n++] = ct;
        }
    *out_n = n;
    return all;
}

/* Flushed, synced, forgotten. Handles of others load it again with their own keys. */
static int let_go(struct content *ct, bool has_time)
{
    int rc = 0;

    pthread_rwlock_wrlock(&ct->lock);
    if (ct->is_loaded && ct->keys && !ct->is_retired)
        rc = content_flush(ct, true);
    pthread_rwlock_unlock(&ct->lock);
    if (rc == 0 && has_time)
        rc = content_fsync(ct);
    pthread_rwlock_wrlock(&ct->lock);
    if (!ct->has_change && !ct->needs_row) {
        content_unload(ct);
        ct->reset_seq++; /* a seal under way begins again */
    }
    pthread_rwlock_unlock(&ct->lock);
    return rc;
}

/* Whose keys a file was opened with is not kept: all of them are let go. */
int contents_logout(struct contents *c, const struct id16 *user, uint32_t *out_unsealed)
{
    uint64_t until = content_now_ms() + LOGOUT_MS_MAX;
    size_t n = 0;
    struct content **all = borrow_all(c, &n);
    int rc = all ? 0 : -ENOMEM;

    for (size_t i = 0; all && i < n; i++) {
        int one = let_go(all[i], content_now_ms() < until);

        rc = rc < 0 ? rc : one;
        content_release(all[i]);
    }
    free(all);
    strips_forget(c, 0);
    if (rc == 0)
        rc = count_unsealed(c, user, out_unsealed);
    return rc;
}
