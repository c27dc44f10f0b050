/*
 * One change of an op: may it stand, and what it does to the state. Only verify.c calls this.
 */
#ifndef PHR_LEDGER_VERIFY_CHANGE_H
#define PHR_LEDGER_VERIFY_CHANGE_H

#include "ledger/verify.h"

/*
 * What holds for the changes of one op. The running class is the op's; a patient-wide op
 * (class zero, the owner's only) takes it from the class record before.
 */
struct verify_scope {
    const struct ledger_state *s; /* the state with the op's earlier changes on top */
    const struct verify_anchor *anchor;
    const struct op *op;
    struct verify_key owner;
    bool is_owner; /* the writer is the patient's owner */
    bool has_class;
    bool
        may_write; /* right and epoch of the running class were looked up and are there */
    bool has_rows; /* a row, header or seal was changed */
    bool has_epoch;       /* an epoch change was seen: no row may follow */
    struct class_ctx ctx; /* the running class */
    uint64_t now_s;
    bool ignores_hold; /* an entry is applied: its place was decided already */
    bool is_vouched;   /* capsule proofs are known to hold */
};

/* The same reasons as verify_op. Changes nothing but the scope. */
int verify_change_check(struct verify_scope *v, const struct change *c) PHR_MUST_CHECK;
/* What can only be seen when the whole op stands: parents live, removed folders are empty. */
int verify_change_close(const struct verify_scope *v,
                        const struct change *c) PHR_MUST_CHECK;

#endif
