/* Drafts: what is signed together, in which order, by whom, and what a kill leaves. */
#include "vault_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/log.h"
#include "fake_contents.h"
#include "ipc/link.h"
#include "vault/opdraft.h"
#include "vault/nsdb_opdraft.h"
#include "vault/outbox.h"

enum { OWNER_UID = 1000, WRITER_UID = 1001 };

static struct bed bed;
static struct mount_bed m;

static int setup(void **state)
{
    (void)state;
    bed_with_mount(&bed, &m, VAULT_OWNERSHIP_GRANTS, OWNER_UID);
    ignored(bed_grant(&bed, &bed.realm.writer, GRANT_RW));
    mount_login(&m, WRITER_UID, &bed.realm.writer);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return bed_end(&bed, &m);
}

static uint64_t root_of(struct mount_bed *of)
{
    return walk(of, OWNER_UID, "anna/labs");
}

static uint64_t make_dir(uint32_t uid, uint64_t parent, const char *name)
{
    struct who who = who_of(uid);
    struct node_attr attr;

    CHECK_EQ(node_mkdir(m.v, &who, parent, view_text(name), 0755, &attr), 0);
    return attr.nodeid;
}

static uint32_t count_drafts(void)
{
    uint32_t n = 0;

    CHECK_EQ(nsdb_opdraft_count(vault_get_nsdb(m.v), &n), 0);
    return n;
}

struct seen_ops {
    struct {
        struct id16 writer;
        uint64_t n;
        uint16_t count;
    } ops[64];
    size_t count;
};

/* Metadata ops as they lie in the outbox. */
static void see_ops(struct seen_ops *out)
{
    struct outbox_row row;
    struct nsdb_stmt s;

    out->count = 0;
    nsdb_outbox_scan(vault_get_nsdb(m.v), NULL, &s);
    while (nsdb_outbox_next(&s, &row) > 0 && out->count < 64) {
        struct op op;

        if (row.lane != OP_LANE_META)
            continue;
        CHECK_EQ(op_decode(row.op, &op), 0);
        CHECK(digest_equal(&row.hash, &(struct digest){ { 0 } }) == false);
        out->ops[out->count].writer = op.writer;
        out->ops[out->count].n = op.n;
        out->ops[out->count++].count = op.count;
        op_fini(&op);
    }
    nsdb_end(&s);
}

static void go_offline(void)
{
    struct vault_backlog left = { .ops = 1 };

    for (int i = 0; i < 10 && left.ops > 0; i++)
        left = mount_sync(&m);
    CHECK_EQ(left.ops, 0);
    bed_stop(&bed);
    for (int i = 0; i < 200 && link_is_up(vault_get_link(m.v)); i++)
        bed_sleep_ms(10);
}

static void come_online(void)
{
    struct vault_backlog left = { .ops = 1 };

    if (!bed.server)
        bed_start(&bed);
    for (int i = 0; i < 200 && !link_is_up(vault_get_link(m.v)); i++)
        bed_sleep_ms(10);
    for (int i = 0; i < 20 && left.ops + left.parked > 0; i++)
        left = mount_sync(&m);
    CHECK_EQ(left.ops, 0);
    CHECK_EQ(left.parked, 0);
    CHECK_EQ(count_drafts(), 0);
}

/* What another host sees, made from the ledger alone. */
static void check_elsewhere(const char *const *paths, size_t count)
{
    struct mount_bed other;

    mount_open(&other, &bed, "elsewhere", VAULT_OWNERSHIP_GRANTS);
    mount_login(&other, OWNER_UID, &bed.realm.owner);
    for (size_t i = 0; i < count; i++) {
        for (int n = 0; n < 200 && walk(&other, OWNER_UID, paths[i]) == 0; n++)
            bed_sleep_ms(10);
        CHECK(walk(&other, OWNER_UID, paths[i]) != 0);
    }
    mount_close(&other);
}

