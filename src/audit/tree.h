/*
 * The RFC 6962 hash tree: append, root, inclusion and consistency proofs and their verification.
 * Nodes of complete subtrees lie in a store: (level, index), level 0 = leaf hashes; what stands
 * there once never changes.
 */
#ifndef PHR_AUDIT_TREE_H
#define PHR_AUDIT_TREE_H

#include "phr/err.h"
#include "phr/types.h"

enum { TREE_LEVELS = 64, TREE_PROOF_HASHES_MAX = 2 * TREE_LEVELS };

struct tree_store {
    void *user;
    /* 0 or a negative reason; what is asked for was put before. */
    int (*get_node)(void *user, unsigned level, uint64_t index, struct digest *out_hash);
    int (*put_node)(void *user, unsigned level, uint64_t index,
                    const struct digest *hash);
};
/* A value: copying it and setting it back is how a rolled-back append is undone. */
struct tree {
    const struct tree_store *store;
    uint64_t size;
    struct digest edge
        [TREE_LEVELS]; /* edge[l]: the subtree of 2^l leaves that ends the tree, where size has bit l */
};
struct tree_proof {
    size_t count;
    struct digest hashes[TREE_PROOF_HASHES_MAX];
};

/* SHA-256(0x00 || entry). */
struct digest tree_leaf(struct view entry);

/* A tree of this size that the store holds; size 0: a new one. The store is borrowed. */
int tree_load(const struct tree_store *store, uint64_t size,
              struct tree *out_tree) PHR_MUST_CHECK;
int tree_append(struct tree *t, const struct digest *leaf) PHR_MUST_CHECK;
/* SHA-256("") for the empty tree. */
struct digest tree_root(const struct tree *t);
/* The root when it had that size; PHR_E_USAGE beyond its size. */
int tree_root_at(const struct tree *t, uint64_t size,
                 struct digest *out_root) PHR_MUST_CHECK;

/* index < size <= t->size, otherwise PHR_E_USAGE. */
int tree_prove_inclusion(const struct tree *t, uint64_t index, uint64_t size,
                         struct tree_proof *out_proof) PHR_MUST_CHECK;
/* old_size <= new_size <= t->size, otherwise PHR_E_USAGE. */
int tree_prove_consistency(const struct tree *t, uint64_t old_size, uint64_t new_size,
                           struct tree_proof *out_proof) PHR_MUST_CHECK;

/* PHR_E_AUDIT_BROKEN when the proof does not show it. */
int tree_check_inclusion(const struct digest *leaf, uint64_t index, uint64_t size,
                         const struct digest *root,
                         const struct tree_proof *proof) PHR_MUST_CHECK;
int tree_check_consistency(uint64_t old_size, const struct digest *old_root,
                           uint64_t new_size, const struct digest *new_root,
                           const struct tree_proof *proof) PHR_MUST_CHECK;

#endif
