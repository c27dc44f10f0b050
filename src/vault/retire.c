/*
 * Numbers that are retired: a live kernel inode never changes its version (STORAGE 4), and a
 * reader who was cut off must not see pages that others refill (DESIGN 9). And contents that
 * were changed on two hosts: the first seal keeps the name, the other becomes a copy beside it,
 * a real file with keys of its own, sealed wholly anew (DESIGN 7).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "format/header.h"
#include "vault/access_state.h"
#include "vault/file.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/notify.h"
#include "vault/outbox.h"
#include "vault/worker.h"

enum { COPY_BYTES = 1024 * 1024 };

void retire_conflict_name(struct dentry *d, unsigned attempt)
{
    char host[32] = "host";
    char when[32];
    char mark[96];
    char ext[NAME_BYTES_MAX + 1] = "";
    const uint8_t *dot = memrchr(d->name, '.', d->name_bytes);
    size_t stem = d->name_bytes;
    time_t now = time(NULL);
    struct tm tm;
    size_t n;

    if (gethostname(host, sizeof host - 1) < 0)
        host[0] = '\0';
    host[strcspn(host, "./")] = '\0';
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H%M%S", &tm);
    if (dot && dot != d->name && (size_t)(d->name + d->name_bytes - dot) < 32) {
        stem = (size_t)(dot - d->name);
        memcpy(ext, dot, d->name_bytes - stem);
        ext[d->name_bytes - stem] = '\0';
    }
    if (attempt == 0)
        n = (size_t)snprintf(mark, sizeof mark, " (conflict %s %s)", host, when);
    else
        n = (size_t)snprintf(mark, sizeof mark, " (conflict %s %s %u)", host, when, attempt);
    if (stem + n + strlen(ext) > NAME_BYTES_MAX)
        stem = NAME_BYTES_MAX - n - strlen(ext);
    while (stem > 0 && (d->name[stem] & 0xc0) == 0x80)
        stem--; /* never half a UTF-8 character */
    memcpy(d->name + stem, mark, n);
    memcpy(d->name + stem + n, ext, strlen(ext) + 1);
    d->name_bytes = stem + n + strlen(ext);
}

/* The old number's row: nameless, under an id that nothing names, with the same attributes. */
static int leave_row(struct vault *v, uint64_t nodeid, const struct name_inode *was,
                     const struct inode_attr *attr)
{
    scoped(writer_fini) struct writer sealed = { 0 };
    struct class_key *k = session_class_any(v, &was->class_id);
    struct name_inode row = {
        .nodeid = nodeid, .ino = random_id_rising(), .class_id = was->class_id, .kind = NODE_BELOW,
        .epoch = k ? k->ctx.epoch : was->epoch, .version = 1, .writer = was->writer,
        .is_gone = true, .is_forgotten = true
    };
    struct inode_row ids = { .ino = row.ino, .version = 1 };

    if (k && attr && inode_seal(&k->rows, &ids, attr, &sealed) == 0)
        row.sealed = writer_done(&sealed); /* else fstat on what is open fails, reads go on */
    return nsdb_inode_insert(v->db, &row);
}

int retire_node(struct vault *v, uint64_t nodeid, bool keeps_changes, uint64_t *out_nodeid)
{
    scoped(names_fini) struct node n = { 0 };
    struct name_inode was;
    struct content_row content;
    struct nsdb_stmt s;
    bool is_known = names_load(v, nodeid, &n) == 0;
    int rc = nsdb_inode_get(v->db, nodeid, &s, &was);

    if (rc < 0)
        return rc;
    nsdb_end(&s);
    rc = nsdb_inode_renumber(v->db, nodeid, out_nodeid);
    if (rc == 0)
        rc = leave_row(v, nodeid, &was, is_known ? &n.attr : NULL);
    if (rc == 0 && keeps_changes && nsdb_content_get(v->db, nodeid, NULL, &content) == 0) {
        struct conflict_row conflict = {
            .nodeid = nodeid, .file = was.ino, .class_id = was.class_id, .writer = content.writer
        };

        rc = nsdb_conflict_put(v->db, &conflict);
    }
    return rc;
}

