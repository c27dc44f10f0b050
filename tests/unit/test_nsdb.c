/* Transactions of namespace.db: what joins, what is undone, what is there after a reopen. */
#include "check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crypto/random.h"
#include "vault/nsdb_names.h"
#include "vault/nsdb_outbox.h"

static char dir[64];
static char path[96];
static struct nsdb *db;
static const uint8_t dir_bytes[] = "bytes";

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/phr-nsdb-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/namespace.db", dir);
    return nsdb_open(path, &db);
}

static int teardown(void **state)
{
    char file[160];

    (void)state;
    nsdb_close(db);
    db = NULL;
    for (int i = 0; i < 4; i++) {
        static const char *const ends[] = { "", "-wal", "-shm", "-redo" };

        snprintf(file, sizeof file, "%s%s", path, ends[i]);
        unlink(file);
    }
    return rmdir(dir);
}

static void reopen(void)
{
    nsdb_close(db);
    CHECK_EQ(nsdb_open(path, &db), 0);
}

static uint64_t value_of(const char *key)
{
    uint64_t v = 0;

    return nsdb_meta_get_u64(db, key, &v) == 0 ? v : 0;
}

TEST(nsdb__a_rollback_undoes_only_its_own_part_of_a_shared_transaction)
{
    UNUSED_STATE;

    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_meta_put_u64(db, "first", 1), 0);
    nsdb_commit_soon(db);
    CHECK_EQ(value_of("first"), 1); /* seen before it is committed */
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK(nsdb_is_in_tx(db));
    CHECK_EQ(nsdb_meta_put_u64(db, "second", 2), 0);
    nsdb_rollback(db);
    CHECK_EQ(value_of("first"), 1);
    CHECK_EQ(value_of("second"), 0);
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_meta_put_u64(db, "third", 3), 0);
    CHECK_EQ(nsdb_commit(db), 0);
    reopen();
    CHECK_EQ(value_of("first"), 1);
    CHECK_EQ(value_of("second"), 0);
    CHECK_EQ(value_of("third"), 3);
}

