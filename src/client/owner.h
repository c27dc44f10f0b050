/* An owner at work on the ledger: the replica, the compartments' keys, drafts of ops. */
#ifndef PHR_CLIENT_OWNER_H
#define PHR_CLIENT_OWNER_H

#include "client/compartment.h"
#include "client/replica.h"

enum { OWNER_TRIES_MAX = 8 };

struct phr_owner {
    struct phr_client *client;
    struct phr_identity *identity; /* the caller's */
    struct replica *replica;
};

/* The op that is being written; sealed re-encryption keys travel beside it. */
struct draft {
    struct class_ctx ctx; /* class zero: patient-wide */
    struct draft_change {
        enum change_type type;
        struct writer body;
    } * changes; /* OP_CHANGES_MAX of room */
    uint16_t count;
    struct writer rks;
    uint16_t rk_count;
};
int draft_init(struct draft *d, const struct class_ctx *ctx) PHR_MUST_CHECK;
void draft_fini(struct draft *d);
static inline void draft_fini_scope(struct draft *d)
{
    draft_fini(d);
}
bool draft_is_full(const struct draft *d);
/* The body of one more change, to be written by the caller. Not when it is full. */
struct writer *draft_add(struct draft *d, enum change_type type);
void draft_add_rk(struct draft *d, const struct id16 *grant, struct view sealed_rk);
/*
 * Signs, pushes, fetches the entry and verifies it. PHR_E_STALE: the replica has been
 * refreshed; look at it again and make a new draft. out_seq: where the SRS placed it; may be NULL.
 */
int draft_submit(struct draft *d, struct phr_owner *o, uint64_t *out_seq) PHR_MUST_CHECK;

/* Keys of the newest epoch of a class, or of just this one. */
int owner_open_class(struct phr_owner *o, const struct id16 *class_id,
                     struct compartment *out) PHR_MUST_CHECK;
int owner_open_epoch(struct phr_owner *o, const struct class_ctx *ctx,
                     struct compartment *out) PHR_MUST_CHECK;
/* Once per class, newest epoch; name is its display name. Stops at the first non-zero result. */
int owner_each_class(struct phr_owner *o,
                     int (*on_class)(void *user, const struct replica_class *c,
                                     const char *name),
                     void *user) PHR_MUST_CHECK;
/* PHR_E_UNKNOWN_ID unless name is NULL or that of a compartment. */
int owner_check_compartment(struct phr_owner *o, const char *name) PHR_MUST_CHECK;
/* Raises the keyring's pin to the replica's head. */
int owner_pin(struct phr_owner *o) PHR_MUST_CHECK;

SCOPED_HANDLE(struct phr_owner, phr_owner_close)

#endif
