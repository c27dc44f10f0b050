/*
 * vault/data/: containers of ciphertext in rolling directories.
 *
 * STORE-1  A container's number is used once: numbers rise, and a new file is made with
 *          O_EXCL. The number says the directory (number / 4096); nothing is ever moved.
 * STORE-2  A sealed segment's bytes never change (S-1): whoever changes the file writes to
 *          other places. Nobody writes through a descriptor that was sent to phrd.
 * STORE-3  (RULE 1) A slot of a segment whose strip entry has been written (flush, fsync, full
 *          segment) is never written again. Before that it may be.
 * STORE-4  (RULE 2) Everything else goes to the file's overlay: new bytes for such slots,
 *          changes to sealed segments, truncate, punch and zero over either.
 * STORE-5  A container is freed only after the row that no longer names it is durable, so a
 *          power cut never leaves a row without its bytes.
 * STORE-6  A container that no row names after a crash is found by the sweep: it is numbered
 *          from meta.clean_mark on, since the mark is set when all are known to be named.
 * STORE-7  fdatasync of a new container is followed by an fsync of its directory: without it
 *          the bytes could survive and their name not.
 *
 * STORE-3 and 4 are kept by src/vault/content*.c, which decides where bytes go; they stand
 * here because the recovery below relies on nothing else. README.md tells the crash story.
 *
 * Locks: `dir_lock` before `lock`; `lock` and `free_lock` are leaves, never held together.
 */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/fdio.h"
#include "store/ahead.h"
#include "store/pack.h"
#include "store/store_state.h"

enum { ROOM_FRESH_MS = 100 };

static const uint64_t NUMBER_MAX = UINT64_C(1) << 37; /* an id has room for it */

static int find_next(struct store *s);
static void *freeing_main(void *arg);

void store_dir_name(uint64_t number, char out[STORE_NAME_BYTES])
{
    snprintf(out, STORE_NAME_BYTES, "%06llu",
             (unsigned long long)(number / STORE_DIR_CONTAINERS));
}

void store_container_name(uint64_t id, char out[STORE_NAME_BYTES])
{
    static const char letters[] = "?sop";
    uint64_t number = container_number(id);

    snprintf(out, STORE_NAME_BYTES, "%06llu/%c-%llu",
             (unsigned long long)(number / STORE_DIR_CONTAINERS), letters[id & 3],
             (unsigned long long)number);
}

int store_open(int vault_fd, uint64_t floor_bytes, struct store **out_store)
{
    scoped(store_close) struct store *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return -ENOMEM;
    s->dir_fd = -1;
    s->floor_bytes = floor_bytes;
    s->dir_made = UINT64_MAX;
    s->freed_end = &s->freed;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->dir_lock, NULL);
    pthread_mutex_init(&s->pack_lock, NULL);
    pthread_mutex_init(&s->read_lock, NULL);
    pthread_mutex_init(&s->free_lock, NULL);
    pthread_cond_init(&s->free_wake, NULL);
    if (mkdirat(vault_fd, "data", 0700) == 0) {
        if (fsync(vault_fd) < 0)
            return -errno;
    } else if (errno != EEXIST) {
        return -errno;
    }
    rc = fdio_open_dir(vault_fd, "data", &s->dir_fd);
    if (rc < 0)
        return rc;
    rc = find_next(s);
    if (rc < 0)
        return rc;
    rc = -pthread_create(&s->thread, NULL, freeing_main, s);
    if (rc < 0)
        return rc;
    s->has_thread = true;
    rc = ahead_open(s, &s->ahead);
    if (rc < 0)
        return rc;

    *out_store = give(s);
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->free_lock);
    s->is_stopping = true;
    pthread_cond_broadcast(&s->free_wake);
    pthread_mutex_unlock(&s->free_lock);
    if (s->has_thread)
        pthread_join(s->thread, NULL);
    ahead_close(s->ahead);
    pack_close(s);
    for (size_t i = 0; i < STORE_FDS_MAX; i++)
        if (s->fds[i].id)
            close(s->fds[i].fd);
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->dir_lock);
    pthread_mutex_destroy(&s->pack_lock);
    pthread_mutex_destroy(&s->read_lock);
    pthread_mutex_destroy(&s->free_lock);
    pthread_cond_destroy(&s->free_wake);
    free(s);
}