TEST(nsdb__a_kill_inside_a_transaction_leaves_none_of_it)
{
    int status;
    pid_t pid;
    UNUSED_STATE;

    nsdb_close(db);
    db = NULL;
    pid = fork();
    if (pid == 0) {
        if (nsdb_open(path, &db) < 0 || nsdb_begin(db) < 0 ||
            nsdb_meta_put_u64(db, "done", 1) < 0 || nsdb_commit(db) < 0 || nsdb_begin(db) < 0 ||
            nsdb_meta_put_u64(db, "half", 1) < 0)
            _exit(1);
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(nsdb_open(path, &db), 0);
    CHECK_EQ(value_of("done"), 1);
    CHECK_EQ(value_of("half"), 0);
}

TEST(nsdb__what_is_committed_soon_survives_a_kill_after_a_moment)
{
    struct timespec moment = { .tv_nsec = 200 * 1000 * 1000 };
    int status;
    pid_t pid;
    UNUSED_STATE;

    nsdb_close(db);
    db = NULL;
    pid = fork();
    if (pid == 0) {
        if (nsdb_open(path, &db) < 0 || nsdb_begin(db) < 0 || nsdb_meta_put_u64(db, "soon", 7) < 0)
            _exit(1);
        nsdb_commit_soon(db);
        nanosleep(&moment, NULL);
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(nsdb_open(path, &db), 0);
    CHECK_EQ(value_of("soon"), 7);
    CHECK_EQ(nsdb_sync(db), 0);
}

TEST(nsdb__riders_are_committed_on_demand)
{
    int status;
    pid_t pid;
    UNUSED_STATE;

    nsdb_close(db);
    db = NULL;
    pid = fork();
    if (pid == 0) {
        if (nsdb_open(path, &db) < 0)
            _exit(1);
        nsdb_lock(db); /* the committer's five milliseconds do not end under it */
        if (nsdb_begin(db) < 0 || nsdb_meta_put_u64(db, "closed", 7) < 0)
            _exit(1);
        nsdb_commit_soon(db);
        if (nsdb_commit_riders(db) < 0 || nsdb_commit_riders(db) < 0)
            _exit(1);
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(nsdb_open(path, &db), 0);
    CHECK_EQ(value_of("closed"), 7);
}

enum { BIG_ROWS = 3000, BIG_BYTES = 8192, BIG_AGAIN = 300, BIG_ROUNDS = 2 };

static int big_put(uint64_t key, uint64_t mark)
{
    static const char sql[] = "INSERT OR REPLACE INTO big(k, mark, v) VALUES(?,?,?)";
    static uint8_t bytes[BIG_BYTES];
    struct nsdb_stmt s;

    memset(bytes, (int)mark, sizeof bytes);
    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, key);
    nsdb_bind_u64(&s, mark);
    nsdb_bind_view(&s, view_of(bytes, sizeof bytes));
    return nsdb_run(&s);
}

/* More than the cache holds, so that pages are in the log before the commit and change again. */
static int big_round(uint64_t mark)
{
    int rc = nsdb_begin(db);

    for (uint64_t i = 0; rc == 0 && i < BIG_ROWS; i++)
        rc = big_put(i, mark);
    for (uint64_t i = 0; rc == 0 && i < BIG_AGAIN; i++)
        rc = big_put(i, mark + 1);
    if (rc == 0)
        rc = nsdb_commit(db);
    for (uint64_t i = 0; rc == 0 && i < 3; i++) {
        rc = nsdb_begin(db);
        if (rc == 0)
            rc = big_put(i, mark + 2);
        if (rc == 0)
            rc = nsdb_commit(db);
    }
    return rc;
}

static void big_child(void)
{
    static const char make[] = "CREATE TABLE big(k INTEGER PRIMARY KEY, mark INTEGER, v BLOB)";
    struct nsdb_stmt s;

    if (nsdb_open(path, &db) < 0)
        _exit(1);
    nsdb_query(db, make, &s);
    if (nsdb_run(&s) < 0)
        _exit(1);
    for (uint64_t round = 0; round < BIG_ROUNDS; round++)
        if (big_round(round * 3) < 0)
            _exit(1);
    if (nsdb_begin(db) < 0 || big_put(0, 99) < 0)
        _exit(1);
    raise(SIGKILL);
}

TEST(nsdb__a_commit_of_any_size_is_whole_after_a_kill)
{
    static const char check[] = "PRAGMA integrity_check";
    static const char marks[] = "SELECT k, mark, substr(v, 8192) FROM big ORDER BY k";
    const uint64_t last = (BIG_ROUNDS - 1) * 3;
    struct nsdb_stmt s;
    uint64_t seen = 0;
    int status;
    pid_t pid;
    UNUSED_STATE;

    nsdb_close(db);
    db = NULL;
    pid = fork();
    if (pid == 0)
        big_child();
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(nsdb_open(path, &db), 0);
    nsdb_query(db, check, &s);
    CHECK_EQ(nsdb_step(&s), 1);
    CHECK(view_equal(nsdb_col_view(&s, 0), view_text("ok")));
    nsdb_end(&s);
    nsdb_query(db, marks, &s);
    while (nsdb_step(&s) > 0) {
        uint64_t want = seen < 3 ? last + 2 : seen < BIG_AGAIN ? last + 1 : last;

        CHECK_EQ(nsdb_col_u64(&s, 0), seen);
        CHECK_EQ(nsdb_col_u64(&s, 1), want);
        CHECK_EQ(nsdb_col_view(&s, 2).p[0], want);
        seen++;
    }
    nsdb_end(&s);
    CHECK_EQ(seen, BIG_ROWS);
}

TEST(nsdb__a_statement_in_use_can_be_used_again_inside)
{
    struct nsdb_stmt outer;
    struct name_inode row = { .ino = random_id(), .version = 1 };
    struct name_inode found;
    struct nsdb_stmt inner;
    UNUSED_STATE;

    CHECK_EQ(nsdb_inode_insert(db, &row), 0);
    CHECK(row.nodeid > 1);
    CHECK_EQ(nsdb_inode_get(db, row.nodeid, &outer, &found), 0);
    CHECK_EQ(nsdb_inode_get(db, 1, &inner, &found), 0);
    CHECK_EQ(found.kind, NODE_ROOT);
    nsdb_end(&inner);
    nsdb_end(&outer);
    CHECK_EQ(nsdb_inode_get(db, 999999, &inner, &found), -ENOENT);
}

TEST(nsdb__numbers_are_never_used_again)
{
    struct name_inode row = { .ino = random_id(), .version = 1, .sealed = { dir_bytes, 3 } };
    struct name_inode found;
    struct nsdb_stmt s;
    uint64_t old;
    uint64_t fresh;
    UNUSED_STATE;

    CHECK_EQ(nsdb_inode_insert(db, &row), 0);
    old = row.nodeid;
    CHECK_EQ(nsdb_inode_renumber(db, old, &fresh), 0);
    CHECK(fresh > old);
    CHECK_EQ(nsdb_inode_get(db, old, &s, &found), -ENOENT);
    CHECK_EQ(nsdb_inode_find(db, &row.ino, &s, &found), 0);
    CHECK_EQ(found.nodeid, fresh);
    CHECK_EQ(found.sealed.n, 3);
    nsdb_end(&s);
    CHECK_EQ(nsdb_inode_delete(db, fresh), 0);
    reopen();
    row.nodeid = 0;
    row.ino = random_id();
    CHECK_EQ(nsdb_inode_insert(db, &row), 0);
    CHECK(row.nodeid > fresh);
}

/* RECOVER-4: the promise is there as soon as a row may be that needs it, and not without it. */
TEST(nsdb__no_container_number_is_behind_what_was_promised)
{
    uint64_t bound;
    UNUSED_STATE;

    CHECK_EQ(nsdb_container_bound(db, &bound), -ENOENT);
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_container_promise(db, 7), 0);
    nsdb_rollback(db);
    CHECK_EQ(nsdb_container_bound(db, &bound), -ENOENT);
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_container_promise(db, 7), 0); /* the first one was undone */
    CHECK_EQ(nsdb_commit(db), 0);
    reopen();
    CHECK_EQ(nsdb_container_bound(db, &bound), 0);
    CHECK(bound >= 7);
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_container_promise(db, bound + 1), 0);
    CHECK_EQ(nsdb_commit(db), 0);
    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(nsdb_container_settle(db, bound + 2), 0);
    CHECK_EQ(nsdb_container_promise(db, bound + 3), 0);
    CHECK_EQ(nsdb_commit(db), 0);
    reopen();
    CHECK_EQ(nsdb_container_bound(db, &bound), 0);
    CHECK(bound >= 10);
}

