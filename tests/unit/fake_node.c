/*
 * vault.h, node.h and file.h in plain memory: what lies under src/mount when it is tested
 * without the vault, and the floor that FUSE itself sets in benchmarks. Tests only: nothing is
 * encrypted, checked or kept.
 *
 * Names that begin with these words make open() behave like one that waits for an answer:
 *   slow-    woken with success after 200 ms
 *   never-   not woken before the deadline of the mount has passed (after 3 s)
 *   refused- woken with PHR_E_NO_GRANT after 100 ms
 *   broken-  read fails with PHR_E_SEAL
 * A lookup of "late-name" keeps its thread for 400 ms; one of "stuck-name" never ends, while the notifier tells the kernel to forget that name.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/scope.h"
#include "vault/file.h"

enum { NODES_MAX = 400000, PAGE = 4096, XATTRS_MAX = 64 };

struct attr_pair {
    char name[256];
    uint8_t *value;
    size_t n;
};

struct entry {
    struct entry *next; /* in the order of cookies */
    struct entry *bucket;
    uint64_t cookie;
    uint64_t nodeid;
    size_t name_n;
    char name[];
};

struct node {
    struct stat st;
    bool is_top;
    uint64_t parent;
    uint32_t handles;
    struct entry *first, *last;
    uint64_t next_cookie;
    struct entry **buckets;
    size_t bucket_count;
    size_t entry_count;
    uint8_t **pages;
    size_t page_count;
    char *target;
    struct attr_pair *xattrs;
    size_t xattr_count;
    char open_word; /* s, n, r, b or 0 */
    int wakes;
};

struct vault {
    pthread_mutex_t lock;
    struct node *nodes[NODES_MAX];
    uint64_t count;
    pthread_cond_t woken;
    unsigned alarms; /* waiters that somebody holds */
    struct vault_upcalls upcalls;
};

struct file {
    struct vault *v;
    uint64_t nodeid;
    int flags;
};

struct dir {
    struct vault *v;
    uint64_t nodeid;
};

static struct vault fake = { .lock = PTHREAD_MUTEX_INITIALIZER,
                             .woken = PTHREAD_COND_INITIALIZER };

static struct timespec now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return t;
}

static struct node *get(struct vault *v, uint64_t id)
{
    return id < NODES_MAX ? v->nodes[id] : NULL;
}

static struct node *node_new(struct vault *v, const struct who *who, uint32_t mode,
                             uint64_t parent)
{
    struct node *n = calloc(1, sizeof *n);
    struct node *dir = get(v, parent);

    if (!n || v->count + 1 >= NODES_MAX) {
        free(n);
        return NULL;
    }
    n->st.st_ino = ++v->count;
    n->st.st_mode = mode;
    n->st.st_uid = who->uid;
    n->st.st_gid = dir && (dir->st.st_mode & S_ISGID) ? dir->st.st_gid : who->gid;
    if (dir && (dir->st.st_mode & S_ISGID) && S_ISDIR(mode))
        n->st.st_mode |= S_ISGID;
    n->st.st_nlink = S_ISDIR(mode) ? 2 : 1;
    n->st.st_atim = n->st.st_mtim = n->st.st_ctim = now();
    n->parent = parent;
    n->next_cookie = 3;
    v->nodes[n->st.st_ino] = n;
    return n;
}

static size_t hash(struct view name)
{
    size_t h = 5381;

    for (size_t i = 0; i < name.n; i++)
        h = h * 33 + name.p[i];
    return h;
}

static struct entry **find_slot(struct node *dir, struct view name)
{
    struct entry **e;

    if (!dir->buckets)
        return NULL;
    for (e = &dir->buckets[hash(name) % dir->bucket_count]; *e; e = &(*e)->bucket) {
        if ((*e)->name_n == name.n && memcmp((*e)->name, name.p, name.n) == 0)
            return e;
    }
    return NULL;
}

static void add_entry(struct node *dir, struct view name, uint64_t nodeid)
{
    struct entry *e = calloc(1, sizeof *e + name.n + 1);
    size_t at;

    INVARIANT(e);
    if (!dir->buckets) {
        dir->bucket_count = 8192;
        dir->buckets = calloc(dir->bucket_count, sizeof(struct entry *));
        INVARIANT(dir->buckets);
    }
    e->cookie = dir->next_cookie++;
    e->nodeid = nodeid;
    e->name_n = name.n;
    memcpy(e->name, name.p, name.n);
    at = hash(name) % dir->bucket_count;
    e->bucket = dir->buckets[at];
    dir->buckets[at] = e;
    if (dir->last)
        dir->last->next = e;
    else
        dir->first = e;
    dir->last = e;
    dir->entry_count++;
    dir->st.st_mtim = dir->st.st_ctim = now();
}

