/*
 * Where a block is, and reading and writing of byte ranges.
 *
 * IO-1  Levels are asked from the top, then the segment; who answers first wins. What nobody
 *       answers for is a hole and reads as zeros.
 * IO-2  A block's stored length never passes the end of the file that was true when it was
 *       written; readers fill up with zeros.
 * IO-3  A write goes in place only to a slot that no strip entry on disk covers and for which
 *       no level answers; everything else goes to the top level (RULE 1 and 2).
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "vault/content_state.h"

static int read_blocks(struct content *ct, uint64_t block, uint64_t blocks,
                       struct span room, uint64_t *out_blocks);
static int write_run(struct content *ct, uint64_t block, struct view plain,
                     size_t *out_n);
static int write_part(struct content *ct, uint64_t offset, struct view bytes);

struct source content_source(const struct content *ct, uint64_t block)
{
    struct source s = { .kind = SOURCE_ZERO, .j = (uint32_t)(block % SEG_BLOCKS) };

    for (size_t i = ct->level_count; i > 0; i--) {
        const struct level *l = &ct->levels[i - 1];

        s.slot = map_find(&l->map, block);
        if (s.slot) {
            s.kind = SOURCE_LEVEL;
            s.level = l;
            return s;
        }
        if (map_is_zero(&l->map, block))
            return s;
    }
    s.seg = layout_find(&ct->cur, block / SEG_BLOCKS);
    if (s.seg && s.j < layout_blocks(s.seg->plaintext_len))
        s.kind = s.seg->form == SEG_ABSENT ? SOURCE_ABSENT : SOURCE_SEG;
    return s;
}

/* First block >= from for which any level answers, at most `to`. */
static uint64_t levels_next(const struct content *ct, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < ct->level_count; i++)
        to = map_next(&ct->levels[i].map, from, to);
    return to;
}

/* ---- reading ---- */

static int read_seg(struct content *ct, const struct seg *seg, uint32_t j, uint32_t n,
                    uint8_t *p)
{
    struct strip *s = NULL;
    int rc;

    if (seg->building)
        return building_read(ct, seg, j, n, p);
    rc = strips_borrow(ct, seg, &s);
    if (rc < 0)
        return rc;
    rc = seg_read(ct, seg, s, j, n, p);
    strips_release(ct->cs, s);
    return rc;
}

int content_read_block(struct content *ct, uint64_t block, uint8_t *p)
{
    struct source s = content_source(ct, block);

    switch (s.kind) {
    case SOURCE_LEVEL:
        return level_read(ct, s.level, s.slot, p);
    case SOURCE_SEG:
        memset(p, 0, BLOCK_BYTES);
        return read_seg(ct, s.seg, s.j, 1, p);
    case SOURCE_ABSENT:
        return PHR_E_PENDING;
    case SOURCE_ZERO:
    default:
        memset(p, 0, BLOCK_BYTES);
        return 0;
    }
}

/* Part of one block, by way of a page that is wiped. */
static int read_part(struct content *ct, uint64_t offset, struct span room)
{
    uint8_t page[BLOCK_BYTES];
    int rc = content_read_block(ct, offset / BLOCK_BYTES, page);

    if (rc == 0)
        memcpy(room.p, page + offset % BLOCK_BYTES, room.n);
    secret_wipe(page, sizeof page);
    return rc;
}

int content_read_range(struct content *ct, uint64_t offset, struct span room)
{
    int rc = 0;

    while (rc == 0 && room.n > 0) {
        size_t n = BLOCK_BYTES - offset % BLOCK_BYTES;

        if (n == BLOCK_BYTES && room.n >= BLOCK_BYTES) {
            uint64_t blocks = 0;

            rc = read_blocks(ct, offset / BLOCK_BYTES, room.n / BLOCK_BYTES, room,
                             &blocks);
            n = (size_t)blocks * BLOCK_BYTES;
        } else {
            n = n < room.n ? n : room.n;
            rc = read_part(ct, offset, (struct span){ room.p, n });
        }
        offset += n;
        room = (struct span){ room.p + n, room.n - n };
    }
    return rc;
}

