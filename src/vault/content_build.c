/*
 * Segments while they grow. A block is encrypted when it arrives and goes to its final place:
 * a full segment is the object, without a copy.
 *
 * BUILD-1  (RULE 1) Slots below flushed_blocks are never written again: their strip entries are
 *          on disk. flushed_blocks only rises; a segment of which a flush wrote n blocks grows
 *          behind n, and nowhere else.
 * BUILD-2  Between two flushes the strip is in memory only: bytes whose entry is not on disk
 *          belong to nobody, and a crash forgets them.
 * BUILD-3  A nonce is random, from the kernel's generator, and used once. A segment key seals
 *          at most 2^20 messages; the salt, hence the key, is fresh for each new segment.
 * BUILD-4  Only the last block of a segment may be short.
 *
 * A file of up to 1 MiB stays in memory until it is flushed (content_small.c).
 */
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "vault/content_state.h"

enum {
    SEALED_COUNT_MAX = 1 << 20,
    NONCES_MIN = 16,
    CT_ROOM_OWN_MAX = 128 * 1024 /* more is in a scratch buffer, whose pages are there already */
};
static_assert((size_t)SCRATCH_BYTES == (size_t)SMALL_BYTES_MAX, "the largest fits");

static size_t ct_room_for(size_t bytes)
{
    size_t room = SMALL_ROOM_BYTES;

    while (room < bytes)
        room *= 2;
    return room > CT_ROOM_OWN_MAX ? SCRATCH_BYTES : room;
}

static void ct_free(struct content *ct, struct building *b)
{
    if (b->ct_room == SCRATCH_BYTES)
        contents_scratch_give(ct->cs, b->ct);
    else if (b->ct_room == SMALL_ROOM_BYTES)
        contents_small_room_give(ct->cs, b->ct);
    else
        free(b->ct);
    b->ct = NULL;
    b->ct_room = 0;
}

void building_free_one(struct content *ct, struct building *b)
{
    if (!b)
        return;
    if (b->ct)
        contents_memory_give(ct->cs, b->ct_room);
    ct_free(ct, b);
    free(b->nonces);
    strip_fini(&b->strip);
    free(b);
}

void building_free(struct content *ct, struct seg *seg)
{
    building_free_one(ct, seg->building);
    building_free_one(ct, seg->kept);
    seg->building = NULL;
    seg->kept = NULL;
}

static int strip_start(struct content *ct, struct seg *seg, struct building *b)
{
    const struct symkey *fk = key_set_find(ct->keys, seg->fk_gen);
    struct strip *s = &b->strip;

    if (!fk)
        return PHR_E_SEAL;
    b->entry_room = b->ct ? SMALL_ROOM_BYTES / BLOCK_BYTES : SEG_BLOCKS;
    s->entries = calloc(b->entry_room, strip_entry_bytes(ct->geometry.suite));
    s->key = secret_alloc(sizeof *s->key);
    if (!s->entries || !s->key)
        return -ENOMEM;
    random_fill(s->salt, sizeof s->salt);
    segment_key(fk, s->salt, &ct->file, seg->index, &ct->geometry, s->key);
    s->vouched = SEG_BLOCKS; /* what is in memory is true */
    return 0;
}

/* A container for a growing segment, as long as it will ever be: footers can be read. */
static int building_place(struct content *ct, struct seg *seg)
{
    uint64_t id = 0;
    int rc = container_create(ct->cs->store, CONTAINER_SEGMENT, &id);

    if (rc < 0)
        return rc;
    rc = container_truncate(ct->cs->store, id,
                            strip_area_at() + strip_area_bytes(ct) + 2 * FOOTER_BYTES);
    if (rc == 0)
        rc = content_touch(ct, id);
    if (rc < 0) {
        store_free(ct->cs->store, id); /* no row names it */
        return rc;
    }
    seg->loc = (struct loc){ .container = id };
    return 0;
}