static void remove_entry(struct node *dir, struct entry **slot)
{
    struct entry *e = *slot;
    struct entry **at = &dir->first;
    struct entry *before = NULL;

    *slot = e->bucket;
    for (; *at != e; at = &(*at)->next)
        before = *at;
    *at = e->next;
    if (dir->last == e)
        dir->last = before;
    dir->entry_count--;
    dir->st.st_mtim = dir->st.st_ctim = now();
    free(e);
}

static void fill(const struct node *n, struct node_attr *out)
{
    *out = (struct node_attr){
        .nodeid = n->st.st_ino, .generation = 1, .st = n->st, .is_top = n->is_top
    };
}

static struct node *make(struct vault *v, const struct who *who, uint64_t parent,
                         struct view name, uint32_t mode, int *out_rc)
{
    struct node *dir = get(v, parent);
    struct node *n;

    *out_rc = -ENOENT;
    if (!dir || (dir->st.st_nlink == 0))
        return NULL;
    *out_rc = -ENAMETOOLONG;
    if (name.n > 255)
        return NULL;
    *out_rc = -EEXIST;
    if (find_slot(dir, name))
        return NULL;
    *out_rc = -ENOSPC;
    n = node_new(v, who, S_ISLNK(mode) ? mode : mode & ~who->umask, parent);
    if (!n)
        return NULL;
    add_entry(dir, name, n->st.st_ino);
    if (S_ISDIR(mode))
        dir->st.st_nlink++;
    for (size_t i = 0; i < 4; i++) {
        static const char *const words[] = { "slow-", "never-", "refused-", "broken-" };

        if (name.n > strlen(words[i]) && memcmp(name.p, words[i], strlen(words[i])) == 0)
            n->open_word = words[i][0];
    }
    *out_rc = 0;
    return n;
}

/* ---- vault.h ---- */

int vault_open(const struct vault_opts *opts, struct vault **out_vault)
{
    struct who root = { 0 };
    int rc;
    struct node *n = node_new(&fake, &root, S_IFDIR | 0755, 0);

    fake.upcalls = opts->upcalls;
    n->is_top = true;
    n = make(&fake, &root, 1, view_text("alice"), S_IFDIR | 0755, &rc);
    n->is_top = true;
    n = make(&fake, &root, n->st.st_ino, view_text("notes"), S_IFDIR | 0777, &rc);
    n->is_top = true;
    *out_vault = &fake;
    return 0;
}

/* As the contract says: whoever waits has been woken before this returns. */
bool vault_begin_writing(struct vault *v)
{
    (void)v;
    return false;
}

bool vault_is_read_only(struct vault *v)
{
    (void)v;
    return false;
}

void vault_close(struct vault *v)
{
    scoped(unlock) pthread_mutex_t *held = lock(&v->lock);

    (void)held;
    while (v->alarms > 0)
        pthread_cond_wait(&v->woken, &v->lock);
}

int vault_login(struct vault *v, uint32_t uid, struct keyring *take, enum purpose purpose,
                struct id16 *out_user)
{
    (void)uid, (void)take, (void)purpose;
    v->upcalls.inval_names(v->upcalls.user);
    v->upcalls.inval_node(v->upcalls.user, 3);
    v->upcalls.inval_entry(v->upcalls.user, 3, view_text("never there"));
    memset(out_user, 0x11, sizeof *out_user);
    return 0;
}

int vault_logout(struct vault *v, uint32_t uid, uint32_t *out_unsealed)
{
    (void)v, (void)uid;
    *out_unsealed = 0;
    return 0;
}

int vault_logout_idle(struct vault *v, uint64_t idle_ms, uint32_t *out_uid, uint32_t *out_unsealed)
{
    (void)v, (void)idle_ms, (void)out_uid, (void)out_unsealed;
    return -ENOENT;
}

unsigned vault_kept_logs(struct vault *v)
{
    (void)v;
    return 0;
}