/* Whole blocks of one source, straight into the caller's room. */
static int read_blocks(struct content *ct, uint64_t block, uint64_t blocks,
                       struct span room, uint64_t *out_blocks)
{
    struct source s = content_source(ct, block);
    uint64_t in_seg = SEG_BLOCKS - block % SEG_BLOCKS;
    uint64_t run;
    uint64_t in_file;
    int rc = 0;

    if (s.kind == SOURCE_LEVEL || s.kind == SOURCE_ABSENT) {
        *out_blocks = 1;
        return content_read_block(ct, block, room.p);
    }
    if (s.kind == SOURCE_ZERO) {
        *out_blocks = 1;
        memset(room.p, 0, BLOCK_BYTES);
        return 0;
    }
    run = blocks < in_seg ? blocks : in_seg;
    if (ct->level_count > 0)
        run = levels_next(ct, block, block + run) - block;
    *out_blocks = run;
    in_file = layout_blocks(s.seg->plaintext_len) - s.j;
    if (run > in_file) {
        memset(room.p + in_file * BLOCK_BYTES, 0, (size_t)(run - in_file) * BLOCK_BYTES);
        run = in_file;
    }
    rc = read_seg(ct, s.seg, s.j, (uint32_t)run, room.p);
    if (rc == 0) {
        uint32_t last = seg_block_bytes(s.seg, s.j + (uint32_t)run - 1);

        memset(room.p + (run - 1) * BLOCK_BYTES + last, 0, (size_t)BLOCK_BYTES - last);
    }
    return rc;
}

bool content_find_absent(const struct content *ct, uint64_t offset, uint64_t len,
                         struct seg *out_seg)
{
    uint64_t first = offset / BLOCK_BYTES;
    uint64_t end;

    if (len == 0)
        return false;
    end = (offset + len - 1) / BLOCK_BYTES + 1;
    for (size_t i = layout_place(&ct->cur, first / SEG_BLOCKS); i < ct->cur.seg_count;
         i++) {
        const struct seg *s = &ct->cur.segs[i];
        uint64_t at = s->index * SEG_BLOCKS;
        uint64_t to = at + layout_blocks(s->plaintext_len);

        if (at >= end)
            return false;
        if (s->form != SEG_ABSENT)
            continue;
        at = at > first ? at : first;
        to = to < end ? to : end;
        for (; at < to; at++) /* what levels cover is not needed */
            if (content_source(ct, at).kind == SOURCE_ABSENT) {
                *out_seg = *s;
                return true;
            }
    }
    return false;
}

/* ---- writing ---- */

/* Does any level answer for a block of this segment? */
static bool levels_touch(const struct content *ct, uint64_t index)
{
    uint64_t from = index * SEG_BLOCKS;

    return levels_next(ct, from, from + SEG_BLOCKS) < from + SEG_BLOCKS;
}

/* Small files wait in memory: one segment, nothing on disk. */
static bool may_stay_in_memory(const struct content *ct, uint64_t block)
{
    return ct->cur.seg_count == 0 && ct->level_count == 0 &&
           block < SMALL_BYTES_MAX / BLOCK_BYTES;
}

/* The first segment was in memory and gets company: it grows on disk from now on. */
static int spill_small(struct content *ct)
{
    struct seg *first = ct->cur.seg_count == 1 ? &ct->cur.segs[0] : NULL;

    if (!first || !first->building || !first->building->ct)
        return 0;
    return building_spill(ct, first);
}

/* At most so many segments grow at a time; those that wait longest get their strip written. */
static int limit_buildings(struct content *ct)
{
    size_t growing = 0;

    for (size_t i = 0; i < ct->cur.seg_count; i++)
        growing += ct->cur.segs[i].building != NULL;
    for (size_t i = 0; i < ct->cur.seg_count && growing >= BUILDINGS_MAX; i++) {
        struct seg *seg = &ct->cur.segs[i];
        int rc;

        if (!seg->building)
            continue;
        rc = building_flush(ct, seg);
        if (rc < 0)
            return rc;
        building_free(ct, seg);
        growing--;
    }
    return 0;
}

