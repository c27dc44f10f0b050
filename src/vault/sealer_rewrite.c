/*
 * One segment anew: blocks of the frozen file, each verified, under a fresh salt and dense
 * (MAKE-3 in sealer_make.c).
 */
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "vault/sealer_state.h"

struct rewrite {
    struct prepared *p;
    struct seg seg;     /* new */
    struct strip strip; /* new */
    const struct seg *old;
    struct strip *old_strip; /* borrowed; NULL: none */
    uint8_t *nonces;
    uint32_t data;   /* blocks written */
    uint32_t blocks; /* up to the last one with data */
};

/* ct->lock held. False: a hole. */
static int read_frozen(struct rewrite *r, uint32_t j, uint8_t *page, bool *out_is_data)
{
    struct content *ct = r->p->ct;
    uint64_t block = r->seg.index * SEG_BLOCKS + j;

    *out_is_data = true;
    for (size_t i = r->p->frozen; i > 0; i--) {
        const struct level *l = &ct->levels[i - 1];
        const struct map_slot *slot = map_find(&l->map, block);

        if (slot)
            return level_read(ct, l, slot, page);
        if (map_is_zero(&l->map, block)) {
            *out_is_data = false;
            return 0;
        }
    }
    if (!r->old || j >= layout_blocks(r->old->plaintext_len)) {
        *out_is_data = false;
        return 0;
    }
    if (strip_entry_is_hole(strip_entry(ct, r->old_strip, j), ct->geometry.suite) &&
        j < r->old_strip->vouched) {
        *out_is_data = false;
        return 0;
    }
    memset(page, 0, BLOCK_BYTES);
    return seg_read(ct, r->old, r->old_strip, j, 1, page);
}

static int rewrite_start(struct rewrite *r)
{
    struct content *ct = r->p->ct;
    const struct file_key *key = &ct->keys->keys[ct->keys->count - 1];
    size_t nonce_bytes = SEG_BLOCKS * aead_nonce_bytes(ct->geometry.suite);

    r->seg.form = SEG_DENSE;
    r->seg.fk_gen = key->gen;
    r->strip.entries = calloc(SEG_BLOCKS, strip_entry_bytes(ct->geometry.suite));
    r->strip.key = secret_alloc(sizeof *r->strip.key);
    r->nonces = malloc(nonce_bytes);
    if (!r->strip.entries || !r->strip.key || !r->nonces)
        return -ENOMEM;
    random_fill(r->nonces, nonce_bytes);
    random_fill(r->strip.salt, SALT_BYTES);
    segment_key(key->key, r->strip.salt, &ct->file, r->seg.index, &ct->geometry,
                r->strip.key);
    if (r->old && r->old->loc.container)
        return strips_borrow(ct, r->old, &r->old_strip);
    return r->old && r->old->form == SEG_ABSENT ? PHR_E_PENDING : 0;
}

/* Blocks [from, to): decrypt, encrypt, packed into scratch; ct->lock held for reading. */
static int rewrite_blocks(struct rewrite *r, uint32_t from, uint32_t to, uint32_t limit,
                          uint8_t *scratch, size_t *out_n)
{
    struct content *ct = r->p->ct;
    size_t nonce_bytes = aead_nonce_bytes(ct->geometry.suite);
    size_t at = 0;
    int rc = 0;

    for (uint32_t j = from; rc == 0 && j < to; j++) {
        uint32_t n =
            limit - j * BLOCK_BYTES < BLOCK_BYTES ? limit - j * BLOCK_BYTES : BLOCK_BYTES;
        bool is_data = false;

        rc = read_frozen(r, j, scratch + at, &is_data);
        if (rc < 0 || !is_data)
            continue;
        rc = block_seal(&ct->geometry, r->strip.key, j, r->nonces + j * nonce_bytes,
                        view_of(scratch + at, n), scratch + at,
                        strip_entry(ct, &r->strip, j));
        at += n;
        r->data++;
        r->blocks = j + 1;
        r->seg.plaintext_len = j * BLOCK_BYTES + n;
    }
    if (rc < 0)
        secret_wipe(scratch, SCRATCH_BYTES);
    *out_n = at;
    return rc;
}

