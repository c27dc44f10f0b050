/*
 * What the files of namespace.db's one door share: nsdb.c opens, nsdb_sql.c runs statements, nsdb_commit.c
 * acknowledges and commits, nsdb_sync.c brings the log to the disk and into the database.
 */
#ifndef PHR_VAULT_NSDB_INSIDE_H
#define PHR_VAULT_NSDB_INSIDE_H

#include <pthread.h>
#include <sqlite3.h>

#include "vault/nsdb_sql.h"

enum { STMT_SLOTS = 512 /* a power of two, well above the number of statements */ };

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
    int held_rc;          /* lock: 0, or why what was acknowledged could not be run again (NSDB-4) */
    uint64_t held_ms;     /* lock: when that was tried last */
    bool is_running_again; /* lock */
    struct {
        uint64_t next;
        uint64_t bound; /* in the database: no number from here on was ever given */
    } numbers[NSDB_NUMBERS]; /* lock */
    uint64_t container_bound; /* lock: as in the database; 0: not known to be there */
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

/* ---- nsdb.c ---- */
int nsdb_reason(int sqlite_rc) PHR_MUST_CHECK; /* of a result of SQLite's: 0 or one of ours */
int nsdb_exec(struct nsdb *db, const char *sql) PHR_MUST_CHECK;
/* lock held: a transaction was undone, and with it all that was seen of it. */
void nsdb_tell_undo(struct nsdb *db);

/* ---- nsdb_sql.c ---- */
/* A statement without parameters that is no change of rows, cached: these are on the path of every create. */
int nsdb_run_word(struct nsdb *db, const char *sql) PHR_MUST_CHECK;
bool nsdb_is_change(const char *sql); /* of rows: it goes into the redo log */

/* ---- nsdb_commit.c ---- */
int nsdb_load_redo(struct nsdb *db, const char *path) PHR_MUST_CHECK; /* runs again what a kill left there */
/* lock held, nsdb_begin not called: SQLite's own commit of all that was acknowledged. */
int nsdb_commit_now(struct nsdb *db) PHR_MUST_CHECK;
/* lock held: 0, or -EIO while something acknowledged is in the redo log alone (NSDB-4). */
int nsdb_go_on(struct nsdb *db) PHR_MUST_CHECK;
void *nsdb_committer_main(void *arg); /* a thread, until is_stopping */

/* ---- nsdb_sync.c ---- */
int nsdb_on_wal(void *arg, sqlite3 *db, const char *name, int frames); /* SQLite calls it behind each commit */
void *nsdb_checkpointer_main(void *arg); /* a thread, until is_stopping */

#endif
