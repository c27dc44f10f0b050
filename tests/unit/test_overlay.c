#include "format_check.h"

#include "format/overlay.h"

static struct overlay_keys keys;
static struct overlay_group group; /* too large for comfort on the stack */

static int keys_open(void **state)
{
    (void)state;
    return sample_overlay_keys(&keys);
}

static int keys_close(void **state)
{
    (void)state;
    overlay_keys_free(&keys);
    return 0;
}

static int decode(struct view bytes)
{
    struct digest mac;
    size_t n;

    return overlay_group_decode(bytes, AEAD_GCM, &keys, &group, &n, &mac);
}

TEST(overlay_group__comes_back_as_it_was)
{
    static struct overlay_group in;
    scoped(writer_fini) struct writer w = { 0 };
    struct digest made;
    struct digest read;
    size_t n;

    UNUSED_STATE;
    sample_overlay_group(&in);
    writer_init(&w);
    CHECK_EQ(overlay_group_encode(&in, AEAD_GCM, &keys, &w, &made), 0);
    CHECK_EQ(w.n, 4096);
    writer_bytes(&w, "block data behind it", 20);
    CHECK_EQ(overlay_group_decode(writer_done(&w), AEAD_GCM, &keys, &group, &n, &read),
             0);
    CHECK_EQ(n, 4096);
    CHECK(digest_equal(&made, &read));
    CHECK(id_equal(&in.log_id, &group.log_id) && digest_equal(&in.prev, &group.prev));
    CHECK(group.group_no == 3 && group.file_size == 123456);
    CHECK(group.mtime_s == in.mtime_s && group.mtime_ns == 5);
    CHECK_EQ(group.count, 4);
    for (size_t i = 0; i < 4; i++) {
        CHECK(group.records[i].block == in.records[i].block);
        CHECK(group.records[i].len == in.records[i].len);
        CHECK_EQ(group.records[i].kind, in.records[i].kind);
    }
    CHECK_BYTES(group.records[0].nonce, in.records[0].nonce, 12);
    CHECK_BYTES(group.records[0].tag, in.records[0].tag, 16);
}

TEST(overlay_group__holds_256_records_in_whole_pages)
{
    static const enum aead_suite suites[] = { AEAD_GCM, AEAD_XCHACHA };
    static struct overlay_group in;

    UNUSED_STATE;
    for (size_t s = 0; s < 2; s++) {
        scoped(writer_fini) struct writer w = { 0 };
        struct digest mac;
        size_t n;

        sample_overlay_group(&in);
        in.count = OVERLAY_GROUP_RECORDS_MAX;
        for (size_t i = 0; i < in.count; i++)
            in.records[i] =
                (struct overlay_record){ i, BLOCK_BYTES, OVERLAY_DATA, { 1 }, { 2 } };
        writer_init(&w);
        CHECK_EQ(overlay_group_encode(&in, suites[s], &keys, &w, &mac), 0);
        CHECK_EQ(w.n % 4096, 0);
        CHECK_EQ(
            overlay_group_decode(writer_done(&w), suites[s], &keys, &group, &n, &mac), 0);
        CHECK_EQ(n, w.n);
        CHECK(group.records[255].block == 255);
    }
}

TEST(overlay_group__refuses_cuts)
{
    scoped(writer_fini) struct writer w = { 0 };

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("overlay_group", &w), 0);
    for (size_t n = 0; n < w.n; n++)
        CHECK_EQ(decode_exact(decode, writer_done(&w), n), PHR_E_FORMAT);
}

TEST(overlay_group__is_refused_when_any_byte_is_flipped)
{
    scoped(writer_fini) struct writer w = { 0 };

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("overlay_group", &w), 0);
    for (size_t at = 0; at < w.n; at++) {
        int rc;

        w.p[at] ^= 0x40;
        rc = decode(writer_done(&w));
        CHECK(rc == PHR_E_SEAL || rc == PHR_E_FORMAT);
        w.p[at] ^= 0x40;
    }
    CHECK_EQ(decode(writer_done(&w)), 0);
}

