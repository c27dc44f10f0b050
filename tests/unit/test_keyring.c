#include "format_check.h"

#include "format/keyring.h"

static int decode(struct view bytes)
{
    scoped(keyring_free) struct keyring *k = NULL;

    return keyring_body_decode(bytes, &k);
}

static struct keyring *keyring_make(void)
{
    scoped(keyring_free) struct keyring *k = NULL;
    struct keyring_name name = { .patient = selftest_inputs_id("patient"),
                                 .name = "Ada" };

    CHECK_EQ(keyring_new(&k), 0);
    k->card = malloc(4);
    assert_non_null(k->card);
    memcpy(k->card, "card", 4);
    k->card_bytes = 4;
    k->is_approved = true;
    CHECK_EQ(keyring_add_name(k, &name), 0);
    return give(k);
}

TEST(keyring__opens_with_its_passphrase_and_no_other)
{
    scoped(keyring_free) struct keyring *k = keyring_make();
    scoped(keyring_free) struct keyring *back = NULL;
    scoped(writer_fini) struct writer file = { 0 };

    UNUSED_STATE;
    writer_init(&file);
    CHECK_EQ(keyring_seal(k, view_text("correct horse"), &file), 0);
    CHECK_EQ((file.n - 84 - 40) % 4096, 0);
    CHECK_EQ(keyring_open_sealed(writer_done(&file), view_text("correct horse"), &back),
             0);
    CHECK_BYTES(back->seed->b, k->seed->b, 32);
    CHECK_BYTES(back->b->b, k->b->b, 32);
    CHECK(id_equal(&back->user, &k->user) && back->is_approved);
    CHECK_EQ(back->card_bytes, 4);
    CHECK_EQ(back->name_count, 1);
    assert_string_equal(back->names[0].name, "Ada");
    CHECK(back->cost.ops == PASSPHRASE_OPS_MIN &&
          back->cost.mem_bytes == PASSPHRASE_MEM_MIN);
    keyring_free(give(back));
    CHECK_EQ(keyring_open_sealed(writer_done(&file), view_text("correct hors"), &back),
             PHR_E_PASSPHRASE);
}

/* A file whose keys are not asked for: edits are refused before or by the derivation. */
static void file_make(struct writer *w)
{
    scoped(keyring_free) struct keyring *k = keyring_make();

    writer_init(w);
    CHECK_EQ(keyring_seal(k, view_text("p"), w), 0);
}

TEST(keyring__refuses_cost_below_the_floor_or_above_the_ceiling)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct keyring *k = NULL;

    UNUSED_STATE;
    file_make(&w);
    put_le32(w.p + 24, PASSPHRASE_OPS_MIN - 1);
    CHECK_EQ(keyring_open_sealed(writer_done(&w), view_text("p"), &k), PHR_E_FORMAT);
    put_le32(w.p + 24, PASSPHRASE_OPS_MIN);
    put_le64(w.p + 28, PASSPHRASE_MEM_MIN - 1);
    CHECK_EQ(keyring_open_sealed(writer_done(&w), view_text("p"), &k), PHR_E_FORMAT);
    put_le64(w.p + 28, PASSPHRASE_MEM_MAX + 1);
    CHECK_EQ(keyring_open_sealed(writer_done(&w), view_text("p"), &k), PHR_E_FORMAT);
    put_le64(w.p + 28, 0);
    CHECK_EQ(keyring_open_sealed(writer_done(&w), view_text("p"), &k), PHR_E_FORMAT);
    CHECK(k == NULL);
}

TEST(keyring__does_not_open_when_its_head_or_body_was_edited)
{
    static const size_t places[] = { 8 /* user */, 36 /* salt */, 52 /* commitment */,
                                     84 /* nonce */, 108 /* body */ };
    scoped(writer_fini) struct writer w = { 0 };
    struct keyring *k = NULL;

    UNUSED_STATE;
    file_make(&w);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        w.p[places[i]] ^= 1;
        CHECK_EQ(keyring_open_sealed(writer_done(&w), view_text("p"), &k),
                 PHR_E_PASSPHRASE);
        w.p[places[i]] ^= 1;
    }
    put_le32(w.p + 24,
             PASSPHRASE_OPS_MIN + 1); /* allowed, but not what it was sealed with */
    CHECK_EQ(keyring_open_sealed(writer_done(&w), view_text("p"), &k), PHR_E_PASSPHRASE);
    CHECK(k == NULL);
}

TEST(keyring__refuses_a_file_of_another_length_at_once)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct keyring *k = NULL;

    UNUSED_STATE;
    file_make(&w);
    for (size_t n = 0; n < w.n; n += 61)
        CHECK_EQ(keyring_open_sealed(view_of(w.p, n), view_text("p"), &k), PHR_E_FORMAT);
    w.p[0] ^= 1;
    CHECK_EQ(keyring_open_sealed(writer_done(&w), view_text("p"), &k), PHR_E_FORMAT);
}

