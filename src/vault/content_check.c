/* Reading everything to see whether it is whole; letting go of keys. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "vault/content_state.h"

enum { NODES_AT_A_TIME = 256, LOGOUT_MS_MAX = 5000 };

struct check {
    struct contents *cs;
    void (*on_damage)(void *user, uint64_t nodeid, uint64_t block, int rc);
    void *user;
    uint64_t nodeids[NODES_AT_A_TIME];
    size_t count;
};

static int collect(void *user, const struct content_row *row)
{
    struct check *c = user;

    c->nodeids[c->count++] = row->nodeid;
    return c->count == NODES_AT_A_TIME ? 1 : 0;
}

static int count_row(void *user, const struct content_row *row)
{
    uint64_t *n = user;

    (void)row;
    *n += 1;
    return 0;
}

/* Without keys: what is sealed has a name that is its hash. lock held for reading. */
static int check_hash(struct content *ct, const struct seg *seg, uint8_t *scratch)
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
        rc = check_hash(ct, seg, scratch);
        if (rc < 0)
            c->on_damage(c->user, ct->nodeid, seg->index * SEG_BLOCKS, rc);
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
                c->on_damage(c->user, ct->nodeid, b, one);
        }
        secret_wipe(scratch, SCRATCH_BYTES);
        at += n;
    }
}

static int check_node(struct check *c, uint64_t nodeid)
{
    struct content *ct = NULL;
    struct key_set *keys = NULL;
    uint8_t *scratch = contents_scratch_take(c->cs);
    int rc = scratch ? content_borrow(c->cs, nodeid, &ct) : -ENOMEM;

    if (rc < 0) {
        contents_scratch_give(c->cs, scratch);
        return rc;
    }
    if (access_keys_local(c->cs->v, nodeid, &keys) < 0)
        keys = NULL; /* hashes then */
    pthread_rwlock_wrlock(&ct->lock);
    rc = keys ? content_set_keys(ct, keys) : 0;
    if (rc == 0)
        rc = content_load(ct);
    pthread_rwlock_unlock(&ct->lock);
    if (rc < 0 && rc != -ENOENT)
        c->on_damage(c->user, nodeid, 0, rc);
    pthread_rwlock_rdlock(&ct->lock);
    if (rc == 0 && ct->is_loaded && ct->keys && ct->has_levels)
        check_blocks(c, ct, scratch);
    else if (rc == 0 && ct->is_loaded)
        check_hashes(c, ct, scratch);
    pthread_rwlock_unlock(&ct->lock);
    if (!contents_is_open(c->cs, nodeid)) {
        pthread_rwlock_wrlock(&ct->lock);
        if (!ct->is_sealing && !ct->has_change)
            content_drop_keys(ct);
        pthread_rwlock_unlock(&ct->lock);
    }
    key_set_release(keys);
    content_release(ct);
    contents_scratch_give(c->cs, scratch);
    return 0;
}

int contents_check(struct contents *c,
                   void (*on_damage)(void *user, uint64_t nodeid, uint64_t block, int rc),
                   void (*on_progress)(void *user, uint64_t done, uint64_t all),
                   void *user)
{
    struct check check = { .cs = c, .on_damage = on_damage, .user = user };
    uint64_t after = 0;
    uint64_t done = 0;
    uint64_t all = 0;
    int rc = nsdb_content_each(c->db, 0, count_row, &all);

    while (rc >= 0) {
        check.count = 0;
        rc = nsdb_content_each(c->db, after, collect, &check);
        if (rc < 0 || check.count == 0)
            break;
        for (size_t i = 0; rc >= 0 && i < check.count; i++) {
            rc = check_node(&check, check.nodeids[i]);
            done++;
        }
        after = check.nodeids[check.count - 1];
        if (on_progress)
            on_progress(user, done, all > done ? all : done);
    }
    return rc < 0 ? rc : 0;
}

/* ---- logout ---- */

struct unsealed {
    const struct id16 *user;
    uint32_t count;
};

static int count_unsealed(void *user, const struct content_row *row)
{
    struct unsealed *u = user;

    if (row->state == CONTENT_DIRTY && id_equal(&row->writer, u->user))
        u->count++;
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
    struct unsealed u = { .user = user };
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
        rc = nsdb_content_each_dirty(c->db, count_unsealed, &u);
    if (rc == 0)
        *out_unsealed = u.count;
    return rc;
}
