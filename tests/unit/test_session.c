/* Two people on one mount: what grants give, what revocation and logout take. */
#include "vault_fixture.h"

#include "base/log.h"
#include "fake_contents.h"
#include "vault/content.h"
#include "vault/lease_inside.h"

enum { OWNER_UID = 1000, READER_UID = 2000, STRANGER_UID = 3000 };

static struct bed bed;
static struct mount_bed m;

static int setup(void **state)
{
    (void)state;
    bed_with_mount(&bed, &m, VAULT_OWNERSHIP_GRANTS, OWNER_UID);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return bed_end(&bed, &m);
}

static uint64_t wait_for_path(uint32_t uid, const char *path, bool there)
{
    uint64_t nodeid = 0;

    for (int i = 0; i < 300; i++) {
        nodeid = walk(&m, uid, path);
        if ((nodeid != 0) == there)
            break;
        bed_sleep_ms(10);
    }
    return nodeid;
}

TEST(session__a_reader_sees_and_opens_what_was_granted)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    struct names_seen seen;
    struct node_attr attr;
    struct who who = who_of(READER_UID);
    struct file *f;
    uint64_t file;
    UNUSED_STATE;

    file = create(&m, OWNER_UID, root, "result.txt");
    CHECK_EQ(fake_contents_seal(m.v, file, 10), 0);
    CHECK_EQ(mount_sync(&m).ops, 0);
    mount_login(&m, READER_UID, &bed.realm.reader);
    CHECK_EQ(list_dir(&m, READER_UID, VAULT_ROOT_NODE, &seen), 2); /* nothing granted yet */
    /* The owner's directory can be named, and the ACL (checked by the kernel) and the open refuse. */
    CHECK_EQ(lookup(&m, READER_UID, root, "result.txt", &attr), -EACCES);
    CHECK_EQ(open_file(&m, READER_UID, file, O_RDONLY, &f), -EACCES);

    bed_grant(&bed, &bed.realm.reader, GRANT_R);
    CHECK_EQ(wait_for_path(READER_UID, "anna/labs/result.txt", true), file);
    CHECK_EQ(list_dir(&m, READER_UID, VAULT_ROOT_NODE, &seen), 3);
    CHECK_EQ(open_file(&m, READER_UID, file, O_RDONLY, &f), 0);
    CHECK_EQ(access_check(file_get_access(f)), 0);
    file_release(f);
    CHECK_EQ(open_file(&m, READER_UID, file, O_RDWR, &f), -EACCES);
    CHECK_EQ(node_mkdir(m.v, &who, root, view_text("no"), 0755, &attr), -EACCES);
    /* A second open needs nobody: the lease holds. */
    int opens = atomic_load(&bed.opens);

    CHECK_EQ(open_file(&m, READER_UID, file, O_RDONLY, &f), 0);
    CHECK_EQ(atomic_load(&bed.opens), opens);
    file_release(f);
}

TEST(session__a_file_not_in_the_ledger_yet_is_committed_before_it_is_asked_for)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    uint64_t file = create(&m, OWNER_UID, root, "fresh");
    struct file *f;
    UNUSED_STATE;

    CHECK_EQ(open_file(&m, READER_UID, file, O_RDONLY, &f), 0);
    file_release(f);
}

TEST(session__the_third_file_of_a_folder_asks_ahead)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    struct who who = who_of(OWNER_UID);
    struct node_attr dir;
    uint64_t files[8];
    struct file *f;
    int opens;
    UNUSED_STATE;

    CHECK_EQ(node_mkdir(m.v, &who, root, view_text("series"), 0755, &dir), 0);
    for (int i = 0; i < 8; i++) {
        char name[16];

        snprintf(name, sizeof name, "img%d", i);
        files[i] = create(&m, OWNER_UID, dir.nodeid, name);
    }
    CHECK_EQ(mount_sync(&m).ops, 0);
    opens = atomic_load(&bed.opens);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(open_file(&m, READER_UID, files[i], O_RDONLY, &f), 0);
        file_release(f);
    }
    CHECK_EQ(atomic_load(&bed.opens) - opens, 3);
}

