#include "sidecar/syncdb.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"

enum { PATH_BYTES = 4096, BUSY_MS = 2000, VERSION = 1 };

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS item(key TEXT PRIMARY KEY, kind INT NOT NULL, state INT NOT NULL,"
    " attempts INT NOT NULL, reason INT NOT NULL, words TEXT NOT NULL, at_s INT NOT NULL,"
    " body BLOB) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS item_open ON item(state, at_s) WHERE state != 1;"
    "CREATE TABLE IF NOT EXISTS mount(host BLOB PRIMARY KEY, lease_s INT NOT NULL,"
    " seen_s INT NOT NULL) WITHOUT ROWID;";

enum statement {
    FIND, NOTE, EACH, COUNT, UNPARK, META_GET, META_SET, MOUNT_SET, MOUNT_DROP, MOUNT_EACH,
    STATEMENT_COUNT
};

static const char *const sql[STATEMENT_COUNT] = {
    [FIND] = "SELECT key, kind, state, attempts, reason, words, at_s FROM item WHERE key = ?1",
    [NOTE] = "INSERT OR REPLACE INTO item VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [EACH] = ("SELECT key, kind, state, attempts, reason, words, at_s, body FROM item"
              " WHERE state = ?1 ORDER BY at_s LIMIT ?2"),
    [COUNT] = "SELECT count(*) FROM item WHERE state = ?1",
    [UNPARK] = "UPDATE item SET state = 0, attempts = 0 WHERE state = 2",
    [META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [META_SET] = "INSERT OR REPLACE INTO meta VALUES(?1, ?2)",
    [MOUNT_SET] = "INSERT OR REPLACE INTO mount VALUES(?1, ?2, ?3)",
    [MOUNT_DROP] = "DELETE FROM mount WHERE host = ?1",
    [MOUNT_EACH] = "SELECT host, lease_s, seen_s FROM mount",
};

struct syncdb {
    pthread_mutex_t lock;
    sqlite3 *db;                           /* lock, as the next */
    sqlite3_stmt *statements[STATEMENT_COUNT];
};

static int reason_of(int code)
{
    switch (code) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return PHR_E_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return PHR_E_FORMAT;
    default:
        return -EIO;
    }
}

static int open_file(struct syncdb *db, const char *path)
{
    int code = sqlite3_open_v2(path, &db->db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                                   SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
                               NULL);

    if (code == SQLITE_OK)
        code = sqlite3_busy_timeout(db->db, BUSY_MS);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db->db,
                            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
                            "PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF;",
                            NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db->db, schema, NULL, NULL, NULL);
    for (size_t i = 0; i < STATEMENT_COUNT && code == SQLITE_OK; i++)
        code = sqlite3_prepare_v3(db->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                  &db->statements[i], NULL);
    return reason_of(code);
}

static void close_file(struct syncdb *db)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        sqlite3_finalize(db->statements[i]);
        db->statements[i] = NULL;
    }
    sqlite3_close(db->db);
    db->db = NULL;
}

/* Nothing in it is worth a refusal to start: aside with it, and its log. */
static int put_aside(const char *path)
{
    static const char *const ends[] = { "", "-wal", "-shm" };
    char from[PATH_BYTES];
    char to[PATH_BYTES];

    for (size_t i = 0; i < 3; i++) {
        if (snprintf(from, sizeof from, "%s%s", path, ends[i]) >= (int)sizeof from ||
            snprintf(to, sizeof to, "%s.damaged%s", path, ends[i]) >= (int)sizeof to)
            return -ENAMETOOLONG;
        if (rename(from, to) < 0 && errno != ENOENT)
            return -errno;
    }
    return 0;
}

int syncdb_open(const char *path, struct syncdb **out_db)
{
    scoped(syncdb_close) struct syncdb *db = calloc(1, sizeof *db);
    int rc;

    if (!db)
        return -ENOMEM;
    pthread_mutex_init(&db->lock, NULL);
    rc = open_file(db, path);
    if (rc == PHR_E_FORMAT) {
        log_warn("sync_db_damaged", LOG_WORD("now", "a_fresh_one"));
        close_file(db);
        rc = put_aside(path);
        if (rc == 0)
            rc = open_file(db, path);
    }
    if (rc < 0)
        return rc;
    *out_db = give(db);
    return 0;
}

void syncdb_close(struct syncdb *db)
{
    if (!db)
        return;
    close_file(db);
    pthread_mutex_destroy(&db->lock);
    free(db);
}

static void bind_id(sqlite3_stmt *s, int at, const struct id16 *id)
{
    sqlite3_bind_blob(s, at, id->b, sizeof id->b, SQLITE_STATIC);
}

/* Binding fails only without memory, and then the step does as well. */
static int run(sqlite3_stmt *s)
{
    int code = sqlite3_step(s);

    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return reason_of(code);
}

int syncdb_host(struct syncdb *db, struct id16 *out_host)
{
    scoped(unlock) pthread_mutex_t *held = lock(&db->lock);
    sqlite3_stmt *s = db->statements[META_GET];
    struct id16 host;
    int code;
    bool found;

    (void)held;
    sqlite3_bind_text(s, 1, "host", -1, SQLITE_STATIC);
    code = sqlite3_step(s);
    found = code == SQLITE_ROW && sqlite3_column_bytes(s, 0) == sizeof host.b;
    if (found)
        memcpy(host.b, sqlite3_column_blob(s, 0), sizeof host.b);
    sqlite3_reset(s);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return reason_of(code);
    if (!found) {
        int rc;

        if (getrandom(host.b, sizeof host.b, 0) != sizeof host.b)
            return -EIO;
        s = db->statements[META_SET];
        sqlite3_bind_text(s, 1, "host", -1, SQLITE_STATIC);
        bind_id(s, 2, &host);
        rc = run(s);
        if (rc < 0)
            return rc;
    }
    *out_host = host;
    return 0;
}

