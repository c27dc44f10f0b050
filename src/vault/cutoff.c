/*
 * Cutting a reader off. The notifier tells the kernel about each node twice: before the flag,
 * so that what he wrote while he had the right is written back, and after it, so that no cached
 * page outlives the right. Where others have the node open, it is retired: their reads would
 * refill pages that the cut descriptor can read (DESIGN 9).
 */
#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "vault/access_state.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/nodecache.h"
#include "vault/notify.h"
#include "vault/spool.h"

enum { CUT_NODES_MAX = 65536 };

struct cut_which {
    struct id16 user;
    struct id16 class_id; /* zero: all */
    bool leased_only;
};
struct cut {
    struct cut_which which;
    int rc;
    size_t count;
    uint64_t nodeids[];
};

static bool is_of(const struct access *a, const struct cut_which *which)
{
    return id_equal(&a->user, &which->user) &&
           (id_is_zero(&which->class_id) || id_equal(&a->class_id, &which->class_id)) &&
           (!which->leased_only || (a->keys && a->keys->is_released)) && atomic_load(&a->rc) == 0;
}

/* NULL: nothing open, or out of memory (then the flags go up at once). */
static struct cut *collect(struct vault *v, const struct cut_which *which, int rc)
{
    struct cut *c = NULL;
    size_t n = 0;

    pthread_mutex_lock(&v->access_lock);
    for (struct access *a = v->accesses; a; a = a->next)
        n += is_of(a, which);
    if (n > 0 && n <= CUT_NODES_MAX)
        c = calloc(1, sizeof *c + n * sizeof c->nodeids[0]);
    if (c) {
        c->which = *which;
        c->rc = rc;
        for (struct access *a = v->accesses; a; a = a->next)
            if (is_of(a, which))
                c->nodeids[c->count++] = a->nodeid;
    } else {
        for (struct access *a = v->accesses; a; a = a->next)
            if (is_of(a, which))
                atomic_store(&a->rc, rc);
    }
    pthread_mutex_unlock(&v->access_lock);
    return c;
}

static void tell_nodes(struct vault *v, const struct cut *c)
{
    if (!v->opts.upcalls.inval_node)
        return;
    for (size_t i = 0; i < c->count; i++)
        v->opts.upcalls.inval_node(v->opts.upcalls.user, c->nodeids[i]);
}

/* Others still have the node open: it goes on under a new number, theirs say ESTALE. */
static void retire_shared(struct vault *v, uint64_t nodeid)
{
    struct name_dentry row;
    struct name_inode inode;
    struct nsdb_stmt s;
    bool shared = false;
    uint64_t parent = 0;
    uint64_t fresh;
    struct dentry d = { 0 };
    int rc;

    pthread_mutex_lock(&v->access_lock);
    for (struct access *a = v->accesses; a; a = a->next)
        shared |= a->nodeid == nodeid && atomic_load(&a->rc) == 0;
    pthread_mutex_unlock(&v->access_lock);
    if (!shared)
        return;
    nsdb_lock(v->db);
    rc = nsdb_begin(v->db);
    if (rc == 0) {
        rc = retire_node(v, nodeid, false, &fresh);
        if (rc == 0)
            nsdb_commit_soon(v->db);
        else
            nsdb_rollback(v->db);
    }
    if (rc == 0 && nsdb_inode_get(v->db, fresh, &s, &inode) == 0) {
        nsdb_end(&s);
        if (nsdb_dentry_of(v->db, &inode.ino, &s, &row) == 0) {
            ignored(names_open_dentry(v, &row, &d)); /* else its entry times out */
            nsdb_end(&s);
            if (nsdb_inode_find(v->db, &row.parent, &s, &inode) == 0) {
                nsdb_end(&s);
                parent = inode.nodeid;
            }
        }
    }
    nsdb_unlock(v->db);
    if (rc < 0)
        return;
    rc = contents_retire(v->contents, nodeid, fresh);
    pthread_mutex_lock(&v->access_lock);
    for (struct access *a = v->accesses; a; a = a->next)
        if (a->nodeid == nodeid && atomic_load(&a->rc) == 0)
            atomic_store(&a->rc, rc < 0 ? rc : -ESTALE);
    pthread_mutex_unlock(&v->access_lock);
    if (parent && d.name_bytes && v->opts.upcalls.inval_entry)
        v->opts.upcalls.inval_entry(v->opts.upcalls.user, parent, view_of(d.name, d.name_bytes));
}

