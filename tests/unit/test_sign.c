/* Ed25519: RFC 8032 7.1, and the strictness that every verifier of ours must share. */
#include "check.h"

#include <sodium.h>
#include <string.h>

#include "base/cursor.h"
#include "base/hex.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/sign.h"

struct rfc_vector {
    const char *seed;
    const char *pk;
    const char *message;
    const char *sig;
};

static const struct rfc_vector rfc_vectors[] = {
    { "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
      "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
      "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b" },
    { "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
      "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
      "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00" },
    { "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
      "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
      "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
      "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a" },
    { "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
      "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
      "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
      "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704" },
};

TEST(sign__gives_the_answers_of_rfc_8032)
{
    UNUSED_STATE;
    for (size_t i = 0; i < sizeof rfc_vectors / sizeof *rfc_vectors; i++) {
        const struct rfc_vector *v = &rfc_vectors[i];
        scoped(sign_key_free) struct sign_key *k = NULL;
        struct symkey seed;
        struct symkey back;
        struct verify_key pk;
        struct signature want;
        struct signature sig;
        uint8_t message[64];
        size_t n = strlen(v->message) / 2;

        CHECK_EQ(hex_decode(v->seed, seed.b, 32), 0);
        CHECK_EQ(hex_decode(v->message, message, n), 0);
        CHECK_EQ(hex_decode(v->sig, want.b, 64), 0);
        k = sign_key_from_seed(&seed);
        CHECK(k != NULL);
        CHECK_EQ(hex_decode(v->pk, pk.b, 32), 0);
        CHECK_BYTES(sign_key_public(k).b, pk.b, 32);
        sign_key_seed(k, &back);
        CHECK_BYTES(back.b, seed.b, 32);
        sig = sign_bytes(k, view_of(message, n));
        CHECK_BYTES(sig.b, want.b, 64);
        CHECK_EQ(sign_check_bytes(&pk, view_of(message, n), &sig), 0);
    }
}

TEST(sign__labels_keep_signatures_apart)
{
    scoped(sign_key_free) struct sign_key *k = sign_key_new();
    scoped(sign_key_free) struct sign_key *other = sign_key_new();
    struct digest h = digest_sha256(view_text("an op"));
    struct verify_key pk;
    struct verify_key other_pk;
    struct signature sig;
    uint8_t raw[64];

    UNUSED_STATE;
    CHECK(k && other);
    pk = sign_key_public(k);
    other_pk = sign_key_public(other);
    sig = sign_labelled(k, LABEL_OP, &h);
    CHECK_EQ(sign_check_labelled(&pk, LABEL_OP, &h, &sig), 0);
    CHECK_EQ(sign_check_labelled(&pk, LABEL_OPEN, &h, &sig), PHR_E_SIGNATURE);
    CHECK_EQ(sign_check_labelled(&other_pk, LABEL_OP, &h, &sig), PHR_E_SIGNATURE);
    /* What is signed is label || 0x00 || h. */
    memcpy(raw, LABEL_OP "\0", sizeof LABEL_OP);
    memcpy(raw + sizeof LABEL_OP, h.b, 32);
    CHECK_EQ(sign_check_bytes(&pk, view_of(raw, sizeof LABEL_OP + 32), &sig), 0);
    h.b[0] ^= 1;
    CHECK_EQ(sign_check_labelled(&pk, LABEL_OP, &h, &sig), PHR_E_SIGNATURE);
}

TEST(sign__refuses_every_changed_bit)
{
    scoped(sign_key_free) struct sign_key *k = sign_key_new();
    struct view message = view_text("checkpoint");
    struct verify_key pk;
    struct signature sig;

    UNUSED_STATE;
    CHECK(k != NULL);
    pk = sign_key_public(k);
    sig = sign_bytes(k, message);
    for (size_t bit = 0; bit < 512; bit++) {
        sig.b[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        CHECK_EQ(sign_check_bytes(&pk, message, &sig), PHR_E_SIGNATURE);
        sig.b[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

TEST(sign__refuses_s_plus_l_and_small_order_keys)
{
    static const char *const small_order[] = {
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    };
    scoped(sign_key_free) struct sign_key *k = sign_key_new();
    struct view message = view_text("m");
    struct verify_key pk;
    struct signature sig;
    uint8_t order[32];

    UNUSED_STATE;
    CHECK(k != NULL);
    pk = sign_key_public(k);
    sig = sign_bytes(k, message);
    CHECK_EQ(
        hex_decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
                   order, 32),
        0);
    sodium_add(sig.b + 32, order, 32);
    CHECK_EQ(sign_check_bytes(&pk, message, &sig), PHR_E_SIGNATURE);
    for (size_t i = 0; i < sizeof small_order / sizeof *small_order; i++) {
        CHECK_EQ(hex_decode(small_order[i], pk.b, 32), 0);
        memset(&sig, 0, sizeof sig); /* R = the point, S = 0: valid for a lax verifier */
        memcpy(sig.b, pk.b, 32);
        CHECK_EQ(sign_check_bytes(&pk, message, &sig), PHR_E_SIGNATURE);
        sig.b[0] = 1;
        memset(sig.b + 1, 0, 63);
        CHECK_EQ(sign_check_bytes(&pk, message, &sig), PHR_E_SIGNATURE);
    }
}

/* Takes every free slot; give_arena gives them back. */
static void *taken[SECRET_ARENA_BYTES / SECRET_SLOT_BYTES + 1];

static size_t fill_arena(void)
{
    size_t n = 0;

    while ((taken[n] = secret_alloc(SECRET_SLOT_BYTES)) != NULL)
        n++;
    return n;
}

static void give_arena(size_t n)
{
    while (n > 0)
        secret_free(taken[--n]);
}

TEST(sign_key__is_null_when_the_arena_is_full)
{
    size_t before = secret_used_bytes();
    size_t n = fill_arena();
    struct symkey seed = { { 1 } };
    struct sign_key *k = sign_key_new();
    struct sign_key *l = sign_key_from_seed(&seed);

    UNUSED_STATE;
    CHECK(k == NULL && l == NULL);
    give_arena(n);
    sign_key_free(NULL);
    CHECK_EQ(secret_used_bytes(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(sign__gives_the_answers_of_rfc_8032),
        UNIT(sign__labels_keep_signatures_apart),
        UNIT(sign__refuses_every_changed_bit),
        UNIT(sign__refuses_s_plus_l_and_small_order_keys),
        UNIT(sign_key__is_null_when_the_arena_is_full),
    };

    return RUN_TESTS(tests);
}
