/* Names with real sealed rows, an owner alone. */
#include "vault_fixture.h"

#include <sys/xattr.h>

#include "base/log.h"
#include "fake_contents.h"
#include "vault/names.h"
#include "vault/vault_state.h"

enum { OWNER_UID = 1000 };

static struct bed bed;
static struct mount_bed m;

static int setup(void **state)
{
    (void)state;
    bed_with_mount(&bed, &m, VAULT_OWNERSHIP_STORED, OWNER_UID);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return bed_end(&bed, &m);
}

TEST(node__top_levels_show_what_the_session_may_see)
{
    struct names_seen seen;
    struct node_attr attr;
    UNUSED_STATE;

    CHECK_EQ(list_dir(&m, OWNER_UID, VAULT_ROOT_NODE, &seen), 3);
    CHECK(has_name(&seen, "anna"));
    CHECK_EQ(lookup(&m, OWNER_UID, VAULT_ROOT_NODE, "anna", &attr), 0);
    CHECK(attr.is_top);
    CHECK(S_ISDIR(attr.st.st_mode));
    CHECK_EQ(list_dir(&m, OWNER_UID, attr.nodeid, &seen), 3);
    CHECK(has_name(&seen, "labs"));
    CHECK_EQ(lookup(&m, OWNER_UID, VAULT_ROOT_NODE, "bert", &attr), -ENOENT);
    CHECK_EQ(list_dir(&m, 4711, VAULT_ROOT_NODE, &seen), 2);
}

TEST(node__create_mkdir_rename_unlink_work)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    struct who who = who_of(OWNER_UID);
    struct node_attr attr;
    struct names_seen seen;
    uint64_t dir;
    uint64_t file;
    UNUSED_STATE;

    CHECK(root != 0);
    CHECK_EQ(node_mkdir(m.v, &who, root, view_text("2026"), 0755, &attr), 0);
    dir = attr.nodeid;
    CHECK_EQ(attr.st.st_nlink, 2);
    file = create(&m, OWNER_UID, dir, "blood.txt");
    CHECK_EQ(lookup(&m, OWNER_UID, dir, "blood.txt", &attr), 0);
    CHECK_EQ(attr.nodeid, file);
    CHECK_EQ(attr.st.st_mode, S_IFREG | 0644);
    CHECK_EQ(attr.st.st_uid, OWNER_UID);
    CHECK_EQ(node_getattr(m.v, &who, root, &attr), 0);
    CHECK_EQ(attr.st.st_nlink, 3);
    CHECK_EQ(node_rmdir(m.v, &who, root, view_text("2026")), -ENOTEMPTY);
    CHECK_EQ(node_rename(m.v, &who, dir, view_text("blood.txt"), root, view_text("b.txt"), 0), 0);
    CHECK_EQ(walk(&m, OWNER_UID, "anna/labs/b.txt"), file);
    CHECK_EQ(walk(&m, OWNER_UID, "anna/labs/2026/blood.txt"), 0);
    CHECK_EQ(node_link(m.v, &who, file, dir, view_text("hard"), &attr), 0);
    CHECK_EQ(attr.st.st_nlink, 2);
    CHECK_EQ(node_unlink(m.v, &who, root, view_text("b.txt")), 0);
    CHECK_EQ(node_getattr(m.v, &who, file, &attr), 0);
    CHECK_EQ(attr.st.st_nlink, 1);
    CHECK_EQ(node_unlink(m.v, &who, dir, view_text("hard")), 0);
    CHECK_EQ(node_rmdir(m.v, &who, root, view_text("2026")), 0);
    CHECK_EQ(list_dir(&m, OWNER_UID, root, &seen), 2);
}

TEST(node__everything_reaches_the_ledger_and_another_host)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    struct who who = who_of(OWNER_UID);
    struct vault_backlog left;
    struct mount_bed other;
    struct node_attr attr;
    struct names_seen seen;
    uint64_t file;
    UNUSED_STATE;

    CHECK_EQ(node_mkdir(m.v, &who, root, view_text("d"), 0750, &attr), 0);
    file = create(&m, OWNER_UID, attr.nodeid, "f");
    create(&m, OWNER_UID, attr.nodeid, "unsealed");
    CHECK_EQ(node_symlink(m.v, &who, root, view_text("s"), view_text("d/f"), &attr), 0);
    CHECK_EQ(fake_contents_seal(m.v, file, 4711), 0);
    left = mount_sync(&m);
    CHECK_EQ(left.ops, 0);
    CHECK_EQ(left.parked, 0);

    mount_open(&other, &bed, "host2", VAULT_OWNERSHIP_STORED);
    mount_login(&other, OWNER_UID, &bed.realm.owner);
    root = walk(&other, OWNER_UID, "anna/labs");
    CHECK(root != 0);
    CHECK_EQ(lookup(&other, OWNER_UID, root, "d", &attr), 0);
    CHECK_EQ(attr.st.st_mode, S_IFDIR | 0750);
    CHECK_EQ(list_dir(&other, OWNER_UID, attr.nodeid, &seen), 3); /* the unsealed one is not shown */
    CHECK_EQ(lookup(&other, OWNER_UID, attr.nodeid, "f", &attr), 0);
    CHECK_EQ(attr.st.st_size, 4711);
    CHECK_EQ(lookup(&other, OWNER_UID, root, "s", &attr), 0);
    CHECK(S_ISLNK(attr.st.st_mode));
    mount_close(&other);
}

