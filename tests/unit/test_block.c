#include "format_check.h"

#include "format/block.h"

static const struct seg_geometry known = { AEAD_GCM, 14, SEG_LOG2 };
static const struct seg_geometry usual = { AEAD_GCM, BLOCK_LOG2, SEG_LOG2 };
static const struct seg_geometry software = { AEAD_XCHACHA, BLOCK_LOG2, SEG_LOG2 };

static struct symkey key_of(uint64_t seg_index, const struct seg_geometry *g)
{
    struct id16 file = selftest_inputs_id("file");
    uint8_t salt[SALT_BYTES];
    struct symkey k;

    selftest_inputs_bytes("salt", salt, sizeof salt);
    segment_key(sample_fk(), salt, &file, seg_index, g, &k);
    return k;
}

TEST(segment_key__is_the_known_answer)
{
    struct symkey k = key_of(5, &known);

    UNUSED_STATE;
    check_hex(k.b, sizeof k.b,
              "7c94e28937073f2c955177687aee72f55a19a4e893417ed6730c111562bc908a");
}

TEST(segment_key__differs_by_every_input)
{
    struct symkey base = key_of(5, &usual);
    struct symkey other_seg = key_of(6, &usual);
    struct symkey other_geometry = key_of(5, &known);
    struct symkey other_suite = key_of(5, &software);
    struct id16 dir = selftest_inputs_id("dir");
    uint8_t salt[SALT_BYTES];
    struct symkey other_file;
    struct symkey other_salt;

    UNUSED_STATE;
    selftest_inputs_bytes("salt", salt, sizeof salt);
    segment_key(sample_fk(), salt, &dir, 5, &usual, &other_file);
    salt[31] ^= 1;
    dir = selftest_inputs_id("file");
    segment_key(sample_fk(), salt, &dir, 5, &usual, &other_salt);
    CHECK(memcmp(&base, &other_seg, sizeof base) != 0);
    CHECK(memcmp(&base, &other_geometry, sizeof base) != 0);
    CHECK(memcmp(&base, &other_suite, sizeof base) != 0);
    CHECK(memcmp(&base, &other_file, sizeof base) != 0);
    CHECK(memcmp(&base, &other_salt, sizeof base) != 0);
}

TEST(block__is_the_known_answer)
{
    struct symkey k = key_of(5, &known);
    uint8_t entry[STRIP_ENTRY_GCM_BYTES];
    uint8_t nonce[12];
    uint8_t ct[11];

    UNUSED_STATE;
    selftest_inputs_bytes("bn", nonce, sizeof nonce);
    CHECK_EQ(block_seal(&known, &k, 7, nonce, view_text("hello block"), ct, entry), 0);
    CHECK_BYTES(entry, nonce, sizeof nonce);
    check_hex(ct, sizeof ct, "b9423caf6b6c8ba7197e3f");
    check_hex(entry + 12, 16, "6534d88f2559d0781bab1edfa56a4a77");
}

/* A sealed block that the next tests lay in wrong places. */
struct sealed {
    struct symkey key;
    uint8_t ct[BLOCK_BYTES];
    uint8_t entry[STRIP_ENTRY_XCHACHA_BYTES];
};

static void seal(const struct seg_geometry *g, uint64_t seg, uint32_t index, size_t n,
                 struct sealed *out)
{
    uint8_t nonce[24] = { 0 };
    uint8_t plain[BLOCK_BYTES];

    memset(plain, (int)index + 1, n);
    nonce[0] = (uint8_t)index;
    nonce[1] = (uint8_t)seg;
    out->key = key_of(seg, g);
    CHECK_EQ(
        block_seal(g, &out->key, index, nonce, view_of(plain, n), out->ct, out->entry),
        0);
}

static int open_at(const struct seg_geometry *g, const struct sealed *s, uint32_t index,
                   size_t n)
{
    uint8_t plain[BLOCK_BYTES + 1];
    int rc = block_open_sealed(g, &s->key, index, s->entry, view_of(s->ct, n), plain);

    if (rc == 0)
        CHECK(plain[0] == index + 1 && plain[n - 1] == index + 1);
    return rc;
}

