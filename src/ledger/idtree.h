/*
 * Items by kind and up to four ids, in order: the balanced tree of the C library, so ids chosen by
 * an attacker cost no more than others. An item begins with its key.
 */
#ifndef PHR_LEDGER_IDTREE_H
#define PHR_LEDGER_IDTREE_H

#include "phr/err.h"
#include "phr/types.h"

enum { IDTREE_IDS = 4 };
struct idtree_key {
    uint8_t b[1 + IDTREE_IDS * 16];
};
struct idtree {
    void *root; /* zero-initialised: empty */
};

/* ids end at the first NULL. */
struct idtree_key idtree_key(uint8_t kind, const struct id16 *const ids[IDTREE_IDS]);
void *idtree_find(const struct idtree *t, const struct idtree_key *key);
/* The tree's from now on; there is none of this key yet. */
int idtree_add(struct idtree *t, void *item) PHR_MUST_CHECK;
void idtree_each(const struct idtree *t, void (*on_item)(void *user, const void *item),
                 void *user);
void idtree_fini(struct idtree *t, void (*free_item)(void *item));

#endif
