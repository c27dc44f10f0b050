/*
 * The one door to SQLite for the vault: connections, transactions, statements.
 *
 * NSDB-1  One connection reads and writes, under one recursive mutex, so a reader always
 *         sees what was acknowledged, also what still rides in the open transaction.
 * NSDB-2  SQLite's transaction stays open for a tenth of a second and takes up what comes
 *         meanwhile. nsdb_commit answers when the
 *         statements are in the redo log (nsdb_redo.c), so that a kill takes nothing; those that
 *         are committed "soon" go there within 5 ms. When one is rolled back, or SQLite's commit
 *         fails, all is undone and what is in the redo log run again: rare, and without the
 *         price of a savepoint for each. What is gone then, who watches is told.
 * NSDB-3  The WAL is synced outside the mutex, one sync for everybody who waits (ticket).
 *
 * After a power cut the database is a consistent earlier state: synchronous=NORMAL never
 * damages it, and nsdb_sync is what makes a commit durable.
 */
#include "vault/nsdb.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/scope.h"
#include "crypto/random.h"
#include "vault/nsdb_redo.h"
#include "vault/nsdb_sql.h"
#include "vault/nsdb_wal.h"

enum {
    STMT_SLOTS = 512, /* a power of two, well above the number of statements */
    COMMIT_SOON_MS = 5,
    COMMIT_MS = 100, /* a page that many transactions change goes into the log once */
    CHECKPOINT_FRAMES = 16384, /* 32 MiB: a page that many commits change is copied once */
    CHECKPOINT_REST_FRAMES = 2048,
    LOG_FRAMES_LONG = 65536, /* 128 MiB */
    READ_AHEAD_BYTES = 64 * 1024 * 1024, /* of the database, when it is opened */
    CHECKPOINT_PERIOD_MS = 500
};

struct stmt_slot {
    const char *sql;
    sqlite3_stmt *st;
    bool is_used;
    bool is_change;        /* of rows: goes into the redo log */
    struct redo_name name; /* there */
};

struct nsdb {
    sqlite3 *db;
    sqlite3 *checkpoint_db;
    pthread_mutex_t lock; /* recursive: the names lock */
    bool is_tx;           /* lock: a nsdb_begin is open */
    bool is_pending;      /* lock: the SQLite transaction holds acknowledged work */
    bool is_open;         /* lock: BEGIN was done */
    struct redo *redo;    /* lock */
    size_t redo_mark;     /* lock: when nsdb_begin was called */
    uint64_t pending_ms;  /* lock: since when is_pending, or when the commit failed last */
    struct {
        uint64_t next;
        uint64_t bound; /* in the database: no number from here on was ever given */
    } numbers[NSDB_NUMBERS]; /* lock */
    sqlite3_int64 changes_before; /* lock: of the connection, when nsdb_begin was called */
    struct nsdb_watch watch; /* lock */
    struct stmt_slot slots[STMT_SLOTS]; /* lock */

    pthread_mutex_t sync_lock; /* after lock */
    pthread_cond_t sync_cond;
    uint64_t commit_no; /* sync_lock: commits done */
    uint64_t synced_no; /* sync_lock: commits on disk */
    bool is_syncing;    /* sync_lock */

    pthread_mutex_t wake_lock; /* after lock */
    pthread_cond_t wake;     /* the committer's */
    pthread_cond_t stopping; /* looked at twice a second by the checkpointer */
    bool is_stopping; /* wake_lock */
    bool has_work;    /* wake_lock: a commit is due soon */
    int wal_frames;   /* wake_lock */
    pthread_t committer;
    pthread_t checkpointer;
    bool has_committer;
    bool has_checkpointer;
};

