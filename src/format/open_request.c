#include "format/open_request.h"

#include <stdlib.h>
#include <string.h>

#include "base/scope.h"
#include "crypto/digest.h"
#include "crypto/label.h"

enum {
    OPEN_SIG_BYTES = 64,
    OPEN_FILE_BYTES = FILE_CTX_BYTES + 32 + 1,
    PROGRAM_BYTES_MAX = 64
};

static void file_write(const struct open_file *f, struct writer *w)
{
    uint8_t ctx[FILE_CTX_BYTES];

    file_ctx_encode(&f->ctx, ctx);
    writer_bytes(w, ctx, sizeof ctx);
    writer_bytes(w, f->header.b, sizeof f->header.b);
    writer_u8(w, (uint8_t)f->why);
}

int open_request_encode(const struct open_request *r, const struct sign_key *reader,
                        struct writer *out)
{
    size_t start = out->n;
    struct signature sig;
    struct digest h;

    if (r->count < 1 || r->count > OPEN_FILES_MAX)
        return PHR_E_LIMIT;
    writer_text(out, "PHRFS-R1");
    writer_bytes(out, r->req.b, sizeof r->req.b);
    writer_bytes(out, r->grant.b, sizeof r->grant.b);
    writer_u16(out, (uint16_t)r->purpose);
    writer_bytes(out, r->context.b, sizeof r->context.b);
    writer_u64(out, r->time_s);
    writer_bytes(out, r->checkpoint.b, sizeof r->checkpoint.b);
    writer_u16(out, r->count);
    for (size_t i = 0; i < r->count; i++)
        file_write(&r->files[i], out);
    if (!writer_ok(out))
        return -ENOMEM;
    h = digest_sha256(view_of(out->p + start, out->n - start));
    sig = sign_labelled(reader, LABEL_OPEN, &h);
    writer_bytes(out, sig.b, sizeof sig.b);
    return writer_ok(out) ? 0 : -ENOMEM;
}

static bool file_read(struct reader *r, struct open_file *out_file)
{
    uint8_t ctx[FILE_CTX_BYTES];
    uint8_t why;

    reader_bytes(r, ctx, sizeof ctx);
    reader_bytes(r, out_file->header.b, sizeof out_file->header.b);
    why = reader_u8(r);
    if (!reader_ok(r) || why < OPEN_WHY_OPEN || why > OPEN_WHY_RENEW)
        return false;
    file_ctx_decode(ctx, &out_file->ctx);
    out_file->why = (enum open_why)why;
    return true;
}

int open_request_decode(struct view bytes, struct open_request *out_request)
{
    scoped(free) struct open_file *files = NULL;
    struct reader r = reader_over(bytes);
    struct open_request q = { 0 };
    uint16_t purpose;

    reader_expect(&r, "PHRFS-R1");
    reader_bytes(&r, q.req.b, sizeof q.req.b);
    reader_bytes(&r, q.grant.b, sizeof q.grant.b);
    purpose = reader_u16(&r);
    reader_bytes(&r, q.context.b, sizeof q.context.b);
    q.time_s = reader_u64(&r);
    reader_bytes(&r, q.checkpoint.b, sizeof q.checkpoint.b);
    q.count = reader_u16(&r);
    if (!reader_ok(&r) || q.count < 1 || q.count > OPEN_FILES_MAX ||
        purpose > PURPOSE_LAST ||
        r.left != (size_t)q.count * OPEN_FILE_BYTES + OPEN_SIG_BYTES)
        return PHR_E_FORMAT;
    q.purpose = (enum purpose)purpose;
    files = calloc(q.count, sizeof *files);
    if (!files)
        return -ENOMEM;
    for (size_t i = 0; i < q.count; i++) {
        if (!file_read(&r, &files[i]))
            return PHR_E_FORMAT;
    }
    q.files = give(files);
    *out_request = q;
    return 0;
}

int open_request_check(struct view bytes, const struct verify_key *reader)
{
    struct signature sig;
    struct digest h;

    if (bytes.n < OPEN_SIG_BYTES)
        return PHR_E_SIGNATURE;
    h = digest_sha256(view_of(bytes.p, bytes.n - OPEN_SIG_BYTES));
    memcpy(sig.b, bytes.p + bytes.n - OPEN_SIG_BYTES, sizeof sig.b);
    return sign_check_labelled(reader, LABEL_OPEN, &h, &sig);
}

void open_request_fini(struct open_request *r)
{
    free(r->files);
    *r = (struct open_request){ 0 };
}

void open_context_encode(const struct open_context *c, struct writer *out)
{
    writer_bytes(out, c->host.b, sizeof c->host.b);
    writer_u32(out, c->uid);
    writer_lp(out, c->program);
    writer_lp(out, c->reason);
}

int open_context_decode(struct view bytes, struct open_context *out_context)
{
    struct reader r = reader_over(bytes);
    struct open_context c = { 0 };

    if (bytes.n > CONTEXT_BYTES_MAX)
        return PHR_E_FORMAT;
    reader_bytes(&r, c.host.b, sizeof c.host.b);
    c.uid = reader_u32(&r);
    c.program = reader_lp(&r, PROGRAM_BYTES_MAX);
    c.reason = reader_lp(&r, CONTEXT_BYTES_MAX);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    *out_context = c;
    return 0;
}
