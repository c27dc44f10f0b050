#include "fuzz.h"

#include "../golden/samples.h"
#include "crypto/selftest_inputs.h"
#include "format/spool_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer plain = { 0 };
    struct symkey k = sample_key("spool");
    struct id16 host = selftest_inputs_id("host");
    struct digest prev = { { 0 } };
    struct symkey opened;
    struct id16 whose;
    uint64_t no;
    size_t used;

    fuzz_arena_open();
    ignored(spool_header_open(view_of(data, size), sample_scalar("b"), &whose, &no,
                              &opened)); /* mutated ones fail, and that is all */
    writer_init(&plain);
    if (spool_record_open(&k, &host, 1, &prev, view_of(data, size), &used, &plain) < 0) {
        INVARIANT(plain.n == 0);
        return 0;
    }
    INVARIANT(used <= size && plain.n + SPOOL_RECORD_EXTRA_BYTES == used);
    return 0;
}
