/*
 * Thousands of random operations against a plain array: writes, truncates, punches, zeroes,
 * reads, flushes, fsyncs, sync passes, reopened handles, reopened vaults. The seed is printed;
 * PHR_TEST_SEED and PHR_TEST_OPS repeat or lengthen a run.
 */
#include "check.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fake_vault.h"

enum { FILE_MAX = 14 << 20, NODE = 20 };

struct model {
    uint64_t rng;
    struct vault *v;
    struct file *f;
    uint8_t *bytes; /* FILE_MAX; beyond size: zero */
    uint8_t *room;
    uint64_t size;
    char dir[64];
    unsigned op;
    uint64_t version;
};

static uint64_t next_random(struct model *m)
{
    m->rng ^= m->rng << 13;
    m->rng ^= m->rng >> 7;
    m->rng ^= m->rng << 17;
    return m->rng;
}

static uint64_t below(struct model *m, uint64_t n)
{
    return next_random(m) % n;
}

/* Small, block-sized, large; often at a place where something happens. */
static uint64_t some_length(struct model *m)
{
    switch (below(m, 6)) {
    case 0:
        return 1 + below(m, 100);
    case 1:
        return 4096;
    case 2:
        return 4096 * (1 + below(m, 40));
    case 3:
        return 1 + below(m, 20000);
    case 4:
        return 1 + below(m, 200000);
    default:
        return below(m, 8) ? 1 + below(m, 5000) : 1 + below(m, 5 << 20);
    }
}

static uint64_t some_offset(struct model *m)
{
    uint64_t at = below(m, m->size + 1 + (below(m, 10) == 0 ? 3 << 20 : 4096));

    switch (below(m, 5)) {
    case 0:
        return at / 4096 * 4096;
    case 1:
        return m->size;
    case 2:
        return at % 30000;
    case 3:
        return at / (4 << 20) * (4 << 20);
    default:
        return at;
    }
}

static void clip(uint64_t at, uint64_t *n)
{
    if (at >= FILE_MAX)
        *n = 0;
    else if (at + *n > FILE_MAX)
        *n = FILE_MAX - at;
}

static void do_write(struct model *m)
{
    uint64_t at = some_offset(m);
    uint64_t n = some_length(m);

    clip(at, &n);
    if (n == 0)
        return;
    for (uint64_t i = 0; i < n; i++)
        m->bytes[at + i] = (uint8_t)(next_random(m) >> 24);
    CHECK_EQ(file_write(m->f, at, view_of(m->bytes + at, n), NULL), 0);
    if (at + n > m->size)
        m->size = at + n;
}

static void do_read(struct model *m, uint64_t at, uint64_t n)
{
    size_t got = 0;
    uint64_t want = at >= m->size ? 0 : m->size - at < n ? m->size - at : n;
    int rc = file_read(m->f, at, (struct span){ m->room, n }, NULL, &got);

    if (rc != 0 || got != want || memcmp(m->room, m->bytes + at, want) != 0) {
        size_t i = 0;

        while (i < want && m->room[i] == m->bytes[at + i])
            i++;
        print_error("op %u: read at %llu, %llu bytes: rc %d, %zu of %llu bytes, first "
                    "wrong %llu\n",
                    m->op, (unsigned long long)at, (unsigned long long)n, rc, got,
                    (unsigned long long)want, (unsigned long long)(at + i));
        fail();
    }
}

static void do_truncate(struct model *m)
{
    uint64_t size = below(m, 12) == 0 ? 0 : some_offset(m);

    if (size > FILE_MAX)
        size = FILE_MAX;
    if (size > 0 && below(m, 3))
        size =
            size > m->size / 2 ? size : m->size - m->size / 8; /* keep the file alive */
    CHECK_EQ(contents_truncate(m->v->contents, NODE, file_get_access(m->f), size, NULL),
             0);
    if (size < m->size)
        memset(m->bytes + size, 0, m->size - size);
    m->size = size;
}

