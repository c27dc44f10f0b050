/*
 * A compartment's namespace as one object: dentries, inodes, headers and seals at (seq, leaf),
 * each kind sorted by id, still sealed (CRYPTO 2.5). Also the object of an epoch change, which
 * holds dentries and inodes only.
 * Rows are the bodies of the changes that made them (dentry, inode, header_change, seal), so each
 * begins with its 16-byte id; ids rise strictly within a kind, for headers ids may repeat.
 *   "PHRFS-S1" || class_ctx || LE64 seq || leaf32 || 4 * (LE32 count || count * LP(row))
 */
#ifndef PHR_FORMAT_SNAPSHOT_H
#define PHR_FORMAT_SNAPSHOT_H

#include "base/cursor.h"
#include "crypto/pre.h"
#include "format/limits.h"

enum snapshot_kind {
    SNAPSHOT_DENTRY,
    SNAPSHOT_INODE,
    SNAPSHOT_HEADER,
    SNAPSHOT_SEAL,
    SNAPSHOT_KINDS
};
struct snapshot_head {
    struct class_ctx ctx;
    uint64_t seq;
    struct digest leaf;
};
struct snapshot_rows {
    struct view *rows;
    size_t count;
};
int snapshot_encode(const struct snapshot_head *h,
                    const struct snapshot_rows rows[SNAPSHOT_KINDS],
                    struct writer *out) PHR_MUST_CHECK;
/* Calls on_row for each row in order; stops at its first non-zero result and returns it. */
int snapshot_decode(struct view bytes, struct snapshot_head *out_head,
                    int (*on_row)(void *user, enum snapshot_kind kind, struct view row),
                    void *user) PHR_MUST_CHECK;

#endif
