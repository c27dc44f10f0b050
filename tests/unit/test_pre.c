/*
 * The PRE-KEM of CRYPTO 2.1: appendix A's values of it, the group's own vectors (RFC 9496
 * appendix A), and everything that must be refused (CRYPTO 1.12, 1.13).
 */
#include "check.h"

#include <sodium.h>
#include <string.h>

#include "base/cursor.h"
#include "crypto/pre_kem.h"
#include "crypto/pre_owner_test.h"
#include "crypto/pre_proxy_test.h"
#include "crypto/pre_reader.h"
#include "crypto/pre_writer_test.h"
#include "crypto/selftest.h"
#include "crypto/selftest_inputs.h"

static const char order_hex[] =
    "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

/* One compartment-epoch with one file and one reader, made of appendix A's inputs. */
struct world {
    struct scalar a;
    struct scalar b;
    struct scalar rk;
    struct scalar d;
    struct point a_pub;
    struct point b_pub;
    struct point x;
    struct point r;
    struct point w;
    struct point w1;
    struct file_ctx file;
    struct grant_ctx grant;
    struct capsule capsule;
    struct digest commit;
    struct symkey kek;
};

static void world_build(struct world *t);

#define CHECK_HEX(found, hex) check_hex((found), sizeof(found), (hex))

static void check_hex(const uint8_t *found, size_t n, const char *hex)
{
    uint8_t want[128];

    selftest_inputs_hex(hex, want, n);
    CHECK_BYTES(found, want, n);
}

TEST(selftest__passes)
{
    UNUSED_STATE;
    CHECK_EQ(selftest_run(), 0);
    CHECK_EQ(selftest_run_people(), 0);
}

TEST(pre__gives_the_values_of_appendix_a)
{
    struct world t;
    struct scalar k;
    struct point shared;
    struct dleq proof;
    uint8_t h[32];

    UNUSED_STATE;
    world_build(&t);
    CHECK_HEX(t.a_pub.b,
              "9a04f2060bc025bba609bdf0b0929d9d865ed82e7d5b46135f2bd0672fb8fc6e");
    CHECK_HEX(t.capsule.e.b,
              "a241c87658ba06e5b2c4e3f306658523cc8fe417893314b77a2e4ec7e8c23b4e");
    CHECK_HEX(t.capsule.v.b,
              "fabaed31a5f8f6450344d37f36cf8026e76125431d0da6bcb1b7dc31eb96985b");
    CHECK_HEX(t.capsule.s,
              "10bf1ef2ccb84973dc1112bde52cc2f1cae6f4505970931c3ccac76521567804");
    CHECK_HEX(t.kek.b,
              "db12de20809fe04201d45338245fa5f7cbb55318343fced18e744212605e31b1");
    CHECK_HEX(t.commit.b,
              "8f5828252ea82ee6f0f28d29f19a9ea011a04bafb563199e145ed056391bf5e2");
    CHECK_HEX(t.b_pub.b,
              "500c418e620bc0401df27dae300247c66bebc7d3e9ef6d443347c3ca477e9e75");
    CHECK_HEX(t.x.b, "02fe5d43ae7e8d7c73c2eac9e9df0c72a35e7f03970c128d45038d6ce8333456");
    CHECK_HEX(t.d.b, "aadb04a7da9e93bc3499526b6be0a9756b31858cc16db1b8302454505a04680e");
    CHECK_HEX(t.rk.b, "f77a67000b19ce64fa9242bc2cdaf2906f12d96033d11824f6d91e15566dad02");
    CHECK_HEX(t.r.b, "26e9b61e658f0584ad9bef742ebc966c86269b03248a83a80e5d512a41317345");
    CHECK_HEX(t.w1.b, "0852928a2fd953bece014bafd2154c8470fabe2781404cc839f0ce09a90b1126");

    CHECK_EQ(pre_capsule_challenge(&t.file, &t.a_pub, &t.capsule.e, &t.capsule.v, h), 0);
    CHECK_HEX(h, "024341be698a51732796a5eeec02f24c10b7bc0dee41807a98283c38633cb903");
    CHECK_EQ(crypto_scalarmult_ristretto255(shared.b, t.a.b, t.w.b), 0);
    CHECK_HEX(shared.b,
              "9ed5f110e6d54b865f0c427abff233cce4c4941e1817b8fd670cc576b7d59974");
    CHECK_EQ(crypto_scalarmult_ristretto255(shared.b, t.d.b, t.w1.b), 0);
    CHECK_HEX(shared.b,
              "9ed5f110e6d54b865f0c427abff233cce4c4941e1817b8fd670cc576b7d59974");

    selftest_inputs_scalar("k", &k);
    CHECK_EQ(pre_prove_with(&k, &t.rk, &t.file, &t.grant.grant, &t.a_pub, &t.r, &t.w,
                            &t.w1, &proof),
             0);
    CHECK_HEX(proof.c,
              "add7bf96292bd3cdb57825a294a5c95b4c028096f798f3d677607c41323d5a0b");
    CHECK_HEX(proof.z,
              "6e8febc05f5692a302b4afcb6b9c32a05da8e768ba6d439b4e7ed04c1ff17e08");
    CHECK_EQ(
        pre_check_proof(&proof, &t.file, &t.grant.grant, &t.a_pub, &t.r, &t.w, &t.w1), 0);
}

