/*
 * Contents of regular files: the table of those in memory, and what the names side calls.
 *
 * CONTENT-1  All handles of a node share one struct content; it stays in memory while it is
 *            open, unsynced, or being sealed. Who holds a reference may use it; its state is
 *            read under its lock for reading and changed under it for writing.
 * CONTENT-2  Blocks are encrypted when they arrive: memory holds ciphertext, disks hold nothing
 *            else. Plaintext is in the caller's buffer and in pages that are wiped.
 * CONTENT-3  FLUSH makes a flush point: bytes, then the row (content_row.c). FSYNC makes it
 *            durable: containers, then the WAL. The syncer does so within a second for all.
 * CONTENT-4  No call here waits for the network: what is not on this disk is asked for, and the
 *            call answers PHR_E_PENDING (hydrate.c).
 * CONTENT-5  A node whose version was taken by another host, or that was deleted, is retired:
 *            its handles go on reading what they opened; nothing of it reaches a row again.
 *
 * Locks, in this order:
 *   content->sync_lock    one fsync of this file at a time
 *   content->lock         the file's state; never two at once but by the sealer's thread
 *   names lock (nsdb)     rows; the names side calls contents_create, _set_mtime, _delete,
 *                         _is_open, _apply_seal, _open_file with it held, so these take no
 *                         content->lock; _getattr may, and is called without it
 *   leaves                contents->lock, ->strip_lock, ->scratch_lock, ->wake_lock,
 *                         content->attr_lock, the sealer's, hydrate's and the store's
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/fdio.h"
#include "base/hex.h"
#include "crypto/digest.h"
#include "vault/content_state.h"

enum { BUCKETS_MIN = 1024 };

static int read_boot_id(struct id16 *out_id);
static int start_threads(struct contents *c);

uint64_t content_now_ms(void)
{
    return clock_boottime_ms();
}

uint64_t content_real_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int contents_open(struct vault *v, int vault_fd, struct contents **out_contents)
{
    const struct config *config = vault_get_config(v);
    struct contents *c = calloc(1, sizeof *c);
    int rc;

    if (!c)
        return -ENOMEM;
    c->v = v;
    c->db = vault_get_nsdb(v);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->pass_lock, NULL);
    pthread_mutex_init(&c->strip_lock, NULL);
    pthread_mutex_init(&c->scratch_lock, NULL);
    pthread_mutex_init(&c->wake_lock, NULL);
    clock_cond_init(&c->wake);
    pthread_cond_init(&c->synced, NULL);
    pthread_mutex_init(&c->helper.lock, NULL);
    pthread_cond_init(&c->helper.wake, NULL);
    pthread_cond_init(&c->helper.done, NULL);
    c->bucket_count = BUCKETS_MIN;
    c->buckets = calloc(c->bucket_count, sizeof(struct content *));
    rc = c->buckets ? read_boot_id(&c->boot_id) : -ENOMEM;
    if (rc == 0)
        rc = store_open(vault_fd, config->floor_bytes, &c->store);
    if (rc == 0) {
        rc = contents_recover_rows(c);
        c->first_number = store_get_next(c->store);
    }
    if (rc == 0)
        rc = start_threads(c);
    if (rc < 0) {
        contents_close(c);
        return rc;
    }
    *out_contents = c;
    return 0;
}

static int start_threads(struct contents *c)
{
    int rc = sealer_open(c, &c->sealer);

    if (rc == 0)
        rc = hydrate_open(c, &c->hydrate);
    if (rc == 0)
        rc = contents_helper_start(c);
    return rc < 0 ? rc : contents_syncer_start(c);
}

/* Each boot of the kernel has its own. */
static int read_boot_id(struct id16 *out_id)
{
    scoped(close_fd) int fd = -1;
    char text[36]; /* 8-4-4-4-12 */
    char hex[33];
    size_t digits = 0;
    int rc = fdio_open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, 0, &fd);

    if (rc == 0)
        rc = fdio_pread_all(fd, text, sizeof text, 0);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < sizeof text && digits < 32; i++)
        if (text[i] != '-')
            hex[digits++] = text[i];
    hex[digits] = '\0';
    return digits == 32 && hex_decode(hex, out_id->b, sizeof out_id->b) == 0
               ? 0
               : PHR_E_FORMAT;
}

