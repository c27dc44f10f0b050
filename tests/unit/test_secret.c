#include "check.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

TEST(secret__is_wiped_before_its_slot_is_used_again)
{
    uint8_t *first = secret_alloc(32);
    size_t used = secret_used_bytes();

    UNUSED_STATE;
    CHECK(first != NULL);
    memset(first, 0xaa, 32);
    secret_free(first);
    CHECK_EQ(secret_used_bytes(), used - SECRET_SLOT_BYTES);
    for (size_t i = 0; i < 32; i++)
        CHECK_EQ(first[i], 0); /* the arena stays mapped */
}

TEST(secret__gives_null_when_the_arena_is_full)
{
    enum { SLOTS = SECRET_ARENA_BYTES / SECRET_SLOT_BYTES };
    static void *taken[SLOTS + 1];
    size_t before = secret_used_bytes();
    size_t n = 0;

    UNUSED_STATE;
    while (n <= SLOTS && (taken[n] = secret_alloc(SECRET_SLOT_BYTES)) != NULL)
        n++;
    CHECK_EQ(n, SLOTS - before / SECRET_SLOT_BYTES);
    for (size_t i = 0; i < n; i++)
        secret_free(taken[i]);
    CHECK_EQ(secret_used_bytes(), before);
}

TEST(secret__large_ones_take_slots_in_a_row)
{
    uint8_t *large = secret_alloc(10000);
    uint8_t *next = secret_alloc(1);

    UNUSED_STATE;
    CHECK(large != NULL && next != NULL);
    CHECK(next >= large + 10000 || next < large);
    memset(large, 1, 10000);
    CHECK_EQ(next[0], 0);
    secret_free(large);
    secret_free(next);
    CHECK(secret_alloc(SECRET_ARENA_BYTES) == NULL);
}

TEST(secret__process_leaves_no_core)
{
    struct rlimit lim;

    UNUSED_STATE;
    CHECK_EQ(getrlimit(RLIMIT_CORE, &lim), 0);
    CHECK_EQ(lim.rlim_cur, 0);
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(secret__is_wiped_before_its_slot_is_used_again),
        UNIT(secret__gives_null_when_the_arena_is_full),
        UNIT(secret__large_ones_take_slots_in_a_row),
        UNIT(secret__process_leaves_no_core),
    };

    return RUN_TESTS(tests);
}
