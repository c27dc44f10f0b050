/*
 * AES-256-GCM and XChaCha20-Poly1305.
 *
 * AEAD-1  A GCM context belongs to one thread and one direction.
 * AEAD-2  It keeps its key schedule while the key stays the same; the copy that says so lies
 *         in the secret arena and is compared in constant time. Without a slot (arena full)
 *         the key is set anew for each message.
 * AEAD-3  aead_thread_forget and the end of the thread wipe schedule and copy.
 * AEAD-4  A failed open leaves zeros in the output.
 */
#include "crypto/aead.h"

#include <limits.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/random.h"

struct gcm {
    EVP_CIPHER_CTX *ctx;
    struct symkey *key; /* of the schedule; NULL when there is no slot for it */
    bool is_keyed;
};

struct aead_thread {
    struct gcm seal;
    struct gcm open;
};

static pthread_once_t aead_once = PTHREAD_ONCE_INIT;
static pthread_key_t aead_key;
static EVP_CIPHER *aes_gcm; /* fetched once, then only read */

static struct aead_thread *aead_thread_get(void);
static void aead_thread_free(void *slot);
static int gcm_begin(struct gcm *g, bool is_seal, const struct symkey *key,
                     const uint8_t *nonce);
static int gcm_seal(const struct symkey *key, const uint8_t *nonce, struct view aad,
                    struct view plain, uint8_t *out_ct, uint8_t *out_tag);
static int gcm_open(const struct symkey *key, const uint8_t *nonce, struct view aad,
                    struct view ct, const uint8_t *tag, uint8_t *out_plain);

enum aead_suite aead_suite_best(void)
{
    /* libsodium's answer is AES-NI and PCLMULQDQ, the two that GCM needs to be constant-time. */
    return crypto_aead_aes256gcm_is_available() ? AEAD_GCM : AEAD_XCHACHA;
}

size_t aead_nonce_bytes(enum aead_suite suite)
{
    switch (suite) {
    case AEAD_GCM:
        return AEAD_GCM_NONCE_BYTES;
    case AEAD_XCHACHA:
        return AEAD_XCHACHA_NONCE_BYTES;
    default:
        return 0;
    }
}

int aead_seal(enum aead_suite suite, const struct symkey *key, const uint8_t *nonce,
              struct view aad, struct view plain, uint8_t *out_ct, uint8_t *out_tag)
{
    if (aad.n > INT_MAX || plain.n > INT_MAX)
        return PHR_E_LIMIT;
    switch (suite) {
    case AEAD_GCM:
        return gcm_seal(key, nonce, aad, plain, out_ct, out_tag);
    case AEAD_XCHACHA:
        INVARIANT(crypto_aead_xchacha20poly1305_ietf_encrypt_detached(
                      out_ct, out_tag, NULL, plain.p, plain.n, aad.p, aad.n, NULL, nonce,
                      key->b) == 0);
        return 0;
    default:
        return PHR_E_FORMAT;
    }
}

int aead_open_sealed(enum aead_suite suite, const struct symkey *key,
                     const uint8_t *nonce, struct view aad, struct view ct,
                     const uint8_t *tag, uint8_t *out_plain)
{
    int rc = PHR_E_SEAL;

    if (aad.n > INT_MAX || ct.n > INT_MAX)
        return PHR_E_SEAL;
    if (suite == AEAD_GCM) {
        rc = gcm_open(key, nonce, aad, ct, tag, out_plain);
    } else if (suite == AEAD_XCHACHA) {
        rc = crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
                 out_plain, NULL, ct.p, ct.n, tag, aad.p, aad.n, nonce, key->b) == 0
                 ? 0
                 : PHR_E_SEAL;
    }
    if (rc < 0 && ct.n > 0)
        sodium_memzero(out_plain, ct.n);
    return rc;
}

int aead_box(const struct symkey *key, struct view aad, struct view plain,
             struct span out)
{
    size_t want = 0;

    if (!checked_add(plain.n, (size_t)AEAD_BOX_EXTRA_BYTES, &want))
        return PHR_E_LIMIT;
    INVARIANT(out.n == want);
    random_fill(out.p, AEAD_XCHACHA_NONCE_BYTES);
    return aead_seal(AEAD_XCHACHA, key, out.p, aad, plain,
                     out.p + AEAD_XCHACHA_NONCE_BYTES,
                     out.p + AEAD_XCHACHA_NONCE_BYTES + plain.n);
}

int aead_open_box(const struct symkey *key, struct view aad, struct view box,
                  struct span out)
{
    struct view ct;

    if (box.n < AEAD_BOX_EXTRA_BYTES || out.n != box.n - AEAD_BOX_EXTRA_BYTES) {
        if (out.n > 0)
            sodium_memzero(out.p, out.n);
        return PHR_E_SEAL;
    }
    ct = (struct view){ box.p + AEAD_XCHACHA_NONCE_BYTES, out.n };
    return aead_open_sealed(AEAD_XCHACHA, key, box.p, aad, ct, ct.p + ct.n, out.p);
}