TEST(pre__owner_and_reader_find_the_writers_key)
{
    struct world t;
    struct capsule capsule;
    struct digest commit;
    struct symkey kek;
    struct symkey found;
    struct point w;
    struct point w1;

    UNUSED_STATE;
    world_build(&t);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(pre_encaps(&t.a_pub, &t.file, &capsule, &kek, &commit), 0);
        CHECK_EQ(pre_check_capsule(&capsule, &t.a_pub, &t.file), 0);
        CHECK_EQ(pre_owner_decaps(&t.a, &t.file, &capsule, &commit, &found), 0);
        CHECK_BYTES(found.b, kek.b, sizeof kek.b);

        CHECK_EQ(pre_rekeygen(&t.a, &t.a_pub, &t.b_pub, &t.grant, &t.rk, &t.x, &t.r), 0);
        CHECK_EQ(pre_check_rk(&t.rk, &t.r), 0);
        CHECK_EQ(pre_capsule_w(&capsule, &w), 0);
        CHECK_EQ(pre_reencrypt(&t.rk, &w, &w1), 0);
        CHECK_EQ(
            pre_reader_grant_key(&t.b, &t.grant, &t.a_pub, &t.b_pub, &t.x, &t.r, &t.d),
            0);
        memset(&found, 0, sizeof found);
        CHECK_EQ(
            pre_reader_decaps(&t.d, &t.file, &t.a_pub, &capsule, &w1, &commit, &found),
            0);
        CHECK_BYTES(found.b, kek.b, sizeof kek.b);
    }
}

TEST(pre__never_draws_the_same_capsule_or_grant_key_twice)
{
    struct world t;
    struct capsule one;
    struct capsule two;
    struct digest commit;
    struct symkey kek;
    struct scalar rk;
    struct point x;
    struct point r;

    UNUSED_STATE;
    world_build(&t);
    CHECK_EQ(pre_encaps(&t.a_pub, &t.file, &one, &kek, &commit), 0);
    CHECK_EQ(pre_encaps(&t.a_pub, &t.file, &two, &kek, &commit), 0);
    CHECK(memcmp(&one.e, &two.e, 32) != 0 && memcmp(&one.v, &two.v, 32) != 0);
    CHECK_EQ(pre_rekeygen(&t.a, &t.a_pub, &t.b_pub, &t.grant, &rk, &x, &r), 0);
    CHECK_EQ(pre_rekeygen(&t.a, &t.a_pub, &t.b_pub, &t.grant, &t.rk, &t.x, &t.r), 0);
    CHECK(memcmp(&x, &t.x, 32) != 0 && memcmp(&rk, &t.rk, 32) != 0);
}

