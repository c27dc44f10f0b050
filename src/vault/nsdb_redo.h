/*
 * The redo log: what a kill would take out of SQLite's open transaction. Statements and their
 * values, in records; read back at the next start of the same boot. Knows no SQLite. The caller's lock.
 */
#ifndef PHR_VAULT_NSDB_REDO_H
#define PHR_VAULT_NSDB_REDO_H

#include "phr/err.h"

#include "base/cursor.h"
#include "base/scope.h"

enum { REDO_PARAMS_MAX = 16, REDO_LOG_BYTES_MAX = 2 * 1024 * 1024 };

enum redo_type { REDO_NULL, REDO_NUMBER, REDO_BLOB, REDO_TEXT };
struct redo_param {
    enum redo_type type;
    const uint8_t *p; /* borrowed */
    uint64_t n;       /* the number, or how many bytes */
};
/* Of each statement, kept with it, zero at first. */
struct redo_name {
    uint64_t turn;
    uint16_t id;
};

struct redo;
/* db_id: of this database; a log of another, or of another boot, has no meaning. */
int redo_open(const char *path, uint64_t db_id, struct redo **out_redo) PHR_MUST_CHECK;
void redo_close(struct redo *r); /* NULL is fine */
/*
 * Every whole record above *io_last (what the database has), in order, which rises to the last that
 * was run. run is told of each beginning (sql NULL: all before is whole), and of each statement; what
 * it answers below zero ends the replay and is returned.
 */
typedef int redo_run(void *user, const char *sql, const struct redo_param *params, size_t count);
int redo_replay(struct redo *r, redo_run *run, void *user, uint64_t *io_last) PHR_MUST_CHECK;

/*
 * The log as it is goes aside, to FILE-kept-1..REDO_KEPT_MAX, durably, and an empty one takes its place.
 * PHR_E_LIMIT: all of these are taken, and none is overwritten.
 */
enum { REDO_KEPT_MAX = 16 };
int redo_keep_aside(struct redo *r) PHR_MUST_CHECK;
unsigned redo_count_kept(const struct redo *r); /* those that are there now */

/* A statement was run in the open transaction. */
void redo_note(struct redo *r, struct redo_name *name, const char *sql, const struct redo_param *params,
               size_t count);
size_t redo_mark(const struct redo *r);
void redo_undo(struct redo *r, size_t mark); /* what was noted since then was undone; nothing lacked then */
/* True while there is something noted that redo_send has not written. */
bool redo_has_unsent(const struct redo *r);
/* Writes it: it survives a kill. PHR_E_LIMIT and others: only a commit helps. */
int redo_send(struct redo *r) PHR_MUST_CHECK;
uint64_t redo_last(const struct redo *r); /* the last record that was sent */
/* Time for a commit: the log is long, or could not be written. */
bool redo_is_full(const struct redo *r);
/* What was noted and not sent was undone with the whole transaction. */
void redo_drop_unsent(struct redo *r);
/* All that was noted is committed, with redo_last: the log begins anew behind last. */
void redo_restart(struct redo *r, uint64_t last);

SCOPED_HANDLE(struct redo, redo_close)

#endif
