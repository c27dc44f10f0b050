/*
 * What a check has found so far, and how far it came: rows, so that a check that was interrupted
 * goes on where it was, in the next process too.
 */
#ifndef PHR_VAULT_NSDB_DAMAGE_H
#define PHR_VAULT_NSDB_DAMAGE_H

#include "vault/nsdb_sql.h"

enum damage_what {
    DAMAGE_BLOCKS = 1, /* of a file; count blocks from first on */
    DAMAGE_FOOTER = 2, /* behind the segment that begins with block first */
    DAMAGE_HEADER = 3,
    DAMAGE_ROW = 4,    /* the inode */
    DAMAGE_NAME = 5,   /* an entry of this directory; first: its cookie */
    DAMAGE_OBJECT = 6, /* on its way to the object store */
    DAMAGE_LEDGER = 7, /* against the pin of an identity; nodeid: of the patient's folder, or 0 */
    DAMAGE_DATABASE = 8
};
struct damage_row {
    uint64_t nodeid;
    enum damage_what what;
    uint64_t first;
    uint64_t count;
    int reason;
    bool is_repaired;
};
struct damage_cursor {
    uint64_t after; /* nodes up to this one were looked at */
    uint64_t done;
    uint64_t started_ms; /* CLOCK_REALTIME */
};
/* The table is there; is_new: and empty, and the cursor gone. In a transaction. */
int nsdb_damage_begin(struct nsdb *db, bool is_new) PHR_MUST_CHECK;
/* -ENOENT: no check was interrupted. */
int nsdb_damage_get_cursor(struct nsdb *db, struct damage_cursor *out_cursor) PHR_MUST_CHECK;
int nsdb_damage_put_cursor(struct nsdb *db, const struct damage_cursor *cursor) PHR_MUST_CHECK; /* in a transaction */
int nsdb_damage_end(struct nsdb *db) PHR_MUST_CHECK;                                             /* in a transaction */
/* Joins a run of blocks that it continues. In a transaction. */
int nsdb_damage_put(struct nsdb *db, const struct damage_row *row) PHR_MUST_CHECK;
/* Up to room rows after (nodeid, what, first); in that order. */
int nsdb_damage_list(struct nsdb *db, const struct damage_row *after, struct damage_row *out_rows,
                     size_t room, size_t *out_n) PHR_MUST_CHECK;
/* Nodes by number, and how many there are. */
int nsdb_damage_nodes(struct nsdb *db, uint64_t after, uint64_t *out_nodeids, size_t room,
                      size_t *out_n) PHR_MUST_CHECK;
int nsdb_damage_count_nodes(struct nsdb *db, uint64_t *out_n) PHR_MUST_CHECK;
/* SQLite's own check, table by table; 0: nothing is wrong with table `place`, -ENOENT: no more. */
int nsdb_damage_table(struct nsdb *db, size_t place) PHR_MUST_CHECK;

#endif
