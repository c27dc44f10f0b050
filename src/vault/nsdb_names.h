/*
 * Inodes, dentries, headers as the mount's users see them, and what the ledger says where that
 * differs. A row's `conf` is the version that the ledger holds (0: none yet).
 *
 *   conf == version           the row is the ledger's
 *   conf == 0                 made here, not in the ledger yet
 *   0 < conf < version        changed here; `shadow` holds the ledger's image
 *   no row, but a shadow      removed here; the shadow's version is the ledger's, 0 = none yet
 */
#ifndef PHR_VAULT_NSDB_NAMES_H
#define PHR_VAULT_NSDB_NAMES_H

#include "crypto/pre.h"
#include "vault/nsdb_sql.h"

enum node_kind { NODE_BELOW = 0, NODE_CLASS = 1, NODE_PATIENT = 2, NODE_ROOT = 3 };

struct name_inode {
    uint64_t nodeid; /* 0 on insert: the next number, never reused */
    struct id16 ino;
    struct id16 class_id; /* of a patient's directory: zero */
    enum node_kind kind;
    uint32_t epoch; /* whose names key sealed it */
    uint64_t version;
    uint64_t conf;
    struct id16 writer; /* of the change that is not confirmed */
    bool is_gone;       /* has no name any more, but is still open or known to the kernel */
    bool is_forgotten;  /* and the kernel has forgotten it: goes with the last handle */
    bool is_dirty;      /* changed without an op yet: the worker signs a batch */
    struct view sealed;
};
/*
 * Readers leave the statement open on success, and views borrow from it: nsdb_end. -ENOENT.
 */
int nsdb_inode_get(struct nsdb *db, uint64_t nodeid, struct nsdb_stmt *s, struct name_inode *out_row) PHR_MUST_CHECK;
int nsdb_inode_find(struct nsdb *db, const struct id16 *ino, struct nsdb_stmt *s,
                    struct name_inode *out_row) PHR_MUST_CHECK;
int nsdb_inode_insert(struct nsdb *db, struct name_inode *io_row) PHR_MUST_CHECK;
int nsdb_inode_update(struct nsdb *db, const struct name_inode *row) PHR_MUST_CHECK;
/* The ledger holds this version now; the rest of the row stays. */
int nsdb_inode_confirm(struct nsdb *db, uint64_t nodeid, uint64_t conf) PHR_MUST_CHECK;
int nsdb_inode_mark_gone(struct nsdb *db, uint64_t nodeid) PHR_MUST_CHECK;
int nsdb_inode_mark_forgotten(struct nsdb *db, uint64_t nodeid) PHR_MUST_CHECK;
int nsdb_inode_delete(struct nsdb *db, uint64_t nodeid) PHR_MUST_CHECK;
/* The same inode under a new, never used number. */
int nsdb_inode_renumber(struct nsdb *db, uint64_t nodeid, uint64_t *out_nodeid) PHR_MUST_CHECK;
/* Up to room numbers; gone: without a name, dirty: without an op. */
int nsdb_inode_list_gone(struct nsdb *db, uint64_t *out_nodeids, size_t room, size_t *out_n) PHR_MUST_CHECK;
/* Those behind this node, in rising order. */
int nsdb_inode_list_dirty(struct nsdb *db, uint64_t after, uint64_t *out_nodeids, size_t room,
                          size_t *out_n) PHR_MUST_CHECK;
int nsdb_inode_list_class(struct nsdb *db, const struct id16 *class_id, uint64_t after,
                          uint64_t *out_nodeids, size_t room, size_t *out_n) PHR_MUST_CHECK;

struct name_dentry {
    uint64_t cookie; /* 0 on insert */
    struct id16 row;
    struct id16 parent;
    struct id16 tag;
    struct id16 class_id;
    uint32_t epoch;
    uint64_t version;
    uint64_t conf;
    struct id16 writer;
    bool is_opened; /* child and dtype are known */
    struct id16 child;
    uint8_t dtype;
    struct view sealed;
};
int nsdb_dentry_get(struct nsdb *db, const struct id16 *row, struct nsdb_stmt *s,
                    struct name_dentry *out_row) PHR_MUST_CHECK;
int nsdb_dentry_find(struct nsdb *db, const struct id16 *parent, const struct id16 *tag,
                     struct nsdb_stmt *s, struct name_dentry *out_row) PHR_MUST_CHECK;