TEST(nsdb__rows_that_wait_come_in_pages)
{
    enum { ROWS = 25, PAGE = 10 };
    struct dirty_row page[PAGE];
    uint64_t after = 0;
    uint32_t count = 0;
    size_t seen = 0;
    size_t n;
    UNUSED_STATE;

    CHECK_EQ(nsdb_begin(db), 0);
    for (uint64_t i = 1; i <= ROWS; i++) {
        struct content_row row = { .nodeid = i, .state = i % 5 ? CONTENT_DIRTY : CONTENT_CLEAN,
                                   .is_durable = true, .changed_ms = i, .locs = { dir_bytes, 3 } };

        CHECK_EQ(nsdb_content_put(db, &row), 0);
    }
    CHECK_EQ(nsdb_commit(db), 0);
    do {
        CHECK_EQ(nsdb_content_list_dirty(db, after, page, PAGE, &n), 0);
        for (size_t i = 0; i < n; i++, seen++) {
            CHECK(page[i].nodeid > after && page[i].nodeid % 5 != 0);
            CHECK_EQ(page[i].changed_ms, page[i].nodeid);
            after = page[i].nodeid;
        }
    } while (n == PAGE);
    CHECK_EQ(seen, ROWS - ROWS / 5);
    CHECK_EQ(nsdb_content_count_dirty(db, 100, &count), 0);
    CHECK_EQ(count, seen);
    CHECK_EQ(nsdb_content_count_dirty(db, 7, &count), 0);
    CHECK_EQ(count, 7);
}

