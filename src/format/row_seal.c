/*
 * What only a holder of the names key can do: tags, and the sealed part of rows. Each sealing
 * draws a random 24-byte nonce, so a nonce does not come twice under K_row. Plaintext here is
 * names and attributes of patients: it is wiped wherever it was.
 */
#include "format/row.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "format/padding.h"
#include "format/row_seal_test.h"

enum {
    DENTRY_PLAIN_MAX = 288,
    DENTRY_AAD_BYTES = 3 + 16 + 16 + 16 + 8,
    INODE_AAD_BYTES = 3 + 16 + 8,
    INODE_FIXED_BYTES = 4 * 4 + 8 + 4 * (8 + 4),
};
static_assert(DENTRY_PLAIN_MAX >= 4 + NAME_BYTES_MAX + 16 + 1, "the longest name fits");
static_assert(INODE_FIXED_BYTES + 4 * 4 + SYMLINK_BYTES_MAX + XATTR_BYTES_MAX +
                      2 * DISPLAY_NAME_BYTES_MAX + PADDING_ROW_BYTES +
                      AEAD_BOX_EXTRA_BYTES <=
                  INODE_BYTES_MAX,
              "the largest inode fits");

static int key_derive(const struct symkey *nk, const char *label,
                      const struct class_ctx *ctx, struct symkey **out_key)
{
    struct symkey *key = secret_alloc(sizeof *key);
    uint8_t info[CLASS_CTX_BYTES];

    if (!key)
        return -ENOMEM;
    class_ctx_encode(ctx, info);
    digest_hkdf(view_of(nk->b, sizeof nk->b), view_text(label),
                view_of(info, sizeof info), (struct span){ key->b, sizeof key->b });
    *out_key = key;
    return 0;
}

int row_keys_derive(const struct symkey *nk, const struct class_ctx *ctx,
                    struct row_keys *out_keys)
{
    struct row_keys k = { NULL, NULL };
    int rc = key_derive(nk, LABEL_NAME_TAG, ctx, &k.tag);

    if (rc < 0)
        return rc;
    rc = key_derive(nk, LABEL_NAME_ROW, ctx, &k.row);
    if (rc < 0) {
        row_keys_free(&k);
        return rc;
    }
    *out_keys = k;
    return 0;
}

void row_keys_free(struct row_keys *k)
{
    secret_free(k->tag);
    secret_free(k->row);
    *k = (struct row_keys){ 0 };
}

struct id16 name_tag(const struct row_keys *k, const struct id16 *parent,
                     struct view name)
{
    uint8_t room[4 + 16 + 4 + NAME_BYTES_MAX];
    struct writer w;
    struct digest mac;
    struct id16 tag;

    INVARIANT(name.n <= NAME_BYTES_MAX);
    writer_init_fixed(&w, (struct span){ room, sizeof room });
    writer_lp(&w, view_of(parent->b, sizeof parent->b));
    writer_lp(&w, name);
    mac = digest_hmac(view_of(k->tag->b, sizeof k->tag->b), writer_done(&w));
    secret_wipe(room, sizeof room);
    memcpy(tag.b, mac.b, sizeof tag.b);
    return tag;
}

/* Appends the sealed form of plain to out. */
static int box_append(const struct row_keys *k, struct view aad, struct view plain,
                      struct writer *out)
{
    size_t start = out->n;

    writer_zeros(out, plain.n + AEAD_BOX_EXTRA_BYTES);
    if (!writer_ok(out))
        return -ENOMEM;
    return aead_box(k->row, aad, plain, (struct span){ out->p + start, out->n - start });
}

static void dentry_aad(const struct dentry_row *row, uint8_t out[DENTRY_AAD_BYTES])
{
    memcpy(out, "row", 3);
    memcpy(out + 3, row->row.b, 16);
    memcpy(out + 19, row->parent.b, 16);
    memcpy(out + 35, row->tag.b, 16);
    put_le64(out + 51, row->version);
}

/* Behind what was read: less than one step of zeros, as the encoder leaves them. */
static bool is_padding_sound(struct view plain, const struct reader *rest)
{
    return reader_ok(rest) && plain.n % PADDING_ROW_BYTES == 0 &&
           rest->left < PADDING_ROW_BYTES &&
           padding_is_zero(view_of(rest->p, rest->left));
}