static const char schema_sql[] =
    "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS patient(patient BLOB PRIMARY KEY, seq INTEGER, leaf BLOB) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS class(class BLOB, epoch INTEGER, patient BLOB, a BLOB, state INTEGER,"
    " held_s INTEGER, record BLOB, PRIMARY KEY(class, epoch)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS class_patient ON class(patient);"
    "CREATE TABLE IF NOT EXISTS card(patient BLOB, user BLOB, hash BLOB, bytes BLOB,"
    " PRIMARY KEY(patient, user)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS grants(grant_id BLOB PRIMARY KEY, patient BLOB, class BLOB, epoch INTEGER,"
    " reader BLOB, revoked INTEGER, bytes BLOB) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS grants_reader ON grants(reader, class);"
    "CREATE TABLE IF NOT EXISTS last_n(patient BLOB, writer BLOB, host BLOB, lane INTEGER, n INTEGER,"
    " PRIMARY KEY(patient, writer, host, lane)) WITHOUT ROWID;"
    /* kind: 0 below a compartment, 1 its root, 2 a patient's directory, 3 the root */
    "CREATE TABLE IF NOT EXISTS inode(nodeid INTEGER PRIMARY KEY, ino BLOB UNIQUE, class BLOB,"
    " kind INTEGER, epoch INTEGER, version INTEGER, conf INTEGER, writer BLOB, gone INTEGER, dirty INTEGER,"
    " sealed BLOB);"
    "CREATE INDEX IF NOT EXISTS inode_gone ON inode(nodeid) WHERE gone <> 0;"
    "CREATE INDEX IF NOT EXISTS inode_dirty ON inode(nodeid) WHERE dirty = 1;"
    /* The rows of a directory lie together, in the order of their places. */
    "CREATE TABLE IF NOT EXISTS dentry(cookie INTEGER, row BLOB UNIQUE, parent BLOB, tag BLOB, class BLOB,"
    " epoch INTEGER, version INTEGER, conf INTEGER, writer BLOB, child BLOB, dtype INTEGER, sealed BLOB,"
    " PRIMARY KEY(parent, cookie), UNIQUE(parent, tag)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS dentry_child ON dentry(child) WHERE child IS NOT NULL;"
    "CREATE INDEX IF NOT EXISTS dentry_unopened ON dentry(class) WHERE child IS NULL;"
    "CREATE INDEX IF NOT EXISTS dentry_dirs ON dentry(parent) WHERE dtype = 4;"
    "CREATE TABLE IF NOT EXISTS header(file BLOB PRIMARY KEY, class BLOB, epoch INTEGER, hdr_gen INTEGER,"
    " conf INTEGER, writer BLOB, fk_user BLOB, fk_box BLOB, bytes BLOB) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS seal(file BLOB PRIMARY KEY, class BLOB, epoch INTEGER, version INTEGER,"
    " bytes BLOB) WITHOUT ROWID;"
    /* kind: 1 dentry, 2 inode, 3 header */
    "CREATE TABLE IF NOT EXISTS shadow(kind INTEGER, id BLOB, class BLOB, epoch INTEGER, version INTEGER,"
    " base INTEGER, parent BLOB, tag BLOB, writer BLOB, bytes BLOB, PRIMARY KEY(kind, id)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS shadow_name ON shadow(parent, tag) WHERE parent IS NOT NULL;"
    "CREATE TABLE IF NOT EXISTS parked(kind INTEGER, id BLOB, class BLOB, epoch INTEGER, base INTEGER,"
    " number INTEGER, writer BLOB, removed INTEGER, fk_user BLOB, fk_box BLOB, bytes BLOB,"
    " PRIMARY KEY(kind, id)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS outbox(id INTEGER PRIMARY KEY, patient BLOB, class BLOB,"
    " writer BLOB, lane INTEGER, n INTEGER, state INTEGER, created_ms INTEGER, reason INTEGER, hash BLOB UNIQUE,"
    " op BLOB, sig BLOB);"
    "CREATE INDEX IF NOT EXISTS outbox_patient ON outbox(patient);"
    "CREATE TABLE IF NOT EXISTS draft(id INTEGER PRIMARY KEY, patient BLOB, class BLOB, epoch INTEGER,"
    " writer BLOB, created_ms INTEGER, changes BLOB);"
    "CREATE TABLE IF NOT EXISTS op_n(writer BLOB, lane INTEGER, n INTEGER, PRIMARY KEY(writer, lane))"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS local_key(user BLOB, kind INTEGER, class BLOB, epoch INTEGER, box BLOB,"
    " PRIMARY KEY(user, kind, class, epoch)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS audit_stream(no INTEGER PRIMARY KEY, header BLOB);"
    "CREATE TABLE IF NOT EXISTS audit_out(no INTEGER, n INTEGER, record BLOB, PRIMARY KEY(no, n)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS content(nodeid INTEGER PRIMARY KEY, file BLOB, size INTEGER, mtime_s INTEGER,"
    " mtime_ns INTEGER, blocks INTEGER, version INTEGER, state INTEGER, durable INTEGER, boot_id BLOB,"
    " writer BLOB, changed_ms INTEGER, locs BLOB);"
    "CREATE INDEX IF NOT EXISTS content_dirty ON content(nodeid) WHERE state <> 0 OR durable = 0;"
    "CREATE TABLE IF NOT EXISTS object(object_id BLOB, op_rowid INTEGER, patient BLOB, nodeid INTEGER,"
    " container INTEGER, offset INTEGER, len INTEGER, PRIMARY KEY(object_id, op_rowid)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS object_op ON object(op_rowid);"
    "CREATE TABLE IF NOT EXISTS conflict(nodeid INTEGER PRIMARY KEY, file BLOB, class BLOB, writer BLOB);"
    "INSERT OR IGNORE INTO inode(nodeid, ino, kind, epoch, version, conf, gone, dirty)"
    " VALUES(1, zeroblob(16), 3, 0, 0, 0, 0, 0);"
    "PRAGMA user_version = 1;";

static int load_redo(struct nsdb *db, const char *path);
static int replay(struct nsdb *db);
static void run_again(struct nsdb *db);
static int numbers_load(struct nsdb *db);
static void numbers_doubt(struct nsdb *db);
static void read_ahead(const char *path);
static int open_connection(const char *path, sqlite3 **out_db);
static int exec(struct nsdb *db, const char *sql);
static int reason(int sqlite_rc);
static int commit_now(struct nsdb *db);
static void *committer_main(void *arg);
static void *checkpointer_main(void *arg);
static int on_wal(void *arg, sqlite3 *db, const char *name, int frames);

int nsdb_open(const char *path, struct nsdb **out_db)
{
    scoped(nsdb_close) struct nsdb *db = calloc(1, sizeof *db);
    pthread_mutexattr_t attr;
    pthread_condattr_t monotonic;
    int rc;

    if (!db)
        return -ENOMEM;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&db->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    pthread_mutex_init(&db->sync_lock, NULL);
    pthread_cond_init(&db->sync_cond, NULL);
    pthread_mutex_init(&db->wake_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&db->wake, NULL);
    pthread_cond_init(&db->stopping, &monotonic);
    pthread_condattr_destroy(&monotonic);

    db->commit_no = 1; /* what a killed process left in the WAL is for the first sync */
    read_ahead(path);
    rc = open_connection(path, &db->db);
    if (rc < 0)
        return rc;
    rc = exec(db, schema_sql);
    if (rc == 0)
        rc = load_redo(db, path);
    if (rc == 0)
        rc = numbers_load(db);
    if (rc < 0)
        return rc;
    rc = open_connection(path, &db->checkpoint_db);
    if (rc < 0)
        return rc;
    sqlite3_wal_hook(db->db, on_wal, db);
    rc = -pthread_create(&db->committer, NULL, committer_main, db);
    if (rc < 0)
        return rc;
    db->has_committer = true;
    rc = -pthread_create(&db->checkpointer, NULL, checkpointer_main, db);
    if (rc < 0)
        return rc;
    db->has_checkpointer = true;
    *out_db = give(db);
    return 0;
}

void nsdb_close(struct nsdb *db)
{
    if (!db)
        return;
    pthread_mutex_lock(&db->wake_lock);
    db->is_stopping = true;
    pthread_cond_signal(&db->wake);
    pthread_cond_signal(&db->stopping);
    pthread_mutex_unlock(&db->wake_lock);
    if (db->has_committer)
        pthread_join(db->committer, NULL);
    if (db->has_checkpointer)
        pthread_join(db->checkpointer, NULL);
    if (db->is_open)
        ignored(commit_now(db)); /* nobody is left to be told; the next start finds what is there */
    for (size_t i = 0; i < STMT_SLOTS; i++)
        sqlite3_finalize(db->slots[i].st);
    sqlite3_close(db->checkpoint_db);
    sqlite3_close(db->db);
    redo_close(db->redo);
    pthread_mutex_destroy(&db->lock);
    pthread_mutex_destroy(&db->sync_lock);
    pthread_cond_destroy(&db->sync_cond);
    pthread_mutex_destroy(&db->wake_lock);
    pthread_cond_destroy(&db->wake);
    pthread_cond_destroy(&db->stopping);
    free(db);
}

/* The rows of a folder's files lie apart: without this each is a wait for the disk after a start. */
static void read_ahead(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return; /* a new database */
    ignored(posix_fadvise(fd, 0, READ_AHEAD_BYTES, POSIX_FADV_WILLNEED)); /* a hint */
    close(fd);
}

static int open_connection(const char *path, sqlite3 **out_db)
{
    /* A change touches a dozen trees, a row of each: half the page is half the log. Smaller ones
       would not hold a row of `header` or `audit_out`. */
    static const char pragmas[] =
        "PRAGMA page_size = 2048; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;"
        "PRAGMA cache_size = -16384; PRAGMA mmap_size = 0; PRAGMA secure_delete = FAST;"
        "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF;";
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    const char *vfs = nsdb_wal_vfs();
    int rc = vfs ? sqlite3_open_v2(path, out_db, flags, vfs) : SQLITE_NOMEM;

    if (rc != SQLITE_OK)
        return reason(rc);
    sqlite3_busy_timeout(*out_db, 2000);
    return reason(sqlite3_exec(*out_db, pragmas, NULL, NULL, NULL));
}

static int reason(int sqlite_rc)
{
    switch (sqlite_rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return 0;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_CONSTRAINT:
        return -EEXIST;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return -EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return PHR_E_FORMAT;
    case SQLITE_TOOBIG:
        return PHR_E_LIMIT;
    default:
        return -EIO;
    }
}

static int exec(struct nsdb *db, const char *sql)
{
    return reason(sqlite3_exec(db->db, sql, NULL, NULL, NULL));
}

void nsdb_lock(struct nsdb *db)
{
    pthread_mutex_lock(&db->lock);
}

void nsdb_unlock(struct nsdb *db)
{
    pthread_mutex_unlock(&db->lock);
}

/* Statements of one word, cached like the others: they are on the path of every create. */
static int run_word(struct nsdb *db, const char *sql)
{
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    s.is_noted = true; /* of the log's own business */
    return nsdb_run(&s);
}

int nsdb_begin(struct nsdb *db)
{
    static const char begin[] = "BEGIN IMMEDIATE";
    int rc = 0;

    nsdb_lock(db);
    INVARIANT(!db->is_tx);
    if (db->is_open && redo_is_full(db->redo)) /* an undo needs it (nsdb_rollback) */
        rc = commit_now(db);
    if (rc == 0 && !db->is_open) {
        rc = run_word(db, begin);
        db->is_open = rc == 0;
    }
    if (rc < 0) {
        nsdb_unlock(db);
        return rc;
    }
    db->is_tx = true;
    db->redo_mark = redo_mark(db->redo);
    db->changes_before = sqlite3_total_changes64(db->db);
    return 0;
}

void nsdb_set_watch(struct nsdb *db, const struct nsdb_watch *watch)
{
    nsdb_lock(db);
    db->watch = *watch;
    nsdb_unlock(db);
}

const struct nsdb_watch *nsdb_get_watch(const struct nsdb *db)
{
    return db->watch.on_undo ? &db->watch : NULL;
}

static void tell_undo(struct nsdb *db)
{
    numbers_doubt(db);
    if (db->watch.on_undo)
        db->watch.on_undo(db->watch.user);
}

bool nsdb_is_in_tx(const struct nsdb *db)
{
    return db->is_tx;
}

/* Work that is acknowledged, or will be within 5 ms, is in the open transaction. */
static void wants_commit(struct nsdb *db)
{
    if (db->is_pending)
        return;
    db->is_pending = true;
    db->pending_ms = clock_boottime_ms();
    pthread_mutex_lock(&db->wake_lock);
    db->has_work = true;
    pthread_cond_signal(&db->wake);
    pthread_mutex_unlock(&db->wake_lock);
}

/* The commit failed: what was acknowledged is in the redo log. */
static void run_again(struct nsdb *db)
{
    redo_drop_unsent(db->redo);
    if (replay(db) == 0) {
        wants_commit(db);
        return;
    }
    redo_restart(db->redo, redo_last(db->redo)); /* nothing is left that could be tried */
}

static int put_redo_last(struct nsdb *db)
{
    static const char sql[] = "INSERT OR REPLACE INTO meta(key, value) VALUES('redo_last', ?)";
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    s.is_noted = true;
    nsdb_bind_u64(&s, redo_last(db->redo));
    return nsdb_run(&s);
}

static int commit_now(struct nsdb *db)
{
    static const char commit[] = "COMMIT";
    static const char rollback[] = "ROLLBACK";
    int rc = put_redo_last(db);

    if (rc == 0)
        rc = run_word(db, commit);
    if (rc < 0) {
        ignored(run_word(db, rollback)); /* SQLite may have rolled back by itself */
        tell_undo(db);
    }
    db->is_open = false;
    db->is_pending = false;
    if (rc < 0) {
        run_again(db);
        return rc;
    }
    redo_restart(db->redo, redo_last(db->redo));
    pthread_mutex_lock(&db->sync_lock);
    db->commit_no++;
    pthread_mutex_unlock(&db->sync_lock);
    return 0;
}

int nsdb_commit(struct nsdb *db)
{
    int rc = 0;

    INVARIANT(db->is_tx);
    if (redo_send(db->redo) == 0)
        wants_commit(db);
    else
        rc = commit_now(db);
    db->is_tx = false;
    nsdb_unlock(db);
    return rc;
}

void nsdb_commit_soon(struct nsdb *db)
{
    INVARIANT(db->is_tx);
    wants_commit(db);
    db->is_tx = false;
    nsdb_unlock(db);
}

int nsdb_commit_riders(struct nsdb *db)
{
    int rc = 0;

    nsdb_lock(db);
    if (db->is_pending && !db->is_tx && redo_send(db->redo) < 0)
        rc = commit_now(db);
    nsdb_unlock(db);
    return rc;
}

/* SQLite's whole transaction is undone, and what came before this one is run again. */
void nsdb_rollback(struct nsdb *db)
{
    static const char rollback[] = "ROLLBACK";
    const bool has_changes = sqlite3_total_changes64(db->db) != db->changes_before;

    INVARIANT(db->is_tx);
    db->is_tx = false;
    redo_undo(db->redo, db->redo_mark);
    if (has_changes || !db->is_pending) {
        const bool has_others = db->is_pending;

        if (has_others)
            ignored(redo_send(db->redo)); /* else creates of the last 5 ms are gone, as after a crash */
        ignored(run_word(db, rollback));  /* SQLite may have rolled back by itself */
        db->is_open = false;
        db->is_pending = false;
        if (has_changes)
            tell_undo(db);
        if (has_others)
            run_again(db);
    }
    nsdb_unlock(db);
}

/* True when there is more to do. */
static bool commit_due(struct nsdb *db)
{
    bool is_left;

    nsdb_lock(db);
    if (db->is_pending && !db->is_tx &&
        (redo_send(db->redo) < 0 || redo_is_full(db->redo) ||
         clock_boottime_ms() - db->pending_ms >= COMMIT_MS))
        ignored(commit_now(db)); /* what is in the redo log is tried again */
    is_left = db->is_pending;
    nsdb_unlock(db);
    return is_left;
}

static void *committer_main(void *arg)
{
    struct nsdb *db = arg;

    pthread_mutex_lock(&db->wake_lock);
    while (!db->is_stopping) {
        struct timespec soon = { .tv_nsec = COMMIT_SOON_MS * 1000 * 1000 };
        bool is_left;

        if (!db->has_work) {
            pthread_cond_wait(&db->wake, &db->wake_lock);
            continue;
        }
        db->has_work = false;
        pthread_mutex_unlock(&db->wake_lock);
        nanosleep(&soon, NULL);
        is_left = commit_due(db);
        pthread_mutex_lock(&db->wake_lock);
        db->has_work |= is_left;
    }
    pthread_mutex_unlock(&db->wake_lock);
    return NULL;
}

static int on_wal(void *arg, sqlite3 *unused, const char *name, int frames)
{
    struct nsdb *db = arg;

    (void)unused;
    (void)name;
    pthread_mutex_lock(&db->wake_lock);
    db->wal_frames = frames;
    pthread_mutex_unlock(&db->wake_lock);
    return SQLITE_OK;
}

/*
 * The log is copied while commits go on. Only a log that is copied to its end is begun anew, so
 * one that somebody keeps busy would grow for ever: when it is long, what came meanwhile is
 * copied with the names lock held, which may mean a wait for the disk.
 */
static void checkpoint(struct nsdb *db)
{
    int frames = 0;
    int copied = 0;
    int rest;

    if (sqlite3_wal_checkpoint_v2(db->checkpoint_db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames,
                                  &copied) != SQLITE_OK)
        return; /* tried again in half a second */
    if (frames < LOG_FRAMES_LONG)
        return;
    nsdb_lock(db);
    pthread_mutex_lock(&db->wake_lock);
    rest = db->wal_frames - copied;
    pthread_mutex_unlock(&db->wake_lock);
    if (rest <= CHECKPOINT_REST_FRAMES && (!db->is_pending || commit_now(db) == 0))
        sqlite3_wal_checkpoint_v2(db->checkpoint_db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    nsdb_unlock(db);
}

static void *checkpointer_main(void *arg)
{
    struct nsdb *db = arg;

    pthread_mutex_lock(&db->wake_lock);
    while (!db->is_stopping) {
        struct timespec until;
        bool is_due;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += CHECKPOINT_PERIOD_MS * 1000L * 1000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        while (!db->is_stopping &&
               pthread_cond_timedwait(&db->stopping, &db->wake_lock, &until) == 0)
            continue;
        is_due = db->wal_frames >= CHECKPOINT_FRAMES && !db->is_stopping;
        pthread_mutex_unlock(&db->wake_lock);
        if (is_due)
            checkpoint(db);
        pthread_mutex_lock(&db->wake_lock);
    }
    pthread_mutex_unlock(&db->wake_lock);
    return NULL;
}

static int sync_wal(struct nsdb *db)
{
    sqlite3_file *wal = NULL;
    int rc;

    nsdb_lock(db);
    rc = sqlite3_file_control(db->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
    nsdb_unlock(db);
    if (rc != SQLITE_OK || !wal || !wal->pMethods)
        return -EIO;
    return reason(wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY));
}

int nsdb_sync(struct nsdb *db)
{
    uint64_t want;
    int rc = 0;

    nsdb_lock(db);
    if (db->is_pending && !db->is_tx)
        rc = commit_now(db);
    nsdb_unlock(db);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&db->sync_lock);
    want = db->commit_no;
    while (db->synced_no < want) {
        uint64_t covers;

        if (db->is_syncing) {
            pthread_cond_wait(&db->sync_cond, &db->sync_lock);
            continue;
        }
        db->is_syncing = true;
        covers = db->commit_no;
        pthread_mutex_unlock(&db->sync_lock);
        rc = sync_wal(db);
        pthread_mutex_lock(&db->sync_lock);
        db->is_syncing = false;
        if (rc == 0)
            db->synced_no = covers;
        pthread_cond_broadcast(&db->sync_cond);
        if (rc < 0)
            break;
    }
    pthread_mutex_unlock(&db->sync_lock);
    return rc;
}

/* ---- the redo log ---- */

static int bind_param(sqlite3_stmt *st, int at, const struct redo_param *p)
{
    switch (p->type) {
    case REDO_NULL:
        return sqlite3_bind_null(st, at);
    case REDO_NUMBER:
        return sqlite3_bind_int64(st, at, (sqlite3_int64)p->n);
    case REDO_BLOB:
        return sqlite3_bind_blob64(st, at, p->p ? p->p : (const uint8_t *)"", p->n, SQLITE_STATIC);
    case REDO_TEXT:
        return sqlite3_bind_text64(st, at, (const char *)p->p, p->n, SQLITE_STATIC, SQLITE_UTF8);
    default:
        return SQLITE_MISMATCH;
    }
}

static bool is_change(const char *sql)
{
    return strncmp(sql, "INSERT ", 7) == 0 || strncmp(sql, "UPDATE ", 7) == 0 ||
           strncmp(sql, "DELETE ", 7) == 0;
}

/* One statement of the log, or the beginning of a record. */
static int run_redo(void *user, const char *sql, const struct redo_param *params, size_t count)
{
    static const char next[] = "RELEASE r; SAVEPOINT r";
    struct nsdb *db = user;
    sqlite3_stmt *st = NULL;
    int rc;

    if (!sql)
        return exec(db, next);
    if (!is_change(sql))
        return PHR_E_FORMAT;
    rc = sqlite3_prepare_v2(db->db, sql, -1, &st, NULL);
    for (size_t i = 0; rc == SQLITE_OK && i < count; i++)
        rc = bind_param(st, (int)i + 1, &params[i]);
    while (rc == SQLITE_OK || rc == SQLITE_ROW)
        rc = sqlite3_step(st);
    sqlite3_finalize(st);
    return reason(rc);
}

/* All of the log, in a transaction that stays open. Without a place on the disk: none of it. */
static int replay(struct nsdb *db)
{
    static const char begin[] = "BEGIN IMMEDIATE; SAVEPOINT r";
    static const char end[] = "RELEASE r";
    static const char undo[] = "ROLLBACK TO r; RELEASE r";
    static const char rollback[] = "ROLLBACK";
    uint64_t last = 0;
    int rc = nsdb_meta_get_u64(db, "redo_last", &last);

    if (rc == 0 || rc == -ENOENT)
        rc = exec(db, begin);
    if (rc < 0)
        return rc;
    db->is_open = true;
    rc = redo_replay(db->redo, run_redo, db, &last);
    if (rc == 0)
        rc = exec(db, end);
    else if (rc != -ENOSPC && rc != -ENOMEM && rc != -EIO)
        rc = exec(db, undo); /* a record that has no meaning here: those before it count */
    if (rc < 0) {
        ignored(exec(db, rollback)); /* SQLite may have rolled back by itself */
        db->is_open = false;
        return rc;
    }
    if (last > redo_last(db->redo))
        redo_restart(db->redo, last);
    return 0;
}

static int load_redo(struct nsdb *db, const char *path)
{
    char redo_path[PATH_MAX];
    uint64_t id = 0;
    int rc = nsdb_meta_get_u64(db, "redo_id", &id);

    if (rc == -ENOENT) {
        random_fill(&id, sizeof id);
        id &= INT64_MAX;
        rc = nsdb_meta_put_u64(db, "redo_id", id);
    }
    if (snprintf(redo_path, sizeof redo_path, "%s-redo", path) >= (int)sizeof redo_path)
        return PHR_E_LIMIT;
    if (rc == 0)
        rc = redo_open(redo_path, id, &db->redo);
    if (rc == 0)
        rc = replay(db);
    return rc < 0 ? rc : commit_now(db);
}

/* ---- numbers ---- */

static const char *const number_keys[NSDB_NUMBERS] = { "next_node", "next_cookie", "next_op" };

static int numbers_load(struct nsdb *db)
{
    static const char node[] = "SELECT ifnull(max(nodeid), 0) FROM inode";
    static const char cookie[] = "SELECT ifnull(max(cookie), 0) FROM dentry";
    static const char op[] = "SELECT ifnull(max(id), 0) FROM outbox";
    static const char *const max_sql[NSDB_NUMBERS] = { node, cookie, op };
    int rc = 0;

    for (size_t i = 0; i < NSDB_NUMBERS && rc == 0; i++) {
        uint64_t bound = 0;
        uint64_t max = 0;

        rc = nsdb_meta_get_u64(db, number_keys[i], &bound);
        if (rc == -ENOENT) /* a new database */
            rc = nsdb_query_u64(db, max_sql[i], &max);
        db->numbers[i].next = db->numbers[i].bound = bound > max ? bound : max + 1;
    }
    return rc;
}

/* The bound may have been taken back with a transaction: written again with the next number. */
static void numbers_doubt(struct nsdb *db)
{
    for (size_t i = 0; i < NSDB_NUMBERS; i++)
        db->numbers[i].bound = db->numbers[i].next;
}

int nsdb_number_next(struct nsdb *db, enum nsdb_number which, uint64_t *out_number)
{
    enum { STEP = 4096 };
    int rc = 0;

    nsdb_lock(db);
    if (db->numbers[which].next >= db->numbers[which].bound) {
        rc = nsdb_meta_put_u64(db, number_keys[which], db->numbers[which].next + STEP);
        if (rc == 0)
            db->numbers[which].bound = db->numbers[which].next + STEP;
    }
    if (rc == 0)
        *out_number = db->numbers[which].next++;
    nsdb_unlock(db);
    return rc;
}

/* ---- statements ---- */

static struct stmt_slot *find_slot(struct nsdb *db, const char *sql)
{
    size_t i = ((uintptr_t)sql >> 3) & (STMT_SLOTS - 1);

    while (db->slots[i].sql && db->slots[i].sql != sql)
        i = (i + 1) & (STMT_SLOTS - 1);
    return &db->slots[i];
}

void nsdb_query(struct nsdb *db, const char *sql, struct nsdb_stmt *out_stmt)
{
    struct stmt_slot *slot;
    sqlite3_stmt *st = NULL;

    out_stmt->db = db; /* member by member: the ids need no zeros */
    out_stmt->st = NULL;
    out_stmt->is_cached = false;
    out_stmt->is_noted = false;
    out_stmt->at = 0;
    out_stmt->rc = 0;
    out_stmt->id_count = 0;
    nsdb_lock(db);
    slot = find_slot(db, sql);
    out_stmt->slot = slot;
    if (!slot->st) {
        out_stmt->rc = reason(
            sqlite3_prepare_v3(db->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &slot->st, NULL));
        if (out_stmt->rc < 0)
            return;
        slot->sql = sql;
        slot->is_change = is_change(sql);
    }
    if (slot->is_used) {
        out_stmt->rc = reason(sqlite3_prepare_v2(db->db, sql, -1, &st, NULL));
        out_stmt->st = st;
        return;
    }
    slot->is_used = true;
    out_stmt->is_cached = true;
    out_stmt->st = slot->st;
}

static void note(struct nsdb_stmt *s, int sqlite_rc)
{
    if (s->rc == 0)
        s->rc = reason(sqlite_rc);
}

int nsdb_query_u64(struct nsdb *db, const char *sql, uint64_t *out_value)
{
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    rc = nsdb_step(&s);
    *out_value = rc > 0 ? nsdb_col_u64(&s, 0) : 0;
    nsdb_end(&s);
    return rc < 0 ? rc : 0;
}

/* The next parameter, for SQLite and for the redo log. 0: there was a failure before. */
static int next_param(struct nsdb_stmt *s, enum redo_type type, const void *p, uint64_t n)
{
    if (s->rc < 0)
        return 0;
    INVARIANT(s->at < REDO_PARAMS_MAX);
    s->params[s->at] = (struct redo_param){ type, p, n };
    return ++s->at;
}

void nsdb_bind_u64(struct nsdb_stmt *s, uint64_t v)
{
    int at = next_param(s, REDO_NUMBER, NULL, v);

    if (at > 0)
        note(s, sqlite3_bind_int64(s->st, at, (sqlite3_int64)v));
}

void nsdb_bind_id(struct nsdb_stmt *s, const struct id16 *id)
{
    const bool has_room = s->id_count < NSDB_STMT_IDS;
    int at;

    if (!id) {
        at = next_param(s, REDO_NULL, NULL, 0);
        if (at > 0)
            note(s, sqlite3_bind_null(s->st, at));
        return;
    }
    if (has_room) {
        s->ids[s->id_count] = *id;
        id = &s->ids[s->id_count++];
    }
    at = next_param(s, REDO_BLOB, id->b, sizeof id->b);
    if (at > 0)
        note(s, sqlite3_bind_blob(s->st, at, id->b, sizeof id->b,
                                  has_room ? SQLITE_STATIC : SQLITE_TRANSIENT));
}

void nsdb_bind_digest(struct nsdb_stmt *s, const struct digest *d)
{
    int at = next_param(s, REDO_BLOB, d->b, sizeof d->b);

    if (at > 0)
        note(s, sqlite3_bind_blob(s->st, at, d->b, sizeof d->b, SQLITE_TRANSIENT));
}

void nsdb_bind_view(struct nsdb_stmt *s, struct view v)
{
    int at = next_param(s, REDO_BLOB, v.p, v.n);

    if (at > 0)
        note(s, sqlite3_bind_blob64(s->st, at, v.p ? v.p : (const uint8_t *)"", v.n, SQLITE_STATIC));
}

void nsdb_bind_text(struct nsdb_stmt *s, const char *text)
{
    int at = next_param(s, REDO_TEXT, text, strlen(text));

    if (at > 0)
        note(s, sqlite3_bind_text(s->st, at, text, -1, SQLITE_TRANSIENT));
}

int nsdb_step(struct nsdb_stmt *s)
{
    int rc;

    if (s->rc < 0)
        return s->rc;
    rc = sqlite3_step(s->st);
    if ((rc == SQLITE_DONE || rc == SQLITE_ROW) && !s->is_noted && s->slot->is_change) {
        s->is_noted = true;
        if (s->db->is_open)
            redo_note(s->db->redo, &s->slot->name, s->slot->sql, s->params, (size_t)s->at);
    }
    if (rc == SQLITE_ROW)
        return 1;
    return reason(rc);
}

uint64_t nsdb_col_u64(const struct nsdb_stmt *s, int i)
{
    return (uint64_t)sqlite3_column_int64(s->st, i);
}

bool nsdb_col_is_null(const struct nsdb_stmt *s, int i)
{
    return sqlite3_column_type(s->st, i) == SQLITE_NULL;
}

struct view nsdb_col_view(const struct nsdb_stmt *s, int i)
{
    const void *p = sqlite3_column_blob(s->st, i);

    return view_of(p, (size_t)sqlite3_column_bytes(s->st, i));
}

static bool col_fixed(const struct nsdb_stmt *s, int i, uint8_t *out, size_t n)
{
    struct view v = nsdb_col_view(s, i);

    memset(out, 0, n);
    if (v.n != n || !v.p)
        return false;
    memcpy(out, v.p, n);
    return true;
}

bool nsdb_col_id(const struct nsdb_stmt *s, int i, struct id16 *out_id)
{
    return col_fixed(s, i, out_id->b, sizeof out_id->b);
}

bool nsdb_col_digest(const struct nsdb_stmt *s, int i, struct digest *out_digest)
{
    return col_fixed(s, i, out_digest->b, sizeof out_digest->b);
}

void nsdb_end(struct nsdb_stmt *s)
{
    if (!s->db)
        return;
    if (!s->is_cached) {
        sqlite3_finalize(s->st);
    } else {
        sqlite3_reset(s->st);
        sqlite3_clear_bindings(s->st);
        s->slot->is_used = false;
    }
    nsdb_unlock(s->db);
    s->db = NULL;
    s->st = NULL;
}

int nsdb_run(struct nsdb_stmt *s)
{
    int rc;

    do
        rc = nsdb_step(s);
    while (rc > 0);
    nsdb_end(s);
    return rc;
}

uint64_t nsdb_changes(struct nsdb *db)
{
    return (uint64_t)sqlite3_changes64(db->db);
}

uint64_t nsdb_last_rowid(struct nsdb *db)
{
    return (uint64_t)sqlite3_last_insert_rowid(db->db);
}
