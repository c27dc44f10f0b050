/* A check in steps, on a vault whose contents are the test's: each file's blocks 7 to 9 are bad. */
#include "vault_fixture.h"

#include "vault/vault_state.h"

static void set_up(struct bed *b, struct mount_bed *m)
{
    bed_init(b);
    bed_genesis(b);
    mount_open(m, b, "host", VAULT_OWNERSHIP_STORED);
    mount_login(m, 1000, &b->realm.owner);
    create(m, 1000, walk(m, 1000, "anna/labs"), "one");
    create(m, 1000, walk(m, 1000, "anna/labs"), "two");
}

static void tear_down(struct bed *b, struct mount_bed *m)
{
    mount_close(m);
    bed_fini(b);
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;

    for (const char *at = strstr(text, part); at; at = strstr(at + 1, part))
        n++;
    return n;
}

TEST(check__names_each_damaged_file_by_path_and_run_of_blocks)
{
    struct bed b;
    struct mount_bed m;
    char *json = NULL;

    UNUSED_STATE;
    set_up(&b, &m);
    CHECK_EQ(vault_check(m.v, &json), 0);
    CHECK_EQ(count_of(json, "\"path\":\"anna/labs/one\",\"block\":7,\"blocks\":3"), 1);
    CHECK_EQ(count_of(json, "\"path\":\"anna/labs/two\",\"block\":7,\"blocks\":3"), 1);
    CHECK_EQ(count_of(json, "\"count\":2,\"repaired\":0}"), 1);
    CHECK_EQ(count_of(json, "{\"finished\":true,"), 1);
    free(json);
    tear_down(&b, &m);
}

TEST(check__goes_on_where_it_was_interrupted_in_another_process_too)
{
    struct bed b;
    struct mount_bed m;
    struct vault_check step = { .budget_ms = 0 };
    bool is_finished = true;
    char *json = NULL;

    UNUSED_STATE;
    set_up(&b, &m);
    CHECK_EQ(vault_check_step(m.v, &step, &is_finished, &json), 0);
    CHECK(!is_finished);
    CHECK_EQ(count_of(json, "{\"finished\":false,\"done\":0,"), 1);
    free(json);
    mount_close(&m);
    mount_open(&m, &b, "host", VAULT_OWNERSHIP_STORED);
    mount_login(&m, 1000, &b.realm.owner);
    step.budget_ms = 10000;
    CHECK_EQ(vault_check_step(m.v, &step, &is_finished, &json), 0);
    CHECK(is_finished);
    CHECK_EQ(count_of(json, "\"count\":2,"), 1);
    free(json);
    /* Finished: the next one begins anew, and finds nothing twice. */
    CHECK_EQ(vault_check_step(m.v, &step, &is_finished, &json), 0);
    CHECK(is_finished);
    CHECK_EQ(count_of(json, "\"count\":2,"), 1);
    free(json);
    tear_down(&b, &m);
}

TEST(check__calls_repaired_only_what_reads_well_afterwards)
{
    struct bed b;
    struct mount_bed m;
    struct vault_check step = { .is_new = true, .repairs = true, .budget_ms = 10000 };
    bool is_finished = false;
    char *json = NULL;

    UNUSED_STATE;
    set_up(&b, &m);
    CHECK_EQ(vault_check_step(m.v, &step, &is_finished, &json), 0);
    CHECK_EQ(count_of(json, "\"count\":2,\"repaired\":0}"), 1);
    free(json);
    tear_down(&b, &m);
}

static void flip_header(struct vault *v, const struct id16 *ino)
{
    uint8_t bytes[4096];
    struct name_header row;
    struct nsdb_stmt s;

    CHECK_EQ(nsdb_header_get(v->db, ino, &s, &row), 0);
    CHECK(row.bytes.n <= sizeof bytes);
    memcpy(bytes, row.bytes.p, row.bytes.n);
    bytes[row.bytes.n - 1] ^= 1;
    row.bytes.p = bytes;
    row.fk_box = view_of(NULL, 0);
    row.fk_user = (struct id16){ { 0 } };
    nsdb_end(&s);
    CHECK_EQ(nsdb_begin(v->db), 0);
    CHECK_EQ(nsdb_header_put(v->db, &row), 0);
    CHECK_EQ(nsdb_commit(v->db), 0);
}

TEST(check__finds_a_header_and_a_row_that_do_not_open)
{
    struct bed b;
    struct mount_bed m;
    struct name_inode row;
    struct nsdb_stmt s;
    uint8_t sealed[4096];
    char *json = NULL;

    UNUSED_STATE;
    set_up(&b, &m);
    CHECK_EQ(nsdb_inode_get(m.v->db, walk(&m, 1000, "anna/labs/one"), &s, &row), 0);
    nsdb_end(&s);
    flip_header(m.v, &row.ino);
    CHECK_EQ(nsdb_inode_get(m.v->db, walk(&m, 1000, "anna/labs/two"), &s, &row), 0);
    CHECK(row.sealed.n <= sizeof sealed);
    memcpy(sealed, row.sealed.p, row.sealed.n);
    sealed[5] ^= 1;
    row.sealed.p = sealed;
    nsdb_end(&s);
    CHECK_EQ(nsdb_begin(m.v->db), 0);
    CHECK_EQ(nsdb_inode_update(m.v->db, &row), 0);
    CHECK_EQ(nsdb_commit(m.v->db), 0);
    mount_close(&m);
    mount_open(&m, &b, "host", VAULT_OWNERSHIP_STORED);
    mount_login(&m, 1000, &b.realm.owner);
    CHECK_EQ(vault_check(m.v, &json), 0);
    CHECK_EQ(count_of(json, "\"what\":\"header\""), 1);
    CHECK_EQ(count_of(json, "\"what\":\"row\""), 1);
    free(json);
    tear_down(&b, &m);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        UNIT(check__names_each_damaged_file_by_path_and_run_of_blocks),
        UNIT(check__goes_on_where_it_was_interrupted_in_another_process_too),
        UNIT(check__calls_repaired_only_what_reads_well_afterwards),
        UNIT(check__finds_a_header_and_a_row_that_do_not_open),
    };

    if (secret_arena_open() < 0)
        return 1;
    return RUN_TESTS(tests);
}
