/* The tests' half of crash.h; never linked into the product (see meson.build). */
#include "store/crash_at_test.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/crash.h"

static _Atomic uint64_t crash_passed;
static _Atomic uint64_t crash_target;
static atomic_flag crash_env_read = ATOMIC_FLAG_INIT;

void crash_arm(uint64_t n)
{
    (void)atomic_flag_test_and_set(&crash_env_read);
    atomic_store(&crash_passed, 0);
    atomic_store(&crash_target, n);
}

uint64_t crash_count(void)
{
    return atomic_load(&crash_passed);
}

void crash_point(void)
{
    if (!atomic_flag_test_and_set(&crash_env_read)) {
        const char *text = getenv("PHR_CRASH_AT");

        if (text)
            atomic_store(&crash_target, strtoull(text, NULL, 10));
    }
    if (atomic_fetch_add(&crash_passed, 1) + 1 == atomic_load(&crash_target))
        kill(getpid(), SIGKILL);
}
