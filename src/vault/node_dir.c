/*
 * Reading directories. A position is the cookie of a row (or, in the two top levels, of an id),
 * never an index: it stays right while entries come and go (STORAGE 6.3).
 */
#include <dirent.h>
#include <string.h>

#include "vault/names.h"
#include "vault/node.h"
#include "vault/node_top.h"

enum { COOKIE_DOT = 1, COOKIE_DOTDOT = 2, COOKIE_FIRST = 16, BATCH = 64 };

struct dir {
    struct vault *v;
    uint64_t nodeid;
};

struct batch_entry {
    uint64_t cookie;
    size_t name_bytes;
    uint8_t name[NAME_BYTES_MAX];
    uint8_t type;
    uint64_t st_ino;
    struct node_attr attr;
    bool is_shown;
};
struct batch {
    struct batch_entry e[BATCH];
    size_t count;
    uint64_t last; /* cookie of the last row looked at */
    bool is_end;
};

int node_opendir(struct vault *v, const struct who *who, uint64_t nodeid, struct dir **out_dir)
{
    scoped(names_fini) struct node n = { 0 };
    struct session *s;
    struct class_key *k;
    struct dir *d;
    int rc;

    nsdb_lock(v->db);
    rc = names_load(v, nodeid, &n);
    if (rc == 0 && !names_is_dir(&n))
        rc = -ENOTDIR;
    if (rc == 0 && (n.row.kind == NODE_BELOW || n.row.kind == NODE_CLASS)) {
        rc = access_right(v, who, &n.row.class_id, ACCESS_READ, &s, &k);
        if (rc == 0 && !k->has_rows)
            rc = PHR_E_LOCKED; /* never an empty list */
    } else if (rc == 0) {
        s = session_of_uid(v, who->uid);
        if (!s && n.row.kind == NODE_PATIENT)
            rc = -EACCES;
    }
    nsdb_unlock(v->db);
    if (rc < 0)
        return rc;
    d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->v = v;
    d->nodeid = nodeid;
    *out_dir = d;
    return 0;
}

void node_releasedir(struct dir *d)
{
    free(d);
}

static int fill_attr(struct vault *v, const struct dentry *d, bool plus, struct node_attr *out_attr)
{
    scoped(names_fini) struct node n = { 0 };
    struct name_inode inode;
    int rc;

    if (plus) {
        rc = names_load_ino(v, &d->ino, &n);
        return rc < 0 ? rc : names_fill_attr(v, &n, out_attr);
    }
    rc = names_row_ino(v, &d->ino, &inode);
    if (rc < 0)
        return rc;
    *out_attr = (struct node_attr){ .nodeid = inode.nodeid };
    out_attr->st.st_mode = (mode_t)DTTOIF(d->type);
    return 0;
}

/* Rows after a cookie into the batch; files that nobody has sealed are left out. */
static int fill_rows(struct vault *v, const struct node *dir, uint64_t after, bool plus,
                     struct batch *b)
{
    struct name_dentry row;
    struct nsdb_stmt s;
    int rc;

    nsdb_dentry_scan(v->db, &dir->row.ino, after, &s);
    while (b->count < BATCH && (rc = nsdb_dentry_next(&s, &row)) > 0) {
        struct batch_entry *e = &b->e[b->count];
        struct dentry d;

        b->last = row.cookie;
        if (names_open_dentry(v, &row, &d) < 0)
            continue; /* one damaged row must not hide its neighbours */
        e->cookie = row.cookie + COOKIE_FIRST;
        e->name_bytes = d.name_bytes;
        memcpy(e->name, d.name, d.name_bytes);
        e->type = d.type;
        e->st_ino = names_st_ino(&d.ino);
        e->is_shown = true;
        if (fill_attr(v, &d, plus, &e->attr) < 0)
            continue;
        b->count++;
    }
    nsdb_end(&s);
    b->is_end = b->count < BATCH;
    return 0;
}

static int fill_top(struct vault *v, const struct who *who, const struct node *dir, uint64_t after,
                    bool plus, struct batch *b)
{
    struct node_top_entry *list = NULL;
    size_t n = 0;
    int rc = node_top_list(v, who, dir, &list, &n);

    for (size_t i = 0; rc == 0 && i < n && b->count < BATCH; i++) {
        struct batch_entry *e = &b->e[b->count];
        scoped(names_fini) struct node child = { 0 };
        uint64_t nodeid;

        if (list[i].cookie <= after)
            continue;
        b->last = list[i].cookie;
        if (node_top_resolve(v, dir, &list[i].id, &nodeid) < 0)
            continue;
        e->cookie = list[i].cookie + COOKIE_FIRST;
        e->name_bytes = strlen(list[i].name);
        memcpy(e->name, list[i].name, e->name_bytes);
        e->type = DT_DIR;
        e->st_ino = names_st_ino(&list[i].id);
        e->is_shown = true;
        e->attr = (struct node_attr){ .nodeid = nodeid };
        if (plus && (names_load(v, nodeid, &child) < 0 || names_fill_attr(v, &child, &e->attr) < 0))
            continue;
        e->attr.st.st_mode |= S_IFDIR;
        b->count++;
    }
    free(list);
    b->is_end = b->count < BATCH;
    return rc;
}

