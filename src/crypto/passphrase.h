/* Argon2id to keyring key and commitment (CRYPTO 2.10). */
#ifndef PHR_CRYPTO_PASSPHRASE_H
#define PHR_CRYPTO_PASSPHRASE_H

#include "phr/err.h"
#include "phr/types.h"

/* OPS_MAX: a damaged keyring may not keep a login busy for hours. */
enum { PASSPHRASE_OPS_MIN = 3, PASSPHRASE_OPS_MAX = 64, PASSPHRASE_BYTES_MAX = 1024 };
#define PASSPHRASE_MEM_MIN (UINT64_C(256) << 20)
#define PASSPHRASE_MEM_MAX (UINT64_C(4) << 30) /* a keyring may not ask for more */

struct passphrase_cost {
    uint32_t ops;
    uint64_t mem_bytes;
};

/* Below the floor or above the ceiling: PHR_E_FORMAT (a downgrade by edit). out_key in the arena. */
int passphrase_derive(struct view passphrase, const struct passphrase_cost *cost,
                      const uint8_t salt[16], struct symkey *out_key,
                      struct digest *out_commit) PHR_MUST_CHECK;

#endif
