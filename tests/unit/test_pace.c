/* When one thread answers all, and when it spins. */
#include "check.h"

#include "mount/pace.h"

enum { US = 1000, MS = 1000 * 1000 };

/* n requests, each so long after the answer to the one before. */
static void ask(struct pace *p, int n, uint64_t gap_ns, bool is_quick, enum pace_wait waited)
{
    for (int i = 0; i < n; i++) {
        pace_asked(p, p->answered_ns + gap_ns, is_quick, waited);
        pace_answered(p, p->answered_ns + gap_ns + 20 * US);
    }
}

TEST(pace__sequels_are_dense_and_a_pause_is_not)
{
    struct pace p;
    UNUSED_STATE;

    pace_init(&p);
    CHECK(!pace_is_close(&p));
    ask(&p, 3, 10 * US, true, PACE_SLEPT);
    CHECK(!pace_is_close(&p));
    ask(&p, 5, 10 * US, true, PACE_SLEPT);
    CHECK(pace_is_close(&p));
    CHECK(pace_is_dense(&p));
    CHECK(pace_may_spin(&p));
    ask(&p, 2, 2 * MS, true, PACE_SLEPT);
    CHECK(pace_is_close(&p));
    CHECK(!pace_is_dense(&p));
    CHECK(!pace_may_spin(&p));
    ask(&p, 5, 500 * (uint64_t)MS, true, PACE_SLEPT);
    CHECK(!pace_is_close(&p));
}

TEST(pace__what_takes_long_goes_from_thread_to_thread)
{
    struct pace p;
    UNUSED_STATE;

    pace_init(&p);
    ask(&p, 100, 10 * US, false, PACE_SLEPT);
    CHECK(!pace_is_close(&p));
    for (int i = 0; i < 20; i++) { /* open, getattr, read, flush, release */
        ask(&p, 4, 10 * US, true, PACE_SLEPT);
        ask(&p, 1, 10 * US, false, PACE_SLEPT);
    }
    ask(&p, 4, 10 * US, true, PACE_SLEPT);
    CHECK(pace_is_close(&p));
}

TEST(pace__what_waits_for_the_disk_is_not_answered_by_one_alone)
{
    struct pace p;
    UNUSED_STATE;

    pace_init(&p);
    ask(&p, 20, 10 * US, true, PACE_SLEPT);
    CHECK(pace_is_close(&p));
    pace_waits(&p);
    CHECK(!pace_is_close(&p));
    CHECK(!pace_may_spin(&p));
    ask(&p, 4, 10 * US, true, PACE_SLEPT);
    CHECK(pace_is_close(&p));
}

TEST(pace__vain_spinning_is_given_up_for_longer_and_longer)
{
    struct pace p;
    int spun = 0;
    UNUSED_STATE;

    pace_init(&p);
    ask(&p, 10, 10 * US, true, PACE_SLEPT);
    for (int i = 0; i < 20000; i++) {
        bool may = pace_may_spin(&p);

        spun += may;
        ask(&p, 1, 60 * US, true, may ? PACE_SPIN_MISS : PACE_SLEPT);
    }
    CHECK(spun < 60);
    while (!pace_may_spin(&p))
        ask(&p, 1, 10 * US, true, PACE_SLEPT);
    ask(&p, 100, 10 * US, true, PACE_SPIN_HIT); /* once it pays it is done on */
    CHECK(pace_may_spin(&p));
    ask(&p, 3, 60 * US, true, PACE_SPIN_MISS);
    CHECK(pace_may_spin(&p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(pace__sequels_are_dense_and_a_pause_is_not),
        UNIT(pace__what_takes_long_goes_from_thread_to_thread),
        UNIT(pace__what_waits_for_the_disk_is_not_answered_by_one_alone),
        UNIT(pace__vain_spinning_is_given_up_for_longer_and_longer),
    };

    return RUN_TESTS(tests);
}