/* TOUCH-1: looked at once, a file that is not sealed is left alone until it is. */
TEST(node__times_of_an_unsealed_file_go_with_its_seal)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    uint64_t file = create(&m, OWNER_UID, root, "late");
    struct who who = who_of(OWNER_UID);
    struct mount_bed other;
    struct node_attr here;
    struct node_attr there;
    UNUSED_STATE;

    nanosleep(&(struct timespec){ .tv_nsec = 30 * 1000 * 1000 }, NULL); /* a tick of the coarse clock */
    CHECK_EQ(node_link(m.v, &who, file, root, view_text("later"), &here), 0);
    CHECK_EQ(touch_sign(m.v), 0);
    CHECK_EQ(touch_sign(m.v), 0);
    CHECK_EQ(fake_contents_seal(m.v, file, 1), 0);
    CHECK_EQ(mount_sync(&m).ops, 0);
    CHECK_EQ(node_getattr(m.v, &who, file, &here), 0);

    mount_open(&other, &bed, "host2", VAULT_OWNERSHIP_STORED);
    mount_login(&other, OWNER_UID, &bed.realm.owner);
    CHECK(walk(&other, OWNER_UID, "anna/labs/later") != 0);
    CHECK_EQ(node_getattr(other.v, &who, walk(&other, OWNER_UID, "anna/labs/late"), &there), 0);
    CHECK_EQ(there.st.st_ctim.tv_sec, here.st.st_ctim.tv_sec);
    CHECK_EQ(there.st.st_ctim.tv_nsec, here.st.st_ctim.tv_nsec);
    mount_close(&other);
}

/* What a session leaves unsigned would wait for its next login, and stand before what others change. */
TEST(node__a_logout_signs_all_attributes)
{
    enum { FILES = 1100 }; /* more than are signed at a time */
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    struct who who = who_of(OWNER_UID);
    struct node_change c = { .set = NODE_SET_MODE, .mode = 0600 };
    uint64_t files[FILES];
    struct node_attr attr;
    uint32_t unsealed;
    uint64_t left;
    size_t n;
    char name[16];
    UNUSED_STATE;

    for (size_t i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "many-%zu", i);
        files[i] = create(&m, OWNER_UID, root, name);
    }
    for (size_t i = 0; i < FILES; i++)
        CHECK_EQ(node_setattr(m.v, &who, files[i], &c, NULL, &attr), 0);
    CHECK_EQ(vault_logout(m.v, OWNER_UID, &unsealed), 0);
    nsdb_lock(m.v->db);
    CHECK_EQ(nsdb_inode_list_dirty(m.v->db, 0, &left, 1, &n), 0);
    nsdb_unlock(m.v->db);
    CHECK_EQ(n, 0);
    mount_login(&m, OWNER_UID, &bed.realm.owner);
}

TEST(node__attributes_change_and_stay_over_a_restart)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    uint64_t file = create(&m, OWNER_UID, root, "attrs");
    struct who who = who_of(OWNER_UID);
    struct node_change c = { .set = NODE_SET_MODE | NODE_SET_MTIME, .mode = 0600 };
    struct node_attr attr;
    struct writer out;
    UNUSED_STATE;

    c.mtime.tv_sec = 12345;
    CHECK_EQ(node_setattr(m.v, &who, file, &c, NULL, &attr), 0);
    CHECK_EQ(attr.st.st_mode, S_IFREG | 0600);
    CHECK_EQ(attr.st.st_mtim.tv_sec, 12345);
    CHECK_EQ(node_setxattr(m.v, &who, file, view_text("user.note"), view_text("hello"), 0), 0);
    CHECK_EQ(node_setxattr(m.v, &who, file, view_text("user.note"), view_text("x"), XATTR_CREATE), -EEXIST);
    mount_close(&m);
    mount_open(&m, &bed, "host1", VAULT_OWNERSHIP_STORED);
    mount_login(&m, OWNER_UID, &bed.realm.owner);
    file = walk(&m, OWNER_UID, "anna/labs/attrs");
    CHECK(file != 0);
    CHECK_EQ(node_getattr(m.v, &who, file, &attr), 0);
    CHECK_EQ(attr.st.st_mode, S_IFREG | 0600);
    writer_init(&out);
    CHECK_EQ(node_getxattr(m.v, &who, file, view_text("user.note"), &out), 0);
    CHECK(view_equal(writer_done(&out), view_text("hello")));
    writer_fini(&out);
    CHECK_EQ(node_removexattr(m.v, &who, file, view_text("user.note")), 0);
    writer_init(&out);
    CHECK_EQ(node_getxattr(m.v, &who, file, view_text("user.note"), &out), -ENODATA);
    writer_fini(&out);
    CHECK_EQ(node_unlink(m.v, &who, walk(&m, OWNER_UID, "anna/labs"), view_text("attrs")), 0);
    CHECK_EQ(mount_sync(&m).ops, 0);
}

