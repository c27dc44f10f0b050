/*
 * NODE-1  What is kept equals the row: nsdb tells of each row that is written or deleted, and of
 *         each undone transaction, and what it names goes (an undone transaction: all).
 * NODE-2  Nothing opened outlives the keys that opened it: a loss of keys drops all, and who
 *         loads a node needs its keys still (names_load).
 */
#include "vault/nodecache.h"

#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "vault/lease.h"
#include "vault/notify.h"

enum { NODES_MAX = 8192, NODE_BUCKETS = 8192 };

struct nodecache {
    struct kept_node *by_nodeid[NODE_BUCKETS];
    struct kept_node *by_ino[NODE_BUCKETS];
    struct kept_node *oldest;
    struct kept_node *newest;
    size_t count;
    uint64_t links_turn; /* rises when names went or moved: no count from before is true */
};

static struct kept_node **nodeid_bucket(struct nodecache *c, uint64_t nodeid)
{
    return &c->by_nodeid[nodeid % NODE_BUCKETS];
}

static struct kept_node **ino_bucket(struct nodecache *c, const struct id16 *ino)
{
    return &c->by_ino[get_le32(ino->b + sizeof ino->b - 4) % NODE_BUCKETS];
}

void nodecache_release(struct kept_node *k)
{
    if (!k || __atomic_sub_fetch(&k->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    inode_plain_free(&k->plain);
    free(k);
}

static struct kept_node *borrow(struct kept_node *k)
{
    __atomic_add_fetch(&k->refs, 1, __ATOMIC_RELAXED);
    return k;
}

static void unlink_lru(struct nodecache *c, struct kept_node *k)
{
    *(k->older ? &k->older->newer : &c->oldest) = k->newer;
    *(k->newer ? &k->newer->older : &c->newest) = k->older;
}

static void link_newest(struct nodecache *c, struct kept_node *k)
{
    k->older = c->newest;
    k->newer = NULL;
    *(c->newest ? &c->newest->newer : &c->oldest) = k;
    c->newest = k;
}

static void drop(struct nodecache *c, struct kept_node *k)
{
    struct kept_node **at = nodeid_bucket(c, k->row.nodeid);

    while (*at != k)
        at = &(*at)->next_nodeid;
    *at = k->next_nodeid;
    at = ino_bucket(c, &k->row.ino);
    while (*at != k)
        at = &(*at)->next_ino;
    *at = k->next_ino;
    unlink_lru(c, k);
    c->count--;
    k->is_cached = false;
    nodecache_release(k);
}

static struct kept_node *by_nodeid(struct nodecache *c, uint64_t nodeid)
{
    struct kept_node *k = *nodeid_bucket(c, nodeid);

    while (k && k->row.nodeid != nodeid)
        k = k->next_nodeid;
    return k;
}

static struct kept_node *by_ino(struct nodecache *c, const struct id16 *ino)
{
    struct kept_node *k = *ino_bucket(c, ino);

    while (k && !id_equal(&k->row.ino, ino))
        k = k->next_ino;
    return k;
}

static struct kept_node *use(struct nodecache *c, struct kept_node *k)
{
    if (!k)
        return NULL;
    unlink_lru(c, k);
    link_newest(c, k);
    return borrow(k);
}

struct kept_node *nodecache_get(struct vault *v, uint64_t nodeid)
{
    return use(v->nodecache, by_nodeid(v->nodecache, nodeid));
}

struct kept_node *nodecache_find(struct vault *v, const struct id16 *ino)
{
    return use(v->nodecache, by_ino(v->nodecache, ino));
}

struct kept_node *nodecache_put(struct vault *v, const struct name_inode *row,
                                const struct inode_attr *attr, struct writer *plain)
{
    struct nodecache *c = v->nodecache;
    struct kept_node *k = by_nodeid(c, row->nodeid);

    if (k)
        drop(c, k);
    if (c->count >= NODES_MAX)
        drop(c, c->oldest);
    k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->refs = 1;
    k->is_cached = true;
    k->row = *row;
    k->row.sealed = view_of(NULL, 0);
    k->attr = *attr;
    k->plain = *plain;
    writer_init(plain);
    k->next_nodeid = *nodeid_bucket(c, row->nodeid);
    *nodeid_bucket(c, row->nodeid) = k;
    k->next_ino = *ino_bucket(c, &row->ino);
    *ino_bucket(c, &row->ino) = k;
    link_newest(c, k);
    c->count++;
    return borrow(k);
}

bool nodecache_links(struct vault *v, const struct kept_node *k, uint32_t *out_links)
{
    if (!k->is_cached || !k->has_links || k->links_turn != v->nodecache->links_turn)
        return false;
    *out_links = k->links;
    return true;
}

void nodecache_set_links(struct vault *v, struct kept_node *k, uint32_t links)
{
    k->has_links = true;
    k->links = links;
    k->links_turn = v->nodecache->links_turn;
}

void nodecache_drop_all(struct vault *v)
{
    struct nodecache *c = v->nodecache;

    while (c && c->oldest)
        drop(c, c->oldest);
}

/* ---- what nsdb tells ---- */

static void on_inode(void *user, uint64_t nodeid)
{
    struct nodecache *c = ((struct vault *)user)->nodecache;
    struct kept_node *k = by_nodeid(c, nodeid);

    if (k)
        drop(c, k);
}

/* The kernel asks once more about what it has just unlinked. */
static void on_gone(void *user, uint64_t nodeid)
{
    struct kept_node *k = by_nodeid(((struct vault *)user)->nodecache, nodeid);

    if (k) {
        k->row.is_gone = true;
        k->row.is_forgotten = false;
        k->row.is_dirty = false;
    }
}

/* A name came or went: of its child, and among the directories of its parent, if it is one. */
static void on_name(void *user, const struct id16 *parent, const struct id16 *child)
{
    struct nodecache *c = ((struct vault *)user)->nodecache;
    struct kept_node *k = parent ? by_ino(c, parent) : NULL;

    if (k)
        k->has_links = false;
    k = by_ino(c, child);
    if (k)
        k->has_links = false;
}

static void on_names(void *user)
{
    ((struct vault *)user)->nodecache->links_turn++;
}

static void on_header(void *user, const struct id16 *file)
{
    lease_header_changed(user, file);
}

static void on_undo(void *user)
{
    nodecache_drop_all(user);
    lease_headers_changed(user);
}

static void tell_held(struct vault *v, void *arg)
{
    v->opts.upcalls.held(v->opts.upcalls.user, -(int)(intptr_t)arg);
}

static void on_held(void *user, int reason)
{
    struct vault *v = user;

    if (v->opts.upcalls.held)
        notify_call(v, tell_held, (void *)(intptr_t)-reason);
}

int nodecache_open(struct vault *v)
{
    struct nsdb_watch watch = {
        .user = v, .on_inode = on_inode, .on_gone = on_gone, .on_name = on_name, .on_names = on_names,
        .on_header = on_header, .on_undo = on_undo, .on_held = on_held
    };

    v->nodecache = calloc(1, sizeof *v->nodecache);
    if (!v->nodecache)
        return -ENOMEM;
    nsdb_set_watch(v->db, &watch);
    return 0;
}

void nodecache_close(struct vault *v)
{
    if (v->db)
        nsdb_set_watch(v->db, &(struct nsdb_watch){ 0 });
    nodecache_drop_all(v);
    free(v->nodecache);
    v->nodecache = NULL;
}
