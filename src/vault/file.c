/*
 * Handles: each keeps the identity of its open and works on the content that all handles of
 * the node share. Reads run side by side; a write has the file to itself.
 */
#include "vault/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#include "base/checked.h"
#include "vault/content_state.h"

enum {
    NEAR_BYTES = 1024 * 1024,
    LARGE_CALL_BYTES = 128 * 1024, /* the kernel reads ahead: two such are a sequence, */
    SMALL_CALLS = 8                /* and so many of others */
};

struct file {
    struct vault *v;
    struct content *ct;
    struct access *access;
    uint64_t nodeid;
    bool is_writer;
    _Atomic uint64_t read_end;   /* of the newest read: what follows it is a sequence */
    _Atomic unsigned in_a_row;   /* reads of one */
    _Atomic uint64_t ahead_of;   /* segment that the kernel was last told about */
};

static int enter_read(struct file *f);
static int enter_write(struct content *ct, struct access *a);
static int leave_changed(struct content *ct, struct access *a, int rc);

static bool opens_for_write(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
}

int contents_open_file(struct contents *c, uint64_t nodeid, struct access *a,
                       int open_flags, struct file **out_file)
{
    struct file *f = calloc(1, sizeof *f);
    int rc;

    if (!f)
        return -ENOMEM;
    rc = content_borrow(c, nodeid, &f->ct);
    if (rc < 0) {
        free(f);
        return rc;
    }
    pthread_mutex_lock(&c->lock);
    f->ct->open_count++;
    f->is_writer = opens_for_write(open_flags);
    f->ct->writer_count += f->is_writer;
    pthread_mutex_unlock(&c->lock);
    f->v = c->v;
    f->nodeid = nodeid;
    f->access = access_borrow(a);
    *out_file = f;
    return 0;
}

struct access *file_get_access(const struct file *f)
{
    return f->access;
}

uint64_t file_get_nodeid(const struct file *f)
{
    return f->nodeid;
}

/* Content lock for writing held. Old keys are not needed, and may not be there. */
static int reset_locked(struct content *ct, struct access *a)
{
    int rc;

    if (ct->is_retired)
        return -ESTALE;
    if (vault_is_read_only(ct->cs->v))
        return -EROFS;
    if (!ct->is_loaded) {
        content_drop_keys(ct); /* the row only */
        rc = content_load(ct);
        if (rc < 0)
            return rc;
    }
    rc = content_keep_base(ct);
    if (rc == 0)
        rc = content_set_keys(ct, access_get_keys(a));
    if (rc == 0 && !ct->keys)
        rc = PHR_E_LOCKED;
    return rc < 0 ? rc : content_reset(ct);
}

static int truncate_to_zero(struct content *ct, struct access *a)
{
    int rc;

    pthread_rwlock_wrlock(&ct->lock);
    rc = reset_locked(ct, a);
    return leave_changed(ct, a, rc);
}

int file_open(struct vault *v, const struct who *who, uint64_t nodeid, int flags,
              struct waiter *w, struct file **out_file, bool *out_keep_cache)
{
    bool is_trunc = (flags & O_TRUNC) != 0;
    struct access *a = NULL;
    struct file *f = NULL;
    int rc;

    if (opens_for_write(flags) && vault_is_read_only(v))
        return -EROFS;
    rc = access_open(v, who, nodeid, opens_for_write(flags) ? ACCESS_WRITE : ACCESS_READ,
                     is_trunc, w, &a);
    if (rc < 0)
        return rc;
    rc = contents_open_file(vault_get_contents(v), nodeid, a, flags, &f);
    access_release(a);
    if (rc < 0)
        return rc;
    if (is_trunc)
        rc = truncate_to_zero(f->ct, f->access);
    if (rc < 0) {
        file_release(f);
        return rc;
    }
    *out_keep_cache = true; /* a live node never changes its version */
    *out_file = f;
    return 0;
}

/* ---- entering and leaving ---- */

static bool is_ready(const struct content *ct)
{
    return ct->is_loaded && ct->has_levels && ct->keys;
}

/* Lock for writing held. */
static int make_ready(struct content *ct, struct access *a)
{
    int rc = content_set_keys(ct, access_get_keys(a));

    if (rc < 0)
        return rc;
    if (!ct->keys)
        return PHR_E_LOCKED;
    return content_load(ct);
}

