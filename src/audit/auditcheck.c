#include "audit/auditcheck.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/digest.h"

struct level {
    struct digest *hashes;
    size_t count;
    size_t room;
};
struct auditcheck {
    struct tree_store store;
    struct tree tree;
    struct level levels[TREE_LEVELS];
    struct auditcheck_report report;
    uint64_t good_size; /* of the last checkpoint whose root was right */
    bool is_stopped;    /* rows do not follow each other */
};

static int get_node(void *user, unsigned level, uint64_t index, struct digest *out_hash)
{
    const struct auditcheck *c = user;

    if (level >= TREE_LEVELS || index >= c->levels[level].count)
        return -ENOENT;
    *out_hash = c->levels[level].hashes[index];
    return 0;
}

static int put_node(void *user, unsigned level, uint64_t index, const struct digest *hash)
{
    struct auditcheck *c = user;
    struct level *l = &c->levels[level];

    (void)index; /* nodes of a level come in order */
    if (l->count == l->room) {
        const size_t room = l->room ? l->room * 2 : 256;
        struct digest *bigger = reallocarray(l->hashes, room, sizeof *bigger);

        if (!bigger)
            return -ENOMEM;
        l->hashes = bigger;
        l->room = room;
    }
    l->hashes[l->count++] = *hash;
    return 0;
}

int auditcheck_new(struct auditcheck **out_check)
{
    struct auditcheck *c = calloc(1, sizeof *c);

    if (!c)
        return -ENOMEM;
    c->store =
        (struct tree_store){ .user = c, .get_node = get_node, .put_node = put_node };
    c->tree.store = &c->store;
    *out_check = c;
    return 0;
}

void auditcheck_free(struct auditcheck *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < TREE_LEVELS; i++)
        free(c->levels[i].hashes);
    free(c);
}

static int fail(struct auditcheck *c, enum auditcheck_fault fault, uint64_t first,
                uint64_t last)
{
    struct auditcheck_report *r = &c->report;

    /* A row that contradicts its own leaf says where; a root only says where not. */
    if (r->fault == AUDITCHECK_NONE) {
        r->fault = fault;
        r->bad_index = first;
        r->bad_index_last = last;
    }
    return PHR_E_AUDIT_BROKEN;
}

/* The tree is made of the leaves as they are stored, so a changed entry is found by itself. */
static int check_row(struct auditcheck *c, const struct auditlog_row *row)
{
    const struct digest leaf = tree_leaf(view_of(row->entry, sizeof row->entry));
    struct audit_entry entry;
    struct digest commitment;

    if (!digest_equal(&leaf, &row->leaf))
        return fail(c, AUDITCHECK_LEAF, row->index, row->index);
    if (audit_entry_decode(view_of(row->entry, sizeof row->entry), &entry) < 0)
        return fail(c, AUDITCHECK_ENTRY, row->index, row->index);
    if (row->record.n == 0)
        return 0; /* withheld or erased: its place in the tree is what can be checked */
    commitment = audit_commitment(row->salt, row->record);
    if (!digest_equal(&commitment, &entry.commitment))
        return fail(c, AUDITCHECK_COMMITMENT, row->index, row->index);
    c->report.record_count++;
    return 0;
}

int auditcheck_row(struct auditcheck *c, const struct auditlog_row *row)
{
    int rc;

    if (c->is_stopped || row->index != c->tree.size) {
        c->is_stopped = true;
        return fail(c, AUDITCHECK_ORDER, c->tree.size, c->tree.size);
    }
    rc = tree_append(&c->tree, &row->leaf);
    return rc < 0 ? rc : check_row(c, row);
}

int auditcheck_root_at(const struct auditcheck *c, uint64_t size, struct digest *out_root)
{
    return tree_root_at(&c->tree, size, out_root);
}

int auditcheck_checkpoint(struct auditcheck *c, const struct checkpoint *checkpoint)
{
    struct digest root;
    int rc;

    if (checkpoint->size > c->tree.size)
        return fail(c, AUDITCHECK_SHORT, c->tree.size, checkpoint->size - 1);
    rc = auditcheck_root_at(c, checkpoint->size, &root);
    if (rc < 0)
        return rc;
    if (!digest_equal(&root, &checkpoint->root))
        return fail(c, AUDITCHECK_ROOT, checkpoint->size > 0 ? c->good_size : 0,
                    checkpoint->size > 0 ? checkpoint->size - 1 : 0);
    c->good_size = checkpoint->size;
    return 0;
}

struct auditcheck_report auditcheck_get_report(const struct auditcheck *c)
{
    struct auditcheck_report r = c->report;

    r.size = c->tree.size;
    r.root = tree_root(&c->tree);
    return r;
}
