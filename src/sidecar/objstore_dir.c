/*
 * Objects as files below one directory, by their keys: what a bucket would hold, so either can
 * be copied into the other.
 *
 * DIR-1 A key's file appears whole and synced, or not at all: written as .tmp/<random>, fsynced,
 *       renamed without replacing, and the directory fsynced, before we say stored.
 * DIR-2 It shares no inode with the source: a hard link would let a later write change it.
 *       (A reflink shares blocks only until somebody writes.)
 * DIR-3 The directory is found by its path each time: a descriptor would follow one that is
 *       renamed or unmounted under us, and copies would go where nobody looks for them. Its .tmp
 *       tells it from an empty mount point, and is made once, with the store.
 */
#include <dirent.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/fdio.h"
#include "base/hex.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "sidecar/objstore.h"

enum { COPY_BYTES = 256 * 1024, DEPTH_MAX = 8 };

struct dir_store {
    struct objstore base;
    char *path;
    atomic_bool is_interrupted;
};

struct dir_fds { /* of one operation */
    int root;
    int tmp;
};

static const struct objstore_ops dir_ops;
static int blame(struct objstore_note *note, int rc, const char *what);

int objstore_dir_open(const char *path, bool may_make, struct objstore **out_store)
{
    scoped(objstore_close) struct objstore *base = NULL;
    scoped(close_fd) int root = -1;
    struct dir_store *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return -ENOMEM;
    s->base.ops = &dir_ops;
    base = &s->base;
    s->path = strdup(path);
    if (!s->path)
        return -ENOMEM;
    rc = may_make ? fdio_make_dir(path, 0750, &root) : 0;
    if (rc < 0)
        return rc;
    if (may_make && mkdirat(root, ".tmp", 0700) < 0 && errno != EEXIST)
        return -errno;
    *out_store = give(base);
    return 0;
}

static void dir_close(struct objstore *base)
{
    struct dir_store *s = (struct dir_store *)base;

    free(s->path);
    free(s);
}

static inline void close_fds_scope(struct dir_fds *f)
{
    close_fd_scope(&f->root);
    close_fd_scope(&f->tmp);
}

/* DIR-3 */
static int open_fds(struct dir_store *s, struct dir_fds *out)
{
    int rc = fdio_open_dir(AT_FDCWD, s->path, &out->root);

    if (rc == 0)
        rc = fdio_open_dir(out->root, ".tmp", &out->tmp);
    return rc == -ENOENT ? -ENODEV : rc; /* not to be taken for a key that is not there */
}

/* The directory that holds the key, made and synced on the way when asked; out_name is its last part. */
static int open_parent(int root_fd, const char *key, bool make, int *out_dir,
                       const char **out_name)
{
    scoped(close_fd) int dir = fcntl(root_fd, F_DUPFD_CLOEXEC, 0);
    const char *slash;
    char part[OBJSTORE_KEY_BYTES_MAX + 1];

    if (dir < 0)
        return -errno;
    while ((slash = strchr(key, '/'))) {
        int next = -1;
        int rc;

        memcpy(part, key, (size_t)(slash - key));
        part[slash - key] = '\0';
        if (make && mkdirat(dir, part, 0750) == 0) {
            rc = fdio_fsync_dir(dir);
            if (rc < 0)
                return rc;
        }
        rc = fdio_open(dir, part, O_RDONLY | O_DIRECTORY, 0, &next);
        if (rc < 0)
            return rc;
        close(dir);
        dir = next;
        key = slash + 1;
    }
    *out_name = key;
    *out_dir = give_fd(dir);
    return 0;
}

/* Copies (to_fd >= 0) and hashes `bytes` bytes; -ENODATA when there are fewer. */
static int copy_and_hash(struct dir_store *s, int fd, uint64_t offset, uint64_t bytes, int to_fd,
                         struct digest *out_sha256)
{
    scoped(free) uint8_t *room = malloc(COPY_BYTES);
    struct digest_stream *stream = digest_stream_new();
    uint64_t done = 0;
    int rc = room && stream ? 0 : -ENOMEM;

    while (rc == 0 && done < bytes) {
        size_t n = bytes - done < COPY_BYTES ? (size_t)(bytes - done) : COPY_BYTES;

        rc = atomic_load(&s->is_interrupted) ? PHR_E_STORE : fdio_pread_all(fd, room, n, offset + done);
        if (rc == 0 && to_fd >= 0)
            rc = fdio_pwrite_all(to_fd, room, n, done);
        if (rc == 0)
            digest_stream_add(stream, view_of(room, n));
        done += n;
    }
    if (rc < 0) {
        digest_stream_free(stream);
        return rc;
    }
    *out_sha256 = digest_stream_finish(stream);
    return 0;
}

