/*
 * Small files: in memory until they are flushed, then written once, in the form of the object,
 * with the footer behind: one pwritev into a pack.
 *
 * SMALL-1  An object that was written is never changed in its place. While the file is open its
 *          bytes stay in memory (kept); written to again (a journal whose header is filled in
 *          last), the object goes to a new place as a whole, which costs less than a log; but
 *          only so often, then the log is cheaper.
 * SMALL-2  Until that is flushed, the row and what is on disk are the flush point before: the
 *          old place is on the list of what is dropped, and goes when a durable row says so.
 */
#include <string.h>

#include "base/checked.h"
#include "store/pack.h"
#include "vault/content_state.h"

enum { REWRITES_MAX = 2, KEPT_BYTES_MAX = 64 * 1024 };

void small_forget(struct content *ct)
{
    for (size_t i = 0; i < ct->cur.seg_count; i++) {
        building_free_one(ct, ct->cur.segs[i].kept);
        ct->cur.segs[i].kept = NULL;
    }
}

int small_take_back(struct content *ct, struct seg *seg)
{
    int rc;

    INVARIANT(seg->form == SEG_DENSE && seg->kept && !seg->building);
    rc = content_drop(ct, seg->loc.container);
    if (rc < 0)
        return rc;
    seg->building = seg->kept;
    seg->kept = NULL;
    seg->building->rewrites++;
    seg->form = SEG_BUILDING;
    seg->loc = (struct loc){ 0 };
    return 0;
}

/* Data blocks of a small file, holes left out: in place, or a copy in *out_copy. */
static int pack_dense(struct content *ct, struct seg *seg, uint8_t **out_copy,
                      size_t *out_n)
{
    struct building *b = seg->building;
    uint32_t blocks = layout_blocks(seg->plaintext_len);
    uint8_t *copy;
    size_t at = 0;

    *out_n = seg->plaintext_len;
    if (seg->data_blocks == blocks)
        return 0;
    copy = malloc((size_t)seg->data_blocks * BLOCK_BYTES + 1);
    if (!copy)
        return -ENOMEM;
    for (uint32_t j = 0; j < blocks; j++) {
        size_t n = seg_block_bytes(seg, j);

        if (strip_entry_is_hole(strip_entry(ct, &b->strip, j), ct->geometry.suite))
            continue;
        memcpy(copy + at, b->ct + (size_t)j * BLOCK_BYTES, n);
        at += n;
    }
    *out_copy = copy;
    *out_n = at;
    return 0;
}

/* In a pack, or in a file of its own where it is too large for one. */
static int put_object(struct content *ct, struct iovec *v, int count, size_t bytes,
                      uint64_t *out_id)
{
    int rc;

    if (bytes <= PACK_OBJECT_BYTES_MAX && ct->is_synced_often)
        pack_write_ahead(ct->cs->store);
    if (bytes <= PACK_OBJECT_BYTES_MAX)
        return pack_put(ct->cs->store, v, count, out_id);
    rc = container_create(ct->cs->store, CONTAINER_SEGMENT, out_id);
    if (rc < 0)
        return rc;
    rc = container_write_parts(ct->cs->store, *out_id, v, count, 0);
    if (rc < 0)
        store_free(ct->cs->store, *out_id); /* no row names it */
    return rc;
}

static bool may_keep(const struct content *ct, const struct building *b)
{
    return b->rewrites < REWRITES_MAX && b->ct_room <= KEPT_BYTES_MAX &&
           atomic_load(&ct->cs->memory_bytes) <= MEMORY_BYTES_MAX / 2;
}

/* The whole object and its footer at once. */
int small_flush(struct content *ct, struct seg *seg)
{
    struct building *b = seg->building;
    uint8_t tail[2 * FOOTER_BYTES]; /* padding, and from its middle on the footer */
    size_t strip_bytes =
        layout_blocks(seg->plaintext_len) * strip_entry_bytes(ct->geometry.suite);
    scoped(free) uint8_t *copy = NULL;
    size_t ct_bytes = 0;
    size_t object;
    size_t padding;
    uint64_t id = 0;
    int rc;

    rc = pack_dense(ct, seg, &copy, &ct_bytes);
    if (rc < 0)
        return rc;
    object = ct_bytes + strip_bytes + SALT_BYTES;
    padding = (FOOTER_BYTES - object % FOOTER_BYTES) % FOOTER_BYTES;
    memset(tail + FOOTER_BYTES - padding, 0, padding);
    rc = seg_footer(ct, seg, &b->strip, 1, object, tail + FOOTER_BYTES);
    if (rc == 0) {
        struct iovec v[] = {
            { copy ? copy : b->ct, ct_bytes },
            { b->strip.entries, strip_bytes },
            { b->strip.salt, SALT_BYTES },
            { tail + FOOTER_BYTES - padding, padding + FOOTER_BYTES },
        };

        rc = put_object(ct, v, (int)ARRAY_COUNT(v), object + padding + FOOTER_BYTES, &id);
    }
    if (rc < 0)
        return rc;
    rc = content_touch(ct, id);
    if (rc < 0) {
        store_free(ct->cs->store, id); /* no row names it */
        return rc;
    }
    seg->form = SEG_DENSE;
    seg->loc = (struct loc){ id, 0, object };
    if (!may_keep(ct, b)) {
        building_free(ct, seg);
        return 0;
    }
    b->is_dirty = false;
    seg->kept = b;
    seg->building = NULL;
    return 0;
}