char *vault_dup_status(struct vault *v, uint32_t uid)
{
    (void)v;
    return strdup(uid == VAULT_UID_ANY ? "{\"mount\":{\"fake\":true}}"
                                       : "{\"mount\":{}}");
}

int vault_sync(struct vault *v, uint32_t timeout_ms, struct vault_backlog *out_left)
{
    (void)v, (void)timeout_ms;
    *out_left = (struct vault_backlog){ 0 };
    return 0;
}

int vault_check_step(struct vault *v, const struct vault_check *opts, bool *out_finished,
                     char **out_json)
{
    (void)opts;
    *out_finished = true;
    return vault_check(v, out_json);
}

int vault_check(struct vault *v, char **out_json)
{
    (void)v;
    *out_json = strdup("{\"finished\":true,\"damaged\":[],\"count\":0}");
    return *out_json ? 0 : -ENOMEM;
}

int keyring_open_sealed(struct view file, struct view passphrase,
                        struct keyring **out_keyring)
{
    (void)file;
    *out_keyring = NULL;
    return view_equal(passphrase, view_text("right")) ? 0 : PHR_E_PASSPHRASE;
}

int keyring_body_decode(struct view body, struct keyring **out_keyring)
{
    (void)body;
    *out_keyring = NULL;
    return body.n > 0 ? 0 : PHR_E_FORMAT;
}

/* ---- node.h ---- */

#define LOCKED(v)                                             \
    scoped(unlock) pthread_mutex_t *held_ = lock(&(v)->lock); \
    (void)held_

int node_lookup(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                struct node_attr *out_attr)
{
    struct node *dir;
    struct entry **e;

    if (view_equal(name, view_text("stuck-name"))) {
        v->upcalls.inval_entry(v->upcalls.user, parent, name);
        pause(); /* the kernel holds the folder for us, the notifier waits for it */
    }
    if (view_equal(name, view_text("late-name")))
        usleep(400 * 1000);
    LOCKED(v);
    (void)who;
    dir = get(v, parent);
    if (name.n > 255)
        return -ENAMETOOLONG;
    e = dir ? find_slot(dir, name) : NULL;
    if (!e)
        return -ENOENT;
    fill(get(v, (*e)->nodeid), out_attr);
    return 0;
}

int node_getattr(struct vault *v, const struct who *who, uint64_t nodeid,
                 struct node_attr *out_attr)
{
    struct node *n;
    LOCKED(v);

    (void)who;
    n = get(v, nodeid);
    if (!n)
        return -ESTALE;
    fill(n, out_attr);
    return 0;
}

void node_forget(struct vault *v, uint64_t nodeid, uint64_t n)
{
    (void)v, (void)nodeid, (void)n;
}

static int resize(struct node *n, uint64_t size)
{
    size_t want = (size_t)((size + PAGE - 1) / PAGE);

    if (size > (UINT64_C(1) << 46))
        return -EFBIG;
    for (size_t i = want; i < n->page_count; i++) {
        if (n->pages[i])
            n->st.st_blocks -= PAGE / 512;
        free(n->pages[i]);
        n->pages[i] = NULL;
    }
    if (size < (uint64_t)n->st.st_size && size % PAGE && want <= n->page_count &&
        n->pages[want - 1])
        memset(n->pages[want - 1] + size % PAGE, 0, PAGE - size % PAGE);
    n->st.st_size = (off_t)size;
    return 0;
}

static void kill_suidgid(struct node *n)
{
    n->st.st_mode &= ~(mode_t)S_ISUID;
    if (n->st.st_mode & S_IXGRP)
        n->st.st_mode &= ~(mode_t)S_ISGID;
}

int node_setattr(struct vault *v, const struct who *who, uint64_t nodeid,
                 const struct node_change *c, struct waiter *w,
                 struct node_attr *out_attr)
{
    struct node *n;
    int rc = 0;
    LOCKED(v);

