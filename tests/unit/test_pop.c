/* Proof of possession of a KEM key (CRYPTO 2.6). */
#include "check.h"

#include <string.h>

#include "base/cursor.h"
#include "base/hex.h"
#include "crypto/pop_test.h"
#include "crypto/pre.h"
#include "crypto/selftest_inputs.h"

struct proven {
    struct scalar b;
    struct point b_pub;
    struct pop pop;
};

static void proven_build(struct proven *p)
{
    selftest_inputs_scalar("b", &p->b);
    CHECK_EQ(pre_public(&p->b, &p->b_pub), 0);
    CHECK_EQ(pop_prove(&p->b, &p->b_pub, view_text("card body"), &p->pop), 0);
}

/* The answer was computed by another program from the formula. */
TEST(pop__gives_the_known_answer)
{
    struct proven p;
    struct scalar k;
    struct pop pop;
    uint8_t want[32];

    UNUSED_STATE;
    proven_build(&p);
    selftest_inputs_scalar("k", &k);
    CHECK_EQ(pop_prove_with(&k, &p.b, &p.b_pub, view_text("card body"), &pop), 0);
    CHECK_EQ(
        hex_decode("1ad50ad4b0defadce4e0b1c2eb5575daf343f405a68d8925f3b471d0f1940a01",
                   want, 32),
        0);
    CHECK_BYTES(pop.c, want, 32);
    CHECK_EQ(
        hex_decode("c1fc8868ea519493dead67f85e3f3b7622a2aea02d10235fb384be9937abd404",
                   want, 32),
        0);
    CHECK_BYTES(pop.z, want, 32);
}

TEST(pop__holds_for_its_body_and_key_only)
{
    struct proven p;
    struct scalar other;
    struct point other_pub;

    UNUSED_STATE;
    proven_build(&p);
    CHECK_EQ(pop_check(&p.pop, &p.b_pub, view_text("card body")), 0);
    CHECK_EQ(pop_check(&p.pop, &p.b_pub, view_text("card bodz")), PHR_E_SIGNATURE);
    CHECK_EQ(pop_check(&p.pop, &p.b_pub, view_text("")), PHR_E_SIGNATURE);
    selftest_inputs_scalar("a", &other);
    CHECK_EQ(pre_public(&other, &other_pub), 0);
    CHECK_EQ(pop_check(&p.pop, &other_pub, view_text("card body")), PHR_E_SIGNATURE);
    /* Without the key to B there is no proof for B. */
    CHECK_EQ(pop_prove(&other, &p.b_pub, view_text("card body"), &p.pop), 0);
    CHECK_EQ(pop_check(&p.pop, &p.b_pub, view_text("card body")), PHR_E_SIGNATURE);
}

TEST(pop__refuses_changed_and_improper_values)
{
    struct proven p;
    struct pop bad;
    struct point identity = { { 0 } };
    struct scalar zero = { { 0 } };

    UNUSED_STATE;
    proven_build(&p);
    for (size_t i = 0; i < 31; i++) { /* byte 31 may turn into a scalar beyond L */
        bad = p.pop;
        bad.c[i] ^= 1;
        CHECK_EQ(pop_check(&bad, &p.b_pub, view_text("card body")), PHR_E_SIGNATURE);
        bad = p.pop;
        bad.z[i] ^= 1;
        CHECK_EQ(pop_check(&bad, &p.b_pub, view_text("card body")), PHR_E_SIGNATURE);
    }
    bad = p.pop;
    memset(bad.z, 0, 32);
    CHECK_EQ(pop_check(&bad, &p.b_pub, view_text("card body")), PHR_E_POINT);
    memset(bad.z, 0xff, 32);
    CHECK_EQ(pop_check(&bad, &p.b_pub, view_text("card body")), PHR_E_POINT);
    CHECK_EQ(pop_check(&p.pop, &identity, view_text("card body")), PHR_E_POINT);
    CHECK_EQ(pop_prove(&zero, &p.b_pub, view_text("card body"), &bad), PHR_E_POINT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(pop__gives_the_known_answer),
        UNIT(pop__holds_for_its_body_and_key_only),
        UNIT(pop__refuses_changed_and_improper_values),
    };

    return RUN_TESTS(tests);
}