static int rewrite_data(struct rewrite *r, uint32_t limit, uint64_t *out_bytes)
{
    struct content *ct = r->p->ct;
    uint8_t *scratch = contents_scratch_take(ct->cs);
    uint32_t blocks = layout_blocks(limit);
    uint32_t step = SCRATCH_BYTES / BLOCK_BYTES;
    uint64_t at = 0;
    int rc = scratch ? 0 : -ENOMEM;

    for (uint32_t j = 0; rc == 0 && j < blocks; j += step) {
        size_t n = 0;

        pthread_rwlock_rdlock(&ct->lock);
        rc = prepared_is_same(r->p)
                 ? rewrite_blocks(r, j, j + step < blocks ? j + step : blocks, limit,
                                  scratch, &n)
                 : -ESTALE;
        pthread_rwlock_unlock(&ct->lock);
        if (rc == 0 && n > 0 && r->seg.loc.container == 0)
            rc =
                container_create(ct->cs->store, CONTAINER_SEGMENT, &r->seg.loc.container);
        if (rc == 0 && n > 0)
            rc = container_write(ct->cs->store, r->seg.loc.container, view_of(scratch, n),
                                 at);
        at += n;
    }
    contents_scratch_give(ct->cs, scratch);
    *out_bytes = at;
    return rc;
}

/* strip || salt || padding || footer. */
static int rewrite_tail(struct rewrite *r, uint64_t ct_bytes)
{
    struct content *ct = r->p->ct;
    size_t strip_bytes = r->blocks * strip_entry_bytes(ct->geometry.suite);
    uint64_t object = ct_bytes + strip_bytes + SALT_BYTES;
    size_t padding = (size_t)((FOOTER_BYTES - object % FOOTER_BYTES) % FOOTER_BYTES);
    scoped(free) uint8_t *footer = calloc(2, FOOTER_BYTES);
    struct iovec v[] = { { r->strip.entries, strip_bytes },
                         { r->strip.salt, SALT_BYTES },
                         { NULL, padding + FOOTER_BYTES } };
    int rc;

    if (!footer)
        return -ENOMEM;
    pthread_rwlock_rdlock(&ct->lock);
    rc = prepared_is_same(r->p)
             ? seg_footer(ct, &r->seg, &r->strip, 1, object, footer + FOOTER_BYTES)
             : -ESTALE;
    pthread_rwlock_unlock(&ct->lock);
    if (rc < 0)
        return rc;
    v[2].iov_base = footer + FOOTER_BYTES - padding;
    r->seg.loc.len = object;
    r->seg.data_blocks = r->data;
    r->seg.strip_id = strip_id(r->strip.salt, view_of(r->strip.entries, strip_bytes));
    return container_write_parts(ct->cs->store, r->seg.loc.container, v, 3, ct_bytes);
}

static int rewrite_run(struct rewrite *r)
{
    struct prepared *p = r->p;
    struct sealed_seg g = { .old = r->old ? r->old->loc.container : 0,
                            .is_new_object = true };
    uint64_t left = p->size - r->seg.index * SEG_BYTES;
    uint64_t bytes = 0;
    int rc;

    pthread_rwlock_rdlock(&p->ct->lock);
    rc = prepared_is_same(p) ? rewrite_start(r) : -ESTALE;
    pthread_rwlock_unlock(&p->ct->lock);
    if (rc == PHR_E_PENDING) /* a part that is not here: fetched, tried again */
        ignored(hydrate_want(p->ct->cs, p->ct, r->seg.index, false, NULL));
    if (rc == 0)
        rc = rewrite_data(r, left < SEG_BYTES ? (uint32_t)left : SEG_BYTES, &bytes);
    if (rc < 0)
        return rc;
    if (r->data == 0) { /* nothing but holes: no segment */
        if (!r->old)
            return 0;
        g.seg = (struct seg){ .index = r->seg.index };
        g.is_new_object = false;
        return prepared_add(p, &g);
    }
    rc = rewrite_tail(r, bytes);
    if (rc == 0)
        rc = prepared_hash(p, &r->seg);
    g.seg = r->seg;
    return rc < 0 ? rc : prepared_add(p, &g);
}

int sealer_rewrite(struct prepared *p, uint64_t index, const struct seg *old)
{
    struct rewrite r = { .p = p, .seg.index = index, .old = old };
    int rc = rewrite_run(&r);

    if (rc < 0 && r.seg.loc.container)
        store_free(p->ct->cs->store, r.seg.loc.container); /* no row names it */
    if (r.old_strip)
        strips_release(p->ct->cs, r.old_strip);
    strip_fini(&r.strip);
    free(r.nonces);
    return rc;
}
