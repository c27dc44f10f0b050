#include "vault/content_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

enum {
    LOCS_VERSION = 1,
    SEG_FLAG_SEALED = 1,
    LOCS_FLAG_BASE = 1,
    LAYOUT_FLAG_UNLISTED = 1
};

void layout_fini(struct layout *l)
{
    free(l->segs);
    *l = (struct layout){ 0 };
}

int layout_dup(const struct layout *l, struct layout *out)
{
    struct layout copy = *l;

    copy.seg_room = l->seg_count;
    copy.segs = NULL;
    if (l->seg_count > 0) {
        copy.segs = malloc(l->seg_count * sizeof *copy.segs);
        if (!copy.segs)
            return -ENOMEM;
        memcpy(copy.segs, l->segs, l->seg_count * sizeof *copy.segs);
    }
    for (size_t i = 0; i < copy.seg_count; i++) {
        copy.segs[i].building = NULL;
        copy.segs[i].kept = NULL;
    }
    *out = copy;
    return 0;
}

size_t layout_place(const struct layout *l, uint64_t index)
{
    size_t low = 0;
    size_t high = l->seg_count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (l->segs[mid].index < index)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct seg *layout_find(const struct layout *l, uint64_t index)
{
    size_t place;

    /* Without gaps, which is the rule, the index is the place. */
    if (index < l->seg_count && l->segs[index].index == index)
        return &l->segs[index];
    place = layout_place(l, index);
    return place < l->seg_count && l->segs[place].index == index ? &l->segs[place] : NULL;
}

int layout_insert(struct layout *l, uint64_t index, struct seg **out_seg)
{
    size_t place = layout_place(l, index);

    INVARIANT(place == l->seg_count || l->segs[place].index != index);
    if (l->seg_count == l->seg_room) {
        size_t room = l->seg_room ? l->seg_room * 2 : 4;
        struct seg *segs = realloc(l->segs, room * sizeof *segs);

        if (!segs)
            return -ENOMEM;
        l->segs = segs;
        l->seg_room = room;
    }
    memmove(&l->segs[place + 1], &l->segs[place],
            (l->seg_count - place) * sizeof *l->segs);
    l->seg_count++;
    l->segs[place] = (struct seg){ .index = index };
    *out_seg = &l->segs[place];
    return 0;
}

void layout_remove(struct layout *l, size_t place)
{
    INVARIANT(place < l->seg_count);
    l->seg_count--;
    memmove(&l->segs[place], &l->segs[place + 1],
            (l->seg_count - place) * sizeof *l->segs);
}

bool layout_names(const struct layout *l, uint64_t container)
{
    for (size_t i = 0; i < l->level_count; i++)
        if (l->levels[i].container == container)
            return true;
    for (size_t i = 0; i < l->seg_count; i++)
        if (l->segs[i].loc.container == container)
            return true;
    return false;
}

void layout_each(const struct layout *l,
                 void (*on_container)(void *user, uint64_t container), void *user)
{
    for (size_t i = 0; i < l->level_count; i++)
        on_container(user, l->levels[i].container);
    for (size_t i = 0; i < l->seg_count; i++)
        if (l->segs[i].loc.container)
            on_container(user, l->segs[i].loc.container);
}

static void seg_encode(const struct seg *s, struct writer *w)
{
    writer_u64(w, s->index);
    writer_u8(w, (uint8_t)s->form);
    writer_u8(w, s->is_sealed ? SEG_FLAG_SEALED : 0);
    writer_u32(w, s->plaintext_len);
    writer_u32(w, s->fk_gen);
    writer_u16(w, (uint16_t)s->data_blocks);
    writer_u64(w, s->loc.container);
    if (s->form == SEG_DENSE) {
        writer_u64(w, s->loc.offset);
        writer_u32(w, (uint32_t)s->loc.len);
    }
    if (s->is_sealed) {
        writer_bytes(w, s->object_id.b, sizeof s->object_id.b);
        writer_bytes(w, s->strip_id.b, sizeof s->strip_id.b);
    }
}

static void layout_encode(const struct layout *l, struct writer *w)
{
    writer_u64(w, l->size);
    writer_u64(w, (uint64_t)l->mtime.s);
    writer_u32(w, l->mtime.ns);
    writer_u8(w, l->is_unlisted ? LAYOUT_FLAG_UNLISTED : 0);
    if (l->is_unlisted) {
        writer_u64(w, l->sealed_count);
        writer_bytes(w, l->manifest_root.b, sizeof l->manifest_root.b);
        writer_bytes(w, l->manifest_object.b, sizeof l->manifest_object.b);
    }
    writer_u8(w, (uint8_t)l->level_count);
    for (size_t i = 0; i < l->level_count; i++) {
        const struct level_ref *r = &l->levels[i];

        writer_u64(w, r->container);
        writer_bytes(w, r->log_id.b, sizeof r->log_id.b);
        writer_u32(w, r->fk_gen);
        writer_u64(w, r->groups);
        writer_bytes(w, r->pin.b, sizeof r->pin.b);
    }
    writer_u64(w, l->seg_count);
    for (size_t i = 0; i < l->seg_count; i++)
        seg_encode(&l->segs[i], w);
}

void locs_encode(const struct layout *cur, const struct layout *base, struct writer *out)
{
    writer_u8(out, LOCS_VERSION);
    writer_u8(out, base ? LOCS_FLAG_BASE : 0);
    layout_encode(cur, out);
    if (base)
        layout_encode(base, out);
}

static bool seg_decode(struct reader *r, struct seg *s)
{
    uint8_t flags;

    s->index = reader_u64(r);
    s->form = (enum seg_form)reader_u8(r);
    flags = reader_u8(r);
    s->is_sealed = flags == SEG_FLAG_SEALED;
    s->plaintext_len = reader_u32(r);
    s->fk_gen = reader_u32(r);
    s->data_blocks = reader_u16(r);
    s->loc.container = reader_u64(r);
    if (s->form == SEG_DENSE) {
        s->loc.offset = reader_u64(r);
        s->loc.len = reader_u32(r);
    }
    if (s->is_sealed) {
        reader_bytes(r, s->object_id.b, sizeof s->object_id.b);
        reader_bytes(r, s->strip_id.b, sizeof s->strip_id.b);
    }
    return reader_ok(r) && flags <= SEG_FLAG_SEALED && s->form >= SEG_BUILDING &&
           s->form <= SEG_ABSENT && s->plaintext_len <= SEG_BYTES &&
           s->data_blocks <= SEG_BLOCKS && s->index < FILE_BYTES_MAX / SEG_BYTES;
}

static bool segs_decode(struct reader *r, struct layout *l)
{
    uint64_t n = reader_u64(r);

    if (!reader_ok(r) || n > r->left / 20)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        struct seg s = { 0 };
        struct seg *at = NULL;

        if (!seg_decode(r, &s))
            return false;
        if (l->seg_count > 0 && l->segs[l->seg_count - 1].index >= s.index)
            return false;
        if (layout_insert(l, s.index, &at) < 0)
            return false;
        *at = s;
    }
    return true;
}

