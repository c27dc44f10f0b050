/*
 * Times that changed and are not in the rows yet: a directory's mtime with every entry, a
 * file's ctime with every write. In memory, into the rows within two seconds; a crash loses
 * two seconds of time stamps and nothing else.
 *
 * TOUCH-1  A file whose contents are not sealed yet waits for its seal, and is not looked at before
 *          (touch_set, from the seal or from another change, makes it due). Where more than
 *          WAITING_MAX wait, they are written without: an op more for each, and bounded memory.
 * TOUCH-2  The names lock is held for STEP_MAX entries at a time.
 */
#include <string.h>

#include "crypto/digest.h"
#include "vault/names.h"

enum { TOUCH_BUCKETS = 4096, WAITING_MAX = 16384, STEP_MAX = 256 };

struct touch_entry {
    struct touch_entry *next;
    uint64_t nodeid;
    unsigned what;
    struct row_time mtime;
    struct row_time ctime;
    struct id16 user;
    bool is_waiting; /* TOUCH-1 */
};
struct touch {
    struct touch_entry *buckets[TOUCH_BUCKETS];
    size_t count;
};

static struct touch_entry **slot(struct vault *v, uint64_t nodeid)
{
    struct touch_entry **at = &v->touch->buckets[nodeid % TOUCH_BUCKETS];

    while (*at && (*at)->nodeid != nodeid)
        at = &(*at)->next;
    return at;
}

void touch_set(struct vault *v, uint64_t nodeid, unsigned what, const struct id16 *user)
{
    struct touch_entry **at;

    if (!v->touch)
        v->touch = calloc(1, sizeof *v->touch);
    if (!v->touch)
        return; /* a time stamp is not worth failing for */
    at = slot(v, nodeid);
    if (!*at) {
        *at = calloc(1, sizeof **at);
        if (!*at)
            return;
        (*at)->nodeid = nodeid;
        v->touch->count++;
    }
    (*at)->what |= what;
    (*at)->user = *user;
    (*at)->is_waiting = false;
    if (what & TOUCH_MTIME)
        (*at)->mtime = names_now();
    if (what & TOUCH_CTIME)
        (*at)->ctime = names_now();
}

void touch_apply(struct vault *v, uint64_t nodeid, struct row_time *io_mtime,
                 struct row_time *io_ctime)
{
    struct touch_entry *e = v->touch ? *slot(v, nodeid) : NULL;

    if (e && (e->what & TOUCH_MTIME))
        *io_mtime = e->mtime;
    if (e && (e->what & TOUCH_CTIME))
        *io_ctime = e->ctime;
}

void touch_drop(struct vault *v, uint64_t nodeid)
{
    struct touch_entry **at = v->touch ? slot(v, nodeid) : NULL;
    struct touch_entry *e = at ? *at : NULL;

    if (!e)
        return;
    *at = e->next;
    free(e);
    v->touch->count--;
}

/* 1: written or pointless, 0: waits. */
static int flush_one(struct vault *v, struct touch_entry *e, bool all)
{
    scoped(names_fini) struct node n = { 0 };
    struct content_row content;
    struct inode_attr attr;
    int rc = names_load(v, e->nodeid, &n);

    if (rc == PHR_E_LOCKED)
        return 0;
    if (rc < 0)
        return 1;
    if (n.row.kind == NODE_ROOT || n.row.kind == NODE_PATIENT || n.row.is_gone)
        return 1;
    attr = n.attr;
    if (S_ISREG(attr.mode)) {
        if (nsdb_content_get(v->db, e->nodeid, NULL, &content) == 0) {
            e->is_waiting = content.state == CONTENT_DIRTY;
            if (!all && e->is_waiting)
                return 0; /* rides with the seal */
            attr.size = content.size;
            attr.mtime = content.mtime;
        }
    } else if (e->what & TOUCH_MTIME) {
        attr.mtime = e->mtime;
    }
    if (e->what & TOUCH_CTIME)
        attr.ctime = e->ctime;
    rc = names_set_attr(v, &n, &attr, &e->user);
    return rc < 0 && rc != PHR_E_LOCKED ? rc : 1;
}

/* Those of one bucket; how many were looked at, or what flush_one says. */
static int flush_bucket(struct vault *v, size_t bucket, const struct id16 *user, bool all)
{
    struct touch_entry **at = &v->touch->buckets[bucket];
    int looked = 0;

    while (*at) {
        struct touch_entry *e = *at;
        bool is_due = (all || !e->is_waiting) && (!user || id_equal(user, &e->user));
        int rc = is_due ? flush_one(v, e, all) : 0;

        if (rc < 0)
            return rc;
        looked += is_due;
        if (rc == 0) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        free(e);
        v->touch->count--;
    }
    return looked;
}

/* 1: not the last one; the names lock may be let go before the next (TOUCH-2). */
static int flush_step(struct vault *v, size_t *io_at)
{
    bool all = v->touch && v->touch->count > WAITING_MAX;
    int looked = 0;

    for (; v->touch && *io_at < TOUCH_BUCKETS && looked < STEP_MAX; ++*io_at) {
        int rc = flush_bucket(v, *io_at, NULL, all);

        if (rc < 0)
            return rc;
        looked += rc;
    }
    return v->touch && *io_at < TOUCH_BUCKETS;
}

int touch_sign(struct vault *v)
{
    size_t at = 0;
    uint64_t after = 0;
    int rc;

    do {
        nsdb_lock(v->db);
        rc = flush_step(v, &at);
        nsdb_unlock(v->db);
    } while (rc > 0);
    if (rc < 0)
        return rc;
    do {
        nsdb_lock(v->db);
        rc = names_sign_some(v, NULL, &after);
        nsdb_unlock(v->db);
    } while (rc > 0);
    return rc;
}

int touch_flush(struct vault *v, const struct id16 *user)
{
    for (size_t i = 0; v->touch && i < TOUCH_BUCKETS; i++) {
        int rc = flush_bucket(v, i, user, true);

        if (rc < 0)
            return rc;
    }
    return 0;
}

void touch_close(struct vault *v)
{
    for (size_t i = 0; v->touch && i < TOUCH_BUCKETS; i++)
        while (v->touch->buckets[i]) {
            struct touch_entry *e = v->touch->buckets[i];

            v->touch->buckets[i] = e->next;
            free(e);
        }
    free(v->touch);
    v->touch = NULL;
}
