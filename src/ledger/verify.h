/*
 * The rules of CRYPTO 2.7 in one place, used by the SRS when it places an op, by each mount
 * when it applies an entry, and by an auditor: chain, SRS signature, op signature, n rising per
 * lane, expected versions, the writer's right and the epoch by position in the chain, capsule
 * proof, header hash, one live dentry per (parent, tag). Time never decides.
 */
#ifndef PHR_LEDGER_VERIFY_H
#define PHR_LEDGER_VERIFY_H

#include "ledger/state.h"

struct verify_anchor {
    struct verify_key authority; /* signs cards */
    struct verify_key srs;       /* signs entries */
    struct digest srs_card;
};

/*
 * One op against the state as it is now. PHR_E_STALE: sign anew on the present state;
 * PHR_E_RIGHTS, PHR_E_SIGNATURE, PHR_E_FORMAT, PHR_E_CARD, PHR_E_POINT: never; PHR_E_EPOCH_HELD: later.
 * After 0, verify_op_apply must follow before the next op is looked at.
 */
int verify_op(const struct ledger_state *s, const struct verify_anchor *anchor,
              const struct signed_op *op, uint64_t now_s) PHR_MUST_CHECK;
int verify_op_apply(const struct ledger_state *s, const struct signed_op *op,
                    uint64_t now_s) PHR_MUST_CHECK;

/*
 * One entry, whole: verified and applied, or nothing and a reason. PHR_E_FORK when prev or seq
 * contradict the head; entries at or below the head must be identical and are skipped by the
 * caller. vouched: the caller made and signed these ops itself (byte-equal in its outbox, their
 * signatures too), so signatures and capsule proofs need not be computed again.
 */
enum verify_flags { VERIFY_VOUCHED = 1 << 0 };
int verify_entry_apply(const struct ledger_state *s, const struct verify_anchor *anchor,
                       struct view entry_bytes, enum verify_flags flags) PHR_MUST_CHECK;

#endif
