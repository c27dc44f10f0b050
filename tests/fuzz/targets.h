/* Which samples each fuzz target starts from. */
#ifndef PHR_TESTS_FUZZ_TARGETS_H
#define PHR_TESTS_FUZZ_TARGETS_H

#include <stddef.h>

struct target_seed {
    const char *target;
    const char *sample;
    int lead; /* a first byte before the sample, or -1 */
};
extern const struct target_seed target_seeds[];
extern const size_t target_seed_count;

#endif
