#include "ledger/idtree.h"

#include <search.h>
#include <string.h>

struct idtree_key idtree_key(uint8_t kind, const struct id16 *const ids[IDTREE_IDS])
{
    struct idtree_key key = { { kind } };

    for (size_t i = 0; i < IDTREE_IDS && ids[i]; i++)
        memcpy(key.b + 1 + i * 16, ids[i]->b, 16);
    return key;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct idtree_key));
}

void *idtree_find(const struct idtree *t, const struct idtree_key *key)
{
    void *const *node = tfind(key, &t->root, compare);

    return node ? *node : NULL;
}

int idtree_add(struct idtree *t, void *item)
{
    return tsearch(item, &t->root, compare) ? 0 : -ENOMEM;
}

struct walk {
    void (*on_item)(void *user, const void *item);
    void *user;
};

static void visit_node(const void *node, VISIT visit, void *closure)
{
    const struct walk *w = closure;

    if (visit == postorder || visit == leaf) /* the library's words for "in order" */
        w->on_item(w->user, *(const void *const *)node);
}

void idtree_each(const struct idtree *t, void (*on_item)(void *user, const void *item),
                 void *user)
{
    struct walk w = { on_item, user };

    twalk_r(t->root, visit_node, &w);
}

void idtree_fini(struct idtree *t, void (*free_item)(void *item))
{
    tdestroy(t->root, free_item);
    t->root = NULL;
}