void aead_thread_forget(void)
{
    struct aead_thread *t = aead_thread_get();
    struct gcm *both[] = { &t->seal, &t->open };

    for (size_t i = 0; i < ARRAY_COUNT(both); i++) {
        INVARIANT(EVP_CIPHER_CTX_reset(both[i]->ctx) == 1); /* cleanses the schedule */
        if (both[i]->key)
            sodium_memzero(both[i]->key, sizeof *both[i]->key);
        both[i]->is_keyed = false;
    }
}

void aead_thread_fini(void)
{
    struct aead_thread *t = aead_thread_get();

    INVARIANT(pthread_setspecific(aead_key, NULL) == 0);
    aead_thread_free(t);
}

static void aead_setup(void)
{
    INVARIANT(pthread_key_create(&aead_key, aead_thread_free) == 0);
    aes_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    INVARIANT(aes_gcm != NULL);
}

static struct aead_thread *aead_thread_get(void)
{
    struct aead_thread *t = NULL;

    INVARIANT(pthread_once(&aead_once, aead_setup) == 0);
    t = pthread_getspecific(aead_key);
    if (t)
        return t;
    t = calloc(1, sizeof *t);
    INVARIANT(t != NULL);
    t->seal.ctx = EVP_CIPHER_CTX_new();
    t->open.ctx = EVP_CIPHER_CTX_new();
    INVARIANT(t->seal.ctx && t->open.ctx);
    t->seal.key = secret_alloc(sizeof *t->seal.key);
    t->open.key = secret_alloc(sizeof *t->open.key);
    INVARIANT(pthread_setspecific(aead_key, t) == 0);
    return t;
}

static void aead_thread_free(void *slot)
{
    struct aead_thread *t = slot;

    EVP_CIPHER_CTX_free(t->seal.ctx);
    EVP_CIPHER_CTX_free(t->open.ctx);
    secret_free(t->seal.key);
    secret_free(t->open.key);
    free(t);
}

/* Sets key (when it is another one) and nonce. */
static int gcm_begin(struct gcm *g, bool is_seal, const struct symkey *key,
                     const uint8_t *nonce)
{
    bool keep =
        g->is_keyed && g->key && sodium_memcmp(g->key->b, key->b, sizeof key->b) == 0;
    const EVP_CIPHER *cipher = g->is_keyed ? NULL : aes_gcm;

    if (EVP_CipherInit_ex2(g->ctx, cipher, keep ? NULL : key->b, nonce, is_seal ? 1 : 0,
                           NULL) != 1) {
        g->is_keyed = false;
        return -ENOMEM;
    }
    if (!keep && g->key)
        memcpy(g->key->b, key->b, sizeof key->b);
    g->is_keyed = true;
    return 0;
}

/* The two lengths are at most INT_MAX here. OpenSSL reads a NULL output as "this is aad". */
static bool gcm_feed(struct gcm *g, struct view aad, struct view in, uint8_t *out)
{
    int n = 0;

    if (aad.n > 0 && EVP_CipherUpdate(g->ctx, NULL, &n, aad.p, (int)aad.n) != 1)
        return false;
    return in.n == 0 ||
           (EVP_CipherUpdate(g->ctx, out, &n, in.p, (int)in.n) == 1 && n == (int)in.n);
}

static int gcm_seal(const struct symkey *key, const uint8_t *nonce, struct view aad,
                    struct view plain, uint8_t *out_ct, uint8_t *out_tag)
{
    struct gcm *g = &aead_thread_get()->seal;
    uint8_t rest[16];
    int n = 0;
    int rc = gcm_begin(g, true, key, nonce);

    if (rc < 0)
        return rc;
    INVARIANT(gcm_feed(g, aad, plain, out_ct));
    INVARIANT(EVP_CipherFinal_ex(g->ctx, rest, &n) == 1 && n == 0);
    INVARIANT(
        EVP_CIPHER_CTX_ctrl(g->ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_BYTES, out_tag) == 1);
    return 0;
}

static int gcm_open(const struct symkey *key, const uint8_t *nonce, struct view aad,
                    struct view ct, const uint8_t *tag, uint8_t *out_plain)
{
    struct gcm *g = &aead_thread_get()->open;
    uint8_t want[AEAD_TAG_BYTES];
    uint8_t rest[16];
    int n = 0;
    int rc = gcm_begin(g, false, key, nonce);

    if (rc < 0)
        return rc;
    memcpy(want, tag, sizeof want);
    if (!gcm_feed(g, aad, ct, out_plain) ||
        EVP_CIPHER_CTX_ctrl(g->ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_BYTES, want) != 1 ||
        EVP_CipherFinal_ex(g->ctx, rest, &n) != 1)
        return PHR_E_SEAL;
    return 0;
}
