#include "fuzz.h"

#include "format/row_seal_test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    struct dentry d;

    if (dentry_plain_decode(view_of(data, size), &d) < 0)
        return 0;
    writer_init(&again);
    dentry_plain_encode(&d, &again);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 0);
    return 0;
}