TEST(node__an_unlinked_open_file_goes_on)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    struct who who = who_of(OWNER_UID);
    struct node_attr attr;
    struct file *f;
    struct file *again;
    struct node_change c = { .set = NODE_SET_MODE, .mode = 0400 };
    UNUSED_STATE;

    CHECK_EQ(node_create(m.v, &who, root, view_text("tmp"), 0644, O_RDWR, &attr, &f), 0);
    CHECK_EQ(node_unlink(m.v, &who, root, view_text("tmp")), 0);
    CHECK_EQ(walk(&m, OWNER_UID, "anna/labs/tmp"), 0);
    CHECK_EQ(node_setattr(m.v, &who, attr.nodeid, &c, NULL, &attr), 0);
    CHECK_EQ(attr.st.st_nlink, 0);
    CHECK_EQ(attr.st.st_mode, S_IFREG | 0400);
    CHECK_EQ(open_file(&m, OWNER_UID, attr.nodeid, O_RDONLY, &again), 0);
    file_release(again);
    node_forget(m.v, attr.nodeid, 1);
    CHECK_EQ(node_getattr(m.v, &who, attr.nodeid, &attr), 0);
    file_release(f);
    CHECK_EQ(node_getattr(m.v, &who, attr.nodeid, &attr), -ESTALE);
    CHECK_EQ(mount_sync(&m).ops, 0);
}

TEST(node__exchange_and_noreplace)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    struct who who = who_of(OWNER_UID);
    uint64_t a = create(&m, OWNER_UID, root, "a");
    uint64_t b = create(&m, OWNER_UID, root, "b");
    UNUSED_STATE;

    CHECK_EQ(node_rename(m.v, &who, root, view_text("a"), root, view_text("b"), 1), -EEXIST);
    CHECK_EQ(node_rename(m.v, &who, root, view_text("a"), root, view_text("b"), 2), 0);
    CHECK_EQ(walk(&m, OWNER_UID, "anna/labs/a"), b);
    CHECK_EQ(walk(&m, OWNER_UID, "anna/labs/b"), a);
    CHECK_EQ(node_rename(m.v, &who, root, view_text("a"), root, view_text("b"), 4), -EINVAL);
    CHECK_EQ(node_rename(m.v, &who, root, view_text("a"), root, view_text("b"), 0), 0);
    CHECK_EQ(walk(&m, OWNER_UID, "anna/labs/b"), b);
    CHECK_EQ(walk(&m, OWNER_UID, "anna/labs/a"), 0);
    CHECK_EQ(node_unlink(m.v, &who, root, view_text("b")), 0);
    CHECK_EQ(mount_sync(&m).ops, 0);
}

/* ---- many random operations beside a model in memory ---- */

enum { MODEL_NAMES = 12, MODEL_STEPS = 600 };

struct model {
    uint64_t nodeid[MODEL_NAMES]; /* 0: no such name */
    bool is_dir[MODEL_NAMES];
};

static void check_model(uint64_t dir, const struct model *model)
{
    struct names_seen seen;
    size_t want = 2;

    list_dir(&m, OWNER_UID, dir, &seen);
    for (int i = 0; i < MODEL_NAMES; i++) {
        char name[16];
        struct node_attr attr;

        snprintf(name, sizeof name, "n%d", i);
        CHECK_EQ(has_name(&seen, name), model->nodeid[i] != 0);
        CHECK_EQ(lookup(&m, OWNER_UID, dir, name, &attr), model->nodeid[i] ? 0 : -ENOENT);
        if (model->nodeid[i]) {
            CHECK_EQ(attr.nodeid, model->nodeid[i]);
            want++;
        }
    }
    CHECK_EQ(seen.count, want);
}

