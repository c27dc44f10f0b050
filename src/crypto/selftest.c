#include "crypto/selftest.h"

#include <sodium.h>
#include <string.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/secret.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/pop.h"
#include "crypto/pre_proxy.h"
#include "crypto/seal.h"
#include "crypto/selftest_inputs.h"
#include "crypto/sign.h"

/* Seal(B, "aad", "message") with e = the scalar of label "e"; made by another program. */
static const char tv_sealed[] =
    "14eea59a5a3fffaf38a609f124ec8dd46e988d0edbd774d12ee8c23d95c9f34a"
    "d976ead648149933abaa6d89c09fced014f916a07f24de7e371954b6b7ceaa03"
    "d976758e524f71eb4d342f9ec31ac43814c868510dfda9";

static bool digests_answer(void);
static bool signatures_answer(void);
static bool aead_answers(void);
static bool capsule_answers(void);
static bool proxy_answers(void);
static bool seal_answers(void);

int selftest_run(void)
{
    if (!digests_answer() || !signatures_answer() || !aead_answers() ||
        !capsule_answers() || !proxy_answers() || !seal_answers())
        return PHR_E_SELFTEST;
    return 0;
}

static bool is_hex(const void *found, size_t n, const char *hex)
{
    uint8_t want[64];

    INVARIANT(n <= sizeof want);
    selftest_inputs_hex(hex, want, n);
    return sodium_memcmp(found, want, n) == 0;
}

