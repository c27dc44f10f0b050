#include "format_check.h"

static int decode(struct view bytes)
{
    struct footer f;

    return footer_decode(bytes, &f);
}

static void page_make(uint8_t page[FOOTER_BYTES])
{
    struct writer w;

    writer_init_fixed(&w, (struct span){ page, FOOTER_BYTES });
    CHECK_EQ(sample_make("footer", &w), 0);
}

TEST(footer__comes_back_as_it_was)
{
    uint8_t page[FOOTER_BYTES];
    struct footer want = sample_footer(view_of(NULL, 0));
    struct footer f;

    UNUSED_STATE;
    page_make(page);
    CHECK_EQ(footer_decode(view_of(page, sizeof page), &f), 0);
    CHECK_EQ(footer_check(view_of(page, sizeof page), &f, sample_fk()), 0);
    CHECK(file_ctx_equal(&f.ctx, &want.ctx));
    CHECK(f.seg_index == want.seg_index && f.plaintext_len == want.plaintext_len);
    CHECK(f.fk_gen == want.fk_gen && f.object_len == want.object_len);
    CHECK(f.rising == want.rising && !f.is_overlay);
    CHECK_BYTES(f.salt, want.salt, sizeof f.salt);
    CHECK_EQ(f.header.n, 264);
}

TEST(footer__of_an_overlay_says_so)
{
    uint8_t page[FOOTER_BYTES];
    struct footer in = sample_footer(view_of(NULL, 0));
    struct footer f;

    UNUSED_STATE;
    in.is_overlay = true;
    CHECK_EQ(footer_encode(&in, sample_fk(), page), 0);
    CHECK_EQ(footer_decode(view_of(page, sizeof page), &f), 0);
    CHECK(f.is_overlay);
    CHECK_EQ(f.header.n, 0);
}

TEST(footer__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("footer", decode, 0);
}

TEST(footer__refuses_what_is_out_of_range)
{
    UNUSED_STATE;
    check_byte("footer", decode, 8, 0);
    check_byte("footer", decode, 8, 3);
    check_byte("footer", decode, 9, 1);                 /* reserved */
    check_byte("footer", decode, 74, 0x40);             /* segment index */
    check_byte("footer", decode, 82, 0x41);             /* longer than a segment */
    check_byte("footer", decode, 169, 4);               /* header longer than its limit */
    check_byte("footer", decode, FOOTER_BYTES - 33, 1); /* padding */
}

TEST(footer__is_not_vouched_for_when_any_byte_is_flipped_or_the_key_is_another)
{
    uint8_t page[FOOTER_BYTES];
    struct footer f;

    UNUSED_STATE;
    page_make(page);
    CHECK_EQ(footer_decode(view_of(page, sizeof page), &f), 0);
    CHECK_EQ(footer_check(view_of(page, sizeof page), &f, sample_nk()), PHR_E_SEAL);
    for (size_t at = 0; at < sizeof page; at++) {
        page[at] ^= 0x20;
        if (footer_decode(view_of(page, sizeof page), &f) == 0)
            CHECK_EQ(footer_check(view_of(page, sizeof page), &f, sample_fk()),
                     PHR_E_SEAL);
        page[at] ^= 0x20;
    }
}

TEST(footer__is_not_written_with_a_header_beyond_the_limit)
{
    static const uint8_t bytes[HEADER_BYTES_MAX + 1];
    uint8_t page[FOOTER_BYTES];
    struct footer f = sample_footer(view_of(bytes, sizeof bytes));

    UNUSED_STATE;
    CHECK_EQ(footer_encode(&f, sample_fk(), page), PHR_E_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(footer__comes_back_as_it_was),
        UNIT(footer__of_an_overlay_says_so),
        UNIT(footer__refuses_every_cut_and_one_byte_more),
        UNIT(footer__refuses_what_is_out_of_range),
        UNIT(footer__is_not_vouched_for_when_any_byte_is_flipped_or_the_key_is_another),
        UNIT(footer__is_not_written_with_a_header_beyond_the_limit),
    };

    return RUN_TESTS(tests);
}
