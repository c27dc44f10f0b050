/* Footer: one page behind a segment, or the first page of an overlay (STORAGE 1, S-4). */
#ifndef PHR_FORMAT_FOOTER_H
#define PHR_FORMAT_FOOTER_H

#include "base/cursor.h"
#include "crypto/pre.h"
#include "format/limits.h"

enum { FOOTER_BYTES = 4096 };
struct footer {
    struct file_ctx ctx;
    struct view header; /* borrowed */
    uint64_t seg_index;
    uint32_t plaintext_len;
    uint32_t fk_gen;
    uint64_t object_len; /* 0 while it is being built */
    struct digest strip_id;
    uint64_t rising;          /* newest of the two pages wins */
    uint8_t salt[SALT_BYTES]; /* seg_salt, or log_id || 0^16 of an overlay */
    bool is_overlay;
};
/* Exactly FOOTER_BYTES, HMAC at the end under HKDF(fk_gen, salt, footer label || LP(file)). */
int footer_encode(const struct footer *f, const struct symkey *fk,
                  uint8_t out[FOOTER_BYTES]) PHR_MUST_CHECK;
/* Parses without a key (recovery looks for the header first); PHR_E_FORMAT. */
int footer_decode(struct view page, struct footer *out_footer) PHR_MUST_CHECK;
/* PHR_E_SEAL. */
int footer_check(struct view page, const struct footer *f,
                 const struct symkey *fk) PHR_MUST_CHECK;

#endif
