/*
 * One set of OpenSSL contexts per thread: fetching an algorithm and making a context costs
 * more than hashing a short input. Contexts that held a key are cleared after each use, so
 * that no secret stays on OpenSSL's heap between calls.
 */
#include "crypto/digest.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/scope.h"

struct digest_thread {
    EVP_MD_CTX *md;
    EVP_MAC_CTX *mac;
    EVP_KDF_CTX *kdf;
};

struct digest_stream {
    EVP_MD_CTX *md;
};

static pthread_once_t digest_once = PTHREAD_ONCE_INIT;
static pthread_key_t digest_key;
static EVP_MD *sha256; /* fetched once, then only read */
static EVP_MAC *hmac;
static EVP_KDF *hkdf;

static void digest_setup(void);
static void digest_thread_free(void *slot);
static struct digest_thread *digest_thread_get(void);
static OSSL_PARAM param_bytes(const char *key, struct view v);
static OSSL_PARAM param_name(const char *key, const char *name);

struct digest digest_sha256(struct view bytes)
{
    EVP_MD_CTX *md = digest_thread_get()->md;
    struct digest d;

    INVARIANT(EVP_DigestInit_ex2(md, sha256, NULL) == 1);
    INVARIANT(EVP_DigestUpdate(md, bytes.p, bytes.n) == 1);
    INVARIANT(EVP_DigestFinal_ex(md, d.b, NULL) == 1);
    return d;
}

struct digest digest_sha256_prefixed(uint8_t prefix, struct view a, struct view b)
{
    EVP_MD_CTX *md = digest_thread_get()->md;
    struct digest d;

    INVARIANT(EVP_DigestInit_ex2(md, sha256, NULL) == 1);
    INVARIANT(EVP_DigestUpdate(md, &prefix, 1) == 1);
    INVARIANT(EVP_DigestUpdate(md, a.p, a.n) == 1);
    INVARIANT(EVP_DigestUpdate(md, b.p, b.n) == 1);
    INVARIANT(EVP_DigestFinal_ex(md, d.b, NULL) == 1);
    return d;
}

struct digest digest_labelled(const char *label, const struct digest *h)
{
    EVP_MD_CTX *md = digest_thread_get()->md;
    struct digest d;

    INVARIANT(EVP_DigestInit_ex2(md, sha256, NULL) == 1);
    /* The terminating NUL is the 0x00 between label and value. */
    INVARIANT(EVP_DigestUpdate(md, label, strlen(label) + 1) == 1);
    INVARIANT(EVP_DigestUpdate(md, h->b, sizeof h->b) == 1);
    INVARIANT(EVP_DigestFinal_ex(md, d.b, NULL) == 1);
    return d;
}

struct digest digest_hmac(struct view key, struct view bytes)
{
    static const uint8_t zero_key[32] = { 0 };
    EVP_MAC_CTX *mac = digest_thread_get()->mac;
    struct digest d;
    size_t n = 0;

    /* OpenSSL reads a NULL key as "keep the one before". */
    if (!key.p || key.n == 0)
        key = view_of(zero_key, 1); /* the same as an empty key: HMAC pads with zeros */
    INVARIANT(EVP_MAC_init(mac, key.p, key.n, NULL) == 1);
    INVARIANT(EVP_MAC_update(mac, bytes.p, bytes.n) == 1);
    INVARIANT(EVP_MAC_final(mac, d.b, &n, sizeof d.b) == 1 && n == sizeof d.b);
    INVARIANT(EVP_MAC_init(mac, zero_key, sizeof zero_key, NULL) ==
              1); /* forgets the key */
    return d;
}

struct digest_stream *digest_stream_new(void)
{
    struct digest_stream *s = calloc(1, sizeof *s);

    (void)digest_thread_get(); /* the algorithms are fetched */
    INVARIANT(s != NULL);
    s->md = EVP_MD_CTX_new();
    INVARIANT(s->md != NULL);
    INVARIANT(EVP_DigestInit_ex2(s->md, sha256, NULL) == 1);
    return s;
}

void digest_stream_add(struct digest_stream *s, struct view bytes)
{
    INVARIANT(EVP_DigestUpdate(s->md, bytes.p, bytes.n) == 1);
}

struct digest digest_stream_finish(struct digest_stream *s)
{
    struct digest d;

    INVARIANT(EVP_DigestFinal_ex(s->md, d.b, NULL) == 1);
    digest_stream_free(s);
    return d;
}

void digest_stream_free(struct digest_stream *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->md);
    free(s);
}

void digest_hkdf(struct view ikm, struct view salt, struct view info, struct span out)
{
    EVP_KDF_CTX *kdf = digest_thread_get()->kdf;
    OSSL_PARAM params[] = {
        param_name(OSSL_KDF_PARAM_DIGEST, "SHA512"),
        param_bytes(OSSL_KDF_PARAM_KEY, ikm),
        param_bytes(OSSL_KDF_PARAM_SALT, salt),
        param_bytes(OSSL_KDF_PARAM_INFO, info),
        OSSL_PARAM_construct_end(),
    };

    INVARIANT(out.n >= 1 && out.n <= 255 * 64);
    INVARIANT(EVP_KDF_derive(kdf, out.p, out.n, params) == 1);
    EVP_KDF_CTX_reset(kdf); /* cleanses its copies of ikm, salt and info */
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return sodium_memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool id_equal(const struct id16 *a, const struct id16 *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool id_is_zero(const struct id16 *a)
{
    return sodium_is_zero(a->b, sizeof a->b) == 1;
}

static void digest_setup(void)
{
    INVARIANT(pthread_key_create(&digest_key, digest_thread_free) == 0);
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    INVARIANT(sha256 && hmac && hkdf);
}

static void digest_thread_free(void *slot)
{
    struct digest_thread *t = slot;

    EVP_MD_CTX_free(t->md);
    EVP_MAC_CTX_free(t->mac);
    EVP_KDF_CTX_free(t->kdf);
    free(t);
}

static struct digest_thread *digest_thread_get(void)
{
    struct digest_thread *t = NULL;
    OSSL_PARAM mac_params[] = {
        param_name(OSSL_MAC_PARAM_DIGEST, "SHA256"),
        OSSL_PARAM_construct_end(),
    };

    INVARIANT(pthread_once(&digest_once, digest_setup) == 0);
    t = pthread_getspecific(digest_key);
    if (t)
        return t;
    t = calloc(1, sizeof *t);
    INVARIANT(t != NULL);
    t->md = EVP_MD_CTX_new();
    t->mac = EVP_MAC_CTX_new(hmac);
    t->kdf = EVP_KDF_CTX_new(hkdf);
    INVARIANT(t->md && t->mac && t->kdf);
    INVARIANT(EVP_MAC_CTX_set_params(t->mac, mac_params) == 1);
    INVARIANT(pthread_setspecific(digest_key, t) == 0);
    return t;
}

/* OpenSSL's constructors take pointers to non-const and do not write through these. */
static OSSL_PARAM param_bytes(const char *key, struct view v)
{
    static const uint8_t nothing[1] = { 0 };
    const uint8_t *p = v.p ? v.p : nothing;

    return OSSL_PARAM_construct_octet_string(key, (void *)(uintptr_t)p, v.n);
}

static OSSL_PARAM param_name(const char *key, const char *name)
{
    return OSSL_PARAM_construct_utf8_string(key, (char *)(uintptr_t)name, 0);
}