static bool has_other_key(const struct key_set *keys, const struct key_set *theirs)
{
    for (size_t i = 0; theirs && i < keys->count; i++) {
        const struct symkey *k = key_set_find(theirs, keys->keys[i].gen);

        if (k && !secret_equal(k->b, keys->keys[i].key->b, sizeof k->b))
            return true;
    }
    return false;
}

/* Somebody here has the file open under the parked header, or under keys that are not the header's. */
static bool is_open_otherwise(struct vault *v, uint64_t nodeid, struct view parked,
                              const struct key_set *theirs)
{
    scoped(unlock) pthread_mutex_t *held = lock(&v->access_lock);

    for (struct access *a = v->accesses; a; a = a->next) {
        if (a->nodeid == nodeid && a->keys &&
            (view_equal(view_of(a->keys->header, a->keys->header_bytes), parked) ||
             has_other_key(a->keys, theirs)))
            return true;
    }
    return false;
}

/* The version that the ledger has, under the file's new number. */
static int show_sealed(struct vault *v, const struct class_ctx *ctx, const struct id16 *file, uint64_t nodeid)
{
    struct seal_change seal;
    struct nsdb_stmt s;
    struct view bytes;
    int rc = nsdb_seal_load(v->db, file, &s, &bytes);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    rc = seal_decode(bytes, &seal);
    nsdb_end(&s);
    return rc < 0 ? rc : contents_apply_seal(v->contents, nodeid, ctx, &seal);
}

static void tell_name(struct vault *v, const struct id16 *file)
{
    struct name_inode parent;
    struct name_dentry row;
    struct nsdb_stmt s;
    struct dentry d;
    int rc = nsdb_dentry_of(v->db, file, &s, &row);

    if (rc < 0)
        return;
    rc = names_open_dentry(v, &row, &d);
    nsdb_end(&s);
    if (rc < 0 || nsdb_inode_find(v->db, &row.parent, &s, &parent) < 0)
        return;
    nsdb_end(&s);
    notify_entry(v, parent.nodeid, view_of(d.name, d.name_bytes));
}

int retire_with_keys(struct vault *v, const struct id16 *patient, const struct parked_row *header,
                     const struct key_set *theirs)
{
    const struct class_ctx ctx = {
        .patient = *patient, .class_id = header->class_id, .epoch = header->epoch
    };
    const struct conflict_keys keys = { header->fk_user, header->bytes, header->fk_box };
    struct content_row content = { 0 };
    struct name_inode inode;
    struct nsdb_stmt s;
    bool has_left = false; /* with the seal that came before */
    bool is_changed;
    uint64_t nodeid;
    int rc = nsdb_inode_find(v->db, &header->id, &s, &inode);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    nsdb_end(&s);
    rc = nsdb_conflict_has_file(v->db, &header->id, &has_left);
    if (rc == 0)
        rc = nsdb_conflict_put_keys_of(v->db, &header->id, &keys);
    if (rc == 0)
        rc = nsdb_content_get(v->db, inode.nodeid, NULL, &content);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    is_changed = !has_left && content.state != CONTENT_CLEAN && id_equal(&content.writer, &header->writer);
    if (!is_changed && !is_open_otherwise(v, inode.nodeid, header->bytes, theirs))
        return 0;
    rc = retire_node(v, inode.nodeid, is_changed, &nodeid);
    if (rc == 0)
        rc = nsdb_conflict_put_keys(v->db, inode.nodeid, &keys);
    if (rc == 0)
        rc = show_sealed(v, &ctx, &header->id, nodeid);
    if (rc == 0 && is_changed)
        rc = outbox_drop_seals(v, patient, &header->id);
    if (rc < 0)
        return rc;
    notify_node(v, inode.nodeid);
    tell_name(v, &header->id);
    return 0;
}