    (void)w, (void)who;
    n = get(v, nodeid);
    if (!n)
        return -ESTALE;
    if (c->set & NODE_SET_MODE)
        n->st.st_mode = (n->st.st_mode & S_IFMT) | (c->mode & 07777);
    if (c->set & NODE_SET_UID)
        n->st.st_uid = c->uid;
    if (c->set & NODE_SET_GID)
        n->st.st_gid = c->gid;
    if (c->set & NODE_KILL_SUIDGID)
        kill_suidgid(n);
    if (c->set & NODE_SET_SIZE)
        rc = resize(n, c->size);
    if (c->set & NODE_SET_ATIME)
        n->st.st_atim = c->set & NODE_SET_ATIME_NOW ? now() : c->atime;
    if (c->set & NODE_SET_MTIME)
        n->st.st_mtim = c->set & NODE_SET_MTIME_NOW ? now() : c->mtime;
    n->st.st_ctim = c->set & NODE_SET_CTIME ? c->ctime : now();
    if (rc == 0)
        fill(n, out_attr);
    return rc;
}

static int make_attr(struct vault *v, const struct who *who, uint64_t parent,
                     struct view name, uint32_t mode, struct node_attr *out_attr)
{
    struct node *n;
    int rc;
    LOCKED(v);

    n = make(v, who, parent, name, mode, &rc);
    if (n)
        fill(n, out_attr);
    return rc;
}

int node_mknod(struct vault *v, const struct who *who, uint64_t parent, struct view name,
               uint32_t mode, struct node_attr *out_attr)
{
    if (S_ISCHR(mode) || S_ISBLK(mode))
        return -EPERM;
    return make_attr(v, who, parent, name, mode, out_attr);
}

int node_mkdir(struct vault *v, const struct who *who, uint64_t parent, struct view name,
               uint32_t mode, struct node_attr *out_attr)
{
    return make_attr(v, who, parent, name, S_IFDIR | mode, out_attr);
}

int node_create(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                uint32_t mode, int open_flags, struct node_attr *out_attr,
                struct file **out_file)
{
    struct file *f = calloc(1, sizeof *f);
    int rc =
        f ? make_attr(v, who, parent, name, S_IFREG | (mode & 07777), out_attr) : -ENOMEM;

    if (rc < 0) {
        free(f);
        return rc;
    }
    LOCKED(v);
    *f = (struct file){ .v = v, .nodeid = out_attr->nodeid, .flags = open_flags };
    get(v, f->nodeid)->handles++;
    *out_file = f;
    return 0;
}

int node_symlink(struct vault *v, const struct who *who, uint64_t parent,
                 struct view name, struct view target, struct node_attr *out_attr)
{
    struct node *n;
    int rc;
    LOCKED(v);

    n = make(v, who, parent, name, S_IFLNK | 0777, &rc);
    if (!n)
        return rc;
    n->target = strndup((const char *)target.p, target.n);
    n->st.st_size = (off_t)target.n;
    fill(n, out_attr);
    return 0;
}

int node_link(struct vault *v, const struct who *who, uint64_t nodeid,
              uint64_t new_parent, struct view new_name, struct node_attr *out_attr)
{
    struct node *n;
    struct node *dir;
    LOCKED(v);

    (void)who;
    n = get(v, nodeid);
    dir = get(v, new_parent);
    if (!n || !dir || n->st.st_nlink == 0)
        return -ENOENT;
    if (find_slot(dir, new_name))
        return -EEXIST;
    add_entry(dir, new_name, nodeid);
    n->st.st_nlink++;
    n->st.st_ctim = now();
    fill(n, out_attr);
    return 0;
}

static int take_name(struct vault *v, uint64_t parent, struct view name, bool is_dir)
{
    struct node *dir = get(v, parent);
    struct entry **e = dir ? find_slot(dir, name) : NULL;
    struct node *n = e ? get(v, (*e)->nodeid) : NULL;

    if (!n)
        return -ENOENT;
    if (S_ISDIR(n->st.st_mode) != is_dir)
        return is_dir ? -ENOTDIR : -EISDIR;
    if (is_dir && n->entry_count > 0)
        return -ENOTEMPTY;
    remove_entry(dir, e);
    n->st.st_nlink -= is_dir ? 2 : 1;
    if (is_dir)
        dir->st.st_nlink--;
    n->st.st_ctim = now();
    return 0;
}

int node_unlink(struct vault *v, const struct who *who, uint64_t parent, struct view name)
{
    LOCKED(v);

    (void)who;
    return take_name(v, parent, name, false);
}

int node_rmdir(struct vault *v, const struct who *who, uint64_t parent, struct view name)
{
    LOCKED(v);

    (void)who;
    return take_name(v, parent, name, true);
}

