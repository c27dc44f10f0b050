/*
 * Encodings and checks that all roles share. The checks stand in front of every group
 * operation, because libsodium 1.0.18 takes the identity for a valid point, masks bit 255 of
 * scalars, accepts scalars of the group order and above, and returns success for the
 * inverse of zero (CRYPTO 1.12).
 */
#include "crypto/pre.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "crypto/label.h"
#include "crypto/wipe.h"

static_assert(crypto_core_ristretto255_BYTES == 32, "a point is 32 bytes");
static_assert(crypto_core_ristretto255_SCALARBYTES == 32, "a scalar is 32 bytes");
static_assert(CLASS_CTX_BYTES == 16 + 16 + 4, "patient, class, epoch");
static_assert(FILE_CTX_BYTES == CLASS_CTX_BYTES + 16 + 4, "file, header generation");
static_assert(GRANT_CTX_BYTES == CLASS_CTX_BYTES + 16 + 16 + 32, "grant, reader, card");

struct wipe_hash {
    crypto_hash_sha512_state state;
};

static void wipe_hash_scope(struct wipe_hash *h);

void class_ctx_encode(const struct class_ctx *c, uint8_t out[CLASS_CTX_BYTES])
{
    memcpy(out, c->patient.b, 16);
    memcpy(out + 16, c->class_id.b, 16);
    put_le32(out + 32, c->epoch);
}

void file_ctx_encode(const struct file_ctx *c, uint8_t out[FILE_CTX_BYTES])
{
    class_ctx_encode(&c->class_ctx, out);
    memcpy(out + CLASS_CTX_BYTES, c->file.b, 16);
    put_le32(out + CLASS_CTX_BYTES + 16, c->hdr_gen);
}

void grant_ctx_encode(const struct grant_ctx *c, uint8_t out[GRANT_CTX_BYTES])
{
    class_ctx_encode(&c->class_ctx, out);
    memcpy(out + CLASS_CTX_BYTES, c->grant.b, 16);
    memcpy(out + CLASS_CTX_BYTES + 16, c->reader.b, 16);
    memcpy(out + CLASS_CTX_BYTES + 32, c->reader_card.b, 32);
}

void class_ctx_decode(const uint8_t in[CLASS_CTX_BYTES], struct class_ctx *out_ctx)
{
    memcpy(out_ctx->patient.b, in, 16);
    memcpy(out_ctx->class_id.b, in + 16, 16);
    out_ctx->epoch = get_le32(in + 32);
}

void file_ctx_decode(const uint8_t in[FILE_CTX_BYTES], struct file_ctx *out_ctx)
{
    class_ctx_decode(in, &out_ctx->class_ctx);
    memcpy(out_ctx->file.b, in + CLASS_CTX_BYTES, 16);
    out_ctx->hdr_gen = get_le32(in + CLASS_CTX_BYTES + 16);
}

void grant_ctx_decode(const uint8_t in[GRANT_CTX_BYTES], struct grant_ctx *out_ctx)
{
    class_ctx_decode(in, &out_ctx->class_ctx);
    memcpy(out_ctx->grant.b, in + CLASS_CTX_BYTES, 16);
    memcpy(out_ctx->reader.b, in + CLASS_CTX_BYTES + 16, 16);
    memcpy(out_ctx->reader_card.b, in + CLASS_CTX_BYTES + 32, 32);
}

bool class_ctx_equal(const struct class_ctx *a, const struct class_ctx *b)
{
    uint8_t x[CLASS_CTX_BYTES];
    uint8_t y[CLASS_CTX_BYTES];

    class_ctx_encode(a, x);
    class_ctx_encode(b, y);
    return memcmp(x, y, sizeof x) == 0;
}

bool file_ctx_equal(const struct file_ctx *a, const struct file_ctx *b)
{
    uint8_t x[FILE_CTX_BYTES];
    uint8_t y[FILE_CTX_BYTES];

    file_ctx_encode(a, x);
    file_ctx_encode(b, y);
    return memcmp(x, y, sizeof x) == 0;
}

