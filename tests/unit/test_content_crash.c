/*
 * SIGKILL at every change of the disk: a child writes, flushes, cuts, seals; the parent opens
 * what is left. Everything of the last flush is there, or what was being written since; each
 * block is one of the two, never anything else. Then power cuts: the row is believed only after
 * the bytes were, and damage is EIO for its block alone.
 */
#include "check.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_vault.h"
#include "store/crash_at_test.h"

enum { FILE_MAX = 3 << 20, NODE = 30, OPS = 40 };

/* Shared with the child: what the file was at the last flush, and what it has become since. */
struct shared {
    uint8_t flushed[FILE_MAX];
    uint64_t flushed_size;
    uint8_t now[FILE_MAX];
    uint64_t now_size;
    uint8_t during[FILE_MAX]; /* what the operation under way makes of it */
    uint64_t during_size;
    uint64_t size_min;               /* since the last flush */
    uint8_t is_cut[FILE_MAX / 4096]; /* blocks that were zero in between */
    /* Digests of what each block was since: the syncer makes flush points of its own each second. */
    uint64_t stages[FILE_MAX / 4096][OPS];
    uint8_t stage_count[FILE_MAX / 4096];
    int is_open;
};

static char dir[64];

static uint64_t step(uint64_t *rng)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return *rng;
}

static uint64_t digest_block(const uint8_t *p) /* FNV-1a */
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < 4096; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

static void note_stage(struct shared *s, uint64_t at, uint64_t n)
{
    for (uint64_t b = at / 4096; b <= (at + n - 1) / 4096; b++)
        s->stages[b][s->stage_count[b]++] = digest_block(s->during + b * 4096);
}

static bool was_stage(const struct shared *s, uint64_t b, const uint8_t *p)
{
    uint64_t h = digest_block(p);

    for (size_t i = 0; i < s->stage_count[b]; i++)
        if (s->stages[b][i] == h)
            return true;
    return false;
}

static void note_flushed(struct shared *s)
{
    memset(s->stage_count, 0, sizeof s->stage_count);
    memcpy(s->flushed, s->now, FILE_MAX);
    s->flushed_size = s->now_size;
    s->size_min = s->now_size;
    memset(s->is_cut, 0, sizeof s->is_cut);
}

static void child_write(struct shared *s, struct file *f, uint64_t at, uint64_t n,
                        uint64_t *rng)
{
    memcpy(s->during, s->now, FILE_MAX);
    for (uint64_t i = 0; i < n; i++)
        s->during[at + i] = (uint8_t)(step(rng) >> 20);
    s->during_size = at + n > s->now_size ? at + n : s->now_size;
    note_stage(s, at, n);
    if (file_write(f, at, view_of(s->during + at, n), NULL) < 0)
        _exit(2);
    memcpy(s->now, s->during, FILE_MAX);
    s->now_size = s->during_size;
}

static void child_cut(struct shared *s, struct vault *v, struct file *f, uint64_t size)
{
    memcpy(s->during, s->now, FILE_MAX);
    if (size < s->now_size) {
        memset(s->during + size, 0, s->now_size - size);
        memset(s->is_cut + size / 4096, 1, sizeof s->is_cut - size / 4096);
        s->size_min = size < s->size_min ? size : s->size_min;
    }
    s->during_size = size;
    if (contents_truncate(v->contents, NODE, file_get_access(f), size, NULL) < 0)
        _exit(3);
    memcpy(s->now, s->during, FILE_MAX);
    s->now_size = size;
}

static void child_main(struct shared *s, uint64_t kill_at, uint64_t seed)
{
    struct vault *v = NULL;
    struct file *f = NULL;
    uint64_t rng = seed | 1;

    if (fake_vault_open(dir, &v) < 0 || fake_create(v, NODE, &f) < 0 ||
        file_flush(f) < 0 || nsdb_sync(v->db) < 0)
        _exit(4);
    s->is_open = 1;
    crash_arm(kill_at);
    for (int i = 0; i < OPS; i++) {
        uint64_t what = step(&rng) % 10;
        uint64_t at = step(&rng) % (FILE_MAX - 300000);
        uint64_t n = step(&rng) % 3 ? 1 + step(&rng) % 9000 : 1 + step(&rng) % 300000;

        if (what < 6)
            child_write(s, f, what < 2 ? s->now_size % (FILE_MAX - 300000) : at, n, &rng);
        else if (what == 6)
            child_cut(s, v, f, step(&rng) % (s->now_size + 1));
        else if (what == 7)
            contents_seal_all(v->contents);
        if (what >= 7) {
            memcpy(s->during, s->now, FILE_MAX);
            s->during_size = s->now_size;
            if ((what == 8 ? file_fsync(f, false) : file_flush(f)) < 0)
                _exit(5);
            note_flushed(s);
        }
    }
    file_release(f);
    note_flushed(s);
    kill(getpid(), SIGKILL); /* never a clean end */
}

