/* Ops, their changes, ledger entries (CRYPTO 2.7). */
#ifndef PHR_FORMAT_OP_H
#define PHR_FORMAT_OP_H

#include "base/cursor.h"
#include "crypto/pre.h"
#include "crypto/sign.h"
#include "format/limits.h"

enum change_type {
    CHANGE_CLASS_RECORD = 1,
    CHANGE_GRANT,
    CHANGE_REVOKE,
    CHANGE_EPOCH_BEGIN,
    CHANGE_EPOCH,
    CHANGE_RETIRE_EPOCH,
    CHANGE_HEADER,
    CHANGE_INODE,
    CHANGE_DENTRY,
    CHANGE_REMOVE,
    CHANGE_SEAL,
    CHANGE_SNAPSHOT,
    CHANGE_CARD_PIN,
    CHANGE_BREAK_GLASS,
    CHANGE_GUEST_SHARE,
    CHANGE_LAST = CHANGE_GUEST_SHARE
};

/* The top byte of an op's number. Each lane rises by itself per (writer, host). */
enum op_lane { OP_LANE_META = 0, OP_LANE_SEAL = 1, OP_LANE_TOOL = 2 };
static inline enum op_lane op_lane(uint64_t n)
{
    return (enum op_lane)(n >> 56);
}

struct change {
    enum change_type type;
    struct view body; /* borrowed */
};

struct op {
    struct id16 patient;
    struct id16 class_id; /* the class it concerns; zero for patient-wide (genesis) */
    uint32_t epoch;
    struct id16 host;
    uint64_t n;
    struct digest base_leaf; /* newest entry that the writer had applied; zero = none */
    uint64_t time_s;
    struct id16 writer;
    struct digest writer_card;
    uint16_t count;
    /* Of decode: new memory (op_fini), bodies borrow from the input. */
    struct change *changes;
};
int op_encode(const struct op *o, struct writer *out) PHR_MUST_CHECK; /* PHR_E_LIMIT */
int op_decode(struct view bytes, struct op *out_op) PHR_MUST_CHECK;
void op_fini(struct op *o);
struct signature op_sign(struct view op_bytes, const struct sign_key *writer);
int op_check(struct view op_bytes, const struct signature *sig,
             const struct verify_key *writer) PHR_MUST_CHECK;

#include "format/change.h" /* for those who include this */
#include "format/entry.h"

#endif
