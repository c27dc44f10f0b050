/*
 * Truncate, punch, zero, and where data is.
 *
 * What is on disk stays as it is: a segment that is wholly gone leaves the table (the row says
 * so), slots that no strip entry covers yet become holes in memory, and only what is left gets
 * a range record in the overlay, limited to the blocks that were there.
 */
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/secret.h"
#include "vault/content_state.h"

static int shrink(struct content *ct, uint64_t size);
static int zero_blocks(struct content *ct, uint64_t from, uint64_t to,
                       enum overlay_kind kind);

int content_reset(struct content *ct)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ct->cur.seg_count; i++)
        rc = content_drop(ct, ct->cur.segs[i].loc.container);
    for (size_t i = 0; rc == 0 && i < ct->level_count; i++)
        rc = content_drop(ct, ct->levels[i].container);
    for (size_t i = 0; rc == 0 && !ct->has_levels && i < ct->cur.level_count; i++)
        rc = content_drop(ct, ct->cur.levels[i].container);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ct->cur.seg_count; i++)
        building_free(ct, &ct->cur.segs[i]);
    for (size_t i = 0; i < ct->level_count; i++)
        level_fini(ct, &ct->levels[i]);
    layout_fini(&ct->cur);
    ct->level_count = 0;
    ct->frozen_count = 0;
    ct->has_levels = true; /* there are none */
    ct->is_trusted = true;
    ct->size = 0;
    ct->committed_size = 0;
    ct->reserved_blocks = 0;
    ct->reset_seq++;
    ct->needs_row = true;
    ct->has_change = true;
    return 0;
}

int content_resize(struct content *ct, uint64_t size)
{
    int rc = 0;

    if (size > FILE_BYTES_MAX)
        return -EFBIG;
    if (size == ct->size)
        return 0;
    if (size == 0)
        return content_reset(ct);
    small_forget(ct);
    if (size < ct->size)
        rc = shrink(ct, size);
    if (rc < 0)
        return rc;
    ct->size = size;
    ct->has_change = true;
    ct->needs_row = true;
    return 0;
}

/* Takes the segment out of the table. */
static int drop_seg(struct content *ct, size_t place)
{
    int rc = content_drop(ct, ct->cur.segs[place].loc.container);

    if (rc < 0)
        return rc;
    building_free(ct, &ct->cur.segs[place]);
    layout_remove(&ct->cur, place);
    ct->needs_row = true;
    return 0;
}

/* The block that the new end cuts through, shortened. */
static int cut_block(struct content *ct, uint64_t size)
{
    uint8_t page[BLOCK_BYTES];
    uint64_t block = size / BLOCK_BYTES;
    struct source s = content_source(ct, block);
    int rc;

    if (s.kind == SOURCE_ZERO)
        return 0;
    rc = content_read_block(ct, block, page);
    if (rc == 0 && s.kind == SOURCE_SEG && s.seg->building &&
        s.j >= s.seg->building->flushed_blocks &&
        s.j + 1 == layout_blocks(s.seg->plaintext_len))
        s.seg->plaintext_len = s.j * BLOCK_BYTES; /* the put below sets it */
    if (rc == 0)
        rc = content_put_block(ct, block, view_of(page, size % BLOCK_BYTES));
    secret_wipe(page, sizeof page);
    return rc;
}

static int shrink(struct content *ct, uint64_t size)
{
    uint64_t from = (size + BLOCK_BYTES - 1) / BLOCK_BYTES;
    uint64_t to = (ct->size + BLOCK_BYTES - 1) / BLOCK_BYTES;
    struct seg *seg;
    int rc = 0;

    for (size_t i = ct->cur.seg_count; rc == 0 && i > 0; i--)
        if (ct->cur.segs[i - 1].index * SEG_BLOCKS >= from)
            rc = drop_seg(ct, i - 1);
    if (rc == 0 && from < to)
        rc = zero_blocks(ct, from, to, OVERLAY_TRUNCATE);
    seg = layout_find(&ct->cur, from / SEG_BLOCKS);
    if (rc == 0 && seg && seg->building &&
        from % SEG_BLOCKS >= seg->building->flushed_blocks &&
        layout_blocks(seg->plaintext_len) > from % SEG_BLOCKS)
        seg->plaintext_len =
            (uint32_t)(from % SEG_BLOCKS) * BLOCK_BYTES; /* holes behind */
    if (rc == 0 && size % BLOCK_BYTES != 0)
        rc = cut_block(ct, size);
    if (rc == 0 && ct->committed_size > size)
        ct->committed_size = size; /* LOG-3: a group carries the cut, not the old end */
    return rc;
}

/* In memory where no entry is on disk yet. True: a range record is needed as well. */
static bool zero_seg(struct content *ct, struct seg *seg, uint64_t from, uint64_t to)
{
    uint64_t start = seg->index * SEG_BLOCKS;
    uint64_t end = start + layout_blocks(seg->plaintext_len);
    uint32_t flushed = SEG_BLOCKS;

    from = from > start ? from : start;
    to = to < end ? to : end;
    if (from >= to)
        return false;
    if (seg->building)
        flushed = seg->building->flushed_blocks;
    if (to - start > flushed) {
        uint64_t first = from - start > flushed ? from - start : flushed;

        building_zero(ct, seg, (uint32_t)first, (uint32_t)(to - start));
        ct->needs_row = true;
    }
    return from - start < flushed;
}

/* All that there is of the segment lies in [from, to), in the levels too: a seal under way merges
   those into it, and a segment that has left the table takes them along (COMMIT-1). */
