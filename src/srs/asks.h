/* The answers to each ask, by file (ask_*.c); see struct ask in committer.h. */
#ifndef PHR_SRS_ASKS_H
#define PHR_SRS_ASKS_H

#include "format/event.h"
#include "format/op.h"
#include "srs/committer.h"

int ask_push_decide(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_ledger_fetch(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_ledger_list(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_open_decide(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_open_release(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_prove_decide(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_spool_push(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_audit_fetch(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_audit_head(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_audit_consistency(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_event_suspend(struct srs *s, struct job *job) PHR_MUST_CHECK;
int ask_event_decide(struct srs *s, struct job *job) PHR_MUST_CHECK;
/* What only the SRS itself can know, and takes from nobody. */
bool ask_event_is_own(enum event_type t);

/* What an accepted op does beside the ledger: keys of grants come and go, leaves are written. */
struct placed_op {
    const struct op *op;
    bool is_genesis;
    /* The sealed re-encryption key that came beside; false when there is none. */
    bool (*find_rk)(const void *user, const struct id16 *grant, struct view *out_sealed);
    const void *user;
};
int ask_grant_place(struct srs *s, const struct placed_op *p) PHR_MUST_CHECK;

#endif
