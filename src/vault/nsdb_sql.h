/*
 * Statements of namespace.db for the nsdb_*.c files, without SQLite's own header (nsdb_inside.h
 * is its one door). A statement holds the names lock from nsdb_query to nsdb_end.
 */
#ifndef PHR_VAULT_NSDB_SQL_H
#define PHR_VAULT_NSDB_SQL_H

#include "vault/nsdb.h"
#include "vault/nsdb_redo.h"

enum { NSDB_STMT_IDS = 8 };

/* Not to be copied or moved between nsdb_query and nsdb_end. */
struct nsdb_stmt {
    struct nsdb *db;
    void *st;
    struct stmt_slot *slot; /* of its text */
    bool is_cached; /* else a temporary one: the cached was in use */
    bool is_noted;  /* for the redo log, if it changes anything */
    int at;       /* last parameter bound */
    int rc;       /* first failure of prepare or bind */
    size_t id_count;
    struct id16 ids[NSDB_STMT_IDS]; /* bound: SQLite needs no copies of its own */
    struct redo_param params[REDO_PARAMS_MAX]; /* what is bound */
};

/*
 * sql must be a string with static storage: statements are cached by its address. What is bound
 * stays as it is until the first step (of views: until nsdb_end).
 */
struct stmt_slot;
void nsdb_query(struct nsdb *db, const char *sql, struct nsdb_stmt *out_stmt);
/* The one number that a statement without parameters gives, 0 where it gives no row. */
int nsdb_query_u64(struct nsdb *db, const char *sql, uint64_t *out_value) PHR_MUST_CHECK;
void nsdb_bind_u64(struct nsdb_stmt *s, uint64_t v);
void nsdb_bind_id(struct nsdb_stmt *s, const struct id16 *id); /* NULL binds NULL */
void nsdb_bind_digest(struct nsdb_stmt *s, const struct digest *d);
void nsdb_bind_view(struct nsdb_stmt *s, struct view v); /* borrowed until nsdb_end */
void nsdb_bind_text(struct nsdb_stmt *s, const char *text);
/* 1: a row, 0: no more, negative: a reason. */
int nsdb_step(struct nsdb_stmt *s) PHR_MUST_CHECK;
uint64_t nsdb_col_u64(const struct nsdb_stmt *s, int i);
bool nsdb_col_is_null(const struct nsdb_stmt *s, int i);
struct view nsdb_col_view(const struct nsdb_stmt *s, int i); /* until the next step or end */
/* Zero-filled and false when the column has another length. */
bool nsdb_col_id(const struct nsdb_stmt *s, int i, struct id16 *out_id);
bool nsdb_col_digest(const struct nsdb_stmt *s, int i, struct digest *out_digest);
void nsdb_end(struct nsdb_stmt *s);
/* Step to the end of a statement without rows, and end. */
int nsdb_run(struct nsdb_stmt *s) PHR_MUST_CHECK;
/* All of a statement whose only parameter is this id. */
int nsdb_run_id(struct nsdb *db, const char *sql, const struct id16 *id) PHR_MUST_CHECK;
/* Rows that the last nsdb_run changed; row number of the last insert. */
uint64_t nsdb_changes(struct nsdb *db);
uint64_t nsdb_last_rowid(struct nsdb *db);

/*
 * Numbers that are never used again, not by a later start either: of inodes, places in
 * directories, ops. Taken from memory; the database holds a bound that no number in use reaches,
 * and is asked for the next few thousand at a time, in the caller's transaction.
 */
enum nsdb_number { NSDB_NUMBER_NODE, NSDB_NUMBER_COOKIE, NSDB_NUMBER_OP, NSDB_NUMBERS };
int nsdb_number_next(struct nsdb *db, enum nsdb_number which, uint64_t *out_number) PHR_MUST_CHECK;

/* Who is told of changes of names; NULL: nobody. */
const struct nsdb_watch *nsdb_get_watch(const struct nsdb *db);

#endif
