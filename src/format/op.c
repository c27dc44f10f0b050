#include "format/op.h"

#include <stdlib.h>

#include "base/scope.h"
#include "crypto/digest.h"
#include "crypto/label.h"

enum { CHANGE_EXTRA_BYTES = 1 + 4 };

int op_encode(const struct op *o, struct writer *out)
{
    size_t start = out->n;

    if (o->count < 1 || o->count > OP_CHANGES_MAX)
        return PHR_E_LIMIT;
    writer_text(out, "PHRFS-O1");
    writer_bytes(out, o->patient.b, sizeof o->patient.b);
    writer_bytes(out, o->class_id.b, sizeof o->class_id.b);
    writer_u32(out, o->epoch);
    writer_bytes(out, o->host.b, sizeof o->host.b);
    writer_u64(out, o->n);
    writer_bytes(out, o->base_leaf.b, sizeof o->base_leaf.b);
    writer_u64(out, o->time_s);
    writer_bytes(out, o->writer.b, sizeof o->writer.b);
    writer_bytes(out, o->writer_card.b, sizeof o->writer_card.b);
    writer_u16(out, o->count);
    for (size_t i = 0; i < o->count; i++) {
        writer_u8(out, (uint8_t)o->changes[i].type);
        writer_lp(out, o->changes[i].body);
    }
    if (!writer_ok(out))
        return -ENOMEM;
    return out->n - start > OP_BYTES_MAX ? PHR_E_LIMIT : 0;
}

static bool change_read(struct reader *r, struct change *out_change)
{
    uint8_t type = reader_u8(r);

    out_change->body = reader_lp(r, OP_BYTES_MAX);
    if (!reader_ok(r) || type < CHANGE_CLASS_RECORD || type > CHANGE_LAST)
        return false;
    out_change->type = (enum change_type)type;
    return true;
}

int op_decode(struct view bytes, struct op *out_op)
{
    scoped(free) struct change *changes = NULL;
    struct reader r = reader_over(bytes);
    struct op o = { 0 };

    if (bytes.n > OP_BYTES_MAX)
        return PHR_E_FORMAT;
    reader_expect(&r, "PHRFS-O1");
    reader_bytes(&r, o.patient.b, sizeof o.patient.b);
    reader_bytes(&r, o.class_id.b, sizeof o.class_id.b);
    o.epoch = reader_u32(&r);
    reader_bytes(&r, o.host.b, sizeof o.host.b);
    o.n = reader_u64(&r);
    reader_bytes(&r, o.base_leaf.b, sizeof o.base_leaf.b);
    o.time_s = reader_u64(&r);
    reader_bytes(&r, o.writer.b, sizeof o.writer.b);
    reader_bytes(&r, o.writer_card.b, sizeof o.writer_card.b);
    o.count = reader_u16(&r);
    if (!reader_ok(&r) || o.count < 1 || o.count > OP_CHANGES_MAX ||
        r.left < (size_t)o.count * CHANGE_EXTRA_BYTES || op_lane(o.n) > OP_LANE_TOOL)
        return PHR_E_FORMAT;
    changes = calloc(o.count, sizeof *changes);
    if (!changes)
        return -ENOMEM;
    for (size_t i = 0; i < o.count; i++) {
        if (!change_read(&r, &changes[i]))
            return PHR_E_FORMAT;
    }
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    o.changes = give(changes);
    *out_op = o;
    return 0;
}

void op_fini(struct op *o)
{
    free(o->changes);
    *o = (struct op){ 0 };
}

struct signature op_sign(struct view op_bytes, const struct sign_key *writer)
{
    struct digest h = digest_sha256(op_bytes);

    return sign_labelled(writer, LABEL_OP, &h);
}

int op_check(struct view op_bytes, const struct signature *sig,
             const struct verify_key *writer)
{
    struct digest h = digest_sha256(op_bytes);

    return sign_check_labelled(writer, LABEL_OP, &h, sig);
}
