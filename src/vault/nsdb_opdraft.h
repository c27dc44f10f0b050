/* Drafts: the changes of one transaction that no op holds yet. Ids and order are those of the outbox. */
#ifndef PHR_VAULT_NSDB_OPDRAFT_H
#define PHR_VAULT_NSDB_OPDRAFT_H

#include "format/op.h"
#include "vault/nsdb_sql.h"

struct opdraft_row {
    uint64_t id;
    struct class_ctx ctx; /* what the op will be of */
    struct id16 writer;   /* who will sign it */
    uint64_t created_ms;  /* CLOCK_BOOTTIME, as in outbox_row */
    struct view changes;  /* as they stand in an op: each its type, LP(body) */
};
/* In a transaction. row->id is not read. */
int nsdb_opdraft_add(struct nsdb *db, const struct opdraft_row *row) PHR_MUST_CHECK;
/* Of a patient, above an id, in order. */
void nsdb_opdraft_scan(struct nsdb *db, const struct id16 *patient, uint64_t after, struct nsdb_stmt *s);
int nsdb_opdraft_next(struct nsdb_stmt *s, struct opdraft_row *out_row) PHR_MUST_CHECK;
/* This writer's, first to last. */
int nsdb_opdraft_delete(struct nsdb *db, const struct opdraft_row *first, uint64_t last) PHR_MUST_CHECK;
/* All of a patient: a rebase makes them anew. */
int nsdb_opdraft_drop(struct nsdb *db, const struct id16 *patient) PHR_MUST_CHECK;
/* -ENOENT: none. */
int nsdb_opdraft_oldest(struct nsdb *db, const struct id16 *patient, uint64_t *out_created_ms) PHR_MUST_CHECK;
int nsdb_opdraft_count(struct nsdb *db, uint32_t *out_n) PHR_MUST_CHECK;

#endif
