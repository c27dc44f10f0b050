/*
 * One body of calls, run on two file systems: what each call says goes into a transcript, one
 * line per observation, and test_posix.py compares the two. So a body says nothing that may
 * differ by chance: no times of day, no inode numbers, no sizes of directories.
 *
 * A body runs in a process of its own, in a fresh directory that is its working directory, as
 * root with umask 022. "../other" is a directory in another compartment.
 */
#ifndef PHR_TESTS_SYSTEM_POSIX_TWIN_H
#define PHR_TESTS_SYSTEM_POSIX_TWIN_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

struct twin_body {
    const char *name;
    void (*run)(void);
    bool is_long; /* only with --long */
};

extern const struct twin_body twin_open_bodies[], twin_names_bodies[],
    twin_rename_bodies[], twin_modes_bodies[], twin_times_bodies[], twin_data_bodies[],
    twin_space_bodies[], twin_mmap_bodies[], twin_locks_bodies[], twin_xattrs_bodies[],
    twin_acls_bodies[], twin_dirs_bodies[];

/* "label -> N" or "label -> ENAME"; a descriptor is only ok. */
void twin_result(const char *label, long long result, int error);
void twin_line(const char *label, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define TRY(call)                                       \
    __extension__({                                     \
        long long got_;                                 \
        errno = 0;                                      \
        got_ = (long long)(call);                       \
        twin_result(#call, got_, got_ < 0 ? errno : 0); \
        got_;                                           \
    })
/* A descriptor, or -1. */
#define FD(call)                                                    \
    __extension__({                                                 \
        int fd_;                                                    \
        errno = 0;                                                  \
        fd_ = (call);                                               \
        twin_result(#call, fd_ < 0 ? fd_ : 0, fd_ < 0 ? errno : 0); \
        fd_;                                                        \
    })

/* type mode links owner group size of a name (not followed), or of a descriptor. */
void twin_show(const char *path);
void twin_show_fd(const char *label, int fd);
/* The same without the size of files: where the two may round differently. */
const char *twin_type(mode_t mode);

/* Bytes that differ with seed and place, and what a file holds as a digest and a length. */
void twin_fill(uint8_t *room, size_t n, unsigned seed);
void twin_write_file(const char *path, size_t n, unsigned seed);
void twin_digest(const char *path);
void twin_digest_fd(const char *label, int fd);
void twin_touch(const char *path, mode_t mode);

/* The body that follows runs in a child with this uid and gid and no other groups. */
bool twin_enter(uid_t uid, gid_t gid);
void twin_leave(void) __attribute__((noreturn));
#define AS(uid, gid) for (bool in_ = twin_enter(uid, gid); in_; twin_leave())
enum { USER_A = 4711, USER_B = 4712, GROUP_A = 4721, GROUP_B = 4722 };

/* Longer than a tick of the kernel's coarse clock, so that a time that moves can be seen to. */
void twin_tick(void);
/* Says how the times of path went from before the call to after it: "atime= mtime+ ctime+". */
void twin_times_before(const char *path, struct stat *out_st);
void twin_times_after(const char *label, const char *path, const struct stat *before);
#define MOVES(path, call)                                     \
    do {                                                      \
        struct stat before_;                                  \
        twin_times_before(path, &before_);                    \
        TRY(call);                                            \
        twin_times_after("  times of " path, path, &before_); \
    } while (0)

#endif
