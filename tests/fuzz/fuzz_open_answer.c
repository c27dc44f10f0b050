#include "fuzz.h"

#include "../golden/samples.h"
#include "format/open_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    scoped(sign_key_free) struct sign_key *key = NULL;
    struct open_answer a;

    fuzz_arena_open();
    if (open_answer_decode(view_of(data, size), &a) < 0)
        return 0;
    key = sample_sign_key();
    writer_init(&again);
    INVARIANT(open_answer_encode(&a, key, &again) == 0);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 64);
    open_answer_fini(&a);
    return 0;
}
