#include "format/footer.h"

#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "format/padding.h"

enum {
    FOOTER_MAC_AT = FOOTER_BYTES - 32,
    FOOTER_KIND_SEGMENT = 1,
    FOOTER_KIND_OVERLAY = 2,
};

static_assert(168 + 4 + HEADER_BYTES_MAX <= FOOTER_MAC_AT, "a header must fit");

static int footer_mac(struct view page, const struct footer *f, const struct symkey *fk,
                      struct digest *out_mac)
{
    scoped(secret_free) struct symkey *key = secret_alloc(sizeof *key);
    uint8_t room[64];
    struct writer info;

    if (!key)
        return -ENOMEM;
    writer_init_fixed(&info, (struct span){ room, sizeof room });
    writer_lp(&info, view_text(LABEL_FOOTER));
    writer_lp(&info, view_of(f->ctx.file.b, sizeof f->ctx.file.b));
    INVARIANT(writer_ok(&info));
    digest_hkdf(view_of(fk->b, sizeof fk->b), view_of(f->salt, sizeof f->salt),
                writer_done(&info), (struct span){ key->b, sizeof key->b });
    *out_mac =
        digest_hmac(view_of(key->b, sizeof key->b), view_of(page.p, FOOTER_MAC_AT));
    return 0;
}

int footer_encode(const struct footer *f, const struct symkey *fk,
                  uint8_t out[FOOTER_BYTES])
{
    uint8_t ctx[FILE_CTX_BYTES];
    struct digest mac;
    struct writer w;
    int rc;

    if (f->header.n > HEADER_BYTES_MAX)
        return PHR_E_LIMIT;
    file_ctx_encode(&f->ctx, ctx);
    writer_init_fixed(&w, (struct span){ out, FOOTER_MAC_AT });
    writer_text(&w, "PHRFS-F1");
    writer_u8(&w, f->is_overlay ? FOOTER_KIND_OVERLAY : FOOTER_KIND_SEGMENT);
    writer_zeros(&w, 7);
    writer_bytes(&w, ctx, sizeof ctx);
    writer_u64(&w, f->seg_index);
    writer_u32(&w, f->plaintext_len);
    writer_u32(&w, f->fk_gen);
    writer_u64(&w, f->object_len);
    writer_bytes(&w, f->strip_id.b, sizeof f->strip_id.b);
    writer_u64(&w, f->rising);
    writer_bytes(&w, f->salt, sizeof f->salt);
    writer_lp(&w, f->header);
    writer_zeros(&w, FOOTER_MAC_AT - w.n);
    INVARIANT(writer_ok(&w));
    rc = footer_mac(view_of(out, FOOTER_BYTES), f, fk, &mac);
    if (rc < 0)
        return rc;
    memcpy(out + FOOTER_MAC_AT, mac.b, sizeof mac.b);
    return 0;
}

int footer_decode(struct view page, struct footer *out_footer)
{
    struct reader r = reader_over(view_of(page.p, FOOTER_MAC_AT));
    struct footer f = { 0 };
    uint8_t ctx[FILE_CTX_BYTES];
    struct view reserved;
    uint8_t kind;

    if (page.n != FOOTER_BYTES)
        return PHR_E_FORMAT;
    reader_expect(&r, "PHRFS-F1");
    kind = reader_u8(&r);
    reserved = reader_view(&r, 7);
    reader_bytes(&r, ctx, sizeof ctx);
    f.seg_index = reader_u64(&r);
    f.plaintext_len = reader_u32(&r);
    f.fk_gen = reader_u32(&r);
    f.object_len = reader_u64(&r);
    reader_bytes(&r, f.strip_id.b, sizeof f.strip_id.b);
    f.rising = reader_u64(&r);
    reader_bytes(&r, f.salt, sizeof f.salt);
    f.header = reader_lp(&r, HEADER_BYTES_MAX);
    if (!reader_ok(&r) || !padding_is_zero(reserved) ||
        !padding_is_zero(view_of(r.p, r.left)))
        return PHR_E_FORMAT;
    if ((kind != FOOTER_KIND_SEGMENT && kind != FOOTER_KIND_OVERLAY) ||
        f.seg_index >= FILE_BYTES_MAX / SEG_BYTES || f.plaintext_len > SEG_BYTES)
        return PHR_E_FORMAT;
    f.is_overlay = kind == FOOTER_KIND_OVERLAY;
    file_ctx_decode(ctx, &f.ctx);

    *out_footer = f;
    return 0;
}

int footer_check(struct view page, const struct footer *f, const struct symkey *fk)
{
    struct digest stored;
    struct digest mac;
    int rc;

    INVARIANT(page.n == FOOTER_BYTES); /* decode saw to it */
    rc = footer_mac(page, f, fk, &mac);
    if (rc < 0)
        return rc;
    memcpy(stored.b, page.p + FOOTER_MAC_AT, sizeof stored.b);
    return digest_equal(&mac, &stored) ? 0 : PHR_E_SEAL;
}