static int exchange(struct vault *v, struct entry *a, struct entry *b)
{
    uint64_t id = a->nodeid;

    (void)v;
    a->nodeid = b->nodeid;
    b->nodeid = id;
    return 0;
}

int node_rename(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                uint64_t new_parent, struct view new_name, unsigned flags)
{
    struct node *from;
    struct node *to;
    struct entry **e;
    struct entry **old;
    uint64_t id;
    bool is_dir;
    int rc;
    LOCKED(v);

    (void)who;
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    from = get(v, parent);
    to = get(v, new_parent);
    e = from ? find_slot(from, name) : NULL;
    if (!e || !to)
        return -ENOENT;
    old = find_slot(to, new_name);
    if (flags & RENAME_EXCHANGE)
        return old ? exchange(v, *e, *old) : -ENOENT;
    if (old && (flags & RENAME_NOREPLACE))
        return -EEXIST;
    id = (*e)->nodeid;
    is_dir = S_ISDIR(get(v, id)->st.st_mode);
    if (old && (*old)->nodeid == id)
        return 0;
    if (old) {
        rc = take_name(v, new_parent, new_name, is_dir);
        if (rc < 0)
            return rc;
    }
    e = find_slot(from, name);
    remove_entry(from, e);
    add_entry(to, new_name, id);
    from->st.st_nlink -= is_dir ? 1 : 0;
    to->st.st_nlink += is_dir ? 1 : 0;
    get(v, id)->st.st_ctim = now();
    get(v, id)->parent = new_parent;
    return 0;
}

int node_readlink(struct vault *v, const struct who *who, uint64_t nodeid,
                  struct writer *out)
{
    struct node *n;
    LOCKED(v);

    (void)who;
    n = get(v, nodeid);
    if (!n || !n->target)
        return -EINVAL;
    writer_text(out, n->target);
    return 0;
}

int node_opendir(struct vault *v, const struct who *who, uint64_t nodeid,
                 struct dir **out_dir)
{
    struct dir *d = calloc(1, sizeof *d);

    (void)who;
    if (!d)
        return -ENOMEM;
    *d = (struct dir){ .v = v, .nodeid = nodeid };
    *out_dir = d;
    return 0;
}

int node_readdir(struct dir *d, const struct who *who, uint64_t cookie, bool plus,
                 bool (*on_entry)(void *user, const struct dir_entry *e), void *user)
{
    struct node *dir;
    LOCKED(d->v);

    (void)who;
    dir = get(d->v, d->nodeid);
    for (uint64_t dot = cookie + 1; dot <= 2; dot++) {
        struct dir_entry e = { .name = view_text(dot == 1 ? "." : ".."),
                               .cookie = dot,
                               .type = 4 };

        e.st_ino = dot == 1 || dir->parent == 0 ? d->nodeid : dir->parent;
        if (!on_entry(user, &e))
            return 0;
    }
    for (struct entry *at = dir->first; at; at = at->next) {
        struct node *n = get(d->v, at->nodeid);
        struct node_attr attr;
        struct dir_entry e = { .name = view_of(at->name, at->name_n),
                               .cookie = at->cookie,
                               .type = (uint8_t)((n->st.st_mode & S_IFMT) >> 12),
                               .st_ino = n->st.st_ino,
                               .attr = plus ? &attr : NULL };

        if (at->cookie <= cookie)
            continue;
        fill(n, &attr);
        if (!on_entry(user, &e))
            return 0;
    }
    return 0;
}

void node_releasedir(struct dir *d)
{
    free(d);
}

static struct attr_pair *find_xattr(struct node *n, struct view name)
{
    for (size_t i = 0; i < n->xattr_count; i++) {
        if (view_equal(view_text(n->xattrs[i].name), name))
            return &n->xattrs[i];
    }
    return NULL;
}

int node_getxattr(struct vault *v, const struct who *who, uint64_t nodeid,
                  struct view name, struct writer *out)
{
    struct attr_pair *x;
    LOCKED(v);

    (void)who;
    x = find_xattr(get(v, nodeid), name);
    if (!x)
        return -ENODATA;
    writer_bytes(out, x->value, x->n);
    return 0;
}

int node_setxattr(struct vault *v, const struct who *who, uint64_t nodeid,
                  struct view name, struct view value, int flags)
{
    struct node *n;
    struct attr_pair *x;
    LOCKED(v);

