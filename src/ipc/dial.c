#include "ipc/dial.h"

#include <string.h>
#include <sys/time.h>

#include "base/scope.h"

int dial_address(const char *path, struct sockaddr_un *out_addr)
{
    size_t n = strlen(path);

    memset(out_addr, 0, sizeof *out_addr);
    out_addr->sun_family = AF_UNIX;
    if (n == 0 || n >= sizeof out_addr->sun_path)
        return PHR_E_LIMIT;
    memcpy(out_addr->sun_path, path, n);
    return 0;
}

int dial(const char *path, int *out_fd)
{
    static const struct timeval second = { 1, 0 };
    scoped(close_fd) int fd = -1;
    struct sockaddr_un addr;
    int rc = dial_address(path, &addr);

    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* Where the backlog is full, connect waits: this bounds it. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second) < 0)
        return -errno;
    while (connect(fd, (const struct sockaddr *)&addr, sizeof addr) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN)
            return PHR_E_SIDECAR;
        return -errno;
    }
    *out_fd = give_fd(fd);
    return 0;
}
