/* What the ledger says beside names: patients, classes, cards, grants, counters. */
#ifndef PHR_VAULT_NSDB_LEDGER_H
#define PHR_VAULT_NSDB_LEDGER_H

#include "format/card.h"
#include "format/grant.h"
#include "ledger/state.h"
#include "vault/nsdb_sql.h"

int nsdb_patient_get(struct nsdb *db, const struct id16 *patient, uint64_t *out_seq,
                     struct digest *out_leaf) PHR_MUST_CHECK;
int nsdb_patient_put(struct nsdb *db, const struct id16 *patient, uint64_t seq,
                     const struct digest *leaf) PHR_MUST_CHECK;
/* The patient after this one (zero: the first): -ENOENT at the end. */
int nsdb_patient_next(struct nsdb *db, const struct id16 *after, struct id16 *out_patient) PHR_MUST_CHECK;

int nsdb_class_get(struct nsdb *db, const struct id16 *class_id, uint32_t epoch,
                   struct ledger_class *out_class) PHR_MUST_CHECK;
int nsdb_class_put(struct nsdb *db, const struct class_record *record, struct view bytes) PHR_MUST_CHECK;
int nsdb_class_set_state(struct nsdb *db, const struct class_ctx *ctx, enum ledger_epoch_state state,
                         uint64_t time_s) PHR_MUST_CHECK;
/* Highest epoch of the class and its patient. */
int nsdb_class_current(struct nsdb *db, const struct id16 *class_id, struct class_ctx *out_ctx) PHR_MUST_CHECK;
/* Epochs of one patient that are not retired, newest last; the record's bytes borrow from the statement. */
/* Appends the class record of any epoch, retired ones too. -ENOENT. */
int nsdb_class_copy_record(struct nsdb *db, const struct id16 *class_id, uint32_t epoch,
                           struct writer *out) PHR_MUST_CHECK;
void nsdb_class_scan(struct nsdb *db, const struct id16 *patient, struct nsdb_stmt *s);
int nsdb_class_next(struct nsdb_stmt *s, struct ledger_class *out_class, struct view *out_record) PHR_MUST_CHECK;

int nsdb_card_get(struct nsdb *db, const struct id16 *patient, const struct id16 *user,
                  struct card *out_card) PHR_MUST_CHECK;
int nsdb_card_put(struct nsdb *db, const struct id16 *patient, const struct card *card,
                  struct view bytes) PHR_MUST_CHECK;

int nsdb_grant_get(struct nsdb *db, const struct id16 *grant, struct grant *out_grant,
                   bool *out_revoked) PHR_MUST_CHECK;
int nsdb_grant_put(struct nsdb *db, const struct grant *g, struct view bytes) PHR_MUST_CHECK;
int nsdb_grant_revoke(struct nsdb *db, const struct id16 *grant) PHR_MUST_CHECK;
/* Not revoked grants of a reader (all readers: NULL), oldest first. */
void nsdb_grant_scan(struct nsdb *db, const struct id16 *reader, struct nsdb_stmt *s);
int nsdb_grant_next(struct nsdb_stmt *s, struct grant *out_grant) PHR_MUST_CHECK;

int nsdb_last_n_get(struct nsdb *db, const struct id16 *patient, const struct id16 *writer,
                    const struct id16 *host, enum op_lane lane, uint64_t *out_n) PHR_MUST_CHECK;
int nsdb_last_n_put(struct nsdb *db, const struct id16 *patient, const struct id16 *writer,
                    const struct id16 *host, enum op_lane lane, uint64_t n) PHR_MUST_CHECK;
/* Highest over all patients: where this host's numbers go on after a lost database. */
int nsdb_last_n_max(struct nsdb *db, const struct id16 *writer, const struct id16 *host,
                    enum op_lane lane, uint64_t *out_n) PHR_MUST_CHECK;

#endif
