/*
 * Times that changed and are not in the rows yet: a directory's mtime with every entry, a
 * file's ctime with every write. In memory, into the rows within two seconds; a crash loses
 * two seconds of time stamps and nothing else.
 */
#include <string.h>

#include "vault/names.h"

enum { TOUCH_BUCKETS = 1024 };

struct touch_entry {
    struct touch_entry *next;
    uint64_t nodeid;
    unsigned what;
    struct row_time mtime;
    struct row_time ctime;
    struct id16 user;
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
static int flush_one(struct vault *v, const struct touch_entry *e, bool all)
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
            if (!all && content.state == CONTENT_DIRTY)
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

int touch_flush(struct vault *v, const struct id16 *user, bool all)
{
    int rc = 0;

    if (!v->touch)
        return 0;
    for (size_t i = 0; i < TOUCH_BUCKETS && rc >= 0; i++) {
        struct touch_entry **at = &v->touch->buckets[i];

        while (*at && rc >= 0) {
            struct touch_entry *e = *at;

            rc = user && memcmp(user->b, e->user.b, sizeof user->b) != 0 ? 0 : flush_one(v, e, all);
            if (rc <= 0) {
                at = &e->next;
                continue;
            }
            *at = e->next;
            free(e);
            v->touch->count--;
        }
    }
    return rc < 0 ? rc : 0;
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
