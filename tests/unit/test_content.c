/* Contents of files: what is written comes back, in place, from the overlay, after a reopen. */
#include "check.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fake_vault.h"

static char dir[64];

static struct vault *open_vault(void)
{
    struct vault *v = NULL;

    snprintf(dir, sizeof dir, "/tmp/phr-content-%d", (int)getpid());
    CHECK_EQ(fake_vault_open(dir, &v), 0);
    return v;
}

static void fill(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((i * 31 + i / 4096 * 7 + seed) & 0xff);
}

static void put(struct file *f, uint64_t at, size_t n, unsigned seed)
{
    uint8_t *p = malloc(n);

    fill(p, n, seed);
    CHECK_EQ(file_write(f, at, view_of(p, n), NULL), 0);
    free(p);
}

static void expect(struct file *f, uint64_t at, size_t n, unsigned seed)
{
    uint8_t *want = malloc(n);
    uint8_t *have = malloc(n);
    size_t got = 0;

    fill(want, n, seed);
    CHECK_EQ(file_read(f, at, (struct span){ have, n }, NULL, &got), 0);
    CHECK_EQ(got, n);
    CHECK_BYTES(have, want, n);
    free(want);
    free(have);
}

static void check_sizes(size_t n)
{
    struct vault *v = open_vault();
    struct file *f = NULL;

    CHECK_EQ(fake_create(v, 10, &f), 0);
    put(f, 0, n, 1);
    expect(f, 0, n, 1);
    CHECK_EQ(file_flush(f), 0);
    expect(f, 0, n, 1);
    CHECK_EQ(file_fsync(f, false), 0);
    file_release(f);
    fake_vault_close(v);
    v = open_vault();
    CHECK_EQ(fake_open(v, 10, O_RDONLY, &f), 0);
    expect(f, 0, n, 1);
    file_release(f);
    fake_vault_close(v);
    fake_dir_remove(dir);
}

TEST(content__reads_back_after_reopen_whatever_the_size)
{
    static const size_t sizes[] = { 1,
                                    4095,
                                    4096,
                                    4097,
                                    100000,
                                    1 << 20,
                                    (1 << 20) + 1,
                                    (4 << 20) - 1,
                                    4 << 20,
                                    (4 << 20) + 4096,
                                    (9 << 20) + 17 };

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        check_sizes(sizes[i]);
}

TEST(content__overwrites_through_the_overlay)
{
    struct vault *v = open_vault();
    struct file *f = NULL;
    struct content_attr a;

    UNUSED_STATE;
    CHECK_EQ(fake_create(v, 11, &f), 0);
    put(f, 0, 6 << 20, 1);
    CHECK_EQ(file_flush(f), 0);
    put(f, 100, 5, 2);
    put(f, 8192, 8192, 3);
    put(f, (4 << 20) - 50, 100, 4);
    put(f, 6 << 20, 5000, 5);
    expect(f, 0, 100, 1);
    expect(f, 100, 5, 2);
    expect(f, 8192, 8192, 3);
    CHECK_EQ(file_fsync(f, false), 0);
    put(f, 8192, 4096, 6);
    CHECK_EQ(file_flush(f), 0);
    file_release(f);
    fake_vault_close(v);
    v = open_vault();
    CHECK_EQ(contents_getattr(v->contents, 11, &a), 0);
    CHECK_EQ(a.size, (6 << 20) + 5000);
    CHECK_EQ(fake_open(v, 11, O_RDWR, &f), 0);
    expect(f, 0, 100, 1);
    expect(f, 100, 5, 2);
    expect(f, 8192, 4096, 6);
    expect(f, (4 << 20) - 50, 100, 4);
    expect(f, 6 << 20, 5000, 5);
    file_release(f);
    fake_vault_close(v);
    fake_dir_remove(dir);
}

TEST(content__truncates_and_grows_with_zeros)
{
    struct vault *v = open_vault();
    struct file *f = NULL;
    uint8_t p[8192];
    uint8_t zeros[8192] = { 0 };
    size_t n = 0;
    uint64_t at = 0;

    UNUSED_STATE;
    CHECK_EQ(fake_create(v, 12, &f), 0);
    put(f, 0, 5 << 20, 1);
    CHECK_EQ(file_flush(f), 0);
    CHECK_EQ(contents_truncate(v->contents, 12, file_get_access(f), 5000, NULL), 0);
    CHECK_EQ(contents_truncate(v->contents, 12, file_get_access(f), 5 << 20, NULL), 0);
    expect(f, 0, 5000, 1);
    CHECK_EQ(file_read(f, 5000, (struct span){ p, 8192 }, NULL, &n), 0);
    CHECK_EQ(n, 8192);
    CHECK_BYTES(p, zeros, 8192);
    CHECK_EQ(file_read(f, (5 << 20) - 100, (struct span){ p, 8192 }, NULL, &n), 0);
    CHECK_EQ(n, 100);
    CHECK_BYTES(p, zeros, 100);
    CHECK_EQ(file_lseek(f, 0, SEEK_HOLE, &at), 0);
    CHECK_EQ(at, 8192);
    CHECK_EQ(file_lseek(f, 8192, SEEK_DATA, &at), -ENXIO);
    CHECK_EQ(file_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096, NULL),
             0);
    CHECK_EQ(file_lseek(f, 0, SEEK_DATA, &at), 0);
    CHECK_EQ(at, 4096);
    CHECK_EQ(contents_truncate(v->contents, 12, file_get_access(f), 0, NULL), 0);
    put(f, 0, 100, 9);
    expect(f, 0, 100, 9);
    CHECK_EQ(file_flush(f), 0);
    file_release(f);
    fake_vault_close(v);
    v = open_vault();
    CHECK_EQ(fake_open(v, 12, O_RDONLY, &f), 0);
    expect(f, 0, 100, 9);
    CHECK_EQ(file_read(f, 0, (struct span){ p, 8192 }, NULL, &n), 0);
    CHECK_EQ(n, 100);
    file_release(f);
    fake_vault_close(v);
    fake_dir_remove(dir);
}

