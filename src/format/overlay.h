/*
 * Overlay groups: what was written over slots that may not be rewritten (STORAGE 1). A group is
 * a header padded to whole pages, with a MAC over all before it, and its data blocks.
 */
#ifndef PHR_FORMAT_OVERLAY_H
#define PHR_FORMAT_OVERLAY_H

#include "base/cursor.h"
#include "crypto/aead.h"
#include "crypto/pre.h"
#include "format/limits.h"

enum { OVERLAY_GROUP_RECORDS_MAX = 256 };
enum overlay_kind {
    OVERLAY_DATA = 1,
    OVERLAY_TRUNCATE = 2,
    OVERLAY_PUNCH = 3,
    OVERLAY_ZERO = 4
};
struct overlay_record {
    uint64_t block; /* first block; ranges: byte offset */
    uint64_t len;   /* data: 1..BLOCK_BYTES; ranges: byte length */
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
int overlay_keys_derive(const struct symkey *fk, const struct id16 *log_id,
                        const struct id16 *file,
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
int overlay_group_decode(struct view bytes, enum aead_suite suite,
                         const struct overlay_keys *k, struct overlay_group *out_group,
                         size_t *out_header_bytes, struct digest *out_mac) PHR_MUST_CHECK;
/* One data block: aad = log_id || LE64 group || LE64 block || LE32 len. Fills nonce and tag of r. */
int overlay_block_seal(enum aead_suite suite, const struct overlay_keys *k,
                       const struct id16 *log_id, uint64_t group_no,
                       struct overlay_record *r, struct view plain,
                       uint8_t *out_ct) PHR_MUST_CHECK;
int overlay_block_open_sealed(enum aead_suite suite, const struct overlay_keys *k,
                              const struct id16 *log_id, uint64_t group_no,
                              const struct overlay_record *r, const uint8_t *ct,
                              uint8_t *out_plain) PHR_MUST_CHECK;

#endif
