#include "format/snapshot.h"

#include <string.h>

enum { ROW_ID_BYTES = 16 };

/* Ids rise; a file has a header per generation, so there they may repeat. */
static bool is_in_order(enum snapshot_kind kind, struct view before, struct view row)
{
    int order = before.n > 0 ? memcmp(before.p, row.p, ROW_ID_BYTES) : -1;

    return order < 0 || (order == 0 && kind == SNAPSHOT_HEADER);
}

static bool is_row_size(size_t n)
{
    return n >= ROW_ID_BYTES && n <= INODE_BYTES_MAX;
}

static void rows_write(enum snapshot_kind kind, const struct snapshot_rows *rows,
                       struct writer *w)
{
    struct view before = { NULL, 0 };

    if (rows->count > UINT32_MAX)
        w->failed = true;
    writer_u32(w, (uint32_t)rows->count);
    for (size_t i = 0; i < rows->count; i++) {
        if (!is_row_size(rows->rows[i].n) || !is_in_order(kind, before, rows->rows[i]))
            w->failed = true;
        writer_lp(w, rows->rows[i]);
        before = rows->rows[i];
    }
}

int snapshot_encode(const struct snapshot_head *h,
                    const struct snapshot_rows rows[SNAPSHOT_KINDS], struct writer *out)
{
    uint8_t ctx[CLASS_CTX_BYTES];

    class_ctx_encode(&h->ctx, ctx);
    writer_text(out, "PHRFS-S1");
    writer_bytes(out, ctx, sizeof ctx);
    writer_u64(out, h->seq);
    writer_bytes(out, h->leaf.b, sizeof h->leaf.b);
    for (unsigned kind = 0; kind < SNAPSHOT_KINDS; kind++)
        rows_write((enum snapshot_kind)kind, &rows[kind], out);
    return writer_ok(out) ? 0 : PHR_E_LIMIT;
}

typedef int row_fn(void *user, enum snapshot_kind kind, struct view row);

/* One pass over the rows; on_row may be NULL. */
static int rows_read(struct reader *r, row_fn *on_row, void *user)
{
    for (unsigned kind = 0; kind < SNAPSHOT_KINDS; kind++) {
        struct view before = { NULL, 0 };
        uint32_t count = reader_u32(r);

        for (uint32_t i = 0; i < count; i++) {
            struct view row = reader_lp(r, INODE_BYTES_MAX);
            int rc;

            if (!reader_ok(r) || !is_row_size(row.n) ||
                !is_in_order((enum snapshot_kind)kind, before, row))
                return PHR_E_FORMAT;
            rc = on_row ? on_row(user, (enum snapshot_kind)kind, row) : 0;
            if (rc != 0)
                return rc;
            before = row;
        }
    }
    return reader_done(r) ? 0 : PHR_E_FORMAT;
}

int snapshot_decode(struct view bytes, struct snapshot_head *out_head,
                    int (*on_row)(void *user, enum snapshot_kind kind, struct view row),
                    void *user)
{
    struct reader r = reader_over(bytes);
    struct snapshot_head h = { 0 };
    uint8_t ctx[CLASS_CTX_BYTES];
    struct reader rows;
    int rc;

    reader_expect(&r, "PHRFS-S1");
    reader_bytes(&r, ctx, sizeof ctx);
    h.seq = reader_u64(&r);
    reader_bytes(&r, h.leaf.b, sizeof h.leaf.b);
    if (!reader_ok(&r))
        return PHR_E_FORMAT;
    class_ctx_decode(ctx, &h.ctx);
    rows = r;
    rc = rows_read(&rows, NULL,
                   NULL); /* nothing is handed out of an object that is not whole */
    if (rc < 0)
        return rc;
    *out_head = h;
    return rows_read(&r, on_row, user);
}
