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
 * NSDB-4  Where that fails too, nothing is read or changed (-EIO) until it works: the redo log, which then
 *         alone has what was acknowledged, stays as it is, and is tried again twice a second when somebody
 *         asks, and at the next start.
 *
 * After a power cut the database is a consistent earlier state: synchronous=NORMAL never
 * damages it, and nsdb_sync is what makes a commit durable.
 */
#include "vault/nsdb.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/scope.h"
#include "vault/nsdb_inside.h"
#include "vault/nsdb_wal.h"

enum { READ_AHEAD_BYTES = 64 * 1024 * 1024 /* of the database, when it is opened */ };

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
    /* highest number of the ops that rebases threw away, which may be on their way all the same */
    "CREATE TABLE IF NOT EXISTS unwound(patient BLOB, writer BLOB, n INTEGER, PRIMARY KEY(patient, writer))"
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
    "CREATE TABLE IF NOT EXISTS conflict_keys(nodeid INTEGER PRIMARY KEY, user BLOB, header BLOB, box BLOB);"
    "INSERT OR IGNORE INTO inode(nodeid, ino, kind, epoch, version, conf, gone, dirty)"
    " VALUES(1, zeroblob(16), 3, 0, 0, 0, 0, 0);"
    "PRAGMA user_version = 1;";

static int numbers_load(struct nsdb *db);
static void numbers_doubt(struct nsdb *db);
static void read_ahead(const char *path);
static int open_connection(const char *path, sqlite3 **out_db);

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
    rc = nsdb_exec(db, schema_sql);
    if (rc == 0)
        rc = nsdb_load_redo(db, path);
    if (rc == 0)
        rc = numbers_load(db);
    if (rc < 0)
        return rc;
    rc = open_connection(path, &db->checkpoint_db);
    if (rc < 0)
        return rc;
    sqlite3_wal_hook(db->db, nsdb_on_wal, db);
    rc = -pthread_create(&db->committer, NULL, nsdb_committer_main, db);
    if (rc < 0)
        return rc;
    db->has_committer = true;
    rc = -pthread_create(&db->checkpointer, NULL, nsdb_checkpointer_main, db);
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
    if (nsdb_go_on(db) == 0 && db->is_open)
        ignored(nsdb_commit_now(db)); /* nobody is left to be told; the next start finds what is there */
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
        return nsdb_reason(rc);
    sqlite3_busy_timeout(*out_db, 2000);
    return nsdb_reason(sqlite3_exec(*out_db, pragmas, NULL, NULL, NULL));
}

int nsdb_reason(int sqlite_rc)
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

int nsdb_exec(struct nsdb *db, const char *sql)
{
    return nsdb_reason(sqlite3_exec(db->db, sql, NULL, NULL, NULL));
}

void nsdb_lock(struct nsdb *db)
{
    pthread_mutex_lock(&db->lock);
}

void nsdb_unlock(struct nsdb *db)
{
    pthread_mutex_unlock(&db->lock);
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

void nsdb_tell_undo(struct nsdb *db)
{
    numbers_doubt(db);
    if (db->watch.on_undo)
        db->watch.on_undo(db->watch.user);
}

bool nsdb_is_in_tx(const struct nsdb *db)
{
    return db->is_tx;
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
    db->container_bound = 0;
}

static const char container_key[] = "next_container";

int nsdb_container_promise(struct nsdb *db, uint64_t next)
{
    enum { STEP = 256 }; /* so many numbers are lost with a kill */
    int rc;

    INVARIANT(db->is_tx);
    if (next <= db->container_bound)
        return 0;
    rc = nsdb_meta_put_u64(db, container_key, next + STEP);
    if (rc == 0)
        db->container_bound = next + STEP;
    return rc;
}

int nsdb_container_settle(struct nsdb *db, uint64_t next)
{
    db->container_bound = 0;
    return nsdb_meta_put_u64(db, container_key, next);
}

int nsdb_container_bound(struct nsdb *db, uint64_t *out_bound)
{
    return nsdb_meta_get_u64(db, container_key, out_bound);
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
