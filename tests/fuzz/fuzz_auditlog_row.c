/* Rows of the audit log as phrd hands them out. */
#include "fuzz.h"

#include "audit/auditlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    struct reader r = reader_over(view_of(data, size));
    struct auditlog_row row;
    size_t used = 0;

    writer_init(&again);
    while (r.left > 0 && auditlog_row_decode(&r, &row) == 0) {
        INVARIANT(row.record.n <= EVENT_BYTES_MAX);
        auditlog_row_encode(&row, &again);
        used = size - r.left;
    }
    fuzz_expect_same(writer_done(&again), view_of(data, used), 0);
    return 0;
}
