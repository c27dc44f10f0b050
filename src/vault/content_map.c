/* Slots lie behind each other; an index with linear probing says where a block's is. */
#include "vault/content_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

enum { MAP_ROOM_MIN = 64 };

static size_t map_home(const struct block_map *m, uint64_t block)
{
    return (size_t)((block * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (m->room - 1);
}

void map_fini(struct block_map *m)
{
    free(m->slots);
    free(m->index);
    free(m->holes);
    *m = (struct block_map){ 0 };
}

/* m has room. Place in the index: the block's, or the free one where it would go. */
static size_t map_place(const struct block_map *m, uint64_t block)
{
    size_t i;

    for (i = map_home(m, block); m->index[i] != 0; i = (i + 1) & (m->room - 1))
        if (m->slots[m->index[i] - 1].block == block)
            break;
    return i;
}

static struct map_slot *map_slot(const struct block_map *m, uint64_t block)
{
    uint32_t at;

    if (m->count == 0)
        return NULL;
    at = m->index[map_place(m, block)];
    return at != 0 ? &m->slots[at - 1] : NULL;
}

const struct map_slot *map_find(const struct block_map *m, uint64_t block)
{
    return map_slot(m, block);
}

static int index_grow(struct block_map *m)
{
    size_t room = m->room ? m->room * 2 : MAP_ROOM_MIN;
    uint32_t *bigger = calloc(room, sizeof *bigger);

    if (!bigger)
        return -ENOMEM;
    free(m->index);
    m->index = bigger;
    m->room = room;
    for (size_t i = 0; i < m->count; i++)
        m->index[map_place(m, m->slots[i].block)] = (uint32_t)i + 1;
    return 0;
}

/* A quarter more each time: large maps are what fills the memory of a busy mount. */
static int slots_grow(struct block_map *m)
{
    size_t room = m->slot_room + m->slot_room / 4 + MAP_ROOM_MIN;
    struct map_slot *slots = realloc(m->slots, room * sizeof *slots);

    if (!slots)
        return -ENOMEM;
    m->slots = slots;
    m->slot_room = room;
    return 0;
}

int map_put(struct block_map *m, const struct map_slot *s)
{
    struct map_slot *old = map_slot(m, s->block);
    size_t at;
    int rc = 0;

    INVARIANT(s->place != MAP_FREE);
    if (old) { /* replacing needs no memory */
        *old = *s;
        return 0;
    }
    if (m->count >= m->room / 4 * 3)
        rc = index_grow(m);
    if (rc == 0 && m->count == m->slot_room)
        rc = slots_grow(m);
    if (rc < 0)
        return rc;
    at = map_place(m, s->block);
    m->index[at] = (uint32_t)++m->count;
    m->slots[m->count - 1] = *s;
    return 0;
}

/* Takes the place out of the index; those behind it shift back, so there are no tombstones. */
static void index_forget(struct block_map *m, size_t gap)
{
    size_t mask = m->room - 1;

    for (size_t i = (gap + 1) & mask; m->index[i] != 0; i = (i + 1) & mask) {
        size_t home = map_home(m, m->slots[m->index[i] - 1].block);

        if (((i - home) & mask) < ((i - gap) & mask))
            continue; /* its home lies behind the gap: it must stay */
        m->index[gap] = m->index[i];
        gap = i;
    }
    m->index[gap] = 0;
}

/* The last slot takes its place. */
static void map_forget(struct block_map *m, uint64_t block)
{
    size_t place = map_place(m, block);
    uint32_t at = m->index[place];
    uint32_t last = (uint32_t)m->count;

    if (at == 0)
        return;
    index_forget(m, place);
    if (at != last) {
        m->index[map_place(m, m->slots[last - 1].block)] = at;
        m->slots[at - 1] = m->slots[last - 1];
    }
    m->count--;
}

static void map_forget_range(struct block_map *m, uint64_t from, uint64_t to)
{
    if (m->count == 0)
        return;
    if (to - from <= m->count) {
        for (uint64_t b = from; b < to && m->count > 0; b++)
            map_forget(m, b);
        return;
    }
    for (size_t i = 0; i < m->count;) {
        uint64_t block = m->slots[i].block;

        if (block >= from && block < to)
            map_forget(m, block); /* another one comes here: look again */
        else
            i++;
    }
}

/* Index of the first range that ends behind block. */
static size_t hole_after(const struct block_map *m, uint64_t block)
{
    size_t low = 0;
    size_t high = m->hole_count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (m->holes[mid].to > block)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

int map_zero(struct block_map *m, uint64_t from, uint64_t to)
{
    struct block_range r = { from, to };
    size_t first;
    size_t last;

    INVARIANT(from < to);
    if (m->hole_count == m->hole_room) {
        size_t room = m->hole_room ? m->hole_room * 2 : 16;
        struct block_range *holes = realloc(m->holes, room * sizeof *holes);

        if (!holes)
            return -ENOMEM;
        m->holes = holes;
        m->hole_room = room;
    }
    map_forget_range(m, from, to);
    first = from ? hole_after(m, from - 1) : 0; /* touching ranges become one */
    for (last = first; last < m->hole_count && m->holes[last].from <= to; last++) {
        if (m->holes[last].from < r.from)
            r.from = m->holes[last].from;
        if (m->holes[last].to > r.to)
            r.to = m->holes[last].to;
    }
    memmove(&m->holes[first + 1], &m->holes[last],
            (m->hole_count - last) * sizeof *m->holes);
    m->holes[first] = r;
    m->hole_count = m->hole_count - (last - first) + 1;
    return 0;
}

bool map_is_zero(const struct block_map *m, uint64_t block)
{
    size_t i = hole_after(m, block);

    return i < m->hole_count && m->holes[i].from <= block;
}

uint64_t map_next(const struct block_map *m, uint64_t from, uint64_t to)
{
    size_t i = hole_after(m, from);
    uint64_t first = to;

    if (i < m->hole_count && m->holes[i].from < to)
        first = m->holes[i].from > from ? m->holes[i].from : from;
    if (m->count == 0 || first == from)
        return first;
    if (first - from <= m->count) {
        for (uint64_t b = from; b < first; b++)
            if (map_find(m, b))
                return b;
        return first;
    }
    for (size_t k = 0; k < m->count; k++) {
        const struct map_slot *s = &m->slots[k];

        if (s->block >= from && s->block < first)
            first = s->block;
    }
    return first;
}

bool map_touches(const struct block_map *m, uint64_t from, uint64_t to)
{
    return map_next(m, from, to) < to;
}

uint64_t map_end(const struct block_map *m)
{
    uint64_t end = 0;

    for (size_t i = 0; i < m->count; i++)
        if (m->slots[i].block >= end)
            end = m->slots[i].block + 1;
    return end;
}

bool map_is_empty(const struct block_map *m)
{
    return m->count == 0 && m->hole_count == 0;
}
