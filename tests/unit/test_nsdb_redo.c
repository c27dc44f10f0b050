/* What a kill leaves of transactions that SQLite had not committed: the redo log, run once. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vault/nsdb.h"
#include "vault/nsdb_inside.h"
#include "vault/nsdb_redo.h"
#include "vault/nsdb_sql.h"

static char dir[64];
static char path[96];
static char log_path[128];
static struct nsdb *db;

static void open_db(void)
{
    CHECK_EQ(nsdb_open(path, &db), 0);
}

static void close_db(void)
{
    nsdb_close(db);
    db = NULL;
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/phr-redo-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/namespace.db", dir);
    snprintf(log_path, sizeof log_path, "%s-redo", path);
    return 0;
}

static int teardown(void **state)
{
    static const char *const ends[] = { "", "-wal", "-shm", "-redo" };
    char file[160];

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        snprintf(file, sizeof file, "%s%s", path, ends[i]);
        unlink(file);
    }
    return rmdir(dir);
}

static void sleep_ms(unsigned ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L };

    nanosleep(&t, NULL);
}

static uint64_t value_of(const char *key)
{
    uint64_t v = 0;

    return nsdb_meta_get_u64(db, key, &v) == 0 ? v : 0;
}

static void put(const char *key, uint64_t value)
{
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_meta_put_u64(db, key, value), 0);
    CHECK_EQ(nsdb_commit(db), 0);
}

/* A statement that must not be run twice. */
static void count_one(void)
{
    static const char sql[] = "UPDATE meta SET value = value + 1 WHERE key = 'counter'";
    struct nsdb_stmt s;

    CHECK_EQ(nsdb_begin(db), 0);
    nsdb_query(db, sql, &s);
    CHECK_EQ(nsdb_run(&s), 0);
    CHECK_EQ(nsdb_commit(db), 0);
}

static void in_killed_process(void (*work)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        open_db();
        work();
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void many(void)
{
    char key[16];

    put("counter", 0);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "k%u", i);
        put(key, i + 1);
        count_one();
    }
}

TEST(nsdb_redo__what_was_committed_survives_a_kill_and_is_run_once)
{
    char key[16];
    UNUSED_STATE;

    in_killed_process(many);
    for (int round = 0; round < 3; round++) {
        open_db();
        CHECK_EQ(value_of("counter"), 50);
        for (unsigned i = 0; i < 50; i++) {
            snprintf(key, sizeof key, "k%u", i);
            CHECK_EQ(value_of(key), i + 1);
        }
        close_db();
    }
}

static void some_undone(void)
{
    put("kept", 1);
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_meta_put_u64(db, "undone", 1), 0);
    CHECK_EQ(nsdb_meta_put_u64(db, "kept", 2), 0);
    nsdb_rollback(db);
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_meta_put_u64(db, "rode", 1), 0);
    nsdb_commit_soon(db);
    put("after", 1); /* goes with the one before it */
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_meta_put_u64(db, "unfinished", 1), 0);
}

TEST(nsdb_redo__what_was_undone_stays_undone)
{
    UNUSED_STATE;

    in_killed_process(some_undone);
    open_db();
    CHECK_EQ(value_of("kept"), 1);
    CHECK_EQ(value_of("undone"), 0);
    CHECK_EQ(value_of("rode"), 1);
    CHECK_EQ(value_of("after"), 1);
    CHECK_EQ(value_of("unfinished"), 0);
    close_db();
}

static void one_soon(void)
{
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_meta_put_u64(db, "soon", 7), 0);
    nsdb_commit_soon(db);
    sleep_ms(40);
}

static void one_rider(void)
{
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_meta_put_u64(db, "rider", 8), 0);
    nsdb_commit_soon(db);
    CHECK_EQ(nsdb_commit_riders(db), 0);
}

TEST(nsdb_redo__what_is_committed_soon_is_there_soon)
{
    UNUSED_STATE;

    in_killed_process(one_soon);
    in_killed_process(one_rider);
    open_db();
    CHECK_EQ(value_of("soon"), 7);
    CHECK_EQ(value_of("rider"), 8);
    close_db();
}

static void three(void)
{
    put("t1", 1);
    put("t2", 1);
    put("t3", 1);
}

