/*
 * A file layer between SQLite and its "unix-excl", for the log (WAL) alone: what a transaction
 * appends goes to the kernel in one call.
 *
 * SQLite writes a frame's header (24 bytes) and its page one by one, two calls for each page
 * that a transaction changed: about thirty for a new file, which cost more than all the rest
 * of the commit.
 *
 * WAL-1  When SQLite takes a transaction for committed, all its frames are with the kernel, so
 *        it survives kill -9. The header of the last frame says that it is the last (bytes 4..7
 *        not zero), and what is held back goes out together with that frame's page, before
 *        SQLite publishes the frames to the other connection.
 * WAL-2  Only appends are held back. Anything else (a read, a sync, a header that is written
 *        again after its frame was read) sends out first what is held, and is not held itself.
 */
#include "vault/nsdb_wal.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cursor.h"

enum {
    FRAME_HEADER_BYTES = 24,
    HELD_BYTES_MAX = 120 * 1024, /* unix-excl takes up to 128 KiB less one in a call */
    AHEAD_BYTES = 1024 * 1024,   /* zeros behind the end */
    AHEAD_BYTES_MIN = 64 * 1024, /* fewer: more of them */
    AHEAD_SYNC_MS = 250,         /* syncs that come so close, */
    AHEAD_SYNC_BYTES = 128 * 1024 /* with no more than this to write */
};

static const char vfs_name[] = "phr-names";

struct wal_file {
    alignas(8) sqlite3_file file; /* what SQLite knows; it aligns no more than this */
    pthread_mutex_t lock; /* a sync comes from another thread than the writes */
    uint8_t *held;        /* lock */
    size_t held_bytes;    /* lock */
    sqlite3_int64 at;     /* lock; where held begins */
    sqlite3_int64 read_at; /* lock; where the last read began */
    sqlite3_int64 end;     /* lock; behind the last byte that was written to this file */
    sqlite3_int64 size;    /* lock; of the file, zeros ahead included */
    size_t unsynced;       /* lock; bytes since the last sync */
    uint64_t synced_ms;    /* lock; when that was */
    bool wants_page;      /* lock; the last thing held is a frame's header */
    bool is_last;         /* lock; and the frame ends its transaction */
};

static sqlite3_vfs vfs;
static sqlite3_vfs *below;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int wal_open(sqlite3_vfs *unused, const char *name, sqlite3_file *file, int flags,
                    int *out_flags);

static void start(void)
{
    /* Counting the memory in use takes a lock at each allocation, and nobody asks. Refused when
       SQLite is in use already, as in tests: then it counts. */
    ignored(sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0));
    if (sqlite3_initialize() != SQLITE_OK)
        return;
    below = sqlite3_vfs_find("unix-excl");
    if (!below)
        return;
    vfs = *below;
    vfs.pNext = NULL;
    vfs.zName = vfs_name;
    vfs.szOsFile = (int)sizeof(struct wal_file) + below->szOsFile;
    vfs.xOpen = wal_open;
    if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
        below = NULL;
}

const char *nsdb_wal_vfs(void)
{
    ignored(pthread_once(&once, start)); /* cannot fail with a static once */
    return below ? vfs_name : NULL;
}

static struct wal_file *wal_of(sqlite3_file *file)
{
    return (struct wal_file *)(void *)file;
}

/* The file that unix-excl opened lies behind ours. */
static sqlite3_file *real_of(struct wal_file *w)
{
    return (sqlite3_file *)(void *)(w + 1);
}

/* lock held. */
static int put(struct wal_file *w, const void *bytes, size_t n, sqlite3_int64 at)
{
    sqlite3_int64 end = at + (sqlite3_int64)n;

    w->end = end > w->end ? end : w->end;
    w->size = end > w->size ? end : w->size;
    w->unsynced += n;
    return real_of(w)->pMethods->xWrite(real_of(w), bytes, (int)n, at);
}

