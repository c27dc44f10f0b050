/*
 * One node as it is loaded and changed: what node*.c build on. Everything here under the names
 * lock. A change is a transaction: rows, the ledger's image of them, audit event, draft of the op (S-2).
 */
#ifndef PHR_VAULT_NAMES_H
#define PHR_VAULT_NAMES_H

#include "format/event.h"
#include "format/op.h"
#include "vault/session.h"

struct node {
    struct name_inode row; /* sealed is not kept */
    struct class_ctx ctx;  /* below a patient: class and epoch of the row */
    const struct row_keys *keys;
    struct inode_attr attr; /* borrows from kept */
    struct kept_node *kept;
};
struct kept_node;
/* -ESTALE: no such node; PHR_E_LOCKED: nobody is logged in who can open it. */
int names_load(struct vault *v, uint64_t nodeid, struct node *out_node) PHR_MUST_CHECK;
int names_load_ino(struct vault *v, const struct id16 *ino, struct node *out_node) PHR_MUST_CHECK;
/* The row alone, sealed not kept. -ENOENT. */
int names_row(struct vault *v, uint64_t nodeid, struct name_inode *out_row) PHR_MUST_CHECK;
int names_row_ino(struct vault *v, const struct id16 *ino, struct name_inode *out_row) PHR_MUST_CHECK;
void names_fini(struct node *n); /* also of a zeroed one */
static inline void names_fini_scope(struct node *n)
{
    names_fini(n);
}
bool names_is_dir(const struct node *n);
/* The dentry of a name in a directory below a patient; opened, its child known. */
int names_find(struct vault *v, const struct node *parent, struct view name, struct name_dentry *out_row) PHR_MUST_CHECK;
/* Opens a row (name, child, type); writes child and type beside it when they were not known yet. */
int names_open_dentry(struct vault *v, struct name_dentry *row, struct dentry *out_dentry) PHR_MUST_CHECK;
/* Child and type of every row of a class that came in while nobody could open it. */
int names_index_class(struct vault *v, const struct id16 *class_id) PHR_MUST_CHECK;

/* Stat of a node but for what only the contents know (regular files): then names_finish_attr. */
int names_fill_attr(struct vault *v, const struct node *n, struct node_attr *out_attr) PHR_MUST_CHECK;
/* Names lock not held. -ENOENT: a file that no host has sealed yet and that is not of this one. */
int names_finish_attr(struct vault *v, struct node_attr *io_attr) PHR_MUST_CHECK;
uint64_t names_st_ino(const struct id16 *ino);
struct row_time names_now(void);

/* ---- a transaction ---- */
struct names_tx {
    struct vault *v;
    struct session *session;
    struct class_key *key;
    const struct who *who;
    struct writer bodies;
    struct {
        enum change_type type;
        size_t at;
        size_t n;
    } items[8];
    size_t count;
};
int names_begin(struct names_tx *tx, struct vault *v, const struct who *who, struct session *s,
                struct class_key *k) PHR_MUST_CHECK;
/* event may be NULL. Drafts the op (if there are changes), commits: at once or within 5 ms. */
int names_commit(struct names_tx *tx, const struct event *event, bool soon) PHR_MUST_CHECK;
void names_rollback(struct names_tx *tx);

int names_new_inode(struct names_tx *tx, const struct id16 *ino, const struct inode_attr *attr,
                    uint64_t *out_nodeid) PHR_MUST_CHECK;
/* An inode that the ledger does not hold yet, sealed anew (another epoch) as version 1, with its change. */
int names_renew_inode(struct names_tx *tx, struct name_inode *row, const struct inode_attr *attr) PHR_MUST_CHECK;
/* row_id: of a dentry that a rebase makes anew; NULL: a new one. */
int names_new_dentry(struct names_tx *tx, const struct id16 *row_id, const struct id16 *parent,
                     const struct dentry *d) PHR_MUST_CHECK;
/* Changes a row: another parent, name or child. */
int names_change_dentry(struct names_tx *tx, struct name_dentry *row, const struct id16 *parent,
                        const struct dentry *d) PHR_MUST_CHECK;
int names_remove_dentry(struct names_tx *tx, const struct name_dentry *row) PHR_MUST_CHECK;
/* The last name is gone. An open file's row stays, marked, until its last handle and lookup are gone. */
int names_remove_inode(struct names_tx *tx, const struct name_inode *row) PHR_MUST_CHECK;
int names_put_header(struct names_tx *tx, const struct key_set *keys) PHR_MUST_CHECK;

