#include "audit/tree.h"

#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"

enum { LEAF_PREFIX = 0x00, NODE_PREFIX = 0x01 };

struct digest tree_leaf(struct view entry)
{
    return digest_sha256_prefixed(LEAF_PREFIX, entry, (struct view){ NULL, 0 });
}

static struct digest node(const struct digest *left, const struct digest *right)
{
    return digest_sha256_prefixed(NODE_PREFIX, view_of(left->b, sizeof left->b),
                                  view_of(right->b, sizeof right->b));
}

/* The largest power of two that is smaller than n; n > 1. */
static uint64_t split_of(uint64_t n)
{
    return UINT64_C(1) << (63 - __builtin_clzll(n - 1));
}

/*
 * MTH over leaves [begin, end), a range that RFC 6962 splits off, so begin is a multiple of
 * every complete subtree in it: those are joined from the right.
 */
static int hash_range(const struct tree_store *store, uint64_t begin, uint64_t end,
                      struct digest *out_hash)
{
    struct digest parts[TREE_LEVELS];
    struct digest hash;
    size_t count = 0;

    INVARIANT(begin < end);
    while (begin < end) {
        const unsigned level = 63 - (unsigned)__builtin_clzll(end - begin);
        int rc = store->get_node(store->user, level, begin >> level, &parts[count]);

        if (rc < 0)
            return rc;
        count++;
        begin += UINT64_C(1) << level;
    }
    hash = parts[count - 1];
    for (size_t i = count - 1; i > 0; i--)
        hash = node(&parts[i - 1], &hash);
    *out_hash = hash;
    return 0;
}

int tree_load(const struct tree_store *store, uint64_t size, struct tree *out_tree)
{
    struct tree t = { .store = store, .size = size };

    for (unsigned level = 0; level < TREE_LEVELS; level++) {
        int rc = 0;

        if (size >> level & 1)
            rc = store->get_node(store->user, level, (size >> level) - 1, &t.edge[level]);
        if (rc < 0)
            return rc;
    }
    *out_tree = t;
    return 0;
}

int tree_append(struct tree *t, const struct digest *leaf)
{
    const struct tree_store *store = t->store;
    struct digest hash = *leaf;
    uint64_t index = t->size;
    unsigned level = 0;
    int rc = store->put_node(store->user, level, index, &hash);

    while (rc == 0 && (index & 1)) { /* a right child: its parent is complete */
        hash = node(&t->edge[level], &hash);
        index >>= 1;
        level++;
        rc = store->put_node(store->user, level, index, &hash);
    }
    if (rc < 0)
        return rc;
    t->edge[level] = hash;
    t->size++;
    return 0;
}

struct digest tree_root(const struct tree *t)
{
    struct digest hash = { { 0 } };
    bool has_hash = false;

    for (unsigned level = 0; level < TREE_LEVELS; level++) {
        if (!(t->size >> level & 1))
            continue;
        hash = has_hash ? node(&t->edge[level], &hash) : t->edge[level];
        has_hash = true;
    }
    return has_hash ? hash : digest_sha256((struct view){ NULL, 0 });
}

int tree_root_at(const struct tree *t, uint64_t size, struct digest *out_root)
{
    if (size > t->size)
        return PHR_E_USAGE;
    if (size > 0)
        return hash_range(t->store, 0, size, out_root);
    *out_root = digest_sha256((struct view){ NULL, 0 });
    return 0;
}

/* Proofs are found from the top and stand from the bottom. */
static void reverse(struct tree_proof *p)
{
    for (size_t i = 0; i < p->count / 2; i++) {
        const struct digest held = p->hashes[i];

        p->hashes[i] = p->hashes[p->count - 1 - i];
        p->hashes[p->count - 1 - i] = held;
    }
}

int tree_prove_inclusion(const struct tree *t, uint64_t index, uint64_t size,
                         struct tree_proof *out_proof)
{
    struct tree_proof p = { 0 };
    uint64_t begin = 0;
    uint64_t end = size;