/* Any name of this inode (a directory has one). */
int nsdb_dentry_of(struct nsdb *db, const struct id16 *child, struct nsdb_stmt *s,
                   struct name_dentry *out_row) PHR_MUST_CHECK;
/* Rows of a directory after a cookie, in order; step with nsdb_dentry_next until 0, then nsdb_end. */
void nsdb_dentry_scan(struct nsdb *db, const struct id16 *parent, uint64_t after, struct nsdb_stmt *s);
void nsdb_dentry_scan_unopened(struct nsdb *db, const struct id16 *class_id, struct nsdb_stmt *s);
int nsdb_dentry_next(struct nsdb_stmt *s, struct name_dentry *out_row) PHR_MUST_CHECK;
int nsdb_dentry_insert(struct nsdb *db, struct name_dentry *io_row) PHR_MUST_CHECK;
int nsdb_dentry_update(struct nsdb *db, const struct name_dentry *row) PHR_MUST_CHECK;
int nsdb_dentry_confirm(struct nsdb *db, const struct id16 *row, uint64_t conf) PHR_MUST_CHECK;
int nsdb_dentry_set_child(struct nsdb *db, const struct id16 *row, const struct id16 *child,
                          uint8_t dtype) PHR_MUST_CHECK;
int nsdb_dentry_delete(struct nsdb *db, const struct id16 *row) PHR_MUST_CHECK;
/* A row as it is in the table: its place and name are known. */
int nsdb_dentry_remove(struct nsdb *db, const struct name_dentry *row) PHR_MUST_CHECK;
int nsdb_dentry_count_links(struct nsdb *db, const struct id16 *child, uint32_t *out_n) PHR_MUST_CHECK;
int nsdb_dentry_count_dirs(struct nsdb *db, const struct id16 *parent, uint32_t *out_n) PHR_MUST_CHECK;
int nsdb_dentry_is_empty(struct nsdb *db, const struct id16 *parent, bool *out_empty) PHR_MUST_CHECK;

struct name_header {
    struct id16 file;
    struct id16 class_id;
    uint32_t epoch;
    uint32_t hdr_gen;
    uint32_t conf; /* hdr_gen that the ledger holds */
    struct id16 writer;
    struct id16 fk_user; /* zero: no local copy of the keys */
    struct view fk_box;
    struct view bytes;
};
int nsdb_header_get(struct nsdb *db, const struct id16 *file, struct nsdb_stmt *s,
                    struct name_header *out_row) PHR_MUST_CHECK;
int nsdb_header_put(struct nsdb *db, const struct name_header *row) PHR_MUST_CHECK;
int nsdb_header_confirm(struct nsdb *db, const struct id16 *file, uint32_t conf) PHR_MUST_CHECK;
int nsdb_header_set_box(struct nsdb *db, const struct id16 *file, const struct id16 *user,
                        struct view box) PHR_MUST_CHECK;
int nsdb_header_delete(struct nsdb *db, const struct id16 *file) PHR_MUST_CHECK;

/* The newest seal that the ledger holds of a file. */
int nsdb_seal_get(struct nsdb *db, const struct id16 *file, uint64_t *out_version) PHR_MUST_CHECK;
int nsdb_seal_put(struct nsdb *db, const struct class_ctx *ctx, const struct id16 *file,
                  uint64_t version, struct view bytes) PHR_MUST_CHECK;
/* The change as it was applied; the view borrows from the statement. */
int nsdb_seal_load(struct nsdb *db, const struct id16 *file, struct nsdb_stmt *s,
                   struct view *out_bytes) PHR_MUST_CHECK;
int nsdb_seal_delete(struct nsdb *db, const struct id16 *file) PHR_MUST_CHECK;

/* Contents that were changed here while another host sealed the file: to be kept as a copy. */
struct conflict_row {
    uint64_t nodeid; /* retired: its contents, with the file's old keys */
    struct id16 file;
    struct id16 class_id;
    struct id16 writer;
};
int nsdb_conflict_put(struct nsdb *db, const struct conflict_row *row) PHR_MUST_CHECK;
int nsdb_conflict_next(struct nsdb *db, uint64_t after, struct conflict_row *out_row) PHR_MUST_CHECK; /* -ENOENT */
int nsdb_conflict_has(struct nsdb *db, uint64_t nodeid, bool *out_has) PHR_MUST_CHECK;
int nsdb_conflict_delete(struct nsdb *db, uint64_t nodeid) PHR_MUST_CHECK;
int nsdb_conflict_has_file(struct nsdb *db, const struct id16 *file, bool *out_has) PHR_MUST_CHECK;
/* Keys of a retired number's contents that the file's header does not hold (REBASE-5). */
struct conflict_keys {
    struct id16 user; /* under whose local key box is */
    struct view header;
    struct view box;
};
int nsdb_conflict_put_keys(struct nsdb *db, uint64_t nodeid, const struct conflict_keys *keys) PHR_MUST_CHECK;
/* To all waiting copies of this file that have none. */
int nsdb_conflict_put_keys_of(struct nsdb *db, const struct id16 *file,
                              const struct conflict_keys *keys) PHR_MUST_CHECK;
