#include "fuzz.h"

#include "format/xattr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer names = { 0 };
    scoped(writer_fini) struct writer with = { 0 };
    scoped(writer_fini) struct writer without = { 0 };
    const struct view list = view_of(data, size);
    const struct view name = view_text("user.a name that is not there");
    struct view value;

    writer_init(&names);
    writer_init(&with);
    writer_init(&without);
    if (xattr_names(list, &names) < 0) {
        INVARIANT(xattr_get(list, name, &value) == PHR_E_FORMAT);
        return 0;
    }
    if (xattr_get(list, name, &value) == 0 ||
        xattr_set(list, name, view_text("v"), &with) < 0)
        return 0;
    INVARIANT(xattr_get(writer_done(&with), name, &value) == 0);
    INVARIANT(xattr_set(writer_done(&with), name, view_of(NULL, 0), &without) == 0);
    if (size > 0) /* no bytes at all are an empty list too */
        fuzz_expect_same(writer_done(&without), list, 0);
    return 0;
}
