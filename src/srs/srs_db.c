#include "srs/srs_db.h"

#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/fdio.h"

enum {
    STMT_SLOTS = 256,    /* a power of two, well above the number of statements */
    BUSY_WAIT_MS = 2000, /* a reader from outside (backup) */
    SCHEMA_VERSION = 2
};

struct stmt_slot {
    const char *sql;
    sqlite3_stmt *st;
};
struct srs_db {
    sqlite3 *db;
    bool is_tx;
    struct stmt_slot slots[STMT_SLOTS];
};

static const char pragma_sql[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
    "PRAGMA foreign_keys=OFF; PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF;";

/* Ids are blobs of 16 bytes, hashes of 32. Numbers above 2^63 wrap to negative ones and back. */
static const char schema_sql[] =
    "CREATE TABLE head(patient BLOB PRIMARY KEY, seq INTEGER, leaf BLOB) WITHOUT ROWID;"
    "CREATE TABLE entry(patient BLOB, seq INTEGER, is_stored INTEGER, bytes BLOB);"
    "CREATE UNIQUE INDEX entry_place ON entry(patient, seq);"
    "CREATE INDEX entry_unstored ON entry(is_stored) WHERE is_stored = 0;"
    "CREATE TABLE card(hash BLOB, patient BLOB, user BLOB, is_newest INTEGER, bytes BLOB,"
    " PRIMARY KEY(patient, hash)) WITHOUT ROWID;"
    "CREATE INDEX card_user ON card(patient, user) WHERE is_newest = 1;"
    "CREATE TABLE class(patient BLOB, class BLOB, epoch INTEGER, a BLOB, state INTEGER, "
    "held_s INTEGER,"
    " PRIMARY KEY(patient, class, epoch)) WITHOUT ROWID;"
    "CREATE TABLE grants(grant_id BLOB PRIMARY KEY, patient BLOB, class BLOB, epoch "
    "INTEGER, reader BLOB,"
    " card BLOB, rights INTEGER, is_revoked INTEGER, opens INTEGER, slot INTEGER, box "
    "BLOB, bytes BLOB)"
    " WITHOUT ROWID;"
    "CREATE INDEX grants_reader ON grants(patient, class, epoch, reader);"
    "CREATE INDEX grants_of ON grants(reader, patient);"
    "CREATE INDEX grants_slot ON grants(slot) WHERE slot IS NOT NULL;"
    "CREATE TABLE row(patient BLOB, id BLOB, kind INTEGER, class BLOB, epoch INTEGER, "
    "version INTEGER,"
    " parent BLOB, tag BLOB, PRIMARY KEY(patient, id)) WITHOUT ROWID;"
    "CREATE INDEX row_name ON row(patient, parent, tag) WHERE kind = 1;"
    "CREATE INDEX row_class ON row(patient, class);"
    "CREATE TABLE header(patient BLOB, file BLOB, class BLOB, epoch INTEGER, gen "
    "INTEGER, hash BLOB,"
    " w BLOB, PRIMARY KEY(patient, file)) WITHOUT ROWID;"
    "CREATE TABLE seal(patient BLOB, file BLOB, version INTEGER, PRIMARY KEY(patient, "
    "file)) WITHOUT ROWID;"
    "CREATE TABLE lane(patient BLOB, writer BLOB, host BLOB, lane INTEGER, n INTEGER,"
    " PRIMARY KEY(patient, writer, host, lane)) WITHOUT ROWID;"
    "CREATE TABLE seen(req BLOB PRIMARY KEY, time_s INTEGER) WITHOUT ROWID;"
    "CREATE INDEX seen_time ON seen(time_s);"
    "CREATE TABLE spool(host BLOB, no INTEGER, header BLOB, next_n INTEGER, prev BLOB,"
    " PRIMARY KEY(host, no, header)) WITHOUT ROWID;"
    "CREATE TABLE audit(idx INTEGER PRIMARY KEY, patient BLOB, entry BLOB, leaf BLOB, "
    "salt BLOB, box BLOB);"
    "CREATE TABLE node(level INTEGER, idx INTEGER, hash BLOB, PRIMARY KEY(level, idx)) "
    "WITHOUT ROWID;"
    "CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, note BLOB);"
    "CREATE TABLE log_read(uid INTEGER, patient BLOB, time_s INTEGER, PRIMARY KEY(uid, "
    "patient)) WITHOUT ROWID;"
    "CREATE TABLE suspended(user BLOB PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE suspension(id INTEGER PRIMARY KEY CHECK(id = 1), serial INTEGER);";

static int reason(int sqlite_rc)
{
    switch (sqlite_rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_READONLY:
        return -EROFS;
    default:
        return -EIO;
    }
}

static int run_text(struct srs_db *db, const char *sql)
{
    return reason(sqlite3_exec(db->db, sql, NULL, NULL, NULL));
}

static int read_version(struct srs_db *db, int *out_version)
{
    sqlite3_stmt *st = NULL;
    int rc = reason(sqlite3_prepare_v2(db->db, "PRAGMA user_version", -1, &st, NULL));

    if (rc == 0)
        rc = sqlite3_step(st) == SQLITE_ROW ? 0 : -EIO;
    if (rc == 0)
        *out_version = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return rc;
}

static int make_schema(struct srs_db *db)
{
    char version_sql[64];
    int version = 0;
    int rc = read_version(db, &version);

    if (rc < 0 || version == SCHEMA_VERSION)
        return rc;
    if (version != 0)
        return PHR_E_FORMAT;
    ignored(snprintf(version_sql, sizeof version_sql, "PRAGMA user_version = %d",
                     SCHEMA_VERSION));
    rc = run_text(db, "BEGIN IMMEDIATE");
    if (rc == 0)
        rc = run_text(db, schema_sql);
    if (rc == 0)
        rc = run_text(db, version_sql);
    return rc < 0 ? rc : run_text(db, "COMMIT");
}

int srs_db_open(int dir_fd, const char *name, struct srs_db **out_db)
{
    scoped(srs_db_close) struct srs_db *db = calloc(1, sizeof *db);
    scoped(close_fd) int fd = -1;
    char path[PATH_MAX];
    int rc;

    if (!db)
        return -ENOMEM;
    rc = fdio_open(dir_fd, name, O_RDWR | O_CREAT, 0600,
                   &fd); /* its mode, before SQLite makes it */
    if (rc < 0)
        return rc;
    /* SQLite wants a path; this one means the directory that we hold, wherever it is moved. */
    if (snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir_fd, name) >=
        (int)sizeof path)
        return -ENAMETOOLONG;
    rc = reason(sqlite3_open_v2(path, &db->db,
                                SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL));
    if (rc == 0)
        rc = reason(sqlite3_busy_timeout(db->db, BUSY_WAIT_MS));
    if (rc == 0)
        rc = run_text(db, pragma_sql);
    if (rc == 0)
        rc = make_schema(db);
    if (rc < 0)
        return rc;
    *out_db = give(db);
    return 0;
}

