/*
 * recfs JOURNAL BACKING MOUNTPOINT: a FUSE pass-through that writes down every change and every
 * sync of what lies on it, so that the replayer can build what a power cut would have left.
 *
 * RECFS-1  One thread: a record's place in the journal is the order in which changes happened.
 * RECFS-2  Nothing is buffered above the journal: the kernel's cache for this mount is
 *          write-through, so a write is recorded before write(2) returns to its caller.
 */
#define FUSE_USE_VERSION 31
#include <fuse.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "record.h"

enum { INO_BUCKETS = 4096 };

struct known { /* which id an inode number of the backing tree has now */
    ino_t ino;
    uint64_t id;
    struct known *next;
};
struct handle {
    int fd;
    uint64_t id;
};

static int root_fd;
static FILE *journal;
static uint64_t record_count;
static uint64_t next_id = RECORD_ROOT_ID + 1;
static struct known *inos[INO_BUCKETS];

/* ---- the journal ---- */

static void put(const struct record *r, const char *first, const void *second)
{
    struct record out = *r;

    out.first_bytes = (uint32_t)strlen(first);
    if (fwrite(&out, sizeof out, 1, journal) != 1 ||
        fwrite(first, 1, out.first_bytes, journal) != out.first_bytes ||
        fwrite(second, 1, out.second_bytes, journal) != out.second_bytes) {
        perror("recfs: journal");
        _exit(1); /* a run with a hole in its journal proves nothing */
    }
    record_count++;
}

static struct known *ino_find(ino_t ino)
{
    struct known *k = inos[ino % INO_BUCKETS];

    while (k && k->ino != ino)
        k = k->next;
    return k;
}

static uint64_t ino_new(ino_t ino)
{
    struct known *k = ino_find(ino);

    if (!k) {
        k = calloc(1, sizeof *k);
        if (!k)
            _exit(1);
        k->ino = ino;
        k->next = inos[ino % INO_BUCKETS];
        inos[ino % INO_BUCKETS] = k;
    }
    k->id = next_id++;
    return k->id;
}

/* ---- paths: of the kernel, below the backing root ---- */

static const char *below(const char *path)
{
    return path[1] ? path + 1 : ".";
}

