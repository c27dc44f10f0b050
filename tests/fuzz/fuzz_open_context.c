#include "fuzz.h"

#include "format/open_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    struct open_context c;

    if (open_context_decode(view_of(data, size), &c) < 0)
        return 0;
    writer_init(&again);
    open_context_encode(&c, &again);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 0);
    return 0;
}
