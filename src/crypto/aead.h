/*
 * Authenticated encryption: suite 1 AES-256-GCM by OpenSSL (one cipher context per thread and
 * direction, the key schedule is kept while the same key is used), suite 2 XChaCha20-Poly1305
 * by libsodium. Keys are borrowed from the arena. On failure the output is wiped and the
 * reason is PHR_E_SEAL, whatever the cause.
 */
#ifndef PHR_CRYPTO_AEAD_H
#define PHR_CRYPTO_AEAD_H

#include "phr/err.h"
#include "phr/types.h"

enum aead_suite { AEAD_GCM = 1, AEAD_XCHACHA = 2 };
enum { AEAD_TAG_BYTES = 16, AEAD_GCM_NONCE_BYTES = 12, AEAD_XCHACHA_NONCE_BYTES = 24 };

/* AEAD_GCM when the CPU has AES and PCLMULQDQ, else AEAD_XCHACHA. */
enum aead_suite aead_suite_best(void);
size_t aead_nonce_bytes(enum aead_suite suite); /* 12 or 24; 0 for an unknown suite */

/*
 * Detached: ct has the length of plain and may be the same memory; tag is 16 bytes; nonce has
 * aead_nonce_bytes(suite). For XChaCha a nonce is 24 bytes.
 */
int aead_seal(enum aead_suite suite, const struct symkey *key, const uint8_t *nonce,
              struct view aad, struct view plain, uint8_t *out_ct, uint8_t *out_tag) PHR_MUST_CHECK;
int aead_open_sealed(enum aead_suite suite, const struct symkey *key, const uint8_t *nonce,
                     struct view aad, struct view ct, const uint8_t *tag,
                     uint8_t *out_plain) PHR_MUST_CHECK;

/* nonce24 || XChaCha20-Poly1305 ct || tag16 with a fresh random nonce: room = plain.n + 40. */
enum { AEAD_BOX_EXTRA_BYTES = 24 + 16 };
int aead_box(const struct symkey *key, struct view aad, struct view plain,
             struct span out) PHR_MUST_CHECK;
/* out.n must be box.n - 40. PHR_E_SEAL. */
int aead_open_box(const struct symkey *key, struct view aad, struct view box,
                  struct span out) PHR_MUST_CHECK;

/* Wipes the keys that this thread's contexts still hold: after a single-use key. */
void aead_thread_forget(void);
/* Frees this thread's contexts (they also go with the thread). */
void aead_thread_fini(void);

#endif
