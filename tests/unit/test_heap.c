/* Memory that is free between what stays goes back to the kernel. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool has_own_heap = true; /* the sanitizer's, which keeps what is freed */
#else
static const bool has_own_heap = false;
#endif

static long resident_kib(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    long kib = -1;

    CHECK(f != NULL);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    fclose(f);
    return kib;
}

TEST(heap__much_that_is_free_goes_back)
{
    enum { COUNT = 8192, BYTES = 8192, KEPT_EVERY = 16 };
    static void *all[COUNT];
    long full;
    UNUSED_STATE;

    for (size_t i = 0; i < COUNT; i++) {
        all[i] = malloc(BYTES);
        CHECK(all[i] != NULL);
        memset(all[i], 1, BYTES);
    }
    full = resident_kib();
    for (size_t i = 0; i < COUNT; i++)
        if (i % KEPT_EVERY != 0)
            free(all[i]);
    heap_trim();
    if (!has_own_heap)
        CHECK(resident_kib() < full - COUNT * (BYTES / 1024) / 2);
    for (size_t i = 0; i < COUNT; i += KEPT_EVERY) {
        CHECK_EQ(((const char *)all[i])[BYTES - 1], 1);
        free(all[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(heap__much_that_is_free_goes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
