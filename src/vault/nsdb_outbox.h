/* What waits to leave: signed ops, audit events of transactions; and keys sealed for local use. */
#ifndef PHR_VAULT_NSDB_OUTBOX_H
#define PHR_VAULT_NSDB_OUTBOX_H

#include "format/op.h"
#include "vault/nsdb_sql.h"

enum outbox_state {
    OUTBOX_READY = 0,
    OUTBOX_HELD = 1,  /* a seal whose objects are not stored yet */
    OUTBOX_PARKED = 2 /* refused for ever; shown, not sent */
};
struct outbox_row {
    uint64_t id;
    struct id16 patient;
    struct id16 class_id;
    struct id16 writer;
    enum op_lane lane;
    uint64_t n;
    enum outbox_state state;
    uint64_t created_ms; /* CLOCK_BOOTTIME; old rows of an earlier boot are due at once */
    int32_t reason;      /* why parked */
    struct digest hash;  /* SHA-256 of op */
    struct view op;
    struct signature sig;
};
int nsdb_outbox_add(struct nsdb *db, struct outbox_row *io_row) PHR_MUST_CHECK; /* fills id */
/* -ENOENT; statement left open as in nsdb_names.h. */
int nsdb_outbox_get(struct nsdb *db, uint64_t id, struct nsdb_stmt *s, struct outbox_row *out_row) PHR_MUST_CHECK;
int nsdb_outbox_find(struct nsdb *db, const struct digest *hash, uint64_t *out_id,
                     struct signature *out_sig) PHR_MUST_CHECK;
/* Rows of a patient (NULL: of all) in order, whatever their state. */
void nsdb_outbox_scan(struct nsdb *db, const struct id16 *patient, struct nsdb_stmt *s);
int nsdb_outbox_next(struct nsdb_stmt *s, struct outbox_row *out_row) PHR_MUST_CHECK;
int nsdb_outbox_set_state(struct nsdb *db, uint64_t id, enum outbox_state state, int32_t reason) PHR_MUST_CHECK;
int nsdb_outbox_replace(struct nsdb *db, const struct outbox_row *row) PHR_MUST_CHECK; /* by id */
int nsdb_outbox_delete(struct nsdb *db, uint64_t id) PHR_MUST_CHECK;
int nsdb_outbox_delete_meta(struct nsdb *db, const struct id16 *patient) PHR_MUST_CHECK;
/* The next patient with ops or drafts, behind `after`. -ENOENT. */
int nsdb_outbox_patient_next(struct nsdb *db, const struct id16 *after, struct id16 *out_patient) PHR_MUST_CHECK;
int nsdb_outbox_count(struct nsdb *db, uint32_t *out_waiting, uint32_t *out_parked) PHR_MUST_CHECK;
/* Highest number that a lane has used on this host, floor (what the ledger has seen) included. */
int nsdb_op_n_load(struct nsdb *db, const struct id16 *writer, enum op_lane lane, uint64_t floor,
                   uint64_t *out_n) PHR_MUST_CHECK;
/* Remembers the numbers of ops that are about to be deleted unsent. */
int nsdb_op_n_keep(struct nsdb *db, const struct id16 *patient) PHR_MUST_CHECK;
/* Likewise, of metadata: until the ledger has later ones, they may come (nsdb_parked_forget). */
int nsdb_unwound_keep(struct nsdb *db, const struct id16 *patient) PHR_MUST_CHECK;

/* Objects of an op that is given up. */
int nsdb_outbox_drop_objects(struct nsdb *db, uint64_t id) PHR_MUST_CHECK;

enum local_key_kind { LOCAL_KEY_LK = 1, LOCAL_KEY_NAMES = 2 };
int nsdb_local_key_get(struct nsdb *db, const struct id16 *user, enum local_key_kind kind,
                       const struct id16 *class_id, uint32_t epoch, struct writer *out) PHR_MUST_CHECK;
int nsdb_local_key_put(struct nsdb *db, const struct id16 *user, enum local_key_kind kind,
                       const struct id16 *class_id, uint32_t epoch, struct view box) PHR_MUST_CHECK;
int nsdb_local_key_delete(struct nsdb *db, const struct id16 *user, enum local_key_kind kind,
                          const struct id16 *class_id, uint32_t epoch) PHR_MUST_CHECK;

int nsdb_audit_stream_put(struct nsdb *db, uint64_t no, struct view header) PHR_MUST_CHECK;
int nsdb_audit_stream_get(struct nsdb *db, uint64_t no, struct writer *out) PHR_MUST_CHECK;
int nsdb_audit_add(struct nsdb *db, uint64_t no, uint64_t n, struct view record) PHR_MUST_CHECK;
/* Records of the oldest stream, up to bytes_max: appended. *out_count 0: none. */
int nsdb_audit_take(struct nsdb *db, size_t bytes_max, struct writer *out, uint64_t *out_no,
                    uint64_t *out_first, uint32_t *out_count) PHR_MUST_CHECK;
/* The SRS has all of this stream below n. */
int nsdb_audit_trim(struct nsdb *db, uint64_t no, uint64_t n) PHR_MUST_CHECK;

#endif
