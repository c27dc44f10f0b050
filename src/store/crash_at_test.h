/* For tests: end the process by SIGKILL at the n-th crash point from now on; 0 = never. */
#ifndef PHR_STORE_CRASH_AT_TEST_H
#define PHR_STORE_CRASH_AT_TEST_H

#include <stdint.h>

void crash_arm(uint64_t n);
/* Crash points passed since crash_arm. */
uint64_t crash_count(void);

#endif