TEST(overlay_group__is_refused_with_keys_of_another_log_or_suite)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct id16 file = selftest_inputs_id("file");
    struct id16 other = selftest_inputs_id("dir");
    struct overlay_keys wrong;
    struct digest mac;
    size_t n;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("overlay_group", &w), 0);
    CHECK_EQ(overlay_keys_derive(sample_fk(), &other, &file, &wrong), 0);
    CHECK_EQ(overlay_group_decode(writer_done(&w), AEAD_GCM, &wrong, &group, &n, &mac),
             PHR_E_SEAL);
    overlay_keys_free(&wrong);
    CHECK_EQ(overlay_group_decode(writer_done(&w), AEAD_XCHACHA, &keys, &group, &n, &mac),
             PHR_E_SEAL);
}

TEST(overlay_chain__differs_when_groups_are_swapped_or_dropped)
{
    struct id16 log = selftest_inputs_id("log");
    struct digest m0 = digest_sha256(view_text("mac 0"));
    struct digest m1 = digest_sha256(view_text("mac 1"));
    struct digest c0 = overlay_chain_start(&log);
    struct digest c1 = overlay_chain_next(&c0, &m0);
    struct digest c2 = overlay_chain_next(&c1, &m1);
    struct digest s1 = overlay_chain_next(&c0, &m1);
    struct digest s2 = overlay_chain_next(&s1, &m0);

    UNUSED_STATE;
    CHECK(!digest_equal(&c2, &s2) && !digest_equal(&c2, &s1) && !digest_equal(&c1, &s1));
}

TEST(overlay_block__opens_in_its_place_only)
{
    static const enum aead_suite suites[] = { AEAD_GCM, AEAD_XCHACHA };
    struct id16 log = selftest_inputs_id("log");
    struct id16 other_log = selftest_inputs_id("dir");

    UNUSED_STATE;
    for (size_t s = 0; s < 2; s++) {
        struct overlay_record r = { .block = 9, .len = 11, .kind = OVERLAY_DATA };
        struct overlay_record moved;
        uint8_t ct[11];
        uint8_t plain[11];
        enum aead_suite suite = suites[s];

        CHECK_EQ(
            overlay_block_seal(suite, &keys, &log, 3, &r, view_text("hello block"), ct),
            0);
        CHECK_EQ(overlay_block_open_sealed(suite, &keys, &log, 3, &r, ct, plain), 0);
        CHECK_BYTES(plain, "hello block", 11);
        CHECK_EQ(overlay_block_open_sealed(suite, &keys, &log, 4, &r, ct, plain),
                 PHR_E_SEAL);
        CHECK_EQ(overlay_block_open_sealed(suite, &keys, &other_log, 3, &r, ct, plain),
                 PHR_E_SEAL);
        moved = r;
        moved.block = 10;
        CHECK_EQ(overlay_block_open_sealed(suite, &keys, &log, 3, &moved, ct, plain),
                 PHR_E_SEAL);
        moved = r;
        moved.len = 10;
        CHECK_EQ(overlay_block_open_sealed(suite, &keys, &log, 3, &moved, ct, plain),
                 PHR_E_SEAL);
        moved = r;
        moved.kind = OVERLAY_ZERO;
        CHECK_EQ(overlay_block_open_sealed(suite, &keys, &log, 3, &moved, ct, plain),
                 PHR_E_SEAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(overlay_group__comes_back_as_it_was),
        UNIT(overlay_group__holds_256_records_in_whole_pages),
        UNIT(overlay_group__refuses_cuts),
        UNIT(overlay_group__is_refused_when_any_byte_is_flipped),
        UNIT(overlay_group__is_refused_with_keys_of_another_log_or_suite),
        UNIT(overlay_chain__differs_when_groups_are_swapped_or_dropped),
        UNIT(overlay_block__opens_in_its_place_only),
    };

    return secret_arena_open() < 0 ? 1
                                   : cmocka_run_group_tests(tests, keys_open, keys_close);
}