/* -ENOENT; the views borrow from the statement. */
int nsdb_conflict_get_keys(struct nsdb *db, uint64_t nodeid, struct nsdb_stmt *s,
                           struct conflict_keys *out_keys) PHR_MUST_CHECK;

enum shadow_kind { SHADOW_DENTRY = 1, SHADOW_INODE = 2, SHADOW_HEADER = 3 };
struct shadow_row {
    enum shadow_kind kind;
    struct id16 id; /* row16, ino16, file16 */
    struct id16 class_id;
    uint32_t epoch;
    uint64_t version; /* the ledger's now; 0 = not there */
    uint64_t base;    /* the ledger's when it was changed here */
    bool has_name;    /* dentries with version > 0: parent and tag */
    struct id16 parent;
    struct id16 tag;
    struct id16 writer; /* who changed it here */
    struct view bytes;  /* encoded dentry_row, inode_row, or header */
};
int nsdb_shadow_get(struct nsdb *db, enum shadow_kind kind, const struct id16 *id,
                    struct nsdb_stmt *s, struct shadow_row *out_row) PHR_MUST_CHECK;
int nsdb_shadow_find_name(struct nsdb *db, const struct id16 *parent, const struct id16 *tag,
                          struct id16 *out_row) PHR_MUST_CHECK;
int nsdb_shadow_put(struct nsdb *db, const struct shadow_row *row) PHR_MUST_CHECK;
int nsdb_shadow_delete(struct nsdb *db, enum shadow_kind kind, const struct id16 *id) PHR_MUST_CHECK;

/* A local change that was taken back for a rebase and has not been made anew yet. */
struct parked_row {
    enum shadow_kind kind;
    struct id16 id;
    struct id16 class_id;
    uint32_t epoch;  /* whose names key sealed bytes */
    uint64_t base;   /* the ledger's version when it was changed here; 0 = new */
    uint64_t number; /* nodeid or cookie, kept */
    struct id16 writer;
    bool is_removed;
    struct id16 fk_user;
    struct view fk_box;
    struct view bytes; /* as in shadow_row; empty when removed */
};
int nsdb_parked_put(struct nsdb *db, const struct parked_row *row) PHR_MUST_CHECK;
/* The row, where it is parked, was made on this base (of row: kind, id, base), whoever wrote which of the two. */
int nsdb_parked_set_base(struct nsdb *db, const struct parked_row *row, bool *io_any) PHR_MUST_CHECK;
/* Removals of rows that the ledger never had, once no op of this host that made them can be taken (REBASE-4). */
int nsdb_parked_forget(struct nsdb *db, const struct id16 *patient, const struct id16 *host) PHR_MUST_CHECK;
int nsdb_parked_has(struct nsdb *db, enum shadow_kind kind, const struct id16 *id, bool *out_has) PHR_MUST_CHECK;
int nsdb_parked_delete(struct nsdb *db, enum shadow_kind kind, const struct id16 *id) PHR_MUST_CHECK;
/* Removals first (names before nodes), then headers, inodes, names. */
void nsdb_parked_scan(struct nsdb *db, const struct id16 *class_id, struct nsdb_stmt *s);
int nsdb_parked_next(struct nsdb_stmt *s, struct parked_row *out_row) PHR_MUST_CHECK;
/* What waits to be made anew: not those removals. */
int nsdb_parked_count(struct nsdb *db, uint32_t *out_n) PHR_MUST_CHECK;
/* Appends the 16-byte ids of all rows of a class that differ from the ledger. */
int nsdb_local_list(struct nsdb *db, const struct id16 *class_id, enum shadow_kind kind,
                    struct writer *out_ids) PHR_MUST_CHECK;

#endif