static bool is_all_within(const struct content *ct, const struct seg *seg, uint64_t from,
                          uint64_t to)
{
    uint64_t start = seg->index * SEG_BLOCKS;

    if (start < from || start + layout_blocks(seg->plaintext_len) > to)
        return false;
    for (size_t i = 0; to < start + SEG_BLOCKS && i < ct->level_count; i++)
        if (map_touches(&ct->levels[i].map, to, start + SEG_BLOCKS))
            return false;
    return true;
}

/* Whole blocks [from, to), from < to, become zeros. */
static int zero_blocks(struct content *ct, uint64_t from, uint64_t to,
                       enum overlay_kind kind)
{
    uint64_t first = to;
    uint64_t last = from;
    int rc = 0;

    for (size_t i = layout_place(&ct->cur, from / SEG_BLOCKS);
         rc == 0 && i < ct->cur.seg_count && ct->cur.segs[i].index * SEG_BLOCKS < to;) {
        struct seg *seg = &ct->cur.segs[i];
        uint64_t start = seg->index * SEG_BLOCKS;

        if (is_all_within(ct, seg, from, to) && !(seg->building && seg->building->ct)) {
            rc = drop_seg(ct, i);
            continue;
        }
        if (zero_seg(ct, seg, from, to)) {
            if (first == to)
                first = start > from ? start : from;
            last = start + SEG_BLOCKS < to ? start + SEG_BLOCKS : to;
        }
        i++;
    }
    for (size_t i = 0; i < ct->level_count; i++)
        if (map_touches(&ct->levels[i].map, from, to)) {
            first = from;
            last = to;
        }
    ct->has_change = true;
    if (rc < 0 || first >= last)
        return rc;
    return content_zero_blocks(ct, first, last, kind);
}

/* Part of one block. */
static int zero_part(struct content *ct, uint64_t offset, size_t n)
{
    uint8_t page[BLOCK_BYTES];
    uint64_t block = offset / BLOCK_BYTES;
    uint64_t left = ct->size - block * BLOCK_BYTES;
    int rc;

    if (content_source(ct, block).kind == SOURCE_ZERO)
        return 0;
    rc = content_read_block(ct, block, page);
    if (rc == 0) {
        memset(page + offset % BLOCK_BYTES, 0, n);
        rc = content_put_block(ct, block,
                               view_of(page, left < BLOCK_BYTES ? left : BLOCK_BYTES));
    }
    secret_wipe(page, sizeof page);
    ct->has_change = true;
    return rc;
}

int content_zero_range(struct content *ct, uint64_t offset, uint64_t len)
{
    uint64_t end = offset + len < ct->size ? offset + len : ct->size;
    uint64_t from;
    uint64_t to;
    int rc = 0;

    if (offset >= end)
        return 0;
    small_forget(ct);
    from = (offset + BLOCK_BYTES - 1) / BLOCK_BYTES;
    /* A short last block that is zeroed to its end is zeroed whole. */
    to = end == ct->size ? (end + BLOCK_BYTES - 1) / BLOCK_BYTES : end / BLOCK_BYTES;
    if (offset % BLOCK_BYTES != 0) {
        uint64_t stop = from * BLOCK_BYTES < end ? from * BLOCK_BYTES : end;

        rc = zero_part(ct, offset, (size_t)(stop - offset));
    }
    if (rc == 0 && from < to)
        rc = zero_blocks(ct, from, to, OVERLAY_ZERO);
    if (rc == 0 && to >= from && end > to * BLOCK_BYTES)
        rc = zero_part(ct, to * BLOCK_BYTES, (size_t)(end - to * BLOCK_BYTES));
    return rc;
}

/* ---- SEEK_DATA, SEEK_HOLE ---- */

static bool is_data(struct content *ct, uint64_t block)
{
    struct source s = content_source(ct, block);
    struct strip *strip = NULL;
    bool is_hole;

    if (s.kind == SOURCE_ZERO)
        return false;
    if (s.kind != SOURCE_SEG)
        return true;
    if (s.seg->building)
        return !strip_entry_is_hole(strip_entry(ct, &s.seg->building->strip, s.j),
                                    ct->geometry.suite);
    if (strips_borrow(ct, s.seg, &strip) < 0)
        return true; /* what cannot be told is read, and says why */
    is_hole = strip_entry_is_hole(strip_entry(ct, strip, s.j), ct->geometry.suite) &&
              s.j < strip->vouched;
    strips_release(ct->cs, strip);
    return !is_hole;
}

/* The next block that can differ from this one, which is a hole outside every segment. */
static uint64_t skip_empty(const struct content *ct, uint64_t block, uint64_t end)
{
    size_t place = layout_place(&ct->cur, block / SEG_BLOCKS);
    uint64_t next = end;

    if (place < ct->cur.seg_count) {
        if (ct->cur.segs[place].index == block / SEG_BLOCKS)
            return block + 1;
        next = ct->cur.segs[place].index * SEG_BLOCKS;
    }
    next = next < end ? next : end;
    for (size_t i = 0; i < ct->level_count; i++)
        if (map_touches(&ct->levels[i].map, block, next))
            return block + 1;
    return next;
}

int content_seek(struct content *ct, uint64_t offset, bool want_data,
                 uint64_t *out_offset)
{
    uint64_t end = (ct->size + BLOCK_BYTES - 1) / BLOCK_BYTES;
    uint64_t block = offset / BLOCK_BYTES;

    if (offset >= ct->size)
        return -ENXIO;
    while (block < end) {
        bool found = is_data(ct, block);

        if (found == want_data) {
            *out_offset = block * BLOCK_BYTES > offset ? block * BLOCK_BYTES : offset;
            return 0;
        }
        block = found ? block + 1 : skip_empty(ct, block, end);
    }
    if (want_data)
        return -ENXIO;
    *out_offset = ct->size;
    return 0;
}
