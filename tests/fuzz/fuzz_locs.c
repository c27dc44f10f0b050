/* Where a file's segments and logs lie, as its row in namespace.db says. */
#include "fuzz.h"

#include "vault/content_layout.h"

static void check_layout(const struct layout *l)
{
    INVARIANT(l->level_count <= LEVELS_MAX && l->size <= FILE_BYTES_MAX);
    for (size_t i = 0; i < l->seg_count; i++) {
        INVARIANT(i == 0 || l->segs[i - 1].index < l->segs[i].index);
        INVARIANT(layout_find(l, l->segs[i].index) == &l->segs[i]);
        INVARIANT(!l->segs[i].building && !l->segs[i].kept && !l->segs[i].is_frozen);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer again = { 0 };
    struct layout cur;
    struct layout base;
    bool has_base;

    if (locs_decode(view_of(data, size), &cur, &base, &has_base) != 0)
        return 0;
    check_layout(&cur);
    check_layout(&base);
    writer_init(&again);
    locs_encode(&cur, has_base ? &base : NULL, &again);
    fuzz_expect_same(writer_done(&again), view_of(data, size), 0);
    layout_fini(&cur);
    layout_fini(&base);
    return 0;
}