int retire_keep_late(struct vault *v, const struct name_inode *row)
{
    struct conflict_row conflict = { .nodeid = row->nodeid, .class_id = row->class_id };
    struct content_row content;
    bool has = false;
    int rc = nsdb_content_get(v->db, row->nodeid, NULL, &content);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    if (content.state == CONTENT_CLEAN || id_equal(&content.file, &row->ino))
        return 0; /* nothing new, or no retired number: the file itself was deleted */
    rc = nsdb_conflict_has(v->db, row->nodeid, &has);
    if (rc < 0 || has)
        return rc;
    conflict.file = content.file;
    conflict.writer = content.writer;
    rc = nsdb_conflict_put(v->db, &conflict);
    return rc < 0 ? rc : -EALREADY;
}

/* ---- conflict copies ---- */

struct copy_wait {
    struct waiter w;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_done;
    int rc;
};

static void on_wake(struct waiter *w, int rc)
{
    struct copy_wait *c = (struct copy_wait *)(void *)w;

    pthread_mutex_lock(&c->lock);
    c->is_done = true;
    c->rc = rc;
    pthread_cond_signal(&c->cond);
    pthread_mutex_unlock(&c->lock);
}

/* One read or write that may wait for a segment. The waiter's own deadline ends it. */
static int wait_for(struct copy_wait *c)
{
    pthread_mutex_lock(&c->lock);
    while (!c->is_done)
        pthread_cond_wait(&c->cond, &c->lock);
    pthread_mutex_unlock(&c->lock);
    return c->rc;
}

static int read_all(struct file *f, uint64_t at, struct span room, size_t *out_n)
{
    int rc;

    do {
        struct copy_wait c = {
            .w.wake = on_wake, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER
        };

        rc = file_read(f, at, room, &c.w, out_n);
        if (rc == PHR_E_PENDING && (rc = wait_for(&c)) == 0)
            rc = PHR_E_PENDING;
    } while (rc == PHR_E_PENDING);
    return rc;
}

static int write_all(struct file *f, uint64_t at, struct view bytes)
{
    int rc;

    do {
        struct copy_wait c = {
            .w.wake = on_wake, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER
        };

        rc = file_write(f, at, bytes, &c.w);
        if (rc == PHR_E_PENDING && (rc = wait_for(&c)) == 0)
            rc = PHR_E_PENDING;
    } while (rc == PHR_E_PENDING);
    return rc;
}

static int copy_bytes(struct file *from, struct file *to)
{
    uint8_t *buffer = malloc(COPY_BYTES);
    uint64_t at = 0;
    size_t n = COPY_BYTES;
    int rc = buffer ? 0 : -ENOMEM;

    while (rc == 0 && n == COPY_BYTES) {
        rc = read_all(from, at, (struct span){ buffer, COPY_BYTES }, &n);
        if (rc == 0 && n > 0)
            rc = write_all(to, at, view_of(buffer, n));
        at += n;
    }
    if (buffer)
        secret_wipe(buffer, COPY_BYTES);
    free(buffer);
    return rc == 0 ? file_flush(to) : rc;
}

struct copy {
    struct conflict_row row;
    struct who who;
    uint64_t parent;
    struct dentry name;
    uint32_t mode;
    struct access *access; /* of the old contents */
};

static int boxed_keys(struct identity *id, const struct id16 *file, const struct conflict_keys *kept,
                      struct key_set **out_keys)
{
    struct file_key keys[FK_COUNT_MAX];
    struct header h;
    size_t count = 0;
    int rc = id_equal(&kept->user, &id->user) ? header_decode(kept->header, &h) : PHR_E_LOCKED;

    if (rc == 0)
        rc = session_open_box(id, file, kept->box, keys, &count);
    return rc < 0 ? rc : key_set_new(&h, keys, count, out_keys);
}

/* Keys of the contents that the number kept. */
static int old_keys(struct vault *v, struct identity *id, const struct conflict_row *row,
                    struct key_set **out_keys)
{
    struct conflict_keys kept;
    struct name_header header;
    bool is_parked = false;
    struct nsdb_stmt s;
    struct header h;
    int rc = nsdb_conflict_get_keys(v->db, row->nodeid, &s, &kept);