TEST(pre__points_are_rfc_9496_multiples_of_the_base)
{
    static const char *const multiples[] = {
        "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
        "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
        "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
        "da80862773358b466ffadfe0b3293ab3d9fd53c5ea6c955358f568322daf6a57",
        "e882b131016b52c1d3337080187cf768423efccbb517bb495ab812c4160ff44e",
        "f64746d3c92b13050ed8d80236a7f0007c3b3f962f5ba793d19a601ebb1df403",
        "44f53520926ec81fbd5a387845beb7df85a96a24ece18738bdcfa6a7822a176d",
        "903293d8f2287ebe10e2374dc1a53e0bc887e592699f02d077d5263cdd55601c",
        "02622ace8f7303a31cafc63f8fc48fdc16e1c8c8d234b2f0d6685282a9076031",
        "20706fd788b2720a1ed2a5dad4952b01f413bcf0e7564de8cdc816689e2db95f",
        "bce83f8ba5dd2fa572864c24ba1810f9522bc6004afe95877ac73241cafdab42",
        "e4549ee16b9aa03099ca208c67adafcafa4c3f3e4e5303de6026e3ca8ff84460",
        "aa52e000df2e16f55fb1032fc33bc42742dad6bd5a8fc0be0167436c5948501f",
        "46376b80f409b29dc2b5f6f0c52591990896e5716f41477cd30085ab7f10301e",
        "e0c418f7c8d9c4cdd7395b93ea124f3ad99021bb681dfc3302a9d99a2e53e64e",
    };

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof multiples / sizeof *multiples; i++) {
        struct scalar n = { { (uint8_t)(i + 1) } };
        struct point p;

        CHECK_EQ(pre_public(&n, &p), 0);
        CHECK_HEX(p.b, multiples[i]);
        CHECK_EQ(pre_point_check(&p), 0);
    }
}

TEST(pre__refuses_the_identity_and_the_bad_encodings_of_rfc_9496)
{
    static const char *const bad[] = {
        "0000000000000000000000000000000000000000000000000000000000000000", /* the identity */
        "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", /* not canonical */
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0100000000000000000000000000000000000000000000000000000000000000", /* negative */
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
        "c34c4e1826e5d403b78e246e88aa051c36ccf0aafebffe137d148a2bf9104562",
        "c940e5a4404157cfb1628b108db051a8d439e1a421394ec4ebccb9ec92a8ac78",
        "47cfc5497c53dc8e61c91d17fd626ffb1c49e2bca94eed052281b510b1117a24",
        "f1c6165d33367351b0da8f6e4511010c68174a03b6581212c71c0e1d026c3c72",
        "87260f7a2f12495118360f02c26a470f450dadf34a413d21042b43b9d93e1309",
        "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371", /* x^2 not square */
        "4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f",
        "de6a7b00deadc788eb6b6c8d20c0ae96c2f2019078fa604fee5b87d6e989ad7b",
        "bcab477be20861e01e4a0e295284146a510150d9817763caf1a6f4b422d67042",
        "2a292df7e32cababbd9de088d1d1abec9fc0440f637ed2fba145094dc14bea08",
        "f4a9e534fc0d216c44b218fa0c42d99635a0127ee2e53c712f70609649fdff22",
        "8268436f8c4126196cf64b3c7ddbda90746a378625f9813dd9b8457077256731",
        "2810e5cbc2cc4d4eece54f61c6f69758e289aa7ab440b3cbeaa21995c2f4232b",
        "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e", /* xy negative */
        "a45fdc55c76448c049a1ab33f17023edfb2be3581e9c7aade8a6125215e04220",
        "d483fe813c6ba647ebbfd3ec41adca1c6130c2beeee9d9bf065c8d151c5f396e",
        "8a2e1d30050198c65a54483123960ccc38aef6848e1ec8f5f780e8523769ba32",
        "32888462f8b486c68ad7dd9610be5192bbeaf3b443951ac1a8118419d9fa097b",
        "227142501b9d4355ccba290404bde41575b037693cef1f438c47f8fbf35d1165",
        "5c37cc491da847cfeb9281d407efc41e15144c876e0170b499a96a22ed31e01e",
        "445425117cb8c90edcbc7c1cc0e74f747f2c1efa5630a967c64f287792a48a4b",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* s = -1, y = 0 */
    };
    struct world t;
    struct capsule c;
    struct point p;
    struct point out;
    struct scalar rk;
    struct scalar d;
    struct symkey kek;
    struct digest commit;

    UNUSED_STATE;
    world_build(&t);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        selftest_inputs_hex(bad[i], p.b, sizeof p.b);
        CHECK_EQ(pre_point_check(&p), PHR_E_POINT);
        /* E, V and A of a capsule */
        c = t.capsule;
        c.e = p;
        CHECK_EQ(pre_check_capsule(&c, &t.a_pub, &t.file), PHR_E_POINT);
        CHECK_EQ(pre_capsule_w(&c, &out), PHR_E_POINT);
        CHECK_EQ(pre_owner_decaps(&t.a, &t.file, &c, &t.commit, &kek), PHR_E_POINT);
        c = t.capsule;
        c.v = p;
        CHECK_EQ(pre_check_capsule(&c, &t.a_pub, &t.file), PHR_E_POINT);
        CHECK_EQ(pre_capsule_w(&c, &out), PHR_E_POINT);
        CHECK_EQ(pre_check_capsule(&t.capsule, &p, &t.file), PHR_E_POINT);
        CHECK_EQ(pre_encaps(&p, &t.file, &c, &kek, &commit), PHR_E_POINT);
        /* A and B of a grant, X and R of one, W and W1 */
        CHECK_EQ(pre_rekeygen(&t.a, &p, &t.b_pub, &t.grant, &rk, &out, &out),
                 PHR_E_POINT);
        CHECK_EQ(pre_rekeygen(&t.a, &t.a_pub, &p, &t.grant, &rk, &out, &out),
                 PHR_E_POINT);
        CHECK_EQ(pre_reader_grant_key(&t.b, &t.grant, &t.a_pub, &t.b_pub, &p, &t.r, &d),
                 PHR_E_POINT);
        CHECK_EQ(pre_reader_grant_key(&t.b, &t.grant, &t.a_pub, &t.b_pub, &t.x, &p, &d),
                 PHR_E_POINT);
        CHECK_EQ(pre_check_rk(&t.rk, &p), PHR_E_POINT);
        CHECK_EQ(pre_reencrypt(&t.rk, &p, &out), PHR_E_POINT);
        CHECK_EQ(
            pre_reader_decaps(&t.d, &t.file, &t.a_pub, &t.capsule, &p, &t.commit, &kek),
            PHR_E_POINT);
    }
}

