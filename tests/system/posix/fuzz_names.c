/* What a worker does with names: no open descriptor is needed. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

const struct fuzz_person fuzz_people[FUZZ_WORKERS] = {
    { 0, 0 }, { 0, 0 }, { 4711, 4721 }, { 4712, 4722 }
};

uint64_t fuzz_hash(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;

    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3ULL;
    return h;
}

static int64_t do_truncate(const struct fuzz_op *op)
{
    struct stat st;

    /* To the size that it has: the one intended difference that could come up here. */
    if (stat(op->path, &st) == 0 && st.st_size == op->off)
        return 0;
    return truncate(op->path, op->off);
}

static int64_t do_rename(const struct fuzz_op *op)
{
    static const unsigned flags[] = {
        0, 0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE
    };

    return renameat2(AT_FDCWD, op->path, AT_FDCWD, op->path2, flags[op->flags % 8]);
}

void fuzz_times_of(const struct fuzz_op *op, struct timespec times[2])
{
    static const long seconds[] = { 0,          1,          1000000000,
                                    1500000000, 2147483648, 4294967296,
                                    9999999999, -1,         -86400 };

    for (int i = 0; i < 2; i++) {
        unsigned draw = (unsigned)(op->flags >> (i * 8)) & 0xff;

        times[i].tv_sec = seconds[draw % 9];
        times[i].tv_nsec = draw % 5 == 0   ? UTIME_OMIT
                           : draw % 5 == 1 ? UTIME_NOW
                                           : op->off * 7001 % 1000000000;
    }
}

static int64_t do_readdir(const struct fuzz_op *op, struct fuzz_result *r)
{
    struct dirent *e;
    uint64_t sum = 0;
    int64_t n = 0;
    DIR *d = opendir(op->path);

    if (!d)
        return -1;
    while ((e = readdir(d)) != NULL) {
        uint64_t h = fuzz_hash(7, e->d_name, strlen(e->d_name));

        sum += fuzz_hash(h, &e->d_type, 1); /* in any order */
        n++;
    }
    r->hash = sum;
    closedir(d);
    return n;
}

static const char *xattr_name(const struct fuzz_op *op)
{
    static const char *const names[] = { "user.a", "user.b",
                                         "user.long-name-of-an-attribute", "trusted.t",
                                         "security.s" };

    return names[op->flags % 5];
}

static int64_t do_xattr(const struct fuzz_op *op, uint8_t *room, struct fuzz_result *r)
{
    static const int flags[] = { 0, 0, XATTR_CREATE, XATTR_REPLACE };
    uint64_t sum = 0;
    ssize_t n;

    switch ((int)op->kind) {
    case FUZZ_SETXATTR:
        fuzz_fill(room, 300, op->id);
        return lsetxattr(op->path, xattr_name(op), room, (size_t)op->len % 300,
                         flags[op->mode % 4]);
    case FUZZ_GETXATTR:
        n = lgetxattr(op->path, xattr_name(op), room, (size_t)op->len % 400);
        if (n > 0 && op->len % 400 > 0)
            r->hash = fuzz_hash(1, room, (size_t)n);
        return n;
    case FUZZ_REMOVEXATTR:
        return lremovexattr(op->path, xattr_name(op));
    default:
        n = llistxattr(op->path, (char *)room, FUZZ_IO_BYTES);
        for (ssize_t at = 0; at < n; at += (ssize_t)strlen((char *)room + at) + 1)
            sum += fuzz_hash(7, room + at, strlen((char *)room + at));
        r->hash = sum;
        return n;
    }
}

/* An access or default ACL: owner, one user, group, mask, other. */
static int64_t do_setacl(const struct fuzz_op *op)
{
    static const uint16_t tags[] = { 1, 2, 4, 16, 32 };
    uint8_t acl[4 + 5 * 8] = { 2 };
    bool is_default = op->flags & 1;

    for (int i = 0; i < 5; i++) {
        uint8_t *entry = acl + 4 + i * 8;
        uint32_t id = tags[i] == 2 ? fuzz_people[2 + op->slot % 2].uid : UINT32_MAX;
        unsigned rights = op->mode >> (tags[i] == 1 ? 6 : tags[i] == 32 ? 0 : 3) & 7;

        entry[0] = (uint8_t)tags[i];
        entry[2] = (uint8_t)rights;
        memcpy(entry + 4, &id, 4);
    }
    if (op->flags & 6)
        return setxattr(
            op->path, is_default ? "system.posix_acl_default" : "system.posix_acl_access",
            acl, sizeof acl, 0);
    return removexattr(op->path, is_default ? "system.posix_acl_default"
                                            : "system.posix_acl_access");
}

int64_t fuzz_on_names(const struct fuzz_op *op, uint8_t *room, struct fuzz_result *r)
{
    static const mode_t types[] = { S_IFIFO, S_IFSOCK, S_IFREG };
    struct timespec times[2];
    ssize_t n;

    switch ((int)op->kind) {
    case FUZZ_MKDIR:
        return mkdir(op->path, op->mode | 0700);
    case FUZZ_RMDIR:
        return rmdir(op->path);
    case FUZZ_UNLINK:
        return unlink(op->path);
    case FUZZ_LINK:
        return link(op->path, op->path2);
    case FUZZ_SYMLINK:
        return symlink(op->path2, op->path);
    case FUZZ_READLINK:
        n = readlink(op->path, (char *)room, 4096);
        if (n > 0)
            r->hash = fuzz_hash(1, room, (size_t)n);
        return n;
    case FUZZ_MKNOD:
        return mknod(op->path, types[op->flags % 3] | op->mode, 0);
    case FUZZ_RENAME:
        return do_rename(op);
    case FUZZ_CHMOD:
        return chmod(op->path, op->mode);
    case FUZZ_CHOWN:
        return lchown(op->path, op->flags & 1 ? (uid_t)-1 : fuzz_people[op->slot % 4].uid,
                      op->flags & 2 ? (gid_t)-1 : fuzz_people[op->slot2 % 4].gid);
    case FUZZ_UTIMES:
        fuzz_times_of(op, times);
        return utimensat(AT_FDCWD, op->path, times, AT_SYMLINK_NOFOLLOW);
    case FUZZ_SETACL:
        return do_setacl(op);
    case FUZZ_READDIR:
        return do_readdir(op, r);
    case FUZZ_ACCESS:
        return access(op->path, op->flags & 7);
    case FUZZ_UMASK:
        return (int64_t)umask(op->mode);
    case FUZZ_TRUNCATE:
        return do_truncate(op);
    default:
        return do_xattr(op, room, r);
    }
}
