/* AES-256-GCM (SP 800-38D's companion vectors), XChaCha20-Poly1305, boxes, kept contexts. */
#include "check.h"

#include <pthread.h>
#include <string.h>

#include "base/cursor.h"
#include "base/hex.h"
#include "crypto/aead.h"
#include "crypto/random.h"

struct gcm_vector {
    const char *key;
    const char *nonce;
    const char *aad;
    const char *plain;
    const char *ct;
    const char *tag;
};

/* Test cases 13 to 16 of the GCM submission, which SP 800-38D refers to. */
static const struct gcm_vector gcm_vectors[] = {
    { "0000000000000000000000000000000000000000000000000000000000000000",
      "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b" },
    { "0000000000000000000000000000000000000000000000000000000000000000",
      "000000000000000000000000", "", "00000000000000000000000000000000",
      "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919" },
    { "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
      "cafebabefacedbaddecaf888", "",
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
      "b094dac5d93471bdec1a502270e3cc6c" },
    { "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
      "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
      "76fc6ece0f4e1768cddf8853bb2d551b" },
};

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;

    CHECK_EQ(hex_decode(hex, out, n), 0);
    return n;
}

TEST(aead__gcm_gives_the_published_answers)
{
    UNUSED_STATE;
    for (size_t i = 0; i < sizeof gcm_vectors / sizeof *gcm_vectors; i++) {
        const struct gcm_vector *v = &gcm_vectors[i];
        struct symkey key;
        uint8_t nonce[12];
        uint8_t aad[32];
        uint8_t plain[64];
        uint8_t want[64];
        uint8_t want_tag[16];
        uint8_t ct[64];
        uint8_t tag[16];
        uint8_t back[64];
        size_t aad_n = unhex(v->aad, aad);
        size_t n = unhex(v->plain, plain);

        unhex(v->key, key.b);
        unhex(v->nonce, nonce);
        unhex(v->ct, want);
        unhex(v->tag, want_tag);
        CHECK_EQ(aead_seal(AEAD_GCM, &key, nonce, view_of(aad, aad_n), view_of(plain, n),
                           ct, tag),
                 0);
        CHECK_BYTES(ct, want, n);
        CHECK_BYTES(tag, want_tag, 16);
        CHECK_EQ(aead_open_sealed(AEAD_GCM, &key, nonce, view_of(aad, aad_n),
                                  view_of(ct, n), tag, back),
                 0);
        CHECK_BYTES(back, plain, n);
    }
}

/* draft-irtf-cfrg-xchacha-03, A.3.1. */
TEST(aead__xchacha_gives_the_published_answer)
{
    static const char text[] = "Ladies and Gentlemen of the class of '99: If I could "
                               "offer you only one tip for the "
                               "future, sunscreen would be it.";
    static const char ct_hex[] =
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
        "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
        "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
        "21f9664c97637da9768812f615c68b13b52e";
    struct symkey key;
    uint8_t nonce[24];
    uint8_t aad[12];
    uint8_t want[128];
    uint8_t want_tag[16];
    uint8_t ct[128];
    uint8_t tag[16];

    UNUSED_STATE;
    unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key.b);
    unhex("404142434445464748494a4b4c4d4e4f5051525354555657", nonce);
    unhex("50515253c0c1c2c3c4c5c6c7", aad);
    unhex("c0875924c1c7987947deafd8780acf49", want_tag);
    CHECK_EQ(unhex(ct_hex, want), sizeof text - 1);
    CHECK_EQ(
        aead_seal(AEAD_XCHACHA, &key, nonce, view_of(aad, 12), view_text(text), ct, tag),
        0);
    CHECK_BYTES(ct, want, sizeof text - 1);
    CHECK_BYTES(tag, want_tag, 16);
}