static void copy_text(char *to, size_t room, sqlite3_stmt *s, int column)
{
    const unsigned char *text = sqlite3_column_text(s, column);

    snprintf(to, room, "%s", text ? (const char *)text : "");
}

static void read_item(sqlite3_stmt *s, struct syncdb_item *out)
{
    int state = sqlite3_column_int(s, 2);

    copy_text(out->key, sizeof out->key, s, 0);
    out->kind = sqlite3_column_int(s, 1);
    out->state = state == SYNCDB_STORED   ? SYNCDB_STORED
                 : state == SYNCDB_PARKED ? SYNCDB_PARKED
                                          : SYNCDB_QUEUED;
    out->attempts = (uint32_t)sqlite3_column_int64(s, 3);
    out->reason = sqlite3_column_int(s, 4);
    copy_text(out->words, sizeof out->words, s, 5);
    out->at_s = (uint64_t)sqlite3_column_int64(s, 6);
}

int syncdb_find(struct syncdb *db, const char *key, struct syncdb_item *out_item)
{
    scoped(unlock) pthread_mutex_t *held = lock(&db->lock);
    sqlite3_stmt *s = db->statements[FIND];
    int code;

    (void)held;
    sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
    code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        read_item(s, out_item);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return code == SQLITE_DONE ? -ENOENT : reason_of(code);
}

int syncdb_note(struct syncdb *db, const struct syncdb_item *item, struct view body)
{
    scoped(unlock) pthread_mutex_t *held = lock(&db->lock);
    sqlite3_stmt *s = db->statements[NOTE];

    (void)held;
    sqlite3_bind_text(s, 1, item->key, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 2, item->kind);
    sqlite3_bind_int(s, 3, (int)item->state);
    sqlite3_bind_int64(s, 4, item->attempts);
    sqlite3_bind_int(s, 5, item->reason);
    sqlite3_bind_text(s, 6, item->words, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 7, (sqlite3_int64)clock_realtime_s());
    if (body.n > 0)
        sqlite3_bind_blob64(s, 8, body.p, body.n, SQLITE_STATIC);
    return run(s);
}

int syncdb_each(struct syncdb *db, enum syncdb_state state, uint32_t max,
                int (*on_item)(void *user, const struct syncdb_item *item, struct view body),
                void *user)
{
    scoped(unlock) pthread_mutex_t *held = lock(&db->lock);
    sqlite3_stmt *s = db->statements[EACH];
    int code;
    int rc = 0;

    (void)held;
    sqlite3_bind_int(s, 1, (int)state);
    sqlite3_bind_int64(s, 2, max);
    while (rc == 0 && (code = sqlite3_step(s)) != SQLITE_DONE) {
        struct syncdb_item item = { 0 };

        rc = reason_of(code);
        if (rc < 0)
            break;
        read_item(s, &item);
        rc = on_item(user, &item,
                     view_of(sqlite3_column_blob(s, 7), (size_t)sqlite3_column_bytes(s, 7)));
    }
    sqlite3_reset(s);
    return rc;
}

int syncdb_count(struct syncdb *db, enum syncdb_state state, uint64_t *out_count)
{
    scoped(unlock) pthread_mutex_t *held = lock(&db->lock);
    sqlite3_stmt *s = db->statements[COUNT];
    int code;

    (void)held;
    sqlite3_bind_int(s, 1, (int)state);
    code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        *out_count = (uint64_t)sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    return reason_of(code);
}

int syncdb_unpark(struct syncdb *db, uint32_t *out_count)
{
    scoped(unlock) pthread_mutex_t *held = lock(&db->lock);
    int rc = run(db->statements[UNPARK]);

    (void)held;
    if (rc == 0)
        *out_count = (uint32_t)sqlite3_changes(db->db);
    return rc;
}

int syncdb_save_mount(struct syncdb *db, const struct id16 *host, uint64_t lease_s, uint64_t seen_s)
{
    scoped(unlock) pthread_mutex_t *held = lock(&db->lock);
    sqlite3_stmt *s = db->statements[MOUNT_SET];

    (void)held;
    bind_id(s, 1, host);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)lease_s);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)seen_s);
    return run(s);
}

int syncdb_drop_mount(struct syncdb *db, const struct id16 *host)
{
    scoped(unlock) pthread_mutex_t *held = lock(&db->lock);

    (void)held;
    bind_id(db->statements[MOUNT_DROP], 1, host);
    return run(db->statements[MOUNT_DROP]);
}

int syncdb_each_mount(struct syncdb *db,
                      void (*on_mount)(void *user, const struct id16 *host, uint64_t lease_s,
                                       uint64_t seen_s),
                      void *user)
{
    scoped(unlock) pthread_mutex_t *held = lock(&db->lock);
    sqlite3_stmt *s = db->statements[MOUNT_EACH];
    int code;

    (void)held;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        struct id16 host;

        if (sqlite3_column_bytes(s, 0) != sizeof host.b)
            continue;
        memcpy(host.b, sqlite3_column_blob(s, 0), sizeof host.b);
        on_mount(user, &host, (uint64_t)sqlite3_column_int64(s, 1),
                 (uint64_t)sqlite3_column_int64(s, 2));
    }
    sqlite3_reset(s);
    return reason_of(code);
}