/* A name that a directory may hold: no path, not the directory itself or its parent. */
static bool is_name(struct view v)
{
    if (v.n < 1 || v.n > NAME_BYTES_MAX || memchr(v.p, '/', v.n) || memchr(v.p, 0, v.n))
        return false;
    return !(v.p[0] == '.' && (v.n == 1 || (v.n == 2 && v.p[1] == '.')));
}

static bool is_type(uint8_t type)
{
    return type == DT_FIFO || type == DT_CHR || type == DT_DIR || type == DT_BLK ||
           type == DT_REG || type == DT_LNK || type == DT_SOCK;
}

void dentry_plain_encode(const struct dentry *d, struct writer *out)
{
    writer_lp(out, view_of(d->name, d->name_bytes));
    writer_bytes(out, d->ino.b, sizeof d->ino.b);
    writer_u8(out, d->type);
    writer_zeros(out, padding_up(out->n, PADDING_ROW_BYTES) - out->n);
}

int dentry_seal(const struct row_keys *k, const struct dentry_row *ids,
                const struct dentry *d, struct writer *out)
{
    uint8_t aad[DENTRY_AAD_BYTES];
    uint8_t plain[DENTRY_PLAIN_MAX];
    struct writer w;
    int rc;

    if (!is_name(view_of(d->name, d->name_bytes)) || !is_type(d->type))
        return -EINVAL;
    writer_init_fixed(&w, (struct span){ plain, sizeof plain });
    dentry_plain_encode(d, &w);
    INVARIANT(writer_ok(&w));
    dentry_aad(ids, aad);
    rc = box_append(k, view_of(aad, sizeof aad), writer_done(&w), out);
    secret_wipe(plain, sizeof plain);
    return rc;
}

int dentry_plain_decode(struct view plain, struct dentry *out_dentry)
{
    struct reader r = reader_over(plain);
    struct view name = reader_lp(&r, NAME_BYTES_MAX);
    struct id16 ino;
    uint8_t type;

    reader_bytes(&r, ino.b, sizeof ino.b);
    type = reader_u8(&r);
    if (!is_padding_sound(plain, &r))
        return PHR_E_FORMAT;
    if (!is_name(name) || !is_type(type))
        return PHR_E_FORMAT;
    *out_dentry = (struct dentry){ .name_bytes = name.n, .ino = ino, .type = type };
    memcpy(out_dentry->name, name.p, name.n);
    return 0;
}

int dentry_open_sealed(const struct row_keys *k, const struct dentry_row *row,
                       struct dentry *out_dentry)
{
    uint8_t aad[DENTRY_AAD_BYTES];
    uint8_t plain[DENTRY_PLAIN_MAX];
    size_t n;
    int rc;

    if (row->sealed.n < AEAD_BOX_EXTRA_BYTES ||
        row->sealed.n - AEAD_BOX_EXTRA_BYTES > sizeof plain)
        return PHR_E_FORMAT;
    n = row->sealed.n - AEAD_BOX_EXTRA_BYTES;
    dentry_aad(row, aad);
    rc = aead_open_box(k->row, view_of(aad, sizeof aad), row->sealed,
                       (struct span){ plain, n });
    if (rc == 0)
        rc = dentry_plain_decode(view_of(plain, n), out_dentry);
    secret_wipe(plain, sizeof plain);
    return rc;
}

static void inode_aad(const struct inode_row *row, uint8_t out[INODE_AAD_BYTES])
{
    memcpy(out, "ino", 3);
    memcpy(out + 3, row->ino.b, 16);
    put_le64(out + 19, row->version);
}

static bool is_attr_sound(const struct inode_attr *a)
{
    const struct row_time *times[] = { &a->atime, &a->mtime, &a->ctime, &a->btime };

    for (size_t i = 0; i < ARRAY_COUNT(times); i++) {
        if (times[i]->ns >= 1000000000)
            return false;
    }
    return a->size <= FILE_BYTES_MAX && a->link_target.n <= SYMLINK_BYTES_MAX &&
           a->patient_name.n <= DISPLAY_NAME_BYTES_MAX &&
           a->compartment_name.n <= DISPLAY_NAME_BYTES_MAX && xattr_check(a->xattrs) == 0;
}

