/* Signed ops on their way to the ledger, pushed by the worker. */
#ifndef PHR_VAULT_OUTBOX_H
#define PHR_VAULT_OUTBOX_H

#include "format/op.h"
#include "vault/nsdb_outbox.h"
#include "vault/session.h"

/* Signs and stores one op of this identity in the caller's transaction. */
int outbox_add(struct vault *v, struct identity *id, const struct class_ctx *ctx, enum op_lane lane,
               enum outbox_state state, const struct change *changes, size_t count,
               uint64_t *out_rowid) PHR_MUST_CHECK;
/*
 * Makes a seal op anew (after an epoch change or a re-wrap): the same seals on the class's present
 * epoch and the files' present headers. In the caller's transaction. PHR_E_LOCKED: its writer is logged out.
 */
int outbox_renew_seals(struct vault *v, uint64_t rowid, const struct id16 *without) PHR_MUST_CHECK;
/* In the caller's transaction: another host has sealed this file; seals of it made here are given up. */
int outbox_drop_seals(struct vault *v, const struct id16 *patient, const struct id16 *file) PHR_MUST_CHECK;
/*
 * Ready ops of a patient, in order, as the payload of MSG_OP_PUSH; drafts are signed for it when
 * the oldest has waited for hold_ms. out_ids has room for ENTRY_OPS_MAX. Names lock not held.
 */
struct outbox_wish {
    uint64_t hold_ms;
    bool is_single; /* an op for each draft: one that does not fit takes no others along */
};
int outbox_take(struct vault *v, const struct id16 *patient, const struct outbox_wish *wish,
                struct writer *out, uint64_t *out_ids, size_t *out_count) PHR_MUST_CHECK;

#endif
