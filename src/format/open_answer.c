#include "format/open_answer.h"

#include <stdlib.h>

#include "base/checked.h"
#include "base/scope.h"
#include "crypto/digest.h"
#include "crypto/label.h"

enum { ITEM_BYTES = 4 + 32 + 32, TAIL_BYTES = 8 + 4 + 64 };

/* SHA-256(leaves || W1s || LE64 time): what the receipt covers. */
static struct digest receipt_digest(const struct open_answer *a)
{
    struct digest_stream *s = digest_stream_new();
    uint8_t time[8];

    INVARIANT(s != NULL);
    for (size_t i = 0; i < a->count; i++)
        digest_stream_add(s, view_of(a->items[i].leaf.b, sizeof a->items[i].leaf.b));
    for (size_t i = 0; i < a->count; i++)
        digest_stream_add(s, view_of(a->items[i].w1.b, sizeof a->items[i].w1.b));
    put_le64(time, a->time_s);
    digest_stream_add(s, view_of(time, sizeof time));
    return digest_stream_finish(s);
}

int open_answer_encode(struct open_answer *a, const struct sign_key *srs,
                       struct writer *out)
{
    struct digest h;

    if (a->count > OPEN_FILES_MAX)
        return PHR_E_LIMIT;
    h = receipt_digest(a);
    a->receipt = sign_labelled(srs, LABEL_RECEIPT, &h);
    writer_u16(out, a->count);
    for (size_t i = 0; i < a->count; i++) {
        writer_u32(out, (uint32_t)a->items[i].rc);
        writer_bytes(out, a->items[i].leaf.b, sizeof a->items[i].leaf.b);
        writer_bytes(out, a->items[i].w1.b, sizeof a->items[i].w1.b);
    }
    writer_u64(out, a->time_s);
    writer_u32(out, a->lease_s);
    writer_bytes(out, a->receipt.b, sizeof a->receipt.b);
    return writer_ok(out) ? 0 : -ENOMEM;
}

int open_answer_decode(struct view bytes, struct open_answer *out_answer)
{
    scoped(free) struct open_answer_item *items = NULL;
    struct reader r = reader_over(bytes);
    struct open_answer a = { 0 };

    a.count = reader_u16(&r);
    if (!reader_ok(&r) || a.count > OPEN_FILES_MAX ||
        r.left != (size_t)a.count * ITEM_BYTES + TAIL_BYTES)
        return PHR_E_FORMAT;
    items = calloc(a.count ? a.count : 1, sizeof *items);
    if (!items)
        return -ENOMEM;
    for (size_t i = 0; i < a.count; i++) {
        items[i].rc = (int32_t)reader_u32(&r);
        reader_bytes(&r, items[i].leaf.b, sizeof items[i].leaf.b);
        reader_bytes(&r, items[i].w1.b, sizeof items[i].w1.b);
        if (items[i].rc > 0)
            return PHR_E_FORMAT;
    }
    a.time_s = reader_u64(&r);
    a.lease_s = reader_u32(&r);
    reader_bytes(&r, a.receipt.b, sizeof a.receipt.b);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    a.items = give(items);
    *out_answer = a;
    return 0;
}

int open_answer_check(const struct open_answer *a, const struct verify_key *srs)
{
    struct digest h = receipt_digest(a);

    return sign_check_labelled(srs, LABEL_RECEIPT, &h, &a->receipt);
}

void open_answer_fini(struct open_answer *a)
{
    free(a->items);
    *a = (struct open_answer){ 0 };
}