/* Every bit of key, nonce, aad, ct and tag counts; a failure leaves zeros. */
static void check_refuses_changes(enum aead_suite suite)
{
    struct symkey key;
    uint8_t nonce[24];
    uint8_t aad[8] = "place";
    uint8_t plain[48];
    uint8_t sealed[48 + 16];
    uint8_t back[48];
    uint8_t zero[48] = { 0 };
    struct {
        uint8_t *p;
        size_t n;
    } parts[] = {
        { key.b, 32 }, { nonce, aead_nonce_bytes(suite) }, { aad, 8 }, { sealed, 64 }
    };

    random_fill(key.b, sizeof key.b);
    random_fill(nonce, sizeof nonce);
    random_fill(plain, sizeof plain);
    CHECK_EQ(aead_seal(suite, &key, nonce, view_of(aad, 8), view_of(plain, 48), sealed,
                       sealed + 48),
             0);
    for (size_t i = 0; i < 4; i++) {
        for (size_t bit = 0; bit < parts[i].n * 8; bit++) {
            parts[i].p[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            memset(back, 0x77, sizeof back);
            CHECK_EQ(aead_open_sealed(suite, &key, nonce, view_of(aad, 8),
                                      view_of(sealed, 48), sealed + 48, back),
                     PHR_E_SEAL);
            CHECK_BYTES(back, zero, sizeof back);
            parts[i].p[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
    }
    CHECK_EQ(aead_open_sealed(suite, &key, nonce, view_of(aad, 7), view_of(sealed, 48),
                              sealed + 48, back),
             PHR_E_SEAL);
    CHECK_EQ(aead_open_sealed(suite, &key, nonce, view_of(aad, 8), view_of(sealed, 47),
                              sealed + 48, back),
             PHR_E_SEAL);
    CHECK_EQ(aead_open_sealed(suite, &key, nonce, view_of(aad, 8), view_of(sealed, 48),
                              sealed + 48, back),
             0);
    CHECK_BYTES(back, plain, sizeof plain);
}

TEST(aead__refuses_every_changed_bit)
{
    UNUSED_STATE;
    check_refuses_changes(AEAD_GCM);
    check_refuses_changes(AEAD_XCHACHA);
}

TEST(aead__works_in_place_and_on_nothing)
{
    const enum aead_suite suites[] = { AEAD_GCM, AEAD_XCHACHA };
    struct symkey key;
    uint8_t nonce[24] = { 1 };
    uint8_t buffer[4096];
    uint8_t plain[4096];
    uint8_t tag[16];
    struct view none = { NULL, 0 };

    UNUSED_STATE;
    random_fill(key.b, sizeof key.b);
    random_fill(plain, sizeof plain);
    for (size_t i = 0; i < 2; i++) {
        memcpy(buffer, plain, sizeof buffer);
        CHECK_EQ(
            aead_seal(suites[i], &key, nonce, none, view_of(buffer, 4096), buffer, tag),
            0);
        CHECK(memcmp(buffer, plain, sizeof buffer) != 0);
        CHECK_EQ(aead_open_sealed(suites[i], &key, nonce, none, view_of(buffer, 4096),
                                  tag, buffer),
                 0);
        CHECK_BYTES(buffer, plain, sizeof buffer);
        CHECK_EQ(aead_seal(suites[i], &key, nonce, none, none, NULL, tag), 0);
        CHECK_EQ(aead_open_sealed(suites[i], &key, nonce, none, none, tag, NULL), 0);
        tag[0] ^= 1;
        CHECK_EQ(aead_open_sealed(suites[i], &key, nonce, none, none, tag, NULL),
                 PHR_E_SEAL);
    }
}

TEST(aead__does_not_know_other_suites)
{
    struct symkey key = { { 0 } };
    uint8_t nonce[24] = { 0 };
    uint8_t byte[1] = { 9 };
    uint8_t tag[16] = { 0 };
    enum aead_suite unknown = (enum aead_suite)3;
    struct view none = { NULL, 0 };

    UNUSED_STATE;
    CHECK_EQ(aead_nonce_bytes(AEAD_GCM), 12);
    CHECK_EQ(aead_nonce_bytes(AEAD_XCHACHA), 24);
    CHECK_EQ(aead_nonce_bytes(unknown), 0);
    CHECK_EQ(aead_seal(unknown, &key, nonce, none, view_of(byte, 1), byte, tag),
             PHR_E_FORMAT);
    CHECK_EQ(aead_open_sealed(unknown, &key, nonce, none, view_of(byte, 1), tag, byte),
             PHR_E_SEAL);
    CHECK(aead_suite_best() == AEAD_GCM || aead_suite_best() == AEAD_XCHACHA);
}

/* One thread, two keys in turn: a kept schedule must never serve the other key. */
TEST(aead__keeps_no_schedule_of_another_key)
{
    struct symkey keys[2];
    uint8_t nonce[12] = { 0 };
    uint8_t plain[64];
    uint8_t want[2][80];
    uint8_t sealed[80];
    struct view none = { NULL, 0 };

    UNUSED_STATE;
    random_fill(keys, sizeof keys);
    random_fill(plain, sizeof plain);
    for (size_t k = 0; k < 2; k++) {
        aead_thread_fini();
        CHECK_EQ(aead_seal(AEAD_GCM, &keys[k], nonce, none, view_of(plain, 64), want[k],
                           want[k] + 64),
                 0);
    }
    for (size_t i = 0; i < 40; i++) {
        size_t k = (i / 3) % 2;

        if (i % 7 == 0)
            aead_thread_forget();
        CHECK_EQ(aead_seal(AEAD_GCM, &keys[k], nonce, none, view_of(plain, 64), sealed,
                           sealed + 64),
                 0);
        CHECK_BYTES(sealed, want[k], 80);
        CHECK_EQ(aead_open_sealed(AEAD_GCM, &keys[1 - k], nonce, none,
                                  view_of(sealed, 64), sealed + 64, sealed),
                 PHR_E_SEAL);
        CHECK_EQ(aead_open_sealed(AEAD_GCM, &keys[k], nonce, none, view_of(want[k], 64),
                                  want[k] + 64, sealed),
                 0);
        CHECK_BYTES(sealed, plain, 64);
    }
}

TEST(aead__gives_its_arena_slots_back)
{
    struct symkey key = { { 1 } };
    uint8_t nonce[12] = { 0 };
    uint8_t byte[1] = { 0 };
    uint8_t tag[16];
    struct view none = { NULL, 0 };
    size_t before;

    UNUSED_STATE;
    aead_thread_fini();
    before = secret_used_bytes();
    CHECK_EQ(aead_seal(AEAD_GCM, &key, nonce, none, view_of(byte, 1), byte, tag), 0);
    CHECK_EQ(secret_used_bytes(), before + 2 * SECRET_SLOT_BYTES);
    aead_thread_fini();
    CHECK_EQ(secret_used_bytes(), before);
    aead_thread_fini(); /* again is fine */
    CHECK_EQ(secret_used_bytes(), before);
}

static void *seal_and_open_many(void *arg)
{
    struct symkey key;
    uint8_t nonce[12];
    uint8_t plain[512];
    uint8_t ct[512];
    uint8_t tag[16];
    bool *ok = arg;

    *ok = true;
    random_fill(plain, sizeof plain);
    for (int i = 0; i < 300 && *ok; i++) {
        if (i % 10 == 0)
            random_fill(key.b, sizeof key.b);
        random_fill(nonce, sizeof nonce);
        *ok = aead_seal(AEAD_GCM, &key, nonce, view_of(nonce, 12), view_of(plain, 512),
                        ct, tag) == 0 &&
              aead_open_sealed(AEAD_GCM, &key, nonce, view_of(nonce, 12),
                               view_of(ct, 512), tag, ct) == 0 &&
              memcmp(ct, plain, sizeof ct) == 0;
    }
    return NULL;
}

TEST(aead__threads_do_not_share_contexts)
{
    pthread_t threads[4];
    bool ok[4];
    size_t before;

    UNUSED_STATE;
    aead_thread_fini();
    before = secret_used_bytes();
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, seal_and_open_many, &ok[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK(ok[i]);
    }
    CHECK_EQ(secret_used_bytes(), before); /* gone with their threads */
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

TEST(aead__works_without_a_slot_in_the_arena)
{
    size_t filled = 0;
    struct symkey key = { { 3 } };
    uint8_t nonce[12] = { 0 };
    uint8_t one[64] = { 0 };
    uint8_t two[64] = { 0 };
    uint8_t tag[16];
    struct view none = { NULL, 0 };

    UNUSED_STATE;
    aead_thread_fini();
    CHECK_EQ(aead_seal(AEAD_GCM, &key, nonce, none, view_of(one, 64), one, tag), 0);
    aead_thread_fini();
    filled = fill_arena();
    CHECK(filled > 0);
    for (int i = 0; i < 3; i++) {
        memset(two, 0, sizeof two);
        CHECK_EQ(aead_seal(AEAD_GCM, &key, nonce, none, view_of(two, 64), two, tag), 0);
        CHECK_BYTES(two, one, sizeof two);
    }
    aead_thread_fini();
    give_arena(filled);
}

TEST(aead_box__opens_only_whole_and_with_its_aad)
{
    struct symkey key;
    struct view plain = view_text("a row of the names index");
    uint8_t box[64];
    uint8_t again[64];
    uint8_t back[24];
    struct span out = { back, sizeof back };
    size_t n = plain.n + AEAD_BOX_EXTRA_BYTES;

    UNUSED_STATE;
    random_fill(key.b, sizeof key.b);
    CHECK_EQ(n, 64);
    CHECK_EQ(aead_box(&key, view_text("row 1"), plain, (struct span){ box, n }), 0);
    CHECK_EQ(aead_box(&key, view_text("row 1"), plain, (struct span){ again, n }), 0);
    CHECK(memcmp(box, again, 24) != 0); /* fresh nonces */
    CHECK_EQ(aead_open_box(&key, view_text("row 1"), view_of(box, n), out), 0);
    CHECK_BYTES(back, plain.p, plain.n);
    CHECK_EQ(aead_open_box(&key, view_text("row 2"), view_of(box, n), out), PHR_E_SEAL);
    CHECK_EQ(back[0], 0);
    CHECK_EQ(aead_open_box(&key, view_text("row 1"), view_of(box, n - 1), out),
             PHR_E_SEAL);
    CHECK_EQ(aead_open_box(&key, view_text("row 1"), view_of(box, 39), out), PHR_E_SEAL);
    CHECK_EQ(aead_open_box(&key, view_text("row 1"), view_of(box, 0),
                           (struct span){ NULL, 0 }),
             PHR_E_SEAL);
    box[30] ^= 4;
    CHECK_EQ(aead_open_box(&key, view_text("row 1"), view_of(box, n), out), PHR_E_SEAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(aead__gcm_gives_the_published_answers),
        UNIT(aead__xchacha_gives_the_published_answer),
        UNIT(aead__refuses_every_changed_bit),
        UNIT(aead__works_in_place_and_on_nothing),
        UNIT(aead__does_not_know_other_suites),
        UNIT(aead__keeps_no_schedule_of_another_key),
        UNIT(aead__gives_its_arena_slots_back),
        UNIT(aead__threads_do_not_share_contexts),
        UNIT(aead__works_without_a_slot_in_the_arena),
        UNIT(aead_box__opens_only_whole_and_with_its_aad),
    };

    return RUN_TESTS(tests);
}