void contents_stop(struct contents *c)
{
    if (!c)
        return;
    sealer_stop(c->sealer);
    hydrate_stop(c->hydrate);
}

void contents_close(struct contents *c)
{
    if (!c)
        return;
    sealer_close(c->sealer);
    hydrate_close(c->hydrate);
    contents_syncer_stop(c); /* with a last pass */
    contents_helper_stop(c);
    strips_forget(c, 0);
    store_close(c->store);
    for (size_t i = 0; i < c->scratch_count; i++)
        free(c->scratch[i]);
    for (size_t i = 0; i < c->small_room_count; i++)
        free(c->small_rooms[i]);
    while (c->freed) {
        struct freed_row *f = c->freed;

        c->freed = f->next; /* the next start's sweep finds it */
        free(f);
    }
    free(c->buckets);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->pass_lock);
    pthread_mutex_destroy(&c->strip_lock);
    pthread_mutex_destroy(&c->scratch_lock);
    pthread_mutex_destroy(&c->wake_lock);
    pthread_cond_destroy(&c->wake);
    pthread_cond_destroy(&c->synced);
    pthread_mutex_destroy(&c->helper.lock);
    pthread_cond_destroy(&c->helper.wake);
    pthread_cond_destroy(&c->helper.done);
    free(c);
}

/* ---- attributes ---- */

struct row_time content_mtime(struct content *ct)
{
    scoped(unlock) pthread_mutex_t *held = lock(&ct->attr_lock);

    return ct->attr.mtime;
}

static uint64_t count_blocks(const struct content *ct)
{
    uint64_t data = 0;

    for (size_t i = 0; i < ct->cur.seg_count; i++)
        data += ct->cur.segs[i].data_blocks;
    for (size_t i = 0; i < ct->level_count; i++)
        data += ct->levels[i].map.count; /* what they cover below is on disk too */
    return (data > ct->reserved_blocks ? data : ct->reserved_blocks) *
           (BLOCK_BYTES / 512);
}

void content_attr_changed(struct content *ct)
{
    uint64_t blocks = count_blocks(ct);

    pthread_mutex_lock(&ct->attr_lock);
    ct->attr.size = ct->size;
    ct->attr.blocks_512 = blocks;
    ct->has_attr = true;
    ct->has_row_to_come = ct->has_row_to_come || ct->has_change || ct->needs_row;
    pthread_mutex_unlock(&ct->attr_lock);
}

int content_attr_get(struct content *ct, struct content_attr *out_attr)
{
    scoped(unlock) pthread_mutex_t *held = lock(&ct->attr_lock);

    if (!ct->has_attr)
        return -ENODATA;
    *out_attr = ct->attr;
    return 0;
}

int contents_getattr(struct contents *c, uint64_t nodeid, struct content_attr *out_attr)
{
    scoped(writer_fini) struct writer keep;
    struct content *ct = content_find(c, nodeid);
    struct content_row row;
    int rc = -ENODATA;

    writer_init(&keep);
    if (ct) {
        rc = content_attr_get(ct, out_attr);
        content_release(ct);
    }
    if (rc == 0)
        return 0;
    rc = nsdb_content_get(c->db, nodeid, &keep, &row);
    if (rc < 0)
        return rc;
    if (contents_is_behind(c, nodeid, row.locs) && content_recover_attr(c, nodeid, out_attr) == 0)
        return 0; /* else the row, as far as it may be told */
    if (!row.is_durable && !id_equal(&row.boot_id, &c->boot_id))
        return content_recover_attr(c, nodeid, out_attr); /* what the kernel is told stays */
    *out_attr = (struct content_attr){ row.size, row.mtime, row.blocks_512 };
    return 0;
}