/* Up to the number of logs, which come next. */
static bool head_decode(struct reader *r, struct layout *l, uint8_t *out_level_count)
{
    uint8_t flags;

    l->size = reader_u64(r);
    l->mtime.s = (int64_t)reader_u64(r);
    l->mtime.ns = reader_u32(r);
    flags = reader_u8(r);
    l->is_unlisted = flags == LAYOUT_FLAG_UNLISTED;
    if (l->is_unlisted) {
        l->sealed_count = reader_u64(r);
        reader_bytes(r, l->manifest_root.b, sizeof l->manifest_root.b);
        reader_bytes(r, l->manifest_object.b, sizeof l->manifest_object.b);
    }
    *out_level_count = reader_u8(r);
    return *out_level_count <= LEVELS_MAX && l->size <= FILE_BYTES_MAX &&
           flags <= LAYOUT_FLAG_UNLISTED;
}

static void level_decode(struct reader *r, struct level_ref *out)
{
    out->container = reader_u64(r);
    reader_bytes(r, out->log_id.b, sizeof out->log_id.b);
    out->fk_gen = reader_u32(r);
    out->groups = reader_u64(r);
    reader_bytes(r, out->pin.b, sizeof out->pin.b);
}

static int layout_decode(struct reader *r, struct layout *out)
{
    scoped(layout_fini) struct layout l = { 0 };
    uint8_t level_count;

    if (!head_decode(r, &l, &level_count))
        return PHR_E_FORMAT;
    for (size_t i = 0; i < level_count; i++)
        level_decode(r, &l.levels[i]);
    l.level_count = level_count;
    if (!segs_decode(r, &l))
        return PHR_E_FORMAT;
    *out = l;
    l = (struct layout){ 0 };
    return 0;
}

bool locs_have_log_below(struct view bytes, uint64_t number)
{
    struct reader r = reader_over(bytes);
    scoped(layout_fini) struct layout l = { 0 };
    bool is_below = false;
    uint8_t count;

    if (reader_u8(&r) != LOCS_VERSION || reader_u8(&r) > LOCS_FLAG_BASE || !head_decode(&r, &l, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        struct level_ref ref;

        level_decode(&r, &ref);
        is_below = is_below || container_number(ref.container) < number;
    }
    return is_below && reader_ok(&r);
}

int locs_decode(struct view bytes, struct layout *out_cur, struct layout *out_base,
                bool *out_has_base)
{
    struct reader r = reader_over(bytes);
    scoped(layout_fini) struct layout cur = { 0 };
    scoped(layout_fini) struct layout base = { 0 };
    uint8_t version = reader_u8(&r);
    uint8_t flags = reader_u8(&r);
    int rc;

    if (version != LOCS_VERSION || flags > LOCS_FLAG_BASE)
        return PHR_E_FORMAT;
    rc = layout_decode(&r, &cur);
    if (rc == 0 && flags == LOCS_FLAG_BASE)
        rc = layout_decode(&r, &base);
    if (rc < 0 || !reader_done(&r))
        return PHR_E_FORMAT;
    *out_cur = cur;
    *out_base = base;
    *out_has_base = flags == LOCS_FLAG_BASE;
    cur = (struct layout){ 0 };
    base = (struct layout){ 0 };
    return 0;
}
