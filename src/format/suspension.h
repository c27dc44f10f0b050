/*
 * Whom the authority suspends: all of them in one signed, numbered list (CRYPTO 1.6).
 *   "PHRFS-B1" || LE64 serial || LE64 time || LE32 n || n * user16 (rising) || sig64
 * signed by the authority under the card label, over the hash of all before.
 */
#ifndef PHR_FORMAT_SUSPENSION_H
#define PHR_FORMAT_SUSPENSION_H

#include "base/cursor.h"
#include "crypto/sign.h"
#include "phr/err.h"

enum { SUSPENSION_USERS_MAX = 65536, SUSPENSION_BYTES_MAX = 28 + SUSPENSION_USERS_MAX * 16 + 64 };

struct suspension {
    uint64_t serial; /* rises from list to list */
    uint64_t time_s;
    uint32_t count;
    struct view users; /* count * 16 bytes; borrowed */
};
/* users rise strictly. PHR_E_LIMIT. */
int suspension_encode(const struct suspension *s, const struct sign_key *authority,
                      struct writer *out) PHR_MUST_CHECK;
/* PHR_E_FORMAT, PHR_E_SIGNATURE. */
int suspension_check(struct view bytes, const struct verify_key *authority,
                     struct suspension *out_list) PHR_MUST_CHECK;
/* index < count */
struct id16 suspension_get_user(const struct suspension *s, uint32_t index);

#endif