/* How many of these files' keys are in memory, opened. */
static int count_opened(void)
{
    int n = 0;

    nsdb_lock(m.v->db);
    for (struct held *h = m.v->lease->oldest; h; h = h->newer)
        n += h->keys && h->keys->is_released;
    nsdb_unlock(m.v->db);
    return n;
}

TEST(session__a_long_series_is_released_and_opened_while_it_is_read)
{
    enum { FILES = 100, ASKS = 2 + 1 + 2 }; /* 1, 1, 16, 32, and the last 50 */
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    struct who who = who_of(OWNER_UID);
    int before = count_opened();
    struct node_attr dir;
    uint64_t files[FILES];
    struct file *f;
    int opens;
    UNUSED_STATE;

    CHECK_EQ(node_mkdir(m.v, &who, root, view_text("long"), 0755, &dir), 0);
    for (int i = 0; i < FILES; i++) {
        char name[16];

        snprintf(name, sizeof name, "img%03d", i);
        files[i] = create(&m, OWNER_UID, dir.nodeid, name);
    }
    CHECK_EQ(mount_sync(&m).ops, 0);
    opens = atomic_load(&bed.opens);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(open_file(&m, READER_UID, files[i], O_RDONLY, &f), 0);
        file_release(f);
    }
    for (int i = 0; i < 500 && count_opened() < before + FILES; i++)
        bed_sleep_ms(10);
    CHECK_EQ(count_opened(), before + FILES);
    for (int i = 3; i < FILES; i++) {
        CHECK_EQ(open_file(&m, READER_UID, files[i], O_RDONLY, &f), 0);
        file_release(f);
    }
    CHECK_EQ(atomic_load(&bed.opens) - opens, ASKS);
}

TEST(session__acls_say_what_grants_give)
{
    uint64_t root = walk(&m, OWNER_UID, "anna/labs");
    uint64_t file = walk(&m, OWNER_UID, "anna/labs/result.txt");
    struct who who = who_of(STRANGER_UID);
    struct node_attr attr;
    struct writer acl;
    struct reader r;
    UNUSED_STATE;

    writer_init(&acl);
    CHECK_EQ(node_getxattr(m.v, &who, root, view_text("system.posix_acl_access"), &acl), 0);
    r = reader_over(writer_done(&acl));
    CHECK_EQ(reader_u32(&r), 2);
    CHECK_EQ(reader_u16(&r), 0x01);
    CHECK_EQ(reader_u16(&r), 7);
    (void)reader_u32(&r);
    CHECK_EQ(reader_u16(&r), 0x02);
    CHECK_EQ(reader_u16(&r), 7);
    CHECK_EQ(reader_u32(&r), OWNER_UID);
    CHECK_EQ(reader_u16(&r), 0x02);
    CHECK_EQ(reader_u16(&r), 5);
    CHECK_EQ(reader_u32(&r), READER_UID);
    CHECK_EQ(reader_u16(&r), 0x04);
    CHECK_EQ(reader_u16(&r), 0);
    (void)reader_u32(&r);
    CHECK_EQ(reader_u16(&r), 0x10);
    CHECK_EQ(reader_u16(&r), 7);
    (void)reader_u32(&r);
    CHECK_EQ(reader_u16(&r), 0x20);
    CHECK_EQ(reader_u16(&r), 0);
    (void)reader_u32(&r);
    CHECK(reader_done(&r));
    writer_fini(&acl);
    CHECK_EQ(node_getattr(m.v, &who, file, &attr), 0); /* the node, so that the kernel can refuse */
    CHECK_EQ(attr.st.st_mode & 0777, 0660);
    CHECK_EQ(node_setxattr(m.v, &who, file, view_text("system.posix_acl_access"), view_text("x"), 0), -EPERM);
}

