/* The manifest of a sealed file and the ids it holds (CRYPTO 2.4). Public bytes. */
#ifndef PHR_FORMAT_MANIFEST_H
#define PHR_FORMAT_MANIFEST_H

#include "base/cursor.h"
#include "crypto/digest.h"
#include "format/limits.h"

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
void manifest_encode(const struct manifest_entry *entries, size_t count,
                     struct writer *out);
/* Entries are the caller's (free). PHR_E_FORMAT. */
int manifest_decode(struct view bytes, struct manifest_entry **out_entries,
                    size_t *out_count) PHR_MUST_CHECK;
/* RFC 6962 MTH over the encoded entries; SHA("") for none. */
struct digest manifest_root(struct view manifest);

#endif
