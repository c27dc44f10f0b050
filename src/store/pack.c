/*
 * Packs: many small objects in one file, so that a small file costs no inode, no descriptor and
 * no directory entry of its own, and what was written together lies together.
 *
 * PACK-1  An object in a pack is a container like any other: its id tells the pack, the page
 *         where it begins and its pages, so whoever keeps ids need not know about packs.
 * PACK-2  Pages are given out once, rising, and written once (STORE-3). A pack of an earlier run
 *         takes nothing more. Freed pages are punched and never given out again.
 *         Zeros ahead lie behind all that was given out, so they are under nothing.
 * PACK-3  A pack goes when it is of an earlier run, has not a single block and the file system
 *         knows of no data in it. In its own run somebody may be about to write there.
 * PACK-4  Who reads one object after the other, as files were made, gets the next 2 MiB of the pack
 *         from the disk meanwhile: the kernel's own read-ahead is sized for one small file.
 */
#include "store/pack.h"

#include <assert.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fdio.h"
#include "store/store_state.h"

/* kind: 2 bits, pages: 8, first page: 16, number of the pack: the rest. */
enum { PAGES_SHIFT = 2, PAGE_SHIFT = 10, NUMBER_SHIFT = 26 };

enum {
    PACK_PAGE_BYTES = 4096,
    PACK_PAGES = 1 << (NUMBER_SHIFT - PAGE_SHIFT), /* 256 MiB */
    PACK_OBJECT_PAGES_MAX = (1 << (PAGE_SHIFT - PAGES_SHIFT)) - 1,
    AHEAD_PAGES = 128,   /* zeros behind what was given out */
    AHEAD_PAGES_MIN = 16, /* fewer: more of them */
    READ_AHEAD_BYTES = 2 * 1024 * 1024,
    READ_GAP_BYTES = PACK_OBJECT_BYTES_MAX, /* an object is read from its end, the strip, on */
    READ_IN_A_ROW = 8            /* strip and blocks of a few files */
};

static_assert((uint64_t)PACK_PAGES * PACK_PAGE_BYTES == PACK_BYTES_MAX,
              "the id has room for the pages of a pack");
static_assert((uint64_t)PACK_OBJECT_PAGES_MAX * PACK_PAGE_BYTES == PACK_OBJECT_BYTES_MAX,
              "the id has room for the pages of the largest object");

uint64_t pack_id(uint64_t number)
{
    return number << NUMBER_SHIFT | CONTAINER_PACK;
}

uint64_t pack_number(uint64_t id)
{
    return id >> NUMBER_SHIFT;
}

uint64_t pack_object_at(uint64_t id)
{
    return (id >> PAGE_SHIFT) % PACK_PAGES * PACK_PAGE_BYTES;
}

uint64_t pack_object_bytes(uint64_t id)
{
    return (id >> PAGES_SHIFT) % (PACK_OBJECT_PAGES_MAX + 1) * PACK_PAGE_BYTES;
}

/* pack_lock. */
static void cut_ahead(struct store *s)
{
    if (s->pack && s->pack_zeroed > s->pack_page) /* space only */
        ignored(container_truncate(s, s->pack, s->pack_page * PACK_PAGE_BYTES));
    s->pack_zeroed = 0;
}

void pack_write_ahead(struct store *s)
{
    static const uint8_t zeros[AHEAD_PAGES * PACK_PAGE_BYTES];
    scoped(unlock) pthread_mutex_t *held = lock(&s->pack_lock);
    uint64_t from = s->pack_zeroed > s->pack_page ? s->pack_zeroed : s->pack_page;
    uint64_t to = s->pack_page + AHEAD_PAGES;

    if (s->pack == 0 || from - s->pack_page >= AHEAD_PAGES_MIN || to > PACK_PAGES)
        return;
    if (container_write(s, s->pack,
                        (struct view){ zeros, (size_t)(to - from) * PACK_PAGE_BYTES },
                        from * PACK_PAGE_BYTES) == 0)
        s->pack_zeroed = to;
}

void pack_close(struct store *s)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->pack_lock);

    cut_ahead(s);
}

/* The pages of a new object, in the pack of now or in a new one. */
static int take_pages(struct store *s, uint64_t pages, uint64_t *out_id)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->pack_lock);
    int rc = 0;

    if (s->pack == 0 || s->pack_page + pages > PACK_PAGES) {
        cut_ahead(s);
        rc = container_create(s, CONTAINER_PACK, &s->pack);
        s->pack_page = 0;
    }
    if (rc < 0)
        return rc;
    *out_id = s->pack | s->pack_page << PAGE_SHIFT | pages << PAGES_SHIFT;
    s->pack_page += pages;
    return 0;
}

int pack_put(struct store *s, struct iovec *v, int count, uint64_t *out_id)
{
    uint64_t bytes = 0;
    uint64_t id = 0;
    int rc;

    for (int i = 0; i < count; i++)
        bytes += v[i].iov_len;
    INVARIANT(bytes > 0 && bytes <= PACK_OBJECT_BYTES_MAX);
    rc = store_check_room(s, 0);
    if (rc == 0)
        rc = take_pages(s, (bytes + PACK_PAGE_BYTES - 1) / PACK_PAGE_BYTES, &id);
    if (rc < 0)
        return rc;
    rc = container_write_parts(s, id, v, count, 0);
    if (rc < 0) {
        store_free(s, id); /* nobody names it */
        return rc;
    }
    *out_id = id;
    return 0;
}

uint64_t pack_read_ahead(struct store *s, uint64_t id, uint64_t at, uint64_t len,
                         uint64_t *out_at)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->read_lock);
    struct pack_reader *r = &s->reader;
    uint64_t from = pack_object_at(id) + at;
    uint64_t end = from + len;

    if (r->file != pack_number(id) || from + READ_AHEAD_BYTES < r->end ||
        from > r->end + READ_GAP_BYTES)
        *r = (struct pack_reader){ .file = pack_number(id) };
    r->in_a_row++;
    r->end = end > r->end ? end : r->end;
    if (r->in_a_row < READ_IN_A_ROW || end + READ_AHEAD_BYTES / 2 < r->ahead)
        return 0;
    *out_at = end > r->ahead ? end : r->ahead;
    r->ahead = end + READ_AHEAD_BYTES;
    return r->ahead - *out_at;
}

void pack_reap(struct store *s, uint64_t id)
{
    scoped(close_fd) int fd = -1;
    char name[STORE_NAME_BYTES];
    struct stat st;

    if (pack_number(id) >= s->first_of_run)
        return; /* PACK-3 */
    store_container_name(id, name);
    if (fdio_open(s->dir_fd, name, O_RDONLY, 0, &fd) < 0 || fstat(fd, &st) < 0 ||
        st.st_blocks != 0 || lseek(fd, 0, SEEK_DATA) >= 0 || errno != ENXIO)
        return;
    ignored(container_unlink(s, id)); /* it is empty: the next one to look takes it */
}