TEST(session__revoke_cuts_off_at_once)
{
    uint64_t file = walk(&m, OWNER_UID, "anna/labs/result.txt");
    struct id16 grant;
    struct node_attr attr;
    struct file *f;
    struct file *own;
    int nodes;
    UNUSED_STATE;

    mount_login(&m, STRANGER_UID, &bed.realm.writer);
    grant = bed_grant(&bed, &bed.realm.writer, GRANT_RW);
    CHECK_EQ(wait_for_path(STRANGER_UID, "anna/labs/result.txt", true), file);
    CHECK_EQ(open_file(&m, STRANGER_UID, file, O_RDWR, &f), 0);
    CHECK_EQ(open_file(&m, OWNER_UID, file, O_RDONLY, &own), 0);
    nodes = atomic_load(&m.inval_nodes);
    bed_revoke(&bed, &grant);
    for (int i = 0; i < 300 && access_check(file_get_access(f)) == 0; i++)
        bed_sleep_ms(10);
    CHECK_EQ(access_check(file_get_access(f)), -EACCES);
    for (int i = 0; i < 100 && atomic_load(&m.inval_nodes) < nodes + 2; i++)
        bed_sleep_ms(10);
    CHECK(atomic_load(&m.inval_nodes) >= nodes + 2); /* written back before, dropped after */
    /* Somebody else has it open: retired, or his reads would refill what the other can read. */
    for (int i = 0; i < 100 && access_check(file_get_access(own)) == 0; i++)
        bed_sleep_ms(10);
    CHECK_EQ(access_check(file_get_access(own)), -ESTALE);
    CHECK_EQ(lookup(&m, OWNER_UID, walk(&m, OWNER_UID, "anna/labs"), "result.txt", &attr), 0);
    CHECK(attr.nodeid != file);
    file_release(own);
    CHECK_EQ(open_file(&m, OWNER_UID, attr.nodeid, O_RDONLY, &own), 0);
    file_release(own);
    file_release(f);
    CHECK_EQ(open_file(&m, STRANGER_UID, attr.nodeid, O_RDONLY, &f), -EACCES);
}

TEST(session__a_writer_with_a_grant_creates_and_its_ops_are_taken)
{
    struct id16 grant = bed_grant(&bed, &bed.realm.writer, GRANT_RW);
    uint64_t root;
    uint64_t file;
    struct vault_backlog left;
    UNUSED_STATE;

    root = wait_for_path(STRANGER_UID, "anna/labs", true);
    CHECK(root != 0);
    for (int i = 0; i < 200; i++) { /* until the names key is there */
        struct who who = who_of(STRANGER_UID);
        struct dir *d;

        if (node_opendir(m.v, &who, root, &d) == 0) {
            node_releasedir(d);
            break;
        }
        bed_sleep_ms(10);
    }
    file = create(&m, STRANGER_UID, root, "from.lab");
    CHECK_EQ(fake_contents_seal(m.v, file, 7), 0);
    left = mount_sync(&m);
    CHECK_EQ(left.ops, 0);
    CHECK_EQ(left.parked, 0);
    bed_revoke(&bed, &grant);
}

/* The SRS of this process takes and wipes secrets of its own: the least of half a second counts. */
static size_t least_used(void)
{
    size_t least = secret_used_bytes();

    for (int i = 0; i < 50; i++) {
        bed_sleep_ms(10);
        if (secret_used_bytes() < least)
            least = secret_used_bytes();
    }
    return least;
}

TEST(session__logout_leaves_no_secret)
{
    uint32_t unsealed;
    size_t before = 0;
    struct file *f;
    uint64_t file = walk(&m, OWNER_UID, "anna/labs/result.txt");
    UNUSED_STATE;

    CHECK_EQ(vault_logout(m.v, READER_UID, &unsealed), 0);
    for (int i = 0; i < 3; i++) { /* the SRS of this process makes itself at home in the first round */
        before = i == 1 ? least_used() : before;
        mount_login(&m, READER_UID, &bed.realm.reader);
        CHECK_EQ(open_file(&m, READER_UID, file, O_RDONLY, &f), 0);
        file_release(f);
        CHECK(secret_used_bytes() > before);
        CHECK_EQ(vault_logout(m.v, READER_UID, &unsealed), 0);
    }
    CHECK_EQ(least_used(), before);
    CHECK_EQ(vault_logout(m.v, READER_UID, &unsealed), PHR_E_LOCKED);
    CHECK_EQ(open_file(&m, READER_UID, file, O_RDONLY, &f), -EACCES);
}

