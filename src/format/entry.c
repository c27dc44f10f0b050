/*
 * rec || sig64. rh = SHA(0x00 || rec) is what the SRS signs; leaf = SHA(0x00 || rec || sig) is
 * at once the chain value of the next entry and the leaf of the patient's tree.
 */
#include "format/entry.h"

#include <stdlib.h>
#include <string.h>

#include "base/scope.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "format/entry_test.h"
#include "format/op.h"

enum {
    ENTRY_SIG_BYTES = 64,
    /* Where an op says how many changes it has. */
    OP_COUNT_AT = 8 + 16 + 16 + 4 + 16 + 8 + 32 + 8 + 16 + 32,
};

static uint32_t change_count(struct view op)
{
    return op.n < OP_COUNT_AT + 2
               ? 0
               : (uint32_t)op.p[OP_COUNT_AT] | (uint32_t)op.p[OP_COUNT_AT + 1] << 8;
}

int entry_encode_body(struct entry *e, struct view body, const struct sign_key *srs,
                      struct writer *out, struct digest *out_rec_hash)
{
    size_t start = out->n;
    struct view rec;

    writer_text(out, "PHRFS-L1");
    writer_bytes(out, e->patient.b, sizeof e->patient.b);
    writer_u64(out, e->seq);
    writer_bytes(out, e->prev.b, sizeof e->prev.b);
    writer_u8(out, e->type);
    writer_u64(out, e->time_s);
    writer_bytes(out, e->srs.b, sizeof e->srs.b);
    writer_bytes(out, e->srs_card.b, sizeof e->srs_card.b);
    writer_lp(out, body);
    if (!writer_ok(out))
        return -ENOMEM;
    rec = view_of(out->p + start, out->n - start);
    *out_rec_hash = digest_sha256_prefixed(0x00, rec, view_of(NULL, 0));
    e->sig = sign_labelled(srs, LABEL_LEDGER, out_rec_hash);
    e->leaf = digest_sha256_prefixed(0x00, rec, view_of(e->sig.b, sizeof e->sig.b));
    writer_bytes(out, e->sig.b, sizeof e->sig.b);
    return writer_ok(out) ? 0 : -ENOMEM;
}

int entry_encode(struct entry *e, const struct sign_key *srs, struct writer *out)
{
    scoped(writer_fini) struct writer body = { 0 };
    struct digest rec_hash;
    uint32_t changes = 0;

    if (e->op_count < 1 || e->op_count > ENTRY_OPS_MAX || e->type != ENTRY_TYPE_OPS)
        return PHR_E_LIMIT;
    writer_init(&body);
    writer_u16(&body, e->op_count);
    for (size_t i = 0; i < e->op_count; i++) {
        changes += change_count(e->ops[i].op);
        writer_lp(&body, e->ops[i].op);
        writer_bytes(&body, e->ops[i].sig.b, sizeof e->ops[i].sig.b);
    }
    if (!writer_ok(&body))
        return -ENOMEM;
    if (changes > OP_CHANGES_MAX || body.n > ENTRY_BODY_BYTES_MAX)
        return PHR_E_LIMIT;
    return entry_encode_body(e, writer_done(&body), srs, out, &rec_hash);
}

static int ops_read(struct view body, struct entry *e)
{
    scoped(free) struct signed_op *ops = NULL;
    struct reader r = reader_over(body);
    uint32_t changes = 0;

    e->op_count = reader_u16(&r);
    if (!reader_ok(&r) || e->op_count < 1 || e->op_count > ENTRY_OPS_MAX ||
        r.left < (size_t)e->op_count * (4 + ENTRY_SIG_BYTES))
        return PHR_E_FORMAT;
    ops = calloc(e->op_count, sizeof *ops);
    if (!ops)
        return -ENOMEM;
    for (size_t i = 0; i < e->op_count; i++) {
        ops[i].op = reader_lp(&r, OP_BYTES_MAX);
        reader_bytes(&r, ops[i].sig.b, sizeof ops[i].sig.b);
        changes += change_count(ops[i].op);
    }
    if (!reader_done(&r) || changes > OP_CHANGES_MAX)
        return PHR_E_FORMAT;
    e->ops = give(ops);
    return 0;
}

int entry_decode(struct view bytes, struct entry *out_entry)
{
    struct reader r = reader_over(bytes);
    struct entry e = { 0 };
    struct view body;
    int rc;

    reader_expect(&r, "PHRFS-L1");
    reader_bytes(&r, e.patient.b, sizeof e.patient.b);
    e.seq = reader_u64(&r);
    reader_bytes(&r, e.prev.b, sizeof e.prev.b);
    e.type = reader_u8(&r);
    e.time_s = reader_u64(&r);
    reader_bytes(&r, e.srs.b, sizeof e.srs.b);
    reader_bytes(&r, e.srs_card.b, sizeof e.srs_card.b);
    body = reader_lp(&r, ENTRY_BODY_BYTES_MAX);
    reader_bytes(&r, e.sig.b, sizeof e.sig.b);
    if (!reader_done(&r) || e.type != ENTRY_TYPE_OPS)
        return PHR_E_FORMAT;
    rc = ops_read(body, &e);
    if (rc < 0)
        return rc;
    e.leaf = digest_sha256_prefixed(0x00, bytes, view_of(NULL, 0));
    *out_entry = e;
    return 0;
}

int entry_check(struct view bytes, const struct verify_key *srs)
{
    struct signature sig;
    struct digest rh;

    if (bytes.n < ENTRY_SIG_BYTES)
        return PHR_E_SIGNATURE;
    rh = digest_sha256_prefixed(0x00, view_of(bytes.p, bytes.n - ENTRY_SIG_BYTES),
                                view_of(NULL, 0));
    memcpy(sig.b, bytes.p + bytes.n - ENTRY_SIG_BYTES, sizeof sig.b);
    return sign_check_labelled(srs, LABEL_LEDGER, &rh, &sig);
}

void entry_fini(struct entry *e)
{
    free(e->ops);
    *e = (struct entry){ 0 };
}
