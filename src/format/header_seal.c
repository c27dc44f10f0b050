/*
 * Wrapping and unwrapping of a file's keys. The nonce is random, and a kek seals one header
 * only (a re-wrap is a new Encaps), so a pair of key and nonce cannot come twice.
 */
#include "format/header.h"

#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/random.h"
#include "format/header_seal_test.h"

enum { FK_BYTES = 4 + 32 };

static void head_write(const struct header *h, size_t count, const uint8_t *nonce,
                       struct writer *w)
{
    uint8_t ctx[FILE_CTX_BYTES];

    file_ctx_encode(&h->ctx, ctx);
    writer_text(w, "PHRFS-H1");
    writer_u8(w, (uint8_t)h->suite);
    writer_u8(w, h->block_log2);
    writer_u8(w, h->seg_log2);
    writer_u8(w, (uint8_t)count);
    writer_u32(w, h->flags);
    writer_bytes(w, ctx, sizeof ctx);
    writer_bytes(w, h->capsule.e.b, sizeof h->capsule.e.b);
    writer_bytes(w, h->capsule.v.b, sizeof h->capsule.v.b);
    writer_bytes(w, h->capsule.s, sizeof h->capsule.s);
    writer_bytes(w, h->commit.b, sizeof h->commit.b);
    writer_bytes(w, nonce, aead_nonce_bytes(h->suite));
}

int header_seal_with(const struct header *h, const struct symkey *kek,
                     const struct file_key *keys, size_t count, const uint8_t *nonce,
                     struct writer *out)
{
    scoped(secret_free) uint8_t *plain = NULL;
    size_t plain_bytes = count * FK_BYTES;
    size_t start = out->n;
    size_t head_bytes;

    INVARIANT(count >= 1 && count <= FK_COUNT_MAX);
    plain = secret_alloc(plain_bytes);
    if (!plain)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        INVARIANT(i == 0 || keys[i].gen > keys[i - 1].gen);
        put_le32(plain + i * FK_BYTES, keys[i].gen);
        memcpy(plain + i * FK_BYTES + 4, keys[i].key->b, sizeof keys[i].key->b);
    }
    head_write(h, count, nonce, out);
    head_bytes = out->n - start;
    writer_zeros(out, plain_bytes + AEAD_TAG_BYTES);
    if (!writer_ok(out))
        return -ENOMEM;
    return aead_seal(h->suite, kek, nonce, view_of(out->p + start, head_bytes),
                     view_of(plain, plain_bytes), out->p + start + head_bytes,
                     out->p + start + head_bytes + plain_bytes);
}

int header_seal(enum aead_suite suite, const struct file_ctx *ctx,
                const struct capsule *capsule, const struct symkey *kek,
                const struct digest *commit, const struct file_key *keys, size_t count,
                struct writer *out)
{
    const struct header h = {
        .suite = suite,
        .block_log2 = BLOCK_LOG2,
        .seg_log2 = SEG_LOG2,
        .ctx = *ctx,
        .capsule = *capsule,
        .commit = *commit,
    };
    uint8_t nonce[AEAD_XCHACHA_NONCE_BYTES];

    random_fill(nonce, sizeof nonce);
    return header_seal_with(&h, kek, keys, count, nonce, out);
}

static int keys_take(const uint8_t *plain, size_t count, struct file_key *keys)
{
    for (size_t i = 0; i < count; i++) {
        keys[i].gen = get_le32(plain + i * FK_BYTES);
        if (i > 0 && keys[i].gen <= keys[i - 1].gen)
            return PHR_E_FORMAT;
        keys[i].key = secret_alloc(sizeof *keys[i].key);
        if (!keys[i].key)
            return -ENOMEM;
        memcpy(keys[i].key->b, plain + i * FK_BYTES + 4, sizeof keys[i].key->b);
    }
    return 0;
}

int header_open_sealed(const struct header *h, const struct symkey *kek,
                       struct file_key *out_keys, size_t *out_count)
{
    scoped(secret_free) uint8_t *plain = NULL;
    struct file_key keys[FK_COUNT_MAX] = { 0 };
    size_t nonce_bytes = aead_nonce_bytes(h->suite);
    size_t plain_bytes = (size_t)h->n_fk * FK_BYTES;
    const uint8_t *ct = h->sealed.p + nonce_bytes;
    int rc;

    INVARIANT(h->n_fk >= 1 && h->n_fk <= FK_COUNT_MAX); /* decode saw to it */
    INVARIANT(h->sealed.n == nonce_bytes + plain_bytes + AEAD_TAG_BYTES);
    plain = secret_alloc(plain_bytes);
    if (!plain)
        return -ENOMEM;
    rc = aead_open_sealed(h->suite, kek, h->sealed.p,
                          view_of(h->bytes.p, (size_t)(ct - h->bytes.p)),
                          view_of(ct, plain_bytes), ct + plain_bytes, plain);
    if (rc < 0)
        return rc;
    rc = keys_take(plain, h->n_fk, keys);
    if (rc < 0) {
        file_keys_free(keys, h->n_fk);
        return rc;
    }
    memcpy(out_keys, keys, h->n_fk * sizeof *keys);
    *out_count = h->n_fk;
    return 0;
}

void file_keys_free(struct file_key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        secret_free(keys[i].key);
        keys[i] = (struct file_key){ 0 };
    }
}
