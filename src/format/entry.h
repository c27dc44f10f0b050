/* Ledger entries: where the SRS placed which ops (CRYPTO 2.7). */
#ifndef PHR_FORMAT_ENTRY_H
#define PHR_FORMAT_ENTRY_H

#include "base/cursor.h"
#include "crypto/sign.h"
#include "format/limits.h"

struct signed_op {
    struct view op;
    struct signature sig;
};
enum { ENTRY_OPS_MAX = 256, ENTRY_TYPE_OPS = 1 };
struct entry {
    struct id16 patient;
    uint64_t seq;
    struct digest prev;
    uint8_t type;
    uint64_t time_s;
    struct id16 srs;
    struct digest srs_card;
    uint16_t op_count;
    struct signed_op *ops; /* decode: new memory, entry_fini; views borrow */
    struct signature sig;
    struct digest leaf; /* filled by encode and decode */
};
/* rec || sig; fills leaf. */
int entry_encode(struct entry *e, const struct sign_key *srs,
                 struct writer *out) PHR_MUST_CHECK;
int entry_decode(struct view bytes, struct entry *out_entry) PHR_MUST_CHECK;
int entry_check(struct view bytes, const struct verify_key *srs) PHR_MUST_CHECK;
void entry_fini(struct entry *e);

#endif