    if (index >= size || size > t->size)
        return PHR_E_USAGE;
    while (end - begin > 1) {
        const uint64_t middle = begin + split_of(end - begin);
        const bool is_left = index < middle;
        int rc = is_left ? hash_range(t->store, middle, end, &p.hashes[p.count])
                         : hash_range(t->store, begin, middle, &p.hashes[p.count]);

        if (rc < 0)
            return rc;
        p.count++;
        if (is_left)
            end = middle;
        else
            begin = middle;
    }
    reverse(&p);
    *out_proof = p;
    return 0;
}

/* SUBPROOF of RFC 6962 2.1.2; is_whole: the subtree is the whole old tree, which its root names. */
int tree_prove_consistency(const struct tree *t, uint64_t old_size, uint64_t new_size,
                           struct tree_proof *out_proof)
{
    struct tree_proof p = { 0 };
    uint64_t begin = 0;
    uint64_t end = new_size;
    bool is_whole = true;
    int rc = 0;

    if (old_size > new_size || new_size > t->size)
        return PHR_E_USAGE;
    while (old_size > 0 && old_size != end && rc == 0) {
        const uint64_t middle = begin + split_of(end - begin);

        if (old_size <= middle) {
            rc = hash_range(t->store, middle, end, &p.hashes[p.count++]);
            end = middle;
        } else {
            rc = hash_range(t->store, begin, middle, &p.hashes[p.count++]);
            begin = middle;
            is_whole = false;
        }
    }
    if (rc == 0 && old_size > 0 && !is_whole)
        rc = hash_range(t->store, begin, end, &p.hashes[p.count++]);
    if (rc < 0)
        return rc;
    reverse(&p);
    *out_proof = p;
    return 0;
}

/* RFC 9162 2.1.3.2. */
int tree_check_inclusion(const struct digest *leaf, uint64_t index, uint64_t size,
                         const struct digest *root, const struct tree_proof *proof)
{
    struct digest hash = *leaf;
    uint64_t last;

    if (index >= size)
        return PHR_E_AUDIT_BROKEN;
    last = size - 1;
    for (size_t i = 0; i < proof->count; i++) {
        if (last == 0)
            return PHR_E_AUDIT_BROKEN;
        if ((index & 1) || index == last) {
            hash = node(&proof->hashes[i], &hash);
            while (index != 0 && !(index & 1)) {
                index >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, &proof->hashes[i]);
        }
        index >>= 1;
        last >>= 1;
    }
    return last == 0 && digest_equal(&hash, root) ? 0 : PHR_E_AUDIT_BROKEN;
}

static int check_grown(uint64_t old_size, const struct digest *old_root,
                       uint64_t new_size, const struct digest *new_root,
                       const struct tree_proof *proof)
{
    const bool is_complete = (old_size & (old_size - 1)) == 0;
    uint64_t index = old_size - 1;
    uint64_t last = new_size - 1;
    struct digest old_hash;
    struct digest new_hash;

    if (!is_complete && proof->count == 0)
        return PHR_E_AUDIT_BROKEN;
    while (index & 1) {
        index >>= 1;
        last >>= 1;
    }
    old_hash = is_complete ? *old_root : proof->hashes[0];
    new_hash = old_hash;
    for (size_t i = is_complete ? 0 : 1; i < proof->count; i++) {
        const struct digest *hash = &proof->hashes[i];

        if (last == 0)
            return PHR_E_AUDIT_BROKEN;
        if ((index & 1) || index == last) {
            old_hash = node(hash, &old_hash);
            new_hash = node(hash, &new_hash);
            while (index != 0 && !(index & 1)) {
                index >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node(&new_hash, hash);
        }
        index >>= 1;
        last >>= 1;
    }
    return last == 0 && digest_equal(&old_hash, old_root) &&
                   digest_equal(&new_hash, new_root)
               ? 0
               : PHR_E_AUDIT_BROKEN;
}

/* RFC 9162 2.1.4.2. Every tree contains the empty one. */
int tree_check_consistency(uint64_t old_size, const struct digest *old_root,
                           uint64_t new_size, const struct digest *new_root,
                           const struct tree_proof *proof)
{
    if (old_size > new_size)
        return PHR_E_AUDIT_BROKEN;
    if (old_size == 0 || old_size == new_size) {
        const bool is_same = old_size == 0 || digest_equal(old_root, new_root);

        return proof->count == 0 && is_same ? 0 : PHR_E_AUDIT_BROKEN;
    }
    return check_grown(old_size, old_root, new_size, new_root, proof);
}
