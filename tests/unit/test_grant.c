#include "format_check.h"

#include "format/grant.h"

static int decode(struct view bytes)
{
    struct grant g;

    return grant_decode(bytes, &g);
}

TEST(grant__comes_back_as_it_was)
{
    scoped(sign_key_free) struct sign_key *owner = sample_sign_key();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(owner);
    struct grant want = sample_grant();
    struct grant g;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("grant", &w), 0);
    CHECK_EQ(w.n, 388);
    CHECK_EQ(grant_check(writer_done(&w), &pk, &g), 0);
    CHECK(class_ctx_equal(&g.ctx.class_ctx, &want.ctx.class_ctx));
    CHECK(id_equal(&g.ctx.grant, &want.ctx.grant) &&
          id_equal(&g.ctx.reader, &want.ctx.reader));
    CHECK(digest_equal(&g.ctx.reader_card, &want.ctx.reader_card));
    CHECK(g.rights == GRANT_RW && g.purpose == PURPOSE_TREAT && g.max_opens == 1000);
    CHECK(g.not_before_s == want.not_before_s && g.not_after_s == want.not_after_s);
    CHECK(digest_equal(&g.policy, &want.policy) &&
          digest_equal(&g.sealed_rk, &want.sealed_rk));
    CHECK_BYTES(g.a.b, want.a.b, 32);
    CHECK_BYTES(g.b.b, want.b.b, 32);
    CHECK_BYTES(g.x.b, want.x.b, 32);
    CHECK_BYTES(g.r.b, want.r.b, 32);
}

TEST(grant__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("grant", decode, 0);
}

TEST(grant__refuses_what_is_out_of_range)
{
    UNUSED_STATE;
    check_byte("grant", decode, 172, 0); /* rights */
    check_byte("grant", decode, 172, 2); /* writing without reading */
    check_byte("grant", decode, 172, 7);
    check_byte("grant", decode, 173, 0); /* proxies */
    check_byte("grant", decode, 173, 2);
    check_byte("grant", decode, 194, 9); /* purpose */
    check_byte("grant", decode, 195, 1);
    check_byte("grant", decode, 181, 0xff); /* ends before it begins */
}

TEST(grant_check__fails_when_any_byte_is_flipped_or_the_owner_is_another)
{
    scoped(sign_key_free) struct sign_key *owner = sample_sign_key();
    scoped(sign_key_free) struct sign_key *other = sign_key_new();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(owner);
    struct verify_key wrong = sign_key_public(other);
    struct grant g;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("grant", &w), 0);
    CHECK_EQ(grant_check(writer_done(&w), &wrong, &g), PHR_E_SIGNATURE);
    for (size_t at = 0; at < w.n; at++) {
        int rc;

        w.p[at] ^= 1;
        rc = grant_check(writer_done(&w), &pk, &g);
        CHECK(rc == PHR_E_SIGNATURE || rc == PHR_E_FORMAT);
        w.p[at] ^= 1;
    }
}

TEST(grant_check_time__includes_both_ends)
{
    struct grant g = sample_grant();

    UNUSED_STATE;
    CHECK_EQ(grant_check_time(&g, g.not_before_s), 0);
    CHECK_EQ(grant_check_time(&g, g.not_after_s), 0);
    CHECK_EQ(grant_check_time(&g, g.not_before_s - 1), PHR_E_EXPIRED);
    CHECK_EQ(grant_check_time(&g, g.not_after_s + 1), PHR_E_EXPIRED);
}

TEST(purpose__has_a_name_both_ways)
{
    enum purpose p;

    UNUSED_STATE;
    for (unsigned i = 0; i <= PURPOSE_LAST; i++) {
        CHECK_EQ(purpose_parse(purpose_name((enum purpose)i), &p), 0);
        CHECK_EQ(p, i);
    }
    CHECK_EQ(purpose_parse("treat", &p), 0);
    CHECK_EQ(p, PURPOSE_TREAT);
    CHECK_EQ(purpose_parse("HMARKT", &p), PHR_E_USAGE);
    CHECK_EQ(purpose_parse("", &p), PHR_E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(grant__comes_back_as_it_was),
        UNIT(grant__refuses_every_cut_and_one_byte_more),
        UNIT(grant__refuses_what_is_out_of_range),
        UNIT(grant_check__fails_when_any_byte_is_flipped_or_the_owner_is_another),
        UNIT(grant_check_time__includes_both_ends),
        UNIT(purpose__has_a_name_both_ways),
    };

    return RUN_TESTS(tests);
}
