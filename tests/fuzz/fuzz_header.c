#include "fuzz.h"

#include "format/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct header h;

    if (header_decode(view_of(data, size), &h) < 0)
        return 0;
    INVARIANT(h.sealed.p + h.sealed.n == data + size);
    INVARIANT(h.n_fk >= 1 && h.n_fk <= FK_COUNT_MAX);
    return 0;
}
