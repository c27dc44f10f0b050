/* Rows as everybody may see them: ids, version and a sealed part. */
#include "format/row.h"

#include "crypto/aead.h"
#include "format/padding.h"

enum {
    SEALED_BYTES_MIN = AEAD_BOX_EXTRA_BYTES + PADDING_ROW_BYTES,
    DENTRY_SEALED_MAX = AEAD_BOX_EXTRA_BYTES + 288, /* a name of 255 bytes, padded */
};

static bool is_sealed_size(size_t n, size_t max)
{
    return n >= SEALED_BYTES_MIN && n <= max &&
           (n - AEAD_BOX_EXTRA_BYTES) % PADDING_ROW_BYTES == 0;
}

void dentry_row_encode(const struct dentry_row *d, struct writer *out)
{
    writer_bytes(out, d->row.b, sizeof d->row.b);
    writer_bytes(out, d->parent.b, sizeof d->parent.b);
    writer_bytes(out, d->tag.b, sizeof d->tag.b);
    writer_u64(out, d->version);
    writer_view(out, d->sealed);
}

int dentry_row_decode(struct view bytes, struct dentry_row *out_row)
{
    struct reader r = reader_over(bytes);
    struct dentry_row d = { 0 };

    reader_bytes(&r, d.row.b, sizeof d.row.b);
    reader_bytes(&r, d.parent.b, sizeof d.parent.b);
    reader_bytes(&r, d.tag.b, sizeof d.tag.b);
    d.version = reader_u64(&r);
    d.sealed = reader_view(&r, r.left);
    if (!reader_done(&r) || !is_sealed_size(d.sealed.n, DENTRY_SEALED_MAX))
        return PHR_E_FORMAT;
    *out_row = d;
    return 0;
}

void inode_row_encode(const struct inode_row *i, struct writer *out)
{
    writer_bytes(out, i->ino.b, sizeof i->ino.b);
    writer_u64(out, i->version);
    writer_view(out, i->sealed);
}

int inode_row_decode(struct view bytes, struct inode_row *out_row)
{
    struct reader r = reader_over(bytes);
    struct inode_row i = { 0 };

    reader_bytes(&r, i.ino.b, sizeof i.ino.b);
    i.version = reader_u64(&r);
    i.sealed = reader_view(&r, r.left);
    if (!reader_done(&r) || !is_sealed_size(i.sealed.n, INODE_BYTES_MAX))
        return PHR_E_FORMAT;
    *out_row = i;
    return 0;
}
