/* The ledger_state over srs.db, and what the SRS keeps beside it: grants' keys, headers' points. */
#ifndef PHR_SRS_SRS_STATE_H
#define PHR_SRS_SRS_STATE_H

#include "crypto/pre.h"
#include "ledger/state.h"
#include "srs/srs_db.h"

struct srs_state {
    struct srs_db *db;
    /* As srs_opts.load_object; PHR_E_PENDING: not yet. */
    int (*load_object)(void *user, const struct id16 *patient,
                       const struct digest *object_id, uint8_t **out_p, size_t *out_n);
    void *load_user;
    struct ledger_state ledger; /* filled by srs_state_init; its user is this struct */
};
void srs_state_init(struct srs_state *s);

/* ---- beside the ledger's own questions ---- */

struct srs_header {
    struct file_ctx ctx;
    struct digest hash;
    struct point w;
};
/* -ENOENT */
int srs_state_get_header(const struct srs_state *s, const struct id16 *patient,
                         const struct id16 *file,
                         struct srs_header *out_header) PHR_MUST_CHECK;
/* The card with this hash that the patient's ledger pins, also when a newer one is pinned. -ENOENT */
int srs_state_get_card(const struct srs_state *s, const struct id16 *patient,
                       const struct digest *hash, struct card *out_card) PHR_MUST_CHECK;

struct srs_grant {
    struct grant grant;
    bool is_revoked;
    bool
        has_key; /* there is a re-encryption key: not revoked, not retired, not imported */
    uint64_t opens;
    uint32_t slot;
    uint8_t box[32 + 40]; /* rk under the slot's key */
};
/* -ENOENT */
int srs_state_get_grant(const struct srs_state *s, const struct id16 *grant,
                        struct srs_grant *out_grant) PHR_MUST_CHECK;
int srs_state_add_opens(const struct srs_state *s, const struct id16 *grant,
                        uint64_t count) PHR_MUST_CHECK;
/* A new entry behind the head; is_stored: its copy in the bucket is known. */
int srs_state_put_entry(const struct srs_state *s, const struct id16 *patient,
                        uint64_t seq, const struct digest *leaf, struct view bytes,
                        bool is_stored) PHR_MUST_CHECK;
bool srs_state_is_failure(int rc); /* of the database or the machine, not a decision */

#endif
