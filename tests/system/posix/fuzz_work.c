#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { MAP_BYTES = 128 * 1024, NEAR_NOW_S = 86400 };

static const struct {
    uid_t uid;
    gid_t gid;
} people[FUZZ_WORKERS] = { { 0, 0 }, { 0, 0 }, { 4711, 4721 }, { 4712, 4722 } };

static struct {
    char *map[FUZZ_MAPS];
    bool is_direct[FUZZ_SLOTS];
    uint8_t *room;
    sigjmp_buf back;
} self;

static void on_bus(int signal)
{
    siglongjmp(self.back, signal);
}

void fuzz_fill(uint8_t *room, size_t n, uint64_t id)
{
    uint64_t x = id * 0x9e3779b97f4a7c15ULL + 1;

    for (size_t i = 0; i < n; i++) {
        if (i % 8 == 0) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        room[i] = (uint8_t)(x >> (i % 8 * 8));
    }
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;

    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3ULL;
    return h;
}

void fuzz_see(const struct stat *st, int error, struct fuzz_seen *out_seen)
{
    memset(out_seen, 0, sizeof *out_seen);
    out_seen->error = error;
    if (error)
        return;
    out_seen->mode = st->st_mode;
    out_seen->links = (uint32_t)st->st_nlink;
    out_seen->uid = st->st_uid;
    out_seen->gid = st->st_gid;
    if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))
        out_seen->size = st->st_size;
    if (S_ISFIFO(st->st_mode)) /* FUSE keeps no times of what goes through a pipe */
        return;
    if (llabs((long long)st->st_mtim.tv_sec - (long long)time(NULL)) > NEAR_NOW_S) {
        out_seen->mtime_s = st->st_mtim.tv_sec;
        out_seen->mtime_ns = st->st_mtim.tv_nsec;
    }
}

static void see_path(const char *path, struct fuzz_seen *out_seen)
{
    struct stat st;
    int error = lstat(path, &st) < 0 ? errno : 0;

    fuzz_see(&st, error, out_seen);
}

static int fd_of(unsigned slot)
{
    return FUZZ_SLOT_FD + (int)slot;
}

static int64_t do_open(const struct fuzz_op *op)
{
    int fd;

    close(fd_of(op->slot));
    fd = open(op->path, op->flags, op->mode);
    if (fd < 0)
        return -1;
    self.is_direct[op->slot] = (op->flags & O_DIRECT) != 0;
    if (dup2(fd, fd_of(op->slot)) < 0)
        return -1;
    close(fd);
    return 0;
}

/* O_DIRECT wants everything aligned. */
static void align(const struct fuzz_op *op, int64_t *off, size_t *len)
{
    if (self.is_direct[op->slot]) {
        *off &= ~(int64_t)4095;
        *len = (*len + 4095) & ~(size_t)4095;
        if (*len > FUZZ_IO_BYTES)
            *len = FUZZ_IO_BYTES;
    }
}

static int64_t do_read(const struct fuzz_op *op, struct fuzz_result *r)
{
    size_t len = (size_t)op->len;
    int64_t off = op->off;
    ssize_t n;

    align(op, &off, &len);
    n = pread(fd_of(op->slot), self.room, len, off);
    if (n > 0)
        r->hash = hash_bytes(1, self.room, (size_t)n);
    return n;
}

static int64_t do_write(const struct fuzz_op *op)
{
    size_t len = (size_t)op->len;
    int64_t off = op->off;

    align(op, &off, &len);
    fuzz_fill(self.room, len, op->id);
    if (op->kind == FUZZ_PWRITE || self.is_direct[op->slot])
        return pwrite(fd_of(op->slot), self.room, len, off);
    if (lseek(fd_of(op->slot), off, SEEK_SET) < 0 && errno != ESPIPE)
        return -1;
    return write(fd_of(op->slot), self.room, len);
}

