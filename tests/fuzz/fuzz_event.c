#include "fuzz.h"

#include "format/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    struct event e;

    if (event_decode(view_of(data, size), &e) < 0)
        return 0;
    writer_init(&again);
    INVARIANT(event_encode(&e, &again) == 0);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 0);
    return 0;
}
