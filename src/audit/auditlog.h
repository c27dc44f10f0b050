/*
 * The audit log (CRYPTO 2.8): each record is committed to by a leaf of the tree and stored
 * encrypted. The rows and nodes lie where the owner of the log keeps them: srs.db.
 */
#ifndef PHR_AUDIT_AUDITLOG_H
#define PHR_AUDIT_AUDITLOG_H

#include "audit/tree.h"
#include "base/cursor.h"
#include "crypto/aead.h"
#include "format/leaf.h"

enum {
    AUDITLOG_SALT_BYTES = 32,
    AUDITLOG_BOX_BYTES_MAX = EVENT_BYTES_MAX + AEAD_BOX_EXTRA_BYTES
};

/* A row as it is stored; the patient is zero where the record names none. */
struct auditlog_stored {
    struct id16 patient;
    uint8_t entry[AUDIT_ENTRY_BYTES];
    struct digest leaf;
    uint8_t salt[AUDITLOG_SALT_BYTES];
    uint8_t box[AUDITLOG_BOX_BYTES_MAX]; /* aead_box of the record, aad = LE64 index */
    size_t box_bytes;
};
struct auditlog_store {
    struct tree_store tree; /* level 0 may be read from the rows */
    int (*put_row)(void *user, uint64_t index,
                   const struct auditlog_stored *row); /* tree.user */
    int (*get_row)(void *user, uint64_t index, struct auditlog_stored *out_row);
};
struct auditlog {
    const struct auditlog_store *store;
    const struct symkey *key; /* of the records; borrowed, arena */
    struct tree tree; /* copy and set back to undo appends that were rolled back */
};

/* size: rows in the store. Everything is borrowed for the life of the log. */
int auditlog_load(const struct auditlog_store *store, uint64_t size,
                  const struct symkey *key, struct auditlog *out_log) PHR_MUST_CHECK;
/* time_s: when the log took it; the event has its own. out_leaf may be NULL. PHR_E_LIMIT, PHR_E_FORMAT. */
int auditlog_append(struct auditlog *log, const struct event *e, uint64_t time_s,
                    struct digest *out_leaf) PHR_MUST_CHECK;

/* A row as it is handed out (MSG_AUDIT_FETCH). */
struct auditlog_row {
    uint64_t index;
    uint8_t entry[AUDIT_ENTRY_BYTES];
    struct digest leaf;
    uint8_t salt
        [AUDITLOG_SALT_BYTES]; /* zero when the record is withheld: it could confirm a guess */
    struct view record;        /* an encoded event; empty: withheld. Borrowed */
};
/* LE64 index || entry49 || leaf32 || salt32 || LP(record). */
void auditlog_row_encode(const struct auditlog_row *row, struct writer *out);
/* From the front of r, which stays failed on PHR_E_FORMAT; the record borrows. */
int auditlog_row_decode(struct reader *r, struct auditlog_row *out_row) PHR_MUST_CHECK;
/*
 * Appends the row at index to out; whose: only this patient's records are shown, NULL: all.
 * PHR_E_SEAL: the stored record does not open.
 */
int auditlog_copy_row(const struct auditlog *log, uint64_t index,
                      const struct id16 *whose, struct writer *out) PHR_MUST_CHECK;

#endif
