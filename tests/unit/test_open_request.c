#include "format_check.h"

#include "format/open_request.h"

static int decode(struct view bytes)
{
    struct open_request r;
    int rc = open_request_decode(bytes, &r);

    if (rc == 0)
        open_request_fini(&r);
    return rc;
}

static int decode_context(struct view bytes)
{
    struct open_context c;

    return open_context_decode(bytes, &c);
}

static int decode_answer(struct view bytes)
{
    struct open_answer a;
    int rc = open_answer_decode(bytes, &a);

    if (rc == 0)
        open_answer_fini(&a);
    return rc;
}

TEST(open_request__comes_back_as_it_was)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct file_ctx ctx = selftest_inputs_file();
    struct open_request r;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("open_request", &w), 0);
    CHECK_EQ(open_request_decode(writer_done(&w), &r), 0);
    CHECK(r.purpose == PURPOSE_TREAT && r.count == 2 && r.time_s == 1790000000);
    CHECK(file_ctx_equal(&r.files[1].ctx, &ctx));
    CHECK_EQ(r.files[1].why, OPEN_WHY_AHEAD);
    open_request_fini(&r);
}

TEST(open_request__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("open_request", decode, 0);
    check_cuts("open_context", decode_context, 0);
    check_cuts("open_answer", decode_answer, 0);
}

TEST(open_request__refuses_what_is_out_of_range)
{
    UNUSED_STATE;
    check_byte("open_request", decode, 40, 9);  /* purpose */
    check_byte("open_request", decode, 114, 0); /* count */
    check_byte("open_request", decode, 114, 3);
    check_byte("open_request", decode, 115, 1); /* 258 files */
    check_byte("open_request", decode, 116 + 88, 0);
    check_byte("open_request", decode, 116 + 88, 5);
    check_byte("open_context", decode_context, 21, 0xff);
    check_byte("open_answer", decode_answer, 0, 3);
    check_byte("open_answer", decode_answer, 1, 0xff);
    check_byte("open_answer", decode_answer, 2, 1); /* a reason is never positive */
}

TEST(open_request_check__fails_when_any_byte_is_flipped)
{
    scoped(sign_key_free) struct sign_key *reader = sample_sign_key();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(reader);

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("open_request", &w), 0);
    CHECK_EQ(open_request_check(writer_done(&w), &pk), 0);
    for (size_t at = 0; at < w.n; at++) {
        w.p[at] ^= 1;
        CHECK_EQ(open_request_check(writer_done(&w), &pk), PHR_E_SIGNATURE);
        w.p[at] ^= 1;
    }
    CHECK_EQ(open_request_check(view_of(w.p, 10), &pk), PHR_E_SIGNATURE);
}

TEST(open_request__holds_256_files_and_no_more)
{
    static struct open_file files[OPEN_FILES_MAX + 1];
    scoped(sign_key_free) struct sign_key *reader = sample_sign_key();
    struct open_request r = { .files = files };
    struct writer w;

    UNUSED_STATE;
    for (size_t i = 0; i <= OPEN_FILES_MAX; i++)
        files[i].why = OPEN_WHY_OPEN;
    writer_init(&w);
    CHECK_EQ(open_request_encode(&r, reader, &w), PHR_E_LIMIT);
    r.count = OPEN_FILES_MAX + 1;
    CHECK_EQ(open_request_encode(&r, reader, &w), PHR_E_LIMIT);
    r.count = OPEN_FILES_MAX;
    CHECK_EQ(open_request_encode(&r, reader, &w), 0);
    CHECK_EQ(decode(writer_done(&w)), 0);
    writer_fini(&w);
}

TEST(open_answer__carries_a_receipt_over_leaves_keys_and_time)
{
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(srs);
    struct open_answer a;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("open_answer", &w), 0);
    CHECK_EQ(open_answer_decode(writer_done(&w), &a), 0);
    CHECK(a.count == 2 && a.lease_s == 300);
    CHECK_EQ(a.items[1].rc, PHR_E_STALE_HEADER);
    CHECK_EQ(open_answer_check(&a, &pk), 0);
    a.items[0].leaf.b[0] ^= 1;
    CHECK_EQ(open_answer_check(&a, &pk), PHR_E_SIGNATURE);
    a.items[0].leaf.b[0] ^= 1;
    a.items[1].w1.b[0] ^= 1;
    CHECK_EQ(open_answer_check(&a, &pk), PHR_E_SIGNATURE);
    a.items[1].w1.b[0] ^= 1;
    a.time_s++;
    CHECK_EQ(open_answer_check(&a, &pk), PHR_E_SIGNATURE);
    open_answer_fini(&a);
}

TEST(open_context__comes_back_as_it_was)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct open_context c;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("open_context", &w), 0);
    CHECK_EQ(open_context_decode(writer_done(&w), &c), 0);
    CHECK_EQ(c.uid, 1000);
    CHECK(view_equal(c.program, view_text("dicomviewer")));
    CHECK(view_equal(c.reason, view_text("ward round")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(open_request__comes_back_as_it_was),
        UNIT(open_request__refuses_every_cut_and_one_byte_more),
        UNIT(open_request__refuses_what_is_out_of_range),
        UNIT(open_request_check__fails_when_any_byte_is_flipped),
        UNIT(open_request__holds_256_files_and_no_more),
        UNIT(open_answer__carries_a_receipt_over_leaves_keys_and_time),
        UNIT(open_context__comes_back_as_it_was),
    };

    return RUN_TESTS(tests);
}
