#include "format_check.h"

#include "format/suspension.h"

static int decode(struct view bytes)
{
    scoped(sign_key_free) struct sign_key *authority = sample_sign_key();
    struct verify_key pk = sign_key_public(authority);
    struct suspension s;

    return suspension_check(bytes, &pk, &s);
}

TEST(suspension__comes_back_as_it_was)
{
    scoped(sign_key_free) struct sign_key *authority = sample_sign_key();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(authority);
    struct suspension s;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("suspension", &w), 0);
    CHECK_EQ(suspension_check(writer_done(&w), &pk, &s), 0);
    CHECK(s.serial == 3 && s.count == 2);
    CHECK_EQ(suspension_get_user(&s, 1).b[0], 2);
}

TEST(suspension__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("suspension", decode, 0);
}

TEST(suspension__refuses_wrong_counts_and_order)
{
    UNUSED_STATE;
    check_byte("suspension", decode, 24, 1);
    check_byte("suspension", decode, 24, 3);
    check_byte("suspension", decode, 27, 0xff);
    check_byte("suspension", decode, 28, 2); /* a user twice */
    check_byte("suspension", decode, 28, 3);
}

TEST(suspension_check__fails_when_any_byte_is_flipped)
{
    scoped(writer_fini) struct writer w = { 0 };

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("suspension", &w), 0);
    for (size_t at = 0; at < w.n; at++) {
        int rc;

        w.p[at] ^= 4;
        rc = decode(writer_done(&w));
        CHECK(rc == PHR_E_SIGNATURE || rc == PHR_E_FORMAT);
        w.p[at] ^= 4;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(suspension__comes_back_as_it_was),
        UNIT(suspension__refuses_every_cut_and_one_byte_more),
        UNIT(suspension__refuses_wrong_counts_and_order),
        UNIT(suspension_check__fails_when_any_byte_is_flipped),
    };

    return RUN_TESTS(tests);
}