/* Lock for reading held when it returns 0. */
static int enter_read(struct file *f)
{
    int rc = access_check(f->access);

    if (rc < 0)
        return rc;
    for (int i = 0; i < 3; i++) {
        pthread_rwlock_rdlock(&f->ct->lock);
        if (is_ready(f->ct))
            return 0;
        pthread_rwlock_unlock(&f->ct->lock);
        pthread_rwlock_wrlock(&f->ct->lock);
        rc = make_ready(f->ct, f->access);
        pthread_rwlock_unlock(&f->ct->lock);
        if (rc < 0)
            return rc;
    }
    return PHR_E_LOCKED; /* somebody logs out again and again */
}

/* Lock for writing held when it returns 0. */
static int enter_write(struct content *ct, struct access *a)
{
    int rc = access_check(a);

    if (rc < 0)
        return rc;
    pthread_rwlock_wrlock(&ct->lock);
    rc = make_ready(ct, a);
    if (rc == 0)
        rc = content_begin_change(ct);
    if (rc < 0)
        pthread_rwlock_unlock(&ct->lock);
    return rc;
}

/* Much was written: sealed when the writer pauses, so that hashing does not take the disk and the
   processor from him, but not later than any open file. Lock for writing held. */
static uint64_t much_due_ms(const struct content *ct)
{
    uint64_t pause = content_now_ms() + vault_get_config(ct->cs->v)->seal_delay_ms;
    uint64_t latest = ct->sealed_at_ms + SEAL_OPEN_MS;

    return pause < latest ? pause : latest;
}

static int leave_changed(struct content *ct, struct access *a, int rc)
{
    bool is_much = ct->dirt_bytes >= SEAL_DIRT_BYTES;
    uint64_t due_ms = is_much ? much_due_ms(ct) : 0;
    uint64_t filled = ct->filled;

    pthread_mutex_lock(&ct->attr_lock);
    ct->writer = *access_get_user(a);
    pthread_mutex_unlock(&ct->attr_lock);
    if (ct->is_loaded)
        content_attr_changed(ct);
    ct->filled = 0;
    pthread_rwlock_unlock(&ct->lock);
    if (filled)
        container_sync_start(ct->cs->store, filled, 0, 0); /* may wait for the disk: no lock */
    if (is_much)
        sealer_note(ct->cs->sealer, ct->nodeid, due_ms);
    return rc;
}

/* Lock held, any; released unless the result is 0. What is not on this disk is asked for. */
static int want_range(struct content *ct, uint64_t offset, uint64_t len, struct waiter *w)
{
    struct seg absent = { 0 };
    bool is_manifest = ct->cur.is_unlisted;

    if (!is_manifest && !content_find_absent(ct, offset, len, &absent))
        return 0;
    pthread_rwlock_unlock(&ct->lock);
    return hydrate_want(ct->cs, ct, absent.index, is_manifest, w);
}

/* The blocks at the edges of a change that are read before they are written. */
static int want_edges(struct content *ct, uint64_t offset, uint64_t len, struct waiter *w)
{
    uint64_t end = offset + len;
    int rc = 0;

    if (ct->cur.is_unlisted || (offset % BLOCK_BYTES != 0 && offset < ct->size))
        rc = want_range(ct, offset, 1, w);
    if (rc == 0 && end % BLOCK_BYTES != 0 && end < ct->size)
        rc = want_range(ct, end, 1, w);
    return rc;
}

/* ---- reading ---- */

/* Requests of the kernel's own read-ahead may overtake each other a little. Two blocks of a small file
   are near each other whoever reads them, so a few small reads prove nothing. */
static bool is_in_sequence(struct file *f, uint64_t offset, size_t n)
{
    uint64_t end = atomic_exchange(&f->read_end, offset + n);
    bool is_near = offset < end + NEAR_BYTES && end < offset + n + NEAR_BYTES;
    unsigned row = is_near ? atomic_fetch_add(&f->in_a_row, 1) + 1 : 0;

    if (!is_near)
        atomic_store(&f->in_a_row, 0);
    return row >= SMALL_CALLS || (row > 1 && n >= LARGE_CALL_BYTES);
}

/* From the start of a segment on the kernel is told about the next, once, and only by who reads on:
   for one who jumps about it would fetch 4 MiB in vain. */
