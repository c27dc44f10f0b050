#include "format_check.h"

#include "format/op.h"

enum { COUNT_AT = 156, FIXED_BYTES = 158 };

static int decode(struct view bytes)
{
    struct op o;
    int rc = op_decode(bytes, &o);

    if (rc == 0)
        op_fini(&o);
    return rc;
}

TEST(op__comes_back_as_it_was)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct id16 patient = selftest_inputs_id("patient");
    struct op o;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("op", &w), 0);
    CHECK_EQ(op_decode(writer_done(&w), &o), 0);
    CHECK(id_equal(&o.patient, &patient));
    CHECK_EQ(o.epoch, 3);
    CHECK_EQ(op_lane(o.n), OP_LANE_SEAL);
    CHECK_EQ(o.count, 6);
    CHECK_EQ(o.changes[1].type, CHANGE_REVOKE);
    CHECK_EQ(o.changes[1].body.n, 17);
    op_fini(&o);
}

TEST(op__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("op", decode, 0);
}

TEST(op__refuses_what_is_out_of_range)
{
    UNUSED_STATE;
    check_byte("op", decode, COUNT_AT, 0);
    check_byte("op", decode, COUNT_AT, 5);
    check_byte("op", decode, COUNT_AT, 7);
    check_byte("op", decode, COUNT_AT + 1, 0xff);
    check_byte("op", decode, FIXED_BYTES, 0);
    check_byte("op", decode, FIXED_BYTES, CHANGE_LAST + 1);
    check_byte("op", decode, FIXED_BYTES + 4, 0xff); /* a body of 4 GiB */
    check_byte("op", decode, 67, 3);                 /* no such lane */
}

TEST(op__keeps_its_limits)
{
    static uint8_t megabyte[OP_BYTES_MAX];
    static struct change changes[OP_CHANGES_MAX + 1];
    struct op o = { .changes = changes };
    struct writer w;

    UNUSED_STATE;
    for (size_t i = 0; i <= OP_CHANGES_MAX; i++)
        changes[i] = (struct change){ CHANGE_REMOVE, { megabyte, 1 } };
    writer_init(&w);
    o.count = 0;
    CHECK_EQ(op_encode(&o, &w), PHR_E_LIMIT);
    o.count = OP_CHANGES_MAX + 1;
    CHECK_EQ(op_encode(&o, &w), PHR_E_LIMIT);
    o.count = OP_CHANGES_MAX;
    CHECK_EQ(op_encode(&o, &w), 0);
    CHECK_EQ(decode(writer_done(&w)), 0);
    writer_fini(&w);
    writer_init(&w);
    o.count = 1;
    changes[0].body.n = OP_BYTES_MAX - FIXED_BYTES - 5;
    CHECK_EQ(op_encode(&o, &w), 0);
    CHECK_EQ(w.n, OP_BYTES_MAX);
    CHECK_EQ(decode(writer_done(&w)), 0);
    writer_fini(&w);
    writer_init(&w);
    changes[0].body.n++;
    CHECK_EQ(op_encode(&o, &w), PHR_E_LIMIT);
    CHECK_EQ(decode(writer_done(&w)), PHR_E_FORMAT);
    writer_fini(&w);
}

TEST(op_check__fails_for_other_bytes_or_another_writer)
{
    scoped(sign_key_free) struct sign_key *writer = sample_sign_key();
    scoped(sign_key_free) struct sign_key *other = sign_key_new();
    scoped(writer_fini) struct writer w = { 0 };
    struct verify_key pk = sign_key_public(writer);
    struct verify_key wrong = sign_key_public(other);
    struct signature sig;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("op", &w), 0);
    sig = op_sign(writer_done(&w), writer);
    CHECK_EQ(op_check(writer_done(&w), &sig, &pk), 0);
    CHECK_EQ(op_check(writer_done(&w), &sig, &wrong), PHR_E_SIGNATURE);
    w.p[44] ^= 1; /* the epoch */
    CHECK_EQ(op_check(writer_done(&w), &sig, &pk), PHR_E_SIGNATURE);
    w.p[44] ^= 1;
    sig.b[0] ^= 1;
    CHECK_EQ(op_check(writer_done(&w), &sig, &pk), PHR_E_SIGNATURE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(op__comes_back_as_it_was),
        UNIT(op__refuses_every_cut_and_one_byte_more),
        UNIT(op__refuses_what_is_out_of_range),
        UNIT(op__keeps_its_limits),
        UNIT(op_check__fails_for_other_bytes_or_another_writer),
    };

    return RUN_TESTS(tests);
}
