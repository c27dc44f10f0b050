/* The log's tree against RFC 6962's own definition and known roots (CRYPTO appendix A). */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "audit/tree.h"
#include "base/cursor.h"
#include "base/hex.h"
#include "crypto/digest.h"

enum { SIZES = 65 };

struct nodes {
    struct digest hash[8][SIZES + 1];
};

static int get_node(void *user, unsigned level, uint64_t index, struct digest *out_hash)
{
    const struct nodes *n = user;

    assert_true(level < 8 && index < SIZES);
    *out_hash = n->hash[level][index];
    return 0;
}

static int put_node(void *user, unsigned level, uint64_t index, const struct digest *hash)
{
    struct nodes *n = user;

    assert_true(level < 8 && index < SIZES);
    n->hash[level][index] = *hash;
    return 0;
}

static struct digest leaf_of(size_t i)
{
    const uint8_t byte = (uint8_t)i;

    return tree_leaf(view_of(&byte, 1));
}

/* RFC 6962 2.1, word for word. */
static struct digest naive(const struct digest *leaves, size_t n)
{
    struct digest left, right;
    size_t k = 1;

    if (n == 0)
        return digest_sha256(view_of("", 0));
    if (n == 1)
        return leaves[0];
    while (k * 2 < n)
        k *= 2;
    left = naive(leaves, k);
    right = naive(leaves + k, n - k);
    return digest_sha256_prefixed(1, view_of(left.b, 32), view_of(right.b, 32));
}

struct grown {
    struct nodes nodes;
    struct tree_store store;
    struct tree tree;
    struct digest leaves[SIZES];
    struct digest roots[SIZES];
};

static struct grown *grow(size_t size)
{
    struct grown *g = calloc(1, sizeof *g);

    assert_non_null(g);
    g->store = (struct tree_store){ &g->nodes, get_node, put_node };
    CHECK_EQ(tree_load(&g->store, 0, &g->tree), 0);
    g->roots[0] = tree_root(&g->tree);
    for (size_t i = 0; i < size; i++) {
        g->leaves[i] = leaf_of(i);
        CHECK_EQ(tree_append(&g->tree, &g->leaves[i]), 0);
        if (i + 1 < SIZES)
            g->roots[i + 1] = tree_root(&g->tree);
    }
    return g;
}

TEST(tree__has_the_known_roots)
{
    static const char *const inputs[] = { "",
                                          "00",
                                          "10",
                                          "2021",
                                          "3031",
                                          "40414243",
                                          "5051525354555657",
                                          "606162636465666768696a6b6c6d6e6f" };
    static const char *const roots[] = {
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    };
    struct grown *g = grow(0);

    UNUSED_STATE;
    for (size_t i = 0; i <= 8; i++) {
        struct digest root = tree_root(&g->tree);
        uint8_t input[16];
        struct digest leaf;
        char hex[65];

        hex_encode(root.b, 32, hex);
        assert_string_equal(hex, roots[i]);
        if (i == 8)
            break;
        CHECK_EQ(hex_decode(inputs[i], input, strlen(inputs[i]) / 2), 0);
        leaf = tree_leaf(view_of(input, strlen(inputs[i]) / 2));
        CHECK_EQ(tree_append(&g->tree, &leaf), 0);
    }
    free(g);
}

TEST(tree__agrees_with_the_definition_at_every_size)
{
    struct grown *g = grow(SIZES - 1);

    UNUSED_STATE;
    for (size_t n = 0; n < SIZES; n++) {
        struct digest want = naive(g->leaves, n);
        struct digest at;
        struct tree again;

        CHECK_BYTES(g->roots[n].b, want.b, 32);
        CHECK_EQ(tree_root_at(&g->tree, n, &at), 0);
        CHECK_BYTES(at.b, want.b, 32);
        CHECK_EQ(tree_load(&g->store, n, &again), 0);
        at = tree_root(&again);
        CHECK_BYTES(at.b, want.b, 32);
    }
    CHECK_EQ(tree_root_at(&g->tree, SIZES, &g->roots[0]), PHR_E_USAGE);
    free(g);
}

TEST(tree__proves_every_leaf_in_every_size)
{
    struct grown *g = grow(SIZES - 1);
    struct tree_proof proof;

    UNUSED_STATE;
    for (uint64_t n = 1; n < SIZES; n++) {
        for (uint64_t i = 0; i < n; i++) {
            CHECK_EQ(tree_prove_inclusion(&g->tree, i, n, &proof), 0);
            CHECK_EQ(tree_check_inclusion(&g->leaves[i], i, n, &g->roots[n], &proof), 0);
            CHECK_EQ(tree_check_inclusion(&g->leaves[(i + 1) % 64], i, n, &g->roots[n],
                                          &proof),
                     PHR_E_AUDIT_BROKEN);
            CHECK_EQ(tree_check_inclusion(&g->leaves[i], i, n, &g->roots[n - 1], &proof),
                     PHR_E_AUDIT_BROKEN);
            if (n > 1) {
                CHECK_EQ(tree_check_inclusion(&g->leaves[i], (i + 1) % n, n, &g->roots[n],
                                              &proof),
                         PHR_E_AUDIT_BROKEN);
                proof.count--;
                CHECK_EQ(tree_check_inclusion(&g->leaves[i], i, n, &g->roots[n], &proof),
                         PHR_E_AUDIT_BROKEN);
            }
        }
        CHECK_EQ(tree_prove_inclusion(&g->tree, n, n, &proof), PHR_E_USAGE);
    }
    free(g);
}

TEST(tree__proves_that_each_size_contains_each_smaller_one)
{
    struct grown *g = grow(SIZES - 1);
    struct tree_proof proof;

    UNUSED_STATE;
    for (uint64_t n = 0; n < SIZES; n++) {
        for (uint64_t m = 0; m <= n; m++) {
            CHECK_EQ(tree_prove_consistency(&g->tree, m, n, &proof), 0);
            CHECK_EQ(tree_check_consistency(m, &g->roots[m], n, &g->roots[n], &proof), 0);
            if (m > 0) {
                struct digest other = g->roots[m];

                other.b[5] ^= 1;
                CHECK_EQ(tree_check_consistency(m, &other, n, &g->roots[n], &proof),
                         PHR_E_AUDIT_BROKEN);
            }
            if (m > 0 && proof.count > 0) {
                proof.hashes[proof.count / 2].b[0] ^= 1;
                CHECK_EQ(tree_check_consistency(m, &g->roots[m], n, &g->roots[n], &proof),
                         PHR_E_AUDIT_BROKEN);
                proof.count = 0;
                CHECK_EQ(tree_check_consistency(m, &g->roots[m], n, &g->roots[n], &proof),
                         PHR_E_AUDIT_BROKEN);
            }
        }
    }
    CHECK_EQ(tree_check_consistency(5, &g->roots[5], 4, &g->roots[4], &proof),
             PHR_E_AUDIT_BROKEN);
    CHECK_EQ(tree_prove_consistency(&g->tree, 3, SIZES, &proof), PHR_E_USAGE);
    free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(tree__has_the_known_roots),
        UNIT(tree__agrees_with_the_definition_at_every_size),
        UNIT(tree__proves_every_leaf_in_every_size),
        UNIT(tree__proves_that_each_size_contains_each_smaller_one),
    };

    return RUN_TESTS(tests);
}
