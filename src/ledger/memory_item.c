#include "ledger/memory_item.h"

struct item *memory_item_find(const struct state_memory *m, enum item_kind kind,
                              const struct id16 *const ids[IDTREE_IDS])
{
    const struct idtree_key key = idtree_key((uint8_t)kind, ids);

    return idtree_find(&m->items, &key);
}

struct item *memory_item_want(struct state_memory *m, enum item_kind kind,
                              const struct id16 *const ids[IDTREE_IDS])
{
    struct item *item = memory_item_find(m, kind, ids);

    if (item) {
        item->is_gone = false;
        return item;
    }
    item = calloc(1, sizeof *item);
    if (!item)
        return NULL;
    item->key = idtree_key((uint8_t)kind, ids);
    if (idtree_add(&m->items, item) < 0) {
        free(item);
        return NULL;
    }
    return item;
}

void memory_item_free(void *p)
{
    struct item *item = p;

    if (item->key.b[0] == ITEM_ROW)
        free(item->is.row.bytes);
    free(item);
}
