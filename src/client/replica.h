/*
 * A patient's ledger in memory: every entry fetched through phrd, verified, applied. Keeps the
 * bytes that an owner needs again: class records, grants, headers, rows.
 */
#ifndef PHR_CLIENT_REPLICA_H
#define PHR_CLIENT_REPLICA_H

#include "client/client.h"
#include "format/change.h"
#include "format/entry.h"
#include "format/grant.h"
#include "format/header.h"
#include "format/op.h"

struct replica;

struct replica_class {
    struct class_ctx ctx;
    struct point a;
    enum ledger_epoch_state state;
    struct view record; /* borrowed from the replica, as all views here */
};
struct replica_grant {
    struct grant grant;
    bool is_revoked;
    enum revoke_reason reason;
};
struct replica_header {
    struct file_ctx ctx;
    struct view bytes;
};
struct replica_row {
    struct ledger_row row;
    struct id16 id;
    struct view bytes;
    bool is_dead;
};

/* Nothing is fetched yet. pin may be NULL: what the owner's keyring has seen. */
int replica_new(struct phr_client *c, const struct id16 *patient,
                const struct verify_anchor *anchor, const struct keyring_pin *pin,
                struct replica **out_replica) PHR_MUST_CHECK;
void replica_free(struct replica *r);
/*
 * Fetches, verifies and applies what is new. After a failure the replica is of no use any more.
 * PHR_E_UNKNOWN_ID when the SRS has no such patient, PHR_E_ROLLBACK below the pin, PHR_E_FORK.
 */
int replica_refresh(struct replica *r) PHR_MUST_CHECK;

bool replica_get_head(const struct replica *r, uint64_t *out_seq,
                      struct digest *out_leaf);
/* Of the tool's lane; 0 when there was none. */
uint64_t replica_get_last_n(const struct replica *r, const struct id16 *writer,
                            const struct id16 *host);
/* In the order of the ledger; NULL behind the last. */
const struct replica_class *replica_get_class(const struct replica *r, size_t index);
const struct replica_grant *replica_get_grant(const struct replica *r, size_t index);
const struct replica_header *replica_get_header(const struct replica *r, size_t index);
const struct replica_row *replica_get_row(const struct replica *r, size_t index);
/* The newest epoch of this class; NULL when there is no such class. */
const struct replica_class *replica_find_class(const struct replica *r,
                                               const struct id16 *class_id);
const struct replica_class *replica_find_epoch(const struct replica *r,
                                               const struct class_ctx *ctx);
const struct replica_row *replica_find_row(const struct replica *r,
                                           const struct id16 *id);
const struct replica_header *replica_find_header(const struct replica *r,
                                                 const struct id16 *file);
/* The card of this user that the ledger pins; -ENOENT. */
int replica_find_card(const struct replica *r, const struct id16 *user,
                      struct card *out_card) PHR_MUST_CHECK;

/* Reads an object through phrd; *out_p is the caller's. */
int replica_load_object(struct phr_client *c, const struct id16 *patient,
                        const struct digest *id, uint8_t **out_p,
                        size_t *out_n) PHR_MUST_CHECK;

SCOPED_HANDLE(struct replica, replica_free)

#endif
