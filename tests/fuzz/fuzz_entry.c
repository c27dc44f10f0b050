#include "fuzz.h"

#include "../golden/samples.h"
#include "format/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    scoped(sign_key_free) struct sign_key *key = NULL;
    struct entry e;

    fuzz_arena_open();
    if (entry_decode(view_of(data, size), &e) < 0)
        return 0;
    key = sample_sign_key();
    writer_init(&again);
    INVARIANT(entry_encode(&e, key, &again) == 0);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 64);
    entry_fini(&e);
    return 0;
}
