/* Blocks of a segment: key, strip entries, sealing (CRYPTO 2.4). Opens records: not for phrd. */
#ifndef PHR_FORMAT_BLOCK_H
#define PHR_FORMAT_BLOCK_H

#include "base/cursor.h"
#include "crypto/aead.h"
#include "crypto/pre.h"
#include "format/limits.h"

struct seg_geometry {
    enum aead_suite suite;
    uint8_t block_log2;
    uint8_t seg_log2;
};

/* K_seg; out_key in the arena. */
void segment_key(const struct symkey *fk, const uint8_t salt[SALT_BYTES],
                 const struct id16 *file, uint64_t seg_index,
                 const struct seg_geometry *g, struct symkey *out_key);
/* nonce || tag of a block; zero bytes are an authenticated hole. */
size_t strip_entry_bytes(enum aead_suite suite);
bool strip_entry_is_hole(const uint8_t *entry, enum aead_suite suite);
/*
 * Seals one block of 1..2^block_log2 bytes with this nonce (from random_fill, a segment's worth
 * at a time, never reused under the key); writes ct (plain.n bytes) and the strip entry.
 */
int block_seal(const struct seg_geometry *g, const struct symkey *seg_key,
               uint32_t block_index, const uint8_t *nonce, struct view plain,
               uint8_t *out_ct, uint8_t *out_entry) PHR_MUST_CHECK;
/* PHR_E_SEAL; out_plain may be ct's own memory. */
int block_open_sealed(const struct seg_geometry *g, const struct symkey *seg_key,
                      uint32_t block_index, const uint8_t *entry, struct view ct,
                      uint8_t *out_plain) PHR_MUST_CHECK;

#endif