    (void)who;
    n = get(v, nodeid);
    x = find_xattr(n, name);
    if (x && (flags & XATTR_CREATE))
        return -EEXIST;
    if (!x && (flags & XATTR_REPLACE))
        return -ENODATA;
    if (value.n > XATTR_VALUE_BYTES_MAX)
        return -E2BIG;
    if (!n->xattrs)
        n->xattrs = calloc(XATTRS_MAX, sizeof *n->xattrs);
    if (!x && n->xattr_count == XATTRS_MAX)
        return -ENOSPC;
    if (!x)
        x = &n->xattrs[n->xattr_count++];
    snprintf(x->name, sizeof x->name, "%.*s", (int)name.n, (const char *)name.p);
    free(x->value);
    x->value = malloc(value.n + 1);
    if (value.n > 0)
        memcpy(x->value, value.p, value.n);
    x->n = value.n;
    n->st.st_ctim = now();
    return 0;
}

int node_listxattr(struct vault *v, const struct who *who, uint64_t nodeid,
                   struct writer *out)
{
    struct node *n;
    LOCKED(v);

    (void)who;
    n = get(v, nodeid);
    for (size_t i = 0; i < n->xattr_count; i++)
        writer_bytes(out, n->xattrs[i].name, strlen(n->xattrs[i].name) + 1);
    return 0;
}

int node_removexattr(struct vault *v, const struct who *who, uint64_t nodeid,
                     struct view name)
{
    struct node *n;
    struct attr_pair *x;
    LOCKED(v);

    (void)who;
    n = get(v, nodeid);
    x = find_xattr(n, name);
    if (!x)
        return -ENODATA;
    free(x->value);
    *x = n->xattrs[--n->xattr_count];
    n->st.st_ctim = now();
    return 0;
}

int node_statfs(struct vault *v, struct statvfs *out_st)
{
    (void)v;
    *out_st = (struct statvfs){ .f_bsize = PAGE,
                                .f_frsize = PAGE,
                                .f_blocks = 1 << 20,
                                .f_bfree = 1 << 19,
                                .f_bavail = 1 << 19,
                                .f_namemax = 255,
                                .f_files = NODES_MAX,
                                .f_ffree = NODES_MAX - v->count };
    return 0;
}

int node_fsyncdir(struct vault *v, uint64_t nodeid)
{
    (void)v, (void)nodeid;
    return 0;
}

/* ---- file.h ---- */

struct alarm_call {
    struct waiter *w;
    unsigned after_ms;
    int rc;
};

static void *alarm_main(void *arg)
{
    struct alarm_call *a = arg;
    struct timespec t = { a->after_ms / 1000, (long)(a->after_ms % 1000) * 1000000 };

    nanosleep(&t, NULL);
    a->w->wake(a->w, a->rc);
    free(a);
    pthread_mutex_lock(&fake.lock);
    fake.alarms--;
    pthread_cond_broadcast(&fake.woken);
    pthread_mutex_unlock(&fake.lock);
    return NULL;
}

static int wake_later(struct waiter *w, unsigned after_ms, int rc)
{
    struct alarm_call *a = calloc(1, sizeof *a);
    pthread_t thread;

    *a = (struct alarm_call){ w, after_ms, rc };
    if (pthread_create(&thread, NULL, alarm_main, a) != 0)
        return -EAGAIN;
    pthread_detach(thread);
    fake.alarms++; /* the caller holds the lock */
    return PHR_E_PENDING;
}

int file_open(struct vault *v, const struct who *who, uint64_t nodeid, int flags,
              struct waiter *w, struct file **out_file, bool *out_keep_cache)
{
    struct file *f;
    struct node *n;
    LOCKED(v);

    (void)who;
    n = get(v, nodeid);
    if (n->open_word == 's' && n->wakes++ % 2 == 0)
        return wake_later(w, 200, 0);
    if (n->open_word == 'n')
        return wake_later(w, 3000, 0);
    if (n->open_word == 'r')
        return wake_later(w, 100, PHR_E_NO_GRANT);
    f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    *f = (struct file){ .v = v, .nodeid = nodeid, .flags = flags };
    n->handles++;
    if (flags & O_TRUNC)
        ignored(resize(n, 0));
    *out_keep_cache = true;
    *out_file = f;
    return 0;
}

