/*
 * One group = one pwritev of the working log. Nonces are random under a key that is fresh for
 * each log, and a log ends after 2^20 records. A group names its log and number, and its prev
 * chains the MACs of all groups before it, so swapping, dropping, re-ordering and replaying
 * show; a block's aad names group and place.
 */
#include "format/overlay.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/random.h"
#include "format/padding.h"

enum {
    PAGE_BYTES = 4096,
    GROUP_FIXED_BYTES = 8 + 1 + 3 + 4 + 16 + 8 + 32 + 8 + 8 + 4,
    GROUP_COUNT_AT = 8 + 1 + 3,
    BLOCK_AAD_BYTES = 16 + 8 + 8 + 4,
};

int overlay_keys_derive(const struct symkey *fk, const struct id16 *log_id,
                        const struct id16 *file, struct overlay_keys *out_keys)
{
    scoped(secret_free) uint8_t *okm = secret_alloc(64);
    struct overlay_keys k = { secret_alloc(sizeof *k.log),
                              secret_alloc(sizeof *k.group) };
    uint8_t salt[SALT_BYTES] = { 0 };
    uint8_t room[64];
    struct writer info;

    if (!okm || !k.log || !k.group) {
        overlay_keys_free(&k);
        return -ENOMEM;
    }
    memcpy(salt, log_id->b, sizeof log_id->b);
    writer_init_fixed(&info, (struct span){ room, sizeof room });
    writer_lp(&info, view_text(LABEL_LOG));
    writer_lp(&info, view_of(file->b, sizeof file->b));
    INVARIANT(writer_ok(&info));
    digest_hkdf(view_of(fk->b, sizeof fk->b), view_of(salt, sizeof salt),
                writer_done(&info), (struct span){ okm, 64 });
    memcpy(k.log->b, okm, 32);
    memcpy(k.group->b, okm + 32, 32);
    *out_keys = k;
    return 0;
}

void overlay_keys_free(struct overlay_keys *k)
{
    secret_free(k->log);
    secret_free(k->group);
    *k = (struct overlay_keys){ 0 };
}

struct digest overlay_chain_start(const struct id16 *log_id)
{
    uint8_t room[64];
    struct writer w;

    writer_init_fixed(&w, (struct span){ room, sizeof room });
    writer_text(&w, LABEL_LOG);
    writer_bytes(&w, log_id->b, sizeof log_id->b);
    INVARIANT(writer_ok(&w));
    return digest_sha256(writer_done(&w));
}

struct digest overlay_chain_next(const struct digest *prev, const struct digest *mac)
{
    uint8_t both[64];

    memcpy(both, prev->b, 32);
    memcpy(both + 32, mac->b, 32);
    return digest_sha256(view_of(both, sizeof both));
}

static size_t record_bytes(enum aead_suite suite)
{
    return 8 + 8 + 1 + aead_nonce_bytes(suite) + AEAD_TAG_BYTES;
}

static bool is_record_sound(const struct overlay_record *r)
{
    uint64_t end;

    if (r->kind == OVERLAY_DATA)
        return r->len >= 1 && r->len <= BLOCK_BYTES &&
               r->block < FILE_BYTES_MAX / BLOCK_BYTES;
    return r->len >= 1 && checked_add(r->block, r->len, &end) && end <= FILE_BYTES_MAX;
}

static void record_write(const struct overlay_record *r, enum aead_suite suite,
                         struct writer *w)
{
    size_t nonce_bytes = aead_nonce_bytes(suite);

    writer_u64(w, r->block);
    writer_u64(w, r->len);
    writer_u8(w, (uint8_t)r->kind);
    if (r->kind == OVERLAY_DATA) {
        writer_bytes(w, r->nonce, nonce_bytes);
        writer_bytes(w, r->tag, sizeof r->tag);
    } else {
        writer_zeros(w, nonce_bytes + sizeof r->tag);
    }
}

int overlay_group_encode(const struct overlay_group *g, enum aead_suite suite,
                         const struct overlay_keys *k, struct writer *out,
                         struct digest *out_mac)
{
    size_t start = out->n;
    struct digest mac;
    size_t used;

    INVARIANT(g->count <= OVERLAY_GROUP_RECORDS_MAX && g->file_size <= FILE_BYTES_MAX);
    writer_text(out, "PHRFS-W1");
    writer_u8(out, (uint8_t)suite);
    writer_zeros(out, 3);
    writer_u32(out, g->count);
    writer_bytes(out, g->log_id.b, sizeof g->log_id.b);
    writer_u64(out, g->group_no);
    writer_bytes(out, g->prev.b, sizeof g->prev.b);
    writer_u64(out, g->file_size);
    writer_u64(out, g->mtime_s);
    writer_u32(out, g->mtime_ns);
    for (size_t i = 0; i < g->count; i++) {
        INVARIANT(is_record_sound(&g->records[i]));
        record_write(&g->records[i], suite, out);
    }
    if (!writer_ok(out))
        return -ENOMEM;
    mac = digest_hmac(view_of(k->group->b, sizeof k->group->b),
                      view_of(out->p + start, out->n - start));
    writer_bytes(out, mac.b, sizeof mac.b);
    used = out->n - start;
    writer_zeros(out, padding_up(used, PAGE_BYTES) - used);
    if (!writer_ok(out))
        return -ENOMEM;
    *out_mac = mac;
    return 0;
}

