#include "check.h"

#include <string.h>

#include "sidecar/applied.h"

static const struct id16 host_a = { { 1 } };
static const struct id16 host_b = { { 2 } };
static const struct id16 patient = { { 9 } };
static const struct id16 other_patient = { { 8 } };

static struct applied *new_applied(void)
{
    struct applied *a = NULL;

    CHECK_EQ(applied_new(&a), 0);
    return a;
}

TEST(applied__is_done_when_every_mount_has_said_so)
{
    scoped(applied_free) struct applied *a = new_applied();

    UNUSED_STATE;
    CHECK(applied_is_done(a, &patient, 5, 1000)); /* nobody holds anything */
    CHECK_EQ(applied_join(a, &host_a, 1, 300, 1000), 0);
    CHECK_EQ(applied_join(a, &host_b, 2, 300, 1000), 0);
    CHECK_EQ(applied_set(a, &host_a, &patient, 5), 0);
    CHECK(!applied_is_done(a, &patient, 5, 1000));
    CHECK_EQ(applied_set(a, &host_b, &other_patient, 50), 0);
    CHECK(!applied_is_done(a, &patient, 5, 1000));
    CHECK_EQ(applied_set(a, &host_b, &patient, 4), 0);
    CHECK(!applied_is_done(a, &patient, 5, 1000));
    CHECK_EQ(applied_set(a, &host_b, &patient, 6), 0);
    CHECK(applied_is_done(a, &patient, 5, 1000));
    CHECK_EQ(applied_set(a, &host_b, &patient, 3), 0); /* late news takes nothing back */
    CHECK(applied_is_done(a, &patient, 6 - 1, 1000));
}

TEST(applied__a_mount_that_went_away_counts_until_its_lease_ends)
{
    scoped(applied_free) struct applied *a = new_applied();
    struct applied_row rows[4];

    UNUSED_STATE;
    CHECK_EQ(applied_join(a, &host_a, 1, 300, 1000), 0);
    applied_leave(a, &host_a, 1, 50000);
    CHECK(!applied_is_done(a, &patient, 5, 349999));
    CHECK_EQ(applied_list(a, &patient, 5, 60000, 60000, rows, 4), 1);
    CHECK(!rows[0].has_applied);
    CHECK(!rows[0].is_connected);
    CHECK(rows[0].cut_off_ms == 350000); /* from when it went, not from the question */
    CHECK(applied_is_done(a, &patient, 5, 350000));
    CHECK_EQ(applied_list(a, &patient, 5, 60000, 350000, rows, 4), 0);
}

TEST(applied__a_connected_mount_is_cut_off_a_lease_after_the_question)
{
    scoped(applied_free) struct applied *a = new_applied();
    struct applied_row rows[4];

    UNUSED_STATE;
    CHECK_EQ(applied_join(a, &host_a, 1, 300, 1000), 0);
    CHECK_EQ(applied_list(a, &patient, 5, 20000, 70000, rows, 4), 1);
    CHECK(rows[0].is_connected);
    CHECK(rows[0].cut_off_ms == 320000);
    applied_leave(a, &host_a, 1, 80000); /* later than the question: no key after it */
    CHECK_EQ(applied_list(a, &patient, 5, 20000, 90000, rows, 4), 1);
    CHECK(rows[0].cut_off_ms == 320000);
}

TEST(applied__coming_back_on_a_new_connection_is_no_leaving)
{
    scoped(applied_free) struct applied *a = new_applied();

    UNUSED_STATE;
    CHECK_EQ(applied_join(a, &host_a, 1, 300, 1000), 0);
    CHECK_EQ(applied_set(a, &host_a, &patient, 5), 0);
    CHECK_EQ(applied_join(a, &host_a, 2, 100, 2000), 0); /* the old one is not noticed yet */
    applied_leave(a, &host_a, 1, 3000);
    CHECK_EQ(applied_connected_count(a), 1);
    CHECK(applied_is_done(a, &patient, 5, 4000)); /* APPLIED-3 */
    applied_leave(a, &host_a, 2, 5000);
    CHECK_EQ(applied_connected_count(a), 0);
    CHECK(!applied_is_done(a, &patient, 6, 304999)); /* the longer lease stands */
    CHECK(applied_is_done(a, &patient, 6, 305000));
}

TEST(applied__forgets_the_oldest_patients_until_they_are_told_again)
{
    scoped(applied_free) struct applied *a = new_applied();
    struct id16 many = { { 9 } };
    UNUSED_STATE;

    CHECK_EQ(applied_join(a, &host_a, 1, 300, 1000), 0);
    CHECK_EQ(applied_set(a, &host_a, &patient, 5), 0);
    for (uint32_t i = 0; i < 2 * APPLIED_PATIENTS_MAX - 1; i++) {
        memcpy(many.b + 4, &i, sizeof i);
        CHECK_EQ(applied_set(a, &host_a, &many, 7), 0);
    }
    CHECK(applied_is_done(a, &many, 7, 1000));
    CHECK(!applied_is_done(a, &patient, 5, 1000));
    CHECK_EQ(applied_set(a, &host_a, &patient, 5), 0);
    CHECK(applied_is_done(a, &patient, 5, 1000));
    CHECK(applied_is_done(a, &many, 7, 1000));
}

TEST(applied__remembers_from_before_a_restart_and_refuses_strangers)
{
    scoped(applied_free) struct applied *a = new_applied();
    struct id16 id = { { 3 } };

    UNUSED_STATE;
    CHECK_EQ(applied_remember(a, &host_a, 300, 0), 0);
    CHECK(!applied_is_done(a, &patient, 1, 299999));
    CHECK(applied_is_done(a, &patient, 1, 300000));
    CHECK_EQ(applied_set(a, &host_b, &patient, 1), PHR_E_PROTOCOL);
    for (unsigned i = 0; i < APPLIED_HOSTS_MAX; i++) {
        id.b[1] = (uint8_t)i;
        id.b[2] = (uint8_t)(i >> 8);
        CHECK_EQ(applied_join(a, &id, i + 1, 10, 300000), 0);
    }
    CHECK_EQ(applied_join(a, &host_b, 5000, 10, 300000), PHR_E_LIMIT);
    applied_leave(a, &id, APPLIED_HOSTS_MAX, 300000);
    CHECK_EQ(applied_join(a, &host_b, 5000, 10, 310000), 0); /* APPLIED-2 made room */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(applied__is_done_when_every_mount_has_said_so),
        UNIT(applied__a_mount_that_went_away_counts_until_its_lease_ends),
        UNIT(applied__a_connected_mount_is_cut_off_a_lease_after_the_question),
        UNIT(applied__coming_back_on_a_new_connection_is_no_leaving),
        UNIT(applied__forgets_the_oldest_patients_until_they_are_told_again),
        UNIT(applied__remembers_from_before_a_restart_and_refuses_strangers),
    };

    return RUN_TESTS(tests);
}
