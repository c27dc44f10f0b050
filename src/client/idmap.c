#include "client/idmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cursor.h"

enum { IDMAP_ROOM_FIRST = 64 };

void idmap_fini(struct idmap *m)
{
    free(m->keys);
    free(m->places);
    *m = (struct idmap){ 0 };
}

static size_t slot_of(const struct idmap *m, const struct id16 *key)
{
    size_t at = (size_t)get_le64(key->b + sizeof key->b - 8) & (m->room - 1);

    while (m->places[at] != IDMAP_NONE &&
           memcmp(m->keys[at].b, key->b, sizeof key->b) != 0)
        at = (at + 1) & (m->room - 1);
    return at;
}

uint32_t idmap_get(const struct idmap *m, const struct id16 *key)
{
    return m->room == 0 ? (uint32_t)IDMAP_NONE : m->places[slot_of(m, key)];
}

static int grow(struct idmap *m)
{
    struct idmap bigger = { .room = m->room ? m->room * 2 : IDMAP_ROOM_FIRST,
                            .used = m->used };

    bigger.keys = calloc(bigger.room, sizeof *bigger.keys);
    bigger.places = malloc(bigger.room * sizeof *bigger.places);
    if (!bigger.keys || !bigger.places) {
        idmap_fini(&bigger);
        return -ENOMEM;
    }
    memset(bigger.places, 0xff, bigger.room * sizeof *bigger.places); /* all IDMAP_NONE */
    for (size_t i = 0; i < m->room; i++) {
        if (m->places[i] != IDMAP_NONE) {
            size_t at = slot_of(&bigger, &m->keys[i]);

            bigger.keys[at] = m->keys[i];
            bigger.places[at] = m->places[i];
        }
    }
    idmap_fini(m);
    *m = bigger;
    return 0;
}

int idmap_put(struct idmap *m, const struct id16 *key, uint32_t place)
{
    size_t at;
    int rc;

    INVARIANT(place != IDMAP_NONE); /* an empty slot in the middle would hide what lies behind it */
    rc = m->used * 2 >= m->room ? grow(m) : 0;

    if (rc < 0)
        return rc;
    at = slot_of(m, key);
    if (m->places[at] == IDMAP_NONE) {
        m->keys[at] = *key;
        m->used++;
    }
    m->places[at] = place;
    return 0;
}
