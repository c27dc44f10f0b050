#include "fuzz.h"

#include "format/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    struct inode_row row;

    if (inode_row_decode(view_of(data, size), &row) < 0)
        return 0;
    writer_init(&again);
    inode_row_encode(&row, &again);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 0);
    return 0;
}
