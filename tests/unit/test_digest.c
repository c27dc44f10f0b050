/* SHA-256 (FIPS 180), HMAC (RFC 4231), HKDF-SHA-512 on RFC 5869's inputs, RFC 6962 hashing. */
#include "check.h"

#include <pthread.h>
#include <string.h>

#include "base/cursor.h"
#include "base/hex.h"
#include "crypto/digest.h"
#include "crypto/label.h"

static void check_hex(const uint8_t *found, size_t n, const char *hex)
{
    uint8_t want[128];

    CHECK_EQ(hex_decode(hex, want, n), 0);
    CHECK_BYTES(found, want, n);
}

TEST(digest__sha256_gives_the_published_answers)
{
    struct digest d = digest_sha256(view_text(""));

    UNUSED_STATE;
    check_hex(d.b, 32,
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    d = digest_sha256(view_text("abc"));
    check_hex(d.b, 32,
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    d = digest_sha256(
        view_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"));
    check_hex(d.b, 32,
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(digest__stream_agrees_with_one_call)
{
    uint8_t bytes[1000];
    struct digest_stream *s = digest_stream_new();
    struct digest whole;
    struct digest pieces;

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    whole = digest_sha256(view_of(bytes, sizeof bytes));
    for (size_t at = 0, n = 0; at < sizeof bytes; at += n, n = (n * 2 + 1) % 100) {
        if (n > sizeof bytes - at)
            n = sizeof bytes - at;
        digest_stream_add(s, view_of(bytes + at, n));
    }
    pieces = digest_stream_finish(s);
    CHECK(digest_equal(&whole, &pieces));
    pieces.b[31] ^= 1;
    CHECK(!digest_equal(&whole, &pieces));
    digest_stream_free(digest_stream_new());
    digest_stream_free(NULL);
}

TEST(digest__hmac_gives_the_answers_of_rfc_4231)
{
    uint8_t key[131];
    uint8_t data[50];
    struct digest d;

    UNUSED_STATE;
    memset(key, 0x0b, 20);
    d = digest_hmac(view_of(key, 20), view_text("Hi There"));
    check_hex(d.b, 32,
              "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    d = digest_hmac(view_text("Jefe"), view_text("what do ya want for nothing?"));
    check_hex(d.b, 32,
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    memset(data, 0xdd, sizeof data);
    d = digest_hmac(view_of(key, 20), view_of(data, 50));
    check_hex(d.b, 32,
              "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    d = digest_hmac(view_of(key, 131),
                    view_text("Test Using Larger Than Block-Size Key - Hash Key First"));
    check_hex(d.b, 32,
              "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(digest__hmac_of_an_empty_key_does_not_use_the_key_before)
{
    struct view none = { NULL, 0 };
    struct digest first = digest_hmac(none, view_text("x"));
    struct digest other = digest_hmac(view_text("key"), view_text("x"));
    struct digest again = digest_hmac(none, view_text("x"));
    struct digest empty = digest_hmac(none, none);

    UNUSED_STATE;
    CHECK(digest_equal(&first, &again));
    CHECK(!digest_equal(&first, &other));
    check_hex(empty.b, 32,
              "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* RFC 5869's inputs A.1 to A.3 under SHA-512; the answers agree with two other libraries. */
TEST(digest__hkdf_gives_the_answers_for_rfc_5869_inputs)
{
    uint8_t ikm[80];
    uint8_t salt[80];
    uint8_t info[80];
    uint8_t out[82];
    struct view none = { NULL, 0 };

    UNUSED_STATE;
    memset(ikm, 0x0b, 22);
    for (size_t i = 0; i < 13; i++)
        salt[i] = (uint8_t)i;
    for (size_t i = 0; i < 10; i++)
        info[i] = (uint8_t)(0xf0 + i);
    digest_hkdf(view_of(ikm, 22), view_of(salt, 13), view_of(info, 10),
                (struct span){ out, 42 });
    check_hex(out, 42,
              "832390086cda71fb47625bb5ceb168e4c8e26a1a16ed34d9fc7fe92c1481579338da362cb8"
              "d9f925d7cb");
    digest_hkdf(view_of(ikm, 22), none, none, (struct span){ out, 42 });
    check_hex(out, 42,
              "f5fa02b18298a72a8c23898a8703472c6eb179dc204c03425c970e3b164bf90fff22d04836"
              "d0e2343bac");
    for (size_t i = 0; i < 80; i++) {
        ikm[i] = (uint8_t)i;
        salt[i] = (uint8_t)(0x60 + i);
        info[i] = (uint8_t)(0xb0 + i);
    }
    digest_hkdf(view_of(ikm, 80), view_of(salt, 80), view_of(info, 80),
                (struct span){ out, 82 });
    check_hex(
        out, 82,
        "ce6c97192805b346e6161e821ed165673b84f400a2b514b2fe23d84cd189ddf1b695b48cbd1c8388"
        "441137"
        "b3ce28f16aa64ba33ba466b24df6cfcb021ecff235f6a2056ce3af1de44d572097a8505d9e7a93");
}

/* RFC 6962 2.1: MTH over leaves[0..n), the split at the largest power of two below n. */
static struct digest tree_root(const struct view *leaves, size_t n)
{
    struct digest left;
    struct digest right;
    size_t k = 1;

    if (n == 0)
        return digest_sha256(view_text(""));
    if (n == 1)
        return digest_sha256_prefixed(0x00, leaves[0], view_text(""));
    while (k * 2 < n)
        k *= 2;
    left = tree_root(leaves, k);
    right = tree_root(leaves + k, n - k);
    return digest_sha256_prefixed(0x01, view_of(left.b, 32), view_of(right.b, 32));
}

TEST(digest__prefixed_builds_the_tree_of_rfc_6962)
{
    static const char *const inputs[8] = { "",
                                           "00",
                                           "10",
                                           "2021",
                                           "3031",
                                           "40414243",
                                           "5051525354555657",
                                           "606162636465666768696a6b6c6d6e6f" };
    static const char *const roots[9] = {
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    };
    uint8_t bytes[8][16];
    struct view leaves[8];

    UNUSED_STATE;
    for (size_t i = 0; i < 8; i++) {
        leaves[i] = view_of(bytes[i], strlen(inputs[i]) / 2);
        CHECK_EQ(hex_decode(inputs[i], bytes[i], leaves[i].n), 0);
    }
    for (size_t n = 0; n <= 8; n++) {
        struct digest root = tree_root(leaves, n);

        check_hex(root.b, 32, roots[n]);
    }
}

TEST(digest__labelled_is_label_zero_value)
{
    struct digest h = digest_sha256(view_text("x"));
    uint8_t bytes[64];
    size_t n = strlen(LABEL_PATIENT);
    struct digest want;
    struct digest found = digest_labelled(LABEL_PATIENT, &h);

    UNUSED_STATE;
    memcpy(bytes, LABEL_PATIENT, n);
    bytes[n] = 0;
    memcpy(bytes + n + 1, h.b, 32);
    want = digest_sha256(view_of(bytes, n + 33));
    CHECK(digest_equal(&want, &found));
}

TEST(id__compares_and_knows_zero)
{
    struct id16 a = { { 0 } };
    struct id16 b = { { 0 } };

    UNUSED_STATE;
    CHECK(id_is_zero(&a) && id_equal(&a, &b));
    b.b[15] = 1;
    CHECK(!id_is_zero(&b) && !id_equal(&a, &b));
}

static void *hash_many(void *arg)
{
    bool *ok = arg;
    struct digest want = digest_hmac(view_text("k"), view_text("v"));

    *ok = true;
    for (int i = 0; i < 500; i++) {
        struct digest d = digest_hmac(view_text("k"), view_text("v"));

        *ok = *ok && digest_equal(&d, &want);
    }
    return NULL;
}

TEST(digest__threads_do_not_share_contexts)
{
    pthread_t threads[4];
    bool ok[4];

    UNUSED_STATE;
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, hash_many, &ok[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK(ok[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(digest__sha256_gives_the_published_answers),
        UNIT(digest__stream_agrees_with_one_call),
        UNIT(digest__hmac_gives_the_answers_of_rfc_4231),
        UNIT(digest__hmac_of_an_empty_key_does_not_use_the_key_before),
        UNIT(digest__hkdf_gives_the_answers_for_rfc_5869_inputs),
        UNIT(digest__prefixed_builds_the_tree_of_rfc_6962),
        UNIT(digest__labelled_is_label_zero_value),
        UNIT(id__compares_and_knows_zero),
        UNIT(digest__threads_do_not_share_contexts),
    };

    return RUN_TESTS(tests);
}