TEST(nsdb_redo__a_torn_record_ends_the_log)
{
    struct stat st;
    UNUSED_STATE;

    open_db(); /* so that the log begins with t1 */
    close_db();
    CHECK_EQ(truncate(log_path, 0), 0);
    in_killed_process(three);
    CHECK_EQ(stat(log_path, &st), 0);
    CHECK_EQ(truncate(log_path, st.st_size - 3), 0);
    open_db();
    CHECK_EQ(value_of("t1"), 1);
    CHECK_EQ(value_of("t2"), 1);
    CHECK_EQ(value_of("t3"), 0);
    close_db();
}

static void two_more(void)
{
    put("x1", 1);
    put("x2", 1);
}

TEST(nsdb_redo__a_log_of_another_database_means_nothing)
{
    char there[160];
    UNUSED_STATE;

    in_killed_process(two_more);
    for (int i = 0; i < 2; i++) { /* the database is lost, its log is not */
        snprintf(there, sizeof there, "%s%s", path, i ? "-wal" : "");
        unlink(there);
    }
    open_db();
    CHECK_EQ(value_of("x1"), 0);
    CHECK_EQ(value_of("x2"), 0);
    close_db();
}

/* What the database of the next start does not know. */
static void one_strange(void)
{
    static const char make[] = "CREATE TABLE strange(n INTEGER)";
    static const char sql[] = "INSERT INTO strange(n) VALUES(1)";
    struct nsdb_stmt s;

    put("s1", 1);
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_exec(db, make), 0);
    nsdb_query(db, sql, &s);
    CHECK_EQ(nsdb_run(&s), 0);
    CHECK_EQ(nsdb_commit(db), 0);
    put("s2", 1);
}

static bool is_there(const char *file)
{
    struct stat st;

    return stat(file, &st) == 0 && st.st_size > 0;
}

TEST(nsdb_redo__what_cannot_be_run_at_a_start_is_kept_with_all_behind_it)
{
    char kept[REDO_KEPT_MAX][160];
    UNUSED_STATE;

    for (unsigned i = 0; i < REDO_KEPT_MAX; i++) {
        snprintf(kept[i], sizeof kept[i], "%s-kept-%u", log_path, i + 1);
        in_killed_process(one_strange);
        open_db();
        CHECK_EQ(value_of("s1"), 1);
        CHECK_EQ(value_of("s2"), 0); /* it may rest on what is missing */
        CHECK_EQ(nsdb_kept_logs(db), i + 1);
        CHECK(is_there(kept[i]));
        put("s1", 0);
        put("later", i + 1);
        close_db();
        open_db(); /* goes on, and says it again */
        CHECK_EQ(value_of("later"), i + 1);
        CHECK_EQ(nsdb_kept_logs(db), i + 1);
        close_db();
    }
    in_killed_process(one_strange);
    CHECK_EQ(nsdb_open(path, &db), PHR_E_LIMIT); /* none is overwritten */
    CHECK_EQ(unlink(kept[2]), 0);
    open_db();
    CHECK(is_there(kept[2]));
    close_db();
    for (unsigned i = 0; i < REDO_KEPT_MAX; i++)
        CHECK_EQ(unlink(kept[i]), 0);
    open_db();
    CHECK_EQ(nsdb_kept_logs(db), 0);
    close_db();
}

/* A child counts and says so; whenever it is killed, what it said is there. */
TEST(nsdb_redo__a_kill_at_any_time_takes_nothing_that_was_said)
{
    uint64_t said = 0;
    UNUSED_STATE;

    open_db();
    put("counter", 0);
    close_db();
    for (unsigned round = 0; round < 30; round++) {
        uint64_t now;
        int ends[2];
        int status;
        pid_t pid;

        CHECK_EQ(pipe(ends), 0);
        pid = fork();
        if (pid == 0) {
            open_db();
            for (;;) {
                count_one();
                if (write(ends[1], "x", 1) != 1)
                    _exit(1);
            }
        }
        close(ends[1]);
        sleep_ms(5 + round * 13 % 240);
        kill(pid, SIGKILL);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        for (char c; read(ends[0], &c, 1) == 1;)
            said++;
        close(ends[0]);
        open_db();
        now = value_of("counter");
        CHECK(now == said || now == said + 1);
        said = now;
        close_db();
    }
}

/* A log of SQLite's that is longer than press() allows. */
static void grow_log(void)
{
    char key[16];

    for (unsigned i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "fill%u", i);
        put(key, i);
        if (i % 10 == 0)
            CHECK_EQ(nsdb_sync(db), 0);
    }
    CHECK_EQ(nsdb_sync(db), 0);
}

/* From now on SQLite cannot commit, the redo log can grow. The limit as it was. */
static struct rlimit press(void)
{
    struct rlimit old;
    struct rlimit small;

    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 16 * 1024;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    return old;
}