static void do_zero(struct model *m)
{
    static const int modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_ZERO_RANGE,
                                 FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
                                 FALLOC_FL_KEEP_SIZE };
    int mode = modes[below(m, 5)];
    uint64_t at = some_offset(m);
    uint64_t n = some_length(m);

    clip(at, &n);
    if (n == 0)
        return;
    CHECK_EQ(file_fallocate(m->f, mode, at, n, NULL), 0);
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && at < m->size)
        memset(m->bytes + at, 0, at + n < m->size ? n : m->size - at);
    if (!(mode & FALLOC_FL_KEEP_SIZE) && at + n > m->size)
        m->size = at + n;
}

static void reopen_handle(struct model *m)
{
    file_release(m->f);
    CHECK_EQ(fake_open(m->v, NODE, O_RDWR, &m->f), 0);
}

static void check_attr(struct model *m)
{
    struct content_attr a;

    CHECK_EQ(contents_getattr(m->v->contents, NODE, &a), 0);
    CHECK_EQ(a.size, m->size);
}

static void reopen_vault(struct model *m)
{
    file_release(m->f);
    fake_vault_close(m->v);
    CHECK_EQ(fake_vault_open(m->dir, &m->v), 0);
    check_attr(m);
    CHECK_EQ(fake_open(m->v, NODE, O_RDWR, &m->f), 0);
}

/* SEEK_DATA may call zeros data, never data a hole. */
static void check_holes(struct model *m)
{
    uint64_t at = below(m, m->size + 1);
    uint64_t to = m->size;
    int rc = file_lseek(m->f, at, SEEK_DATA, &to);

    CHECK(rc == 0 || rc == -ENXIO);
    if (rc == -ENXIO)
        to = m->size;
    for (uint64_t i = at; i < to; i++)
        if (m->bytes[i] != 0) {
            print_error("op %u: data at %llu is called a hole\n", m->op,
                        (unsigned long long)i);
            fail();
        }
}

static void one_op(struct model *m)
{
    uint64_t what = below(m, 100);

    if (what < 45)
        do_write(m);
    else if (what < 65)
        do_read(m, some_offset(m) % FILE_MAX, 1 + below(m, 300000));
    else if (what < 71)
        do_truncate(m);
    else if (what < 77)
        do_zero(m);
    else if (what < 84)
        CHECK_EQ(file_flush(m->f), 0);
    else if (what < 89)
        CHECK_EQ(file_fsync(m->f, false), 0);
    else if (what < 92)
        contents_sync_pass(m->v->contents);
    else if (what < 94)
        check_holes(m);
    else if (what < 97)
        reopen_handle(m);
    else if (what < 98)
        reopen_vault(m);
    else if (what < 99)
        do_read(m, 0, FILE_MAX);
    else
        contents_seal_all(m->v->contents);
    check_attr(m);
}

static uint64_t number_from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

TEST(content_model__equals_an_array_after_thousands_of_operations)
{
    struct model m = { .rng =
                           number_from_env("PHR_TEST_SEED", (uint64_t)time(NULL)) | 1 };
    uint64_t ops = number_from_env("PHR_TEST_OPS", 3000);

    UNUSED_STATE;
    print_message("seed %llu\n", (unsigned long long)m.rng);
    m.bytes = calloc(1, 2 * FILE_MAX);
    m.room = calloc(1, FILE_MAX);
    snprintf(m.dir, sizeof m.dir, "/tmp/phr-content-model-%d", (int)getpid());
    CHECK_EQ(fake_vault_open(m.dir, &m.v), 0);
    CHECK_EQ(fake_create(m.v, NODE, &m.f), 0);
    for (m.op = 0; m.op < ops; m.op++)
        one_op(&m);
    do_read(&m, 0, FILE_MAX);
    reopen_vault(&m);
    do_read(&m, 0, FILE_MAX);
    file_release(m.f);
    fake_vault_close(m.v);
    fake_dir_remove(m.dir);
    free(m.bytes);
    free(m.room);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        UNIT(content_model__equals_an_array_after_thousands_of_operations),
    };

    return RUN_TESTS(tests);
}
