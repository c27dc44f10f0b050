/*
 * SHA-256 and HMAC-SHA-256 by OpenSSL (SHA extensions; 5 x libsodium's speed), HKDF-SHA-512 by libsodium.
 * They cannot fail once selftest_run() passed; a failure of the library is an INVARIANT.
 * Threads: any.
 */
#ifndef PHR_CRYPTO_DIGEST_H
#define PHR_CRYPTO_DIGEST_H

#include "base/cursor.h"
#include "phr/err.h"
#include "phr/types.h"

struct digest digest_sha256(struct view bytes);
/* SHA-256(prefix byte || bytes): RFC 6962 leaves and nodes. */
struct digest digest_sha256_prefixed(uint8_t prefix, struct view a, struct view b);
/* SHA-256(label || 0x00 || h): what our signatures cover. */
struct digest digest_labelled(const char *label, const struct digest *h);
struct digest digest_hmac(struct view key, struct view bytes);
/* Streaming, for objects. */
struct digest_stream;
struct digest_stream *digest_stream_new(void);
void digest_stream_add(struct digest_stream *s, struct view bytes);
struct digest digest_stream_finish(struct digest_stream *s); /* frees s */
void digest_stream_free(struct digest_stream *s);
/* HKDF-SHA-512 (RFC 5869): salt may be empty; info as given; 1..255*64 bytes out. */
void digest_hkdf(struct view ikm, struct view salt, struct view info, struct span out);
bool digest_equal(const struct digest *a, const struct digest *b);
bool id_equal(const struct id16 *a, const struct id16 *b);
bool id_is_zero(const struct id16 *a);

#endif
