/*
 * What a start makes of rows and logs that do not agree: a child leaves them so, the parent opens
 * what is left. Sizes are asked for before anything is read, as the kernel does.
 */
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_vault.h"

enum { NODE = 30, SMALL = 400000, LARGE = 6 << 20, CUT = 1 << 20, PATCH_AT = 8192 };

static char dir[64];

static void put(struct file *f, uint64_t at, size_t n, uint8_t byte)
{
    uint8_t *p = malloc(n);

    memset(p, byte, n);
    if (!p || file_write(f, at, view_of(p, n), NULL) < 0)
        _exit(2);
    free(p);
}

static void get_row(struct vault *v, struct writer *keep, struct content_row *out_row)
{
    if (nsdb_content_get(v->db, NODE, keep, out_row) < 0)
        _exit(3);
}

static void put_row(struct vault *v, const struct content_row *row)
{
    if (nsdb_begin(v->db) < 0 || nsdb_content_put(v->db, row) < 0 || nsdb_commit(v->db) < 0)
        _exit(4);
}

static void set_other_boot(struct vault *v)
{
    scoped(writer_fini) struct writer keep;
    struct content_row row;

    writer_init(&keep);
    get_row(v, &keep, &row);
    if (row.is_durable)
        _exit(13);
    row.boot_id.b[0] ^= 0xff;
    put_row(v, &row);
}

/* The log's file never reached the disk, and the boot is over. */
static void lose_log(struct vault *v)
{
    struct content *ct = content_find(v->contents, NODE);
    char path[128];

    if (!ct || ct->level_count != 1)
        _exit(5);
    set_other_boot(v);
    snprintf(path, sizeof path, "%s/data/000000/o-%llu", dir,
             (unsigned long long)container_number(ct->levels[0].container));
    if (unlink(path) < 0)
        _exit(6);
}

static void wait_sealed(struct vault *v)
{
    struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    uint32_t unsealed = 1;
    uint32_t objects = 1;
    uint32_t parked;

    contents_seal_all(v->contents);
    for (int i = 0; i < 1000 && unsealed + objects > 0; i++) {
        nanosleep(&pause, NULL);
        contents_count(v->contents, &unsealed, &objects, &parked);
    }
    if (unsealed + objects > 0)
        _exit(7);
}

/* A whole first version, then a change in a log; the pass lock keeps the syncer away. */
static void child_loses_log(bool is_sealed)
{
    struct vault *v = NULL;
    struct file *f = NULL;

    if (fake_vault_open(dir, &v) < 0)
        _exit(8);
    pthread_mutex_lock(&v->contents->pass_lock);
    if (fake_create(v, NODE, &f) < 0)
        _exit(9);
    put(f, 0, SMALL, 'a');
    if (file_flush(f) < 0)
        _exit(10);
    file_release(f);
    if (is_sealed)
        wait_sealed(v);
    if (fake_open(v, NODE, O_RDWR, &f) < 0)
        _exit(11);
    put(f, PATCH_AT, 4096, 'b');
    put(f, SMALL, 5000, 'c');
    if (file_flush(f) < 0)
        _exit(12);
    lose_log(v);
    kill(getpid(), SIGKILL);
}

/* An append that fsync accepted, whose size only the row has; then a patch whose group is lost. */
static void child_loses_group(bool is_sealed)
{
    struct vault *v = NULL;
    struct file *f = NULL;
    uint64_t whole = 0;

    if (fake_vault_open(dir, &v) < 0)
        _exit(8);
    pthread_mutex_lock(&v->contents->pass_lock);
    if (fake_create(v, NODE, &f) < 0)
        _exit(9);
    put(f, 0, CUT / 2, 'a');
    if (file_fsync(f, false) < 0)
        _exit(10);
    if (is_sealed)
        wait_sealed(v);
    put(f, PATCH_AT, 4096, 'b');
    put(f, CUT / 2, CUT / 2, 'a');
    if (file_flush(f) < 0 || file_fsync(f, false) < 0 ||
        container_get_bytes(v->contents->store,
                            content_find(v->contents, NODE)->levels[0].container, &whole) < 0)
        _exit(11);
    put(f, PATCH_AT, 4096, 'c');
    put(f, CUT, 1, 'd');
    if (file_flush(f) < 0 ||
        container_truncate(v->contents->store,
                           content_find(v->contents, NODE)->levels[0].container, whole) < 0)
        _exit(12);
    set_other_boot(v);
    kill(getpid(), SIGKILL);
}

/* The log has the cut, the row of it was lost: both of this boot, or the row durable. */
static void child_cuts(bool is_durable)
{
    scoped(writer_fini) struct writer keep;
    struct content_row row;
    struct vault *v = NULL;
    struct file *f = NULL;

    writer_init(&keep);
    if (fake_vault_open(dir, &v) < 0)
        _exit(8);
    pthread_mutex_lock(&v->contents->pass_lock);
    if (fake_create(v, NODE, &f) < 0)
        _exit(9);
    put(f, 0, LARGE, 'a');
    if (file_flush(f) < 0)
        _exit(10);
    put(f, PATCH_AT, 4096, 'b');
    if (file_flush(f) < 0)
        _exit(11);
    get_row(v, &keep, &row);
    if (contents_truncate(v->contents, NODE, file_get_access(f), CUT, NULL) < 0 || file_flush(f) < 0)
        _exit(12);
    row.is_durable = is_durable;
    put_row(v, &row);
    kill(getpid(), SIGKILL);
}

