#include "crypto/selftest.h"

#include <string.h>

#include "crypto/pre_owner.h"
#include "crypto/pre_proxy.h"
#include "crypto/pre_reader.h"
#include "crypto/pre_writer.h"
#include "crypto/selftest_inputs.h"
#include "crypto/wipe.h"

/* CRYPTO appendix A. */
static const char tv_capsule[] =
    "a241c87658ba06e5b2c4e3f306658523cc8fe417893314b77a2e4ec7e8c23b4e"
    "fabaed31a5f8f6450344d37f36cf8026e76125431d0da6bcb1b7dc31eb96985b"
    "10bf1ef2ccb84973dc1112bde52cc2f1cae6f4505970931c3ccac76521567804";
static const char tv_a[] =
    "9a04f2060bc025bba609bdf0b0929d9d865ed82e7d5b46135f2bd0672fb8fc6e";
static const char tv_b[] =
    "500c418e620bc0401df27dae300247c66bebc7d3e9ef6d443347c3ca477e9e75";
static const char tv_kek[] =
    "db12de20809fe04201d45338245fa5f7cbb55318343fced18e744212605e31b1";
static const char tv_commit[] =
    "8f5828252ea82ee6f0f28d29f19a9ea011a04bafb563199e145ed056391bf5e2";
static const char tv_x[] =
    "02fe5d43ae7e8d7c73c2eac9e9df0c72a35e7f03970c128d45038d6ce8333456";
static const char tv_d[] =
    "aadb04a7da9e93bc3499526b6be0a9756b31858cc16db1b8302454505a04680e";
static const char tv_r[] =
    "26e9b61e658f0584ad9bef742ebc966c86269b03248a83a80e5d512a41317345";
static const char tv_w1[] =
    "0852928a2fd953bece014bafd2154c8470fabe2781404cc839f0ce09a90b1126";

static bool is_hex(const void *found, const char *hex);
static bool writer_answers(void);
static bool owner_answers(void);
static bool rekeygen_answers(void);
static bool reader_answers(void);
static void known_capsule(struct capsule *out_capsule, struct digest *out_commit);

int selftest_run_people(void)
{
    if (!writer_answers() || !owner_answers() || !rekeygen_answers() || !reader_answers())
        return PHR_E_SELFTEST;
    return 0;
}

/* r and u are drawn inside, so Encaps is judged by Decaps, which known answers judge. */
static bool writer_answers(void)
{
    struct file_ctx ctx = selftest_inputs_file();
    scoped(wipe_symkey) struct symkey kek;
    scoped(wipe_symkey) struct symkey found;
    struct scalar a;
    struct point a_pub;
    struct capsule c;
    struct digest commit;

    selftest_inputs_scalar("a", &a);
    selftest_inputs_hex(tv_a, a_pub.b, sizeof a_pub.b);
    return pre_encaps(&a_pub, &ctx, &c, &kek, &commit) == 0 &&
           pre_check_capsule(&c, &a_pub, &ctx) == 0 &&
           pre_owner_decaps(&a, &ctx, &c, &commit, &found) == 0 &&
           sodium_memcmp(kek.b, found.b, sizeof kek.b) == 0;
}

static bool owner_answers(void)
{
    struct file_ctx ctx = selftest_inputs_file();
    scoped(wipe_symkey) struct symkey kek;
    struct scalar a;
    struct point a_pub;
    struct capsule c;
    struct digest commit;

    selftest_inputs_scalar("a", &a);
    known_capsule(&c, &commit);
    if (pre_public(&a, &a_pub) < 0 || !is_hex(a_pub.b, tv_a))
        return false;
    if (pre_owner_decaps(&a, &ctx, &c, &commit, &kek) < 0 || !is_hex(kek.b, tv_kek))
        return false;
    commit.b[0] ^= 1; /* another key's commitment is refused */
    return pre_owner_decaps(&a, &ctx, &c, &commit, &kek) == PHR_E_SEAL;
}

/* x is drawn inside; d*R == A, which pre_reader_grant_key checks, holds for the right rk only. */
static bool rekeygen_answers(void)
{
    struct grant_ctx grant = selftest_inputs_grant();
    struct scalar a;
    struct scalar b;
    scoped(wipe_scalar) struct scalar rk;
    scoped(wipe_scalar) struct scalar d;
    struct point a_pub;
    struct point b_pub;
    struct point x;
    struct point r;

    selftest_inputs_scalar("a", &a);
    selftest_inputs_scalar("b", &b);
    selftest_inputs_hex(tv_a, a_pub.b, sizeof a_pub.b);
    selftest_inputs_hex(tv_b, b_pub.b, sizeof b_pub.b);
    return pre_rekeygen(&a, &a_pub, &b_pub, &grant, &rk, &x, &r) == 0 &&
           pre_check_rk(&rk, &r) == 0 &&
           pre_reader_grant_key(&b, &grant, &a_pub, &b_pub, &x, &r, &d) == 0;
}

static bool reader_answers(void)
{
    struct file_ctx ctx = selftest_inputs_file();
    struct grant_ctx grant = selftest_inputs_grant();
    scoped(wipe_symkey) struct symkey kek;
    struct scalar b;
    struct scalar d;
    struct point a_pub;
    struct point b_pub;
    struct point x;
    struct point r;
    struct point w1;
    struct capsule c;
    struct digest commit;

    selftest_inputs_scalar("b", &b);
    selftest_inputs_hex(tv_a, a_pub.b, sizeof a_pub.b);
    selftest_inputs_hex(tv_x, x.b, sizeof x.b);
    selftest_inputs_hex(tv_r, r.b, sizeof r.b);
    selftest_inputs_hex(tv_w1, w1.b, sizeof w1.b);
    known_capsule(&c, &commit);
    if (pre_public(&b, &b_pub) < 0 || !is_hex(b_pub.b, tv_b))
        return false;
    if (pre_reader_grant_key(&b, &grant, &a_pub, &b_pub, &x, &r, &d) < 0 ||
        !is_hex(d.b, tv_d))
        return false;
    return pre_reader_decaps(&d, &ctx, &a_pub, &c, &w1, &commit, &kek) == 0 &&
           is_hex(kek.b, tv_kek);
}

static void known_capsule(struct capsule *out_capsule, struct digest *out_commit)
{
    uint8_t bytes[CAPSULE_BYTES];

    selftest_inputs_hex(tv_capsule, bytes, sizeof bytes);
    memcpy(out_capsule->e.b, bytes, 32);
    memcpy(out_capsule->v.b, bytes + 32, 32);
    memcpy(out_capsule->s, bytes + 64, 32);
    selftest_inputs_hex(tv_commit, out_commit->b, sizeof out_commit->b);
}

static bool is_hex(const void *found, const char *hex)
{
    uint8_t want[32];

    selftest_inputs_hex(hex, want, sizeof want);
    return sodium_memcmp(found, want, sizeof want) == 0;
}
