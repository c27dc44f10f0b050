/* Ids to places in an array: open addressing, ids are random or hashes, nothing is ever taken out. */
#ifndef PHR_CLIENT_IDMAP_H
#define PHR_CLIENT_IDMAP_H

#include "phr/err.h"
#include "phr/types.h"

enum { IDMAP_NONE = 0xffffffff };
struct idmap {
    struct id16 *keys;
    uint32_t *places;
    size_t room;
    size_t used;
};
void idmap_fini(struct idmap *m);
/* IDMAP_NONE when the id is not there. */
uint32_t idmap_get(const struct idmap *m, const struct id16 *key);
/* Adds or replaces. */
int idmap_put(struct idmap *m, const struct id16 *key, uint32_t place) PHR_MUST_CHECK;

#endif