static void step(uint64_t dir, struct model *model, unsigned dice)
{
    struct who who = who_of(OWNER_UID);
    struct node_attr attr;
    char from[16];
    char to[16];
    unsigned i = dice % MODEL_NAMES;
    unsigned j = (dice / 16) % MODEL_NAMES;
    int rc;

    snprintf(from, sizeof from, "n%u", i);
    snprintf(to, sizeof to, "n%u", j);
    switch ((dice / 256) % 5) {
    case 0:
        rc = node_mknod(m.v, &who, dir, view_text(from), S_IFREG | 0644, &attr);
        CHECK_EQ(rc, model->nodeid[i] ? -EEXIST : 0);
        if (rc == 0) {
            model->nodeid[i] = attr.nodeid;
            model->is_dir[i] = false;
        }
        break;
    case 1:
        rc = node_mkdir(m.v, &who, dir, view_text(from), 0755, &attr);
        CHECK_EQ(rc, model->nodeid[i] ? -EEXIST : 0);
        if (rc == 0) {
            model->nodeid[i] = attr.nodeid;
            model->is_dir[i] = true;
        }
        break;
    case 2:
        rc = node_unlink(m.v, &who, dir, view_text(from));
        CHECK_EQ(rc, !model->nodeid[i] ? -ENOENT : model->is_dir[i] ? -EISDIR : 0);
        if (rc == 0)
            model->nodeid[i] = 0;
        break;
    case 3:
        rc = node_rmdir(m.v, &who, dir, view_text(from));
        CHECK_EQ(rc, !model->nodeid[i] ? -ENOENT : !model->is_dir[i] ? -ENOTDIR : 0);
        if (rc == 0)
            model->nodeid[i] = 0;
        break;
    default:
        rc = node_rename(m.v, &who, dir, view_text(from), dir, view_text(to), 0);
        if (!model->nodeid[i]) {
            CHECK_EQ(rc, -ENOENT);
        } else if (i == j) {
            CHECK_EQ(rc, 0);
        } else if (model->nodeid[j] && model->is_dir[i] != model->is_dir[j]) {
            CHECK_EQ(rc, model->is_dir[i] ? -ENOTDIR : -EISDIR);
        } else {
            CHECK_EQ(rc, 0);
            model->nodeid[j] = model->nodeid[i];
            model->is_dir[j] = model->is_dir[i];
            model->nodeid[i] = 0;
        }
        break;
    }
}

TEST(node__random_operations_agree_with_a_model)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    struct who who = who_of(OWNER_UID);
    struct model model = { { 0 }, { false } };
    struct node_attr attr;
    struct mount_bed other;
    uint32_t seed = 20260131;
    UNUSED_STATE;

    CHECK_EQ(node_mkdir(m.v, &who, root, view_text("model"), 0755, &attr), 0);
    for (int i = 0; i < MODEL_STEPS; i++) {
        seed = seed * 1664525u + 1013904223u;
        step(attr.nodeid, &model, seed >> 8);
        if (i % 50 == 0)
            check_model(attr.nodeid, &model);
    }
    check_model(attr.nodeid, &model);
    for (int i = 0; i < MODEL_NAMES; i++)
        if (model.nodeid[i] && !model.is_dir[i])
            CHECK_EQ(fake_contents_seal(m.v, model.nodeid[i], 1), 0);
    CHECK_EQ(mount_sync(&m).ops, 0);
    /* The same from the ledger alone. */
    mount_open(&other, &bed, "host3", VAULT_OWNERSHIP_STORED);
    mount_login(&other, OWNER_UID, &bed.realm.owner);
    for (int i = 0; i < MODEL_NAMES; i++) {
        char path[64];

        snprintf(path, sizeof path, "anna/labs/model/n%d", i);
        CHECK_EQ(walk(&other, OWNER_UID, path) != 0, model.nodeid[i] != 0);
    }
    mount_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(node__top_levels_show_what_the_session_may_see),
        UNIT(node__create_mkdir_rename_unlink_work),
        UNIT(node__everything_reaches_the_ledger_and_another_host),
        UNIT(node__times_of_an_unsealed_file_go_with_its_seal),
        UNIT(node__a_logout_signs_all_attributes),
        UNIT(node__attributes_change_and_stay_over_a_restart),
        UNIT(node__an_unlinked_open_file_goes_on),
        UNIT(node__exchange_and_noreplace),
        UNIT(node__random_operations_agree_with_a_model),
    };

    if (secret_arena_open() < 0)
        return 1;
    if (getenv("PHR_TEST_DEBUG"))
        log_open("test", LOG_LEVEL_DEBUG);
    return cmocka_run_group_tests(tests, setup, teardown);
}