static void read_ahead(struct file *f, uint64_t offset, size_t n, struct seg *out_absent)
{
    uint64_t index = (offset + n - 1) / SEG_BYTES + 1;
    struct seg *next;

    if (!is_in_sequence(f, offset, n) || atomic_exchange(&f->ahead_of, index) == index)
        return;
    next = layout_find(&f->ct->cur, index);
    if (next && next->form == SEG_ABSENT)
        *out_absent = *next;
    else if (next && next->loc.container && !next->building)
        container_will_need(f->ct->cs->store, next->loc.container, next->loc.offset,
                            SEG_BYTES);
}

/* The kernel asks again page by page after an EIO, so the last report names the block alone. */
static void report_damage(struct file *f, uint64_t offset, size_t n)
{
    const struct vault_upcalls *up = vault_get_upcalls(f->ct->cs->v);
    uint64_t first = offset / BLOCK_BYTES;

    if (up->damaged)
        up->damaged(up->user, &f->ct->file, first, (offset + n - 1) / BLOCK_BYTES - first + 1);
}

int file_read(struct file *f, uint64_t offset, struct span room, struct waiter *w,
              size_t *out_n)
{
    struct seg ahead = { 0 };
    size_t n;
    int rc = enter_read(f);

    if (rc < 0)
        return rc;
    if (offset >= f->ct->size || room.n == 0) {
        pthread_rwlock_unlock(&f->ct->lock);
        *out_n = 0;
        return 0;
    }
    n = f->ct->size - offset < room.n ? (size_t)(f->ct->size - offset) : room.n;
    rc = want_range(f->ct, offset, n, w);
    if (rc < 0)
        return rc;
    rc = content_read_range(f->ct, offset, (struct span){ room.p, n });
    if (rc == 0)
        read_ahead(f, offset, n, &ahead);
    pthread_rwlock_unlock(&f->ct->lock);
    if (rc == PHR_E_SEAL)
        report_damage(f, offset, n);
    if (rc < 0)
        return rc;
    if (ahead.form == SEG_ABSENT)
        ignored(hydrate_want(f->ct->cs, f->ct, ahead.index, false,
                             NULL)); /* only a head start */
    *out_n = n;
    return 0;
}

int file_lseek(struct file *f, uint64_t offset, int whence, uint64_t *out_offset)
{
    int rc;

    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    rc = enter_read(f);
    if (rc < 0)
        return rc;
    if (f->ct->cur.is_unlisted && offset < f->ct->size) /* not known yet: all data */
        *out_offset = whence == SEEK_DATA ? offset : f->ct->size;
    else
        rc = content_seek(f->ct, offset, whence == SEEK_DATA, out_offset);
    pthread_rwlock_unlock(&f->ct->lock);
    return rc;
}

/* ---- changing ---- */

int file_write(struct file *f, uint64_t offset, struct view bytes, struct waiter *w)
{
    uint64_t end;
    int rc;

    if (!f->is_writer)
        return -EBADF;
    if (!checked_add(offset, (uint64_t)bytes.n, &end) || end > FILE_BYTES_MAX)
        return -EFBIG;
    if (bytes.n == 0)
        return 0;
    rc = store_check_room(f->ct->cs->store, bytes.n);
    if (rc == 0)
        rc = enter_write(f->ct, f->access);
    if (rc < 0)
        return rc;
    rc = want_edges(f->ct, offset, bytes.n, w);
    if (rc < 0)
        return rc;
    f->ct->has_change = true;
    rc = content_write_range(f->ct, offset, bytes);
    return leave_changed(f->ct, f->access, rc);
}

static bool has_writer(struct content *ct)
{
    bool has;

    pthread_mutex_lock(&ct->cs->lock);
    has = ct->writer_count > 0;
    pthread_mutex_unlock(&ct->cs->lock);
    return has;
}

int contents_truncate(struct contents *c, uint64_t nodeid, struct access *a,
                      uint64_t size, struct waiter *w)
{
    struct content *ct = NULL;
    int rc;

    if (size > FILE_BYTES_MAX)
        return -EFBIG;
    rc = content_borrow(c, nodeid, &ct);
    if (rc < 0)
        return rc;
    if (size == 0) {
        pthread_rwlock_wrlock(&ct->lock);
        rc = reset_locked(ct, a);
    } else {
        rc = enter_write(ct, a);
        if (rc == 0)
            rc = want_edges(ct, size, 0, w);
        if (rc < 0) { /* the lock is free again */
            content_release(ct);
            return rc;
        }
        rc = content_resize(ct, size);
    }
    if (rc == 0 && !has_writer(ct))
        rc = content_flush(ct, true); /* no close of a writer will follow */
    rc = leave_changed(ct, a, rc);
    if (rc == 0)
        sealer_note(c->sealer, nodeid,
                    content_now_ms() + vault_get_config(c->v)->seal_delay_ms);
    content_release(ct);
    return rc;
}