void srs_db_close(struct srs_db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < STMT_SLOTS; i++)
        sqlite3_finalize(db->slots[i].st);
    sqlite3_close(db->db);
    free(db);
}

/* ---- transactions ---- */

int srs_db_begin(struct srs_db *db)
{
    struct srs_stmt s = srs_db_query(db, "BEGIN IMMEDIATE");
    int rc = srs_db_run(&s);

    db->is_tx = rc == 0;
    return rc;
}

int srs_db_commit(struct srs_db *db)
{
    struct srs_stmt s = srs_db_query(db, "COMMIT");
    int rc = srs_db_run(&s);

    if (rc < 0)
        srs_db_rollback(db);
    db->is_tx = false;
    return rc;
}

void srs_db_rollback(struct srs_db *db)
{
    if (db->is_tx && !sqlite3_get_autocommit(db->db))
        ignored(run_text(
            db, "ROLLBACK")); /* SQLite has rolled back by itself when this fails */
    db->is_tx = false;
}

int srs_db_mark(struct srs_db *db)
{
    struct srs_stmt s = srs_db_query(db, "SAVEPOINT mark");

    return srs_db_run(&s);
}

int srs_db_keep(struct srs_db *db)
{
    struct srs_stmt s = srs_db_query(db, "RELEASE mark");

    return srs_db_run(&s);
}

