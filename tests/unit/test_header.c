#include "format_check.h"

#include "crypto/pre_owner.h"
#include "crypto/pre_writer_test.h"
#include "format/header_seal_test.h"

/* CRYPTO appendix A; block_log2 is 14 there. */
static const char known_header[] =
    "50485246532d4831010e160100000000e9a91da88834ebce833775014e5670a900f26fcebb58de1eca38"
    "88750b64f250030000007479c78b8a15babdb14397982767b61f01000000a241c87658ba06e5b2c4e3f3"
    "06658523cc8fe417893314b77a2e4ec7e8c23b4efabaed31a5f8f6450344d37f36cf8026e76125431d0d"
    "a6bcb1b7dc31eb96985b10bf1ef2ccb84973dc1112bde52cc2f1cae6f4505970931c3ccac76521567804"
    "8f5828252ea82ee6f0f28d29f19a9ea011a04bafb563199e145ed056391bf5e2959211e3810c3d5202d0"
    "8e47d35df6a07f91c4048812e93640174507607371d7d90b2c62e0e5a61a25295ddeeea274da5de09223"
    "14a5bfb3ff8d9e2e7f44dc27";

struct parts {
    struct header h;
    struct symkey kek;
    uint8_t nonce[24];
};

static void parts_make(struct parts *p)
{
    struct point a = sample_public("a");

    *p = (struct parts){
        .h = { .suite = AEAD_GCM, .block_log2 = 14, .seg_log2 = SEG_LOG2 }
    };
    p->h.ctx = selftest_inputs_file();
    CHECK_EQ(pre_encaps_with(sample_scalar("r"), sample_scalar("u"), &a, &p->h.ctx,
                             &p->h.capsule, &p->kek, &p->h.commit),
             0);
    selftest_inputs_bytes("nonce", p->nonce, 12);
}

static int decode(struct view bytes)
{
    struct header h;

    return header_decode(bytes, &h);
}

TEST(header__is_the_known_answer)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct symkey fk = sample_key("fk");
    const struct file_key key = { 1, &fk };
    struct parts p;
    struct digest d;

    UNUSED_STATE;
    parts_make(&p);
    writer_init(&w);
    CHECK_EQ(header_seal_with(&p.h, &p.kek, &key, 1, p.nonce, &w), 0);
    check_hex(w.p, w.n, known_header);
    d = header_digest(writer_done(&w));
    check_hex(d.b, sizeof d.b,
              "ba65080e94d552e265ffc3528f9d8d1e7263c88d312b55d893226b255d955639");
}

TEST(header__opens_with_the_owners_secret)
{
    struct file_key keys[FK_COUNT_MAX];
    struct symkey fk = sample_key("fk");
    uint8_t bytes[264];
    struct header h;
    struct symkey kek;
    size_t used = secret_used_bytes();
    size_t count;

    UNUSED_STATE;
    CHECK_EQ(hex_decode(known_header, bytes, sizeof bytes), 0);
    CHECK_EQ(header_decode(view_of(bytes, sizeof bytes), &h), 0);
    CHECK_EQ(h.block_log2, 14);
    CHECK_EQ(h.ctx.hdr_gen, 1);
    CHECK_EQ(pre_owner_decaps(sample_scalar("a"), &h.ctx, &h.capsule, &h.commit, &kek),
             0);
    CHECK_EQ(header_open_sealed(&h, &kek, keys, &count), 0);
    CHECK_EQ(count, 1);
    CHECK_EQ(keys[0].gen, 1);
    CHECK_BYTES(keys[0].key->b, fk.b, sizeof fk.b);
    file_keys_free(keys, count);
    CHECK_EQ(secret_used_bytes(), used);
}

TEST(header__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("header", decode, 0);
}

TEST(header__refuses_what_is_out_of_range)
{
    UNUSED_STATE;
    check_byte("header", decode, 0, 'Q');
    check_byte("header", decode, 7, '2');
    check_byte("header", decode, 8, 0);
    check_byte("header", decode, 8,
               2); /* a suite whose nonce is longer than what is there */
    check_byte("header", decode, 8, 3);
    check_byte("header", decode, 9, 11);
    check_byte("header", decode, 9, 17);
    check_byte("header", decode, 10, 21);
    check_byte("header", decode, 10, 23);
    check_byte("header", decode, 11, 0);
    check_byte("header", decode, 11, 2);
    check_byte("header", decode, 11, 17);
    for (size_t at = 12; at < 16; at++)
        check_byte("header", decode, at, 1); /* no flag is known */
}

