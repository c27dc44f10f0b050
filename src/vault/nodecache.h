/*
 * Inodes as they were opened, kept in memory: a lookup, a getattr, an open of what was used
 * lately needs no row and no key. Everything here under the names lock, but the references.
 */
#ifndef PHR_VAULT_NODECACHE_H
#define PHR_VAULT_NODECACHE_H

#include "vault/nsdb_names.h"

struct vault;

struct kept_node {
    struct kept_node *next_nodeid; /* bucket */
    struct kept_node *next_ino;    /* bucket */
    struct kept_node *newer;       /* least recently used first */
    struct kept_node *older;
    unsigned refs;                 /* atomic: the cache's own, and who reads it */
    struct name_inode row;         /* sealed is not kept */
    struct inode_attr attr;        /* borrows from plain; of the two top levels: empty */
    struct writer plain;
    bool is_cached;
    bool has_links; /* and links_turn is the cache's: links is true */
    uint32_t links;
    uint64_t links_turn;
};

/* Registers with nsdb for what changes. */
int nodecache_open(struct vault *v) PHR_MUST_CHECK;
void nodecache_close(struct vault *v);
/* A reference, or NULL. */
struct kept_node *nodecache_get(struct vault *v, uint64_t nodeid);
struct kept_node *nodecache_find(struct vault *v, const struct id16 *ino);
/* Takes plain. A reference for the caller; NULL: out of memory, plain is the caller's still. */
struct kept_node *nodecache_put(struct vault *v, const struct name_inode *row,
                                const struct inode_attr *attr, struct writer *plain);
void nodecache_release(struct kept_node *k); /* NULL is fine; from any thread */
/* How many names (of a directory: directories in it) the node has; false: not known. */
bool nodecache_links(struct vault *v, const struct kept_node *k, uint32_t *out_links);
void nodecache_set_links(struct vault *v, struct kept_node *k, uint32_t links);
/* Somebody lost a right or left: nothing that was opened for him stays. */
void nodecache_drop_all(struct vault *v);

#endif