static int64_t do_truncate(const struct fuzz_op *op)
{
    struct stat st;

    /* To the size that it has: the one intended difference that could come up here. */
    if (stat(op->path, &st) == 0 && st.st_size == op->off)
        return 0;
    return truncate(op->path, op->off);
}

static int64_t do_fallocate(const struct fuzz_op *op)
{
    static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_ZERO_RANGE,
                                 FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };

    return fallocate(fd_of(op->slot), modes[op->flags % 5], op->off, op->len);
}

/* Where data is may be told in other grains; what is skipped must be zeros. */
static int64_t do_seek(const struct fuzz_op *op)
{
    int fd = fd_of(op->slot);
    off_t at = lseek(fd, op->off, SEEK_DATA);
    struct stat st;
    off_t end = at;

    if (self.is_direct[op->slot] || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    if (at < 0 && errno != ENXIO)
        return -1;
    if (at < 0)
        end = st.st_size;
    for (off_t from = op->off; from < end; from += FUZZ_IO_BYTES) {
        size_t want = end - from < FUZZ_IO_BYTES ? (size_t)(end - from) : FUZZ_IO_BYTES;
        ssize_t n = pread(fd, self.room, want, from);

        for (ssize_t i = 0; i < n; i++) {
            if (self.room[i] != 0)
                return 1; /* data where none was said to be */
        }
    }
    return 0;
}

/*
 * Bytes of a store that lie in the file, or all of them where the whole page is behind its end.
 * What is stored in the last page behind the end comes to light under FUSE when the file grows
 * by a write (the kernel's page, which ext4 wipes): mmap(2) leaves that open.
 */
static size_t clamp_store(int fd, int64_t off, size_t n)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || off >= ((st.st_size + 4095) & ~(int64_t)4095))
        return n;
    if (off >= st.st_size)
        return 0;
    return off + (int64_t)n > st.st_size ? (size_t)(st.st_size - off) : n;
}

/* One store or load by a mapping of its own. */
static int64_t do_map_once(const struct fuzz_op *op, struct fuzz_result *r)
{
    bool is_store = op->kind == FUZZ_MSTORE;
    int64_t from = op->off & ~(int64_t)4095;
    size_t lead = (size_t)(op->off - from);
    size_t n = lead + (size_t)op->len + 1;
    char *at = mmap(NULL, n, is_store ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
                    fd_of(op->slot), from);
    int got;

    if (at == MAP_FAILED)
        return -1;
    got = sigsetjmp(self.back, 1);
    if (got == 0 && is_store)
        fuzz_fill((uint8_t *)at + lead, clamp_store(fd_of(op->slot), op->off, n - lead),
                  op->id);
    else if (got == 0)
        r->hash = hash_bytes(1, at + lead, n - lead);
    if (is_store && op->flags & 1 && msync(at, n, MS_SYNC) < 0)
        got = 1000 + errno;
    munmap(at, n);
    return got;
}