TEST(block__opens_where_it_was_sealed_and_nowhere_else)
{
    static const struct seg_geometry *const geometries[] = { &usual, &software };

    UNUSED_STATE;
    for (size_t i = 0; i < 2; i++) {
        const struct seg_geometry *g = geometries[i];
        struct sealed one;
        struct sealed two;
        struct sealed mixed;

        seal(g, 5, 0, BLOCK_BYTES, &one);
        seal(g, 5, 1, BLOCK_BYTES, &two);
        CHECK_EQ(open_at(g, &one, 0, BLOCK_BYTES), 0);
        CHECK_EQ(open_at(g, &two, 1, BLOCK_BYTES), 0);
        CHECK_EQ(open_at(g, &one, 1, BLOCK_BYTES), PHR_E_SEAL); /* blocks swapped */
        mixed = one;
        memcpy(mixed.entry, two.entry, sizeof mixed.entry);
        CHECK_EQ(open_at(g, &mixed, 0, BLOCK_BYTES),
                 PHR_E_SEAL); /* strip entries swapped */
        mixed = one;
        mixed.key = key_of(6, g);
        CHECK_EQ(open_at(g, &mixed, 0, BLOCK_BYTES), PHR_E_SEAL); /* segments swapped */
    }
}

TEST(block__does_not_open_when_cut_or_made_a_hole)
{
    struct sealed s;

    UNUSED_STATE;
    seal(&usual, 5, 3, 904, &s);
    CHECK_EQ(open_at(&usual, &s, 3, 904), 0);
    CHECK_EQ(open_at(&usual, &s, 3, 903), PHR_E_SEAL); /* the last block cut */
    CHECK_EQ(open_at(&usual, &s, 3, 905), PHR_E_SEAL);
    CHECK_EQ(open_at(&usual, &s, 3, 0), PHR_E_SEAL);
    CHECK(!strip_entry_is_hole(s.entry, AEAD_GCM));
    memset(s.entry, 0, sizeof s.entry);
    CHECK(strip_entry_is_hole(s.entry, AEAD_GCM));
    CHECK_EQ(open_at(&usual, &s, 3, 904), PHR_E_SEAL); /* a hole has no bytes */
}

TEST(block__does_not_open_when_any_byte_is_flipped)
{
    struct sealed s;

    UNUSED_STATE;
    seal(&usual, 5, 3, 50, &s);
    for (size_t at = 0; at < 50; at++) {
        s.ct[at] ^= 1;
        CHECK_EQ(open_at(&usual, &s, 3, 50), PHR_E_SEAL);
        s.ct[at] ^= 1;
    }
    for (size_t at = 0; at < STRIP_ENTRY_GCM_BYTES; at++) {
        s.entry[at] ^= 1;
        CHECK_EQ(open_at(&usual, &s, 3, 50), PHR_E_SEAL);
        s.entry[at] ^= 1;
    }
    CHECK_EQ(open_at(&usual, &s, 3, 50), 0);
}

TEST(block__may_be_opened_in_place)
{
    struct sealed s;

    UNUSED_STATE;
    seal(&usual, 5, 2, BLOCK_BYTES, &s);
    CHECK_EQ(
        block_open_sealed(&usual, &s.key, 2, s.entry, view_of(s.ct, BLOCK_BYTES), s.ct),
        0);
    CHECK(s.ct[0] == 3 && s.ct[BLOCK_BYTES - 1] == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(segment_key__is_the_known_answer),
        UNIT(segment_key__differs_by_every_input),
        UNIT(block__is_the_known_answer),
        UNIT(block__opens_where_it_was_sealed_and_nowhere_else),
        UNIT(block__does_not_open_when_cut_or_made_a_hole),
        UNIT(block__does_not_open_when_any_byte_is_flipped),
        UNIT(block__may_be_opened_in_place),
    };

    return RUN_TESTS(tests);
}
