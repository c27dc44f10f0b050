/* Keeping up with ledgers while the server is slow: what is said and what is let in meanwhile. */
#include "vault_fixture.h"

#include "fake_contents.h"
#include "ipc/link.h"
#include "vault/content.h"
#include "vault/nsdb_ledger.h"

enum { UID = 1000, A_WHILE_MS = 300 };

static struct bed bed;
static struct mount_bed m;

static int setup(void **state)
{
    (void)state;
    bed_with_mount(&bed, &m, VAULT_OWNERSHIP_GRANTS, UID);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return bed_end(&bed, &m);
}

static uint64_t head_here(void)
{
    struct digest leaf;
    uint64_t seq = 0;

    CHECK_EQ(nsdb_patient_get(vault_get_nsdb(m.v), &bed.realm.patient, &seq, &leaf), 0);
    return seq;
}

static bool rises(const atomic_int *what, int above)
{
    for (int i = 0; i < 500 && atomic_load(what) <= above; i++)
        bed_sleep_ms(10);
    return atomic_load(what) > above;
}

/*
 * A revocation comes while the mount still asks which of its ledgers there are: it is not said to be
 * applied before it is.
 */
TEST(following__nothing_is_applied_before_the_ledgers_here_are_listed)
{
    const uint64_t before = head_here() + 1;
    const struct id16 grant = bed_grant(&bed, &bed.realm.reader, GRANT_R);
    int seen;
    UNUSED_STATE;

    for (int i = 0; i < 300 && head_here() < before; i++)
        bed_sleep_ms(10);
    CHECK_EQ(head_here(), before);
    mount_close(&m);
    bed.watched = bed.realm.patient;
    atomic_store(&bed.watched_applied, 0);
    atomic_store(&bed.holds_lists, 1);
    atomic_store(&bed.holds_fetches, 1);
    seen = atomic_load(&bed.lists);
    mount_open(&m, &bed, "host1", VAULT_OWNERSHIP_GRANTS); /* nobody is logged in */
    CHECK(rises(&bed.lists, seen));
    bed_revoke(&bed, &grant);
    bed_sleep_ms(A_WHILE_MS); /* the mount hears of it */
    seen = atomic_load(&bed.fetches);
    atomic_store(&bed.holds_lists, 0);
    CHECK(rises(&bed.fetches, seen));
    bed_sleep_ms(A_WHILE_MS);
    CHECK_EQ(atomic_load(&bed.watched_applied), 0);
    CHECK_EQ(head_here(), before);
    atomic_store(&bed.holds_fetches, 0);
    CHECK(rises(&bed.watched_applied, 0));
    CHECK_EQ(head_here(), before + 1);
    mount_login(&m, UID, &bed.realm.owner);
}

static int login_pinned(uint64_t seq)
{
    struct keyring *ring = bed_keyring(&bed, &bed.realm.owner);
    const struct keyring_pin pin = { .patient = bed.realm.patient, .seq = seq };
    struct id16 user;

    CHECK_EQ(keyring_pin(ring, &pin), 0);
    return vault_login(m.v, UID + 1, ring, PURPOSE_TREAT, &user);
}

/* The keyring has seen more than the server shows in time: it may be slow, or hide what it has. */
TEST(following__no_login_while_a_pinned_ledger_is_behind)
{
    const uint64_t before = head_here();
    int seen = atomic_load(&bed.fetches);
    UNUSED_STATE;

    atomic_store(&bed.holds_fetches, 1);
    ignored(bed_grant(&bed, &bed.realm.writer, GRANT_RW)); /* its id */
    CHECK(rises(&bed.fetches, seen));
    CHECK_EQ(login_pinned(before + 1), PHR_E_TIMEOUT); /* the server says that there is more */
    mount_close(&m);
    mount_open(&m, &bed, "host1", VAULT_OWNERSHIP_GRANTS);
    for (int i = 0; i < 200 && !link_is_up(vault_get_link(m.v)); i++)
        bed_sleep_ms(10);
    CHECK_EQ(login_pinned(before + 1), PHR_E_TIMEOUT); /* it has said nothing yet: ten seconds */
    CHECK_EQ(head_here(), before);
    atomic_store(&bed.holds_fetches, 0);
    for (int i = 0; i < 1500 && head_here() == before; i++)
        bed_sleep_ms(10);
    CHECK_EQ(head_here(), before + 1);
    CHECK_EQ(login_pinned(before + 1), PHR_E_FORK);     /* this pin's leaf was made up */
    CHECK_EQ(login_pinned(before + 2), PHR_E_ROLLBACK); /* all is fetched, and there is no more */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(following__nothing_is_applied_before_the_ledgers_here_are_listed),
        UNIT(following__no_login_while_a_pinned_ledger_is_behind),
    };

    if (secret_arena_open() < 0)
        return 1;
    return cmocka_run_group_tests(tests, setup, teardown);
}
