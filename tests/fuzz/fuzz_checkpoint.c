#include "fuzz.h"

#include "../golden/samples.h"
#include "format/leaf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    scoped(sign_key_free) struct sign_key *key = NULL;
    struct verify_key pk;
    struct checkpoint c;

    fuzz_arena_open();
    key = sample_sign_key();
    pk = sign_key_public(key);
    if (checkpoint_check(view_of(data, size), &pk, &c) < 0)
        return 0;
    writer_init(&again);
    INVARIANT(checkpoint_sign(&c, key, &again) == 0);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 0);
    return 0;
}
