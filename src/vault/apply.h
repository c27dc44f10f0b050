/* Ledger entries into namespace.db: verified whole, or nothing. Names lock not held on entry. */
#ifndef PHR_VAULT_APPLY_H
#define PHR_VAULT_APPLY_H

#include "vault/vault_state.h"

/* An object that an entry needs, as it was fetched; bytes borrowed. */
struct apply_object {
    struct digest id;
    struct view bytes; /* n 0: not fetched */
};
/*
 * One entry: skipped when it is at or below the head and the same, PHR_E_FORK when it contradicts.
 * PHR_E_PENDING: io_object->id names the object to fetch; then call again.
 */
int apply_entry(struct vault *v, struct view entry, struct apply_object *io_object) PHR_MUST_CHECK;
/* After entries were applied: identities follow, readers are cut off, names are told. */
void apply_settle(struct vault *v);

/* The confirmed side of namespace.db, within the caller's transaction (apply_rows.c, apply_state.c). */
struct apply {
    struct vault *v;
    struct apply_object *object;
    struct writer own_seals; /* file16s of seals that were made here */
    bool has_rights_changed; /* cards, classes, grants */
    bool is_unwound;         /* local changes were taken back for this entry */
    bool has_advanced;       /* parked changes have another base now */
    struct writer gone;      /* LE64 node ids that lost their last name elsewhere */
};
void apply_state_init(struct apply *a, struct ledger_state *out_state);
int apply_put_header(void *user, const struct file_ctx *ctx, const struct digest *hash, struct view bytes) PHR_MUST_CHECK;
int apply_put_dentry(void *user, const struct class_ctx *ctx, struct view row_bytes) PHR_MUST_CHECK;
int apply_put_inode(void *user, const struct class_ctx *ctx, struct view row_bytes) PHR_MUST_CHECK;
int apply_put_remove(void *user, const struct class_ctx *ctx, const struct id16 *row) PHR_MUST_CHECK;
int apply_put_seal(void *user, const struct class_ctx *ctx, const struct seal_change *seal) PHR_MUST_CHECK;
int apply_put_epoch_rows(void *user, const struct class_ctx *ctx, const struct digest *object_id) PHR_MUST_CHECK;

#endif