TEST(pre__refuses_scalars_that_libsodium_takes)
{
    struct world t;
    struct scalar bad[4];
    struct point out;
    struct symkey kek;
    struct capsule c;

    UNUSED_STATE;
    world_build(&t);
    memset(bad, 0, sizeof bad);                   /* 0: zero */
    selftest_inputs_hex(order_hex, bad[1].b, 32); /* 1: L, whose inverse "succeeds" */
    memset(bad[2].b, 0xff, 32);                   /* 2: the largest */
    bad[3] = t.a;                                 /* 3: a with bit 255, which is masked */
    bad[3].b[31] |= 0x80;
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(pre_scalar_check(bad[i].b), PHR_E_POINT);
        CHECK_EQ(pre_public(&bad[i], &out), PHR_E_POINT);
        CHECK_EQ(pre_check_rk(&bad[i], &t.r), PHR_E_POINT);
        CHECK_EQ(pre_reencrypt(&bad[i], &t.w, &out), PHR_E_POINT);
        CHECK_EQ(pre_owner_decaps(&bad[i], &t.file, &t.capsule, &t.commit, &kek),
                 PHR_E_POINT);
        CHECK_EQ(pre_reader_decaps(&bad[i], &t.file, &t.a_pub, &t.capsule, &t.w1,
                                   &t.commit, &kek),
                 PHR_E_POINT);
        c = t.capsule; /* the proof's s: zero, L and above */
        memcpy(c.s, bad[i].b, 32);
        CHECK_EQ(pre_check_capsule(&c, &t.a_pub, &t.file), PHR_E_POINT);
    }
    /* s + L is the same number in another coat */
    c = t.capsule;
    sodium_add(c.s, bad[1].b, 32);
    CHECK_EQ(pre_check_capsule(&c, &t.a_pub, &t.file), PHR_E_POINT);
}

