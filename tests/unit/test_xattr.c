#include "format_check.h"

#include "format/xattr.h"

static int decode(struct view bytes)
{
    return xattr_check(bytes);
}

static struct view text(const char *s)
{
    return view_text(s);
}

/* Sets one value on what io_list holds. */
static int set(struct writer *io_list, const char *name, struct view value)
{
    struct writer out;
    int rc;

    writer_init(&out);
    rc = xattr_set(writer_done(io_list), text(name), value, &out);
    if (rc < 0) {
        writer_fini(&out);
        return rc;
    }
    writer_fini(io_list);
    *io_list = out;
    return 0;
}

TEST(xattr__keeps_names_in_order_whatever_the_order_of_setting)
{
    scoped(writer_fini) struct writer list = { 0 };
    scoped(writer_fini) struct writer names = { 0 };
    struct view value;

    UNUSED_STATE;
    writer_init(&list);
    CHECK_EQ(set(&list, "user.c", text("3")), 0);
    CHECK_EQ(set(&list, "user.a", text("1")), 0);
    CHECK_EQ(set(&list, "user.ab", text("")), 0);
    CHECK_EQ(set(&list, "user.b", text("2")), 0);
    CHECK_EQ(set(&list, "user.a", text("one")), 0); /* replaced */
    writer_init(&names);
    CHECK_EQ(xattr_names(writer_done(&list), &names), 0);
    CHECK_EQ(names.n, 7 + 8 + 7 + 7);
    CHECK_BYTES(names.p, "user.a\0user.ab\0user.b\0user.c", names.n);
    CHECK_EQ(xattr_get(writer_done(&list), text("user.a"), &value), 0);
    CHECK(view_equal(value, text("one")));
    CHECK_EQ(xattr_get(writer_done(&list), text("user.ab"), &value), 0);
    CHECK_EQ(value.n, 0);
    CHECK_EQ(xattr_get(writer_done(&list), text("user.d"), &value), -ENODATA);
}

TEST(xattr__removes_what_is_there)
{
    scoped(writer_fini) struct writer list = { 0 };
    struct view value;

    UNUSED_STATE;
    writer_init(&list);
    CHECK_EQ(set(&list, "user.a", text("1")), 0);
    CHECK_EQ(set(&list, "user.b", text("2")), 0);
    CHECK_EQ(set(&list, "user.a", view_of(NULL, 0)), 0);
    CHECK_EQ(xattr_get(writer_done(&list), text("user.a"), &value), -ENODATA);
    CHECK_EQ(xattr_get(writer_done(&list), text("user.b"), &value), 0);
    CHECK_EQ(set(&list, "user.a", view_of(NULL, 0)), -ENODATA);
    CHECK_EQ(set(&list, "user.b", view_of(NULL, 0)), 0);
    CHECK_EQ(list.n, 2); /* an empty list */
    CHECK_EQ(xattr_check(writer_done(&list)), 0);
}

TEST(xattr__says_what_is_too_large)
{
    static uint8_t big[XATTR_VALUE_BYTES_MAX + 1];
    scoped(writer_fini) struct writer list = { 0 };
    char name[300];

    UNUSED_STATE;
    writer_init(&list);
    CHECK_EQ(set(&list, "user.a", view_of(big, sizeof big)), -E2BIG);
    for (char i = 'a'; i < 'd'; i++) {
        const char one[] = { 'u', '.', i, 0 };

        CHECK_EQ(set(&list, one, view_of(big, XATTR_VALUE_BYTES_MAX)), 0);
    }
    CHECK_EQ(set(&list, "u.d", view_of(big, XATTR_VALUE_BYTES_MAX)), -ENOSPC);
    CHECK_EQ(set(&list, "u.d", view_of(big, XATTR_VALUE_BYTES_MAX - 100)), 0);
    memset(name, 'n', sizeof name);
    name[256] = 0;
    CHECK_EQ(set(&list, name, text("")), -ERANGE);
    CHECK_EQ(set(&list, "", text("")), -EINVAL);
}

TEST(xattr__refuses_lists_that_are_not_ours)
{
    UNUSED_STATE;
    check_byte("xattr", decode, 0, 1); /* one named, two there */
    check_byte("xattr", decode, 0, 3);
    check_byte("xattr", decode, 11, 'c'); /* c before b */
    check_byte("xattr", decode, 11, 'b'); /* b twice */
    check_byte("xattr", decode, 8, 0);    /* a NUL in a name */
    check_byte("xattr", decode, 2, 0);    /* a name of no bytes */
    CHECK_EQ(xattr_check(view_of(NULL, 0)), 0);
    CHECK_EQ(xattr_check(text("\1")), PHR_E_FORMAT);
}

TEST(xattr__refuses_every_cut_and_one_byte_more)
{
    scoped(writer_fini) struct writer w = { 0 };

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("xattr", &w), 0);
    for (size_t n = 1; n < w.n; n++)
        CHECK_EQ(decode_exact(decode, writer_done(&w), n), PHR_E_FORMAT);
    CHECK_EQ(decode_exact(decode, writer_done(&w), w.n + 1), PHR_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(xattr__keeps_names_in_order_whatever_the_order_of_setting),
        UNIT(xattr__removes_what_is_there),
        UNIT(xattr__says_what_is_too_large),
        UNIT(xattr__refuses_lists_that_are_not_ours),
        UNIT(xattr__refuses_every_cut_and_one_byte_more),
    };

    return RUN_TESTS(tests);
}