/* Is every block the flushed one, the one since, or the one under way? */
static void check_survivors(const struct shared *s, uint64_t kill_at, struct vault *v)
{
    struct file *f = NULL;
    struct content_attr a;
    uint8_t *p = calloc(1, FILE_MAX);
    static const uint8_t zeros[4096];
    uint64_t low;
    size_t n = 0;

    CHECK_EQ(fake_open(v, NODE, O_RDWR, &f), 0);
    CHECK_EQ(file_read(f, 0, (struct span){ p, FILE_MAX }, NULL, &n), 0);
    CHECK_EQ(contents_getattr(v->contents, NODE, &a), 0);
    CHECK_EQ(a.size, n);
    low = s->size_min < s->during_size ? s->size_min : s->during_size;
    if (n < low)
        print_error("kill at %llu: %zu bytes, flushed %llu\n",
                    (unsigned long long)kill_at, n, (unsigned long long)s->flushed_size);
    CHECK(n >= low);
    for (uint64_t b = 0; b < n; b += 4096) {
        uint64_t len = n - b < 4096 ? n - b : 4096;
        bool is_good = memcmp(p + b, s->flushed + b, len) == 0 ||
                       memcmp(p + b, s->now + b, len) == 0 ||
                       memcmp(p + b, s->during + b, len) == 0 ||
                       (len == 4096 && was_stage(s, b / 4096, p + b)) ||
                       (s->is_cut[b / 4096] && memcmp(p + b, zeros, len) == 0);

        /* A block that grew or was cut between two flushes may be any of its stages. */
        if (!is_good && !s->is_cut[b / 4096]) {
            print_error("kill at %llu: block %llu is foreign\n",
                        (unsigned long long)kill_at, (unsigned long long)(b / 4096));
            fail();
        }
    }
    CHECK_EQ(file_write(f, 100, view_of((const uint8_t *)"again", 5), NULL), 0);
    CHECK_EQ(file_flush(f), 0);
    file_release(f);
    free(p);
}

static bool run_until_kill(struct shared *s, uint64_t kill_at, uint64_t seed)
{
    int status = 0;
    pid_t pid;

    fake_dir_remove(dir);
    memset(s, 0, sizeof *s);
    pid = fork();
    if (pid == 0)
        child_main(s, kill_at, seed);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return s->is_open;
}

static struct shared *share(void)
{
    struct shared *s =
        mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(s != MAP_FAILED);
    snprintf(dir, sizeof dir, "/tmp/phr-content-crash-%d", (int)getpid());
    return s;
}

TEST(content_crash__keeps_what_was_flushed_wherever_the_kill_comes)
{
    struct shared *s = share();
    const char *text = getenv("PHR_TEST_KILLS");
    uint64_t kills = text ? strtoull(text, NULL, 10) : 60;

    UNUSED_STATE;
    for (uint64_t n = 1; n <= kills; n++) {
        struct vault *v = NULL;

        CHECK(run_until_kill(s, n, n / 20 + 1));
        CHECK_EQ(fake_vault_open(dir, &v), 0);
        check_survivors(s, n, v);
        fake_vault_close(v);
        CHECK_EQ(fake_vault_open(dir, &v), 0); /* and once more, after the recovery */
        fake_vault_close(v);
    }
    fake_dir_remove(dir);
    munmap(s, sizeof *s);
}

/* ---- another boot ---- */

static int set_other_boot(void *user, const struct content_row *row)
{
    struct content_row *out = user;

    *out = *row;
    return 1;
}

/* As if the machine had lost power: not durable, and of a boot that is over. */
static void cut_power(struct vault *v)
{
    scoped(writer_fini) struct writer keep;
    struct content_row row = { 0 };

    writer_init(&keep);
    CHECK_EQ(nsdb_content_get(v->db, NODE, &keep, &row), 0);
    CHECK(!row.is_durable);
    row.boot_id.b[0] ^= 0xff;
    CHECK_EQ(nsdb_begin(v->db), 0);
    CHECK_EQ(nsdb_content_put(v->db, &row), 0);
    CHECK_EQ(nsdb_commit(v->db), 0);
    (void)set_other_boot;
}

static void put(struct file *f, uint64_t at, size_t n, uint8_t byte)
{
    uint8_t *p = malloc(n);

    memset(p, byte, n);
    CHECK_EQ(file_write(f, at, view_of(p, n), NULL), 0);
    free(p);
}

static uint8_t byte_at(struct file *f, uint64_t at, int *out_rc)
{
    uint8_t p[1] = { 0 };
    size_t n = 0;

    *out_rc = file_read(f, at, (struct span){ p, 1 }, NULL, &n);
    return p[0];
}

/* Flushes, then leaves without a clean end; `damage` is what the disk lost. */
static void child_power(bool is_lost)
{
    struct vault *v = NULL;
    struct file *f = NULL;

    if (fake_vault_open(dir, &v) < 0 || fake_create(v, NODE, &f) < 0)
        _exit(2);
    put(f, 0, 2 << 20, 'a');
    if (file_fsync(f, false) < 0)
        _exit(3);
    put(f, 4096, 4096, 'b');
    put(f, 2 << 20, 1 << 20, 'c');
    if (file_flush(f) < 0)
        _exit(4);
    if (is_lost) { /* the bytes behind 2 MiB never reached the disk */
        uint8_t zeros[4096] = { 0 };
        uint64_t id = 0;

        pthread_rwlock_rdlock(&content_find(v->contents, NODE)->lock);
        id = content_find(v->contents, NODE)->cur.segs[0].loc.container;
        if (container_write(v->contents->store, id, view_of(zeros, 4096),
                            (2 << 20) + 8192) < 0)
            _exit(5);
    }
    cut_power(v);
    kill(getpid(), SIGKILL);
}

