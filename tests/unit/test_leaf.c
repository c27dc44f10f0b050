#include "format_check.h"

#include "format/leaf.h"

static int decode(struct view bytes)
{
    struct audit_entry e;

    return audit_entry_decode(bytes, &e);
}

TEST(audit_entry__comes_back_and_refuses_cuts)
{
    UNUSED_STATE;
    check_cuts("audit_entry", decode, 0);
    check_byte("audit_entry", decode, 6, 'B');
}

TEST(audit_commitment__hides_the_record_behind_its_salt)
{
    uint8_t salt[32] = { 0 };
    struct digest a = audit_commitment(salt, view_text("record"));
    struct digest b;

    UNUSED_STATE;
    salt[31] = 1;
    b = audit_commitment(salt, view_text("record"));
    CHECK(!digest_equal(&a, &b));
    salt[31] = 0;
    b = audit_commitment(salt, view_text("records"));
    CHECK(!digest_equal(&a, &b));
}

static int check_note(struct view note, struct checkpoint *out)
{
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    struct verify_key pk = sign_key_public(srs);

    return checkpoint_check(note, &pk, out);
}

TEST(checkpoint__is_a_signed_note)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct checkpoint c;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("checkpoint", &w), 0);
    CHECK_BYTES(w.p, "phr.example/audit\n42\n", 21);
    CHECK_BYTES(w.p + 21 + 44, "\n\n\xe2\x80\x94 phr.example/audit ", 24);
    CHECK_EQ(check_note(writer_done(&w), &c), 0);
    assert_string_equal(c.origin, "phr.example/audit");
    CHECK(c.size == 42);
}

TEST(checkpoint__holds_every_size)
{
    static const uint64_t sizes[] = { 0, 1, 9, 10, UINT64_MAX };
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();

    UNUSED_STATE;
    for (size_t i = 0; i < 5; i++) {
        scoped(writer_fini) struct writer w = { 0 };
        struct checkpoint c = { "o", sizes[i], { { 0 } } };

        writer_init(&w);
        CHECK_EQ(checkpoint_sign(&c, srs, &w), 0);
        CHECK_EQ(check_note(writer_done(&w), &c), 0);
        CHECK(c.size == sizes[i]);
    }
}

TEST(checkpoint__is_refused_when_cut_or_flipped)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct checkpoint c;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("checkpoint", &w), 0);
    for (size_t n = 0; n < w.n; n++)
        CHECK_EQ(check_note(view_of(w.p, n), &c), PHR_E_FORMAT);
    for (size_t at = 0; at < w.n; at++) {
        int rc;

        w.p[at] ^= 1;
        rc = check_note(writer_done(&w), &c);
        CHECK(rc == PHR_E_SIGNATURE || rc == PHR_E_FORMAT);
        w.p[at] ^= 1;
    }
    writer_u8(&w, '\n');
    CHECK_EQ(check_note(writer_done(&w), &c), PHR_E_FORMAT);
}

/* Behind each of them a well-formed signature line, so that only the text can be at fault. */
TEST(checkpoint__is_refused_in_another_spelling)
{
#define ROOT "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    static const char *const texts[] = {
        "o\n042\n" ROOT "\n", /* leading zero */
        "o\n+42\n" ROOT "\n",
        "o\n18446744073709551616\n" ROOT "\n",
        "o\n\n" ROOT "\n",
        "p\n42\n" ROOT "\n", /* signed by another name */
        "\n42\n" ROOT "\n",
        "o\n42\n" ROOT "\nmore\n",                               /* a fourth line */
        "o\n42\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n", /* spare bits set */
        "o\n42\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", /* 33 bytes */
        "o\n42\n-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", /* not in the alphabet */
    };
    const struct checkpoint valid = { "o", 42, { { 0 } } };
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    scoped(writer_fini) struct writer note = { 0 };
    const size_t text_bytes = strlen("o\n42\n" ROOT "\n");
    struct checkpoint c;

    UNUSED_STATE;
    writer_init(&note);
    CHECK_EQ(checkpoint_sign(&valid, srs, &note), 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        scoped(writer_fini) struct writer w = { 0 };

        writer_init(&w);
        writer_text(&w, texts[i]);
        writer_bytes(&w, note.p + text_bytes, note.n - text_bytes);
        CHECK_EQ(check_note(writer_done(&w), &c), PHR_E_FORMAT);
    }
#undef ROOT
}

TEST(checkpoint__is_refused_under_another_key)
{
    scoped(sign_key_free) struct sign_key *other = sign_key_new();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(other);
    struct checkpoint c;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("checkpoint", &w), 0);
    CHECK_EQ(checkpoint_check(writer_done(&w), &pk, &c), PHR_E_SIGNATURE);
}

TEST(checkpoint__is_not_signed_for_an_origin_that_is_no_name)
{
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    struct checkpoint c = { "two words", 1, { { 0 } } };
    struct writer w;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(checkpoint_sign(&c, srs, &w), PHR_E_FORMAT);
    c.origin[0] = '\0';
    CHECK_EQ(checkpoint_sign(&c, srs, &w), PHR_E_FORMAT);
    memset(c.origin, 'o', sizeof c.origin);
    CHECK_EQ(checkpoint_sign(&c, srs, &w), PHR_E_FORMAT);
    writer_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(audit_entry__comes_back_and_refuses_cuts),
        UNIT(audit_commitment__hides_the_record_behind_its_salt),
        UNIT(checkpoint__is_a_signed_note),
        UNIT(checkpoint__holds_every_size),
        UNIT(checkpoint__is_refused_when_cut_or_flipped),
        UNIT(checkpoint__is_refused_in_another_spelling),
        UNIT(checkpoint__is_refused_under_another_key),
        UNIT(checkpoint__is_not_signed_for_an_origin_that_is_no_name),
    };

    return RUN_TESTS(tests);
}