TEST(pre__refuses_a_capsule_whose_sum_is_the_identity)
{
    struct world t;
    struct capsule c;
    struct point zero = { { 0 } };
    struct point w;
    struct symkey kek;

    UNUSED_STATE;
    world_build(&t);
    c = t.capsule;
    CHECK_EQ(crypto_core_ristretto255_sub(c.v.b, zero.b, c.e.b), 0);
    CHECK_EQ(pre_point_check(&c.v), 0);
    CHECK_EQ(pre_capsule_w(&c, &w), PHR_E_POINT);
    CHECK_EQ(pre_check_capsule(&c, &t.a_pub, &t.file), PHR_E_POINT);
    CHECK_EQ(pre_owner_decaps(&t.a, &t.file, &c, &t.commit, &kek), PHR_E_POINT);
}

TEST(pre__capsule_holds_for_its_own_file_only)
{
    struct world t;
    uint8_t encoded[FILE_CTX_BYTES];
    struct file_ctx other;
    struct capsule c;

    UNUSED_STATE;
    world_build(&t);
    for (size_t i = 0; i < FILE_CTX_BYTES;
         i++) { /* patient, class, epoch, file, generation */
        file_ctx_encode(&t.file, encoded);
        encoded[i] ^= 0x01;
        file_ctx_decode(encoded, &other);
        CHECK_EQ(pre_check_capsule(&t.capsule, &t.a_pub, &other), PHR_E_SIGNATURE);
    }
    CHECK_EQ(pre_check_capsule(&t.capsule, &t.b_pub, &t.file), PHR_E_SIGNATURE);
    c = t.capsule;
    c.e = t.capsule.v;
    c.v = t.capsule.e;
    CHECK_EQ(pre_check_capsule(&c, &t.a_pub, &t.file), PHR_E_SIGNATURE);
    c = t.capsule;
    c.s[0] ^= 1;
    CHECK_EQ(pre_check_capsule(&c, &t.a_pub, &t.file), PHR_E_SIGNATURE);
}

TEST(pre__keys_stay_closed_when_anything_differs)
{
    struct world t;
    struct capsule other;
    struct digest other_commit;
    struct digest wrong;
    struct file_ctx file;
    struct symkey untouched;
    struct symkey kek;
    struct point w;
    struct point w1;

    UNUSED_STATE;
    world_build(&t);
    memset(&untouched, 0x5a, sizeof untouched);
    kek = untouched;
    /* another commitment */
    wrong = t.commit;
    wrong.b[31] ^= 0x80;
    CHECK_EQ(pre_owner_decaps(&t.a, &t.file, &t.capsule, &wrong, &kek), PHR_E_SEAL);
    CHECK_EQ(pre_reader_decaps(&t.d, &t.file, &t.a_pub, &t.capsule, &t.w1, &wrong, &kek),
             PHR_E_SEAL);
    /* another file's context */
    file = t.file;
    file.file.b[0] ^= 1;
    CHECK_EQ(pre_owner_decaps(&t.a, &file, &t.capsule, &t.commit, &kek), PHR_E_SEAL);
    /* the owner's key of another epoch */
    CHECK_EQ(pre_owner_decaps(&t.b, &t.file, &t.capsule, &t.commit, &kek), PHR_E_SEAL);
    /* W1 of another file */
    CHECK_EQ(pre_encaps(&t.a_pub, &file, &other, &kek, &other_commit), 0);
    kek = untouched;
    CHECK_EQ(pre_capsule_w(&other, &w), 0);
    CHECK_EQ(pre_reencrypt(&t.rk, &w, &w1), 0);
    CHECK_EQ(pre_reader_decaps(&t.d, &t.file, &t.a_pub, &t.capsule, &w1, &t.commit, &kek),
             PHR_E_SEAL);
    CHECK_BYTES(kek.b, untouched.b,
                sizeof kek.b); /* outputs are written only on success */
}

