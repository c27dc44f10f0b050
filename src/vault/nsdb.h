/*
 * namespace.db: the one door to SQLite for the vault (S-3). Rows are sealed before they come
 * here; plain columns hold ids, versions, locations and states only (STORAGE 1, 3).
 *
 * One connection reads and writes (nsdb_begin takes its mutex, nsdb_commit or nsdb_rollback gives
 * it back), one copies the log. What is committed survives a kill; a power cut, after nsdb_sync.
 */
#ifndef PHR_VAULT_NSDB_H
#define PHR_VAULT_NSDB_H

#include "base/cursor.h"
#include "base/scope.h"
#include "format/row.h"

struct nsdb;
struct id16;

/* namespace.db below dir_fd's path; made when missing. Starts the committer and the checkpointer. */
int nsdb_open(const char *path, struct nsdb **out_db) PHR_MUST_CHECK;
void nsdb_close(struct nsdb *db); /* commits, checkpoints; NULL is fine */
/*
 * The names lock: recursive, guards the writer connection and all names-side state of the
 * vault (vault/README.md). Held by a transaction and by every statement.
 */
void nsdb_lock(struct nsdb *db);
void nsdb_unlock(struct nsdb *db);

int nsdb_begin(struct nsdb *db) PHR_MUST_CHECK;
int nsdb_commit(struct nsdb *db) PHR_MUST_CHECK;
void nsdb_rollback(struct nsdb *db);
/* create, setattr: a kill may take it for at most 5 ms (STORAGE 3). */
void nsdb_commit_soon(struct nsdb *db);
/* No longer: for a close(), after which a kill may take nothing (P5). */
int nsdb_commit_riders(struct nsdb *db) PHR_MUST_CHECK;
/* A transaction is open on this thread (the names lock is held). */
bool nsdb_is_in_tx(const struct nsdb *db);
/* The WAL is on disk: everything committed before the call survives a power cut. Shared by ticket. */
int nsdb_sync(struct nsdb *db) PHR_MUST_CHECK;

/*
 * Told of each change of a row of names, under the names lock, so that what others keep of it in
 * memory goes: an inode; an inode that has no name any more and else stays as it was; a name of child came or went (parent: of a directory, else NULL); names
 * went or moved; the header of a file; a transaction that was undone (all may be different from what was seen);
 * that everything is refused since what was acknowledged cannot be run again (reason < 0), and that it could (0).
 */
struct nsdb_watch {
    void *user;
    void (*on_inode)(void *user, uint64_t nodeid);
    void (*on_gone)(void *user, uint64_t nodeid);
    void (*on_name)(void *user, const struct id16 *parent, const struct id16 *child);
    void (*on_names)(void *user);
    void (*on_header)(void *user, const struct id16 *file);
    void (*on_undo)(void *user);
    void (*on_held)(void *user, int reason);
};
/* All members, or none. */
void nsdb_set_watch(struct nsdb *db, const struct nsdb_watch *watch);

/* ---- contents: owned by vault/content*.c ---- */
enum content_state {
    CONTENT_CLEAN = 0,   /* equals the seal `content_version` that the ledger holds */
    CONTENT_DIRTY = 1,   /* changed since */
    CONTENT_SEALED = 2   /* a seal op is in the outbox, the ledger has it not yet */
};
struct content_row {
    uint64_t nodeid;
    struct id16 file;
    uint64_t size;
    struct row_time mtime;
    uint64_t blocks_512;
    uint64_t content_version; /* newest seal made or applied here */
    enum content_state state;
    bool is_durable;          /* cur was fdatasynced (STORAGE 2) */
    struct id16 boot_id;      /* of the last change; zero when durable */
    struct id16 writer;       /* who had it open for writing last */
    uint64_t changed_ms;      /* CLOCK_REALTIME of the last close after a change */
    struct view locs;         /* content's own encoding of cur and base; borrowed on get */
};
/* get: -ENOENT. keep: an initialised writer that holds locs' bytes. Reads see the open transaction. */
int nsdb_content_get(struct nsdb *db, uint64_t nodeid, struct writer *keep, struct content_row *out_row) PHR_MUST_CHECK;
int nsdb_content_put(struct nsdb *db, const struct content_row *row) PHR_MUST_CHECK; /* in a transaction */
int nsdb_content_delete(struct nsdb *db, uint64_t nodeid) PHR_MUST_CHECK;            /* in a transaction */
/* All rows with state != CLEAN or not durable (partial index); stops at on_row's first non-zero. There may
   be millions, and the names lock is held: nothing but a start that has no other way goes through all. */
