#include "fuzz.h"

#include "format/snapshot.h"

enum { ROWS_MAX = 256 };

struct rows {
    struct view views[SNAPSHOT_KINDS][ROWS_MAX];
    size_t count[SNAPSHOT_KINDS];
};

static int on_row(void *user, enum snapshot_kind kind, struct view row)
{
    struct rows *rows = user;

    if (rows->count[kind] == ROWS_MAX)
        return 1;
    rows->views[kind][rows->count[kind]++] = row;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rows rows;
    scoped(writer_fini) struct writer again = { 0 };
    struct snapshot_rows all[SNAPSHOT_KINDS];
    struct snapshot_head h;

    rows = (struct rows){ 0 };
    if (snapshot_decode(view_of(data, size), &h, on_row, &rows) != 0)
        return 0;
    for (size_t i = 0; i < SNAPSHOT_KINDS; i++)
        all[i] = (struct snapshot_rows){ rows.views[i], rows.count[i] };
    writer_init(&again);
    INVARIANT(snapshot_encode(&h, all, &again) == 0);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 0);
    return 0;
}
