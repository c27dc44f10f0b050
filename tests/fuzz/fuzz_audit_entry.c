#include "fuzz.h"

#include "format/leaf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[AUDIT_ENTRY_BYTES];
    struct audit_entry e;

    if (audit_entry_decode(view_of(data, size), &e) < 0)
        return 0;
    audit_entry_encode(&e, again);
    fuzz_expect_same(view_of(again, sizeof again), view_of(data, size), 0);
    return 0;
}
