#include "fuzz.h"

#include "../golden/samples.h"

/* The last bytes are the strip entry, all before is ct. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct seg_geometry geometries[] = {
        { AEAD_GCM, BLOCK_LOG2, SEG_LOG2 },
        { AEAD_XCHACHA, BLOCK_LOG2_MAX, SEG_LOG2 },
    };
    static uint8_t plain[1 << BLOCK_LOG2_MAX];
    const uint8_t salt[SALT_BYTES] = { 0 };

    fuzz_arena_open();
    for (size_t i = 0; i < 2; i++) {
        size_t entry_bytes = strip_entry_bytes(geometries[i].suite);
        const uint8_t *entry;

        if (size < entry_bytes)
            continue;
        entry = data + size - entry_bytes;
        if (block_open_sealed(&geometries[i], sample_fk(), 7, entry,
                              view_of(data, size - entry_bytes), plain) == 0)
            INVARIANT(!strip_entry_is_hole(entry, geometries[i].suite));
    }
    strip_id(salt, view_of(data, size));
    return 0;
}