static uint64_t path_id(const char *path)
{
    struct stat st;
    struct known *k;

    if (!path[1])
        return RECORD_ROOT_ID;
    if (fstatat(root_fd, below(path), &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    k = ino_find(st.st_ino);
    return k ? k->id : 0;
}

/* A name was made: whose it is, and its record. */
static int note_new(enum record_type type, const char *path, mode_t mode, const char *target)
{
    struct fuse_context *who = fuse_get_context();
    struct record r = { .type = type, .a = mode };
    struct stat st;

    if (fchownat(root_fd, below(path), who->uid, who->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fstatat(root_fd, below(path), &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    r.id = ino_new(st.st_ino);
    r.second_bytes = target ? strlen(target) : 0;
    put(&r, path, target ? target : "");
    return 0;
}

static struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

static int handle_new(int fd, uint64_t id, struct fuse_file_info *fi)
{
    struct handle *h = malloc(sizeof *h);

    if (!h) {
        close(fd);
        return -ENOMEM;
    }
    *h = (struct handle){ fd, id };
    fi->fh = (uint64_t)(uintptr_t)h;
    return 0;
}

/* ---- reading ---- */

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    int rc = fi ? fstat(handle_of(fi)->fd, st)
                : fstatat(root_fd, below(path), st, AT_SYMLINK_NOFOLLOW);

    return rc < 0 ? -errno : 0;
}

static int op_readlink(const char *path, char *out, size_t room)
{
    ssize_t n = readlinkat(root_fd, below(path), out, room - 1);

    if (n < 0)
        return -errno;
    out[n] = '\0';
    return 0;
}

static int op_opendir(const char *path, struct fuse_file_info *fi)
{
    int fd = openat(root_fd, below(path), O_RDONLY | O_DIRECTORY);

    return fd < 0 ? -errno : handle_new(fd, path_id(path), fi);
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t at,
                      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
    int fd = openat(handle_of(fi)->fd, ".", O_RDONLY | O_DIRECTORY);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    (void)path;
    (void)at;
    (void)flags;
    if (!d)
        return -errno;
    while ((e = readdir(d)))
        fill(buf, e->d_name, NULL, 0, 0);
    closedir(d);
    return 0;
}

static int op_statfs(const char *path, struct statvfs *st)
{
    (void)path;
    return fstatvfs(root_fd, st) < 0 ? -errno : 0;
}

static int op_read(const char *path, char *out, size_t n, off_t at, struct fuse_file_info *fi)
{
    ssize_t got = pread(handle_of(fi)->fd, out, n, at);

    (void)path;
    return got < 0 ? -errno : (int)got;
}

/* The two questions of a workload. */
static int op_getxattr(const char *path, const char *name, char *out, size_t room)
{
    char text[24];
    int n;

    if (path[1] || (strcmp(name, RECORD_COUNT_XATTR) && strcmp(name, RECORD_SETTLE_XATTR)))
        return -ENODATA;
    if (room == 0)
        return (int)sizeof text;
    if (strcmp(name, RECORD_SETTLE_XATTR) == 0)
        put(&(struct record){ .type = RECORD_SETTLE }, "", "");
    n = snprintf(text, sizeof text, "%llu", (unsigned long long)record_count);
    if ((size_t)n > room)
        return -ERANGE;
    memcpy(out, text, (size_t)n);
    return n;
}

/* ---- names ---- */

static int op_mkdir(const char *path, mode_t mode)
{
    if (mkdirat(root_fd, below(path), mode) < 0)
        return -errno;
    return note_new(RECORD_MKDIR, path, mode, NULL);
}

static int op_symlink(const char *target, const char *path)
{
    if (symlinkat(target, root_fd, below(path)) < 0)
        return -errno;
    return note_new(RECORD_SYMLINK, path, 0777, target);
}

static int op_link(const char *from, const char *to)
{
    if (linkat(root_fd, below(from), root_fd, below(to), 0) < 0)
        return -errno;
    put(&(struct record){ .type = RECORD_LINK, .id = path_id(to) }, to, "");
    return 0;
}

static int remove_name(const char *path, int flags)
{
    if (unlinkat(root_fd, below(path), flags) < 0)
        return -errno;
    put(&(struct record){ .type = RECORD_UNLINK }, path, "");
    return 0;
}

static int op_unlink(const char *path)
{
    return remove_name(path, 0);
}

static int op_rmdir(const char *path)
{
    return remove_name(path, AT_REMOVEDIR);
}

static int op_rename(const char *from, const char *to, unsigned flags)
{
    if (renameat2(root_fd, below(from), root_fd, below(to), flags) < 0)
        return -errno;
    put(&(struct record){ .type = RECORD_RENAME, .a = flags, .second_bytes = strlen(to) }, from,
        to);
    return 0;
}

/* ---- attributes ---- */

static int op_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    int rc = fi ? fchmod(handle_of(fi)->fd, mode) : fchmodat(root_fd, below(path), mode, 0);

    if (rc < 0)
        return -errno;
    put(&(struct record){ .type = RECORD_MODE, .id = fi ? handle_of(fi)->id : path_id(path),
                          .a = mode },
        "", "");
    return 0;
}

static int op_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
    int rc = fi ? fchown(handle_of(fi)->fd, uid, gid)
                : fchownat(root_fd, below(path), uid, gid, AT_SYMLINK_NOFOLLOW);

    return rc < 0 ? -errno : 0; /* images belong to root: not written down */
}

static int op_utimens(const char *path, const struct timespec t[2], struct fuse_file_info *fi)
{
    int rc = fi ? futimens(handle_of(fi)->fd, t)
                : utimensat(root_fd, below(path), t, AT_SYMLINK_NOFOLLOW);

    return rc < 0 ? -errno : 0;
}

/* ---- files ---- */

static int op_open(const char *path, struct fuse_file_info *fi)
{
    int fd = openat(root_fd, below(path), fi->flags & ~(O_CREAT | O_EXCL | O_APPEND));
    uint64_t id = path_id(path);

    if (fd < 0)
        return -errno;
    if (fi->flags & O_TRUNC)
        put(&(struct record){ .type = RECORD_TRUNCATE, .id = id }, "", "");
    return handle_new(fd, id, fi);
}

static int op_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    int fd = openat(root_fd, below(path), (fi->flags & ~O_APPEND) | O_CREAT, mode);
    int rc;

    if (fd < 0)
        return -errno;
    rc = note_new(RECORD_CREATE, path, mode, NULL);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return handle_new(fd, path_id(path), fi);
}

static int op_write(const char *path, const char *bytes, size_t n, off_t at,
                    struct fuse_file_info *fi)
{
    const struct handle *h = handle_of(fi);
    ssize_t done = pwrite(h->fd, bytes, n, at);

    (void)path;
    if (done < 0)
        return -errno;
    put(&(struct record){ .type = RECORD_WRITE, .id = h->id, .a = (uint64_t)at,
                          .second_bytes = (uint64_t)done },
        "", bytes);
    return (int)done;
}

static int op_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    struct record r = { .type = RECORD_TRUNCATE, .a = (uint64_t)size };
    int fd = fi ? handle_of(fi)->fd : openat(root_fd, below(path), O_WRONLY);
    int rc;

    if (fd < 0)
        return -errno;
    r.id = fi ? handle_of(fi)->id : path_id(path);
    rc = ftruncate(fd, size) < 0 ? -errno : 0;
    if (!fi)
        close(fd);
    if (rc == 0)
        put(&r, "", "");
    return rc;
}

