/* Stored POSIX ACLs: inheritance, chmod, setfacl. Computed ones: test_session.c. */
#include "check.h"

#include <sys/stat.h>

#include "vault/acl.h"

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, MASK = 0x10, OTHER = 0x20 };

static void entry(struct writer *w, unsigned tag, unsigned perm, uint32_t id)
{
    writer_u16(w, (uint16_t)tag);
    writer_u16(w, (uint16_t)perm);
    writer_u32(w, id);
}

/* u::rwx, u:7:rwx, g::r-x, m::rwx, o::r-x */
static struct writer extended(void)
{
    struct writer w;

    writer_init(&w);
    writer_u32(&w, 2);
    entry(&w, USER_OBJ, 7, UINT32_MAX);
    entry(&w, USER, 7, 7);
    entry(&w, GROUP_OBJ, 5, UINT32_MAX);
    entry(&w, MASK, 7, UINT32_MAX);
    entry(&w, OTHER, 5, UINT32_MAX);
    return w;
}

static unsigned perm_at(struct view acl, size_t i)
{
    return acl.p[4 + 8 * i + 2];
}

TEST(acl__without_a_default_the_umask_counts)
{
    struct writer access = { 0 };
    mode_t mode;
    UNUSED_STATE;

    CHECK_EQ(acl_inherit(view_of(NULL, 0), S_IFREG | 0666, 027, &mode, &access), 0);
    CHECK_EQ(mode, S_IFREG | 0640);
    CHECK_EQ(access.n, 0);
}

TEST(acl__a_default_acl_takes_the_umasks_place)
{
    struct writer dir_default = extended();
    struct writer access = { 0 };
    mode_t mode;
    UNUSED_STATE;

    CHECK_EQ(acl_inherit(writer_done(&dir_default), S_IFREG | 0664, 077, &mode, &access), 0);
    CHECK_EQ(mode, S_IFREG | 0664);
    CHECK_EQ(access.n, dir_default.n);
    CHECK_EQ(perm_at(writer_done(&access), 0), 6);
    CHECK_EQ(perm_at(writer_done(&access), 1), 7); /* named users stay, the mask cuts */
    CHECK_EQ(perm_at(writer_done(&access), 3), 6);
    CHECK_EQ(perm_at(writer_done(&access), 4), 4);
    writer_fini(&access);
    writer_fini(&dir_default);
}

TEST(acl__chmod_rewrites_the_mask_not_the_group)
{
    struct writer acl = extended();
    struct writer out = { 0 };
    UNUSED_STATE;

    CHECK_EQ(acl_chmod(writer_done(&acl), 0640, &out), 0);
    CHECK_EQ(perm_at(writer_done(&out), 0), 6);
    CHECK_EQ(perm_at(writer_done(&out), 2), 5);
    CHECK_EQ(perm_at(writer_done(&out), 3), 4);
    CHECK_EQ(perm_at(writer_done(&out), 4), 0);
    writer_fini(&out);
    writer_fini(&acl);
}

TEST(acl__setfacl_sets_the_mode_and_a_minimal_acl_is_none)
{
    struct writer acl = extended();
    bool minimal;
    mode_t mode;
    UNUSED_STATE;

    CHECK_EQ(acl_to_mode(writer_done(&acl), S_IFREG | S_ISUID | 0600, &mode, &minimal), 0);
    CHECK_EQ(mode, S_IFREG | S_ISUID | 0775);
    CHECK(!minimal);
    acl.n = 4;
    entry(&acl, USER_OBJ, 6, UINT32_MAX);
    entry(&acl, GROUP_OBJ, 4, UINT32_MAX);
    entry(&acl, OTHER, 0, UINT32_MAX);
    CHECK_EQ(acl_to_mode(writer_done(&acl), S_IFREG | 0600, &mode, &minimal), 0);
    CHECK_EQ(mode, S_IFREG | 0640);
    CHECK(minimal);
    acl.n -= 1;
    CHECK_EQ(acl_to_mode(writer_done(&acl), S_IFREG | 0600, &mode, &minimal), -EINVAL);
    acl.p[0] = 3;
    CHECK_EQ(acl_to_mode(writer_done(&acl), S_IFREG | 0600, &mode, &minimal), -EINVAL);
    writer_fini(&acl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(acl__without_a_default_the_umask_counts),
        UNIT(acl__a_default_acl_takes_the_umasks_place),
        UNIT(acl__chmod_rewrites_the_mask_not_the_group),
        UNIT(acl__setfacl_sets_the_mode_and_a_minimal_acl_is_none),
    };

    return RUN_TESTS(tests);
}