TEST(opdraft__one_signature_holds_for_many_changes)
{
    struct seen_ops seen;
    char name[32];
    uint64_t dir;
    UNUSED_STATE;

    go_offline();
    dir = make_dir(OWNER_UID, root_of(&m), "many");
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "d%d", i);
        make_dir(OWNER_UID, dir, name);
    }
    CHECK(count_drafts() >= 301); /* and attributes of folders */
    see_ops(&seen);
    CHECK_EQ(seen.count, 0);
    CHECK_EQ(opdraft_sign_all(m.v), 0);
    CHECK_EQ(count_drafts(), 0);
    see_ops(&seen);
    CHECK(seen.count >= 3 && seen.count < 8);
    CHECK_EQ(seen.ops[0].count, OP_CHANGES_MAX);
    for (size_t i = 1; i < seen.count; i++)
        CHECK(seen.ops[i].n > seen.ops[i - 1].n);
    come_online();
    check_elsewhere((const char *[]){ "anna/labs/many/d0", "anna/labs/many/d299" }, 2);
}

TEST(opdraft__a_file_that_comes_and_goes_takes_two_ops)
{
    struct who who = who_of(OWNER_UID);
    struct seen_ops seen;
    UNUSED_STATE;

    go_offline();
    make_dir(OWNER_UID, root_of(&m), "before");
    create(&m, OWNER_UID, root_of(&m), "short-lived");
    CHECK_EQ(node_unlink(m.v, &who, root_of(&m), view_text("short-lived")), 0);
    make_dir(OWNER_UID, root_of(&m), "after");
    CHECK_EQ(opdraft_sign_all(m.v), 0);
    see_ops(&seen);
    CHECK(seen.count >= 2);
    CHECK_EQ(seen.ops[0].count, 2 + 3); /* DRAFT-4 */
    come_online();
    CHECK_EQ(walk(&m, OWNER_UID, "anna/labs/short-lived"), 0);
    check_elsewhere((const char *[]){ "anna/labs/before", "anna/labs/after" }, 2);
}

TEST(opdraft__writers_in_turn_keep_their_order)
{
    const struct id16 owner = bed.realm.owner.card.user;
    const struct id16 writer = bed.realm.writer.card.user;
    struct seen_ops seen;
    uint64_t at;
    UNUSED_STATE;

    go_offline();
    at = make_dir(OWNER_UID, root_of(&m), "deep");
    for (int i = 0; i < 6; i++) /* each in what the other made last */
        at = make_dir(i % 2 ? OWNER_UID : WRITER_UID, at, i == 5 ? "end" : "x");
    CHECK_EQ(opdraft_sign_all(m.v), 0);
    see_ops(&seen);
    CHECK(seen.count >= 7);
    for (size_t i = 0; i < 7; i++)
        CHECK(id_equal(&seen.ops[i].writer, i % 2 ? &writer : &owner));
    come_online();
    check_elsewhere((const char *[]){ "anna/labs/deep/x/x/x/x/x/end" }, 1);
}

TEST(opdraft__who_leaves_has_signed)
{
    const struct id16 writer = bed.realm.writer.card.user;
    struct seen_ops seen;
    uint32_t unsealed;
    uint64_t at;
    UNUSED_STATE;

    go_offline();
    at = make_dir(OWNER_UID, root_of(&m), "left");
    at = make_dir(WRITER_UID, at, "by-writer");
    make_dir(OWNER_UID, at, "by-owner");
    see_ops(&seen);
    CHECK_EQ(seen.count, 0);
    CHECK_EQ(vault_logout(m.v, WRITER_UID, &unsealed), 0);
    see_ops(&seen);
    CHECK(seen.count >= 3); /* the owner's as well: in their order */
    CHECK(id_equal(&seen.ops[1].writer, &writer));
    come_online();
    check_elsewhere((const char *[]){ "anna/labs/left/by-writer/by-owner" }, 1);
    mount_login(&m, WRITER_UID, &bed.realm.writer);
}

