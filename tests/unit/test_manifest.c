#include "format_check.h"

#include "format/manifest_test.h"

/* RFC 6962 roots of the eight leaves below, sizes 0..8 (CRYPTO appendix A). */
static const char *const leaves[] = {
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
};
static const char *const roots[] = {
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

static int decode(struct view bytes)
{
    struct manifest_entry *entries;
    size_t count;
    int rc = manifest_decode(bytes, &entries, &count);

    if (rc == 0)
        free(entries);
    return rc;
}

TEST(manifest_mth__gives_the_rfc_6962_roots)
{
    uint8_t room[8][16];
    struct view views[8];

    UNUSED_STATE;
    for (size_t i = 0; i < 8; i++) {
        views[i] = view_of(room[i], strlen(leaves[i]) / 2);
        CHECK_EQ(hex_decode(leaves[i], room[i], views[i].n), 0);
    }
    for (size_t n = 0; n <= 8; n++) {
        struct digest d = manifest_mth(views, n);

        check_hex(d.b, sizeof d.b, roots[n]);
    }
}

TEST(manifest_root__is_the_tree_hash_of_the_entries)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct digest empty = manifest_root(view_of(NULL, 0));
    struct view views[3];
    struct digest a;
    struct digest b;

    UNUSED_STATE;
    check_hex(empty.b, sizeof empty.b, roots[0]);
    writer_init(&w);
    CHECK_EQ(sample_make("manifest", &w), 0);
    for (size_t i = 0; i < 3; i++)
        views[i] = view_of(w.p + i * MANIFEST_ENTRY_BYTES, MANIFEST_ENTRY_BYTES);
    a = manifest_root(writer_done(&w));
    b = manifest_mth(views, 3);
    CHECK(digest_equal(&a, &b));
    b = manifest_root(
        view_of(w.p, 2 * MANIFEST_ENTRY_BYTES)); /* the file cut by a segment */
    CHECK(!digest_equal(&a, &b));
    w.p[100] ^= 1; /* an older segment in place of a newer one */
    b = manifest_root(writer_done(&w));
    CHECK(!digest_equal(&a, &b));
}

TEST(manifest__comes_back_as_it_was)
{
    scoped(writer_fini) struct writer w = { 0 };
    scoped(free) struct manifest_entry *entries = NULL;
    size_t count;

    UNUSED_STATE;
    writer_init(&w);
    CHECK_EQ(sample_make("manifest", &w), 0);
    CHECK_EQ(manifest_decode(writer_done(&w), &entries, &count), 0);
    CHECK_EQ(count, 3);
    CHECK(entries[2].seg_index == 7 && entries[2].plaintext_len == 1234);
    CHECK_EQ(entries[2].fk_gen, 2);
}

TEST(manifest__refuses_cuts_inside_an_entry_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("manifest", decode, MANIFEST_ENTRY_BYTES);
}

TEST(manifest__refuses_wrong_order_and_lengths)
{
    UNUSED_STATE;
    check_byte("manifest", decode, 80, 0);    /* index 0 twice */
    check_byte("manifest", decode, 0, 2);     /* 2 before 1 */
    check_byte("manifest", decode, 2, 0x40);  /* beyond 16 TiB: 2^22 */
    check_byte("manifest", decode, 10, 0x41); /* longer than a segment */
    check_byte("manifest", decode, 10, 0); /* 0x400000 -> 0: an empty segment is a gap */
}

TEST(strip_id__changes_with_salt_order_and_holes)
{
    uint8_t salt[SALT_BYTES] = { 1 };
    uint8_t strip[2 * STRIP_ENTRY_GCM_BYTES];
    struct digest a;
    struct digest b;

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof strip; i++)
        strip[i] = (uint8_t)i;
    a = strip_id(salt, view_of(strip, sizeof strip));
    memset(strip, 0, STRIP_ENTRY_GCM_BYTES); /* a hole inserted */
    b = strip_id(salt, view_of(strip, sizeof strip));
    CHECK(!digest_equal(&a, &b));
    b = strip_id(salt, view_of(strip, sizeof strip - STRIP_ENTRY_GCM_BYTES));
    CHECK(!digest_equal(&a, &b));
    salt[0] = 2;
    for (size_t i = 0; i < sizeof strip; i++)
        strip[i] = (uint8_t)i;
    b = strip_id(salt, view_of(strip, sizeof strip));
    CHECK(!digest_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(manifest_mth__gives_the_rfc_6962_roots),
        UNIT(manifest_root__is_the_tree_hash_of_the_entries),
        UNIT(manifest__comes_back_as_it_was),
        UNIT(manifest__refuses_cuts_inside_an_entry_and_one_byte_more),
        UNIT(manifest__refuses_wrong_order_and_lengths),
        UNIT(strip_id__changes_with_salt_order_and_holes),
    };

    return RUN_TESTS(tests);
}