TEST(pre__umbral_forgery_of_a_pair_gives_no_key)
{
    struct world t;
    struct capsule c;
    struct point shift;
    struct point h_shift;
    struct symkey kek;
    struct scalar n = { { 7 } };
    uint8_t h[32];

    UNUSED_STATE;
    world_build(&t);
    /* (E + T, V - hT) satisfies the equation of the original; h binds E and V here. */
    CHECK_EQ(pre_public(&n, &shift), 0);
    CHECK_EQ(pre_capsule_challenge(&t.file, &t.a_pub, &t.capsule.e, &t.capsule.v, h), 0);
    CHECK_EQ(crypto_scalarmult_ristretto255(h_shift.b, h, shift.b), 0);
    c = t.capsule;
    CHECK_EQ(crypto_core_ristretto255_add(c.e.b, t.capsule.e.b, shift.b), 0);
    CHECK_EQ(crypto_core_ristretto255_sub(c.v.b, t.capsule.v.b, h_shift.b), 0);
    CHECK_EQ(pre_check_capsule(&c, &t.a_pub, &t.file), PHR_E_SIGNATURE);
    CHECK_EQ(pre_owner_decaps(&t.a, &t.file, &c, &t.commit, &kek), PHR_E_SEAL);
}

TEST(pre__grant_holds_for_its_own_context_only)
{
    struct world t;
    uint8_t encoded[GRANT_CTX_BYTES];
    struct grant_ctx other;
    struct scalar d;
    struct point p;

    UNUSED_STATE;
    world_build(&t);
    for (size_t i = 0; i < GRANT_CTX_BYTES; i++) { /* epoch is bytes 32 to 35 */
        grant_ctx_encode(&t.grant, encoded);
        encoded[i] ^= 0x01;
        grant_ctx_decode(encoded, &other);
        CHECK_EQ(pre_reader_grant_key(&t.b, &other, &t.a_pub, &t.b_pub, &t.x, &t.r, &d),
                 PHR_E_POINT);
    }
    /* an R of another rk, an A of another epoch, another reader */
    CHECK_EQ(pre_public(&t.d, &p), 0);
    CHECK_EQ(pre_reader_grant_key(&t.b, &t.grant, &t.a_pub, &t.b_pub, &t.x, &p, &d),
             PHR_E_POINT);
    CHECK_EQ(pre_reader_grant_key(&t.b, &t.grant, &p, &t.b_pub, &t.x, &t.r, &d),
             PHR_E_POINT);
    CHECK_EQ(pre_reader_grant_key(&t.a, &t.grant, &t.a_pub, &t.b_pub, &t.x, &t.r, &d),
             PHR_E_POINT);
    CHECK_EQ(pre_check_rk(&t.d, &t.r), PHR_E_POINT);
}

TEST(pre__proof_of_reencryption_fails_for_another_answer)
{
    struct world t;
    struct dleq proof;
    struct dleq bad;
    struct file_ctx file;
    struct id16 grant;

    UNUSED_STATE;
    world_build(&t);
    grant = t.grant.grant;
    CHECK_EQ(pre_prove(&t.rk, &t.file, &grant, &t.a_pub, &t.r, &t.w, &t.w1, &proof), 0);
    CHECK_EQ(pre_check_proof(&proof, &t.file, &grant, &t.a_pub, &t.r, &t.w, &t.w1), 0);
    /* W1 that is not rk*W: also when the prover signs for it */
    CHECK_EQ(pre_check_proof(&proof, &t.file, &grant, &t.a_pub, &t.r, &t.w, &t.x),
             PHR_E_SIGNATURE);
    CHECK_EQ(pre_prove(&t.rk, &t.file, &grant, &t.a_pub, &t.r, &t.w, &t.x, &bad), 0);
    CHECK_EQ(pre_check_proof(&bad, &t.file, &grant, &t.a_pub, &t.r, &t.w, &t.x),
             PHR_E_SIGNATURE);
    /* another file, another grant, another byte */
    file = t.file;
    file.hdr_gen++;
    CHECK_EQ(pre_check_proof(&proof, &file, &grant, &t.a_pub, &t.r, &t.w, &t.w1),
             PHR_E_SIGNATURE);
    grant.b[0] ^= 1;
    CHECK_EQ(pre_check_proof(&proof, &t.file, &grant, &t.a_pub, &t.r, &t.w, &t.w1),
             PHR_E_SIGNATURE);
    grant.b[0] ^= 1;
    bad = proof;
    bad.z[0] ^= 1;
    CHECK_EQ(pre_check_proof(&bad, &t.file, &grant, &t.a_pub, &t.r, &t.w, &t.w1),
             PHR_E_SIGNATURE);
    selftest_inputs_hex(order_hex, bad.z, 32);
    CHECK_EQ(pre_check_proof(&bad, &t.file, &grant, &t.a_pub, &t.r, &t.w, &t.w1),
             PHR_E_POINT);
    memset(bad.c, 0, 32);
    CHECK_EQ(pre_check_proof(&bad, &t.file, &grant, &t.a_pub, &t.r, &t.w, &t.w1),
             PHR_E_POINT);
}