static int64_t do_map(const struct fuzz_op *op)
{
    unsigned m = op->slot2 % FUZZ_MAPS;
    struct stat st;

    if (people[op->worker].uid != 0) /* a store there sets the time, which root may do */
        return 0;
    if (self.map[m])
        munmap(self.map[m], MAP_BYTES);
    self.map[m] = NULL;
    close(FUZZ_MAP_FD + (int)m);
    if (fstat(fd_of(op->slot), &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    self.map[m] =
        mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd_of(op->slot), 0);
    if (self.map[m] == MAP_FAILED) {
        self.map[m] = NULL;
        return -1;
    }
    return dup2(fd_of(op->slot), FUZZ_MAP_FD + (int)m) < 0 ? -1 : 0;
}

static int64_t do_map_use(const struct fuzz_op *op, struct fuzz_result *r)
{
    unsigned m = op->slot2 % FUZZ_MAPS;
    size_t off = (size_t)op->off % (MAP_BYTES - FUZZ_IO_BYTES);
    int got;

    if (!self.map[m])
        return 0;
    if (op->kind == FUZZ_MSYNC)
        return msync(self.map[m], MAP_BYTES, MS_SYNC);
    if (op->kind == FUZZ_UNMAP) {
        munmap(self.map[m], MAP_BYTES);
        self.map[m] = NULL;
        return close(FUZZ_MAP_FD + (int)m);
    }
    got = sigsetjmp(self.back, 1);
    if (got == 0 && op->kind == FUZZ_MAPLOAD)
        r->hash = hash_bytes(1, self.map[m] + off, (size_t)op->len);
    if (got == 0 && op->kind == FUZZ_MAPSTORE)
        fuzz_fill((uint8_t *)self.map[m] + off,
                  clamp_store(FUZZ_MAP_FD + (int)m, (int64_t)off, (size_t)op->len),
                  op->id);
    /* A page that is dirty already moves no time: when it was written back is chance. */
    if (op->kind == FUZZ_MAPSTORE && futimens(FUZZ_MAP_FD + (int)m, NULL) < 0)
        return -1;
    return got;
}

static int64_t do_copy(const struct fuzz_op *op)
{
    off_t from = op->off, to = op->off2;

    if (self.is_direct[op->slot] || self.is_direct[op->slot2])
        return 0;
    return copy_file_range(fd_of(op->slot), &from, fd_of(op->slot2), &to, (size_t)op->len,
                           0);
}

static int64_t do_rename(const struct fuzz_op *op)
{
    static const unsigned flags[] = {
        0, 0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE
    };

    return renameat2(AT_FDCWD, op->path, AT_FDCWD, op->path2, flags[op->flags % 8]);
}

static void times_of(const struct fuzz_op *op, struct timespec times[2])
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
        uint64_t h = hash_bytes(7, e->d_name, strlen(e->d_name));

        sum += hash_bytes(h, &e->d_type, 1); /* in any order */
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

static int64_t do_xattr(const struct fuzz_op *op, struct fuzz_result *r)
{
    static const int flags[] = { 0, 0, XATTR_CREATE, XATTR_REPLACE };
    uint64_t sum = 0;
    ssize_t n;

    switch ((int)op->kind) {
    case FUZZ_SETXATTR:
        fuzz_fill(self.room, 300, op->id);
        return lsetxattr(op->path, xattr_name(op), self.room, (size_t)op->len % 300,
                         flags[op->mode % 4]);
    case FUZZ_GETXATTR:
        n = lgetxattr(op->path, xattr_name(op), self.room, (size_t)op->len % 400);
        if (n > 0 && op->len % 400 > 0)
            r->hash = hash_bytes(1, self.room, (size_t)n);
        return n;
    case FUZZ_REMOVEXATTR:
        return lremovexattr(op->path, xattr_name(op));
    default:
        n = llistxattr(op->path, (char *)self.room, FUZZ_IO_BYTES);
        for (ssize_t at = 0; at < n; at += (ssize_t)strlen((char *)self.room + at) + 1)
            sum += hash_bytes(7, self.room + at, strlen((char *)self.room + at));
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
        uint32_t id = tags[i] == 2 ? people[2 + op->slot % 2].uid : UINT32_MAX;
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

static int64_t do_lock(const struct fuzz_op *op)
{
    static const int whole[] = { LOCK_SH | LOCK_NB, LOCK_EX | LOCK_NB, LOCK_UN };
    static const short types[] = { F_RDLCK, F_WRLCK, F_UNLCK };
    struct flock l = { .l_type = types[op->flags % 3],
                       .l_start = op->off % 16,
                       .l_len = op->len % 8 };

    if (op->kind == FUZZ_FLOCK)
        return flock(fd_of(op->slot), whole[op->flags % 3]);
    return fcntl(fd_of(op->slot), F_SETLK, &l);
}

static int64_t on_names(const struct fuzz_op *op, struct fuzz_result *r)
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
        n = readlink(op->path, (char *)self.room, 4096);
        if (n > 0)
            r->hash = hash_bytes(1, self.room, (size_t)n);
        return n;
    case FUZZ_MKNOD:
        return mknod(op->path, types[op->flags % 3] | op->mode, 0);
    case FUZZ_RENAME:
        return do_rename(op);
    case FUZZ_CHMOD:
        return chmod(op->path, op->mode);
    case FUZZ_CHOWN:
        return lchown(op->path, op->flags & 1 ? (uid_t)-1 : people[op->slot % 4].uid,
                      op->flags & 2 ? (gid_t)-1 : people[op->slot2 % 4].gid);
    case FUZZ_UTIMES:
        times_of(op, times);
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
        return do_xattr(op, r);
    }
}

static int64_t on_slot(const struct fuzz_op *op, struct fuzz_result *r)
{
    struct timespec times[2];
    int fd = fd_of(op->slot);

    switch ((int)op->kind) {
    case FUZZ_OPEN:
        return do_open(op);
    case FUZZ_CLOSE:
        return close(fd);
    case FUZZ_PREAD:
        return do_read(op, r);
    case FUZZ_PWRITE:
    case FUZZ_WRITE:
        return do_write(op);
    case FUZZ_FTRUNCATE:
        return ftruncate(fd, op->off);
    case FUZZ_FALLOCATE:
        return do_fallocate(op);
    case FUZZ_SEEK:
        return do_seek(op);
    case FUZZ_FSYNC:
        return fsync(fd);
    case FUZZ_FDATASYNC:
        return fdatasync(fd);
    case FUZZ_MSTORE:
    case FUZZ_MLOAD:
        return do_map_once(op, r);
    case FUZZ_MAP:
        return do_map(op);
    case FUZZ_MAPSTORE:
    case FUZZ_MAPLOAD:
    case FUZZ_MSYNC:
    case FUZZ_UNMAP:
        return do_map_use(op, r);
    case FUZZ_COPY:
        return do_copy(op);
    case FUZZ_FCHMOD:
        return fchmod(fd, op->mode);
    case FUZZ_FCHOWN:
        return fchown(fd, op->flags & 1 ? (uid_t)-1 : people[op->slot2 % 4].uid,
                      (gid_t)-1);
    case FUZZ_FUTIMES:
        times_of(op, times);
        return futimens(fd, times);
    case FUZZ_FLOCK:
    case FUZZ_LOCK:
        return do_lock(op);
    default:
        return INT64_MIN; /* of names */
    }
}

static void run(const struct fuzz_op *op, struct fuzz_result *r)
{
    struct stat st;
    int error;

    memset(r, 0, sizeof *r);
    errno = 0;
    r->value = op->kind == FUZZ_STAT ? 0 : on_slot(op, r);
    if (r->value == INT64_MIN) {
        errno = 0;
        r->value = on_names(op, r);
    }
    r->error = r->value < 0 ? errno : 0;
    see_path(op->path, &r->one);
    if (op->kind == FUZZ_LINK || op->kind == FUZZ_RENAME) {
        see_path(op->path2, &r->two);
        return;
    }
    error =
        fstat(fd_of(op->kind == FUZZ_COPY ? op->slot2 : op->slot), &st) < 0 ? errno : 0;
    fuzz_see(&st, error, &r->two);
}

void fuzz_work(int sock, const char *dir, unsigned worker)
{
    struct sigaction bus = { .sa_handler = on_bus };
    struct fuzz_result r;
    struct fuzz_op op;

    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGBUS, &bus, NULL);
    umask(022);
    self.room = aligned_alloc(4096, FUZZ_IO_BYTES);
    if (!self.room || chdir(dir) < 0 || setgroups(0, NULL) < 0 ||
        setresgid(people[worker].gid, people[worker].gid, people[worker].gid) < 0 ||
        setresuid(people[worker].uid, people[worker].uid, people[worker].uid) < 0)
        _exit(1);
    while (recv(sock, &op, sizeof op, 0) == (ssize_t)sizeof op) {
        run(&op, &r);
        if (send(sock, &r, sizeof r, 0) < 0)
            break;
    }
    _exit(0);
}