/* 0: the same; -ENOENT: nothing there; PHR_E_FORK: something else. */
static int compare(struct dir_store *s, int dir, const char *name, const struct objstore_put *put,
                   struct objstore_note *note)
{
    scoped(close_fd) int fd = -1;
    struct digest have;
    struct stat st;
    int rc = fdio_open(dir, name, O_RDONLY, 0, &fd);

    if (rc == -ENOENT)
        return rc;
    if (rc == 0 && fstat(fd, &st) < 0)
        rc = -errno;
    if (rc < 0)
        return blame(note, rc, "reading what is there");
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == put->bytes) {
        rc = copy_and_hash(s, fd, 0, put->bytes, -1, &have);
        if (rc < 0)
            return blame(note, rc, "reading what is there");
        if (digest_equal(&have, &put->sha256))
            return 0;
    }
    objstore_note_set(note, OBJSTORE_BLAME_ITEM, "the store holds other content under this key");
    return PHR_E_FORK;
}

/* Who is at fault when the disk says no: it, or the file we were given. */
static int blame(struct objstore_note *note, int rc, const char *what)
{
    objstore_note_set(note, OBJSTORE_BLAME_STORE, "%s: %s", what, phr_err_text(rc));
    return PHR_E_STORE;
}

static int write_temp(struct dir_store *s, const struct objstore_put *put, int fd,
                      struct objstore_note *note)
{
    struct file_clone_range range = { .src_fd = put->fd, .src_offset = put->offset,
                                      .src_length = put->bytes };
    struct digest have;
    int rc;

    /* Shares blocks where the file system can and offset and length suit it. */
    if (put->bytes > 0 && ioctl(fd, FICLONERANGE, &range) == 0)
        rc = copy_and_hash(s, fd, 0, put->bytes, -1, &have);
    else
        rc = copy_and_hash(s, put->fd, put->offset, put->bytes, fd, &have);
    if (rc == -ENODATA || (rc == 0 && !digest_equal(&have, &put->sha256))) {
        objstore_note_set(note, OBJSTORE_BLAME_ITEM, "the bytes are not what their name says");
        return PHR_E_SEAL;
    }
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    return rc < 0 ? blame(note, rc, "writing") : 0;
}