/* A full segment's strip goes out at once, so that its bytes can start to the disk. */
static int close_full(struct content *ct, struct seg *seg)
{
    if (!seg->building || seg->building->ct || seg->data_blocks < SEG_BLOCKS ||
        seg->plaintext_len < SEG_BYTES)
        return 0;
    ct->needs_row = true;
    ct->filled = seg->loc.container; /* leave_changed starts it to the disk */
    return building_flush(ct, seg);
}

/* Its key has sealed enough (BUILD-3): what comes now goes to the top level. */
static int retire_key(struct content *ct, struct seg *seg)
{
    int rc = building_flush(ct, seg);

    if (rc < 0)
        return rc;
    building_free(ct, seg);
    seg->is_frozen = true;
    ct->needs_row = true;
    return 0;
}

/* The segment in which this block may be written in place, or NULL: to the top level. */
static int place_for(struct content *ct, uint64_t block, struct seg **out_seg)
{
    uint64_t index = block / SEG_BLOCKS;
    struct seg *seg = layout_find(&ct->cur, index);
    bool in_memory = may_stay_in_memory(ct, block);
    int rc = 0;

    *out_seg = NULL;
    if (seg) {
        if (seg->kept && !seg->is_sealed && !seg->is_frozen)
            rc = small_take_back(ct, seg);
        if (rc < 0)
            return rc;
        if (seg->form != SEG_BUILDING || seg->is_sealed || seg->is_frozen)
            return 0;
        if (!seg->building && layout_blocks(seg->plaintext_len) < SEG_BLOCKS)
            rc = building_reopen(ct, seg);
        if (rc == PHR_E_SEAL) /* its strip is damaged; new bytes need not be lost */
            return 0;
        if (rc == 0 && seg->building && building_is_worn(seg))
            return retire_key(ct, seg);
        if (rc == 0 && seg->building &&
            block % SEG_BLOCKS >= seg->building->flushed_blocks)
            *out_seg = seg;
        return rc;
    }
    if (ct->level_count > 0 && levels_touch(ct, index))
        return 0;
    if (!in_memory) {
        rc = spill_small(ct);
        if (rc == 0)
            rc = limit_buildings(ct);
    }
    if (rc < 0)
        return rc;
    rc = layout_insert(&ct->cur, index, &seg);
    if (rc < 0)
        return rc;
    rc = building_new(ct, seg, in_memory);
    if (rc < 0) {
        layout_remove(&ct->cur, (size_t)(seg - ct->cur.segs));
        return rc;
    }
    *out_seg = seg;
    return 0;
}

/* The top level, made when there is none that grows or the last is full. */
static int top_level(struct content *ct, struct level **out_level)
{
    struct level *top =
        ct->level_count > ct->frozen_count ? &ct->levels[ct->level_count - 1] : NULL;
    int rc;

    if (top && (top->records >= LEVEL_RECORDS_MAX || top->end_page >= LEVEL_PAGES_MAX)) {
        rc = level_flush(ct, top, false);
        if (rc < 0)
            return rc;
        top = NULL;
    }
    if (!top) {
        rc = level_add(ct);
        if (rc < 0)
            return rc == PHR_E_LIMIT ? -ENOSPC : rc; /* not sealed for very long */
        top = &ct->levels[ct->level_count - 1];
    }
    *out_level = top;
    return 0;
}

int content_zero_blocks(struct content *ct, uint64_t from, uint64_t to,
                        enum overlay_kind kind)
{
    struct level *top = NULL;
    int rc = top_level(ct, &top);

    return rc < 0 ? rc : level_zero(ct, top, from, to, kind);
}

/* A short last block must be whole before the segment grows behind it (BUILD-4). */
static int fill_tail(struct content *ct, struct seg *seg)
{
    uint8_t page[BLOCK_BYTES];
    uint64_t block = seg->index * SEG_BLOCKS + layout_blocks(seg->plaintext_len) - 1;
    int rc = content_read_block(ct, block, page);

    if (rc == 0)
        rc = content_put_block(ct, block, view_of(page, sizeof page));
    secret_wipe(page, sizeof page);
    return rc;
}

