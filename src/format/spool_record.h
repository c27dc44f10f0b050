/* Encrypted records of a spool file or table (CRYPTO 2.5). */
#ifndef PHR_FORMAT_SPOOL_RECORD_H
#define PHR_FORMAT_SPOOL_RECORD_H

#include "base/cursor.h"
#include "crypto/pre.h"
#include "format/limits.h"

/*
 * The spool (CRYPTO 2.5): header = host16 || LE64 no || Seal(SRS key, "spool"||host16||LE64 no, K_spool);
 * record = LE32 len || LE64 n || nonce24 || XChaCha20-Poly1305(K_spool, host16||LE64 n||prev32, event);
 * prev = SHA-256 of the record before, zero first. Also used for the table of events that ride
 * in a transaction: its `no` has the top bit set.
 */
#define SPOOL_NO_TABLE (UINT64_C(1) << 63)
enum {
    SPOOL_HEADER_BYTES = 16 + 8 + 32 + 80,
    SPOOL_RECORD_EXTRA_BYTES = 4 + 8 + 24 + 16
};
int spool_header_encode(const struct id16 *host, uint64_t no, const struct point *srs,
                        const struct symkey *k_spool,
                        uint8_t out[SPOOL_HEADER_BYTES]) PHR_MUST_CHECK;
/* SRS only. out_key in the arena. */
int spool_header_open(struct view header, const struct scalar *srs, struct id16 *out_host,
                      uint64_t *out_no, struct symkey *out_key) PHR_MUST_CHECK;
int spool_record_seal(const struct symkey *k_spool, const struct id16 *host, uint64_t n,
                      const struct digest *prev, struct view event,
                      struct writer *out) PHR_MUST_CHECK;
/* First record of bytes; out_used is its whole length; plain appended to *plain. */
int spool_record_open(const struct symkey *k_spool, const struct id16 *host, uint64_t n,
                      const struct digest *prev, struct view bytes, size_t *out_used,
                      struct writer *plain) PHR_MUST_CHECK;

#endif