/* The name, without replacing; -EEXIST when somebody was first. */
static int take_name(int tmp_fd, const char *temp, int dir, const char *name)
{
    if (renameat2(tmp_fd, temp, dir, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    /* A file system without that flag: a second name for our own temporary file, then one less. */
    if (linkat(tmp_fd, temp, dir, name, 0) < 0)
        return -errno;
    return fdio_unlink(tmp_fd, temp);
}

static int dir_put(struct objstore *base, const struct objstore_put *put,
                   struct objstore_note *note)
{
    struct dir_store *s = (struct dir_store *)base;
    scoped(close_fds) struct dir_fds at = { -1, -1 };
    scoped(close_fd) int dir = -1;
    scoped(close_fd) int fd = -1;
    const char *name = NULL;
    struct id16 random = random_id();
    char temp[33];
    int rc = open_fds(s, &at);

    if (rc == 0)
        rc = open_parent(at.root, put->key, true, &dir, &name);
    if (rc < 0)
        return blame(note, rc, "the store's directory");
    rc = compare(s, dir, name, put, note);
    if (rc != -ENOENT)
        return rc;
    hex_encode(random.b, sizeof random.b, temp);
    rc = fdio_open(at.tmp, temp, O_RDWR | O_CREAT | O_EXCL, 0640, &fd);
    if (rc < 0)
        return blame(note, rc, "writing");
    rc = write_temp(s, put, fd, note);
    if (rc < 0)
        goto remove_temp;
    rc = take_name(at.tmp, temp, dir, name);
    if (rc == -EEXIST) {
        rc = compare(s, dir, name, put, note);
        goto remove_temp;
    }
    if (rc == 0)
        rc = fdio_fsync_dir(dir);
    if (rc == 0)
        return 0;
    rc = blame(note, rc, "naming");

remove_temp:
    ignored(fdio_unlink(at.tmp, temp)); /* random names: a leftover is in nobody's way */
    return rc;
}

static int dir_get(struct objstore *base, const char *key, int fd, uint64_t bytes_max,
                   uint32_t timeout_ms, uint64_t *out_bytes, struct digest *out_sha256,
                   struct objstore_note *note)
{
    struct dir_store *s = (struct dir_store *)base;
    scoped(close_fds) struct dir_fds at = { -1, -1 };
    scoped(close_fd) int dir = -1;
    scoped(close_fd) int from = -1;
    const char *name = NULL;
    struct digest sha256;
    struct stat st;
    int rc = open_fds(s, &at);

    (void)timeout_ms; /* a local disk */
    if (rc == 0)
        rc = open_parent(at.root, key, false, &dir, &name);
    if (rc == 0)
        rc = fdio_open(dir, name, O_RDONLY, 0, &from);
    if (rc == -ENOENT) {
        objstore_note_set(note, OBJSTORE_BLAME_ITEM, "not in the store");
        return rc;
    }
    if (rc == 0 && fstat(from, &st) < 0)
        rc = -errno;
    if (rc < 0)
        return blame(note, rc, "reading");
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > bytes_max) {
        objstore_note_set(note, OBJSTORE_BLAME_ITEM, "longer than expected");
        return -EFBIG;
    }
    rc = copy_and_hash(s, from, 0, (uint64_t)st.st_size, fd, &sha256);
    if (rc < 0)
        return blame(note, rc, "reading");
    *out_bytes = (uint64_t)st.st_size;
    *out_sha256 = sha256;
    return 0;
}

struct names {
    char **name;
    size_t count;
    size_t room;
};

static void names_fini(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->name[i]);
    free(n->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A directory gets a slash at its end, so that the order is that of the keys below it. */
static int read_names(int dir, struct names *out)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *e;
    int rc = 0;

    if (!stream) {
        rc = -errno;
        if (copy >= 0)
            close(copy);
        return rc;
    }
    while (rc == 0 && (e = readdir(stream))) {
        struct stat st;
        char *name = NULL;

        if (e->d_name[0] == '.' || fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue; /* ours to hide, or gone meanwhile */
        if (out->count == out->room) {
            size_t room = out->room ? out->room * 2 : 64;
            char **more = reallocarray(out->name, room, sizeof *more);

            if (!more)
                rc = -ENOMEM;
            else
                out->name = more;
            out->room = more ? room : out->room;
        }
        if (rc == 0 && asprintf(&name, "%s%s", e->d_name, S_ISDIR(st.st_mode) ? "/" : "") < 0)
            rc = -ENOMEM;
        if (rc == 0)
            out->name[out->count++] = name;
    }
    closedir(stream);
    if (out->count > 1)
        qsort(out->name, out->count, sizeof out->name[0], compare_names);
    return rc;
}

struct listing {
    const char *prefix;
    int (*on_key)(void *user, const char *key);
    void *user;
};

/* Depth is bounded by the keys we write; deeper ones are not ours. */
static int list_below(const struct listing *l, int dir, const char *path, unsigned depth)
{
    struct names names = { 0 };
    int rc = depth > DEPTH_MAX ? 0 : read_names(dir, &names);

    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        char key[OBJSTORE_KEY_BYTES_MAX + 1];
        scoped(close_fd) int below = -1;
        int len = snprintf(key, sizeof key, "%s%s", path, names.name[i]);
        size_t n = len > 0 ? (size_t)len : 0;
        size_t want = strlen(l->prefix);

        if (n == 0 || n >= sizeof key || strncmp(key, l->prefix, n < want ? n : want) != 0)
            continue;
        if (key[n - 1] != '/') {
            if (n >= want && objstore_is_key(key))
                rc = l->on_key(l->user, key);
            continue;
        }
        names.name[i][strlen(names.name[i]) - 1] = '\0';
        rc = fdio_open(dir, names.name[i], O_RDONLY | O_DIRECTORY, 0, &below);
        if (rc == 0)
            rc = list_below(l, below, key, depth + 1);
    }
    names_fini(&names);
    return rc;
}

static int dir_list(struct objstore *base, const char *prefix,
                    int (*on_key)(void *user, const char *key), void *user,
                    struct objstore_note *note)
{
    struct dir_store *s = (struct dir_store *)base;
    scoped(close_fds) struct dir_fds at = { -1, -1 };
    struct listing l = { prefix, on_key, user };
    int rc = open_fds(s, &at);

    if (rc == 0)
        rc = list_below(&l, at.root, "", 0);
    if (rc < 0 && note->words[0] == '\0')
        objstore_note_set(note, OBJSTORE_BLAME_STORE, "listing: %s", phr_err_text(rc));
    return rc;
}

static int dir_probe(struct objstore *base, struct objstore_note *note)
{
    scoped(close_fds) struct dir_fds at = { -1, -1 };
    int rc = open_fds((struct dir_store *)base, &at);

    if (rc == 0 && faccessat(at.tmp, ".", W_OK | X_OK, AT_EACCESS) < 0)
        rc = -errno;
    return rc < 0 ? blame(note, rc, "the store's directory") : 0;
}

static void dir_interrupt(struct objstore *base)
{
    atomic_store(&((struct dir_store *)base)->is_interrupted, true);
}

/* Each put waits for two fsyncs, and a journal takes all that wait in one commit: so many at once. */
static const struct objstore_ops dir_ops = {
    .puts_at_once = 16,
    .put = dir_put,
    .get = dir_get,
    .list = dir_list,
    .probe = dir_probe,
    .interrupt = dir_interrupt,
    .close = dir_close,
};
