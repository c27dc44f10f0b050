/*
 * Segments, blocks, strip, manifest, footer, overlay groups (CRYPTO 2.4, STORAGE 1). Bytes
 * and keys only; where they lie on disk is the business of src/store.
 */
#ifndef PHR_FORMAT_SEGMENT_H
#define PHR_FORMAT_SEGMENT_H

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
void segment_key(const struct symkey *fk, const uint8_t salt[SALT_BYTES], const struct id16 *file,
                 uint64_t seg_index, const struct seg_geometry *g, struct symkey *out_key);
/* nonce || tag of a block; zero bytes are an authenticated hole. */
size_t strip_entry_bytes(enum aead_suite suite);
bool strip_entry_is_hole(const uint8_t *entry, enum aead_suite suite);
/*
 * Seals one block of 1..2^block_log2 bytes with this nonce (from random_fill, a segment's worth
 * at a time, never reused under the key); writes ct (plain.n bytes) and the strip entry.
 */
int block_seal(const struct seg_geometry *g, const struct symkey *seg_key, uint32_t block_index,
               const uint8_t *nonce, struct view plain, uint8_t *out_ct,
               uint8_t *out_entry) PHR_MUST_CHECK;
/* PHR_E_SEAL; out_plain may be ct's own memory. */
int block_open_sealed(const struct seg_geometry *g, const struct symkey *seg_key,
                      uint32_t block_index, const uint8_t *entry, struct view ct,
                      uint8_t *out_plain) PHR_MUST_CHECK;
/* SHA(seg_salt || strip). */
struct digest strip_id(const uint8_t salt[SALT_BYTES], struct view strip);

/* The manifest: one entry of 80 bytes per present segment, indices strictly increasing. */
enum { MANIFEST_ENTRY_BYTES = 80 };
struct manifest_entry {
    uint64_t seg_index;
    uint32_t plaintext_len;
    uint32_t fk_gen;
    struct digest object_id;
    struct digest strip_id;
};
void manifest_encode(const struct manifest_entry *entries, size_t count, struct writer *out);
/* Entries are the caller's (free). PHR_E_FORMAT. */
int manifest_decode(struct view bytes, struct manifest_entry **out_entries,
                    size_t *out_count) PHR_MUST_CHECK;
/* RFC 6962 MTH over the encoded entries; SHA("") for none. */
struct digest manifest_root(struct view manifest);

/* Footer: one page behind a segment, or the first page of an overlay (STORAGE 1, S-4). */
enum { FOOTER_BYTES = 4096 };
struct footer {
    struct file_ctx ctx;
    struct view header;     /* borrowed */
    uint64_t seg_index;
    uint32_t plaintext_len;
    uint32_t fk_gen;
    uint64_t object_len;    /* 0 while it is being built */
    struct digest strip_id;
    uint64_t rising;        /* newest of the two pages wins */
    uint8_t salt[SALT_BYTES]; /* seg_salt, or log_id || 0^16 of an overlay */
    bool is_overlay;
};
/* Exactly FOOTER_BYTES, HMAC at the end under HKDF(fk_gen, salt, footer label || LP(file)). */
int footer_encode(const struct footer *f, const struct symkey *fk, uint8_t out[FOOTER_BYTES]) PHR_MUST_CHECK;
/* Parses without a key (recovery looks for the header first); PHR_E_FORMAT. */
int footer_decode(struct view page, struct footer *out_footer) PHR_MUST_CHECK;
/* PHR_E_SEAL. */
int footer_check(struct view page, const struct footer *f, const struct symkey *fk) PHR_MUST_CHECK;

/* Overlay group header: padded to whole pages, MAC over all before it (STORAGE 1). */
enum { OVERLAY_GROUP_RECORDS_MAX = 256 };
enum overlay_kind { OVERLAY_DATA = 1, OVERLAY_TRUNCATE = 2, OVERLAY_PUNCH = 3, OVERLAY_ZERO = 4 };
struct overlay_record {
    uint64_t block;  /* first block; ranges: byte offset */
    uint64_t len;    /* data: 1..BLOCK_BYTES; ranges: byte length */
    enum overlay_kind kind;
    uint8_t nonce[AEAD_XCHACHA_NONCE_BYTES]; /* 12 used in suite 1 */
    uint8_t tag[AEAD_TAG_BYTES];
};
struct overlay_group {
    struct id16 log_id;
    uint64_t group_no;
    struct digest prev;
    uint64_t file_size;
    uint64_t mtime_s;
    uint32_t mtime_ns;
    uint32_t count;
    struct overlay_record records[OVERLAY_GROUP_RECORDS_MAX];
};
struct overlay_keys {
    struct symkey *log; /* arena */
    struct symkey *group;
};
int overlay_keys_derive(const struct symkey *fk, const struct id16 *log_id, const struct id16 *file,
                        struct overlay_keys *out_keys) PHR_MUST_CHECK;
void overlay_keys_free(struct overlay_keys *k);
struct digest overlay_chain_start(const struct id16 *log_id);
/* prev of the next group from the MAC of this one: SHA(prev || mac). */
struct digest overlay_chain_next(const struct digest *prev, const struct digest *mac);
/* Whole pages appended to out; out_mac feeds the chain. */
int overlay_group_encode(const struct overlay_group *g, enum aead_suite suite,
                         const struct overlay_keys *k, struct writer *out,
                         struct digest *out_mac) PHR_MUST_CHECK;
/* bytes begins with a group header; checks MAC; PHR_E_FORMAT or PHR_E_SEAL. */
int overlay_group_decode(struct view bytes, enum aead_suite suite, const struct overlay_keys *k,
                         struct overlay_group *out_group, size_t *out_header_bytes,
                         struct digest *out_mac) PHR_MUST_CHECK;
/* One data block: aad = log_id || LE64 group || LE64 block || LE32 len. Fills nonce and tag of r. */
int overlay_block_seal(enum aead_suite suite, const struct overlay_keys *k,
                       const struct id16 *log_id, uint64_t group_no, struct overlay_record *r,
                       struct view plain, uint8_t *out_ct) PHR_MUST_CHECK;
int overlay_block_open_sealed(enum aead_suite suite, const struct overlay_keys *k,
                              const struct id16 *log_id, uint64_t group_no,
                              const struct overlay_record *r, const uint8_t *ct,
                              uint8_t *out_plain) PHR_MUST_CHECK;

#endif
