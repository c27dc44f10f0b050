/*
 * The inside of state_memory: one tree of items, ordered by kind and ids. An item that is gone stays
 * as a mark, which is what hides the base's item of the same key.
 */
#ifndef PHR_LEDGER_MEMORY_ITEM_H
#define PHR_LEDGER_MEMORY_ITEM_H

#include "ledger/idtree.h"
#include "ledger/state_memory.h"

enum item_kind {
    ITEM_HEAD = 1,
    ITEM_CARD,
    ITEM_CLASS,
    ITEM_CURRENT,
    ITEM_GRANT,
    ITEM_ROW,
    ITEM_NAME,
    ITEM_HEADER,
    ITEM_SEAL,
    ITEM_LANE,
    ITEM_CHILDREN
};

struct item {
    struct idtree_key key; /* first */
    bool is_gone;
    union {
        struct {
            uint64_t seq;
            struct digest leaf;
        } head;
        struct card card;
        struct ledger_class class;
        uint32_t epoch;
        struct {
            struct grant grant;
            bool is_revoked;
        } grant;
        struct {
            struct id16 id;
            struct ledger_row row;
            uint8_t *bytes;
            size_t byte_count;
        } row;
        struct id16 name; /* the row that has it */
        struct ledger_header header;
        uint64_t number;  /* content version, last n */
        int64_t children; /* over a base: what is added to its count */
    } is;
};

struct state_memory {
    struct idtree items;
    const struct ledger_state *base;
    struct ledger_state state;
    int (*load)(void *user, const struct id16 *patient, const struct digest *object_id,
                uint8_t **out_p, size_t *out_n);
    void *load_user;
};

#define IDS(...) ((const struct id16 *const[IDTREE_IDS]){ __VA_ARGS__ })

/* NULL: nothing is known on top; a gone item says that there is none. */
struct item *memory_item_find(const struct state_memory *m, enum item_kind kind,
                              const struct id16 *const ids[IDTREE_IDS]);
/* The item, made when it is not there; NULL without memory. */
struct item *memory_item_want(struct state_memory *m, enum item_kind kind,
                              const struct id16 *const ids[IDTREE_IDS]);
void memory_item_free(void *item);

#endif
