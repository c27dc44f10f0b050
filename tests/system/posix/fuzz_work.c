#include "fuzz.h"

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
#include <time.h>
#include <unistd.h>

enum { MAP_BYTES = 128 * 1024, NEAR_NOW_S = 86400 };

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
        r->hash = fuzz_hash(1, self.room, (size_t)n);
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
        r->hash = fuzz_hash(1, at + lead, n - lead);
    if (is_store && op->flags & 1 && msync(at, n, MS_SYNC) < 0)
        got = 1000 + errno;
    munmap(at, n);
    return got;
}

static int64_t do_map(const struct fuzz_op *op)
{
    unsigned m = op->slot2 % FUZZ_MAPS;
    struct stat st;

    if (fuzz_people[op->worker].uid !=
        0) /* a store there sets the time, which root may do */
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
        r->hash = fuzz_hash(1, self.map[m] + off, (size_t)op->len);
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
        return fchown(fd, op->flags & 1 ? (uid_t)-1 : fuzz_people[op->slot2 % 4].uid,
                      (gid_t)-1);
    case FUZZ_FUTIMES:
        fuzz_times_of(op, times);
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
        r->value = fuzz_on_names(op, self.room, r);
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
        setresgid(fuzz_people[worker].gid, fuzz_people[worker].gid,
                  fuzz_people[worker].gid) < 0 ||
        setresuid(fuzz_people[worker].uid, fuzz_people[worker].uid,
                  fuzz_people[worker].uid) < 0)
        _exit(1);
    while (recv(sock, &op, sizeof op, 0) == (ssize_t)sizeof op) {
        run(&op, &r);
        if (send(sock, &r, sizeof r, 0) < 0)
            break;
    }
    _exit(0);
}