static int fill(struct dir *d, const struct who *who, uint64_t after, bool plus, struct batch *b)
{
    scoped(names_fini) struct node dir = { 0 };
    struct session *s;
    struct class_key *k;
    int rc;

    b->count = 0;
    b->last = after;
    nsdb_lock(d->v->db);
    rc = names_load(d->v, d->nodeid, &dir);
    if (rc == 0 && (dir.row.kind == NODE_ROOT || dir.row.kind == NODE_PATIENT)) {
        rc = fill_top(d->v, who, &dir, after, plus, b);
    } else if (rc == 0) {
        rc = access_right(d->v, who, &dir.row.class_id, ACCESS_READ, &s, &k);
        if (rc == 0)
            rc = fill_rows(d->v, &dir, after, plus, b);
    }
    nsdb_unlock(d->v->db);
    for (size_t i = 0; rc == 0 && i < b->count; i++) {
        if (S_ISREG(b->e[i].attr.st.st_mode) && plus) {
            b->e[i].is_shown = names_finish_attr(d->v, &b->e[i].attr) == 0;
        } else if (b->e[i].type == DT_REG) {
            struct content_attr c;

            b->e[i].is_shown = contents_getattr(d->v->contents, b->e[i].attr.nodeid, &c) == 0;
        }
    }
    return rc;
}

/* st_ino of the parent, for "..". */
static uint64_t parent_ino(struct dir *d)
{
    struct name_dentry row;
    struct name_inode inode;
    struct nsdb_stmt s;
    uint64_t ino = 1;

    nsdb_lock(d->v->db);
    if (names_row(d->v, d->nodeid, &inode) == 0) {
        if (inode.kind == NODE_CLASS) {
            struct class_key *k = session_class_any(d->v, &inode.class_id);

            ino = k ? names_st_ino(&k->ctx.patient) : 1;
        } else if (inode.kind == NODE_BELOW &&
                   nsdb_dentry_of(d->v->db, &inode.ino, &s, &row) == 0) {
            nsdb_end(&s);
            ino = names_st_ino(&row.parent);
        }
    }
    nsdb_unlock(d->v->db);
    return ino;
}

static uint64_t own_ino(struct dir *d)
{
    struct name_inode inode;
    uint64_t ino = 1;

    nsdb_lock(d->v->db);
    if (names_row(d->v, d->nodeid, &inode) == 0) {
        ino = inode.kind == NODE_ROOT ? 1 : names_st_ino(&inode.ino);
    }
    nsdb_unlock(d->v->db);
    return ino;
}

int node_readdir(struct dir *d, const struct who *who, uint64_t cookie, bool plus,
                 bool (*on_entry)(void *user, const struct dir_entry *e), void *user)
{
    struct dir_entry dots = { .type = DT_DIR };
    struct batch *b;
    int rc = 0;

    if (cookie < COOKIE_DOT) {
        dots.name = view_text(".");
        dots.cookie = COOKIE_DOT;
        dots.st_ino = own_ino(d);
        if (!on_entry(user, &dots))
            return 0;
    }
    if (cookie < COOKIE_DOTDOT) {
        dots.name = view_text("..");
        dots.cookie = COOKIE_DOTDOT;
        dots.st_ino = parent_ino(d);
        if (!on_entry(user, &dots))
            return 0;
    }
    b = malloc(sizeof *b);
    if (!b)
        return -ENOMEM;
    b->last = cookie > COOKIE_FIRST ? cookie - COOKIE_FIRST : 0;
    do {
        rc = fill(d, who, b->last, plus, b);
        for (size_t i = 0; rc == 0 && i < b->count; i++) {
            struct dir_entry e = {
                .name = view_of(b->e[i].name, b->e[i].name_bytes), .cookie = b->e[i].cookie,
                .type = b->e[i].type, .st_ino = b->e[i].st_ino,
                .attr = plus ? &b->e[i].attr : NULL
            };

            if (b->e[i].is_shown && !on_entry(user, &e)) {
                free(b);
                return 0;
            }
        }
    } while (rc == 0 && !b->is_end);
    free(b);
    return rc;
}
