/* Open addressing with linear probing; deletion shifts back, so there are no tombstones. */
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
    free(m->holes);
    *m = (struct block_map){ 0 };
}

/* m has room. */
static struct map_slot *map_slot(const struct block_map *m, uint64_t block)
{
    size_t i;

    for (i = map_home(m, block); m->slots[i].place != MAP_FREE;
         i = (i + 1) & (m->room - 1))
        if (m->slots[i].block == block)
            break;
    return &m->slots[i]; /* the block's, or the free one where it would go */
}

const struct map_slot *map_find(const struct block_map *m, uint64_t block)
{
    const struct map_slot *s;

    if (m->count == 0)
        return NULL;
    s = map_slot(m, block);
    return s->place != MAP_FREE ? s : NULL;
}

static int map_grow(struct block_map *m)
{
    struct block_map bigger = { .room = m->room ? m->room * 2 : MAP_ROOM_MIN };

    bigger.slots = calloc(bigger.room, sizeof *bigger.slots);
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < m->room; i++)
        if (m->slots[i].place != MAP_FREE)
            *map_slot(&bigger, m->slots[i].block) = m->slots[i];
    free(m->slots);
    m->slots = bigger.slots;
    m->room = bigger.room;
    return 0;
}

int map_put(struct block_map *m, const struct map_slot *s)
{
    struct map_slot *at;

    INVARIANT(s->place != MAP_FREE);
    if (m->count >= m->room / 4 * 3) {
        int rc = map_grow(m);

        if (rc < 0)
            return rc;
    }
    at = map_slot(m, s->block);
    if (at->place == MAP_FREE)
        m->count++;
    *at = *s;
    return 0;
}

static void map_forget(struct block_map *m, struct map_slot *s)
{
    size_t gap = (size_t)(s - m->slots);
    size_t mask = m->room - 1;

    for (size_t i = (gap + 1) & mask; m->slots[i].place != MAP_FREE; i = (i + 1) & mask) {
        size_t home = map_home(m, m->slots[i].block);

        if (((i - home) & mask) < ((i - gap) & mask))
            continue; /* its home lies behind the gap: it must stay */
        m->slots[gap] = m->slots[i];
        gap = i;
    }
    m->slots[gap].place = MAP_FREE;
    m->count--;
}

static void map_forget_range(struct block_map *m, uint64_t from, uint64_t to)
{
    if (m->count == 0)
        return;
    if (to - from <= m->count) {
        for (uint64_t b = from; b < to; b++) {
            struct map_slot *s = map_slot(m, b);

            if (s->place != MAP_FREE)
                map_forget(m, s);
        }
        return;
    }
    for (size_t i = 0; i < m->room;) {
        struct map_slot *s = &m->slots[i];

        if (s->place != MAP_FREE && s->block >= from && s->block < to)
            map_forget(m, s); /* may move another one here: look again */
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
    for (size_t k = 0; k < m->room; k++) {
        const struct map_slot *s = &m->slots[k];

        if (s->place != MAP_FREE && s->block >= from && s->block < first)
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

    for (size_t i = 0; i < m->room; i++)
        if (m->slots[i].place != MAP_FREE && m->slots[i].block >= end)
            end = m->slots[i].block + 1;
    return end;
}

bool map_is_empty(const struct block_map *m)
{
    return m->count == 0 && m->hole_count == 0;
}
