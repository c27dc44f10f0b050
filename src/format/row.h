/* Dentries and inodes as sealed rows, the names key, name tags (CRYPTO 2.5). */
#ifndef PHR_FORMAT_ROW_H
#define PHR_FORMAT_ROW_H

#include "base/cursor.h"
#include "crypto/pre.h"
#include "format/limits.h"

/* SECRET: the two keys made of a names key NK for one class-epoch; arena. */
struct row_keys {
    struct symkey *tag;
    struct symkey *row;
};
int row_keys_derive(const struct symkey *nk, const struct class_ctx *ctx,
                    struct row_keys *out_keys) PHR_MUST_CHECK;
void row_keys_free(struct row_keys *k);

/* HMAC-SHA-256(K_tag, LP(parent) || LP(name))[0:16]. */
struct id16 name_tag(const struct row_keys *k, const struct id16 *parent,
                     struct view name);

struct dentry_row { /* as it stands in an op, a snapshot and the database; public */
    struct id16 row;
    struct id16 parent;
    struct id16 tag;
    uint64_t version;
    struct view sealed;
};
struct dentry { /* opened */
    /* NUL-terminated for convenience; any bytes but '/' and NUL. */
    uint8_t name[NAME_BYTES_MAX + 1];
    size_t name_bytes;
    struct id16 ino;
    uint8_t type; /* DT_* of dirent.h */
};
void dentry_row_encode(const struct dentry_row *d, struct writer *out);
int dentry_row_decode(struct view bytes, struct dentry_row *out_row) PHR_MUST_CHECK;
/* Seals name, ino, type into *out (appended): the `sealed` field. */
int dentry_seal(const struct row_keys *k, const struct dentry_row *ids,
                const struct dentry *d, struct writer *out) PHR_MUST_CHECK;
int dentry_open_sealed(const struct row_keys *k, const struct dentry_row *row,
                       struct dentry *out_dentry) PHR_MUST_CHECK;

struct inode_row {
    struct id16 ino;
    uint64_t version;
    struct view sealed;
};
struct row_time {
    int64_t s;
    uint32_t ns;
};
struct inode_attr {
    uint32_t mode; /* S_IFMT and permissions */
    uint32_t uid;
    uint32_t gid;
    uint32_t rdev;
    uint64_t size;
    struct row_time atime, mtime, ctime, btime;
    struct view link_target;  /* symlinks; borrowed from opened bytes */
    struct view xattrs;       /* encoded list, see xattr_* below; borrowed */
    struct view patient_name; /* class roots only */
    struct view compartment_name;
};
void inode_row_encode(const struct inode_row *i, struct writer *out);
int inode_row_decode(struct view bytes, struct inode_row *out_row) PHR_MUST_CHECK;
int inode_seal(const struct row_keys *k, const struct inode_row *ids,
               const struct inode_attr *a, struct writer *out) PHR_MUST_CHECK;
/* Opens into *plain (an initialised writer, plaintext: wipe by inode_plain_free); attr borrows from it. */
int inode_open_sealed(const struct row_keys *k, const struct inode_row *row,
                      struct writer *plain, struct inode_attr *out_attr) PHR_MUST_CHECK;
void inode_plain_free(struct writer *plain);

#include "format/xattr.h" /* for those who include this */

#endif
