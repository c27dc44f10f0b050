/*
 * Contents for the tests of names: rows only, no bytes. What the sealer does in time is done
 * here when a test asks for it (fake_contents_seal).
 */
#include "fake_contents.h"

#include <string.h>

#include "base/clock.h"
#include "crypto/digest.h"
#include "format/header.h"
#include "format/manifest.h"
#include "vault/content.h"
#include "vault/nsdb_names.h"

struct contents {
    struct vault *v;
    pthread_mutex_t lock;
    struct file *files;
    struct key_set *read_keys;
};
struct file {
    struct file *next;
    struct contents *c;
    uint64_t nodeid;
    struct access *a;
};

int contents_open(struct vault *v, int vault_fd, struct contents **out_contents)
{
    struct contents *c = calloc(1, sizeof *c);

    (void)vault_fd;
    if (!c)
        return -ENOMEM;
    c->v = v;
    pthread_mutex_init(&c->lock, NULL);
    *out_contents = c;
    return 0;
}

void contents_stop(struct contents *c)
{
    (void)c;
}

void contents_close(struct contents *c)
{
    key_set_release(c->read_keys);
    free(c);
}

void contents_kick(struct contents *c)
{
    (void)c;
}

int contents_logout(struct contents *c, const struct id16 *user, uint32_t *out_unsealed)
{
    (void)c;
    (void)user;
    *out_unsealed = 0;
    return 0;
}

int contents_create(struct contents *c, uint64_t nodeid, const struct id16 *file,
                    const struct id16 *writer)
{
    struct content_row row = {
        .nodeid = nodeid, .file = *file, .state = CONTENT_DIRTY, .writer = *writer
    };

    row.mtime.s = (int64_t)clock_realtime_s();
    return nsdb_content_put(vault_get_nsdb(c->v), &row);
}

int contents_open_file(struct contents *c, uint64_t nodeid, struct access *a, int open_flags,
                       struct file **out_file)
{
    struct file *f = calloc(1, sizeof *f);

    if (!f)
        return -ENOMEM;
    if ((open_flags & O_ACCMODE) == O_RDONLY && access_get_keys(a)) {
        key_set_release(c->read_keys);
        c->read_keys = key_set_borrow(access_get_keys(a));
    }
    f->c = c;
    f->nodeid = nodeid;
    f->a = access_borrow(a);
    pthread_mutex_lock(&c->lock);
    f->next = c->files;
    c->files = f;
    pthread_mutex_unlock(&c->lock);
    *out_file = f;
    return 0;
}

int file_open(struct vault *v, const struct who *who, uint64_t nodeid, int flags, struct waiter *w,
              struct file **out_file, bool *out_keep_cache)
{
    struct access *a;
    int mode = (flags & O_ACCMODE) == O_RDONLY ? ACCESS_READ : ACCESS_READ | ACCESS_WRITE;
    int rc = access_open(v, who, nodeid, (enum access_mode)mode, (flags & O_TRUNC) != 0, w, &a);

    if (rc < 0)
        return rc;
    rc = contents_open_file(vault_get_contents(v), nodeid, a, flags, out_file);
    access_release(a);
    *out_keep_cache = false;
    return rc;
}

void file_release(struct file *f)
{
    struct contents *c = f->c;
    uint64_t nodeid = f->nodeid;

    pthread_mutex_lock(&c->lock);
    for (struct file **at = &c->files; *at; at = &(*at)->next) {
        if (*at == f) {
            *at = f->next;
            break;
        }
    }
    pthread_mutex_unlock(&c->lock);
    access_release(f->a);
    free(f);
    if (!contents_is_open(c, nodeid))
        node_on_last_release(c->v, nodeid);
}

int file_read(struct file *f, uint64_t offset, struct span room, struct waiter *w, size_t *out_n)
{
    (void)offset;
    (void)room;
    (void)w;
    *out_n = 0;
    return access_check(f->a);
}

int file_write(struct file *f, uint64_t offset, struct view bytes, struct waiter *w)
{
    (void)offset;
    (void)bytes;
    (void)w;
    return access_check(f->a);
}

int file_flush(struct file *f)
{
    (void)f;
    return 0;
}

uint64_t file_get_nodeid(const struct file *f)
{
    return f->nodeid;
}

struct access *file_get_access(const struct file *f)
{
    return f->a;
}

bool contents_is_open(struct contents *c, uint64_t nodeid)
{
    bool found = false;

    pthread_mutex_lock(&c->lock);
    for (struct file *f = c->files; f && !found; f = f->next)
        found = f->nodeid == nodeid;
    pthread_mutex_unlock(&c->lock);
    return found;
}

int contents_getattr(struct contents *c, uint64_t nodeid, struct content_attr *out_attr)
{
    struct content_row row;
    int rc = nsdb_content_get(vault_get_nsdb(c->v), nodeid, NULL, &row);

    if (rc == 0)
        *out_attr = (struct content_attr){ row.size, row.mtime, row.blocks_512 };
    return rc;
}

