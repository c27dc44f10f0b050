#include "format_check.h"

#include "format/entry_test.h"
#include "format/op.h"

static int decode(struct view bytes)
{
    struct entry e;
    int rc = entry_decode(bytes, &e);

    if (rc == 0)
        entry_fini(&e);
    return rc;
}

TEST(entry__is_the_known_answer)
{
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(srs);
    struct entry e = {
        .patient = selftest_inputs_id("patient"),
        .type = ENTRY_TYPE_OPS,
        .time_s = 1790000000,
        .srs = selftest_inputs_id("reader"),
    };
    struct digest body;
    struct digest rec_hash;

    UNUSED_STATE;
    selftest_inputs_bytes("card", e.srs_card.b, sizeof e.srs_card.b);
    CHECK_EQ(
        hex_decode("ba65080e94d552e265ffc3528f9d8d1e7263c88d312b55d893226b255d955639",
                   body.b, 32),
        0);
    writer_init(&w);
    CHECK_EQ(entry_encode_body(&e, view_of(body.b, 32), srs, &w, &rec_hash), 0);
    check_hex(rec_hash.b, 32,
              "51eddb678419ef2bd74230ea544e8708e94d1c2565be21a97a66fd772ca783ac");
    check_hex(e.sig.b, 64,
              "cb758ad4d904eac085874bb671406fb7341758ac6ec0899e102b3f7667e826e0"
              "d6fe5bb33f859f756aef461b053144f8f6fbbd4e9baaa6bb034a9818c90fcf08");
    check_hex(e.leaf.b, 32,
              "bf83e0e1da90f87cfdf878a3941c114106b599639d2c89a97bca3f5a700d99d5");
    CHECK_EQ(entry_check(writer_done(&w), &pk), 0);
    CHECK_EQ(decode(writer_done(&w)), PHR_E_FORMAT); /* 32 opaque bytes are no ops */
}

TEST(entry__comes_back_as_it_was)
{
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(srs);
    struct entry e;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("entry", &w), 0);
    CHECK_EQ(entry_decode(writer_done(&w), &e), 0);
    CHECK(e.seq == 1 && e.op_count == 2 && e.type == ENTRY_TYPE_OPS);
    CHECK_EQ(entry_check(writer_done(&w), &pk), 0);
    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(op_check(e.ops[i].op, &e.ops[i].sig, &pk), 0);
    entry_fini(&e);
}

TEST(entry__gives_the_same_leaf_when_made_and_when_read)
{
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    scoped(writer_fini) struct writer op = { 0 };
    scoped(writer_fini) struct writer w = { 0 };
    struct signed_op one;
    struct entry made = { .type = ENTRY_TYPE_OPS, .op_count = 1, .ops = &one };
    struct entry read;

    UNUSED_STATE;
    writer_init(&op);
    writer_init(&w);
    CHECK_EQ(sample_make("op", &op), 0);
    one = (struct signed_op){ writer_done(&op), op_sign(writer_done(&op), srs) };
    CHECK_EQ(entry_encode(&made, srs, &w), 0);
    CHECK_EQ(entry_decode(writer_done(&w), &read), 0);
    CHECK(digest_equal(&made.leaf, &read.leaf));
    entry_fini(&read);
}

TEST(entry__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("entry", decode, 0);
}

TEST(entry__refuses_what_is_out_of_range)
{
    UNUSED_STATE;
    check_byte("entry", decode, 64, 0); /* type */
    check_byte("entry", decode, 64, 2);
    check_byte("entry", decode, 124, 0xff); /* body length */
    check_byte("entry", decode, 125, 0);    /* no op */
    check_byte("entry", decode, 125, 1);
    check_byte("entry", decode, 126, 0xff); /* 65,000 ops */
}

TEST(entry_check__fails_when_any_byte_is_flipped)
{
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(srs);

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("entry", &w), 0);
    for (size_t at = 0; at < w.n; at += 3) {
        w.p[at] ^= 1;
        CHECK_EQ(entry_check(writer_done(&w), &pk), PHR_E_SIGNATURE);
        w.p[at] ^= 1;
    }
    CHECK_EQ(entry_check(view_of(w.p, 63), &pk), PHR_E_SIGNATURE);
}

TEST(entry__keeps_its_limits)
{
    static uint8_t op[OP_BYTES_MAX + 1];
    static struct signed_op ops[ENTRY_OPS_MAX + 1];
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    struct entry e = { .type = ENTRY_TYPE_OPS, .ops = ops };
    struct writer w;

    UNUSED_STATE;
    op[156] = 1; /* one change each */
    for (size_t i = 0; i <= ENTRY_OPS_MAX; i++)
        ops[i].op = view_of(op, 200);
    writer_init(&w);
    CHECK_EQ(entry_encode(&e, srs, &w), PHR_E_LIMIT); /* none */
    e.op_count = ENTRY_OPS_MAX + 1;
    CHECK_EQ(entry_encode(&e, srs, &w), PHR_E_LIMIT);
    e.op_count = ENTRY_OPS_MAX;
    CHECK_EQ(entry_encode(&e, srs, &w), 0);
    CHECK_EQ(decode(writer_done(&w)), 0);
    op[156] = 2; /* 512 changes */
    CHECK_EQ(entry_encode(&e, srs, &w), PHR_E_LIMIT);
    writer_fini(&w);
    writer_init(&w);
    op[156] = 1;
    e.op_count = 1;
    ops[0].op.n = OP_BYTES_MAX + 1; /* with count, length and signature more than 1 MiB */
    CHECK_EQ(entry_encode(&e, srs, &w), PHR_E_LIMIT);
    ops[0].op.n = OP_BYTES_MAX; /* the largest op fills an entry */
    CHECK_EQ(entry_encode(&e, srs, &w), 0);
    CHECK(w.n <= ENTRY_BYTES_MAX);
    writer_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(entry__is_the_known_answer),
        UNIT(entry__comes_back_as_it_was),
        UNIT(entry__gives_the_same_leaf_when_made_and_when_read),
        UNIT(entry__refuses_every_cut_and_one_byte_more),
        UNIT(entry__refuses_what_is_out_of_range),
        UNIT(entry_check__fails_when_any_byte_is_flipped),
        UNIT(entry__keeps_its_limits),
    };

    return RUN_TESTS(tests);
}