static void time_write(const struct row_time *t, struct writer *w)
{
    writer_u64(w, (uint64_t)t->s);
    writer_u32(w, t->ns);
}

void inode_plain_encode(const struct inode_attr *a, struct writer *w)
{
    writer_u32(w, a->mode);
    writer_u32(w, a->uid);
    writer_u32(w, a->gid);
    writer_u32(w, a->rdev);
    writer_u64(w, a->size);
    time_write(&a->atime, w);
    time_write(&a->mtime, w);
    time_write(&a->ctime, w);
    time_write(&a->btime, w);
    writer_lp(w, a->link_target);
    writer_lp(w, a->xattrs);
    writer_lp(w, a->patient_name);
    writer_lp(w, a->compartment_name);
    writer_zeros(w, padding_up(w->n, PADDING_ROW_BYTES) - w->n);
}

int inode_seal(const struct row_keys *k, const struct inode_row *ids,
               const struct inode_attr *a, struct writer *out)
{
    scoped(free) uint8_t *plain = NULL;
    uint8_t aad[INODE_AAD_BYTES];
    struct writer w;
    size_t n;
    int rc;

    if (!is_attr_sound(a))
        return -EINVAL;
    n = padding_up(INODE_FIXED_BYTES + 4 * 4 + a->link_target.n + a->xattrs.n +
                       a->patient_name.n + a->compartment_name.n,
                   PADDING_ROW_BYTES);
    plain =
        malloc(n); /* of the right size at once: a grown buffer leaves copies behind */
    if (!plain)
        return -ENOMEM;
    writer_init_fixed(&w, (struct span){ plain, n });
    inode_plain_encode(a, &w);
    INVARIANT(writer_ok(&w) && w.n == n);
    inode_aad(ids, aad);
    rc = box_append(k, view_of(aad, sizeof aad), view_of(plain, n), out);
    secret_wipe(plain, n);
    return rc;
}

static void time_read(struct reader *r, struct row_time *out_time)
{
    out_time->s = (int64_t)reader_u64(r);
    out_time->ns = reader_u32(r);
}

int inode_plain_decode(struct view plain, struct inode_attr *out_attr)
{
    struct reader r = reader_over(plain);
    struct inode_attr a = { 0 };

    a.mode = reader_u32(&r);
    a.uid = reader_u32(&r);
    a.gid = reader_u32(&r);
    a.rdev = reader_u32(&r);
    a.size = reader_u64(&r);
    time_read(&r, &a.atime);
    time_read(&r, &a.mtime);
    time_read(&r, &a.ctime);
    time_read(&r, &a.btime);
    a.link_target = reader_lp(&r, SYMLINK_BYTES_MAX);
    a.xattrs = reader_lp(&r, XATTR_BYTES_MAX);
    a.patient_name = reader_lp(&r, DISPLAY_NAME_BYTES_MAX);
    a.compartment_name = reader_lp(&r, DISPLAY_NAME_BYTES_MAX);
    if (!is_padding_sound(plain, &r))
        return PHR_E_FORMAT;
    if (!is_attr_sound(&a))
        return PHR_E_FORMAT;
    *out_attr = a;
    return 0;
}

int inode_open_sealed(const struct row_keys *k, const struct inode_row *row,
                      struct writer *plain, struct inode_attr *out_attr)
{
    uint8_t aad[INODE_AAD_BYTES];
    size_t start = plain->n;
    size_t n;
    int rc;

    if (row->sealed.n < AEAD_BOX_EXTRA_BYTES || row->sealed.n > INODE_BYTES_MAX)
        return PHR_E_FORMAT;
    n = row->sealed.n - AEAD_BOX_EXTRA_BYTES;
    writer_zeros(plain, n);
    if (!writer_ok(plain))
        return -ENOMEM;
    inode_aad(row, aad);
    rc = aead_open_box(k->row, view_of(aad, sizeof aad), row->sealed,
                       (struct span){ plain->p + start, n });
    if (rc < 0)
        return rc;
    return inode_plain_decode(view_of(plain->p + start, n), out_attr);
}

void inode_plain_free(struct writer *plain)
{
    if (plain->p)
        secret_wipe(plain->p, plain->room);
    writer_fini(plain);
}