/* On the notifier's thread, no lock held. */
static void cut_now(struct vault *v, void *arg)
{
    struct cut *c = arg;
    struct event e;
    char program[32];

    tell_nodes(v, c);
    pthread_mutex_lock(&v->access_lock);
    for (struct access *a = v->accesses; a; a = a->next)
        if (is_of(a, &c->which))
            atomic_store(&a->rc, c->rc);
    pthread_mutex_unlock(&v->access_lock);
    for (size_t i = 0; i < c->count; i++)
        retire_shared(v, c->nodeids[i]);
    tell_nodes(v, c);
    spool_event_init(v, &e, EVENT_CUTOFF, NULL, NULL, program);
    e.user = c->which.user;
    e.class_id = c->which.class_id;
    ignored(spool_event(v->spool, &e)); /* the cut stands without its record */
    free(c);
}

static void cut_later(struct vault *v, const struct cut_which *which, int rc)
{
    struct cut *c = collect(v, which, rc);

    if (c)
        notify_call(v, cut_now, c);
    notify_names(v);
}

static void tell_ino(struct vault *v, const struct id16 *ino)
{
    struct name_inode row;
    struct nsdb_stmt s;

    if (nsdb_inode_find(v->db, ino, &s, &row) < 0)
        return;
    nsdb_end(&s);
    notify_node(v, row.nodeid);
}

void cutoff_tell_tops(struct vault *v, const struct class_ctx *ctx)
{
    tell_ino(v, &ctx->class_id);
    tell_ino(v, &ctx->patient);
}

void cutoff_class(struct vault *v, const struct id16 *user, const struct id16 *class_id, int rc)
{
    struct cut_which which = { .user = *user, .class_id = *class_id };

    lease_forget(v, user, class_id);
    cut_later(v, &which, rc);
}

void cutoff_leased(struct vault *v, const struct id16 *user, const struct id16 *class_id)
{
    struct cut_which which = { .user = *user, .class_id = *class_id, .leased_only = true };

    cut_later(v, &which, -EACCES);
}

void cutoff_on_lost(struct vault *v, struct identity *id, struct class_key *k)
{
    struct class_key *other = NULL;

    nodecache_drop_all(v);
    /* Another grant of the class (or its next epoch) may still give the right. */
    for (struct class_key *o = id->classes; o; o = o->next)
        if (o != k && id_equal(&o->ctx.class_id, &k->ctx.class_id) &&
            (o->is_owner || o->rights >= k->rights))
            other = o;
    if (other && other->ctx.epoch >= k->ctx.epoch)
        return;
    cutoff_tell_tops(v, &k->ctx);
    cutoff_class(v, &id->user, &k->ctx.class_id, -EACCES);
}

void cutoff_user_now(struct vault *v, const struct id16 *user, int rc)
{
    struct cut_which which = { .user = *user };

    pthread_mutex_lock(&v->access_lock);
    for (struct access *a = v->accesses; a; a = a->next)
        if (is_of(a, &which))
            atomic_store(&a->rc, rc);
    pthread_mutex_unlock(&v->access_lock);
}

void cutoff_flush_user(struct vault *v, const struct id16 *user)
{
    struct cut_which which = { .user = *user };

    pthread_mutex_lock(&v->access_lock);
    for (struct access *a = v->accesses; a; a = a->next)
        if (is_of(a, &which))
            notify_node(v, a->nodeid);
    pthread_mutex_unlock(&v->access_lock);
}