int pre_point_check(const struct point *p)
{
    if (sodium_is_zero(p->b, sizeof p->b) ==
        1) /* the identity, which libsodium accepts */
        return PHR_E_POINT;
    return crypto_core_ristretto255_is_valid_point(p->b) == 1 ? 0 : PHR_E_POINT;
}

int pre_scalar_check(const uint8_t s[32])
{
    scoped(wipe_wide) struct wipe64 wide = { 0 };
    scoped(wipe_scalar) struct scalar reduced;

    memcpy(wide.b, s, 32);
    crypto_core_ristretto255_scalar_reduce(reduced.b, wide.b);
    if (sodium_memcmp(reduced.b, s, 32) != 0 || sodium_is_zero(s, 32) == 1)
        return PHR_E_POINT;
    return 0;
}

static void hash_lp(struct wipe_hash *h, struct view v)
{
    uint8_t length[4];

    INVARIANT(v.n <= UINT32_MAX);
    put_le32(length, (uint32_t)v.n);
    crypto_hash_sha512_update(&h->state, length, sizeof length);
    crypto_hash_sha512_update(&h->state, v.p, v.n);
}

int pre_hash_to_scalar(const char *dst, const struct view *parts, size_t count,
                       uint8_t out[32])
{
    scoped(wipe_hash) struct wipe_hash h;
    scoped(wipe_wide) struct wipe64 wide;
    scoped(wipe_scalar) struct scalar reduced;

    crypto_hash_sha512_init(&h.state);
    hash_lp(&h, view_text(dst));
    for (size_t i = 0; i < count; i++)
        hash_lp(&h, parts[i]);
    crypto_hash_sha512_final(&h.state, wide.b);
    crypto_core_ristretto255_scalar_reduce(reduced.b, wide.b);
    if (sodium_is_zero(reduced.b, sizeof reduced.b) == 1)
        return PHR_E_POINT;
    memcpy(out, reduced.b, sizeof reduced.b);
    return 0;
}

int pre_public(const struct scalar *secret, struct point *out_public)
{
    struct point p;
    int rc = pre_scalar_check(secret->b);

    if (rc < 0)
        return rc;
    if (crypto_scalarmult_ristretto255_base(p.b, secret->b) != 0)
        return PHR_E_POINT;
    *out_public = p;
    sodium_stackzero(WIPE_STACK_BYTES);
    return 0;
}

void pre_scalar_random(struct scalar *out)
{
    crypto_core_ristretto255_scalar_random(out->b); /* uniform, canonical, not zero */
}

int pre_capsule_w(const struct capsule *c, struct point *out_w)
{
    struct point w;

    if (pre_point_check(&c->e) < 0 || pre_point_check(&c->v) < 0)
        return PHR_E_POINT;
    if (crypto_core_ristretto255_add(w.b, c->e.b, c->v.b) != 0)
        return PHR_E_POINT;
    if (sodium_is_zero(w.b, sizeof w.b) == 1) /* V = -E: add returns success */
        return PHR_E_POINT;
    *out_w = w;
    return 0;
}

int pre_capsule_challenge(const struct file_ctx *ctx, const struct point *a_pub,
                          const struct point *e, const struct point *v, uint8_t out_h[32])
{
    uint8_t encoded[FILE_CTX_BYTES];
    struct view parts[] = {
        { encoded, sizeof encoded },
        { a_pub->b, sizeof a_pub->b },
        { e->b, sizeof e->b },
        { v->b, sizeof v->b },
    };

    file_ctx_encode(ctx, encoded);
    return pre_hash_to_scalar(LABEL_PRE_POK, parts, ARRAY_COUNT(parts), out_h);
}

static void wipe_hash_scope(struct wipe_hash *h)
{
    sodium_memzero(h, sizeof *h);
}
