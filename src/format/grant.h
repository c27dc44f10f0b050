/* Grants (CRYPTO 2.6): owner-signed; the re-encryption key travels beside, sealed to the SRS. */
#ifndef PHR_FORMAT_GRANT_H
#define PHR_FORMAT_GRANT_H

#include "base/cursor.h"
#include "crypto/pre.h"
#include "crypto/sign.h"
#include "format/limits.h"

enum grant_rights { GRANT_R = 1, GRANT_RW = 3 };

/* Purpose of use, HL7 v3-ActReason; place in this list from 1. 0 = any, in grants only. */
enum purpose {
    PURPOSE_ANY = 0,
    PURPOSE_TREAT = 1,
    PURPOSE_ETREAT,
    PURPOSE_BTG,
    PURPOSE_HPAYMT,
    PURPOSE_HOPERAT,
    PURPOSE_HRESCH,
    PURPOSE_PATRQT,
    PURPOSE_PUBHLTH,
    PURPOSE_LAST = PURPOSE_PUBHLTH
};
const char *purpose_name(enum purpose p);
int purpose_parse(const char *name,
                  enum purpose *out_purpose) PHR_MUST_CHECK; /* PHR_E_USAGE */

struct grant {
    struct grant_ctx ctx;
    struct point a; /* the compartment-epoch's key */
    struct point b; /* the reader's key, as on the card whose hash is in ctx */
    enum grant_rights rights;
    uint64_t not_before_s;
    uint64_t not_after_s;
    uint32_t max_opens; /* 0 = no limit */
    enum purpose purpose;
    struct digest policy;
    struct point x;
    struct point r;
    struct digest sealed_rk; /* SHA-256 of the sealed re-encryption key */
};

int grant_encode(const struct grant *g, const struct sign_key *owner,
                 struct writer *out) PHR_MUST_CHECK;
int grant_decode(struct view bytes, struct grant *out_grant) PHR_MUST_CHECK;
/* Decode and the owner's signature: PHR_E_FORMAT, PHR_E_SIGNATURE. */
int grant_check(struct view bytes, const struct verify_key *owner,
                struct grant *out_grant) PHR_MUST_CHECK;
int grant_check_time(const struct grant *g, uint64_t now_s) PHR_MUST_CHECK;

#endif