static int put_in_place(struct content *ct, struct seg *seg, uint32_t j,
                        struct view plain)
{
    uint64_t index = seg->index;
    int rc = 0;

    if (seg->plaintext_len % BLOCK_BYTES != 0 && j >= layout_blocks(seg->plaintext_len)) {
        rc = fill_tail(ct, seg);
        seg = layout_find(&ct->cur, index); /* the table may have moved */
        INVARIANT(seg != NULL);
    }
    if (rc == 0)
        rc = building_put(ct, seg, j, plain);
    if (rc < 0)
        return rc;
    ct->needs_row = true;
    return close_full(ct, seg);
}

int content_put_block(struct content *ct, uint64_t block, struct view plain)
{
    struct seg *seg = NULL;
    struct level *top = NULL;
    int rc = 0;

    if (ct->level_count == 0 || levels_next(ct, block, block + 1) > block)
        rc = place_for(ct, block, &seg);
    if (rc < 0)
        return rc;
    if (seg)
        return put_in_place(ct, seg, (uint32_t)(block % SEG_BLOCKS), plain);
    rc = top_level(ct, &top);
    return rc < 0 ? rc : level_put(ct, top, block, plain);
}

/* Whole blocks that go to one segment in place, or one block anywhere. */
static int write_run(struct content *ct, uint64_t block, struct view plain, size_t *out_n)
{
    uint64_t run = plain.n / BLOCK_BYTES;
    uint64_t in_seg = SEG_BLOCKS - block % SEG_BLOCKS;
    struct seg *seg = NULL;
    int rc = 0;

    run = run < in_seg ? run : in_seg;
    if (ct->level_count > 0)
        run = levels_next(ct, block, block + run) - block;
    if (run > 0)
        rc = place_for(ct, block, &seg);
    if (rc < 0)
        return rc;
    if (!seg) {
        *out_n = BLOCK_BYTES;
        return content_put_block(ct, block, view_of(plain.p, BLOCK_BYTES));
    }
    *out_n = (size_t)run * BLOCK_BYTES;
    return put_in_place(ct, seg, (uint32_t)(block % SEG_BLOCKS),
                        view_of(plain.p, *out_n));
}

/* Bytes within one block: what was there around them is read first, where there is something. */
static int write_part(struct content *ct, uint64_t offset, struct view bytes)
{
    uint64_t block = offset / BLOCK_BYTES;
    size_t at = offset % BLOCK_BYTES;
    uint64_t start = block * BLOCK_BYTES;
    size_t old = ct->size <= start                ? 0
                 : ct->size - start < BLOCK_BYTES ? (size_t)(ct->size - start)
                                                  : BLOCK_BYTES;
    size_t n = at + bytes.n > old ? at + bytes.n : old;
    uint8_t page[BLOCK_BYTES];
    int rc = 0;

    if (at == 0 && bytes.n >= old)
        return content_put_block(ct, block, bytes);
    if (old > 0)
        rc = content_read_block(ct, block, page);
    if (rc == 0) {
        memset(page + old, 0, sizeof page - old);
        memcpy(page + at, bytes.p, bytes.n);
        rc = content_put_block(ct, block, view_of(page, n));
    }
    secret_wipe(page, sizeof page);
    return rc;
}

int content_write_range(struct content *ct, uint64_t offset, struct view bytes)
{
    int rc = 0;

    while (rc == 0 && bytes.n > 0) {
        size_t n = BLOCK_BYTES - offset % BLOCK_BYTES;

        if (n == BLOCK_BYTES && bytes.n >= BLOCK_BYTES) {
            rc = write_run(ct, offset / BLOCK_BYTES, bytes, &n);
        } else {
            n = n < bytes.n ? n : bytes.n;
            rc = write_part(ct, offset, view_of(bytes.p, n));
        }
        if (rc < 0)
            break;
        offset += n;
        bytes = view_of(bytes.p + n, bytes.n - n);
        if (offset > ct->size) {
            ct->size = offset;
            ct->has_change = true;
        }
        ct->dirt_bytes += n;
    }
    return rc;
}