TEST(header__holds_sixteen_keys_in_either_suite)
{
    static const enum aead_suite suites[] = { AEAD_GCM, AEAD_XCHACHA };
    struct symkey fks[FK_COUNT_MAX];
    struct file_key in[FK_COUNT_MAX];
    struct parts p;

    UNUSED_STATE;
    parts_make(&p);
    for (size_t i = 0; i < FK_COUNT_MAX; i++) {
        memset(fks[i].b, (int)i + 1, sizeof fks[i].b);
        in[i] = (struct file_key){ (uint32_t)(3 * i), &fks[i] };
    }
    for (size_t s = 0; s < 2; s++) {
        scoped(writer_fini) struct writer w = { 0 };
        struct file_key out[FK_COUNT_MAX];
        struct header h;
        size_t count;

        writer_init(&w);
        CHECK_EQ(header_seal(suites[s], &p.h.ctx, &p.h.capsule, &p.kek, &p.h.commit, in,
                             FK_COUNT_MAX, &w),
                 0);
        CHECK_EQ(w.n, 200 + aead_nonce_bytes(suites[s]) + 36 * FK_COUNT_MAX + 16);
        CHECK(w.n <= HEADER_BYTES_MAX);
        CHECK_EQ(header_decode(writer_done(&w), &h), 0);
        CHECK_EQ(h.block_log2, BLOCK_LOG2);
        CHECK_EQ(header_open_sealed(&h, &p.kek, out, &count), 0);
        CHECK_EQ(count, FK_COUNT_MAX);
        for (size_t i = 0; i < count; i++) {
            CHECK_EQ(out[i].gen, 3 * i);
            CHECK_BYTES(out[i].key->b, fks[i].b, 32);
        }
        file_keys_free(out, count);
    }
}

TEST(header__does_not_open_when_any_byte_is_flipped)
{
    uint8_t bytes[264];
    struct parts p;

    UNUSED_STATE;
    parts_make(&p);
    for (size_t at = 0; at < sizeof bytes; at++) {
        struct file_key keys[FK_COUNT_MAX];
        struct header h;
        size_t count;

        CHECK_EQ(hex_decode(known_header, bytes, sizeof bytes), 0);
        bytes[at] ^= 0x10;
        if (header_decode(view_of(bytes, sizeof bytes), &h) < 0)
            continue;
        CHECK_EQ(header_open_sealed(&h, &p.kek, keys, &count), PHR_E_SEAL);
    }
}

TEST(header__does_not_open_for_another_file_or_key)
{
    struct symkey other = sample_key("nk");
    struct file_key keys[FK_COUNT_MAX];
    uint8_t bytes[264];
    struct header h;
    struct symkey kek;
    size_t count;

    UNUSED_STATE;
    CHECK_EQ(hex_decode(known_header, bytes, sizeof bytes), 0);
    CHECK_EQ(header_decode(view_of(bytes, sizeof bytes), &h), 0);
    CHECK_EQ(header_open_sealed(&h, &other, keys, &count), PHR_E_SEAL);
    h.ctx.hdr_gen++; /* the capsule is bound to its generation */
    CHECK_EQ(pre_owner_decaps(sample_scalar("a"), &h.ctx, &h.capsule, &h.commit, &kek),
             PHR_E_SEAL);
}

TEST(header__is_refused_when_generations_do_not_rise)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct symkey fk = sample_key("fk");
    const struct file_key two[2] = { { 1, &fk }, { 2, &fk } };
    struct file_key keys[FK_COUNT_MAX];
    size_t used = secret_used_bytes();
    uint8_t plain[72] = { 0 };
    struct parts p;
    struct header h;
    size_t count;

    UNUSED_STATE;
    parts_make(&p);
    writer_init(&w);
    CHECK_EQ(header_seal_with(&p.h, &p.kek, two, 2, p.nonce, &w), 0);
    plain[0] = 5; /* generation 5, then 5 again */
    plain[36] = 5;
    CHECK_EQ(aead_seal(AEAD_GCM, &p.kek, p.nonce, view_of(w.p, 212), view_of(plain, 72),
                       w.p + 212, w.p + 212 + 72),
             0);
    CHECK_EQ(header_decode(writer_done(&w), &h), 0);
    CHECK_EQ(header_open_sealed(&h, &p.kek, keys, &count), PHR_E_FORMAT);
    CHECK_EQ(secret_used_bytes(), used);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(header__is_the_known_answer),
        UNIT(header__opens_with_the_owners_secret),
        UNIT(header__refuses_every_cut_and_one_byte_more),
        UNIT(header__refuses_what_is_out_of_range),
        UNIT(header__holds_sixteen_keys_in_either_suite),
        UNIT(header__does_not_open_when_any_byte_is_flipped),
        UNIT(header__does_not_open_for_another_file_or_key),
        UNIT(header__is_refused_when_generations_do_not_rise),
    };

    return RUN_TESTS(tests);
}