static void kill_with_drafts(void)
{
    int status;
    pid_t pid;

    mount_close(&m);
    pid = fork();
    if (pid == 0) {
        struct who who = who_of(OWNER_UID);
        uint64_t at;

        mount_open(&m, &bed, "host1", VAULT_OWNERSHIP_GRANTS);
        mount_login(&m, OWNER_UID, &bed.realm.owner);
        mount_login(&m, WRITER_UID, &bed.realm.writer);
        at = make_dir(WRITER_UID, root_of(&m), "killed-writer");
        make_dir(WRITER_UID, at, "inner");
        make_dir(OWNER_UID, root_of(&m), "killed-owner");
        make_dir(OWNER_UID, root_of(&m), "name-before");
        CHECK_EQ(node_rename(m.v, &who, root_of(&m), view_text("name-before"), root_of(&m),
                             view_text("name-after"), 0), 0);
        CHECK(count_drafts() >= 5);
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    mount_open(&m, &bed, "host1", VAULT_OWNERSHIP_GRANTS);
}

TEST(opdraft__a_kill_before_the_signature_loses_nothing)
{
    UNUSED_STATE;

    go_offline(); /* so that nothing is signed before the kill */
    kill_with_drafts();
    CHECK(count_drafts() >= 5);
    bed_start(&bed);
    mount_login(&m, OWNER_UID, &bed.realm.owner);
    /* The owner's go on without the writer's, which wait for him. */
    check_elsewhere((const char *[]){ "anna/labs/killed-owner", "anna/labs/name-after" }, 2);
    CHECK_EQ(count_drafts(), 2);
    CHECK(walk(&m, OWNER_UID, "anna/labs/killed-writer/inner") != 0);
    mount_login(&m, WRITER_UID, &bed.realm.writer);
    come_online();
    check_elsewhere((const char *[]){ "anna/labs/killed-writer/inner" }, 1);
}

/* Another host takes a name that drafts here have as well. */
TEST(opdraft__a_rebase_makes_drafts_anew)
{
    struct mount_bed other;
    struct who who = who_of(OWNER_UID);
    struct names_seen names;
    struct node_attr attr;
    size_t conflicts = 0;
    uint64_t mine;
    UNUSED_STATE;

    mount_open(&other, &bed, "host2", VAULT_OWNERSHIP_GRANTS);
    mount_login(&other, OWNER_UID, &bed.realm.owner);
    go_offline();
    mine = make_dir(OWNER_UID, root_of(&m), "taken");
    make_dir(WRITER_UID, mine, "below");
    make_dir(OWNER_UID, root_of(&m), "beside");
    CHECK_EQ(node_mkdir(other.v, &who, root_of(&other), view_text("taken"), 0755, &attr), 0);
    mount_close(&m); /* signed by now */
    mount_open(&m, &bed, "host1", VAULT_OWNERSHIP_GRANTS);
    mount_login(&m, OWNER_UID, &bed.realm.owner);
    mount_login(&m, WRITER_UID, &bed.realm.writer);
    make_dir(OWNER_UID, mine, "later"); /* a draft behind signed ops */
    CHECK(count_drafts() > 0);
    bed_start(&bed);
    for (int i = 0; i < 10; i++)
        if (mount_sync(&other).ops == 0)
            break;
    for (int i = 0; i < 200 && !link_is_up(vault_get_link(m.v)); i++)
        bed_sleep_ms(10);
    for (int i = 0; i < 20 && mount_sync(&m).ops > 0; i++)
        continue;
    CHECK_EQ(count_drafts(), 0);
    list_dir(&m, OWNER_UID, root_of(&m), &names);
    for (size_t i = 0; i < names.count; i++)
        conflicts += strstr(names.names[i], "taken (conflict ") != NULL;
    CHECK_EQ(conflicts, 1);
    for (int i = 0; i < 300 && walk(&other, OWNER_UID, "anna/labs/beside") == 0; i++)
        bed_sleep_ms(10);
    CHECK(walk(&other, OWNER_UID, "anna/labs/beside") != 0);
    mount_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(opdraft__one_signature_holds_for_many_changes),
        UNIT(opdraft__a_file_that_comes_and_goes_takes_two_ops),
        UNIT(opdraft__writers_in_turn_keep_their_order),
        UNIT(opdraft__who_leaves_has_signed),
        UNIT(opdraft__a_kill_before_the_signature_loses_nothing),
        UNIT(opdraft__a_rebase_makes_drafts_anew),
    };

    if (secret_arena_open() < 0)
        return 1;
    if (getenv("PHR_TEST_DEBUG"))
        log_open("test", LOG_LEVEL_DEBUG);
    return cmocka_run_group_tests(tests, setup, teardown);
}
