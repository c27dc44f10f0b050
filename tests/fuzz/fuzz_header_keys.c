#include "fuzz.h"

#include "../golden/samples.h"
#include "crypto/selftest_inputs.h"
#include "format/header_seal_test.h"

enum { FK_BYTES = 36, HEAD_BYTES = 212 };

/* Seals the input as if it were keys, with the right kek: a writer may be malicious. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t nonce[12] = { 1 };
    scoped(writer_fini) struct writer w = { 0 };
    struct file_key keys[FK_COUNT_MAX];
    size_t count = size / FK_BYTES;
    uint8_t ctx[FILE_CTX_BYTES];
    struct file_ctx file = selftest_inputs_file();
    struct header h;
    size_t used;

    fuzz_arena_open();
    if (count < 1 || count > FK_COUNT_MAX)
        return 0;
    file_ctx_encode(&file, ctx);
    writer_init(&w);
    writer_text(&w, "PHRFS-H1");
    writer_bytes(&w, (const uint8_t[]){ AEAD_GCM, BLOCK_LOG2, SEG_LOG2, (uint8_t)count },
                 4);
    writer_zeros(&w, 4);
    writer_bytes(&w, ctx, sizeof ctx);
    writer_zeros(&w, CAPSULE_BYTES + 32);
    writer_bytes(&w, nonce, sizeof nonce);
    INVARIANT(w.n == HEAD_BYTES);
    writer_zeros(&w, count * FK_BYTES + AEAD_TAG_BYTES);
    INVARIANT(aead_seal(AEAD_GCM, sample_nk(), nonce, view_of(w.p, HEAD_BYTES),
                        view_of(data, count * FK_BYTES), w.p + HEAD_BYTES,
                        w.p + w.n - AEAD_TAG_BYTES) == 0);
    used = secret_used_bytes();
    INVARIANT(header_decode(writer_done(&w), &h) == 0);
    if (header_open_sealed(&h, sample_nk(), keys, &count) < 0) {
        INVARIANT(secret_used_bytes() == used);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        INVARIANT(i == 0 || keys[i].gen > keys[i - 1].gen);
        INVARIANT(keys[i].gen == get_le32(data + i * FK_BYTES));
    }
    file_keys_free(keys, count);
    INVARIANT(secret_used_bytes() == used);
    return 0;
}
