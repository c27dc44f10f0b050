/* Containers: names, the descriptor cache, numbers after a restart, freeing, sweeping, the floor. */
#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/fdio.h"
#include "store/container.h"
#include "store/pack.h"

static char dir[64];

static struct store *open_store(uint64_t floor_bytes, int *out_fd)
{
    struct store *s = NULL;

    snprintf(dir, sizeof dir, "/tmp/phr-container-%d", (int)getpid());
    CHECK_EQ(fdio_make_dir(dir, 0700, out_fd), 0);
    CHECK_EQ(store_open(*out_fd, floor_bytes, &s), 0);
    return s;
}

static void clean(struct store *s, int fd)
{
    char command[100];

    store_close(s);
    close(fd);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    CHECK_EQ(system(command), 0); /* tests only */
}

static bool exists(const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/data/%s", dir, name);
    return access(path, F_OK) == 0;
}

static uint64_t make(struct store *s, enum container_kind kind, const char *text)
{
    uint64_t id = 0;

    CHECK_EQ(container_create(s, kind, &id), 0);
    CHECK_EQ(container_write(s, id, view_text(text), 0), 0);
    return id;
}

TEST(container__keeps_bytes_and_never_a_number_twice)
{
    int fd = -1;
    struct store *s = open_store(0, &fd);
    uint64_t a = make(s, CONTAINER_SEGMENT, "segment");
    uint64_t b = make(s, CONTAINER_OVERLAY, "overlay");
    uint8_t p[8];
    uint64_t c;

    UNUSED_STATE;
    CHECK(exists("000000/s-1"));
    CHECK(exists("000000/o-2"));
    CHECK_EQ(container_kind(b), CONTAINER_OVERLAY);
    CHECK_EQ(container_read(s, a, (struct span){ p, 7 }, 0), 0);
    CHECK_BYTES(p, "segment", 7);
    CHECK_EQ(container_read(s, a, (struct span){ p, 8 }, 0), -ENODATA);
    CHECK_EQ(container_sync(s, a), 0);
    store_close(s);
    CHECK_EQ(store_open(fd, 0, &s), 0);
    CHECK_EQ(store_get_next(s), 3);
    c = make(s, CONTAINER_SEGMENT, "third");
    CHECK_EQ(container_number(c), 3);
    clean(s, fd);
}

TEST(container__works_with_more_files_than_descriptors)
{
    int fd = -1;
    struct store *s = open_store(0, &fd);
    uint64_t ids[700];
    char text[16];
    uint8_t p[4];

    UNUSED_STATE;
    for (int i = 0; i < 700; i++) {
        snprintf(text, sizeof text, "%04d", i);
        ids[i] = make(s, CONTAINER_SEGMENT, text);
    }
    for (int i = 0; i < 700; i++) {
        snprintf(text, sizeof text, "%04d", i);
        CHECK_EQ(container_read(s, ids[i], (struct span){ p, 4 }, 0), 0);
        CHECK_BYTES(p, text, 4);
    }
    clean(s, fd);
}

static bool is_second(void *user, uint64_t container)
{
    return container == *(const uint64_t *)user;
}

TEST(container__frees_in_the_background_and_sweeps_what_nobody_names)
{
    int fd = -1;
    struct store *s = open_store(0, &fd);
    uint64_t a = make(s, CONTAINER_SEGMENT, "a");
    uint64_t b = make(s, CONTAINER_SEGMENT, "b");

    UNUSED_STATE;
    make(s, CONTAINER_OVERLAY, "c");
    make(s, CONTAINER_SEGMENT, "d");
    store_free(s, a);
    store_free_wait(s);
    CHECK(!exists("000000/s-1"));
    CHECK_EQ(store_sweep(s, 1, 4, is_second, &b), 0);
    CHECK(exists("000000/s-2"));
    CHECK(!exists("000000/o-3"));
    CHECK(exists("000000/s-4"));
    clean(s, fd);
}

TEST(container__is_refused_below_the_floor)
{
    int fd = -1;
    struct store *s = open_store(UINT64_C(1) << 60, &fd);
    uint64_t id = 0;

    UNUSED_STATE;
    CHECK(store_is_low(s));
    CHECK_EQ(container_create(s, CONTAINER_SEGMENT, &id), -ENOSPC);
    CHECK_EQ(id, 0);
    clean(s, fd);
}

static uint64_t pack_text(struct store *s, const char *text, size_t padded)
{
    uint8_t *p = calloc(1, padded);
    struct iovec v = { p, padded };
    uint64_t id = 0;

    memcpy(p, text, strlen(text));
    CHECK_EQ(pack_put(s, &v, 1, &id), 0);
    free(p);
    return id;
}

static int64_t blocks_of(const char *name)
{
    struct stat st;
    char path[128];

    snprintf(path, sizeof path, "%s/data/%s", dir, name);
    return stat(path, &st) < 0 ? -1 : (int64_t)st.st_blocks;
}

