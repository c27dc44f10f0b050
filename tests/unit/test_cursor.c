#include "check.h"

#include <string.h>

#include "base/cursor.h"

TEST(cursor__reads_what_was_written)
{
    scoped(writer_fini) struct writer w;
    struct reader r;
    struct view lp;
    uint8_t three[3];

    UNUSED_STATE;
    writer_init(&w);
    writer_text(&w, "MAGIC");
    writer_u8(&w, 0xab);
    writer_u16(&w, 0x1234);
    writer_u32(&w, 0x89abcdef);
    writer_u64(&w, UINT64_C(0x0123456789abcdef));
    writer_bytes(&w, "xyz", 3);
    writer_lp(&w, view_text("hello"));
    CHECK(writer_ok(&w));
    CHECK_EQ(writer_done(&w).n, 5 + 1 + 2 + 4 + 8 + 3 + 4 + 5);

    r = reader_over(writer_done(&w));
    reader_expect(&r, "MAGIC");
    CHECK_EQ(reader_u8(&r), 0xab);
    CHECK_EQ(reader_u16(&r), 0x1234);
    CHECK_EQ(reader_u32(&r), 0x89abcdef);
    CHECK(reader_u64(&r) == UINT64_C(0x0123456789abcdef));
    reader_bytes(&r, three, 3);
    CHECK_BYTES(three, "xyz", 3);
    lp = reader_lp(&r, 5);
    CHECK(view_equal(lp, view_text("hello")));
    CHECK(reader_done(&r));
}

TEST(cursor__stays_failed_after_a_short_read)
{
    const uint8_t bytes[3] = { 1, 2, 3 };
    struct reader r = reader_over(view_of(bytes, sizeof bytes));

    UNUSED_STATE;
    CHECK_EQ(reader_u32(&r), 0);
    CHECK_EQ(reader_u8(&r), 0);
    CHECK(!reader_ok(&r));
    CHECK(!reader_done(&r));
}

TEST(cursor__refuses_a_length_beyond_its_limit_or_its_input)
{
    const uint8_t bytes[] = { 4, 0, 0, 0, 'a', 'b', 'c', 'd' };
    const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff, 'a' };
    struct reader r = reader_over(view_of(bytes, sizeof bytes));

    UNUSED_STATE;
    CHECK_EQ(reader_lp(&r, 3).n, 0);
    CHECK(!reader_ok(&r));
    r = reader_over(view_of(huge, sizeof huge));
    CHECK_EQ(reader_lp(&r, SIZE_MAX).n, 0);
    CHECK(!reader_ok(&r));
}

TEST(cursor__sees_what_is_left_over)
{
    const uint8_t bytes[3] = { 1, 2, 3 };
    struct reader r = reader_over(view_of(bytes, sizeof bytes));

    UNUSED_STATE;
    CHECK_EQ(reader_u16(&r), 0x0201);
    CHECK(reader_ok(&r));
    CHECK(!reader_done(&r));
}

TEST(writer__fails_when_fixed_room_is_full)
{
    uint8_t room[4];
    struct writer w;

    UNUSED_STATE;
    writer_init_fixed(&w, (struct span){ room, sizeof room });
    writer_u32(&w, 7);
    CHECK(writer_ok(&w));
    writer_u8(&w, 1);
    CHECK(!writer_ok(&w));
    CHECK(writer_done(&w).p == NULL);
    writer_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(cursor__reads_what_was_written),
        UNIT(cursor__stays_failed_after_a_short_read),
        UNIT(cursor__refuses_a_length_beyond_its_limit_or_its_input),
        UNIT(cursor__sees_what_is_left_over),
        UNIT(writer__fails_when_fixed_room_is_full),
    };

    return RUN_TESTS(tests);
}