/* FIPS 180-2 "abc", RFC 4231 case 2, and HKDF-SHA-512 as K_seg of CRYPTO appendix A. */
static bool digests_answer(void)
{
    struct digest d = digest_sha256(view_text("abc"));
    struct digest mac =
        digest_hmac(view_text("Jefe"), view_text("what do ya want for nothing?"));
    uint8_t fk[32];
    uint8_t salt[32];
    uint8_t info[4 + 12 + 4 + 16 + 4 + 8 + 4 + 3];
    uint8_t key[32];
    struct id16 file = selftest_inputs_id("file");
    const uint8_t geometry[] = { 1, 14, 22 };
    uint8_t index[8];
    struct writer w;

    selftest_inputs_bytes("fk", fk, sizeof fk);
    selftest_inputs_bytes("salt", salt, sizeof salt);
    put_le64(index, 5);
    writer_init_fixed(&w, (struct span){ info, sizeof info });
    writer_lp(&w, view_text(LABEL_SEG));
    writer_lp(&w, view_of(file.b, sizeof file.b));
    writer_lp(&w, view_of(index, sizeof index));
    writer_lp(&w, view_of(geometry, sizeof geometry));
    if (!writer_ok(&w))
        return false;
    digest_hkdf(view_of(fk, sizeof fk), view_of(salt, sizeof salt), writer_done(&w),
                (struct span){ key, sizeof key });
    return is_hex(d.b, 32,
                  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") &&
           is_hex(mac.b, 32,
                  "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843") &&
           is_hex(key, 32,
                  "7c94e28937073f2c955177687aee72f55a19a4e893417ed6730c111562bc908a");
}

/* RFC 8032 7.1 test 1, and a changed signature. */
static bool signatures_answer(void)
{
    scoped(sign_key_free) struct sign_key *k = NULL;
    struct symkey seed; /* a published test value */
    struct verify_key pk;
    struct signature sig;

    selftest_inputs_hex(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", seed.b, 32);
    k = sign_key_from_seed(&seed);
    if (!k)
        return false;
    pk = sign_key_public(k);
    sig = sign_bytes(k, view_text(""));
    if (!is_hex(pk.b, 32,
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a") ||
        !is_hex(sig.b, 64,
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"))
        return false;
    if (sign_check_bytes(&pk, view_text(""), &sig) < 0)
        return false;
    sig.b[0] ^= 1;
    return sign_check_bytes(&pk, view_text(""), &sig) == PHR_E_SIGNATURE;
}

/* The block of CRYPTO appendix A, and the tag of draft-irtf-cfrg-xchacha-03 A.3.1. */
static bool aead_answers(void)
{
    static const char sunscreen[] = "Ladies and Gentlemen of the class of '99: If I "
                                    "could offer you only one tip for the "
                                    "future, sunscreen would be it.";
    struct view long_text = view_text(sunscreen);
    struct view short_text = view_text("hello block");
    struct symkey key; /* published test values */
    uint8_t nonce[AEAD_XCHACHA_NONCE_BYTES];
    uint8_t aad[12];
    uint8_t ct[128];
    uint8_t back[128];
    uint8_t tag[AEAD_TAG_BYTES];

    selftest_inputs_hex(
        "7c94e28937073f2c955177687aee72f55a19a4e893417ed6730c111562bc908a", key.b,
        sizeof key.b);
    selftest_inputs_bytes("bn", nonce, AEAD_GCM_NONCE_BYTES);
    put_le32(aad, 7);
    put_le32(aad + 4, (uint32_t)short_text.n);
    if (aead_seal(AEAD_GCM, &key, nonce, view_of(aad, 8), short_text, ct, ct + 11) < 0 ||
        !is_hex(ct, 27, "b9423caf6b6c8ba7197e3f6534d88f2559d0781bab1edfa56a4a77"))
        return false;
    if (aead_open_sealed(AEAD_GCM, &key, nonce, view_of(aad, 8), view_of(ct, 11), ct + 11,
                         back) < 0 ||
        memcmp(back, short_text.p, short_text.n) != 0)
        return false;
    ct[3] ^= 1;
    if (aead_open_sealed(AEAD_GCM, &key, nonce, view_of(aad, 8), view_of(ct, 11), ct + 11,
                         back) != PHR_E_SEAL)
        return false;

    for (size_t i = 0; i < sizeof key.b; i++)
        key.b[i] = (uint8_t)(0x80 + i);
    for (size_t i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)(0x40 + i);
    selftest_inputs_hex("50515253c0c1c2c3c4c5c6c7", aad, sizeof aad);
    return aead_seal(AEAD_XCHACHA, &key, nonce, view_of(aad, 12), long_text, ct, tag) ==
               0 &&
           is_hex(tag, sizeof tag, "c0875924c1c7987947deafd8780acf49") &&
           aead_open_sealed(AEAD_XCHACHA, &key, nonce, view_of(aad, 12),
                            view_of(ct, long_text.n), tag, back) == 0 &&
           memcmp(back, sunscreen, long_text.n) == 0;
}

/* CRYPTO appendix A. */
static void known_capsule(struct capsule *out_capsule, struct point *out_a)
{
    selftest_inputs_hex(
        "9a04f2060bc025bba609bdf0b0929d9d865ed82e7d5b46135f2bd0672fb8fc6e", out_a->b, 32);
    selftest_inputs_hex(
        "a241c87658ba06e5b2c4e3f306658523cc8fe417893314b77a2e4ec7e8c23b4e",
        out_capsule->e.b, 32);
    selftest_inputs_hex(
        "fabaed31a5f8f6450344d37f36cf8026e76125431d0da6bcb1b7dc31eb96985b",
        out_capsule->v.b, 32);
    selftest_inputs_hex(
        "10bf1ef2ccb84973dc1112bde52cc2f1cae6f4505970931c3ccac76521567804",
        out_capsule->s, 32);
}

/* The right context passes; a capsule shown for the next header generation does not. */
static bool capsule_answers(void)
{
    struct file_ctx ctx = selftest_inputs_file();
    struct capsule c;
    struct point a;

    known_capsule(&c, &a);
    if (pre_check_capsule(&c, &a, &ctx) < 0)
        return false;
    ctx.hdr_gen++;
    return pre_check_capsule(&c, &a, &ctx) == PHR_E_SIGNATURE;
}

static bool proxy_answers(void)
{
    struct file_ctx ctx = selftest_inputs_file();
    struct id16 grant = selftest_inputs_id("grant");
    struct capsule c;
    struct scalar rk; /* a published test value */
    struct point a;
    struct point r;
    struct point w;
    struct point w1;
    struct dleq proof;

    known_capsule(&c, &a);
    selftest_inputs_hex(
        "f77a67000b19ce64fa9242bc2cdaf2906f12d96033d11824f6d91e15566dad02", rk.b,
        sizeof rk.b);
    selftest_inputs_hex(
        "26e9b61e658f0584ad9bef742ebc966c86269b03248a83a80e5d512a41317345", r.b,
        sizeof r.b);
    selftest_inputs_hex(
        "add7bf96292bd3cdb57825a294a5c95b4c028096f798f3d677607c41323d5a0b", proof.c,
        sizeof proof.c);
    selftest_inputs_hex(
        "6e8febc05f5692a302b4afcb6b9c32a05da8e768ba6d439b4e7ed04c1ff17e08", proof.z,
        sizeof proof.z);
    if (pre_check_rk(&rk, &r) < 0 || pre_capsule_w(&c, &w) < 0 ||
        pre_reencrypt(&rk, &w, &w1) < 0 ||
        !is_hex(w1.b, 32,
                "0852928a2fd953bece014bafd2154c8470fabe2781404cc839f0ce09a90b1126"))
        return false;
    if (pre_check_proof(&proof, &ctx, &grant, &a, &r, &w, &w1) < 0)
        return false;
    proof.c[0] ^= 1;
    return pre_check_proof(&proof, &ctx, &grant, &a, &r, &w, &w1) != 0;
}

static bool seal_answers(void)
{
    uint8_t sealed[7 + SEAL_EXTRA_BYTES];
    uint8_t back[7];
    struct scalar b; /* a published test value */
    struct view aad = view_text("aad");
    struct span out = { back, sizeof back };

    selftest_inputs_scalar("b", &b);
    selftest_inputs_hex(tv_sealed, sealed, sizeof sealed);
    if (seal_open(&b, aad, view_of(sealed, sizeof sealed), out) < 0 ||
        memcmp(back, "message", 7) != 0)
        return false;
    sealed[40] ^= 1; /* the commitment */
    return seal_open(&b, aad, view_of(sealed, sizeof sealed), out) == PHR_E_SEAL;
}