/* SQLite's commit fails: what was acknowledged stays, and goes to the disk when it can. */
TEST(nsdb_redo__a_failed_commit_takes_nothing_that_was_acknowledged)
{
    struct rlimit old;
    UNUSED_STATE;

    open_db();
    grow_log();
    old = press();
    put("pressed", 1);
    put("pressed", 2);
    CHECK(nsdb_sync(db) < 0);
    CHECK_EQ(value_of("pressed"), 2);
    sleep_ms(250); /* tried again, in vain */
    CHECK_EQ(value_of("pressed"), 2);
    put("later", 3);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    CHECK_EQ(nsdb_sync(db), 0);
    close_db();
    open_db();
    CHECK_EQ(value_of("pressed"), 2);
    CHECK_EQ(value_of("later"), 3);
    close_db();
}

/* ---- the commit fails, and the redo log cannot be run again (NSDB-4) ---- */

enum { IN_FIRST_RECORD = 40 };

static int held_reasons[4];
static size_t held_told;

static void on_nothing(void *user)
{
    (void)user;
}

static void on_held(void *user, int reason)
{
    (void)user;
    held_reasons[held_told++] = reason;
}

static void flip_log(void)
{
    int fd = open(log_path, O_RDWR | O_CLOEXEC);
    uint8_t c;

    CHECK(fd >= 0);
    CHECK_EQ(pread(fd, &c, 1, IN_FIRST_RECORD), 1);
    c ^= 0x10;
    CHECK_EQ(pwrite(fd, &c, 1, IN_FIRST_RECORD), 1);
    close(fd);
}

/* Acknowledged twice, then neither SQLite nor the log gives it back. */
static struct rlimit hold(void)
{
    const struct nsdb_watch watch = { .on_undo = on_nothing, .on_held = on_held };
    struct rlimit old;
    uint64_t v;

    held_told = 0;
    nsdb_set_watch(db, &watch);
    old = press();
    put("held", 1);
    put("held", 2);
    flip_log();
    CHECK(nsdb_sync(db) < 0);
    CHECK_EQ(held_told, 1);
    CHECK(held_reasons[0] < 0);
    CHECK_EQ(nsdb_begin(db), -EIO);
    CHECK_EQ(nsdb_meta_get_u64(db, "held", &v), -EIO); /* what it would say is older than what was said */
    CHECK_EQ(nsdb_meta_put_u64(db, "held", 3), -EIO);
    CHECK_EQ(nsdb_commit_riders(db), -EIO);
    CHECK_EQ(nsdb_sync(db), -EIO);
    return old;
}

static void held_then_killed(void)
{
    grow_log();
    (void)hold();
    nsdb_close(db); /* an orderly end takes no more than a kill */
}

TEST(nsdb_redo__what_cannot_be_run_again_waits_for_the_next_start)
{
    UNUSED_STATE;

    in_killed_process(held_then_killed);
    flip_log();
    open_db();
    CHECK_EQ(value_of("held"), 2);
    close_db();
}

TEST(nsdb_redo__what_cannot_be_run_again_goes_on_when_it_can)
{
    struct rlimit old;
    UNUSED_STATE;

    open_db();
    grow_log();
    old = hold();
    flip_log();
    sleep_ms(600);
    CHECK_EQ(value_of("held"), 2);
    CHECK_EQ(held_told, 2);
    CHECK_EQ(held_reasons[1], 0);
    put("held", 3);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    CHECK_EQ(nsdb_sync(db), 0);
    close_db();
    open_db();
    CHECK_EQ(value_of("held"), 3);
    close_db();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(nsdb_redo__what_was_committed_survives_a_kill_and_is_run_once),
        UNIT(nsdb_redo__what_was_undone_stays_undone),
        UNIT(nsdb_redo__what_is_committed_soon_is_there_soon),
        UNIT(nsdb_redo__a_torn_record_ends_the_log),
        UNIT(nsdb_redo__a_log_of_another_database_means_nothing),
        UNIT(nsdb_redo__what_cannot_be_run_at_a_start_is_kept_with_all_behind_it),
        UNIT(nsdb_redo__a_kill_at_any_time_takes_nothing_that_was_said),
        UNIT(nsdb_redo__a_failed_commit_takes_nothing_that_was_acknowledged),
        UNIT(nsdb_redo__what_cannot_be_run_again_waits_for_the_next_start),
        UNIT(nsdb_redo__what_cannot_be_run_again_goes_on_when_it_can),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
