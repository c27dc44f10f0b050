/*
 * The known answers of the format description's appendix A beyond the PRE-KEM: header, segment
 * key, block, name tag, ledger entry. The key-aggregate values wait for that part of the
 * product. tests/unit/test_pre.c has the rest.
 */
#include "../unit/check.h"

#include <string.h>

#include "base/cursor.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/pre_writer_test.h"
#include "crypto/selftest_inputs.h"
#include "format/block.h"
#include "format/entry_test.h"
#include "format/header_seal_test.h"
#include "format/row.h"

static const char header_hex[] =
    "50485246532d4831010e160100000000e9a91da88834ebce833775014e5670a9"
    "00f26fcebb58de1eca3888750b64f250030000007479c78b8a15babdb1439798"
    "2767b61f01000000a241c87658ba06e5b2c4e3f306658523cc8fe417893314b7"
    "7a2e4ec7e8c23b4efabaed31a5f8f6450344d37f36cf8026e76125431d0da6bc"
    "b1b7dc31eb96985b10bf1ef2ccb84973dc1112bde52cc2f1cae6f4505970931c"
    "3ccac765215678048f5828252ea82ee6f0f28d29f19a9ea011a04bafb563199e"
    "145ed056391bf5e2959211e3810c3d5202d08e47d35df6a07f91c4048812e936"
    "40174507607371d7d90b2c62e0e5a61a25295ddeeea274da5de0922314a5bfb3"
    "ff8d9e2e7f44dc27";
static const char header_sha_hex[] =
    "ba65080e94d552e265ffc3528f9d8d1e7263c88d312b55d893226b255d955639";

static void check_hex(const uint8_t *found, size_t n, const char *hex)
{
    uint8_t want[512];

    CHECK(n <= sizeof want);
    selftest_inputs_hex(hex, want, n);
    CHECK_BYTES(found, want, n);
}

TEST(appendix_a__header)
{
    struct header h = { .suite = AEAD_GCM, .block_log2 = 14, .seg_log2 = 22 };
    struct symkey fk;
    struct file_key key = { 1, &fk };
    struct file_key opened[FK_COUNT_MAX];
    struct header parsed;
    size_t count = 0;
    struct symkey kek;
    struct scalar r;
    struct scalar u;
    struct scalar a;
    struct point a_pub;
    uint8_t nonce[12];
    struct digest d;
    scoped(writer_fini) struct writer w;

    UNUSED_STATE;
    writer_init(&w);
    h.ctx = selftest_inputs_file();
    selftest_inputs_bytes("fk", fk.b, sizeof fk.b);
    selftest_inputs_bytes("nonce", nonce, sizeof nonce);
    selftest_inputs_scalar("r", &r);
    selftest_inputs_scalar("u", &u);
    selftest_inputs_scalar("a", &a);
    CHECK_EQ(pre_public(&a, &a_pub), 0);
    CHECK_EQ(pre_encaps_with(&r, &u, &a_pub, &h.ctx, &h.capsule, &kek, &h.commit), 0);
    CHECK_EQ(header_seal_with(&h, &kek, &key, 1, nonce, &w), 0);
    CHECK(writer_ok(&w));
    CHECK_EQ(w.n, 264);
    check_hex(w.p, w.n, header_hex);
    d = header_digest(writer_done(&w));
    check_hex(d.b, 32, header_sha_hex);

    CHECK_EQ(header_decode(writer_done(&w), &parsed), 0);
    CHECK_EQ(header_open_sealed(&parsed, &kek, opened, &count), 0);
    CHECK_EQ(count, 1);
    CHECK_EQ(opened[0].gen, 1);
    CHECK_BYTES(opened[0].key->b, fk.b, 32);
    file_keys_free(opened, count);
}

