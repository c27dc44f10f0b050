/*
 * Verification of a log by somebody who trusts neither the server nor its administrator: feed the
 * rows in order, then the signed checkpoints. It goes on after a fault, and names the first.
 *
 *   auditcheck_new(&c);
 *   per row fetched:         auditcheck_row(c, &row)
 *   per checkpoint, rising:  auditcheck_checkpoint(c, &checkpoint)    its signature was checked
 *   auditcheck_get_report(c)
 */
#ifndef PHR_AUDIT_AUDITCHECK_H
#define PHR_AUDIT_AUDITCHECK_H

#include "audit/auditlog.h"
#include "base/scope.h"

enum auditcheck_fault {
    AUDITCHECK_NONE = 0,
    AUDITCHECK_ORDER, /* rows are missing or come twice: bad_index is the one expected */
    AUDITCHECK_ENTRY, /* not an entry */
    AUDITCHECK_LEAF,  /* the entry is not the one that its leaf names */
    AUDITCHECK_COMMITMENT, /* the record is not the one that was committed to */
    AUDITCHECK_ROOT, /* some leaf of bad_index..bad_index_last differs from what was signed */
    AUDITCHECK_SHORT /* a checkpoint was signed over more rows than there are */
};
struct auditcheck_report {
    uint64_t size;               /* rows seen */
    uint64_t record_count;       /* of them readable, and checked */
    struct digest root;          /* over all rows */
    enum auditcheck_fault fault; /* the first */
    uint64_t bad_index;
    uint64_t bad_index_last;
};
struct auditcheck;

int auditcheck_new(struct auditcheck **out_check) PHR_MUST_CHECK;
void auditcheck_free(struct auditcheck *c);
/* PHR_E_AUDIT_BROKEN for this row; -ENOMEM. After ORDER nothing more can be said. */
int auditcheck_row(struct auditcheck *c, const struct auditlog_row *row) PHR_MUST_CHECK;
/* Sizes rise from call to call; the bracket of a wrong root is the leaves since the last right one. */
int auditcheck_checkpoint(struct auditcheck *c,
                          const struct checkpoint *checkpoint) PHR_MUST_CHECK;
/* The root when the log had that size; PHR_E_USAGE beyond it. */
int auditcheck_root_at(const struct auditcheck *c, uint64_t size,
                       struct digest *out_root) PHR_MUST_CHECK;
struct auditcheck_report auditcheck_get_report(const struct auditcheck *c);

SCOPED_HANDLE(struct auditcheck, auditcheck_free)

#endif