static int allocate(struct content *ct, int mode, uint64_t offset, uint64_t len)
{
    uint64_t end = offset + len;
    int rc = 0;

    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        rc = content_zero_range(ct, offset, len);
    if (rc == 0 && !(mode & FALLOC_FL_KEEP_SIZE) && end > ct->size)
        rc = content_resize(ct, end);
    if (rc == 0 && !(mode & FALLOC_FL_PUNCH_HOLE)) {
        uint64_t blocks = (end + BLOCK_BYTES - 1) / BLOCK_BYTES;

        if (blocks > ct->reserved_blocks)
            ct->reserved_blocks = blocks;
    }
    return rc;
}

int file_fallocate(struct file *f, int mode, uint64_t offset, uint64_t len,
                   struct waiter *w)
{
    static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_ZERO_RANGE,
                                 FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
    bool is_known = false;
    uint64_t end;
    int rc;

    for (size_t i = 0; i < ARRAY_COUNT(modes); i++)
        is_known = is_known || modes[i] == mode;
    if (!is_known)
        return -EOPNOTSUPP;
    if (!f->is_writer)
        return -EBADF;
    if (len == 0)
        return -EINVAL;
    if (!checked_add(offset, len, &end) || end > FILE_BYTES_MAX)
        return -EFBIG;
    rc = mode & FALLOC_FL_PUNCH_HOLE ? 0 : store_check_room(f->ct->cs->store, len);
    if (rc == 0)
        rc = enter_write(f->ct, f->access);
    if (rc < 0)
        return rc;
    rc = want_edges(f->ct, offset, len, w);
    if (rc < 0)
        return rc;
    rc = allocate(f->ct, mode, offset, len);
    return leave_changed(f->ct, f->access, rc);
}

bool file_wants_direct_io(const struct file *f)
{
    return f->is_writer && store_is_low(f->ct->cs->store);
}

/* ---- flush points ---- */

int file_flush(struct file *f)
{
    int rc = 0;

    if (!f->is_writer)
        return 0;
    pthread_rwlock_wrlock(&f->ct->lock);
    if (f->ct->is_loaded)
        rc = content_flush(f->ct, true);
    pthread_rwlock_unlock(&f->ct->lock);
    return rc < 0 ? rc : nsdb_commit_riders(f->ct->cs->db); /* an empty new file has no other commit */
}

int file_fsync(struct file *f, bool data_only)
{
    int rc;

    (void)data_only; /* size and mtime are in what is synced anyway */
    rc = content_fsync(f->ct);
    return rc < 0 ? rc : content_sync_events(f->v);
}

void file_release(struct file *f)
{
    struct contents *c;
    struct content *ct;
    bool is_last;
    bool is_dirty;

    if (!f)
        return;
    ct = f->ct;
    c = ct->cs;
    pthread_rwlock_wrlock(&ct->lock);
    if (f->is_writer && ct->is_loaded)
        ignored(
            content_flush(ct, true)); /* FLUSH told the caller; this is for the rest */
    pthread_mutex_lock(&c->lock);
    is_last = --ct->open_count == 0;
    ct->writer_count -= f->is_writer;
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_lock(&ct->attr_lock);
    is_dirty = ct->state == CONTENT_DIRTY;
    pthread_mutex_unlock(&ct->attr_lock);
    if (is_last)
        small_forget(ct);
    if (is_last && !ct->has_change && !ct->is_sealing)
        content_drop_keys(ct); /* the sealer asks for its own */
    pthread_rwlock_unlock(&ct->lock);
    if (is_last && f->is_writer && is_dirty && !ct->is_retired)
        sealer_note(c->sealer, ct->nodeid,
                    content_now_ms() + vault_get_config(c->v)->seal_delay_ms);
    content_release(ct);
    access_release(f->access);
    if (is_last)
        node_on_last_release(f->v, f->nodeid);
    free(f);
}
