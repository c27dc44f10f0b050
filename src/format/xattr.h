/* The list of extended attributes inside an inode (CRYPTO 2.5). */
#ifndef PHR_FORMAT_XATTR_H
#define PHR_FORMAT_XATTR_H

#include "base/cursor.h"
#include "format/limits.h"
#include "phr/err.h"

/* The xattr list inside an inode: LE16 count, then LP(name) || LP(value) sorted by name. */
/* PHR_E_FORMAT unless it is such a list; no bytes at all are the empty list. */
int xattr_check(struct view list) PHR_MUST_CHECK;
int xattr_get(struct view list, struct view name,
              struct view *out_value) PHR_MUST_CHECK; /* -ENODATA */
/*
 * value.p == NULL removes (-ENODATA when there is none). Appends the new list to out. -ENOSPC beyond
 * XATTR_BYTES_MAX, -E2BIG for a value beyond XATTR_VALUE_BYTES_MAX, -EINVAL or -ERANGE for a name.
 */
int xattr_set(struct view list, struct view name, struct view value,
              struct writer *out) PHR_MUST_CHECK;
/* NUL-separated names, as listxattr(2) returns them. */
int xattr_names(struct view list, struct writer *out) PHR_MUST_CHECK;

#endif