int building_new(struct content *ct, struct seg *seg, bool in_memory)
{
    struct building *b = calloc(1, sizeof *b);
    int rc;

    if (!b)
        return -ENOMEM;
    seg->form = SEG_BUILDING;
    seg->fk_gen = ct->keys->keys[ct->keys->count - 1].gen;
    seg->building = b;
    if (in_memory && contents_memory_take(ct->cs, SMALL_ROOM_BYTES)) {
        b->ct = contents_small_room_take(ct->cs);
        b->ct_room = SMALL_ROOM_BYTES;
        if (!b->ct)
            contents_memory_give(ct->cs, SMALL_ROOM_BYTES);
    }
    rc = strip_start(ct, seg, b);
    if (rc == 0 && !b->ct)
        rc = building_place(ct, seg);
    if (rc < 0)
        building_free(ct, seg);
    return rc;
}

/* Leaves seg->building NULL where the strip on disk is not whole: the overlay takes it then. */
int building_reopen(struct content *ct, struct seg *seg)
{
    struct building *b;
    struct strip s;
    int rc;

    INVARIANT(seg->form == SEG_BUILDING && !seg->building && seg->loc.container);
    rc = strip_load(ct, seg, &s);
    if (rc < 0)
        return rc;
    if (s.vouched < s.blocks || s.blocks == SEG_BLOCKS) {
        strip_fini(&s);
        return 0;
    }
    b = calloc(1, sizeof *b);
    if (!b) {
        strip_fini(&s);
        return -ENOMEM;
    }
    strips_forget(ct->cs, seg->loc.container);
    b->strip = s;
    b->entry_room = SEG_BLOCKS;
    b->strip.vouched = SEG_BLOCKS;
    b->flushed_blocks = s.blocks;
    b->rising = s.rising;
    seg->building = b;
    return 0;
}

bool building_is_worn(const struct seg *seg)
{
    return seg->building->sealed_count > SEALED_COUNT_MAX - 2 * SEG_BLOCKS;
}

/* `left` blocks are still to be sealed in this call: so many nonces are drawn at once. */
static int nonce_next(struct content *ct, struct building *b, size_t left,
                      const uint8_t **out_nonce)
{
    size_t bytes = aead_nonce_bytes(ct->geometry.suite);
    size_t all = left < NONCES_MIN ? NONCES_MIN : left;

    if (b->sealed_count >= SEALED_COUNT_MAX)
        return PHR_E_LIMIT;
    if (!b->nonces || b->nonce_at == 0) {
        uint8_t *nonces = realloc(b->nonces, all * bytes);

        if (!nonces)
            return -ENOMEM;
        b->nonces = nonces;
        b->nonce_at = all;
        random_fill(b->nonces, all * bytes);
    }
    b->nonce_at--;
    b->sealed_count++;
    *out_nonce = b->nonces + b->nonce_at * bytes;
    return 0;
}