TEST(session__names_of_a_reader_are_there_without_the_server)
{
    struct names_seen seen;
    uint32_t unsealed;
    UNUSED_STATE;

    bed_stop(&bed); /* phrd is away */
    bed_sleep_ms(50);
    mount_login(&m, READER_UID, &bed.realm.reader);
    CHECK(walk(&m, READER_UID, "anna/labs/result.txt") != 0);
    CHECK(list_dir(&m, READER_UID, walk(&m, READER_UID, "anna/labs"), &seen) > 3);
    struct file *f;

    CHECK_EQ(open_file(&m, READER_UID, walk(&m, READER_UID, "anna/labs/result.txt"), O_RDONLY, &f),
             PHR_E_SIDECAR);
    CHECK(create(&m, OWNER_UID, walk(&m, OWNER_UID, "anna/labs"), "offline") != 0);
    CHECK_EQ(vault_logout(m.v, READER_UID, &unsealed), 0);
    bed_start(&bed);
    for (int i = 0; i < 100 && mount_sync(&m).ops > 0; i++)
        bed_sleep_ms(20);
    CHECK_EQ(mount_sync(&m).ops, 0);
}

TEST(session__foreign_anchors_are_refused)
{
    struct keyring *k = bed_keyring(&bed, &bed.realm.reader);
    struct id16 user;
    UNUSED_STATE;

    k->srs_card[20] ^= 1;
    CHECK_EQ(vault_login(m.v, 4000, k, PURPOSE_TREAT, &user), PHR_E_CARD);
    k = bed_keyring(&bed, &bed.realm.reader);
    k->card[20] ^= 1;
    CHECK(vault_login(m.v, 4000, k, PURPOSE_TREAT, &user) < 0);
    CHECK_EQ(vault_login(m.v, OWNER_UID, bed_keyring(&bed, &bed.realm.reader), PURPOSE_TREAT, &user), PHR_E_BUSY);
    /* A keyring that has seen more of a ledger than the server shows, or something else. */
    struct keyring_pin pin = { .patient = bed.realm.patient, .seq = 1000000 };

    k = bed_keyring(&bed, &bed.realm.reader);
    CHECK_EQ(keyring_pin(k, &pin), 0);
    CHECK_EQ(vault_login(m.v, 4000, k, PURPOSE_TREAT, &user), PHR_E_ROLLBACK);
}

TEST(session__status_is_json_with_the_backlog)
{
    char *json = vault_dup_status(m.v, VAULT_UID_ANY);
    char *of_nobody = vault_dup_status(m.v, 59999);

    UNUSED_STATE;
    assert_non_null(of_nobody);
    assert_null(strstr(of_nobody, "labs"));
    free(of_nobody);

    assert_non_null(json);
    assert_non_null(strstr(json, "{\"mount\":{\"ownership\":\"grants\""));
    assert_non_null(strstr(json, "\"pending_ops\":0"));
    assert_non_null(strstr(json, "\"compartment\":\"labs\""));
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(session__a_reader_sees_and_opens_what_was_granted),
        UNIT(session__a_file_not_in_the_ledger_yet_is_committed_before_it_is_asked_for),
        UNIT(session__the_third_file_of_a_folder_asks_ahead),
        UNIT(session__a_long_series_is_released_and_opened_while_it_is_read),
        UNIT(session__acls_say_what_grants_give),
        UNIT(session__revoke_cuts_off_at_once),
        UNIT(session__a_writer_with_a_grant_creates_and_its_ops_are_taken),
        UNIT(session__logout_leaves_no_secret),
        UNIT(session__names_of_a_reader_are_there_without_the_server),
        UNIT(session__foreign_anchors_are_refused),
        UNIT(session__status_is_json_with_the_backlog),
    };

    if (secret_arena_open() < 0)
        return 1;
    if (getenv("PHR_TEST_DEBUG"))
        log_open("test", LOG_LEVEL_DEBUG);
    return cmocka_run_group_tests(tests, setup, teardown);
}
