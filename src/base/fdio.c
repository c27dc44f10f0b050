#include "base/fdio.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/checked.h"

int fdio_open(int at, const char *name, int flags, mode_t mode, int *out_fd)
{
    int fd = openat(at, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);

    if (fd < 0)
        return -errno;
    *out_fd = fd;
    return 0;
}

int fdio_open_dir(int at, const char *path, int *out_fd)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    *out_fd = fd;
    return 0;
}

int fdio_make_dir(const char *path, mode_t mode, int *out_fd)
{
    char part[PATH_MAX];
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof part)
        return -ENAMETOOLONG;
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return -errno;
    }
    return fdio_open_dir(AT_FDCWD, path, out_fd);
}

int fdio_pread_all(int fd, void *p, size_t n, uint64_t at)
{
    uint8_t *to = p;

    while (n > 0) {
        ssize_t got = pread(fd, to, n, (off_t)at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return -ENODATA;
        to += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

size_t fdio_pread_ready(int fd, void *p, size_t n, uint64_t at)
{
    struct iovec v = { p, n };
    ssize_t got = preadv2(fd, &v, 1, (off_t)at, RWF_NOWAIT);

    return got < 0 ? 0 : (size_t)got;
}

int fdio_pwrite_all(int fd, const void *p, size_t n, uint64_t at)
{
    const uint8_t *from = p;

    while (n > 0) {
        ssize_t put = pwrite(fd, from, n, (off_t)at);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        from += put;
        at += (uint64_t)put;
        n -= (size_t)put;
    }
    return 0;
}

int fdio_write_all(int fd, const void *p, size_t n)
{
    const uint8_t *from = p;

    while (n > 0) {
        ssize_t put = write(fd, from, n);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        from += put;
        n -= (size_t)put;
    }
    return 0;
}

int fdio_load(int at, const char *name, size_t max, uint8_t **out_p, size_t *out_n)
{
    scoped(close_fd) int fd = -1;
    scoped(free) uint8_t *bytes = NULL;
    struct stat st;
    size_t n;
    int rc = fdio_open(at, name, O_RDONLY, 0, &fd);

    if (rc < 0)
        return rc;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size < 0 || (uint64_t)st.st_size > max)
        return -EFBIG;
    n = (size_t)st.st_size;
    bytes = malloc(n + 1);
    if (!bytes)
        return -ENOMEM;
    rc = fdio_pread_all(fd, bytes, n, 0);
    if (rc < 0)
        return rc;
    bytes[n] = '\0'; /* text files read as text */
    *out_n = n;
    *out_p = give(bytes);
    return 0;
}

int fdio_save(int dir_fd, const char *name, struct view bytes, mode_t mode)
{
    scoped(close_fd) int fd = -1;
    char temp[NAME_MAX + 1];
    int len = snprintf(temp, sizeof temp, ".%s.%ld.tmp", name, (long)getpid());
    int rc;

    if (len < 0 || (size_t)len >= sizeof temp)
        return -ENAMETOOLONG;
    rc = fdio_open(dir_fd, temp, O_WRONLY | O_CREAT | O_TRUNC, mode, &fd);
    if (rc < 0)
        return rc;
    rc = fchmod(fd, mode) < 0 ? -errno : 0; /* whatever the umask */
    if (rc == 0)
        rc = fdio_write_all(fd, bytes.p, bytes.n);
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    if (rc == 0 && renameat(dir_fd, temp, dir_fd, name) < 0)
        rc = -errno;
    if (rc < 0) {
        ignored(fdio_unlink(dir_fd, temp)); /* the first reason is the one to tell */
        return rc;
    }
    return fdio_fsync_dir(dir_fd);
}

int fdio_unlink(int dir_fd, const char *name)
{
    return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
}

int fdio_fsync_dir(int dir_fd)
{
    return fsync(dir_fd) < 0 ? -errno : 0;
}

int fdio_shred(int fd, uint64_t at, size_t len)
{
    static const uint8_t zeros[4096];
    int rc = 0;

    while (len > 0 && rc == 0) {
        size_t n = len < sizeof zeros ? len : sizeof zeros;

        rc = fdio_pwrite_all(fd, zeros, n, at);
        at += n;
        len -= n;
    }
    if (rc == 0 && fdatasync(fd) < 0)
        rc = -errno;
    return rc;
}
