/* Audit leaves and signed checkpoints (CRYPTO 2.8). */
#ifndef PHR_FORMAT_LEAF_H
#define PHR_FORMAT_LEAF_H

#include "base/cursor.h"
#include "crypto/sign.h"
#include "format/event.h"

enum { AUDIT_ENTRY_BYTES = 8 + 8 + 1 + 32 };
/* "PHRFS-A1" || LE64 time || type || HMAC-SHA-256(salt, record). */
struct audit_entry {
    uint64_t time_s;
    uint8_t type;
    struct digest commitment;
};
void audit_entry_encode(const struct audit_entry *e, uint8_t out[AUDIT_ENTRY_BYTES]);
int audit_entry_decode(struct view bytes, struct audit_entry *out_entry) PHR_MUST_CHECK;
struct digest audit_commitment(const uint8_t salt[32], struct view record);

/* C2SP signed note with one signature line. */
struct checkpoint {
    char origin[128];
    uint64_t size;
    struct digest root;
};
int checkpoint_sign(const struct checkpoint *c, const struct sign_key *srs,
                    struct writer *out) PHR_MUST_CHECK;
int checkpoint_check(struct view note, const struct verify_key *srs,
                     struct checkpoint *out_checkpoint) PHR_MUST_CHECK;

#endif