static void check_power(bool is_lost)
{
    struct shared *s = share();
    struct vault *v = NULL;
    struct file *f = NULL;
    struct content_attr a;
    int status = 0;
    int rc;
    pid_t pid;

    fake_dir_remove(dir);
    pid = fork();
    if (pid == 0)
        child_power(is_lost);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK_EQ(fake_vault_open(dir, &v), 0);
    CHECK_EQ(fake_open(v, NODE, O_RDWR, &f), 0);
    CHECK_EQ(byte_at(f, 0, &rc), 'a');
    CHECK_EQ(rc, 0);
    CHECK_EQ(byte_at(f, 5000, &rc), is_lost ? 'a' : 'b');
    CHECK_EQ(contents_getattr(v->contents, NODE, &a), 0);
    CHECK_EQ(a.size, is_lost ? 2 << 20 : 3 << 20);
    put(f, 4096, 10, 'd');
    CHECK_EQ(file_fsync(f, false), 0);
    file_release(f);
    fake_vault_close(v);
    CHECK_EQ(fake_vault_open(dir, &v), 0);
    CHECK_EQ(fake_open(v, NODE, O_RDONLY, &f), 0);
    CHECK_EQ(byte_at(f, 4097, &rc), 'd');
    CHECK_EQ(byte_at(f, 5000, &rc), is_lost ? 'a' : 'b');
    CHECK_EQ(rc, 0);
    file_release(f);
    fake_vault_close(v);
    fake_dir_remove(dir);
    munmap(s, sizeof *s);
}

TEST(content_crash__a_power_cut_keeps_a_whole_flush_point)
{
    UNUSED_STATE;
    check_power(false);
}

TEST(content_crash__a_power_cut_falls_back_to_the_last_fsync)
{
    UNUSED_STATE;
    check_power(true);
}

/* ---- damage ---- */

static void damage_one(const char *path, uint64_t *rng)
{
    int fd = open(path, O_RDWR);
    off_t size = lseek(fd, 0, SEEK_END);
    uint64_t at = step(rng) % (uint64_t)size;
    uint8_t byte = 0;

    if (pread(fd, &byte, 1, (off_t)at) == 1) {
        byte ^= (uint8_t)(1 + step(rng) % 255);
        CHECK_EQ(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
    close(fd);
}

TEST(content_crash__damage_is_an_error_for_its_block_and_never_other_bytes)
{
    struct shared *s = share();
    uint64_t rng = 12345;
    unsigned errors = 0;

    UNUSED_STATE;
    for (int round = 0; round < 25; round++) {
        struct vault *v = NULL;
        struct file *f = NULL;
        char path[128];
        uint8_t p[4096];
        uint8_t want[4096];

        fake_dir_remove(dir);
        CHECK_EQ(fake_vault_open(dir, &v), 0);
        CHECK_EQ(fake_create(v, NODE, &f), 0);
        put(f, 0, round % 2 ? 400000 : 2 << 20, 'a');
        CHECK_EQ(file_flush(f), 0);
        put(f, 8192, 8192, 'b');
        file_release(f);
        fake_vault_close(v);
        snprintf(path, sizeof path, "%s/data/000000/%s", dir,
                 round % 3 == 0 ? "o-2" : round % 2 ? "p-1" : "s-1");
        damage_one(path, &rng);
        CHECK_EQ(fake_vault_open(dir, &v), 0);
        CHECK_EQ(fake_open(v, NODE, O_RDONLY, &f), 0);
        for (uint64_t b = 0; b < 97; b++) {
            size_t n = 0;
            int rc = file_read(f, b * 4096, (struct span){ p, 4096 }, NULL, &n);

            memset(want, b == 2 || b == 3 ? 'b' : 'a', sizeof want);
            if (rc == 0) {
                CHECK_BYTES(p, want, 4096);
            } else {
                CHECK(rc == PHR_E_SEAL || rc == PHR_E_ROLLBACK || rc == PHR_E_FORMAT);
                errors++;
            }
        }
        file_release(f);
        fake_vault_close(v);
    }
    CHECK(errors > 0);
    fake_dir_remove(dir);
    munmap(s, sizeof *s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        UNIT(content_crash__keeps_what_was_flushed_wherever_the_kill_comes),
        UNIT(content_crash__a_power_cut_keeps_a_whole_flush_point),
        UNIT(content_crash__a_power_cut_falls_back_to_the_last_fsync),
        UNIT(content_crash__damage_is_an_error_for_its_block_and_never_other_bytes),
    };

    return RUN_TESTS(tests);
}