/* lock held. What could not be written is as if never asked for: the transaction fails. */
static int send_held(struct wal_file *w)
{
    int rc = SQLITE_OK;

    if (w->held_bytes > 0)
        rc = put(w, w->held, w->held_bytes, w->at);
    w->held_bytes = 0;
    w->wants_page = false;
    return rc;
}

/* lock held. */
static void hold(struct wal_file *w, const void *bytes, size_t n, sqlite3_int64 at)
{
    if (w->held_bytes == 0)
        w->at = at;
    memcpy(w->held + w->held_bytes, bytes, n);
    w->held_bytes += n;
}

/* lock held. */
static bool follows(const struct wal_file *w, sqlite3_int64 at)
{
    return w->held_bytes > 0 && at == w->at + (sqlite3_int64)w->held_bytes;
}

static int write_header(struct wal_file *w, const uint8_t *bytes, sqlite3_int64 at)
{
    int rc = SQLITE_OK;

    if (w->read_at == at) { /* WAL-2: its frame was read to reckon its checksum anew */
        rc = send_held(w);
        if (rc == SQLITE_OK)
            rc = put(w, bytes, FRAME_HEADER_BYTES, at);
        return rc;
    }
    if (!follows(w, at) || w->wants_page || w->held_bytes + FRAME_HEADER_BYTES > HELD_BYTES_MAX)
        rc = send_held(w);
    if (rc != SQLITE_OK)
        return rc;
    hold(w, bytes, FRAME_HEADER_BYTES, at);
    w->wants_page = true;
    w->is_last = (bytes[4] | bytes[5] | bytes[6] | bytes[7]) != 0;
    return SQLITE_OK;
}

static int write_rest(struct wal_file *w, const void *bytes, size_t n, sqlite3_int64 at)
{
    bool is_page = w->wants_page && follows(w, at) && w->held_bytes + n <= HELD_BYTES_MAX;
    int rc = SQLITE_OK;

    if (is_page) {
        hold(w, bytes, n, at);
        w->wants_page = false;
        return w->is_last ? send_held(w) : SQLITE_OK; /* WAL-1 */
    }
    rc = send_held(w);
    if (rc == SQLITE_OK)
        rc = put(w, bytes, n, at);
    return rc;
}

static int wal_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
    struct wal_file *w = wal_of(file);
    scoped(unlock) pthread_mutex_t *held = lock(&w->lock);
    int rc;

    (void)held;
    rc = n == FRAME_HEADER_BYTES ? write_header(w, bytes, at) : write_rest(w, bytes, (size_t)n, at);
    w->read_at = -1;
    return rc;
}

static int wal_read(sqlite3_file *file, void *room, int n, sqlite3_int64 at)
{
    struct wal_file *w = wal_of(file);
    scoped(unlock) pthread_mutex_t *held = lock(&w->lock);
    int rc = SQLITE_OK;

    (void)held;
    if (w->held_bytes > 0 && at + n > w->at)
        rc = send_held(w);
    w->read_at = at;
    return rc == SQLITE_OK ? real_of(w)->pMethods->xRead(real_of(w), room, n, at) : rc;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct wal_file *w = wal_of(file);
    scoped(unlock) pthread_mutex_t *held = lock(&w->lock);
    int rc = send_held(w);

    (void)held;
    if (rc == SQLITE_OK)
        rc = real_of(w)->pMethods->xTruncate(real_of(w), size);
    if (rc == SQLITE_OK) {
        w->end = size < w->end ? size : w->end;
        w->size = size;
    }
    return rc;
}

/* lock held, nothing held back. A hint (WAL-3): what fails leaves the file as long as it is. */
static void write_ahead(struct wal_file *w)
{
    static const uint8_t zeros[64 * 1024];
    uint64_t now_ms = clock_boottime_ms();
    bool is_often = now_ms - w->synced_ms <= AHEAD_SYNC_MS && w->unsynced <= AHEAD_SYNC_BYTES;

    w->synced_ms = now_ms;
    w->unsynced = 0;
    if (!is_often || w->size - w->end >= AHEAD_BYTES_MIN)
        return;
    while (w->size < w->end + AHEAD_BYTES) {
        if (real_of(w)->pMethods->xWrite(real_of(w), zeros, (int)sizeof zeros, w->size) != SQLITE_OK)
            return;
        w->size += (sqlite3_int64)sizeof zeros;
    }
}