/* One field of a row, in the caller's transaction or one of its own. */
static int row_change(struct contents *c, uint64_t nodeid,
                      void (*change)(struct content_row *row, const void *arg),
                      const void *arg)
{
    scoped(writer_fini) struct writer keep;
    struct content_row row;
    bool is_mine;
    int rc = 0;

    writer_init(&keep);
    nsdb_lock(c->db);
    is_mine = !nsdb_is_in_tx(c->db);
    if (is_mine)
        rc = nsdb_begin(c->db);
    if (rc < 0) {
        nsdb_unlock(c->db);
        return rc;
    }
    rc = nsdb_content_get(c->db, nodeid, &keep, &row);
    if (rc == 0) {
        change(&row, arg);
        rc = nsdb_content_put(c->db, &row);
    }
    if (is_mine && rc == 0)
        nsdb_commit_soon(c->db);
    else if (is_mine)
        nsdb_rollback(c->db);
    nsdb_unlock(c->db);
    return rc;
}

static void set_row_mtime(struct content_row *row, const void *arg)
{
    row->mtime = *(const struct row_time *)arg;
}

int contents_set_mtime(struct contents *c, uint64_t nodeid, const struct row_time *mtime)
{
    struct content *ct = content_find(c, nodeid);
    bool is_open = false;

    if (ct) {
        pthread_mutex_lock(&ct->attr_lock);
        ct->attr.mtime = *mtime; /* also of one whose size may not be told yet */
        is_open = ct->has_attr && ct->has_row_to_come;
        pthread_mutex_unlock(&ct->attr_lock);
        content_release(ct);
    }
    if (is_open)
        return 0; /* the row is written at FLUSH */
    return row_change(c, nodeid, set_row_mtime, mtime);
}

/* ---- life of a row ---- */

int contents_create(struct contents *c, uint64_t nodeid, const struct id16 *file,
                    const struct id16 *writer)
{
    scoped(writer_fini) struct writer w;
    struct layout empty = { 0 };
    struct timespec now;
    struct content_row row = { .nodeid = nodeid,
                               .file = *file,
                               .state = CONTENT_DIRTY,
                               .boot_id = c->boot_id,
                               .writer = *writer,
                               .changed_ms = content_real_ms() };
    struct content *ct = NULL;
    int rc;

    writer_init(&w);
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    row.mtime = (struct row_time){ now.tv_sec, (uint32_t)now.tv_nsec };
    locs_encode(&empty, NULL, &w);
    if (!writer_ok(&w))
        return -ENOMEM;
    row.locs = writer_done(&w);
    sealer_note_new(c->sealer, nodeid,
                    content_now_ms() + vault_get_config(c->v)->temp_age_ms);
    rc = nsdb_content_put(c->db, &row);
    if (rc == 0)
        rc = content_borrow(c, nodeid, &ct);
    if (rc < 0)
        return rc;
    ct->has_unsynced_row = true;
    content_note_unsynced(ct);
    content_release(ct);
    return 0;
}

/* What is in memory of this node is nobody's any more. Names lock held. */
static void retire(struct contents *c, uint64_t nodeid)
{
    struct content *ct = content_find(c, nodeid);

    if (!ct)
        return;
    pthread_mutex_lock(&c->lock);
    ct->is_retired = true;
    pthread_mutex_unlock(&c->lock);
    content_release(ct);
}

struct delete_job {
    struct contents *c;
    uint64_t nodeid;
};

static void delete_container(void *user, uint64_t container)
{
    const struct delete_job *job = user;

    contents_free_later(job->c, job->nodeid, container);
}

static int free_row(struct contents *c, uint64_t nodeid, const struct content_row *row)
{
    scoped(layout_fini) struct layout cur = { 0 };
    scoped(layout_fini) struct layout base = { 0 };
    struct delete_job job = { c, nodeid };
    bool has_base = false;
    int rc = locs_decode(row->locs, &cur, &base, &has_base);

    if (rc < 0)
        return rc; /* its containers are left to the sweep */
    layout_each(&cur, delete_container, &job);
    layout_each(&base, delete_container, &job);
    return 0;
}

int contents_delete(struct contents *c, uint64_t nodeid)
{
    scoped(writer_fini) struct writer keep;
    struct content_row row;
    int rc;

    writer_init(&keep);
    rc = nsdb_content_get(c->db, nodeid, &keep, &row);
    if (rc < 0)
        return rc;
    rc = nsdb_content_delete(c->db, nodeid);
    if (rc < 0)
        return rc;
    ignored(free_row(c, nodeid, &row)); /* a row that cannot be read names nothing */
    retire(c, nodeid);
    return 0;
}

