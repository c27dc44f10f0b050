/* Sealing to a public key (CRYPTO 2.2). */
#include "check.h"

#include <string.h>

#include "base/cursor.h"
#include "base/hex.h"
#include "crypto/pre.h"
#include "crypto/seal_test.h"
#include "crypto/selftest_inputs.h"

enum { SECRET_BYTES = 32, SEALED_BYTES = SECRET_BYTES + SEAL_EXTRA_BYTES };

struct sealed {
    struct scalar secret;
    struct point to;
    uint8_t message[SECRET_BYTES];
    uint8_t bytes[SEALED_BYTES];
};

static void sealed_build(struct sealed *s)
{
    selftest_inputs_scalar("b", &s->secret);
    CHECK_EQ(pre_public(&s->secret, &s->to), 0);
    selftest_inputs_bytes("fk", s->message, sizeof s->message);
    CHECK_EQ(seal_to(&s->to, view_text("aad"), view_of(s->message, SECRET_BYTES),
                     (struct span){ s->bytes, SEALED_BYTES }),
             0);
}

/* The answer was computed by another program from the formula. */
TEST(seal__gives_the_known_answer)
{
    struct scalar e;
    struct scalar b;
    struct point to;
    uint8_t want[7 + SEAL_EXTRA_BYTES];
    uint8_t found[7 + SEAL_EXTRA_BYTES];

    UNUSED_STATE;
    selftest_inputs_scalar("e", &e);
    selftest_inputs_scalar("b", &b);
    CHECK_EQ(pre_public(&b, &to), 0);
    CHECK_EQ(hex_decode("14eea59a5a3fffaf38a609f124ec8dd46e988d0edbd774d12ee8c23d95c9f34a"
                        "d976ead648149933abaa6d89c09fced014f916a07f24de7e371954b6b7ceaa03"
                        "d976758e524f71eb4d342f9ec31ac43814c868510dfda9",
                        want, sizeof want),
             0);
    CHECK_EQ(seal_to_with(&e, &to, view_text("aad"), view_text("message"),
                          (struct span){ found, sizeof found }),
             0);
    CHECK_BYTES(found, want, sizeof want);
}

TEST(seal__opens_with_its_key_and_aad_only)
{
    struct sealed s;
    struct scalar other;
    uint8_t back[SECRET_BYTES];
    uint8_t zero[SECRET_BYTES] = { 0 };
    struct span out = { back, sizeof back };

    UNUSED_STATE;
    sealed_build(&s);
    CHECK_EQ(seal_open(&s.secret, view_text("aad"), view_of(s.bytes, SEALED_BYTES), out),
             0);
    CHECK_BYTES(back, s.message, sizeof back);
    CHECK_EQ(seal_open(&s.secret, view_text("aae"), view_of(s.bytes, SEALED_BYTES), out),
             PHR_E_SEAL);
    CHECK_BYTES(back, zero, sizeof back);
    selftest_inputs_scalar("a", &other);
    CHECK_EQ(seal_open(&other, view_text("aad"), view_of(s.bytes, SEALED_BYTES), out),
             PHR_E_SEAL);
    memset(&other, 0, sizeof other);
    CHECK_EQ(seal_open(&other, view_text("aad"), view_of(s.bytes, SEALED_BYTES), out),
             PHR_E_SEAL);
}

TEST(seal__refuses_every_changed_byte_with_one_code)
{
    struct sealed s;
    uint8_t back[SECRET_BYTES];
    uint8_t zero[SECRET_BYTES] = { 0 };

    UNUSED_STATE;
    sealed_build(&s);
    for (size_t i = 0; i < SEALED_BYTES; i++) { /* point, commitment, ciphertext, tag */
        memset(back, 0x33, sizeof back);
        s.bytes[i] ^= 0x10;
        CHECK_EQ(seal_open(&s.secret, view_text("aad"), view_of(s.bytes, SEALED_BYTES),
                           (struct span){ back, sizeof back }),
                 PHR_E_SEAL);
        CHECK_BYTES(back, zero, sizeof back);
        s.bytes[i] ^= 0x10;
    }
    memset(s.bytes, 0, 32); /* the identity as ephemeral key */
    CHECK_EQ(seal_open(&s.secret, view_text("aad"), view_of(s.bytes, SEALED_BYTES),
                       (struct span){ back, sizeof back }),
             PHR_E_SEAL);
}

TEST(seal__refuses_wrong_lengths)
{
    struct sealed s;
    uint8_t back[SECRET_BYTES + 1];

    UNUSED_STATE;
    sealed_build(&s);
    for (size_t n = 0; n < SEALED_BYTES; n++)
        CHECK_EQ(seal_open(&s.secret, view_text("aad"), view_of(s.bytes, n),
                           (struct span){ back, SECRET_BYTES }),
                 PHR_E_SEAL);
    CHECK_EQ(seal_open(&s.secret, view_text("aad"), view_of(s.bytes, SEALED_BYTES),
                       (struct span){ back, SECRET_BYTES + 1 }),
             PHR_E_SEAL);
    CHECK_EQ(seal_open(&s.secret, view_text("aad"),
                       view_of(s.bytes, SEAL_EXTRA_BYTES - 1), (struct span){ NULL, 0 }),
             PHR_E_SEAL);
}

TEST(seal__never_seals_twice_alike_nor_to_the_identity)
{
    struct sealed s;
    struct sealed t;
    struct point identity = { { 0 } };
    struct view none = { NULL, 0 };
    uint8_t empty[SEAL_EXTRA_BYTES];

    UNUSED_STATE;
    sealed_build(&s);
    sealed_build(&t);
    CHECK(memcmp(s.bytes, t.bytes, 32) != 0);
    CHECK(memcmp(s.bytes + 64, t.bytes + 64, 32) != 0);
    CHECK_EQ(seal_to(&identity, none, none, (struct span){ empty, sizeof empty }),
             PHR_E_POINT);
    CHECK_EQ(seal_to(&s.to, none, none, (struct span){ empty, sizeof empty }), 0);
    CHECK_EQ(seal_open(&s.secret, none, view_of(empty, sizeof empty),
                       (struct span){ NULL, 0 }),
             0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(seal__gives_the_known_answer),
        UNIT(seal__opens_with_its_key_and_aad_only),
        UNIT(seal__refuses_every_changed_byte_with_one_code),
        UNIT(seal__refuses_wrong_lengths),
        UNIT(seal__never_seals_twice_alike_nor_to_the_identity),
    };

    return RUN_TESTS(tests);
}
