/* libphr, part 3: grants and revocation. Rules as in control.h. */
#ifndef PHR_GRANT_H
#define PHR_GRANT_H

#include "phr/identity.h"

struct phr_grant_wish {
    const char *compartment; /* NULL: all of the patient's */
    const char *to;          /* label of an approved identity */
    bool may_write;
    uint64_t not_after_s; /* 0: until it is revoked */
    const char *purpose;  /* NULL: any */
    uint32_t max_opens;   /* 0: no limit */
};
/*
 * Grant: for every compartment and every epoch that is not retired, a re-encryption key is made
 * and sealed to the SRS, and a signed grant goes into the ledger.
 *
 * Shapes   o: an owner's open ledger
 * Units    seconds since 1970, UTC
 * Owns     nothing
 * Errors   PHR_E_UNKNOWN_ID (no card or compartment of that name), PHR_E_CARD, PHR_E_EXPIRED,
 *          PHR_E_STALE (another client changed the ledger over and over), PHR_E_SIDECAR
 * Threads  one per client
 * Source   CRYPTO 2.1, 2.6
 */
int phr_grant_add(struct phr_owner *o, const struct phr_grant_wish *wish,
                  uint32_t *out_count) PHR_MUST_CHECK;

struct phr_grant_info {
    char grant[33];
    char reader[65]; /* label, or hex of the user without one */
    char compartment[256];
    uint32_t epoch;
    bool may_write;
    bool is_revoked;
    bool is_expired;
    bool is_retired; /* its epoch is retired: the SRS has dropped the key */
    uint64_t not_before_s;
    uint64_t not_after_s;
    uint32_t max_opens;
    const char *purpose;
};
int phr_grant_each(struct phr_owner *o,
                   int (*on_grant)(void *user, const struct phr_grant_info *info),
                   void *user) PHR_MUST_CHECK;

struct phr_revoke_wish {
    const char *compartment; /* NULL: all */
    const char *from;        /* label of the reader */
    uint32_t wait_ms;        /* how long to wait for the mounts to cut him off */
};
struct phr_revoke_result {
    uint32_t grant_count;  /* revoked now */
    uint32_t class_count;  /* compartments with a new epoch */
    uint64_t header_count; /* re-wrapped */
    uint64_t seq;          /* of the revocation in the ledger */
};
struct phr_revoke_host {
    char host[33];
    bool is_applied;    /* has cut him off */
    uint64_t ends_at_s; /* otherwise: cuts off by itself then */
};
/*
 * Revoke: the SRS stops at once; then a new epoch, the namespace under a new key, grants for
 * those who stay, headers re-wrapped, the old epoch retired. Each step is in the ledger before
 * the next begins, so a killed revocation is ended by the next phr_owner_open of its owner.
 *
 * Shapes   from: a label; result is filled as far as it came, also on failure
 * Units    milliseconds, seconds
 * Owns     nothing
 * Errors   PHR_E_UNKNOWN_ID (no such reader), PHR_E_NO_GRANT (nothing to revoke), PHR_E_SIDECAR:
 *          when result.seq is not 0 the revocation itself is done and only the rest remains
 * Threads  one per client
 * Source   CRYPTO 1.7, 2.7
 */
int phr_revoke(struct phr_owner *o, const struct phr_revoke_wish *wish,
               struct phr_revoke_result *out_result) PHR_MUST_CHECK;
/* Which mounts have applied the ledger up to seq. Waits at most timeout_ms for all of them. */
int phr_revoke_each_host(struct phr_owner *o, uint64_t seq, uint32_t timeout_ms,
                         int (*on_host)(void *user, const struct phr_revoke_host *host),
                         void *user) PHR_MUST_CHECK;

#endif
