#include "fuzz.h"

#include "format/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    scoped(free) struct manifest_entry *entries = NULL;
    size_t count;

    if (manifest_decode(view_of(data, size), &entries, &count) < 0)
        return 0;
    writer_init(&again);
    manifest_encode(entries, count, &again);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 0);
    manifest_root(view_of(data, size));
    return 0;
}