TEST(nsdb__a_name_has_one_row_in_a_directory)
{
    struct name_dentry d = {
        .row = random_id(), .parent = random_id(), .tag = random_id(), .class_id = random_id(), .version = 1
    };
    struct name_dentry found;
    struct nsdb_stmt s;
    bool empty = true;
    uint32_t n = 0;
    UNUSED_STATE;

    CHECK_EQ(nsdb_dentry_insert(db, &d), 0);
    d.row = random_id();
    d.cookie = 0;
    CHECK_EQ(nsdb_dentry_insert(db, &d), -EEXIST);
    CHECK_EQ(nsdb_dentry_find(db, &d.parent, &d.tag, &s, &found), 0);
    CHECK(!found.is_opened);
    nsdb_end(&s);
    found.child = random_id();
    CHECK_EQ(nsdb_dentry_set_child(db, &found.row, &found.child, 4), 0);
    CHECK_EQ(nsdb_dentry_count_links(db, &found.child, &n), 0);
    CHECK_EQ(n, 1);
    CHECK_EQ(nsdb_dentry_count_dirs(db, &d.parent, &n), 0);
    CHECK_EQ(n, 1);
    CHECK_EQ(nsdb_dentry_is_empty(db, &d.parent, &empty), 0);
    CHECK(!empty);
    CHECK_EQ(nsdb_dentry_delete(db, &found.row), 0);
    CHECK_EQ(nsdb_dentry_is_empty(db, &d.parent, &empty), 0);
    CHECK(empty);
}

TEST(nsdb__op_numbers_rise_also_when_ops_are_dropped)
{
    struct outbox_row row = {
        .patient = random_id(), .writer = random_id(), .lane = OP_LANE_META, .n = 41, .op = { dir_bytes, 4 }
    };
    uint64_t n = 0;
    UNUSED_STATE;

    random_fill(row.hash.b, sizeof row.hash.b);
    CHECK_EQ(nsdb_outbox_add(db, &row), 0);
    CHECK_EQ(nsdb_op_n_load(db, &row.writer, OP_LANE_META, 7, &n), 0);
    CHECK_EQ(n, 41);
    CHECK_EQ(nsdb_op_n_keep(db, &row.patient), 0);
    CHECK_EQ(nsdb_outbox_delete_meta(db, &row.patient), 0);
    CHECK_EQ(nsdb_op_n_load(db, &row.writer, OP_LANE_META, 7, &n), 0);
    CHECK_EQ(n, 41);
    CHECK_EQ(nsdb_op_n_load(db, &row.writer, OP_LANE_SEAL, 0, &n), 0);
    CHECK_EQ(n, (uint64_t)OP_LANE_SEAL << 56);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(nsdb__a_rollback_undoes_only_its_own_part_of_a_shared_transaction),
        UNIT(nsdb__a_kill_inside_a_transaction_leaves_none_of_it),
        UNIT(nsdb__what_is_committed_soon_survives_a_kill_after_a_moment),
        UNIT(nsdb__riders_are_committed_on_demand),
        UNIT(nsdb__a_commit_of_any_size_is_whole_after_a_kill),
        UNIT(nsdb__a_statement_in_use_can_be_used_again_inside),
        UNIT(nsdb__numbers_are_never_used_again),
        UNIT(nsdb__no_container_number_is_behind_what_was_promised),
        UNIT(nsdb__rows_that_wait_come_in_pages),
        UNIT(nsdb__a_name_has_one_row_in_a_directory),
        UNIT(nsdb__op_numbers_rise_also_when_ops_are_dropped),
    };

    if (secret_arena_open() < 0)
        return 1;
    return cmocka_run_group_tests(tests, setup, teardown);
}
