#include "format_check.h"

#include "crypto/pop.h"
#include "format/card.h"

static int decode(struct view bytes)
{
    struct card c;

    return card_decode(bytes, &c);
}

static int decode_request(struct view bytes)
{
    struct card c;

    return card_request_decode(bytes, &c);
}

TEST(card__comes_back_as_it_was)
{
    scoped(sign_key_free) struct sign_key *authority = sample_sign_key();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(authority);
    struct card want = sample_card();
    struct digest hash;
    struct card c;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("card", &w), 0);
    CHECK(w.n <= CARD_BYTES_MAX);
    CHECK_EQ(card_check(writer_done(&w), &pk, &c), 0);
    CHECK(id_equal(&c.user, &want.user) && id_equal(&c.org, &want.org));
    CHECK_EQ(c.role, CARD_PERSON);
    CHECK_BYTES(c.ed.b, want.ed.b, 32);
    CHECK_BYTES(c.b.b, want.b.b, 32);
    CHECK(c.not_before_s == want.not_before_s && c.not_after_s == want.not_after_s);
    CHECK(c.serial == 7);
    assert_string_equal(c.label, "dr.wilson");
    hash = digest_sha256(writer_done(&w));
    CHECK(digest_equal(&hash, &c.hash));
}

TEST(card__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("card", decode, 0);
    check_cuts("card_request", decode_request, 0);
}

TEST(card__refuses_what_is_out_of_range)
{
    UNUSED_STATE;
    check_byte("card", decode, 24, 0); /* role */
    check_byte("card", decode, 24, 7);
    check_byte("card", decode, 25, 1);
    check_byte("card", decode, 24, CARD_OWNER); /* user16 is not the owner's id */
    check_byte("card", decode, 112, 0xff);      /* ends before it begins */
    check_byte("card", decode, 130 + 4, 'D');   /* label */
    check_byte("card", decode, 130, 65);
}

TEST(card_check__fails_when_any_byte_is_flipped)
{
    scoped(sign_key_free) struct sign_key *authority = sample_sign_key();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(authority);
    struct card c;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("card", &w), 0);
    for (size_t at = 0; at < w.n; at++) {
        int rc;

        w.p[at] ^= 1;
        rc = card_check(writer_done(&w), &pk, &c);
        CHECK(rc == PHR_E_CARD || rc == PHR_E_FORMAT);
        w.p[at] ^= 1;
    }
    CHECK_EQ(card_check(writer_done(&w), &pk, &c), 0);
}

TEST(card_check__fails_under_another_authority)
{
    scoped(sign_key_free) struct sign_key *other = sign_key_new();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(other);
    struct card c;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("card", &w), 0);
    CHECK_EQ(card_check(writer_done(&w), &pk, &c), PHR_E_CARD);
}

TEST(card_approve__refuses_a_request_without_possession_of_the_keys)
{
    scoped(sign_key_free) struct sign_key *self = sample_sign_key();
    scoped(sign_key_free) struct sign_key *thief = sign_key_new();
    struct card c = sample_card();
    struct writer w;
    struct writer out;

    UNUSED_STATE;
    /* Somebody else's KEM key on the card: no proof of possession. */
    writer_init(&w);
    writer_init(&out);
    c.b = sample_public("a");
    CHECK_EQ(card_request_encode(&c, self, sample_scalar("b"), &w), 0);
    CHECK_EQ(card_approve(writer_done(&w), self, &out), PHR_E_CARD);
    CHECK_EQ(out.n, 0);
    writer_fini(&w);
    /* Somebody else's signing key on the card: no self-signature. */
    writer_init(&w);
    c = sample_card();
    CHECK_EQ(card_request_encode(&c, thief, sample_scalar("b"), &w), 0);
    CHECK_EQ(card_approve(writer_done(&w), self, &out), PHR_E_CARD);
    writer_fini(&w);
    /* A request is no card and a card is no request. */
    writer_init(&w);
    CHECK_EQ(sample_make("card", &w), 0);
    CHECK_EQ(card_approve(writer_done(&w), self, &out), PHR_E_FORMAT);
    writer_fini(&w);
    writer_fini(&out);
}

TEST(card__of_an_owner_is_named_by_its_key)
{
    scoped(sign_key_free) struct sign_key *self = sample_sign_key();
    scoped(writer_fini) struct writer w = { 0 };
    struct card c = sample_card();
    struct writer bad;

    UNUSED_STATE;
    c.role = CARD_OWNER;
    c.label[0] = '\0';
    writer_init(&bad);
    CHECK_EQ(card_request_encode(&c, self, sample_scalar("b"), &bad), PHR_E_CARD);
    writer_fini(&bad);
    c.user = patient_id(&c.ed);
    writer_init(&w);
    CHECK_EQ(card_request_encode(&c, self, sample_scalar("b"), &w), 0);
    CHECK_EQ(card_request_decode(writer_done(&w), &c), 0);
}

TEST(label__is_small_letters_digits_and_three_signs)
{
    UNUSED_STATE;
    CHECK(label_is_valid(view_text("dr.wilson-2_a")));
    CHECK(!label_is_valid(view_text("")));
    CHECK(!label_is_valid(view_text("Dr")));
    CHECK(!label_is_valid(view_text("a b")));
    CHECK(!label_is_valid(view_text("a/b")));
    CHECK(!label_is_valid(view_of("a\0b", 3)));
    CHECK(label_is_valid(
        view_text("0123456789012345678901234567890123456789012345678901234567890123")));
    CHECK(!label_is_valid(
        view_text("01234567890123456789012345678901234567890123456789012345678901234")));
}

TEST(card_check_time__includes_both_ends)
{
    struct card c = sample_card();

    UNUSED_STATE;
    CHECK_EQ(card_check_time(&c, c.not_before_s), 0);
    CHECK_EQ(card_check_time(&c, c.not_after_s), 0);
    CHECK_EQ(card_check_time(&c, c.not_before_s - 1), PHR_E_EXPIRED);
    CHECK_EQ(card_check_time(&c, c.not_after_s + 1), PHR_E_EXPIRED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(card__comes_back_as_it_was),
        UNIT(card__refuses_every_cut_and_one_byte_more),
        UNIT(card__refuses_what_is_out_of_range),
        UNIT(card_check__fails_when_any_byte_is_flipped),
        UNIT(card_check__fails_under_another_authority),
        UNIT(card_approve__refuses_a_request_without_possession_of_the_keys),
        UNIT(card__of_an_owner_is_named_by_its_key),
        UNIT(label__is_small_letters_digits_and_three_signs),
        UNIT(card_check_time__includes_both_ends),
    };

    return RUN_TESTS(tests);
}