TEST(appendix_a__segment_key_and_block)
{
    const struct seg_geometry g = { AEAD_GCM, 14, 22 };
    struct id16 file = selftest_inputs_id("file");
    struct symkey fk;
    struct symkey key;
    uint8_t salt[SALT_BYTES];
    uint8_t nonce[12];
    uint8_t ct[11 + 16];
    uint8_t entry[STRIP_ENTRY_GCM_BYTES];
    uint8_t back[11];

    UNUSED_STATE;
    selftest_inputs_bytes("fk", fk.b, sizeof fk.b);
    selftest_inputs_bytes("salt", salt, sizeof salt);
    selftest_inputs_bytes("bn", nonce, sizeof nonce);
    segment_key(&fk, salt, &file, 5, &g, &key);
    check_hex(key.b, 32,
              "7c94e28937073f2c955177687aee72f55a19a4e893417ed6730c111562bc908a");
    CHECK_EQ(block_seal(&g, &key, 7, nonce, view_text("hello block"), ct, entry), 0);
    CHECK_BYTES(entry, nonce, sizeof nonce);
    memcpy(ct + 11, entry + 12, 16);
    check_hex(ct, sizeof ct, "b9423caf6b6c8ba7197e3f6534d88f2559d0781bab1edfa56a4a77");
    CHECK_EQ(block_open_sealed(&g, &key, 7, entry, view_of(ct, 11), back), 0);
    CHECK_BYTES(back, "hello block", 11);
    CHECK_EQ(block_open_sealed(&g, &key, 8, entry, view_of(ct, 11), back), PHR_E_SEAL);
    CHECK_EQ(block_open_sealed(&g, &key, 7, entry, view_of(ct, 10), back), PHR_E_SEAL);
}

TEST(appendix_a__name_tag)
{
    struct class_ctx ctx = selftest_inputs_file().class_ctx;
    struct id16 dir = selftest_inputs_id("dir");
    struct id16 tag;
    struct symkey nk;
    struct row_keys keys;

    UNUSED_STATE;
    selftest_inputs_bytes("nk", nk.b, sizeof nk.b);
    CHECK_EQ(row_keys_derive(&nk, &ctx, &keys), 0);
    tag = name_tag(&keys, &dir, view_text("scan-2026.dcm"));
    check_hex(tag.b, 16, "62e1d2de54d2519fc648e36bca05615e");
    row_keys_free(&keys);
}

/* The body is 32 opaque bytes: for hash and signature only, the decoder refuses it. */
TEST(appendix_a__ledger_entry)
{
    scoped(sign_key_free) struct sign_key *srs = NULL;
    scoped(writer_fini) struct writer w;
    struct entry e = { .seq = 0, .type = 1, .time_s = 1790000000 };
    struct entry parsed;
    struct digest header_sha;
    struct digest rec_hash;
    struct verify_key pk;
    struct symkey seed;

    UNUSED_STATE;
    writer_init(&w);
    selftest_inputs_bytes("edseed", seed.b, sizeof seed.b);
    srs = sign_key_from_seed(&seed);
    CHECK(srs != NULL);
    pk = sign_key_public(srs);
    e.patient = selftest_inputs_id("patient");
    e.srs = selftest_inputs_id("reader");
    selftest_inputs_bytes("card", e.srs_card.b, sizeof e.srs_card.b);
    selftest_inputs_hex(header_sha_hex, header_sha.b, sizeof header_sha.b);
    CHECK_EQ(entry_encode_body(&e, view_of(header_sha.b, 32), srs, &w, &rec_hash), 0);
    check_hex(rec_hash.b, 32,
              "51eddb678419ef2bd74230ea544e8708e94d1c2565be21a97a66fd772ca783ac");
    check_hex(e.sig.b, 64,
              "cb758ad4d904eac085874bb671406fb7341758ac6ec0899e102b3f7667e826e0"
              "d6fe5bb33f859f756aef461b053144f8f6fbbd4e9baaa6bb034a9818c90fcf08");
    check_hex(e.leaf.b, 32,
              "bf83e0e1da90f87cfdf878a3941c114106b599639d2c89a97bca3f5a700d99d5");
    CHECK_EQ(sign_check_labelled(&pk, LABEL_LEDGER, &rec_hash, &e.sig), 0);
    CHECK_EQ(entry_decode(writer_done(&w), &parsed), PHR_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(appendix_a__header),
        UNIT(appendix_a__segment_key_and_block),
        UNIT(appendix_a__name_tag),
        UNIT(appendix_a__ledger_entry),
    };

    return RUN_TESTS(tests);
}
