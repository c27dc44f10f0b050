/*
 * SQLite's log of namespace.db: synced outside the names lock, one sync for all who wait (NSDB-3), and copied
 * into the database while commits go on.
 */
#include "vault/nsdb_inside.h"

#include <time.h>

#include "base/checked.h"

enum {
    CHECKPOINT_FRAMES = 16384, /* 32 MiB: a page that many commits change is copied once */
    CHECKPOINT_REST_FRAMES = 2048,
    LOG_FRAMES_LONG = 65536, /* 128 MiB */
    CHECKPOINT_PERIOD_MS = 500
};

int nsdb_on_wal(void *arg, sqlite3 *unused, const char *name, int frames)
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
    if (rest <= CHECKPOINT_REST_FRAMES && (!db->is_pending || nsdb_commit_now(db) == 0))
        sqlite3_wal_checkpoint_v2(db->checkpoint_db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    nsdb_unlock(db);
}

void *nsdb_checkpointer_main(void *arg)
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
    return nsdb_reason(wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY));
}

int nsdb_sync(struct nsdb *db)
{
    uint64_t want;
    int rc = 0;

    nsdb_lock(db);
    rc = nsdb_go_on(db);
    if (rc == 0 && db->is_pending && !db->is_tx)
        rc = nsdb_commit_now(db);
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