/* Seals into ct; the entries go to the strip. */
static int seal_blocks(struct content *ct, struct seg *seg, uint32_t j, struct view plain,
                       uint8_t *out_ct)
{
    struct building *b = seg->building;

    for (size_t at = 0; at < plain.n; at += BLOCK_BYTES, j++) {
        size_t n = plain.n - at < BLOCK_BYTES ? plain.n - at : BLOCK_BYTES;
        uint8_t *entry = strip_entry(ct, &b->strip, j);
        const uint8_t *nonce = NULL;
        int rc = nonce_next(ct, b, (plain.n - at + BLOCK_BYTES - 1) / BLOCK_BYTES, &nonce);

        if (rc < 0)
            return rc;
        seg->data_blocks += strip_entry_is_hole(entry, ct->geometry.suite);
        rc = block_seal(&ct->geometry, b->strip.key, j, nonce, view_of(plain.p + at, n),
                        out_ct + at, entry);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int entries_grow(struct content *ct, struct building *b, uint32_t blocks)
{
    size_t entry = strip_entry_bytes(ct->geometry.suite);
    uint8_t *p;

    if (blocks <= b->entry_room)
        return 0;
    p = realloc(b->strip.entries, blocks * entry);
    if (!p)
        return -ENOMEM;
    memset(p + b->entry_room * entry, 0, (blocks - b->entry_room) * entry);
    b->strip.entries = p;
    b->entry_room = blocks;
    return 0;
}

/* Makes room in memory for this many bytes of ct, or spills. */
static int ct_grow(struct content *ct, struct seg *seg, size_t bytes)
{
    struct building *b = seg->building;
    size_t room = ct_room_for(bytes);
    uint8_t *p = NULL;
    int rc;

    if (bytes <= b->ct_room)
        return 0;
    if (bytes > SMALL_BYTES_MAX || !contents_memory_take(ct->cs, room - b->ct_room))
        return building_spill(ct, seg);
    rc = entries_grow(ct, b, layout_blocks(room));
    if (rc == 0)
        p = room == SCRATCH_BYTES ? contents_scratch_take(ct->cs) : malloc(room);
    if (!p) {
        contents_memory_give(ct->cs, room - b->ct_room);
        return -ENOMEM;
    }
    memcpy(p, b->ct, seg->plaintext_len);
    ct_free(ct, b);
    b->ct = p;
    b->ct_room = room;
    return 0;
}

/* What is jumped over is written to disk as zeros at worst: never what the memory held before. */
static void zero_gap(struct seg *seg, size_t to)
{
    size_t from = seg->plaintext_len;

    if (to > from)
        memset(seg->building->ct + from, 0, to - from);
}

/* In pieces of a scratch buffer: encrypt, write. */
static int put_to_disk(struct content *ct, struct seg *seg, uint32_t j, struct view plain)
{
    uint8_t *scratch = contents_scratch_take(ct->cs);
    int rc = scratch ? 0 : -ENOMEM;

    while (rc == 0 && plain.n > 0) {
        size_t n = plain.n < SCRATCH_BYTES ? plain.n : SCRATCH_BYTES;

        rc = seal_blocks(ct, seg, j, view_of(plain.p, n), scratch);
        if (rc == 0)
            rc = container_write(ct->cs->store, seg->loc.container, view_of(scratch, n),
                                 (uint64_t)j * BLOCK_BYTES);
        plain = view_of(plain.p + n, plain.n - n);
        j += (uint32_t)(n / BLOCK_BYTES);
    }
    contents_scratch_give(ct->cs, scratch);
    return rc;
}

/* After a failure the entries of the run may not match its bytes: those blocks read as damaged
   until they are written again, which is what the caller was told. */
int building_put(struct content *ct, struct seg *seg, uint32_t j, struct view plain)
{
    struct building *b = seg->building;
    size_t end = (size_t)j * BLOCK_BYTES + plain.n;
    int rc = 0;

    INVARIANT(b && j >= b->flushed_blocks && end <= SEG_BYTES);
    if (b->ct)
        rc = ct_grow(ct, seg, end);
    if (rc < 0)
        return rc;
    if (b->ct) {
        zero_gap(seg, (size_t)j * BLOCK_BYTES);
        rc = seal_blocks(ct, seg, j, plain, b->ct + (size_t)j * BLOCK_BYTES);
    } else {
        rc = put_to_disk(ct, seg, j, plain);
    }
    b->is_dirty = true;
    if (rc == 0 && end > seg->plaintext_len)
        seg->plaintext_len = (uint32_t)end;
    if (rc == 0 && !b->ct)
        rc = content_touch(ct, seg->loc.container);
    return rc;
}

void building_zero(struct content *ct, struct seg *seg, uint32_t from, uint32_t to)
{
    struct building *b = seg->building;
    size_t bytes = strip_entry_bytes(ct->geometry.suite);

    INVARIANT(b && from >= b->flushed_blocks && to <= SEG_BLOCKS);
    for (uint32_t j = from; j < to; j++) {
        uint8_t *entry = strip_entry(ct, &b->strip, j);

        seg->data_blocks -= !strip_entry_is_hole(entry, ct->geometry.suite);
        memset(entry, 0, bytes);
    }
    b->is_dirty = true;
}

int building_read(struct content *ct, const struct seg *seg, uint32_t j, uint32_t n,
                  uint8_t *p)
{
    const struct building *b = seg->building;

    if (!b->ct)
        return seg_read(ct, seg, &b->strip, j, n, p);
    for (; n > 0; n--, j++, p += BLOCK_BYTES) {
        const uint8_t *entry = strip_entry(ct, &b->strip, j);
        uint32_t bytes = seg_block_bytes(seg, j);
        int rc = 0;

        if (strip_entry_is_hole(entry, ct->geometry.suite))
            memset(p, 0, bytes);
        else
            rc = block_open_sealed(&ct->geometry, b->strip.key, j, entry,
                                   view_of(b->ct + (size_t)j * BLOCK_BYTES, bytes), p);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int building_spill(struct content *ct, struct seg *seg)
{
    struct building *b = seg->building;
    size_t used = seg->plaintext_len;
    int rc = entries_grow(ct, b, SEG_BLOCKS);

    if (rc == 0)
        rc = building_place(ct, seg);
    if (rc < 0)
        return rc;
    if (used > 0)
        rc = container_write(ct->cs->store, seg->loc.container, view_of(b->ct, used), 0);
    if (rc < 0) {
        store_free(ct->cs->store, seg->loc.container); /* no row names it */
        seg->loc = (struct loc){ 0 };
        return rc;
    }
    contents_memory_give(ct->cs, b->ct_room);
    ct_free(ct, b);
    return 0;
}

/* ---- flush ---- */

/* The part of the strip that changed; with the first flush all of it and the salt. */
static int write_strip(struct content *ct, struct seg *seg)
{
    struct building *b = seg->building;
    size_t entry = strip_entry_bytes(ct->geometry.suite);
    size_t all = SEG_BLOCKS * entry;
    size_t from = b->flushed_blocks * entry / BLOCK_BYTES * BLOCK_BYTES;
    size_t to = (layout_blocks(seg->plaintext_len) * entry + BLOCK_BYTES - 1) /
                BLOCK_BYTES * BLOCK_BYTES;
    struct iovec v[] = { { b->strip.entries, all }, { b->strip.salt, SALT_BYTES } };

    if (b->rising == 0)
        return container_write_parts(ct->cs->store, seg->loc.container, v, 2,
                                     strip_area_at());
    if (to > all)
        to = all;
    return container_write(ct->cs->store, seg->loc.container,
                           view_of(b->strip.entries + from, to - from),
                           strip_area_at() + from);
}

int building_flush(struct content *ct, struct seg *seg)
{
    struct building *b = seg->building;
    scoped(free) uint8_t *footer = NULL;
    uint64_t at;
    int rc;

    if (!b || !b->is_dirty)
        return 0;
    if (b->ct)
        return small_flush(ct, seg);
    footer = malloc(FOOTER_BYTES);
    if (!footer)
        return -ENOMEM;
    rc = write_strip(ct, seg);
    if (rc == 0)
        rc = seg_footer(ct, seg, &b->strip, b->rising + 1, 0, footer);
    if (rc < 0)
        return rc;
    at = strip_area_at() + strip_area_bytes(ct) + (b->rising % 2) * FOOTER_BYTES;
    rc = container_write(ct->cs->store, seg->loc.container, view_of(footer, FOOTER_BYTES),
                         at);
    if (rc == 0)
        rc = content_touch(ct, seg->loc.container);
    if (rc < 0)
        return rc;
    b->rising++;
    b->flushed_blocks = layout_blocks(seg->plaintext_len);
    b->is_dirty = false;
    if (b->flushed_blocks == SEG_BLOCKS) /* full: nothing more comes here */
        building_free(ct, seg);
    return 0;
}