int nsdb_content_each_dirty(struct nsdb *db, int (*on_row)(void *user, const struct content_row *row),
                            void *user) PHR_MUST_CHECK;
/* The same rows a page at a time, by node behind `after`: fewer than room are the last. */
struct dirty_row {
    uint64_t nodeid;
    enum content_state state;
    uint64_t changed_ms;
    struct id16 writer;
};
int nsdb_content_list_dirty(struct nsdb *db, uint64_t after, struct dirty_row *out_rows, size_t room,
                            size_t *out_n) PHR_MUST_CHECK;
/* Of rows in the state DIRTY; in looking it goes no further than `most` rows that are not clean. */
int nsdb_content_count_dirty(struct nsdb *db, uint32_t most, uint32_t *out_count) PHR_MUST_CHECK;
/* Every row, for check, in node order from `after`. */
int nsdb_content_each(struct nsdb *db, uint64_t after,
                      int (*on_row)(void *user, const struct content_row *row), void *user) PHR_MUST_CHECK;
/* Objects of seals that the store has not confirmed yet. */
struct object_row {
    struct digest object_id;
    struct id16 patient;
    uint64_t nodeid;
    uint64_t op_rowid;  /* the seal op in the outbox that waits for it */
    uint64_t container;
    uint64_t offset;
    uint64_t len;
};
int nsdb_object_put(struct nsdb *db, const struct object_row *row) PHR_MUST_CHECK;
int nsdb_object_delete(struct nsdb *db, const struct digest *object_id, uint64_t op_rowid) PHR_MUST_CHECK;
int nsdb_object_each(struct nsdb *db, int (*on_row)(void *user, const struct object_row *row), void *user) PHR_MUST_CHECK;
/* A page in the order of ops, behind `after`; its views and numbers only. */
int nsdb_object_list(struct nsdb *db, const struct object_row *after, struct object_row *out_rows, size_t room,
                     size_t *out_n) PHR_MUST_CHECK;
/* Of all of them, no more than `most`. */
int nsdb_object_count_all(struct nsdb *db, uint32_t most, uint32_t *out_count) PHR_MUST_CHECK;
/* How many objects this op still waits for. */
int nsdb_object_count(struct nsdb *db, uint64_t op_rowid, uint32_t *out_count) PHR_MUST_CHECK;
/* Small facts: next container number, clean mark, boot id... */
int nsdb_meta_get_u64(struct nsdb *db, const char *key, uint64_t *out_value) PHR_MUST_CHECK; /* -ENOENT */
int nsdb_meta_put_u64(struct nsdb *db, const char *key, uint64_t value) PHR_MUST_CHECK;
/* In a transaction that puts rows: they name no container from `next` on (RECOVER-4). */
int nsdb_container_promise(struct nsdb *db, uint64_t next) PHR_MUST_CHECK;
int nsdb_container_settle(struct nsdb *db, uint64_t next) PHR_MUST_CHECK; /* the same, exactly: at a clean end */
/* No row names a container from here on; -ENOENT: nobody ever promised. */
int nsdb_container_bound(struct nsdb *db, uint64_t *out_bound) PHR_MUST_CHECK;

SCOPED_HANDLE(struct nsdb, nsdb_close)

/* Logs of acknowledged transactions that a start could not run and kept aside (REDO-4). */
unsigned nsdb_kept_logs(struct nsdb *db);

#endif