TEST(keyring_body__refuses_every_cut_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("keyring_body", decode, 0);
}

TEST(keyring_body__refuses_what_is_not_a_field)
{
    UNUSED_STATE;
    check_byte("keyring_body", decode, 0, 10);   /* no such type */
    check_byte("keyring_body", decode, 0, 1);    /* a seed of 16 bytes */
    check_byte("keyring_body", decode, 1, 17);   /* user16 of 17 bytes */
    check_byte("keyring_body", decode, 4, 0xff); /* a length beyond the body */
    check_byte("keyring_body", decode, 4095, 1); /* padding */
    check_byte("keyring_body", decode, 21, 2);   /* b twice, no seed */
}

TEST(keyring_body__holds_all_of_a_keyring)
{
    scoped(keyring_free) struct keyring *k = keyring_make();
    scoped(keyring_free) struct keyring *back = NULL;
    scoped(secret_free) uint8_t *body = NULL;
    size_t n;

    UNUSED_STATE;
    for (size_t i = 0; i < 600; i++) {
        struct keyring_name name = { .name = "a compartment" };
        struct keyring_pin pin = { .seq = i };

        put_le32(name.class_id.b, (uint32_t)i + 1);
        put_le32(pin.patient.b, (uint32_t)i);
        CHECK_EQ(keyring_add_name(k, &name), 0);
        CHECK_EQ(keyring_pin(k, &pin), 0);
    }
    k->is_approved = false;
    secret_free(k->b);
    k->b = NULL; /* an authority has none */
    CHECK_EQ(keyring_body_encode(k, &body, &n), 0);
    CHECK(n % 4096 == 0 && n > 4096);
    CHECK_EQ(keyring_body_decode(view_of(body, n), &back), 0);
    CHECK(back->name_count == 601 && back->pin_count == 600 && !back->is_approved &&
          !back->b);
    CHECK(back->pins[599].seq == 599);
}

TEST(keyring_body__is_refused_beyond_what_the_arena_can_hold)
{
    scoped(keyring_free) struct keyring *k = keyring_make();
    uint8_t *body = NULL;
    size_t n;

    UNUSED_STATE;
    for (size_t i = 0; i < 1000; i++) {
        struct keyring_name name;

        memset(&name, 'n', sizeof name);
        name.name[DISPLAY_NAME_BYTES_MAX] = 0;
        put_le32(name.class_id.b, (uint32_t)i);
        CHECK_EQ(keyring_add_name(k, &name), 0);
    }
    CHECK_EQ(keyring_body_encode(k, &body, &n), PHR_E_LIMIT);
}

TEST(keyring_add_name__replaces_what_is_there)
{
    scoped(keyring_free) struct keyring *k = keyring_make();
    struct keyring_name name = { .patient = selftest_inputs_id("patient"),
                                 .name = "Countess" };

    UNUSED_STATE;
    CHECK_EQ(keyring_add_name(k, &name), 0);
    CHECK_EQ(k->name_count, 1);
    assert_string_equal(k->names[0].name, "Countess");
    name.name[0] = '\0';
    CHECK_EQ(keyring_add_name(k, &name), -EINVAL);
}

TEST(keyring_pin__rises_only)
{
    scoped(keyring_free) struct keyring *k = keyring_make();
    struct keyring_pin pin = { .seq = 5, .leaf = { { 1 } } };

    UNUSED_STATE;
    CHECK_EQ(keyring_pin(k, &pin), 0);
    CHECK_EQ(keyring_pin(k, &pin), 0);
    pin.leaf.b[0] = 2;
    CHECK_EQ(keyring_pin(k, &pin), PHR_E_FORK);
    pin.seq = 6;
    CHECK_EQ(keyring_pin(k, &pin), 0);
    pin.seq = 5;
    CHECK_EQ(keyring_pin(k, &pin), PHR_E_ROLLBACK);
    CHECK_EQ(k->pin_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(keyring__opens_with_its_passphrase_and_no_other),
        UNIT(keyring__refuses_cost_below_the_floor_or_above_the_ceiling),
        UNIT(keyring__does_not_open_when_its_head_or_body_was_edited),
        UNIT(keyring__refuses_a_file_of_another_length_at_once),
        UNIT(keyring_body__refuses_every_cut_and_one_byte_more),
        UNIT(keyring_body__refuses_what_is_not_a_field),
        UNIT(keyring_body__holds_all_of_a_keyring),
        UNIT(keyring_body__is_refused_beyond_what_the_arena_can_hold),
        UNIT(keyring_add_name__replaces_what_is_there),
        UNIT(keyring_pin__rises_only),
    };

    return RUN_TESTS(tests);
}
