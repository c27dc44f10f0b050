/* POSIX ACLs as setxattr brings them. First two bytes: a mode. */
#include "fuzz.h"

#include "vault/acl.h"

enum { MODE_BITS = 07777, PERM_BITS = 0777 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer changed = { 0 };
    scoped(writer_fini) struct writer again = { 0 };
    scoped(writer_fini) struct writer inherited = { 0 };
    struct view acl;
    mode_t mode;
    mode_t shown;
    bool is_minimal;

    if (size < 2)
        return 0;
    mode = (mode_t)((data[0] | data[1] << 8) & MODE_BITS);
    acl = view_of(data + 2, size - 2);
    writer_init(&changed);
    writer_init(&again);
    writer_init(&inherited);
    if (acl_to_mode(acl, mode, &shown, &is_minimal) == 0) {
        INVARIANT((shown & ~(mode_t)PERM_BITS) == (mode & ~(mode_t)PERM_BITS));
        INVARIANT(acl_chmod(acl, mode, &changed) == 0 && changed.n == acl.n);
        INVARIANT(acl_chmod(writer_done(&changed), mode, &again) == 0);
        fuzz_expect_same(writer_done(&changed), writer_done(&again), 0);
    } else {
        INVARIANT(acl_chmod(acl, mode, &changed) < 0);
    }
    if (acl_inherit(acl, mode, 022, &shown, &inherited) == 0)
        INVARIANT((shown & ~mode) == 0); /* it never gives more than was asked for */
    return 0;
}
