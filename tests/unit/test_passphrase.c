/* Argon2id with a floor that an edited keyring cannot lower (CRYPTO 1.6, 2.10). */
#include "check.h"

#include <string.h>

#include "base/cursor.h"
#include "base/hex.h"
#include "crypto/passphrase.h"

static const uint8_t salt[16] = "sixteen bytes ok";

TEST(passphrase__refuses_a_cost_below_the_floor_or_above_the_ceiling)
{
    const struct passphrase_cost bad[] = {
        { PASSPHRASE_OPS_MIN - 1, PASSPHRASE_MEM_MIN },
        { 0, PASSPHRASE_MEM_MIN },
        { PASSPHRASE_OPS_MIN, PASSPHRASE_MEM_MIN - 1 },
        { PASSPHRASE_OPS_MIN, 0 },
        { PASSPHRASE_OPS_MIN, PASSPHRASE_MEM_MAX + 1 },
        { PASSPHRASE_OPS_MIN, UINT64_MAX },
        { UINT32_MAX, PASSPHRASE_MEM_MIN },
    };
    struct symkey key = { { 7 } };
    struct digest commit;

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(passphrase_derive(view_text("x"), &bad[i], salt, &key, &commit),
                 PHR_E_FORMAT);
    CHECK_EQ(key.b[0], 7); /* untouched */
}

TEST(passphrase__refuses_what_is_too_long)
{
    const struct passphrase_cost cost = { PASSPHRASE_OPS_MIN, PASSPHRASE_MEM_MIN };
    static uint8_t longest[PASSPHRASE_BYTES_MAX + 1];
    struct symkey key;
    struct digest commit;

    UNUSED_STATE;
    CHECK_EQ(
        passphrase_derive(view_of(longest, sizeof longest), &cost, salt, &key, &commit),
        PHR_E_LIMIT);
}

/* At the floor; computed by another program (Argon2id, then HKDF-SHA-512). */
TEST(passphrase__gives_the_known_answer)
{
    const struct passphrase_cost cost = { PASSPHRASE_OPS_MIN, PASSPHRASE_MEM_MIN };
    struct symkey key;
    struct digest commit;
    uint8_t want[32];

    UNUSED_STATE;
    CHECK_EQ(passphrase_derive(view_text("correct horse"), &cost, salt, &key, &commit),
             0);
    CHECK_EQ(
        hex_decode("41c65c9bb56253ba14b671979ca4ab43195070101900174971ff60f56f359202",
                   want, 32),
        0);
    CHECK_BYTES(key.b, want, 32);
    CHECK_EQ(
        hex_decode("66908b4d8798be13540ca02ce9276252b4d98d95040ca3f3cca83fd7d7dcd47e",
                   want, 32),
        0);
    CHECK_BYTES(commit.b, want, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(passphrase__refuses_a_cost_below_the_floor_or_above_the_ceiling),
        UNIT(passphrase__refuses_what_is_too_long),
        UNIT(passphrase__gives_the_known_answer),
    };

    return RUN_TESTS(tests);
}
