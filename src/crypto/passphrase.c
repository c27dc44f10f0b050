#include "crypto/passphrase.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "base/cursor.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/wipe.h"

enum { PASSPHRASE_SALT_BYTES = 16 };

static_assert(PASSPHRASE_SALT_BYTES == crypto_pwhash_argon2id_SALTBYTES,
              "Argon2id's salt");

int passphrase_derive(struct view passphrase, const struct passphrase_cost *cost,
                      const uint8_t salt[16], struct symkey *out_key,
                      struct digest *out_commit)
{
    scoped(wipe_symkey) struct symkey stretched;
    scoped(wipe_wide) struct wipe64 okm;

    if (passphrase.n > PASSPHRASE_BYTES_MAX)
        return PHR_E_LIMIT;
    if (cost->ops < PASSPHRASE_OPS_MIN || cost->ops > PASSPHRASE_OPS_MAX ||
        cost->mem_bytes < PASSPHRASE_MEM_MIN || cost->mem_bytes > PASSPHRASE_MEM_MAX ||
        cost->mem_bytes > SIZE_MAX)
        return PHR_E_FORMAT;
    if (crypto_pwhash_argon2id(stretched.b, sizeof stretched.b,
                               (const char *)passphrase.p, passphrase.n, salt, cost->ops,
                               (size_t)cost->mem_bytes,
                               crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0)
        return -ENOMEM;
    digest_hkdf(view_of(stretched.b, sizeof stretched.b),
                view_of(salt, PASSPHRASE_SALT_BYTES), view_text(LABEL_KEYRING),
                (struct span){ okm.b, sizeof okm.b });
    memcpy(out_key->b, okm.b, 32);
    memcpy(out_commit->b, okm.b + 32, 32);
    sodium_stackzero(WIPE_STACK_BYTES);
    return 0;
}