/*
 * New attributes of an inode, in the caller's transaction or not: kept at once, signed within
 * two seconds by the worker with others (names_sign_dirty).
 */
int names_set_attr(struct vault *v, struct node *n, const struct inode_attr *attr,
                   const struct id16 *writer) PHR_MUST_CHECK;
/* Ops for attributes that have none yet, of a user (NULL: of all who are logged in). */
int names_sign_dirty(struct vault *v, const struct id16 *user) PHR_MUST_CHECK;
/* The same for so many behind this node that the names lock is not held for long. 1: there may be more. */
int names_sign_some(struct vault *v, const struct id16 *user, uint64_t *io_after) PHR_MUST_CHECK;
/* What rows were made of, for the ledger's image. */
uint64_t names_signed_version(const struct name_inode *row);

/* Deletes a node that has no name: row, keys, contents. -EBUSY: it has one. */
int node_purge(struct vault *v, uint64_t nodeid) PHR_MUST_CHECK;
/* The same of a conflict's number, with the note of the conflict. */
int node_purge_copied(struct vault *v, uint64_t nodeid) PHR_MUST_CHECK;

/* ---- retired numbers (retire.c) ---- */
/*
 * In the caller's transaction: the inode goes on under a new number; what is open keeps the old
 * one, nameless, with its contents and attributes. keeps_changes: the old contents were changed
 * here and become a conflict copy once they are closed.
 */
int retire_node(struct vault *v, uint64_t nodeid, bool keeps_changes, uint64_t *out_nodeid) PHR_MUST_CHECK;
/*
 * In the caller's transaction: what was written here under parked keys that the file's header cannot take
 * (theirs: the keys it holds, NULL: nobody here knows) leaves the file with these keys, and becomes a conflict copy (REBASE-5).
 */
int retire_with_keys(struct vault *v, const struct id16 *patient, const struct parked_row *header,
                     const struct key_set *theirs) PHR_MUST_CHECK;
/*
 * In the caller's transaction, before a nameless row goes: what was written to a retired number after it
 * was retired becomes a conflict copy too. -EALREADY: noted now.
 */
int retire_keep_late(struct vault *v, const struct name_inode *row) PHR_MUST_CHECK;
/* From the worker, names lock not held: conflict copies whose writer is logged in. */
/* Waits for the store where bytes have to be fetched. */
void retire_copy_conflicts(struct vault *v);
/* NAME (conflict HOST DATE TIME).EXT, cut to fit; attempt > 0 adds a number. */
void retire_conflict_name(struct dentry *d, unsigned attempt);

/* ---- times that are not in the rows yet (touch.c) ---- */
enum touch_what { TOUCH_MTIME = 1, TOUCH_CTIME = 2, TOUCH_CONTENT = 4 };
void touch_set(struct vault *v, uint64_t nodeid, unsigned what, const struct id16 *user);
/* Overlays what is pending. */
void touch_apply(struct vault *v, uint64_t nodeid, struct row_time *io_mtime, struct row_time *io_ctime);
void touch_drop(struct vault *v, uint64_t nodeid);
/* Into rows (names_set_attr), all at once: of a user, or of everybody (NULL). */
int touch_flush(struct vault *v, const struct id16 *user) PHR_MUST_CHECK;
/* The same in steps, but files with unsealed content wait; then what changed into ops. The names lock is not held. */
int touch_sign(struct vault *v) PHR_MUST_CHECK;
void touch_close(struct vault *v);

/* ---- from access.c ---- */
int access_right(struct vault *v, const struct who *who, const struct id16 *class_id,
                 enum access_mode mode, struct session **out_session, struct class_key **out_key) PHR_MUST_CHECK;
/* Recorded once per uid and compartment in five seconds. */
void access_denied(struct vault *v, const struct who *who, const struct id16 *class_id, int rc);
/* The same for a patient's directory of which nothing is granted. */
void access_denied_patient(struct vault *v, const struct who *who, const struct id16 *patient);
int access_keys_here(struct vault *v, struct identity *id, const struct name_header *row,
                     const struct header *h, struct key_set **out_keys) PHR_MUST_CHECK;

#endif
