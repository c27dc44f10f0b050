/*
 * Landlock by its three system calls. The numbers and layouts are spelled out here, since the
 * headers of Debian 12 are older than the kernels it runs on; a kernel that knows less is
 * given less (each ABI version names the rights that it added).
 */
#include "proc/landlock.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/scope.h"

#define RIGHT(bit) (UINT64_C(1) << (bit))
#define RIGHT_EXECUTE RIGHT(0)
#define RIGHT_WRITE_FILE RIGHT(1)
#define RIGHT_READ_FILE RIGHT(2)
#define RIGHT_READ_DIR RIGHT(3)
#define RIGHTS_ABI_1 (RIGHT(13) - 1) /* up to MAKE_SYM */
#define RIGHT_REFER RIGHT(13)        /* 2: rename and link across directories */
#define RIGHT_TRUNCATE RIGHT(14)     /* 3 */
#define NET_TCP (RIGHT(0) | RIGHT(1)) /* 4: bind, connect */
/* 5 (ioctl on devices) is left alone: FUSE's own descriptor is a device. */
#define SCOPE_ABSTRACT_UNIX RIGHT(0) /* 6 */
#define SCOPE_SIGNAL RIGHT(1)

enum { RULE_PATH_BENEATH = 1, CREATE_VERSION = 1 };

struct ruleset_attr {
    uint64_t handled_fs;
    uint64_t handled_net;
    uint64_t scoped;
};

struct path_attr {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

/* Loading libraries late (name services), time zones, the program name of who opens a file. */
static const struct sandbox_path system_paths[] = {
    { "/usr", false },
    { "/lib", false },
    { "/lib64", false },
    { "/etc", false }, /* what DAC lets us read; resolv.conf is replaced while we run */
    { "/proc", false },
    { "/dev/null", true },
    { "/dev/urandom", false },
    { "/sys/devices/system/cpu", false },
    { "/run/systemd/resolve", false },
    { "/run/NetworkManager", false },
};

static long create_ruleset(const struct ruleset_attr *attr, size_t n, uint32_t flags)
{
    return syscall(SYS_landlock_create_ruleset, attr, n, flags);
}

static int allow_path(int ruleset, const struct sandbox_path *p, uint64_t handled)
{
    scoped(close_fd) int fd = open(p->path, O_PATH | O_CLOEXEC);
    struct path_attr attr = { 0 };
    struct stat st;

    if (fd < 0)
        return errno == ENOENT || errno == EACCES ? 0 : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    attr.parent_fd = fd;
    attr.allowed = RIGHT_READ_FILE | RIGHT_READ_DIR;
    if (p->may_write)
        attr.allowed = handled & ~RIGHT_EXECUTE;
    if (!S_ISDIR(st.st_mode))
        attr.allowed &= RIGHT_READ_FILE | RIGHT_WRITE_FILE | RIGHT_TRUNCATE;
    attr.allowed &= handled;
    return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &attr, 0) < 0 ? -errno : 0;
}

int landlock_enter(const struct sandbox_opts *opts, int *out_abi)
{
    struct ruleset_attr attr = { .handled_fs = RIGHTS_ABI_1 };
    size_t attr_bytes = sizeof attr.handled_fs;
    scoped(close_fd) int ruleset = -1;
    long abi = create_ruleset(NULL, 0, CREATE_VERSION);
    int rc = 0;

    *out_abi = 0;
    if (abi < 1)
        return 0; /* not built in, or switched off at boot */
    if (abi >= 2)
        attr.handled_fs |= RIGHT_REFER;
    if (abi >= 3)
        attr.handled_fs |= RIGHT_TRUNCATE;
    if (abi >= 4 && opts->profile == SANDBOX_MOUNT) {
        attr.handled_net = NET_TCP;
        attr_bytes = 2 * sizeof(uint64_t);
    }
    if (abi >= 6) {
        attr.scoped = SCOPE_SIGNAL;
        if (opts->profile == SANDBOX_MOUNT)
            attr.scoped |= SCOPE_ABSTRACT_UNIX;
        attr_bytes = sizeof attr;
    }
    ruleset = (int)create_ruleset(&attr, attr_bytes, 0);
    if (ruleset < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_COUNT(system_paths) && rc == 0; i++)
        rc = allow_path(ruleset, &system_paths[i], attr.handled_fs);
    for (size_t i = 0; i < opts->path_count && rc == 0; i++)
        rc = allow_path(ruleset, &opts->paths[i], attr.handled_fs);
    if (rc < 0)
        return rc;
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return -errno;
    *out_abi = (int)abi;
    return 0;
}