/* No writer's close follows a truncate(2) beside a reader, so it is in the row at once. */
TEST(content__keeps_a_size_set_beside_readers)
{
    struct vault *v = open_vault();
    struct file *writer = NULL;
    struct file *reader = NULL;
    struct content_attr a;

    UNUSED_STATE;
    CHECK_EQ(fake_create(v, 14, &writer), 0);
    put(writer, 0, 20000, 1);
    CHECK_EQ(fake_open(v, 14, O_RDONLY, &reader), 0);
    file_release(writer);
    CHECK_EQ(contents_truncate(v->contents, 14, file_get_access(reader), 57645, NULL), 0);
    CHECK_EQ(file_flush(reader), 0);
    file_release(reader);
    fake_vault_close(v);
    v = open_vault();
    CHECK_EQ(contents_getattr(v->contents, 14, &a), 0);
    CHECK_EQ(a.size, 57645);
    CHECK_EQ(fake_open(v, 14, O_RDONLY, &reader), 0);
    expect(reader, 0, 20000, 1);
    file_release(reader);
    fake_vault_close(v);
    fake_dir_remove(dir);
}

/* Each thread has its own stretch of a common file; all flush, sync, seal and reopen at once. */
enum { THREADS = 4, ROUNDS = 60, STRETCH = 1 << 20, SHARED_NODE = 13 };

struct shared_work {
    struct vault *v;
    unsigned which;
    int rc;
};

static int one_round(struct shared_work *w, struct file *f, unsigned round, uint8_t *p,
                     uint8_t *q)
{
    uint64_t at = (uint64_t)w->which * STRETCH + round * 4999 % (STRETCH - 30000);
    size_t n = 1 + round * 733 % 30000;
    size_t got = 0;
    int rc;

    fill(p, n, w->which * 100 + round);
    rc = file_write(f, at, view_of(p, n), NULL);
    if (rc == 0 && round % 3 == 0)
        rc = file_flush(f);
    if (rc == 0 && round % 7 == 0)
        rc = file_fsync(f, false);
    if (rc == 0 && round % 20 == w->which)
        contents_seal_all(w->v->contents);
    if (rc == 0)
        rc = file_read(f, at, (struct span){ q, n }, NULL, &got);
    if (rc == 0 && (got != n || memcmp(p, q, n) != 0))
        rc = -EILSEQ;
    return rc;
}

static void *work_main(void *arg)
{
    struct shared_work *w = arg;
    uint8_t *p = malloc(30000);
    uint8_t *q = malloc(30000);
    struct file *f = NULL;

    for (unsigned round = 0; w->rc == 0 && round < ROUNDS; round++) {
        if (!f)
            w->rc = fake_open(w->v, SHARED_NODE, O_RDWR, &f);
        if (w->rc == 0)
            w->rc = one_round(w, f, round, p, q);
        if (round % 11 == 10) {
            file_release(f);
            f = NULL;
        }
    }
    file_release(f);
    free(p);
    free(q);
    return NULL;
}

TEST(content__serves_many_threads_at_once)
{
    struct vault *v = open_vault();
    struct shared_work work[THREADS];
    pthread_t threads[THREADS];
    struct file *f = NULL;

    UNUSED_STATE;
    CHECK_EQ(fake_create(v, SHARED_NODE, &f), 0);
    file_release(f);
    for (unsigned i = 0; i < THREADS; i++) {
        work[i] = (struct shared_work){ v, i, 0 };
        CHECK_EQ(pthread_create(&threads[i], NULL, work_main, &work[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQ(work[i].rc, 0);
    }
    fake_vault_close(v);
    fake_dir_remove(dir);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        UNIT(content__reads_back_after_reopen_whatever_the_size),
        UNIT(content__overwrites_through_the_overlay),
        UNIT(content__truncates_and_grows_with_zeros),
        UNIT(content__keeps_a_size_set_beside_readers),
        UNIT(content__serves_many_threads_at_once),
    };

    return RUN_TESTS(tests);
}