TEST(pre__contexts_survive_encoding)
{
    struct world t;
    uint8_t bytes[GRANT_CTX_BYTES];
    struct file_ctx file;
    struct grant_ctx grant;
    uint8_t again[GRANT_CTX_BYTES];

    UNUSED_STATE;
    world_build(&t);
    t.file.class_ctx.epoch = 0x01020304;
    t.file.hdr_gen = 0xa0b0c0d0;
    file_ctx_encode(&t.file, bytes);
    CHECK_EQ(bytes[32], 0x04);
    CHECK_EQ(bytes[52], 0xd0);
    file_ctx_decode(bytes, &file);
    CHECK(file_ctx_equal(&file, &t.file));
    file.hdr_gen--;
    CHECK(!file_ctx_equal(&file, &t.file));
    CHECK(class_ctx_equal(&file.class_ctx, &t.file.class_ctx));
    file.class_ctx.epoch--;
    CHECK(!class_ctx_equal(&file.class_ctx, &t.file.class_ctx));
    grant_ctx_encode(&t.grant, bytes);
    grant_ctx_decode(bytes, &grant);
    grant_ctx_encode(&grant, again);
    CHECK_BYTES(again, bytes, sizeof bytes);
}

static void world_build(struct world *t)
{
    struct scalar r;
    struct scalar u;
    struct scalar x;

    memset(t, 0, sizeof *t);
    selftest_inputs_scalar("a", &t->a);
    selftest_inputs_scalar("b", &t->b);
    selftest_inputs_scalar("r", &r);
    selftest_inputs_scalar("u", &u);
    selftest_inputs_scalar("x", &x);
    t->file = selftest_inputs_file();
    t->grant = selftest_inputs_grant();
    CHECK_EQ(pre_public(&t->a, &t->a_pub), 0);
    CHECK_EQ(pre_public(&t->b, &t->b_pub), 0);
    CHECK_EQ(
        pre_encaps_with(&r, &u, &t->a_pub, &t->file, &t->capsule, &t->kek, &t->commit),
        0);
    CHECK_EQ(pre_rekeygen_with(&x, &t->a, &t->a_pub, &t->b_pub, &t->grant, &t->rk, &t->x,
                               &t->r),
             0);
    CHECK_EQ(pre_capsule_w(&t->capsule, &t->w), 0);
    CHECK_EQ(pre_reencrypt(&t->rk, &t->w, &t->w1), 0);
    CHECK_EQ(
        pre_reader_grant_key(&t->b, &t->grant, &t->a_pub, &t->b_pub, &t->x, &t->r, &t->d),
        0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(selftest__passes),
        UNIT(pre__gives_the_values_of_appendix_a),
        UNIT(pre__owner_and_reader_find_the_writers_key),
        UNIT(pre__never_draws_the_same_capsule_or_grant_key_twice),
        UNIT(pre__points_are_rfc_9496_multiples_of_the_base),
        UNIT(pre__refuses_the_identity_and_the_bad_encodings_of_rfc_9496),
        UNIT(pre__refuses_scalars_that_libsodium_takes),
        UNIT(pre__refuses_a_capsule_whose_sum_is_the_identity),
        UNIT(pre__capsule_holds_for_its_own_file_only),
        UNIT(pre__keys_stay_closed_when_anything_differs),
        UNIT(pre__umbral_forgery_of_a_pair_gives_no_key),
        UNIT(pre__grant_holds_for_its_own_context_only),
        UNIT(pre__proof_of_reencryption_fails_for_another_answer),
        UNIT(pre__contexts_survive_encoding),
    };

    return RUN_TESTS(tests);
}
