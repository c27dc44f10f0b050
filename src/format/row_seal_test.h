/* Tests only: the plaintext of rows, which is fixed; sealing draws a nonce. */
#ifndef PHR_FORMAT_ROW_SEAL_TEST_H
#define PHR_FORMAT_ROW_SEAL_TEST_H

#include "format/row.h"

/* LP(name) || ino16 || type u8, padded. */
void dentry_plain_encode(const struct dentry *d, struct writer *out);
int dentry_plain_decode(struct view plain, struct dentry *out_dentry) PHR_MUST_CHECK;
/* The attributes in the order of struct inode_attr, padded; out has nothing in it before. */
void inode_plain_encode(const struct inode_attr *a, struct writer *out);
int inode_plain_decode(struct view plain, struct inode_attr *out_attr) PHR_MUST_CHECK;

#endif
