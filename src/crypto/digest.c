/*
 * One set of OpenSSL contexts per thread: fetching an algorithm and making a context costs
 * more than hashing a short input. Contexts that held a key are cleared after each use, so
 * that no secret stays on OpenSSL's heap between calls.
 */
#include "crypto/digest.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/scope.h"

enum { HKDF_BYTES = 64 }; /* of one step: SHA-512 */
enum { HMAC_BLOCK_BYTES = 64 }; /* SHA-256 */

struct digest_thread {
    EVP_MD_CTX *md;
    EVP_MAC_CTX *mac512; /* HMAC-SHA-512, for HKDF */
};

struct digest_stream {
    EVP_MD_CTX *md;
};

static pthread_once_t digest_once = PTHREAD_ONCE_INIT;
static pthread_key_t digest_key;
static EVP_MD *sha256; /* fetched once, then only read */
static EVP_MAC *hmac;

static void digest_setup(void);
static void digest_thread_free(void *slot);
static struct digest_thread *digest_thread_get(void);
static EVP_MAC_CTX *mac_new(const char *digest);

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

static const uint8_t zero_key[32] = { 0 };

static void mac_begin(EVP_MAC_CTX *mac, struct view key)
{
    /* OpenSSL reads a NULL key as "keep the one before". */
    if (!key.p || key.n == 0)
        key = view_of(zero_key, 1); /* the same as an empty key: HMAC pads with zeros */
    INVARIANT(EVP_MAC_init(mac, key.p, key.n, NULL) == 1);
}

static void mac_add(EVP_MAC_CTX *mac, struct view bytes)
{
    if (bytes.n > 0)
        INVARIANT(EVP_MAC_update(mac, bytes.p, bytes.n) == 1);
}

static void mac_finish(EVP_MAC_CTX *mac, struct span out)
{
    size_t n = 0;

    INVARIANT(EVP_MAC_final(mac, out.p, &n, out.n) == 1 && n == out.n);
}

static void mac_forget(EVP_MAC_CTX *mac)
{
    INVARIANT(EVP_MAC_init(mac, zero_key, sizeof zero_key, NULL) == 1);
}

/* H((k ^ pad) || bytes) of RFC 2104. */
static struct digest hash_padded(EVP_MD_CTX *md, const uint8_t key[HMAC_BLOCK_BYTES], uint8_t pad,
                                 struct view bytes)
{
    uint8_t block[HMAC_BLOCK_BYTES];
    struct digest d;

    for (size_t i = 0; i < sizeof block; i++)
        block[i] = key[i] ^ pad;
    INVARIANT(EVP_DigestInit_ex2(md, sha256, NULL) == 1);
    INVARIANT(EVP_DigestUpdate(md, block, sizeof block) == 1);
    INVARIANT(EVP_DigestUpdate(md, bytes.p, bytes.n) == 1);
    INVARIANT(EVP_DigestFinal_ex(md, d.b, NULL) == 1);
    sodium_memzero(block, sizeof block);
    return d;
}

/* Not by EVP_MAC: to key it costs it ten times what a short input costs, and each name looked up is one. */
struct digest digest_hmac(struct view key, struct view bytes)
{
    EVP_MD_CTX *md = digest_thread_get()->md;
    uint8_t block[HMAC_BLOCK_BYTES] = { 0 };
    struct digest d;

    if (key.n > sizeof block) {
        d = digest_sha256(key);
        memcpy(block, d.b, sizeof d.b);
    } else if (key.n > 0) {
        memcpy(block, key.p, key.n);
    }
    d = hash_padded(md, block, 0x36, bytes);
    d = hash_padded(md, block, 0x5c, view_of(d.b, sizeof d.b));
    sodium_memzero(block, sizeof block);
    INVARIANT(EVP_DigestInit_ex2(md, sha256, NULL) == 1); /* forgets what came of the key */
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

/* RFC 5869 with SHA-512. OpenSSL's own fetches HMAC and SHA-512 by name for each step, which costs
   several times what the steps do. */
void digest_hkdf(struct view ikm, struct view salt, struct view info, struct span out)
{
    EVP_MAC_CTX *mac = digest_thread_get()->mac512;
    uint8_t prk[HKDF_BYTES];
    uint8_t block[HKDF_BYTES];

    INVARIANT(out.n >= 1 && out.n <= 255 * (size_t)HKDF_BYTES);
    mac_begin(mac, salt);
    mac_add(mac, ikm);
    mac_finish(mac, (struct span){ prk, sizeof prk });
    for (uint8_t i = 1; out.n > 0; i++) {
        size_t n = out.n < sizeof block ? out.n : sizeof block;

        mac_begin(mac, view_of(prk, sizeof prk));
        if (i > 1)
            mac_add(mac, view_of(block, sizeof block));
        mac_add(mac, info);
        mac_add(mac, view_of(&i, 1));
        mac_finish(mac, (struct span){ block, sizeof block });
        memcpy(out.p, block, n);
        out = (struct span){ out.p + n, out.n - n };
    }
    mac_forget(mac);
    sodium_memzero(prk, sizeof prk);
    sodium_memzero(block, sizeof block);
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
    INVARIANT(sha256 && hmac);
}

static void digest_thread_free(void *slot)
{
    struct digest_thread *t = slot;

    EVP_MD_CTX_free(t->md);
    EVP_MAC_CTX_free(t->mac512);
    free(t);
}

static struct digest_thread *digest_thread_get(void)
{
    struct digest_thread *t = NULL;

    INVARIANT(pthread_once(&digest_once, digest_setup) == 0);
    t = pthread_getspecific(digest_key);
    if (t)
        return t;
    t = calloc(1, sizeof *t);
    INVARIANT(t != NULL);
    t->md = EVP_MD_CTX_new();
    INVARIANT(t->md != NULL);
    t->mac512 = mac_new("SHA512");
    INVARIANT(pthread_setspecific(digest_key, t) == 0);
    return t;
}

/* The digest stays with the context, so later keys fetch nothing. OpenSSL's constructor takes a
   pointer to non-const and does not write through it. */
static EVP_MAC_CTX *mac_new(const char *digest)
{
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(hmac);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t)digest, 0),
        OSSL_PARAM_construct_end(),
    };

    INVARIANT(mac != NULL);
    INVARIANT(EVP_MAC_CTX_set_params(mac, params) == 1);
    return mac;
}