static int op_fallocate(const char *path, int mode, off_t at, off_t n,
                        struct fuse_file_info *fi)
{
    struct record r = { .type = RECORD_ZERO, .a = (uint64_t)at, .b = (uint64_t)n };

    (void)path;
    if (fallocate(handle_of(fi)->fd, mode, at, n) < 0)
        return -errno;
    r.id = handle_of(fi)->id;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        put(&r, "", "");
    return 0;
}

static int op_fsync(const char *path, int is_data, struct fuse_file_info *fi)
{
    (void)path;
    (void)is_data;
    put(&(struct record){ .type = RECORD_SYNC, .id = handle_of(fi)->id }, "", "");
    return 0; /* the journal is the disk: the backing tree needs no sync */
}

static int op_fsyncdir(const char *path, int is_data, struct fuse_file_info *fi)
{
    (void)path;
    (void)is_data;
    put(&(struct record){ .type = RECORD_SYNC_DIR, .id = handle_of(fi)->id }, "", "");
    return 0;
}

static int op_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    close(handle_of(fi)->fd);
    free(handle_of(fi));
    return 0;
}

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
    (void)conn;
    config->hard_remove = 1; /* unlinked and open: by handle, under no other name */
    config->nullpath_ok = 1;
    return NULL;
}

static void op_destroy(void *unused)
{
    (void)unused;
    fclose(journal);
}

static const struct fuse_operations operations = {
    .getattr = op_getattr, .readlink = op_readlink, .mkdir = op_mkdir, .unlink = op_unlink,
    .rmdir = op_rmdir, .symlink = op_symlink, .rename = op_rename, .link = op_link,
    .chmod = op_chmod, .chown = op_chown, .truncate = op_truncate, .open = op_open,
    .read = op_read, .write = op_write, .statfs = op_statfs, .release = op_release,
    .fsync = op_fsync, .getxattr = op_getxattr, .opendir = op_opendir, .readdir = op_readdir,
    .releasedir = op_release,
    .fsyncdir = op_fsyncdir, .init = op_init, .destroy = op_destroy, .create = op_create,
    .utimens = op_utimens, .fallocate = op_fallocate,
};

int main(int argc, char *argv[])
{
    static char one_thread[] = "-s";
    static char foreground[] = "-f";
    static char with[] = "-o";
    static char options[] = "allow_other,default_permissions,fsname=recfs";
    char *args[] = { argv[0], argc == 4 ? argv[3] : NULL, one_thread, foreground, with, options,
                     NULL };

    if (argc != 4) {
        fprintf(stderr, "usage: recfs JOURNAL BACKING MOUNTPOINT\n");
        return 2;
    }
    journal = fopen(argv[1], "wb");
    root_fd = open(argv[2], O_RDONLY | O_DIRECTORY);
    if (!journal || root_fd < 0) {
        perror("recfs");
        return 1;
    }
    umask(0); /* the kernel has applied the caller's */
    return fuse_main(6, args, &operations, NULL);
}
