/*
 * Containers through a bounded cache of descriptors: a recorder that writes one segment after
 * the other opens each once; ten thousand open files need no ten thousand descriptors.
 */
#include "store/container.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fdio.h"
#include "base/waiting.h"
#include "store/ahead.h"
#include "store/crash.h"
#include "store/pack.h"
#include "store/store_state.h"

static struct store_fd **fd_bucket(struct store *s, uint64_t id);
static int fd_borrow(struct store *s, uint64_t id, struct store_fd **out_fd);
static void fd_release(struct store *s, struct store_fd *f);
static int fd_keep(struct store *s, uint64_t id, int fd, struct store_fd **out_fd);

enum container_kind container_kind(uint64_t id)
{
    return (enum container_kind)(id & 3);
}

uint64_t container_number(uint64_t id)
{
    return container_kind(id) == CONTAINER_PACK ? pack_number(id) : id >> 2;
}

uint64_t container_file(uint64_t id)
{
    return container_kind(id) == CONTAINER_PACK ? pack_id(pack_number(id)) : id;
}

uint64_t container_at(uint64_t id)
{
    return container_kind(id) == CONTAINER_PACK ? pack_object_at(id) : 0;
}

/* An object in a pack ends where its pages do: behind them are the bytes of another. */
static bool is_inside(uint64_t id, uint64_t at, uint64_t len)
{
    uint64_t bytes =
        container_kind(id) == CONTAINER_PACK ? pack_object_bytes(id) : UINT64_MAX;

    return bytes == 0 || (at <= bytes && len <= bytes - at);
}

/* s->lock. The directory of the next number exists. */
static int dir_for_next(struct store *s)
{
    char name[STORE_NAME_BYTES];
    uint64_t dir = s->next / STORE_DIR_CONTAINERS;

    if (s->dir_made == dir)
        return 0;
    store_dir_name(s->next, name);
    if (mkdirat(s->dir_fd, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    if (fsync(s->dir_fd) < 0) /* once per 4,096 containers */
        return -errno;
    s->dir_made = dir;
    return 0;
}

/* s->lock. */
static void note_unsynced_dir(struct store *s, uint64_t number)
{
    uint64_t dir = number / STORE_DIR_CONTAINERS + 1;

    if (s->sync_dir == dir)
        return;
    s->sync_dir_below = s->sync_dir;
    s->sync_dir = dir;
}

int container_create(struct store *s, enum container_kind kind, uint64_t *out_id)
{
    char name[STORE_NAME_BYTES];
    struct store_fd *f = NULL;
    uint64_t id = 0;
    int fd = -1;
    int rc = store_check_room(s, 0);

    if (rc < 0)
        return rc;
    crash_point();
    pthread_mutex_lock(&s->lock);
    do {
        rc = dir_for_next(s);
        if (rc < 0)
            break;
        id = kind == CONTAINER_PACK ? pack_id(s->next) : s->next << 2 | (uint64_t)kind;
        s->next++;
        store_container_name(id, name);
        rc = fdio_open(s->dir_fd, name, O_RDWR | O_CREAT | O_EXCL, 0600, &fd);
    } while (rc == -EEXIST);
    if (rc == 0)
        note_unsynced_dir(s, container_number(id));
    pthread_mutex_unlock(&s->lock);
    if (rc < 0)
        return rc;
    rc = fd_keep(s, id, fd, &f);
    if (rc < 0)
        return rc;
    fd_release(s, f);
    *out_id = id;
    return 0;
}

/* Before the read itself, which may wait for the disk. */
static void fetch_ahead(struct store *s, uint64_t id, uint64_t at, uint64_t len)
{
    uint64_t from = 0;
    uint64_t n = pack_read_ahead(s, id, at, len, &from);

    if (n > 0)
        ahead_want(s->ahead, id, from, n);
}

/* Who watches this thread is told before it waits for the disk. */
static int read_bytes(int fd, struct span room, uint64_t at)
{
    size_t n = waiting_is_watched() ? fdio_pread_ready(fd, room.p, room.n, at) : 0;

    if (n == room.n)
        return 0;
    waiting_begin();
    return fdio_pread_all(fd, room.p + n, room.n - n, at + n);
}

int container_read(struct store *s, uint64_t id, struct span room, uint64_t at)
{
    struct store_fd *f = NULL;
    int rc = is_inside(id, at, room.n) ? fd_borrow(s, id, &f) : -ENODATA;

    if (rc < 0)
        return rc;
    if (container_kind(id) == CONTAINER_PACK)
        fetch_ahead(s, id, at, room.n);
    rc = read_bytes(f->fd, room, container_at(id) + at);
    fd_release(s, f);
    return rc;
}

int container_write(struct store *s, uint64_t id, struct view bytes, uint64_t at)
{
    struct store_fd *f = NULL;
    int rc;

    INVARIANT(is_inside(id, at, bytes.n));
    rc = fd_borrow(s, id, &f);
    if (rc < 0)
        return rc;
    crash_point();
    rc = fdio_pwrite_all(f->fd, bytes.p, bytes.n, container_at(id) + at);
    fd_release(s, f);
    return rc;
}

static void parts_skip(struct iovec **v, int *count, size_t n)
{
    while (*count > 0 && n >= (*v)->iov_len) {
        n -= (*v)->iov_len;
        (*v)++;
        (*count)--;
    }
    if (*count > 0) {
        (*v)->iov_base = (uint8_t *)(*v)->iov_base + n;
        (*v)->iov_len -= n;
    }
}

int container_write_parts(struct store *s, uint64_t id, struct iovec *v, int count,
                          uint64_t at)
{
    struct store_fd *f = NULL;
    int rc = fd_borrow(s, id, &f);

    if (rc < 0)
        return rc;
    crash_point();
    at += container_at(id);
    while (count > 0) {
        ssize_t put = pwritev(f->fd, v, count, (off_t)at);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            rc = -errno;
            break;
        }
        at += (uint64_t)put;
        parts_skip(&v, &count, (size_t)put);
    }
    fd_release(s, f);
    return rc;
}

static int sync_dir_number(struct store *s, uint64_t dir_plus_one)
{
    scoped(close_fd) int fd = -1;
    char name[STORE_NAME_BYTES];
    int rc;

    store_dir_name((dir_plus_one - 1) * STORE_DIR_CONTAINERS, name);
    rc = fdio_open_dir(s->dir_fd, name, &fd);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc; /* numbers were skipped (RECOVER-4): nothing is there */
    return fsync(fd) < 0 ? -errno : 0;
}

/* STORE-7. One at a time: who finds nothing noted knows that the fsync is over. */
static int sync_dirs(struct store *s)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->dir_lock);
    uint64_t dirs[2];
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    dirs[0] = s->sync_dir_below;
    dirs[1] = s->sync_dir;
    s->sync_dir_below = 0;
    s->sync_dir = 0;
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < 2 && rc == 0; i++)
        if (dirs[i])
            rc = sync_dir_number(s, dirs[i]);
    if (rc < 0) {
        pthread_mutex_lock(&s->lock);
        for (int i = 0; i < 2; i++)
            if (dirs[i])
                note_unsynced_dir(s, (dirs[i] - 1) * STORE_DIR_CONTAINERS);
        pthread_mutex_unlock(&s->lock);
    }
    return rc;
}

