/*
 * What a file may hold after a kill. From its last close or fsync on, every range that an
 * operation touches is kept, as it was before and as it was after: a byte there is one of
 * those or zero; all other bytes are as the model has them.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct range {
    struct range *next;
    int64_t off;
    size_t n;
    uint8_t bytes[];
};
struct inode {
    struct inode *next;
    ino_t ino;
    int64_t size_least, size_most;
    struct range *ranges;
};

static struct inode *inodes;
static bool is_writer[FUZZ_WORKERS][FUZZ_SLOTS];
/* The file that the operation in hand changes, and the range. */
static struct {
    int fd;
    ino_t ino;
    ino_t closing; /* of the descriptor that this closes, if one for writing */
    int64_t off, end, size;
} now = { .fd = -1 };

static struct inode *find(ino_t ino, bool make)
{
    struct inode *i = inodes;

    while (i && i->ino != ino)
        i = i->next;
    if (i || !make)
        return i;
    i = calloc(1, sizeof *i);
    if (!i)
        abort();
    i->ino = ino;
    i->size_least = INT64_MAX;
    i->next = inodes;
    inodes = i;
    return i;
}

static void drop(ino_t ino)
{
    for (struct inode **at = &inodes; *at; at = &(*at)->next) {
        struct inode *i = *at;

        if (i->ino != ino)
            continue;
        while (i->ranges) {
            struct range *r = i->ranges;

            i->ranges = r->next;
            free(r);
        }
        *at = i->next;
        free(i);
        return;
    }
}

void fuzz_history_clear(void)
{
    while (inodes)
        drop(inodes->ino);
    memset(is_writer, 0, sizeof is_writer);
}

static void take_size(struct inode *i, int64_t size)
{
    i->size_least = size < i->size_least ? size : i->size_least;
    i->size_most = size > i->size_most ? size : i->size_most;
}

/* The bytes of a range as they are now, as far as the file goes. */
static void keep(int fd, struct inode *i, int64_t off, int64_t end)
{
    struct range *r;
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) < 0)
        return;
    take_size(i, st.st_size);
    if (end > st.st_size)
        end = st.st_size;
    if (off >= end)
        return;
    r = malloc(sizeof *r + (size_t)(end - off));
    if (!r)
        abort();
    n = pread(fd, r->bytes, (size_t)(end - off), off);
    r->off = off;
    r->n = n > 0 ? (size_t)n : 0;
    r->next = i->ranges;
    i->ranges = r;
}

/* Opening a pipe would change it: only files are looked at. */
static int open_file(const char *path, struct stat *out_st)
{
    if (stat(path, out_st) < 0 || !S_ISREG(out_st->st_mode))
        return -1;
    return open(path, O_RDONLY | O_NOATIME | O_NONBLOCK);
}

static bool changes(const struct fuzz_op *op, int64_t *out_off, int64_t *out_end)
{
    *out_off = op->off & ~(int64_t)4095; /* O_DIRECT rounds */
    *out_end = op->off + op->len + 8192;
    switch ((int)op->kind) {
    case FUZZ_PWRITE:
    case FUZZ_WRITE:
    case FUZZ_MSTORE:
    case FUZZ_FALLOCATE:
        return true;
    case FUZZ_MAPSTORE:
        *out_off = 0;
        *out_end = 128 * 1024;
        return true;
    case FUZZ_COPY:
        *out_off = op->off2;
        *out_end = op->off2 + op->len;
        return true;
    case FUZZ_TRUNCATE:
    case FUZZ_FTRUNCATE:
        *out_end = INT64_MAX;
        return true;
    case FUZZ_OPEN:
        *out_off = 0;
        *out_end = INT64_MAX;
        return (op->flags & O_TRUNC) != 0;
    default:
        return false;
    }
}

static void proc_path(char *out, size_t room, pid_t pid, int fd)
{
    snprintf(out, room, "/proc/%d/fd/%d", (int)pid, fd);
}

void fuzz_history_before(const char *dir, const pid_t *pids, const struct fuzz_op *op)
{
    char path[FUZZ_PATH_BYTES + 200];
    struct stat st;

    now.closing = 0;
    if ((op->kind == FUZZ_CLOSE || op->kind == FUZZ_OPEN) &&
        is_writer[op->worker][op->slot]) {
        proc_path(path, sizeof path, pids[op->worker], FUZZ_SLOT_FD + (int)op->slot);
        if (stat(path, &st) == 0)
            now.closing = st.st_ino;
    }
    if (!changes(op, &now.off, &now.end))
        return;
    if (op->kind == FUZZ_TRUNCATE || op->kind == FUZZ_OPEN)
        snprintf(path, sizeof path, "%s/%s", dir, op->path);
    else if (op->kind == FUZZ_MAPSTORE)
        proc_path(path, sizeof path, pids[op->worker],
                  FUZZ_MAP_FD + (int)(op->slot2 % FUZZ_MAPS));
    else
        proc_path(path, sizeof path, pids[op->worker],
                  FUZZ_SLOT_FD + (int)(op->kind == FUZZ_COPY ? op->slot2 : op->slot));
    now.fd = open_file(path, &st);
    if (now.fd < 0)
        return;
    now.ino = st.st_ino;
    now.size = st.st_size;
    if (now.off > st.st_size) /* the gap becomes zeros; O_APPEND writes at the end */
        now.off = st.st_size;
    keep(now.fd, find(now.ino, true), now.off, now.end);
}

void fuzz_history_after(const char *dir, const pid_t *pids, const struct fuzz_op *op,
                        const struct fuzz_result *r)
{
    char path[64];
    struct stat st;

    (void)dir;
    if (now.closing)
        drop(now.closing);
    if (op->kind == FUZZ_CLOSE || op->kind == FUZZ_OPEN)
        is_writer[op->worker][op->slot] =
            op->kind == FUZZ_OPEN && r->error == 0 && (op->flags & O_ACCMODE) != O_RDONLY;
    if ((op->kind == FUZZ_FSYNC || op->kind == FUZZ_FDATASYNC) && r->error == 0) {
        proc_path(path, sizeof path, pids[op->worker], FUZZ_SLOT_FD + (int)op->slot);
        if (stat(path, &st) == 0)
            drop(st.st_ino);
    }
    if (now.fd < 0)
        return;
    keep(now.fd, find(now.ino, true), now.off,
         now.end == INT64_MAX ? now.end : now.end + FUZZ_IO_BYTES);
    if (fstat(now.fd, &st) == 0 && st.st_size > now.size) /* an append, or a gap */
        keep(now.fd, find(now.ino, true), now.size, st.st_size);
    close(now.fd);
    now.fd = -1;
}

static bool is_known(const struct inode *i, int64_t at, uint8_t byte)
{
    bool is_touched = false;

    for (const struct range *r = i->ranges; r; r = r->next) {
        if (at < r->off || at >= r->off + (int64_t)r->n)
            continue;
        is_touched = true;
        if (r->bytes[at - r->off] == byte)
            return true;
    }
    return is_touched && byte == 0;
}

bool fuzz_history_allows(ino_t ino, const uint8_t *model, size_t model_bytes,
                         const uint8_t *found, size_t found_bytes)
{
    const struct inode *i = find(ino, false);

    if (!i || (int64_t)found_bytes < i->size_least || (int64_t)found_bytes > i->size_most)
        return false;
    for (size_t at = 0; at < found_bytes; at++) {
        if (at < model_bytes && model[at] == found[at])
            continue;
        if (!is_known(i, (int64_t)at, found[at]) &&
            !(at >= model_bytes && found[at] == 0))
            return false;
    }
    return true;
}