TEST(container__objects_in_a_pack_are_containers_of_their_own)
{
    int fd = -1;
    struct store *s = open_store(0, &fd);
    uint64_t a = pack_text(s, "first", 100);
    uint64_t b = pack_text(s, "second", 4097);
    uint64_t c = pack_text(s, "third", PACK_OBJECT_BYTES_MAX);
    uint64_t bytes = 0;
    uint8_t p[6];

    UNUSED_STATE;
    CHECK(exists("000000/p-1"));
    CHECK(!exists("000000/p-2"));
    CHECK(a != b && b != c && container_kind(c) == CONTAINER_PACK);
    CHECK_EQ(container_number(b), 1);
    CHECK_EQ(container_file(a), container_file(c));
    CHECK_EQ(container_at(b), 4096);
    CHECK_EQ(container_at(c), 3 * 4096);
    CHECK_EQ(container_read(s, b, (struct span){ p, 6 }, 0), 0);
    CHECK_BYTES(p, "second", 6);
    CHECK_EQ(container_read(s, a, (struct span){ p, 6 }, 4093), -ENODATA); /* not b's bytes */
    CHECK_EQ(container_get_bytes(s, b, &bytes), 0);
    CHECK_EQ(bytes, 8192);
    CHECK_EQ(container_sync(s, b), 0);
    CHECK_EQ(container_truncate(s, b, 1), -EINVAL);
    clean(s, fd);
}

TEST(container__a_pack_goes_when_nothing_is_left_in_it_and_not_in_its_own_run)
{
    int fd = -1;
    struct store *s = open_store(0, &fd);
    uint64_t a = pack_text(s, "first", 100);
    uint64_t b = pack_text(s, "second", 100);
    uint64_t c;
    uint8_t p[6];

    UNUSED_STATE;
    CHECK_EQ(container_sync(s, a), 0);
    store_free(s, a);
    store_free_wait(s);
    CHECK_EQ(container_read(s, b, (struct span){ p, 6 }, 0), 0);
    CHECK_BYTES(p, "second", 6);
    CHECK_EQ(container_read(s, a, (struct span){ p, 5 }, 0), 0);
    CHECK_BYTES(p, "\0\0\0\0\0", 5);
    store_free(s, b);
    store_free_wait(s);
    CHECK(exists("000000/p-1"));
    CHECK_EQ(blocks_of("000000/p-1"), 0);
    c = pack_text(s, "third", 100);
    CHECK_EQ(container_at(c), 2 * 4096); /* pages are given out once */
    store_close(s);
    CHECK_EQ(store_open(fd, 0, &s), 0);
    CHECK(exists("000000/p-1"));
    CHECK_EQ(container_number(pack_text(s, "fourth", 100)), 2);
    CHECK_EQ(container_read(s, c, (struct span){ p, 5 }, 0), 0);
    CHECK_BYTES(p, "third", 5);
    store_free(s, c);
    store_free_wait(s);
    CHECK(!exists("000000/p-1"));
    clean(s, fd);
}

static off_t bytes_of(const char *name)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof path, "%s/data/%s", dir, name);
    CHECK_EQ(stat(path, &st), 0);
    return st.st_size;
}

TEST(container__zeros_ahead_lie_behind_what_was_given_out_and_go_at_the_end)
{
    int fd = -1;
    struct store *s = open_store(0, &fd);
    uint64_t a;
    uint64_t b;
    uint8_t p[6];

    UNUSED_STATE;
    pack_write_ahead(s); /* no pack yet: nothing */
    a = pack_text(s, "first", 100);
    pack_write_ahead(s);
    CHECK(bytes_of("000000/p-1") > 64 * 4096);
    b = pack_text(s, "second", 4097);
    CHECK_EQ(container_at(b), 4096);
    for (int i = 0; i < 300; i++) { /* across several of them */
        ignored(pack_text(s, "more", 4096)); /* an id of no interest */
        pack_write_ahead(s);
    }
    CHECK_EQ(container_read(s, a, (struct span){ p, 5 }, 0), 0);
    CHECK_BYTES(p, "first", 5);
    CHECK_EQ(container_read(s, b, (struct span){ p, 6 }, 0), 0);
    CHECK_BYTES(p, "second", 6);
    store_close(s);
    CHECK_EQ(bytes_of("000000/p-1"), 303 * 4096);
    CHECK_EQ(store_open(fd, 0, &s), 0);
    CHECK_EQ(container_read(s, b, (struct span){ p, 6 }, 0), 0);
    CHECK_BYTES(p, "second", 6);
    clean(s, fd);
}

TEST(container__a_pack_is_fetched_ahead_for_who_reads_one_object_after_the_other)
{
    int fd = -1;
    struct store *s = open_store(0, &fd);
    uint64_t ids[200];
    uint64_t at = 0;
    uint64_t end = 0;
    uint64_t n;

    UNUSED_STATE;
    for (size_t i = 0; i < 200; i++)
        ids[i] = pack_text(s, "object", 16384);
    for (size_t i = 0; i < 200; i++) { /* each page is told once, and none behind the reader */
        n = pack_read_ahead(s, ids[i], 0, 16384, &at);
        if (n == 0)
            continue;
        CHECK(at >= pack_object_at(ids[i]) + 16384);
        CHECK(end == 0 || at == end);
        end = at + n;
    }
    CHECK(end > pack_object_at(ids[199]));
    for (size_t i = 0; i < 20; i++) /* to and fro: nothing */
        CHECK_EQ(pack_read_ahead(s, ids[i % 2 ? 199 : 0], 0, 16384, &at), 0);
    clean(s, fd);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        UNIT(container__keeps_bytes_and_never_a_number_twice),
        UNIT(container__works_with_more_files_than_descriptors),
        UNIT(container__frees_in_the_background_and_sweeps_what_nobody_names),
        UNIT(container__is_refused_below_the_floor),
        UNIT(container__objects_in_a_pack_are_containers_of_their_own),
        UNIT(container__a_pack_goes_when_nothing_is_left_in_it_and_not_in_its_own_run),
        UNIT(container__zeros_ahead_lie_behind_what_was_given_out_and_go_at_the_end),
        UNIT(container__a_pack_is_fetched_ahead_for_who_reads_one_object_after_the_other),
    };

    return RUN_TESTS(tests);
}
