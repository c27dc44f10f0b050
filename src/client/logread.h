/* Fetching the audit log, page by page. */
#ifndef PHR_CLIENT_LOGREAD_H
#define PHR_CLIENT_LOGREAD_H

#include "audit/auditlog.h"
#include "client/client.h"

struct logread {
    struct phr_client *client;
    const struct phr_identity *viewer; /* NULL is fine for root */
    bool needs_proof;                  /* found out at the first page */
    /* Called for each row; stops at the first non-zero result. */
    int (*on_row)(void *user, const struct auditlog_row *row);
    void *user;
};
/*
 * Rows 0..end-1 (end 0: as many as there are when the first page is read). PHR_E_RIGHTS;
 * PHR_E_AUDIT_BROKEN with *out_bad_index when the server itself cannot open a row any more.
 */
int logread_all(struct logread *r, uint64_t end, uint64_t *out_bad_index) PHR_MUST_CHECK;

#endif
