#include "format_check.h"

#include "format/event.h"

static int decode(struct view bytes)
{
    struct event e;

    return event_decode(bytes, &e);
}

TEST(event__comes_back_as_it_was)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct event want = sample_event();
    struct event e;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(event_encode(&want, &w), 0);
    CHECK_EQ(event_decode(writer_done(&w), &e), 0);
    CHECK(e.type == EVENT_DENIED && e.outcome == PHR_E_RIGHTS && e.uid == 1000);
    CHECK(e.time_s == want.time_s && e.time_ns == want.time_ns);
    CHECK(id_equal(&e.host, &want.host) && id_equal(&e.user, &want.user));
    CHECK(id_equal(&e.patient, &want.patient) && id_equal(&e.class_id, &want.class_id));
    CHECK(id_equal(&e.file, &want.file) && id_equal(&e.grant, &want.grant));
    CHECK(digest_equal(&e.card, &want.card) && e.purpose == PURPOSE_BTG);
    CHECK(view_equal(e.program, want.program) && view_equal(e.reason, want.reason));
}

TEST(event__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("event", decode, 0);
}

TEST(event__refuses_what_is_out_of_range)
{
    UNUSED_STATE;
    check_byte("event", decode, 8, 0);
    check_byte("event", decode, 8, EVENT_LAST + 1);
    check_byte("event", decode, 12, 0x0f); /* an outcome above zero */
    check_byte("event", decode, 24, 0xff); /* nanoseconds */
    check_byte("event", decode, 93, 65);   /* program */
}

TEST(event__is_not_encoded_beyond_its_limits)
{
    static const uint8_t many[513];
    struct event e;
    struct writer w;

    UNUSED_STATE;
    writer_init(&w);
    e = sample_event();
    e.reason = view_of(many, sizeof many);
    CHECK_EQ(event_encode(&e, &w), PHR_E_LIMIT);
    e = sample_event();
    e.program = view_of(many, 65);
    CHECK_EQ(event_encode(&e, &w), PHR_E_LIMIT);
    e.program = view_of(many, 64);
    e.reason = view_of(many, 512);
    CHECK_EQ(event_encode(&e, &w), 0);
    CHECK(w.n <= EVENT_BYTES_MAX);
    CHECK_EQ(decode(writer_done(&w)), 0);
    writer_fini(&w);
}

TEST(event__has_a_name_both_ways)
{
    enum event_type t;

    UNUSED_STATE;
    for (unsigned i = EVENT_OPEN; i <= EVENT_LAST; i++) {
        CHECK_EQ(event_parse(event_name((enum event_type)i), &t), 0);
        CHECK_EQ(t, i);
    }
    CHECK_EQ(event_parse("unknown", &t), PHR_E_USAGE);
    assert_string_equal(event_name((enum event_type)0), "unknown");
    assert_string_equal(event_name((enum event_type)(EVENT_LAST + 1)), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(event__comes_back_as_it_was),
        UNIT(event__refuses_every_cut_and_one_byte_more),
        UNIT(event__refuses_what_is_out_of_range),
        UNIT(event__is_not_encoded_beyond_its_limits),
        UNIT(event__has_a_name_both_ways),
    };

    return RUN_TESTS(tests);
}