int file_read(struct file *f, uint64_t offset, struct span room, struct waiter *w,
              size_t *out_n)
{
    struct node *n;
    size_t left = 0;
    LOCKED(f->v);

    (void)w;
    n = get(f->v, f->nodeid);
    if (n->open_word == 'b')
        return PHR_E_SEAL;
    if (offset < (uint64_t)n->st.st_size)
        left = (size_t)((uint64_t)n->st.st_size - offset);
    left = left < room.n ? left : room.n;
    *out_n = left;
    for (size_t done = 0; done < left;) {
        size_t page = (size_t)((offset + done) / PAGE);
        size_t at = (size_t)((offset + done) % PAGE);
        size_t some = PAGE - at < left - done ? PAGE - at : left - done;

        if (page < n->page_count && n->pages[page])
            memcpy(room.p + done, n->pages[page] + at, some);
        else
            memset(room.p + done, 0, some);
        done += some;
    }
    return 0;
}

static int need_pages(struct node *n, size_t count)
{
    size_t want = n->page_count ? n->page_count : 16;
    uint8_t **more;

    if (count <= n->page_count)
        return 0;
    while (want < count)
        want *= 2;
    more = realloc(n->pages, want * sizeof *more);
    if (!more)
        return -ENOSPC;
    memset(more + n->page_count, 0, (want - n->page_count) * sizeof *more);
    n->pages = more;
    n->page_count = want;
    return 0;
}

int file_write(struct file *f, uint64_t offset, struct view bytes, struct waiter *w)
{
    struct node *n;
    LOCKED(f->v);

    (void)w;
    n = get(f->v, f->nodeid);
    if (offset + bytes.n > (UINT64_C(1) << 36))
        return -EFBIG;
    if (need_pages(n, (size_t)((offset + bytes.n + PAGE - 1) / PAGE)) < 0)
        return -ENOSPC;
    for (size_t done = 0; done < bytes.n;) {
        size_t page = (size_t)((offset + done) / PAGE);
        size_t at = (size_t)((offset + done) % PAGE);
        size_t some = PAGE - at < bytes.n - done ? PAGE - at : bytes.n - done;

        if (!n->pages[page]) {
            n->pages[page] = calloc(1, PAGE);
            n->st.st_blocks += PAGE / 512;
        }
        memcpy(n->pages[page] + at, bytes.p + done, some);
        done += some;
    }
    if (offset + bytes.n > (uint64_t)n->st.st_size)
        n->st.st_size = (off_t)(offset + bytes.n);
    return 0;
}

int file_flush(struct file *f)
{
    (void)f;
    return 0;
}

int file_fsync(struct file *f, bool data_only)
{
    (void)f, (void)data_only;
    return 0;
}

void file_release(struct file *f)
{
    {
        LOCKED(f->v);
        get(f->v, f->nodeid)->handles--;
    }
    free(f);
}

int file_lseek(struct file *f, uint64_t offset, int whence, uint64_t *out_offset)
{
    struct node *n;
    uint64_t size;
    LOCKED(f->v);

    n = get(f->v, f->nodeid);
    size = (uint64_t)n->st.st_size;
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    if (offset >= size)
        return -ENXIO;
    for (uint64_t at = offset; at < size; at = (at / PAGE + 1) * PAGE) {
        bool is_data = at / PAGE < n->page_count && n->pages[at / PAGE];

        if (is_data == (whence == SEEK_DATA)) {
            *out_offset = at;
            return 0;
        }
    }
    *out_offset = size;
    return whence == SEEK_HOLE ? 0 : -ENXIO;
}

int file_fallocate(struct file *f, int mode, uint64_t offset, uint64_t len,
                   struct waiter *w)
{
    struct node *n;
    LOCKED(f->v);

    (void)w;
    n = get(f->v, f->nodeid);
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return -EOPNOTSUPP;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
        for (uint64_t at = offset; at < offset + len; at++) {
            if (at / PAGE < n->page_count && n->pages[at / PAGE])
                n->pages[at / PAGE][at % PAGE] = 0;
        }
    }
    if (!(mode & FALLOC_FL_KEEP_SIZE) && offset + len > (uint64_t)n->st.st_size)
        n->st.st_size = (off_t)(offset + len);
    return 0;
}

bool file_wants_direct_io(const struct file *f)
{
    (void)f;
    return false;
}

uint64_t file_get_nodeid(const struct file *f)
{
    return f->nodeid;
}
