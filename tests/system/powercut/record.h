/*
 * The journal that recfs writes and the replayer reads: one record for each call that changes
 * the tree or makes a change durable, in the order in which they happened. Host byte order: it
 * is read on the machine and in the run that wrote it.
 */
#ifndef PHR_TESTS_SYSTEM_POWERCUT_RECORD_H
#define PHR_TESTS_SYSTEM_POWERCUT_RECORD_H

#include <stdint.h>

enum record_type {
    RECORD_CREATE = 1, /* id, a: mode; first: path */
    RECORD_MKDIR,      /* the same */
    RECORD_SYMLINK,    /* id; first: path, second: target */
    RECORD_LINK,       /* id; first: path of the new name */
    RECORD_UNLINK,     /* first: path; of a directory too */
    RECORD_RENAME,     /* a: flags of renameat2; first: from, second: to */
    RECORD_WRITE,      /* id, a: offset; second: bytes */
    RECORD_TRUNCATE,   /* id, a: size */
    RECORD_ZERO,       /* id, a: offset, b: length; a hole or zeros, the size stays */
    RECORD_MODE,       /* id, a: mode */
    RECORD_SYNC,       /* id: fsync or fdatasync of a file */
    RECORD_SYNC_DIR,   /* id: of a directory */
    RECORD_SETTLE      /* everything before is on disk: where a workload begins */
};

/* Ids are never used again, unlike inode numbers. The root of the tree is 1. */
enum { RECORD_ROOT_ID = 1 };

struct record {
    uint32_t type;
    uint32_t first_bytes;
    uint64_t second_bytes;
    uint64_t id;
    uint64_t a;
    uint64_t b;
};

/* Reading one of these of the root tells how many records there are; SETTLE adds one before. */
#define RECORD_COUNT_XATTR "user.recfs.count"
#define RECORD_SETTLE_XATTR "user.recfs.settle"

#endif