static int record_read(struct reader *r, enum aead_suite suite,
                       struct overlay_record *out)
{
    size_t nonce_bytes = aead_nonce_bytes(suite);
    uint8_t kind;

    out->block = reader_u64(r);
    out->len = reader_u64(r);
    kind = reader_u8(r);
    reader_bytes(r, out->nonce, nonce_bytes);
    reader_bytes(r, out->tag, sizeof out->tag);
    if (!reader_ok(r) || kind < OVERLAY_DATA || kind > OVERLAY_ZERO)
        return PHR_E_FORMAT;
    out->kind = (enum overlay_kind)kind;
    if (out->kind != OVERLAY_DATA &&
        (!padding_is_zero(view_of(out->nonce, nonce_bytes)) ||
         !padding_is_zero(view_of(out->tag, sizeof out->tag))))
        return PHR_E_FORMAT;
    return is_record_sound(out) ? 0 : PHR_E_FORMAT;
}

static int group_read(struct view bytes, enum aead_suite suite, struct overlay_group *g)
{
    struct reader r = reader_over(bytes);
    struct view reserved;
    int rc;

    reader_expect(&r, "PHRFS-W1");
    if (reader_u8(&r) != (uint8_t)suite)
        return PHR_E_FORMAT;
    reserved = reader_view(&r, 3);
    g->count = reader_u32(&r);
    reader_bytes(&r, g->log_id.b, sizeof g->log_id.b);
    g->group_no = reader_u64(&r);
    reader_bytes(&r, g->prev.b, sizeof g->prev.b);
    g->file_size = reader_u64(&r);
    g->mtime_s = reader_u64(&r);
    g->mtime_ns = reader_u32(&r);
    if (!reader_ok(&r) || !padding_is_zero(reserved) || g->file_size > FILE_BYTES_MAX ||
        g->mtime_ns >= 1000000000)
        return PHR_E_FORMAT;
    for (size_t i = 0; i < g->count; i++) {
        rc = record_read(&r, suite, &g->records[i]);
        if (rc < 0)
            return rc;
    }
    return reader_done(&r) ? 0 : PHR_E_FORMAT;
}

int overlay_group_decode(struct view bytes, enum aead_suite suite,
                         const struct overlay_keys *k, struct overlay_group *out_group,
                         size_t *out_header_bytes, struct digest *out_mac)
{
    scoped(free) struct overlay_group *g = NULL;
    struct digest stored;
    struct digest mac;
    uint32_t count;
    size_t body;
    size_t whole;
    int rc;

    if (bytes.n < PAGE_BYTES || memcmp(bytes.p, "PHRFS-W1", 8) != 0)
        return PHR_E_FORMAT;
    count = get_le32(bytes.p + GROUP_COUNT_AT);
    if (count > OVERLAY_GROUP_RECORDS_MAX)
        return PHR_E_FORMAT;
    body = GROUP_FIXED_BYTES + count * record_bytes(suite); /* 256 * 57 at most */
    whole = padding_up(body + sizeof mac.b, PAGE_BYTES);
    if (bytes.n < whole)
        return PHR_E_FORMAT;
    mac = digest_hmac(view_of(k->group->b, sizeof k->group->b), view_of(bytes.p, body));
    memcpy(stored.b, bytes.p + body, sizeof stored.b);
    if (!digest_equal(&mac, &stored))
        return PHR_E_SEAL;
    if (!padding_is_zero(
            view_of(bytes.p + body + sizeof mac.b, whole - body - sizeof mac.b)))
        return PHR_E_FORMAT;
    g = calloc(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    rc = group_read(view_of(bytes.p, body), suite, g);
    if (rc < 0)
        return rc;
    *out_group = *g;
    *out_header_bytes = whole;
    *out_mac = mac;
    return 0;
}

static void aad_write(const struct id16 *log_id, uint64_t group_no,
                      const struct overlay_record *r, uint8_t out[BLOCK_AAD_BYTES])
{
    memcpy(out, log_id->b, sizeof log_id->b);
    put_le64(out + 16, group_no);
    put_le64(out + 24, r->block);
    put_le32(out + 32, (uint32_t)r->len);
}

int overlay_block_seal(enum aead_suite suite, const struct overlay_keys *k,
                       const struct id16 *log_id, uint64_t group_no,
                       struct overlay_record *r, struct view plain, uint8_t *out_ct)
{
    uint8_t aad[BLOCK_AAD_BYTES];

    INVARIANT(r->kind == OVERLAY_DATA && r->len == plain.n && is_record_sound(r));
    aad_write(log_id, group_no, r, aad);
    random_fill(r->nonce, aead_nonce_bytes(suite));
    return aead_seal(suite, k->log, r->nonce, view_of(aad, sizeof aad), plain, out_ct,
                     r->tag);
}

int overlay_block_open_sealed(enum aead_suite suite, const struct overlay_keys *k,
                              const struct id16 *log_id, uint64_t group_no,
                              const struct overlay_record *r, const uint8_t *ct,
                              uint8_t *out_plain)
{
    uint8_t aad[BLOCK_AAD_BYTES];

    if (r->kind != OVERLAY_DATA || !is_record_sound(r))
        return PHR_E_SEAL;
    aad_write(log_id, group_no, r, aad);
    return aead_open_sealed(suite, k->log, r->nonce, view_of(aad, sizeof aad),
                            view_of(ct, (size_t)r->len), r->tag, out_plain);
}