int container_sync(struct store *s, uint64_t id)
{
    struct store_fd *f = NULL;
    int rc = fd_borrow(s, id, &f);

    if (rc < 0)
        return rc;
    crash_point();
    rc = fdatasync(f->fd) < 0 ? -errno : 0;
    fd_release(s, f);
    return rc < 0 ? rc : sync_dirs(s);
}

void container_sync_start(struct store *s, uint64_t id, uint64_t at, uint64_t len)
{
    struct store_fd *f = NULL;

    if (fd_borrow(s, id, &f) < 0)
        return;
    ignored(sync_file_range(f->fd, (off_t)(container_at(id) + at), (off_t)len,
                            SYNC_FILE_RANGE_WRITE)); /* a hint */
    fd_release(s, f);
}

void container_will_need(struct store *s, uint64_t id, uint64_t at, uint64_t len)
{
    ahead_want(s->ahead, id, container_at(id) + at, len);
}

void container_fetch(struct store *s, uint64_t file, uint64_t at, uint64_t len)
{
    struct store_fd *f = NULL;

    if (fd_borrow(s, file, &f) < 0)
        return;
    ignored(posix_fadvise(f->fd, (off_t)at, (off_t)len, POSIX_FADV_WILLNEED)); /* a hint */
    fd_release(s, f);
}

int container_truncate(struct store *s, uint64_t id, uint64_t bytes)
{
    struct store_fd *f = NULL;
    int rc = container_file(id) == id ? fd_borrow(s, id, &f) : -EINVAL;

    if (rc < 0)
        return rc;
    crash_point();
    rc = ftruncate(f->fd, (off_t)bytes) < 0 ? -errno : 0;
    fd_release(s, f);
    return rc;
}

int container_punch(struct store *s, uint64_t id, uint64_t at, uint64_t len)
{
    struct store_fd *f = NULL;
    int rc = fd_borrow(s, id, &f);

    if (rc < 0)
        return rc;
    crash_point();
    if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(container_at(id) + at), (off_t)len) < 0)
        rc = -errno;
    fd_release(s, f);
    return rc;
}

