/*
 * Transactions of namespace.db: acknowledged by the redo log, committed by SQLite a tenth of a second's at
 * a time (NSDB-2), and run again from the redo log when SQLite undoes them.
 */
#include "vault/nsdb_inside.h"

#include <limits.h>
#include <stdio.h>
#include <time.h>

#include "base/checked.h"
#include "base/clock.h"
#include "crypto/random.h"
#include "vault/nsdb_redo.h"

enum {
    COMMIT_SOON_MS = 5,
    COMMIT_MS = 100, /* a page that many transactions change goes into the log once */
    HELD_MS = 500    /* between two attempts */
};

static int replay(struct nsdb *db, uint64_t at_least, bool *out_is_stuck);
static void run_again(struct nsdb *db);

int nsdb_begin(struct nsdb *db)
{
    static const char begin[] = "BEGIN IMMEDIATE";
    int rc;

    nsdb_lock(db);
    INVARIANT(!db->is_tx);
    rc = nsdb_go_on(db);
    if (rc == 0 && db->is_open && redo_is_full(db->redo)) /* an undo needs it (nsdb_rollback) */
        rc = nsdb_commit_now(db);
    if (rc == 0 && !db->is_open) {
        rc = nsdb_run_word(db, begin);
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

/* The transaction is undone: what was acknowledged is in the redo log, and all of it must come back (NSDB-4). */
static void run_again(struct nsdb *db)
{
    const bool was_held = db->held_rc < 0;
    bool is_stuck; /* then it does not lead to the last that was sent */

    redo_drop_unsent(db->redo);
    db->is_running_again = true;
    db->held_rc = replay(db, redo_last(db->redo), &is_stuck);
    db->is_running_again = false;
    db->held_ms = clock_boottime_ms();
    if (db->held_rc == 0)
        wants_commit(db);
    if (db->watch.on_held && was_held != (db->held_rc < 0))
        db->watch.on_held(db->watch.user, db->held_rc);
}

int nsdb_go_on(struct nsdb *db)
{
    if (db->held_rc == 0 || db->is_running_again)
        return 0;
    if (clock_boottime_ms() - db->held_ms >= HELD_MS)
        run_again(db);
    return db->held_rc < 0 ? -EIO : 0;
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

int nsdb_commit_now(struct nsdb *db)
{
    static const char commit[] = "COMMIT";
    static const char rollback[] = "ROLLBACK";
    int rc = put_redo_last(db);

    if (rc == 0)
        rc = nsdb_run_word(db, commit);
    if (rc < 0) {
        ignored(nsdb_run_word(db, rollback)); /* SQLite may have rolled back by itself */
        nsdb_tell_undo(db);
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
        rc = nsdb_commit_now(db);
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
    rc = nsdb_go_on(db);
    if (rc == 0 && db->is_pending && !db->is_tx && redo_send(db->redo) < 0)
        rc = nsdb_commit_now(db);
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
        ignored(nsdb_run_word(db, rollback));  /* SQLite may have rolled back by itself */
        db->is_open = false;
        db->is_pending = false;
        if (has_changes)
            nsdb_tell_undo(db);
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
        ignored(nsdb_commit_now(db)); /* what is in the redo log is tried again */
    is_left = db->is_pending;
    nsdb_unlock(db);
    return is_left;
}

void *nsdb_committer_main(void *arg)
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

/* One statement of the log, or the beginning of a record. */
static int run_redo(void *user, const char *sql, const struct redo_param *params, size_t count)
{
    static const char next[] = "RELEASE r; SAVEPOINT r";
    struct nsdb *db = user;
    sqlite3_stmt *st = NULL;
    int rc;

    if (!sql)
        return nsdb_exec(db, next);
    if (!nsdb_is_change(sql))
        return PHR_E_FORMAT;
    rc = sqlite3_prepare_v2(db->db, sql, -1, &st, NULL);
    if (rc == SQLITE_ERROR)
        return PHR_E_FORMAT; /* a table or column of another version */
    for (size_t i = 0; rc == SQLITE_OK && i < count; i++)
        rc = bind_param(st, (int)i + 1, &params[i]);
    while (rc == SQLITE_OK || rc == SQLITE_ROW)
        rc = sqlite3_step(st);
    sqlite3_finalize(st);
    return nsdb_reason(rc);
}

/*
 * All of the log, in a transaction that stays open: none of it where there is no place on the disk, or where
 * it does not lead to this record.
 */
static int replay(struct nsdb *db, uint64_t at_least, bool *out_is_stuck)
{
    static const char begin[] = "BEGIN IMMEDIATE; SAVEPOINT r";
    static const char end[] = "RELEASE r";
    static const char undo[] = "ROLLBACK TO r; RELEASE r";
    static const char rollback[] = "ROLLBACK";
    uint64_t last = 0;
    int rc = nsdb_meta_get_u64(db, "redo_last", &last);

    *out_is_stuck = false;

    if (rc == 0 || rc == -ENOENT)
        rc = nsdb_exec(db, begin);
    if (rc < 0)
        return rc;
    db->is_open = true;
    rc = redo_replay(db->redo, run_redo, db, &last);
    if (rc == 0) {
        rc = nsdb_exec(db, end);
    } else if (rc != -ENOSPC && rc != -ENOMEM && rc != -EIO) {
        rc = nsdb_exec(db, undo); /* a record that has no meaning here: those before it count */
        *out_is_stuck = true;
    }
    if (rc == 0 && last < at_least)
        rc = PHR_E_FORMAT;
    if (rc < 0) {
        ignored(nsdb_exec(db, rollback)); /* SQLite may have rolled back by itself */
        db->is_open = false;
        return rc;
    }
    if (last > redo_last(db->redo))
        redo_restart(db->redo, last);
    return 0;
}

int nsdb_load_redo(struct nsdb *db, const char *path)
{
    char redo_path[PATH_MAX];
    bool is_stuck = false;
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
        rc = replay(db, 0, &is_stuck);
    if (rc == 0)
        rc = nsdb_commit_now(db);
    if (rc == 0 && is_stuck) /* REDO-4; after a kill in between the next start comes here again */
        rc = redo_keep_aside(db->redo);
    return rc;
}

unsigned nsdb_kept_logs(struct nsdb *db)
{
    return redo_count_kept(db->redo);
}
