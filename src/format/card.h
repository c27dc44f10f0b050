/* Identity cards (CRYPTO 2.6, 2.10). */
#ifndef PHR_FORMAT_CARD_H
#define PHR_FORMAT_CARD_H

#include "base/cursor.h"
#include "crypto/pop.h"
#include "crypto/sign.h"
#include "format/limits.h"

enum card_role {
    CARD_PERSON = 1,
    CARD_SERVICE = 2,
    CARD_GROUP = 3,
    CARD_OWNER = 4, /* a patient's own card: user16 = patient16 */
    CARD_AUTHORITY = 5,
    CARD_SRS = 6
};

struct card {
    struct id16 user;
    enum card_role role;
    struct id16 org;
    struct verify_key ed;
    struct point b;
    uint64_t not_before_s;
    uint64_t not_after_s;
    uint64_t serial;
    char label[LABEL_BYTES_MAX + 1]; /* [a-z0-9._-], empty for patients */
    struct digest hash; /* SHA-256 of the whole encoded card; filled by decode */
};

/* A card with PoP and self-signature but no authority's yet: a request. */
int card_request_encode(const struct card *c, const struct sign_key *self,
                        const struct scalar *b, struct writer *out) PHR_MUST_CHECK;
/* Checks PoP and self-signature of a request, then appends the authority's signature. */
int card_approve(struct view request, const struct sign_key *authority,
                 struct writer *out) PHR_MUST_CHECK;
int card_request_decode(struct view bytes, struct card *out_card) PHR_MUST_CHECK;
/* Structure only: PHR_E_FORMAT. */
int card_decode(struct view bytes, struct card *out_card) PHR_MUST_CHECK;
/* PoP, self-signature and the authority's signature; not the time. PHR_E_CARD. */
int card_check(struct view bytes, const struct verify_key *authority,
               struct card *out_card) PHR_MUST_CHECK;
/* PHR_E_EXPIRED outside not_before..not_after. */
int card_check_time(const struct card *c, uint64_t now_s) PHR_MUST_CHECK;
bool label_is_valid(struct view label);
/* SHA("phrfs/v1/patient" || 0x00 || owner ed_pk)[0:16]. */
struct id16 patient_id(const struct verify_key *owner);

#endif