static int change(struct contents *c, uint64_t nodeid, const uint64_t *size,
                  const struct row_time *mtime, const struct id16 *writer)
{
    struct nsdb *db = vault_get_nsdb(c->v);
    struct content_row row;
    int rc = nsdb_content_get(db, nodeid, NULL, &row);

    if (rc < 0)
        return rc;
    if (size) {
        row.size = *size;
        row.state = CONTENT_DIRTY;
    }
    if (mtime)
        row.mtime = *mtime;
    if (writer)
        row.writer = *writer;
    return nsdb_content_put(db, &row);
}

int contents_set_mtime(struct contents *c, uint64_t nodeid, const struct row_time *mtime)
{
    return change(c, nodeid, NULL, mtime, NULL);
}

int contents_truncate(struct contents *c, uint64_t nodeid, struct access *a, uint64_t size,
                      struct waiter *w)
{
    int rc = access_check(a);

    (void)w;
    return rc < 0 ? rc : change(c, nodeid, &size, NULL, access_get_user(a));
}

int contents_delete(struct contents *c, uint64_t nodeid)
{
    return nsdb_content_delete(vault_get_nsdb(c->v), nodeid);
}

int contents_retire(struct contents *c, uint64_t nodeid, uint64_t new_nodeid)
{
    struct nsdb *db = vault_get_nsdb(c->v);
    struct content_row row;
    int rc = nsdb_content_get(db, nodeid, NULL, &row);

    if (rc < 0)
        return rc;
    row.nodeid = new_nodeid;
    rc = nsdb_content_put(db, &row);
    return rc < 0 ? rc : nsdb_content_delete(db, nodeid);
}

int contents_apply_seal(struct contents *c, uint64_t nodeid, const struct class_ctx *ctx,
                        const struct seal_change *seal)
{
    struct content_row row = { .nodeid = nodeid };
    int rc = nsdb_content_get(vault_get_nsdb(c->v), nodeid, NULL, &row);

    (void)ctx;
    if (rc < 0 && rc != -ENOENT)
        return rc;
    row.file = seal->file;
    row.size = seal->size;
    row.content_version = seal->content_version;
    row.state = CONTENT_CLEAN;
    row.is_durable = true;
    return nsdb_content_put(vault_get_nsdb(c->v), &row);
}

void contents_seal_all(struct contents *c)
{
    (void)c;
}

void contents_count(struct contents *c, uint32_t *out_unsealed, uint32_t *out_objects,
                    uint32_t *out_parked)
{
    (void)c;
    *out_unsealed = *out_objects = *out_parked = 0;
}

int contents_check_node(struct contents *c, uint64_t nodeid,
                        void (*on_damage)(void *user, uint64_t nodeid, uint64_t first,
                                          uint64_t count, int rc),
                        void *user)
{
    (void)c;
    on_damage(user, nodeid, 7, 3, PHR_E_SEAL);
    return 0;
}

void contents_repair(struct contents *c, uint64_t nodeid)
{
    (void)c;
    (void)nodeid;
}

int contents_has_container(struct contents *c, uint64_t container)
{
    (void)c;
    (void)container;
    return 0;
}

int fake_contents_seal(struct vault *v, uint64_t nodeid, uint64_t size)
{
    struct nsdb *db = vault_get_nsdb(v);
    struct content_row row;
    struct name_header header;
    struct class_ctx ctx;
    struct nsdb_stmt s;
    uint64_t op;
    int rc = node_get_class(v, nodeid, &ctx);

    if (rc < 0)
        return rc;
    rc = nsdb_begin(db);
    if (rc < 0)
        return rc;
    rc = nsdb_content_get(db, nodeid, NULL, &row);
    if (rc == 0)
        rc = nsdb_header_get(db, &row.file, &s, &header);
    if (rc == 0) {
        struct seal_change seal = {
            .file = row.file, .content_version = row.content_version + 1,
            .base_version = row.content_version, .header = header_digest(header.bytes),
            .size = size, .manifest_root = digest_sha256(view_of(NULL, 0))
        };

        nsdb_end(&s);
        rc = outbox_add_seals(v, &row.writer, &ctx, &seal, 1, &op);
        row.size = size;
        row.content_version++;
        row.state = CONTENT_SEALED;
        if (rc == 0)
            rc = nsdb_content_put(db, &row);
        if (rc == 0)
            rc = outbox_release(v, op);
    }
    if (rc < 0) {
        nsdb_rollback(db);
        return rc;
    }
    return nsdb_commit(db);
}

struct key_set *fake_contents_read_keys(struct vault *v)
{
    struct key_set *keys = vault_get_contents(v)->read_keys;

    return keys ? key_set_borrow(keys) : NULL;
}
