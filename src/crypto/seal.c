/*
 * The AEAD's key and nonce both come from a fresh key agreement, so a key is used for one
 * message and a nonce cannot repeat under it. The commitment is compared before anything is
 * decrypted: AES-GCM alone does not bind a ciphertext to one key.
 */
#include "crypto/seal.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/pre.h"
#include "crypto/seal_test.h"
#include "crypto/wipe.h"

enum { SEAL_INFO_BYTES = 3 * (4 + 32) };

/* SECRET: what both sides derive. */
struct seal_keys {
    struct symkey key;
    struct digest commit;
    uint8_t nonce[AEAD_GCM_NONCE_BYTES];
};

static_assert(sizeof(struct seal_keys) == 76, "HKDF's output, field by field");

static void seal_keys_wipe_scope(struct seal_keys *k);
static void seal_keys_derive(const struct point *shared, const struct point *to,
                             const struct point *ephemeral, struct view aad,
                             struct seal_keys *out_keys);
static int seal_open_parts(const struct scalar *secret, struct view aad,
                           struct view sealed, uint8_t *out);

int seal_to(const struct point *to, struct view aad, struct view message, struct span out)
{
    scoped(wipe_scalar) struct scalar e;

    pre_scalar_random(&e);
    return seal_to_with(&e, to, aad, message, out);
}

int seal_to_with(const struct scalar *e, const struct point *to, struct view aad,
                 struct view message, struct span out)
{
    scoped(seal_keys_wipe) struct seal_keys keys;
    scoped(wipe_point) struct point shared;
    struct point ephemeral;
    uint8_t *ct = out.p + 64;
    size_t want = 0;
    int rc;

    if (!checked_add(message.n, (size_t)SEAL_EXTRA_BYTES, &want))
        return PHR_E_LIMIT;
    INVARIANT(out.n == want);
    if (pre_point_check(to) < 0 ||
        crypto_scalarmult_ristretto255_base(ephemeral.b, e->b) != 0 ||
        crypto_scalarmult_ristretto255(shared.b, e->b, to->b) != 0)
        return PHR_E_POINT;
    seal_keys_derive(&shared, to, &ephemeral, aad, &keys);
    rc = aead_seal(AEAD_GCM, &keys.key, keys.nonce, aad, message, ct, ct + message.n);
    aead_thread_forget();
    sodium_stackzero(WIPE_STACK_BYTES);
    if (rc < 0)
        return rc;
    memcpy(out.p, ephemeral.b, 32);
    memcpy(out.p + 32, keys.commit.b, 32);
    return 0;
}

int seal_open(const struct scalar *secret, struct view aad, struct view sealed,
              struct span out)
{
    int rc = PHR_E_SEAL;

    if (sealed.n >= SEAL_EXTRA_BYTES && out.n == sealed.n - SEAL_EXTRA_BYTES)
        rc = seal_open_parts(secret, aad, sealed, out.p);
    sodium_stackzero(WIPE_STACK_BYTES);
    if (rc < 0 && out.n > 0)
        sodium_memzero(out.p, out.n);
    return rc;
}

static int seal_open_parts(const struct scalar *secret, struct view aad,
                           struct view sealed, uint8_t *out)
{
    scoped(seal_keys_wipe) struct seal_keys keys;
    scoped(wipe_point) struct point shared;
    struct view ct = { sealed.p + 64, sealed.n - SEAL_EXTRA_BYTES };
    struct point to;
    struct point ephemeral;
    int rc;

    memcpy(ephemeral.b, sealed.p, 32);
    if (pre_point_check(&ephemeral) < 0 || pre_public(secret, &to) < 0 ||
        crypto_scalarmult_ristretto255(shared.b, secret->b, ephemeral.b) != 0)
        return PHR_E_SEAL;
    seal_keys_derive(&shared, &to, &ephemeral, aad, &keys);
    if (sodium_memcmp(keys.commit.b, sealed.p + 32, 32) != 0)
        return PHR_E_SEAL;
    rc = aead_open_sealed(AEAD_GCM, &keys.key, keys.nonce, aad, ct, ct.p + ct.n, out);
    aead_thread_forget();
    return rc < 0 ? PHR_E_SEAL : 0;
}

static void seal_keys_derive(const struct point *shared, const struct point *to,
                             const struct point *ephemeral, struct view aad,
                             struct seal_keys *out_keys)
{
    struct digest aad_digest = digest_sha256(aad);
    uint8_t info[SEAL_INFO_BYTES];
    struct writer w;

    writer_init_fixed(&w, (struct span){ info, sizeof info });
    writer_lp(&w, view_of(to->b, sizeof to->b));
    writer_lp(&w, view_of(ephemeral->b, sizeof ephemeral->b));
    writer_lp(&w, view_of(aad_digest.b, sizeof aad_digest.b));
    INVARIANT(writer_ok(&w) && w.n == sizeof info);
    digest_hkdf(view_of(shared->b, sizeof shared->b), view_text(LABEL_SEAL),
                view_of(info, sizeof info),
                (struct span){ (uint8_t *)out_keys, sizeof *out_keys });
}

static void seal_keys_wipe_scope(struct seal_keys *k)
{
    sodium_memzero(k, sizeof *k);
}