/* Calls on_entry for each name in a directory below data/; NULL is data/ itself. */
static int each_name(struct store *s, const char *name,
                     void (*on_entry)(void *user, const char *name), void *user)
{
    struct dirent *e;
    DIR *d;
    int fd = -1;
    int rc = fdio_open_dir(s->dir_fd, name ? name : ".", &fd);

    if (rc < 0)
        return rc;
    d = fdopendir(fd);
    if (!d) {
        rc = -errno;
        close(fd);
        return rc;
    }
    while ((e = readdir(d)) != NULL)
        on_entry(user, e->d_name);
    closedir(d);
    return 0;
}

/* "s-12" to its id; 0 when it is not a container's name. */
static uint64_t id_of_name(const char *name)
{
    static const char letters[] = "?sop";
    const char *letter = name[0] ? strchr(letters + 1, name[0]) : NULL;
    char *end = NULL;
    unsigned long long number;

    if (!letter || name[1] != '-' || name[2] < '0' || name[2] > '9')
        return 0;
    number = strtoull(name + 2, &end, 10);
    if (*end != '\0' || number >= NUMBER_MAX)
        return 0;
    return letter - letters == CONTAINER_PACK
               ? pack_id((uint64_t)number)
               : (uint64_t)number << 2 | (uint64_t)(letter - letters);
}

static void note_dir(void *user, const char *name)
{
    uint64_t *highest = user; /* + 1 */
    char *end = NULL;
    unsigned long long n = strtoull(name, &end, 10);

    if (name[0] >= '0' && name[0] <= '9' && *end == '\0' && n + 1 > *highest)
        *highest = (uint64_t)n + 1;
}

static void note_container(void *user, const char *name)
{
    uint64_t *next = user;
    uint64_t id = id_of_name(name);

    if (id && container_number(id) + 1 > *next)
        *next = container_number(id) + 1;
}

static void reap_one(void *user, const char *name)
{
    uint64_t id = id_of_name(name);

    if (container_kind(id) == CONTAINER_PACK)
        pack_reap(user, id);
}

/* Reads data/ and its last directory, whatever the number of files. */
static int find_next(struct store *s)
{
    char name[STORE_NAME_BYTES];
    uint64_t dirs = 0;
    int rc = each_name(s, NULL, note_dir, &dirs);

    if (rc < 0)
        return rc;
    s->next = 1;
    s->first_of_run = 1;
    if (dirs == 0)
        return 0;
    if (dirs > 1)
        s->next = (dirs - 1) * STORE_DIR_CONTAINERS;
    s->sync_dir = dirs; /* an earlier process may have been killed before its fsync */
    s->sync_dir_below = dirs - 1;
    store_dir_name((dirs - 1) * STORE_DIR_CONTAINERS, name);
    rc = each_name(s, name, note_container, &s->next);
    s->first_of_run = s->next;
    return rc < 0 ? rc : each_name(s, name, reap_one, s);
}

uint64_t store_get_next(struct store *s)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->lock);

    return s->next;
}

void store_skip(struct store *s, uint64_t below)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->lock);

    if (s->next < below)
        s->next = below;
}

static void room_refresh(struct store *s, uint64_t now_ms)
{
    struct statvfs st;

    if (fstatvfs(s->dir_fd, &st) < 0)
        return; /* the answer before stays; a write then fails by itself */
    atomic_store(&s->room_bytes,
                 (int64_t)(st.f_bavail * st.f_frsize) - (int64_t)s->floor_bytes);
    atomic_store(&s->room_at_ms, now_ms);
}

int store_check_room(struct store *s, uint64_t bytes)
{
    uint64_t now_ms = clock_boottime_ms();
    uint64_t at_ms = atomic_load(&s->room_at_ms);
    int64_t left;

    if (at_ms == 0 || now_ms - at_ms >= ROOM_FRESH_MS)
        room_refresh(s, now_ms);
    left = atomic_fetch_sub(&s->room_bytes, (int64_t)bytes) - (int64_t)bytes;
    if (left >= 0)
        return 0;
    atomic_fetch_add(&s->room_bytes, (int64_t)bytes);
    return -ENOSPC;
}

int64_t store_get_room(struct store *s)
{
    room_refresh(s, clock_boottime_ms());
    return atomic_load(&s->room_bytes);
}

