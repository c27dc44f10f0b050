#include "fuzz.h"

#include "../golden/samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t page[FOOTER_BYTES];
    struct footer f;

    fuzz_arena_open();
    if (footer_decode(view_of(data, size), &f) < 0)
        return 0;
    INVARIANT(footer_encode(&f, sample_fk(), page) == 0);
    fuzz_expect_same(view_of(page, sizeof page), view_of(data, size), 32);
    ignored(
        footer_check(view_of(data, size), &f, sample_fk())); /* for the reading only */
    return 0;
}
