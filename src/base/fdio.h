/*
 * Descriptors. Everything is close-on-exec at birth, relative to a directory descriptor and
 * never follows a symlink; a file is replaced by write, fsync, rename, fsync of the directory.
 * Results: 0 (or a count) or -errno.
 */
#ifndef PHR_BASE_FDIO_H
#define PHR_BASE_FDIO_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/scope.h"
#include "phr/err.h"
#include "phr/types.h"

int fdio_open_dir(int at, const char *path, int *out_fd) PHR_MUST_CHECK;
/* mkdir -p of one path with this mode for what is new, then open it. */
int fdio_make_dir(const char *path, mode_t mode, int *out_fd) PHR_MUST_CHECK;
int fdio_open(int at, const char *name, int flags, mode_t mode, int *out_fd) PHR_MUST_CHECK;
/* All n bytes or an error; a short file is -ENODATA. */
int fdio_pread_all(int fd, void *p, size_t n, uint64_t at) PHR_MUST_CHECK;
/* As many of them as are in memory already, without a wait; 0 also where that cannot be told. */
size_t fdio_pread_ready(int fd, void *p, size_t n, uint64_t at);
int fdio_pwrite_all(int fd, const void *p, size_t n, uint64_t at) PHR_MUST_CHECK;
int fdio_write_all(int fd, const void *p, size_t n) PHR_MUST_CHECK;
/* The whole file, at most max bytes (-EFBIG beyond); *out_p is the caller's (free). */
int fdio_load(int at, const char *name, size_t max, uint8_t **out_p, size_t *out_n) PHR_MUST_CHECK;
/* Atomic and durable replacement. */
int fdio_save(int dir_fd, const char *name, struct view bytes, mode_t mode) PHR_MUST_CHECK;
int fdio_unlink(int dir_fd, const char *name) PHR_MUST_CHECK;
int fdio_fsync_dir(int dir_fd) PHR_MUST_CHECK;
/* Overwrites len bytes at `at` with zeros and fsyncs (deleted keys). */
int fdio_shred(int fd, uint64_t at, size_t len) PHR_MUST_CHECK;

#endif
