/* The few words in which unit tests speak; cmocka beneath. */
#ifndef PHR_TESTS_UNIT_CHECK_H
#define PHR_TESTS_UNIT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/secret.h"

#define CHECK(x) assert_true(x)
#define CHECK_EQ(a, b) assert_int_equal((a), (b))
#define CHECK_BYTES(a, b, n) assert_memory_equal((a), (b), (n))
#define TEST(name) static void name(void **cmocka_state_)
#define UNIT(name) cmocka_unit_test(name)
#define UNUSED_STATE (void)cmocka_state_

/* For main(): the arena first, then the group. */
#define RUN_TESTS(tests)                                                                   \
    (secret_arena_open() < 0 ? 1 : cmocka_run_group_tests((tests), NULL, NULL))

#endif
