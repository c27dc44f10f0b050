/*
 * A segment's key comes from the file key and a fresh 32-byte salt for every session that
 * rewrites the segment; under it each block has its own random nonce. The key says which
 * file, segment and geometry, the aad which block and how long.
 */
#include "format/block.h"

#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/label.h"

enum { BLOCK_AAD_BYTES = 8 };

void segment_key(const struct symkey *fk, const uint8_t salt[SALT_BYTES],
                 const struct id16 *file, uint64_t seg_index,
                 const struct seg_geometry *g, struct symkey *out_key)
{
    uint8_t room[64];
    uint8_t index[8];
    uint8_t geometry[3] = { (uint8_t)g->suite, g->block_log2, g->seg_log2 };
    struct writer info;

    put_le64(index, seg_index);
    writer_init_fixed(&info, (struct span){ room, sizeof room });
    writer_lp(&info, view_text(LABEL_SEG));
    writer_lp(&info, view_of(file->b, sizeof file->b));
    writer_lp(&info, view_of(index, sizeof index));
    writer_lp(&info, view_of(geometry, sizeof geometry));
    INVARIANT(writer_ok(&info));
    digest_hkdf(view_of(fk->b, sizeof fk->b), view_of(salt, SALT_BYTES),
                writer_done(&info), (struct span){ out_key->b, sizeof out_key->b });
}

size_t strip_entry_bytes(enum aead_suite suite)
{
    return aead_nonce_bytes(suite) + AEAD_TAG_BYTES;
}

bool strip_entry_is_hole(const uint8_t *entry, enum aead_suite suite)
{
    static const uint8_t hole[64];

    static_assert(sizeof hole >= AEAD_XCHACHA_NONCE_BYTES + AEAD_TAG_BYTES, "an entry's length");
    return memcmp(entry, hole, strip_entry_bytes(suite)) == 0; /* public: no secret is compared */
}

static void aad_write(uint32_t block_index, size_t plain_bytes,
                      uint8_t out[BLOCK_AAD_BYTES])
{
    put_le32(out, block_index);
    put_le32(out + 4, (uint32_t)plain_bytes);
}

int block_seal(const struct seg_geometry *g, const struct symkey *seg_key,
               uint32_t block_index, const uint8_t *nonce, struct view plain,
               uint8_t *out_ct, uint8_t *out_entry)
{
    size_t nonce_bytes = aead_nonce_bytes(g->suite);
    uint8_t aad[BLOCK_AAD_BYTES];
    uint8_t tag[AEAD_TAG_BYTES];
    int rc;

    INVARIANT(plain.n >= 1 && plain.n <= (size_t)1 << g->block_log2);
    INVARIANT(block_index < UINT32_C(1) << (g->seg_log2 - g->block_log2));
    aad_write(block_index, plain.n, aad);
    rc =
        aead_seal(g->suite, seg_key, nonce, view_of(aad, sizeof aad), plain, out_ct, tag);
    if (rc < 0)
        return rc;
    memcpy(out_entry, nonce, nonce_bytes);
    memcpy(out_entry + nonce_bytes, tag, sizeof tag);
    return 0;
}

int block_open_sealed(const struct seg_geometry *g, const struct symkey *seg_key,
                      uint32_t block_index, const uint8_t *entry, struct view ct,
                      uint8_t *out_plain)
{
    uint8_t aad[BLOCK_AAD_BYTES];

    if (ct.n < 1 || ct.n > (size_t)1 << g->block_log2 ||
        strip_entry_is_hole(entry, g->suite))
        return PHR_E_SEAL;
    aad_write(block_index, ct.n, aad);
    return aead_open_sealed(g->suite, seg_key, entry, view_of(aad, sizeof aad), ct,
                            entry + aead_nonce_bytes(g->suite), out_plain);
}
