/*
 * The differential fuzzer: random operations by several processes, on ext4 and on the mount.
 *
 * An operation is a function of seed and number alone, so that any selection of a sequence can
 * be run again: that is what the minimiser does. Workers come in pairs, one on each side with
 * the same uid, and the coordinator hands out one operation at a time to both.
 */
#ifndef PHR_TESTS_SYSTEM_POSIX_FUZZ_H
#define PHR_TESTS_SYSTEM_POSIX_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define FUZZ_KINDS(X) \
    X(OPEN, 120)      \
    X(CLOSE, 25)      \
    X(PREAD, 60)      \
    X(PWRITE, 70)     \
    X(WRITE, 30)      \
    X(FTRUNCATE, 25)  \
    X(TRUNCATE, 15)   \
    X(FALLOCATE, 20)  \
    X(SEEK, 15)       \
    X(FSYNC, 6)       \
    X(FDATASYNC, 4)   \
    X(MSTORE, 25)     \
    X(MLOAD, 20)      \
    X(MAP, 12)        \
    X(MAPSTORE, 25)   \
    X(MAPLOAD, 20)    \
    X(MSYNC, 4)       \
    X(UNMAP, 6)       \
    X(COPY, 15)       \
    X(MKDIR, 30)      \
    X(RMDIR, 20)      \
    X(UNLINK, 30)     \
    X(LINK, 20)       \
    X(SYMLINK, 12)    \
    X(READLINK, 6)    \
    X(MKNOD, 8)       \
    X(RENAME, 45)     \
    X(CHMOD, 15)      \
    X(CHOWN, 8)       \
    X(FCHMOD, 8)      \
    X(FCHOWN, 5)      \
    X(UTIMES, 15)     \
    X(FUTIMES, 8)     \
    X(SETXATTR, 12)   \
    X(GETXATTR, 6)    \
    X(LISTXATTR, 6)   \
    X(REMOVEXATTR, 6) \
    X(SETACL, 6)      \
    X(STAT, 20)       \
    X(READDIR, 15)    \
    X(ACCESS, 8)      \
    X(UMASK, 3)       \
    X(FLOCK, 6)       \
    X(LOCK, 8)        \
    X(COMPARE, 0)     \
    X(DROP, 0)        \
    X(REMOUNT, 0)     \
    X(KILL, 0)

enum fuzz_kind {
#define X(name, weight) FUZZ_##name,
    FUZZ_KINDS(X)
#undef X
};

enum {
    FUZZ_WORKERS = 4,
    FUZZ_SLOTS = 4,
    FUZZ_MAPS = 2,
    FUZZ_SLOT_FD = 100, /* the descriptor of slot 0: the coordinator looks in /proc */
    FUZZ_MAP_FD = 200,
    FUZZ_PATH_BYTES = 600,
    FUZZ_IO_BYTES = 65536,
};

struct fuzz_op {
    uint64_t id;
    enum fuzz_kind kind;
    unsigned worker, slot, slot2;
    int flags;
    unsigned mode;
    int64_t off, off2, len;
    char path[FUZZ_PATH_BYTES], path2[FUZZ_PATH_BYTES];
};

/* What stat shows, without what may differ. A time near now is 0. */
struct fuzz_seen {
    int32_t error; /* of stat */
    uint32_t mode, links, uid, gid;
    int64_t size, mtime_s, mtime_ns;
};

struct fuzz_result {
    int64_t value;
    int32_t error;
    uint64_t hash;
    struct fuzz_seen one, two;
};

/* every: an event (comparison, dropped caches, new mount, kill) comes after so many. */
void fuzz_make_op(uint64_t seed, uint64_t number, uint64_t every, struct fuzz_op *out_op);
void fuzz_print_op(const struct fuzz_op *op);
const char *fuzz_kind_name(enum fuzz_kind kind);
bool fuzz_is_event(enum fuzz_kind kind);

/* A worker: answers operations on the socket until it is closed. Does not return. */
void fuzz_work(int sock, const char *dir, unsigned worker) __attribute__((noreturn));
/* The part of it that works on names; room has FUZZ_IO_BYTES. */
int64_t fuzz_on_names(const struct fuzz_op *op, uint8_t *room, struct fuzz_result *r);
struct fuzz_person {
    uid_t uid;
    gid_t gid;
};
extern const struct fuzz_person fuzz_people[FUZZ_WORKERS];
struct timespec;
void fuzz_times_of(const struct fuzz_op *op, struct timespec times[2]);
uint64_t fuzz_hash(uint64_t h, const void *p, size_t n);
void fuzz_fill(uint8_t *room, size_t n, uint64_t id);
void fuzz_see(const struct stat *st, int error, struct fuzz_seen *out_seen);

/* The bytes that a file may hold after a kill: what an interrupted writer found and left. */
void fuzz_history_before(const char *dir, const pid_t *pids, const struct fuzz_op *op);
void fuzz_history_after(const char *dir, const pid_t *pids, const struct fuzz_op *op,
                        const struct fuzz_result *r);
void fuzz_history_clear(void);
bool fuzz_history_allows(ino_t ino, const uint8_t *model, size_t model_bytes,
                         const uint8_t *found, size_t found_bytes);

/* Both trees in full; the number of differences, each printed. After a kill the first one
   takes over what the second may show. */
enum fuzz_tree { FUZZ_TREE_EQUAL, FUZZ_TREE_AFTER_KILL };
int fuzz_tree_compare(const char *ext4, const char *mount, enum fuzz_tree how);

#endif