/* fsyncs so close upon each other that zeros lie behind the log, then a group on them whose block
   the kill took: by the file's length it would be whole. */
static void child_tears(bool is_other_boot)
{
    static const uint8_t zeros[4096];
    struct vault *v = NULL;
    struct file *f = NULL;
    const struct level *l;

    if (fake_vault_open(dir, &v) < 0)
        _exit(8);
    pthread_mutex_lock(&v->contents->pass_lock);
    if (fake_create(v, NODE, &f) < 0)
        _exit(9);
    put(f, 0, LARGE, 'a');
    for (int i = 0; i < 4; i++) {
        put(f, PATCH_AT, 4096, 'b');
        if (file_fsync(f, false) < 0)
            _exit(10);
    }
    l = &content_find(v->contents, NODE)->levels[0];
    if (l->zeroed_page <= l->end_page + 1)
        _exit(11);
    put(f, PATCH_AT, 4096, 'c');
    if (file_fsync(f, false) < 0 || /* a group that no row names, as within an fsync */
        container_write(v->contents->store, l->container, view_of(zeros, sizeof zeros),
                        (l->end_page - 1) * sizeof zeros) < 0)
        _exit(12);
    if (is_other_boot)
        set_other_boot(v);
    kill(getpid(), SIGKILL);
}

static void run(void (*child)(bool how), bool how)
{
    int status = 0;
    pid_t pid;

    snprintf(dir, sizeof dir, "/tmp/phr-content-recover-%d", (int)getpid());
    fake_dir_remove(dir);
    pid = fork();
    if (pid == 0)
        child(how);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status))
        print_error("the child ended with %d\n", WEXITSTATUS(status));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The size as told first is the size that is read, and every byte is this one but for a block. */
static void check_file(uint64_t size, uint8_t byte, uint8_t patch)
{
    struct vault *v = NULL;
    struct content_attr a;

    CHECK_EQ(fake_vault_open(dir, &v), 0);
    for (int turn = 0; turn < 2; turn++) { /* the second time it goes on */
        struct file *f = NULL;
        uint8_t *p = malloc(LARGE);
        size_t n = 0;

        CHECK_EQ(contents_getattr(v->contents, NODE, &a), 0);
        CHECK_EQ(a.size, size);
        CHECK_EQ(fake_open(v, NODE, O_RDWR, &f), 0);
        CHECK_EQ(file_read(f, 0, (struct span){ p, LARGE }, NULL, &n), 0);
        CHECK_EQ(n, size);
        for (size_t i = 0; i < n; i++)
            if (p[i] != (i / 4096 == PATCH_AT / 4096 ? patch : byte))
                fail_msg("byte %zu is %u", i, p[i]);
        CHECK_EQ(file_write(f, 0, view_of(&byte, 1), NULL), 0);
        CHECK_EQ(file_fsync(f, false), 0);
        file_release(f);
        free(p);
        size = size ? size : 1;
    }
    fake_vault_close(v);
    fake_dir_remove(dir);
}

/* Both ways of the child: the patch that fsync accepted is there. */
static void check_both(void (*child)(bool how), uint64_t size)
{
    run(child, false);
    check_file(size, 'a', 'b');
    run(child, true);
    check_file(size, 'a', 'b');
}

TEST(content_recover__a_lost_log_of_a_file_that_never_was_on_disk_leaves_it_empty)
{
    UNUSED_STATE;
    run(child_loses_log, false);
    check_file(0, 'a', 'a');
}

TEST(content_recover__a_lost_log_gives_way_to_the_sealed_version)
{
    UNUSED_STATE;
    run(child_loses_log, true);
    check_file(SMALL, 'a', 'a');
}

TEST(content_recover__a_lost_group_never_takes_what_fsync_accepted)
{
    UNUSED_STATE;
    check_both(child_loses_group, CUT);
}

TEST(content_recover__a_log_ahead_of_its_row_tells_the_size_first)
{
    UNUSED_STATE;
    check_both(child_cuts, CUT);
}

TEST(content_recover__a_torn_group_on_zeros_ahead_never_was)
{
    UNUSED_STATE;
    check_both(child_tears, LARGE);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        UNIT(content_recover__a_lost_log_of_a_file_that_never_was_on_disk_leaves_it_empty),
        UNIT(content_recover__a_lost_log_gives_way_to_the_sealed_version),
        UNIT(content_recover__a_lost_group_never_takes_what_fsync_accepted),
        UNIT(content_recover__a_log_ahead_of_its_row_tells_the_size_first),
        UNIT(content_recover__a_torn_group_on_zeros_ahead_never_was),
    };

    return RUN_TESTS(tests);
}
