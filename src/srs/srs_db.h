/*
 * srs.db: the one door to SQLite for the SRS, as transactions and statements without SQLite's own
 * header. One thread: the committer's.
 *
 * SRSDB-1  synchronous=FULL and a write-ahead log: when srs_db_commit returns 0 the transaction
 *   survives a power cut; one commit is one sync. When it fails, nothing of it is in the database.
 * SRSDB-2  secure_delete: what is deleted is overwritten.
 */
#ifndef PHR_SRS_SRS_DB_H
#define PHR_SRS_SRS_DB_H

#include "base/scope.h"
#include "phr/err.h"
#include "phr/types.h"

struct srs_db;

/* Makes the tables where there are none. PHR_E_FORMAT: of another version. */
int srs_db_open(int dir_fd, const char *name, struct srs_db **out_db) PHR_MUST_CHECK;
void srs_db_close(struct srs_db *db); /* rolls back what is open; NULL is fine */
SCOPED_HANDLE(struct srs_db, srs_db_close)

int srs_db_begin(struct srs_db *db) PHR_MUST_CHECK;
int srs_db_commit(struct srs_db *db) PHR_MUST_CHECK;
void srs_db_rollback(struct srs_db *db);
/* One level of undo inside the transaction per mark: either keep or undo each. */
int srs_db_mark(struct srs_db *db) PHR_MUST_CHECK;
int srs_db_keep(struct srs_db *db) PHR_MUST_CHECK;
int srs_db_undo(struct srs_db *db) PHR_MUST_CHECK;
/* Rows changed since the database was opened: whether a transaction has anything to commit. */
uint64_t srs_db_changes(const struct srs_db *db);

struct srs_stmt {
    struct srs_db *db;
    void *st;
    int at; /* last parameter bound */
    int rc; /* first failure of prepare or bind */
};
/* sql has static storage: statements are cached by its address, and one is used once at a time. */
struct srs_stmt srs_db_query(struct srs_db *db, const char *sql);
void srs_db_bind_u64(struct srs_stmt *s, uint64_t v);
void srs_db_bind_id(struct srs_stmt *s, const struct id16 *id);
void srs_db_bind_digest(struct srs_stmt *s, const struct digest *d);
void srs_db_bind_view(struct srs_stmt *s, struct view v); /* borrowed until srs_db_end */
/* 1: a row, 0: no more, negative: a reason. */
int srs_db_step(struct srs_stmt *s) PHR_MUST_CHECK;
uint64_t srs_db_col_u64(const struct srs_stmt *s, int i);
struct view srs_db_col_view(const struct srs_stmt *s,
                            int i); /* until the next step or end */
/* Exactly n bytes, else zeros and *io_rc = -EIO: the database is not as we wrote it. */
void srs_db_col_bytes(const struct srs_stmt *s, int i, void *out, size_t n, int *io_rc);
void srs_db_end(struct srs_stmt *s);
static inline void srs_db_end_scope(struct srs_stmt *s)
{
    srs_db_end(s);
}
/* For statements without rows: to the end. */
int srs_db_run(struct srs_stmt *s) PHR_MUST_CHECK;
/* The first row: 0, or -ENOENT. */
int srs_db_first(struct srs_stmt *s) PHR_MUST_CHECK;

#endif
