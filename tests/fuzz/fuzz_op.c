#include "fuzz.h"

#include "format/op.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    struct op o;

    if (op_decode(view_of(data, size), &o) < 0)
        return 0;
    writer_init(&again);
    INVARIANT(op_encode(&o, &again) == 0);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 0);
    op_fini(&o);
    return 0;
}
