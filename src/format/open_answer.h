/* What the SRS answers to an open request: results, receipts (CRYPTO 2.6). */
#ifndef PHR_FORMAT_OPEN_ANSWER_H
#define PHR_FORMAT_OPEN_ANSWER_H

#include "base/cursor.h"
#include "crypto/pre.h"
#include "crypto/sign.h"
#include "format/limits.h"

/*
 * The answer: LE16 n, n * (rc as LE32 two's complement, leaf hash32, W1 or zero), LE64 time,
 * LE32 lease seconds, receipt signature over SHA(leaves || W1s || LE64 time).
 */
struct open_answer_item {
    int32_t rc;
    struct digest leaf;
    struct point w1;
};
struct open_answer {
    uint16_t count;
    struct open_answer_item *items; /* decode: new memory */
    uint64_t time_s;
    uint32_t lease_s;
    struct signature receipt;
};
int open_answer_encode(struct open_answer *a, const struct sign_key *srs,
                       struct writer *out) PHR_MUST_CHECK;
int open_answer_decode(struct view bytes, struct open_answer *out_answer) PHR_MUST_CHECK;
int open_answer_check(const struct open_answer *a,
                      const struct verify_key *srs) PHR_MUST_CHECK;
void open_answer_fini(struct open_answer *a);

#endif