static void set_row_clean(struct content_row *row, const void *arg)
{
    (void)arg;
    if (row->state == CONTENT_SEALED)
        row->state = CONTENT_CLEAN;
}

/* The ledger confirms what was sealed here. */
static int confirm_seal(struct contents *c, uint64_t nodeid)
{
    struct content *ct = content_find(c, nodeid);
    int rc = row_change(c, nodeid, set_row_clean, NULL);

    if (ct) {
        pthread_mutex_lock(&ct->attr_lock);
        if (ct->state == CONTENT_SEALED)
            ct->state = CONTENT_CLEAN;
        pthread_mutex_unlock(&ct->attr_lock);
        content_release(ct);
    }
    return rc;
}

static int take_foreign_seal(struct contents *c, uint64_t nodeid,
                             const struct seal_change *seal,
                             const struct content_row *old)
{
    scoped(writer_fini) struct writer w;
    struct layout cur = { .size = seal->size,
                          .is_unlisted = seal->segment_count > 0,
                          .sealed_count = seal->segment_count,
                          .manifest_root = seal->manifest_root,
                          .manifest_object = seal->manifest_object };
    struct content_row row = { .nodeid = nodeid,
                               .file = seal->file,
                               .size = seal->size,
                               .blocks_512 = (seal->size + 511) / 512,
                               .content_version = seal->content_version,
                               .state = CONTENT_CLEAN,
                               .is_durable = true };

    if (old)
        row.mtime = old->mtime;
    cur.mtime = row.mtime;
    writer_init(&w);
    locs_encode(&cur, NULL, &w);
    if (!writer_ok(&w))
        return -ENOMEM;
    row.locs = writer_done(&w);
    return nsdb_content_put(c->db, &row);
}

int contents_apply_seal(struct contents *c, uint64_t nodeid, const struct class_ctx *ctx,
                        const struct seal_change *seal)
{
    scoped(writer_fini) struct writer keep;
    struct content_row row;
    int rc;

    (void)ctx;
    writer_init(&keep);
    rc = nsdb_content_get(c->db, nodeid, &keep, &row);
    if (rc == -ENOENT)
        return take_foreign_seal(c, nodeid, seal, NULL);
    if (rc < 0)
        return rc;
    if (row.content_version >= seal->content_version)
        return row.content_version == seal->content_version ? confirm_seal(c, nodeid) : 0;
    if (row.state != CONTENT_CLEAN)
        return PHR_E_STALE; /* changed here as well: the names side makes room first */
    rc = take_foreign_seal(c, nodeid, seal, &row);
    if (rc < 0)
        return rc;
    ignored(free_row(c, 0, &row)); /* a row that cannot be read names nothing */
    retire(c, nodeid);
    return 0;
}

int contents_retire(struct contents *c, uint64_t nodeid, uint64_t new_nodeid)
{
    scoped(writer_fini) struct writer keep;
    struct content *ct = content_find(c, nodeid);
    struct content_row row;
    int rc = 0;

    writer_init(&keep);
    if (ct) {
        pthread_rwlock_wrlock(&ct->lock);
        if (ct->is_loaded && !ct->is_retired)
            rc = content_flush(ct, true);
    }
    if (rc == 0)
        rc = nsdb_begin(c->db);
    if (rc == 0) {
        rc = nsdb_content_get(c->db, nodeid, &keep, &row);
        row.nodeid = new_nodeid;
        if (rc == 0)
            rc = nsdb_content_put(c->db, &row);
        if (rc == 0)
            rc = nsdb_content_delete(c->db, nodeid);
        if (rc == 0 && ct)
            retire(c, nodeid);
        if (rc == 0)
            rc = nsdb_commit(c->db);
        else
            nsdb_rollback(c->db);
    }
    if (ct) {
        pthread_rwlock_unlock(&ct->lock);
        content_release(ct);
    }
    if (rc == 0)
        rc = content_borrow(c, new_nodeid, &ct);
    if (rc < 0)
        return rc;
    content_note_unsynced(ct);
    content_release(ct);
    sealer_note(c->sealer, new_nodeid,
                content_now_ms() + vault_get_config(c->v)->seal_delay_ms);
    return 0;
}
