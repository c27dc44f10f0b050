/* libphr, part 4: the audit log, read and proved. Rules as in control.h. */
#ifndef PHR_AUDIT_H
#define PHR_AUDIT_H

#include "phr/identity.h"

/* One record, in words. Unknown things are empty. */
struct phr_audit_row {
    uint64_t index;
    char time[32]; /* 2026-01-31T14:25:01Z */
    uint64_t time_s;
    const char *op; /* open, release, denied, … */
    int outcome;    /* 0 or the negative reason */
    const char *outcome_text;
    char who[65]; /* label, else hex; empty when nobody was logged in */
    uint32_t uid;
    char program[64];
    char host[33];
    char patient[256];     /* name, else hex */
    char compartment[256]; /* name, else hex */
    char file[33];
    char grant[33];
    const char *purpose;
    char reason[256];
    uint32_t count; /* of records shown as this one */
    uint64_t index_last;
};
struct phr_audit_wish {
    const char *who;     /* label; NULL: all */
    const char *patient; /* name or hex */
    const char *op;      /* name of an event type */
    uint64_t since_s;
    uint64_t until_s; /* 0: no end */
    int outcome;      /* PHR_AUDIT_ANY, _OK or _DENIED */
    bool is_raw;      /* no merging */
    uint64_t limit;   /* the newest so many; 0: all */
    const struct phr_identity
        *viewer; /* signs for the log (needed unless root), knows names; NULL is fine */
};
enum { PHR_AUDIT_ANY = 0, PHR_AUDIT_OK = 1, PHR_AUDIT_DENIED = 2 };
/*
 * Read the log. Several accesses of one kind by one program within seconds are one row with a
 * count, unless is_raw.
 *
 * Shapes   rows come in the order of the log; the row is borrowed for the call
 * Units    seconds since 1970, UTC
 * Owns     nothing
 * Errors   PHR_E_RIGHTS (neither root nor a patient's keyring), PHR_E_USAGE (unknown op),
 *          PHR_E_AUDIT_BROKEN (a record that does not match its leaf), PHR_E_SIDECAR
 * Threads  one per client
 * Source   DESIGN 8, CRYPTO 2.8
 */
int phr_audit_each(struct phr_client *c, const struct phr_audit_wish *wish,
                   int (*on_row)(void *user, const struct phr_audit_row *row),
                   void *user) PHR_MUST_CHECK;

struct phr_audit_proof {
    uint64_t size;         /* leaves under the signed checkpoint */
    uint64_t record_count; /* readable ones, each checked against its leaf */
    char root[65];
    uint64_t
        pinned_size; /* of the checkpoint that the viewer's keyring had seen; 0: none */
    uint64_t bad_index; /* on PHR_E_AUDIT_BROKEN: the first row that is wrong */
    bool has_bad_index;
};
/*
 * Verify: checkpoint signature, the tree over every leaf, every readable record against its leaf,
 * and that the log still contains what the viewer's keyring has pinned.
 *
 * Errors   PHR_E_AUDIT_BROKEN: out_proof says where; PHR_E_SIGNATURE; PHR_E_ROLLBACK: shorter than pinned
 */
int phr_audit_verify(struct phr_client *c, struct phr_identity *viewer,
                     struct phr_audit_proof *out_proof) PHR_MUST_CHECK;

#endif
