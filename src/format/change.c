#include "format/change.h"

#include "crypto/digest.h"
#include "format/header.h"

static void ctx_write(const struct class_ctx *ctx, struct writer *w)
{
    uint8_t bytes[CLASS_CTX_BYTES];

    class_ctx_encode(ctx, bytes);
    writer_bytes(w, bytes, sizeof bytes);
}

static void ctx_read(struct reader *r, struct class_ctx *out_ctx)
{
    uint8_t bytes[CLASS_CTX_BYTES];

    reader_bytes(r, bytes, sizeof bytes);
    class_ctx_decode(bytes, out_ctx);
}

void class_record_encode(const struct class_record *c, struct writer *out)
{
    ctx_write(&c->ctx, out);
    writer_bytes(out, c->a.b, sizeof c->a.b);
    writer_u32(out, c->e_ctr);
    writer_lp(out, c->sealed);
    writer_lp(out, c->link);
    writer_lp(out, c->w);
}

int class_record_decode(struct view body, struct class_record *out_record)
{
    struct reader r = reader_over(body);
    struct class_record c = { 0 };

    ctx_read(&r, &c.ctx);
    reader_bytes(&r, c.a.b, sizeof c.a.b);
    c.e_ctr = reader_u32(&r);
    c.sealed = reader_lp(&r, CLASS_SEALED_BYTES);
    c.link = reader_lp(&r, CLASS_LINK_BYTES);
    c.w = reader_lp(&r, CLASS_WRAP_BYTES);
    if (!reader_done(&r) || c.sealed.n != CLASS_SEALED_BYTES ||
        (c.link.n != 0 && c.link.n != CLASS_LINK_BYTES) ||
        (c.w.n != 0 && c.w.n != CLASS_WRAP_BYTES))
        return PHR_E_FORMAT;
    *out_record = c;
    return 0;
}

void revoke_encode(const struct revoke *r, struct writer *out)
{
    writer_bytes(out, r->grant.b, sizeof r->grant.b);
    writer_u8(out, (uint8_t)r->reason);
}

int revoke_decode(struct view body, struct revoke *out_revoke)
{
    struct reader r = reader_over(body);
    struct revoke v = { 0 };
    uint8_t reason;

    reader_bytes(&r, v.grant.b, sizeof v.grant.b);
    reason = reader_u8(&r);
    if (!reader_done(&r) || reason < REVOKE_OWNER || reason > REVOKE_REPLACED)
        return PHR_E_FORMAT;
    v.reason = (enum revoke_reason)reason;
    *out_revoke = v;
    return 0;
}

int class_ctx_body_decode(struct view body, struct class_ctx *out_ctx)
{
    if (body.n != CLASS_CTX_BYTES)
        return PHR_E_FORMAT;
    class_ctx_decode(body.p, out_ctx);
    return 0;
}

void epoch_encode(const struct epoch_change *e, struct writer *out)
{
    writer_lp(out, e->class_record);
    writer_lp(out, e->names_header);
    writer_bytes(out, e->object_id.b, sizeof e->object_id.b);
}

int epoch_decode(struct view body, struct epoch_change *out_epoch)
{
    struct reader r = reader_over(body);
    struct epoch_change e = { 0 };

    e.class_record = reader_lp(&r, body.n);
    e.names_header = reader_lp(&r, HEADER_BYTES_MAX);
    reader_bytes(&r, e.object_id.b, sizeof e.object_id.b);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    *out_epoch = e;
    return 0;
}

void header_change_encode(const struct header_change *h, struct writer *out)
{
    writer_bytes(out, h->file.b, sizeof h->file.b);
    writer_u32(out, h->hdr_gen);
    writer_view(out, h->header);
}

int header_change_decode(struct view body, struct header_change *out_change)
{
    struct reader r = reader_over(body);
    struct header_change c = { 0 };
    struct header h;
    int rc;

    reader_bytes(&r, c.file.b, sizeof c.file.b);
    c.hdr_gen = reader_u32(&r);
    c.header = reader_view(&r, r.left);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    rc = header_decode(c.header, &h);
    if (rc < 0)
        return rc;
    /* Said twice, so it must be said alike. */
    if (!id_equal(&h.ctx.file, &c.file) || h.ctx.hdr_gen != c.hdr_gen)
        return PHR_E_FORMAT;
    *out_change = c;
    return 0;
}

void remove_encode(const struct remove_change *r, struct writer *out)
{
    writer_bytes(out, r->row.b, sizeof r->row.b);
    writer_u64(out, r->version);
}

int remove_decode(struct view body, struct remove_change *out_remove)
{
    struct reader r = reader_over(body);
    struct remove_change c = { 0 };

    reader_bytes(&r, c.row.b, sizeof c.row.b);
    c.version = reader_u64(&r);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    *out_remove = c;
    return 0;
}

void seal_encode(const struct seal_change *s, struct writer *out)
{
    writer_bytes(out, s->file.b, sizeof s->file.b);
    writer_u64(out, s->content_version);
    writer_u64(out, s->base_version);
    writer_bytes(out, s->header.b, sizeof s->header.b);
    writer_u64(out, s->size);
    writer_u64(out, s->segment_count);
    writer_bytes(out, s->manifest_root.b, sizeof s->manifest_root.b);
    writer_bytes(out, s->manifest_object.b, sizeof s->manifest_object.b);
}

/* n = 0: no object, and the root of no entries. */
static bool is_seal_sound(const struct seal_change *s)
{
    const struct digest none = { { 0 } };
    struct digest empty;

    if (s->size > FILE_BYTES_MAX ||
        s->segment_count > (s->size + SEG_BYTES - 1) / SEG_BYTES)
        return false;
    if (s->segment_count > 0)
        return true;
    empty = digest_sha256(view_of(NULL, 0));
    return digest_equal(&s->manifest_object, &none) &&
           digest_equal(&s->manifest_root, &empty);
}

int seal_decode(struct view body, struct seal_change *out_seal)
{
    struct reader r = reader_over(body);
    struct seal_change s = { 0 };

    reader_bytes(&r, s.file.b, sizeof s.file.b);
    s.content_version = reader_u64(&r);
    s.base_version = reader_u64(&r);
    reader_bytes(&r, s.header.b, sizeof s.header.b);
    s.size = reader_u64(&r);
    s.segment_count = reader_u64(&r);
    reader_bytes(&r, s.manifest_root.b, sizeof s.manifest_root.b);
    reader_bytes(&r, s.manifest_object.b, sizeof s.manifest_object.b);
    if (!reader_done(&r) || !is_seal_sound(&s))
        return PHR_E_FORMAT;
    *out_seal = s;
    return 0;
}

int snapshot_ref_decode(struct view body, struct digest *out_object)
{
    struct reader r = reader_over(body);
    struct digest d;

    reader_bytes(&r, d.b, sizeof d.b);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    *out_object = d;
    return 0;
}