/* Not with the lock held: commits go on while the disk works. */
static int wal_sync(sqlite3_file *file, int flags)
{
    struct wal_file *w = wal_of(file);
    int rc;

    pthread_mutex_lock(&w->lock);
    rc = send_held(w);
    if (rc == SQLITE_OK)
        write_ahead(w);
    pthread_mutex_unlock(&w->lock);
    return rc == SQLITE_OK ? real_of(w)->pMethods->xSync(real_of(w), flags) : rc;
}

static int wal_file_size(sqlite3_file *file, sqlite3_int64 *out_size)
{
    struct wal_file *w = wal_of(file);
    scoped(unlock) pthread_mutex_t *held = lock(&w->lock);
    int rc = send_held(w);

    (void)held;
    return rc == SQLITE_OK ? real_of(w)->pMethods->xFileSize(real_of(w), out_size) : rc;
}

static int wal_close(sqlite3_file *file)
{
    struct wal_file *w = wal_of(file);
    int rc = send_held(w);
    int close_rc = real_of(w)->pMethods->xClose(real_of(w));

    pthread_mutex_destroy(&w->lock);
    free(w->held);
    return rc != SQLITE_OK ? rc : close_rc;
}

static int wal_lock(sqlite3_file *file, int level)
{
    return real_of(wal_of(file))->pMethods->xLock(real_of(wal_of(file)), level);
}

static int wal_unlock(sqlite3_file *file, int level)
{
    return real_of(wal_of(file))->pMethods->xUnlock(real_of(wal_of(file)), level);
}

static int wal_check_lock(sqlite3_file *file, int *out_locked)
{
    return real_of(wal_of(file))->pMethods->xCheckReservedLock(real_of(wal_of(file)), out_locked);
}

static int wal_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(wal_of(file))->pMethods->xFileControl(real_of(wal_of(file)), op, arg);
}

static int wal_sector_size(sqlite3_file *file)
{
    return real_of(wal_of(file))->pMethods->xSectorSize(real_of(wal_of(file)));
}

static int wal_characteristics(sqlite3_file *file)
{
    return real_of(wal_of(file))->pMethods->xDeviceCharacteristics(real_of(wal_of(file)));
}

/* Version 1: shared memory and mapping are asked of the database's file, never of the log's. */
static const sqlite3_io_methods wal_methods = {
    .iVersion = 1,
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_file_size,
    .xLock = wal_lock,
    .xUnlock = wal_unlock,
    .xCheckReservedLock = wal_check_lock,
    .xFileControl = wal_control,
    .xSectorSize = wal_sector_size,
    .xDeviceCharacteristics = wal_characteristics,
};

static int wal_open(sqlite3_vfs *unused, const char *name, sqlite3_file *file, int flags,
                    int *out_flags)
{
    struct wal_file *w = wal_of(file);
    int rc;

    (void)unused;
    if (!(flags & SQLITE_OPEN_WAL))
        return below->xOpen(below, name, file, flags, out_flags);
    memset(w, 0, sizeof *w);
    w->held = malloc(HELD_BYTES_MAX);
    if (!w->held)
        return SQLITE_NOMEM;
    w->read_at = -1;
    rc = below->xOpen(below, name, real_of(w), flags, out_flags);
    if (rc != SQLITE_OK) {
        free(w->held);
        return rc; /* without methods SQLite does not close it */
    }
    rc = real_of(w)->pMethods->xFileSize(real_of(w), &w->size);
    if (rc != SQLITE_OK) {
        ignored(real_of(w)->pMethods->xClose(real_of(w))); /* the first reason counts */
        free(w->held);
        return rc;
    }
    w->end = w->size; /* frames of an earlier run, or zeros: not worth telling */
    pthread_mutex_init(&w->lock, NULL);
    w->file.pMethods = &wal_methods;
    return SQLITE_OK;
}