int srs_db_undo(struct srs_db *db)
{
    struct srs_stmt s = srs_db_query(db, "ROLLBACK TO mark");
    int rc = srs_db_run(&s);

    return rc < 0 ? rc : srs_db_keep(db);
}

uint64_t srs_db_changes(const struct srs_db *db)
{
    return (uint64_t)sqlite3_total_changes64(db->db);
}

/* ---- statements ---- */

static struct stmt_slot *slot_of(struct srs_db *db, const char *sql)
{
    size_t i =
        ((uintptr_t)sql >> 3) * UINT64_C(0x9E3779B97F4A7C15) >> 48 & (STMT_SLOTS - 1);

    for (size_t tried = 0; tried < STMT_SLOTS; tried++) {
        struct stmt_slot *slot = &db->slots[(i + tried) & (STMT_SLOTS - 1)];

        if (!slot->sql || slot->sql == sql)
            return slot;
    }
    INVARIANT(false); /* more statements than slots */
}

struct srs_stmt srs_db_query(struct srs_db *db, const char *sql)
{
    struct stmt_slot *slot = slot_of(db, sql);
    struct srs_stmt s = { .db = db };

    if (!slot->st) {
        slot->sql = sql;
        s.rc = reason(sqlite3_prepare_v3(db->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                         &slot->st, NULL));
    }
    INVARIANT(!slot->st || !sqlite3_stmt_busy(slot->st));
    s.st = slot->st;
    return s;
}

static void bound(struct srs_stmt *s, int sqlite_rc)
{
    if (s->rc == 0)
        s->rc = reason(sqlite_rc);
}

void srs_db_bind_u64(struct srs_stmt *s, uint64_t v)
{
    if (s->st)
        bound(s, sqlite3_bind_int64(s->st, ++s->at, (sqlite3_int64)v));
}

void srs_db_bind_view(struct srs_stmt *s, struct view v)
{
    if (s->st)
        bound(s, sqlite3_bind_blob64(s->st, ++s->at, v.n > 0 ? (const void *)v.p : "",
                                     v.n, SQLITE_STATIC));
}

void srs_db_bind_id(struct srs_stmt *s, const struct id16 *id)
{
    srs_db_bind_view(s, (struct view){ id->b, sizeof id->b });
}

void srs_db_bind_digest(struct srs_stmt *s, const struct digest *d)
{
    srs_db_bind_view(s, (struct view){ d->b, sizeof d->b });
}

int srs_db_step(struct srs_stmt *s)
{
    int rc;

    if (s->rc < 0)
        return s->rc;
    rc = sqlite3_step(s->st);
    if (rc == SQLITE_ROW)
        return 1;
    return reason(rc);
}

uint64_t srs_db_col_u64(const struct srs_stmt *s, int i)
{
    return (uint64_t)sqlite3_column_int64(s->st, i);
}

struct view srs_db_col_view(const struct srs_stmt *s, int i)
{
    const void *p = sqlite3_column_blob(s->st, i);

    return (struct view){ p, (size_t)sqlite3_column_bytes(s->st, i) };
}

void srs_db_col_bytes(const struct srs_stmt *s, int i, void *out, size_t n, int *io_rc)
{
    const struct view v = srs_db_col_view(s, i);

    if (v.n == n) {
        memcpy(out, v.p, n);
        return;
    }
    memset(out, 0, n);
    *io_rc = -EIO;
}

void srs_db_end(struct srs_stmt *s)
{
    if (!s->st)
        return;
    sqlite3_reset(s->st); /* repeats the reason that step gave */
    sqlite3_clear_bindings(s->st);
    s->st = NULL;
}

int srs_db_run(struct srs_stmt *s)
{
    int rc = srs_db_step(s);

    while (rc > 0)
        rc = srs_db_step(s);
    srs_db_end(s);
    return rc;
}

int srs_db_first(struct srs_stmt *s)
{
    int rc = srs_db_step(s);

    if (rc == 0)
        return -ENOENT;
    return rc < 0 ? rc : 0;
}
