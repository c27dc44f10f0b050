/*
 * Linked into ct_secrets with --wrap: what these functions answer may be seen. A comparison,
 * "is it zero", "is it valid" end in a decision that callers act on; whatever else in our
 * code depends on a secret is reported.
 */
#include <sodium.h>
#include <valgrind/memcheck.h>

/* A linker's names cannot be declared in a header of theirs. */
#define VERDICT(name, parameters, arguments)                 \
    int __real_##name parameters;                            \
    int __wrap_##name parameters;                            \
    int __wrap_##name parameters                             \
    {                                                        \
        int verdict = __real_##name arguments;               \
                                                             \
        VALGRIND_MAKE_MEM_DEFINED(&verdict, sizeof verdict); \
        return verdict;                                      \
    }

VERDICT(sodium_memcmp, (const void *a, const void *b, size_t n), (a, b, n))
VERDICT(sodium_is_zero, (const unsigned char *p, size_t n), (p, n))
VERDICT(crypto_core_ristretto255_scalar_invert,
        (unsigned char *r, const unsigned char *s), (r, s))
VERDICT(crypto_scalarmult_ristretto255_base, (unsigned char *q, const unsigned char *n),
        (q, n))
VERDICT(crypto_scalarmult_ristretto255,
        (unsigned char *q, const unsigned char *n, const unsigned char *p), (q, n, p))
VERDICT(crypto_aead_xchacha20poly1305_ietf_decrypt_detached,
        (unsigned char *m, unsigned char *nsec, const unsigned char *c,
         unsigned long long n, const unsigned char *tag, const unsigned char *aad,
         unsigned long long aad_n, const unsigned char *nonce, const unsigned char *key),
        (m, nsec, c, n, tag, aad, aad_n, nonce, key))