bool store_is_low(struct store *s)
{
    return store_check_room(s, 0) < 0;
}

/* ---- freeing ---- */

static void free_one(struct store *s, const struct loc *l)
{
    if (l->len == 0) {
        ignored(container_unlink(s, l->container)); /* the next sweep finds it again */
        return;
    }
    ignored(container_punch(s, l->container, l->offset, l->len)); /* space only */
    if (container_kind(l->container) == CONTAINER_PACK)
        pack_reap(s, l->container);
}

static void queue_free(struct store *s, struct loc l)
{
    struct store_freed *f = calloc(1, sizeof *f);

    if (!f) {
        free_one(s, &l);
        return;
    }
    f->loc = l;
    pthread_mutex_lock(&s->free_lock);
    *s->freed_end = f;
    s->freed_end = &f->next;
    pthread_cond_broadcast(&s->free_wake);
    pthread_mutex_unlock(&s->free_lock);
}

void store_free(struct store *s, uint64_t container)
{
    struct loc l = { .container = container };

    if (container == 0)
        return;
    if (container_file(container) != container) /* an object in a pack: its pages */
        l = (struct loc){ container_file(container), pack_object_at(container),
                          pack_object_bytes(container) };
    queue_free(s, l);
}

void store_free_part(struct store *s, uint64_t container, uint64_t offset, uint64_t len)
{
    if (container && len > 0)
        queue_free(s, (struct loc){ container_file(container),
                                    container_at(container) + offset, len });
}

void store_free_wait(struct store *s)
{
    pthread_mutex_lock(&s->free_lock);
    while (s->freed || s->is_freeing)
        pthread_cond_wait(&s->free_wake, &s->free_lock);
    pthread_mutex_unlock(&s->free_lock);
}

/* s->free_lock. Parts that lie behind each other go in one call: files that were made together
   are often deleted together. */
static void take_neighbours(struct store *s, struct store_freed *f)
{
    while (s->freed && f->loc.len > 0 && s->freed->loc.len > 0 &&
           s->freed->loc.container == f->loc.container &&
           s->freed->loc.offset == f->loc.offset + f->loc.len) {
        struct store_freed *next = s->freed;

        f->loc.len += next->loc.len;
        s->freed = next->next;
        free(next);
    }
}

static void *freeing_main(void *arg)
{
    struct store *s = arg;

    pthread_mutex_lock(&s->free_lock);
    for (;;) {
        struct store_freed *f = s->freed;

        if (!f && s->is_stopping)
            break;
        if (!f) {
            pthread_cond_wait(&s->free_wake, &s->free_lock);
            continue;
        }
        s->freed = f->next;
        take_neighbours(s, f);
        if (!s->freed)
            s->freed_end = &s->freed;
        s->is_freeing = true;
        pthread_mutex_unlock(&s->free_lock);
        free_one(s, &f->loc);
        free(f);
        pthread_mutex_lock(&s->free_lock);
        s->is_freeing = false;
        pthread_cond_broadcast(&s->free_wake);
    }
    pthread_mutex_unlock(&s->free_lock);
    return NULL;
}

/* ---- sweep ---- */

struct sweep {
    struct store *s;
    uint64_t from;
    uint64_t below;
    bool (*is_used)(void *user, uint64_t container);
    void *user;
};

static void sweep_one(void *user, const char *name)
{
    struct sweep *w = user;
    uint64_t id = id_of_name(name);

    if (id == 0 || container_number(id) < w->from || container_number(id) >= w->below)
        return;
    if (!w->is_used(w->user, id))
        ignored(container_unlink(w->s, id)); /* the next sweep finds it again */
}

int store_sweep(struct store *s, uint64_t from, uint64_t below,
                bool (*is_used)(void *user, uint64_t container), void *user)
{
    struct sweep w = { s, from, below, is_used, user };
    char name[STORE_NAME_BYTES];

    for (uint64_t dir = from / STORE_DIR_CONTAINERS; dir * STORE_DIR_CONTAINERS < below;
         dir++) {
        int rc;

        store_dir_name(dir * STORE_DIR_CONTAINERS, name);
        rc = each_name(s, name, sweep_one, &w);
        if (rc < 0 && rc != -ENOENT)
            return rc;
    }
    return 0;
}