int container_get_bytes(struct store *s, uint64_t id, uint64_t *out_bytes)
{
    struct store_fd *f = NULL;
    struct stat st;
    int rc;

    if (container_file(id) != id) {
        *out_bytes = pack_object_bytes(id);
        return 0;
    }
    rc = fd_borrow(s, id, &f);
    if (rc < 0)
        return rc;
    rc = fstat(f->fd, &st) < 0 ? -errno : 0;
    fd_release(s, f);
    if (rc < 0)
        return rc;
    *out_bytes = (uint64_t)st.st_size;
    return 0;
}

int container_dup_fd(struct store *s, uint64_t id, bool for_writing, int *out_fd)
{
    char name[STORE_NAME_BYTES];

    store_container_name(id, name);
    return fdio_open(s->dir_fd, name, for_writing ? O_RDWR : O_RDONLY, 0, out_fd);
}

int container_unlink(struct store *s, uint64_t id)
{
    char name[STORE_NAME_BYTES];
    int rc;

    INVARIANT(container_file(id) == id); /* an object in a pack is punched */
    pthread_mutex_lock(&s->lock);
    for (struct store_fd **at = fd_bucket(s, id); *at; at = &(*at)->next) {
        struct store_fd *f = *at;

        if (f->id != id || f->users > 0)
            continue;
        *at = f->next;
        close(f->fd);
        *f = (struct store_fd){ .fd = -1 };
        break;
    }
    pthread_mutex_unlock(&s->lock);
    crash_point();
    store_container_name(id, name);
    rc = fdio_unlink(s->dir_fd, name);
    return rc == -ENOENT ? 0 : rc;
}

/* ---- descriptors ---- */

/* s->lock. */
static struct store_fd **fd_bucket(struct store *s, uint64_t id)
{
    return &s->buckets[container_number(id) % STORE_FDS_MAX];
}

/* s->lock. */
static struct store_fd *fd_find(struct store *s, uint64_t id)
{
    struct store_fd *f = *fd_bucket(s, id);

    while (f && f->id != id)
        f = f->next;
    return f;
}

/* s->lock. A free slot, or the least recently used idle one; NULL: all are in use. */
static struct store_fd *fd_slot(struct store *s)
{
    struct store_fd *oldest = NULL;
    struct store_fd **at;

    for (size_t i = 0; i < STORE_FDS_MAX; i++) {
        struct store_fd *f = &s->fds[i];

        if (f->id == 0)
            return f;
        if (f->users == 0 && (!oldest || f->used_at < oldest->used_at))
            oldest = f;
    }
    if (!oldest)
        return NULL;
    at = fd_bucket(s, oldest->id);
    while (*at != oldest)
        at = &(*at)->next;
    *at = oldest->next;
    close(oldest->fd);
    return oldest;
}

/* Takes fd. */
static int fd_keep(struct store *s, uint64_t id, int fd, struct store_fd **out_fd)
{
    struct store_fd *f;

    pthread_mutex_lock(&s->lock);
    f = fd_find(s, id);
    if (f) { /* another thread opened it at the same time */
        f->users++;
        pthread_mutex_unlock(&s->lock);
        close(fd);
        *out_fd = f;
        return 0;
    }
    f = fd_slot(s);
    if (!f) {
        pthread_mutex_unlock(&s->lock);
        close(fd);
        return -EMFILE; /* more calls under way than slots: threads are far fewer */
    }
    *f = (struct store_fd){ .id = id,
                            .fd = fd,
                            .users = 1,
                            .used_at = ++s->tick,
                            .next = *fd_bucket(s, id) };
    *fd_bucket(s, id) = f;
    pthread_mutex_unlock(&s->lock);
    *out_fd = f;
    return 0;
}

static int fd_borrow(struct store *s, uint64_t id, struct store_fd **out_fd)
{
    char name[STORE_NAME_BYTES];
    struct store_fd *f;
    int fd = -1;
    int rc;

    id = container_file(id);
    pthread_mutex_lock(&s->lock);
    f = fd_find(s, id);
    if (f) {
        f->users++;
        f->used_at = ++s->tick;
    }
    pthread_mutex_unlock(&s->lock);
    if (f) {
        *out_fd = f;
        return 0;
    }
    store_container_name(id, name);
    rc = fdio_open(s->dir_fd, name, O_RDWR, 0, &fd);
    if (rc < 0)
        return rc;
    return fd_keep(s, id, fd, out_fd);
}

static void fd_release(struct store *s, struct store_fd *f)
{
    pthread_mutex_lock(&s->lock);
    INVARIANT(f->users > 0);
    f->users--;
    pthread_mutex_unlock(&s->lock);
}