    if (rc == 0) {
        rc = boxed_keys(id, &row->file, &kept, out_keys);
        nsdb_end(&s);
        return rc;
    }
    if (rc == -ENOENT)
        rc = nsdb_parked_has(v->db, SHADOW_HEADER, &row->file, &is_parked);
    if (rc < 0 || is_parked)
        return rc < 0 ? rc : PHR_E_LOCKED; /* the header is without them until that was made anew */
    rc = nsdb_header_get(v->db, &row->file, &s, &header);
    if (rc < 0)
        return rc;
    rc = header_decode(header.bytes, &h);
    if (rc == 0)
        rc = access_keys_here(v, id, &header, &h, out_keys);
    nsdb_end(&s);
    return rc;
}

/* Who copies, where to, with which keys. Names lock. */
static int prepare(struct vault *v, struct copy *c)
{
    scoped(names_fini) struct node n = { 0 };
    struct identity *id = session_identity(v, &c->row.writer);
    struct class_key *k = id ? session_class(id, &c->row.class_id) : NULL;
    struct key_set *keys = NULL;
    struct name_dentry dentry;
    struct name_inode parent;
    struct nsdb_stmt s;
    int rc;

    if (!k || k->rights != GRANT_RW || !k->has_rows)
        return PHR_E_LOCKED;
    for (struct session *x = v->sessions; x; x = x->next)
        if (x->id == id)
            c->who = (struct who){ .uid = x->uid, .umask = 077 };
    rc = nsdb_dentry_of(v->db, &c->row.file, &s, &dentry);
    if (rc < 0)
        return rc;
    rc = names_open_dentry(v, &dentry, &c->name);
    nsdb_end(&s);
    if (rc == 0)
        rc = nsdb_inode_find(v->db, &dentry.parent, &s, &parent);
    if (rc < 0)
        return rc;
    nsdb_end(&s);
    c->parent = parent.nodeid;
    c->mode = names_load_ino(v, &c->row.file, &n) == 0 ? n.attr.mode & 0777 : 0600;
    rc = old_keys(v, id, &c->row, &keys);
    if (rc < 0)
        return rc;
    c->access = access_new(v, &id->user, &c->row.class_id, c->row.nodeid, ACCESS_READ, keys);
    return c->access ? 0 : -ENOMEM;
}

static int copy_conflict(struct vault *v, struct copy *c)
{
    struct dentry wanted = c->name;
    struct file *from = NULL;
    struct file *to = NULL;
    struct node_attr attr;
    int rc = contents_open_file(v->contents, c->row.nodeid, c->access, O_RDONLY, &from);

    for (unsigned attempt = 0; rc == 0 && !to && attempt < 100; attempt++) {
        c->name = wanted;
        retire_conflict_name(&c->name, attempt);
        rc = node_create(v, &c->who, c->parent, view_of(c->name.name, c->name.name_bytes), c->mode,
                         O_WRONLY, &attr, &to);
        if (rc == -EEXIST)
            rc = 0;
    }
    if (rc == 0 && !to)
        rc = -EEXIST;
    if (rc == 0)
        rc = copy_bytes(from, to);
    if (to)
        file_release(to);
    if (from)
        file_release(from);
    if (rc == 0) {
        notify_entry(v, c->parent, view_of(c->name.name, c->name.name_bytes));
        rc = node_purge_copied(v, c->row.nodeid); /* the old contents go */
    } else if (to) {
        ignored(node_unlink(v, &c->who, c->parent, view_of(c->name.name, c->name.name_bytes)));
    }
    return rc == -ENOENT ? -EIO : rc; /* of no file that was deleted */
}

void retire_copy_conflicts(struct vault *v)
{
    struct copy c = { 0 };
    uint64_t after = 0;

    while (!worker_is_stopping(v) && nsdb_conflict_next(v->db, after, &c.row) == 0) {
        int rc;

        after = c.row.nodeid;
        if (contents_is_open(v->contents, c.row.nodeid))
            continue;
        nsdb_lock(v->db);
        rc = prepare(v, &c);
        nsdb_unlock(v->db);
        if (rc == 0)
            rc = copy_conflict(v, &c);
        access_release(c.access);
        c.access = NULL;
        if (rc == -ENOENT) /* the file was deleted since: the change goes with it */
            ignored(node_purge_copied(v, c.row.nodeid)); /* else tried again */
    }
}
