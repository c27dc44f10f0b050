#include "format/header.h"

#include "crypto/digest.h"

enum { FK_BYTES = 4 + 32 };

int header_decode(struct view bytes, struct header *out_header)
{
    struct reader r = reader_over(bytes);
    struct header h = { .bytes = bytes };
    uint8_t ctx[FILE_CTX_BYTES];
    uint8_t suite;

    reader_expect(&r, "PHRFS-H1");
    suite = reader_u8(&r);
    h.block_log2 = reader_u8(&r);
    h.seg_log2 = reader_u8(&r);
    h.n_fk = reader_u8(&r);
    h.flags = reader_u32(&r);
    reader_bytes(&r, ctx, sizeof ctx);
    reader_bytes(&r, h.capsule.e.b, sizeof h.capsule.e.b);
    reader_bytes(&r, h.capsule.v.b, sizeof h.capsule.v.b);
    reader_bytes(&r, h.capsule.s, sizeof h.capsule.s);
    reader_bytes(&r, h.commit.b, sizeof h.commit.b);
    if (!reader_ok(&r) || (suite != AEAD_GCM && suite != AEAD_XCHACHA))
        return PHR_E_FORMAT;
    if (h.block_log2 < BLOCK_LOG2 || h.block_log2 > BLOCK_LOG2_MAX ||
        h.seg_log2 != SEG_LOG2)
        return PHR_E_FORMAT;
    /* No flag is known yet: PADDED (a true size behind the keys) is read by no one so far. */
    if (h.n_fk < 1 || h.n_fk > FK_COUNT_MAX || h.flags != 0)
        return PHR_E_FORMAT;
    h.suite = (enum aead_suite)suite;
    file_ctx_decode(ctx, &h.ctx);
    h.sealed = reader_view(&r, aead_nonce_bytes(h.suite) + (size_t)h.n_fk * FK_BYTES +
                                   AEAD_TAG_BYTES);
    if (!reader_done(&r))
        return PHR_E_FORMAT;

    *out_header = h;
    return 0;
}

struct digest header_digest(struct view bytes)
{
    return digest_sha256(bytes);
}
