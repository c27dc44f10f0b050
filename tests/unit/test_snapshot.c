#include "format_check.h"

#include "format/snapshot.h"

struct seen {
    size_t count[SNAPSHOT_KINDS];
    size_t all;
    size_t stop_at;
};

static int on_row(void *user, enum snapshot_kind kind, struct view row)
{
    struct seen *seen = user;

    CHECK(row.n >= 16);
    seen->count[kind]++;
    seen->all++;
    return seen->all == seen->stop_at ? -EINTR : 0;
}

static int decode(struct view bytes)
{
    struct snapshot_head h;
    struct seen seen = { 0 };
    int rc = snapshot_decode(bytes, &h, on_row, &seen);

    if (rc < 0)
        CHECK_EQ(seen.all, 0); /* nothing comes out of an object that is not whole */
    return rc;
}

TEST(snapshot__comes_back_row_by_row)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct snapshot_head h;
    struct seen seen = { 0 };

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("snapshot", &w), 0);
    CHECK_EQ(snapshot_decode(writer_done(&w), &h, on_row, &seen), 0);
    CHECK(h.seq == 44 && h.ctx.epoch == 3);
    for (size_t i = 0; i < SNAPSHOT_KINDS; i++)
        CHECK_EQ(seen.count[i], 1);
    seen = (struct seen){ .stop_at = 2 };
    CHECK_EQ(snapshot_decode(writer_done(&w), &h, on_row, &seen), -EINTR);
    CHECK_EQ(seen.all, 2);
}

TEST(snapshot__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("snapshot", decode, 0);
}

TEST(snapshot__does_not_believe_a_count)
{
    UNUSED_STATE;
    check_byte("snapshot", decode, 84, 2);
    check_byte("snapshot", decode, 87, 0xff);
    check_byte("snapshot", decode, 84, 0);
}

static int encode(const uint8_t *ids, size_t count, enum snapshot_kind kind)
{
    struct snapshot_rows all[SNAPSHOT_KINDS] = { 0 };
    const struct snapshot_head h = { .seq = 1 };
    scoped(writer_fini) struct writer w = { 0 };
    uint8_t bytes[4][16] = { { 0 } };
    struct view rows[4];
    int rc;

    for (size_t i = 0; i < count; i++) {
        bytes[i][0] = ids[i];
        rows[i] = view_of(bytes[i], sizeof bytes[i]);
    }
    all[kind] = (struct snapshot_rows){ rows, count };
    writer_init(&w);
    rc = snapshot_encode(&h, all, &w);
    return rc == 0 ? decode(writer_done(&w)) : rc;
}

TEST(snapshot__wants_its_rows_in_order)
{
    UNUSED_STATE;
    CHECK_EQ(encode((const uint8_t[]){ 1, 2, 3 }, 3, SNAPSHOT_INODE), 0);
    CHECK_EQ(encode((const uint8_t[]){ 1, 3, 2 }, 3, SNAPSHOT_INODE), PHR_E_LIMIT);
    CHECK_EQ(encode((const uint8_t[]){ 1, 1 }, 2, SNAPSHOT_SEAL), PHR_E_LIMIT);
    CHECK_EQ(encode((const uint8_t[]){ 1, 1 }, 2, SNAPSHOT_HEADER),
             0); /* two generations */
    CHECK_EQ(encode(NULL, 0, SNAPSHOT_DENTRY), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(snapshot__comes_back_row_by_row),
        UNIT(snapshot__refuses_every_cut_and_one_byte_more),
        UNIT(snapshot__does_not_believe_a_count),
        UNIT(snapshot__wants_its_rows_in_order),
    };

    return RUN_TESTS(tests);
}
