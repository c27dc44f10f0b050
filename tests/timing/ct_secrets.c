/*
 * Does any of our code branch on a secret, or use one as an index? Memcheck answers: each
 * secret is declared undefined before it is used, so that a jump or an address that depends
 * on it is reported. ct_secrets.supp lists the few decisions that are meant to be seen, with
 * the reason.
 *
 * "leak" as argument: branches on a secret on purpose, so that the test of this test fails.
 */
#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/secret.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/pop_test.h"
#include "crypto/pre_owner_test.h"
#include "crypto/pre_proxy_test.h"
#include "crypto/pre_reader.h"
#include "crypto/pre_writer_test.h"
#include "crypto/random.h"
#include "crypto/seal_test.h"
#include "crypto/selftest.h"
#include "crypto/sign.h"

#define SECRET(x) VALGRIND_MAKE_MEM_UNDEFINED(&(x), sizeof(x))
#define PUBLIC(x) VALGRIND_MAKE_MEM_DEFINED(&(x), sizeof(x))

struct world {
    struct scalar a;
    struct scalar b;
    struct point a_pub;
    struct point b_pub;
    struct file_ctx file;
    struct grant_ctx grant;
    struct capsule capsule;
    struct symkey kek;
    struct digest commit;
    struct scalar rk;
    struct scalar d;
    struct point x;
    struct point r;
    struct point w;
    struct point w1;
};

static void draw(struct scalar *s)
{
    pre_scalar_random(s);
    SECRET(*s);
}

/* What a result is may be seen: the caller acts on it. */
static void must(int rc)
{
    PUBLIC(rc);
    INVARIANT(rc == 0);
}

static void people(struct world *t)
{
    struct scalar r;
    struct scalar u;
    struct scalar x;

    draw(&t->a);
    draw(&t->b);
    draw(&r);
    draw(&u);
    draw(&x);
    must(pre_public(&t->a, &t->a_pub));
    must(pre_public(&t->b, &t->b_pub));
    PUBLIC(t->a_pub);
    PUBLIC(t->b_pub);
    must(pre_encaps_with(&r, &u, &t->a_pub, &t->file, &t->capsule, &t->kek, &t->commit));
    PUBLIC(t->capsule);
    PUBLIC(t->commit);
    must(pre_owner_decaps(&t->a, &t->file, &t->capsule, &t->commit, &t->kek));
    must(pre_rekeygen_with(&x, &t->a, &t->a_pub, &t->b_pub, &t->grant, &t->rk, &t->x,
                           &t->r));
    PUBLIC(t->x);
    PUBLIC(t->r);
}

static void server_and_reader(struct world *t)
{
    struct scalar k;
    struct dleq proof;

    draw(&k);
    SECRET(t->rk);
    must(pre_check_rk(&t->rk, &t->r));
    must(pre_capsule_w(&t->capsule, &t->w));
    must(pre_reencrypt(&t->rk, &t->w, &t->w1));
    PUBLIC(t->w1);
    must(pre_prove_with(&k, &t->rk, &t->file, &t->grant.grant, &t->a_pub, &t->r, &t->w,
                        &t->w1, &proof));
    PUBLIC(proof);
    must(pre_check_proof(&proof, &t->file, &t->grant.grant, &t->a_pub, &t->r, &t->w,
                         &t->w1));
    must(pre_reader_grant_key(&t->b, &t->grant, &t->a_pub, &t->b_pub, &t->x, &t->r,
                              &t->d));
    SECRET(t->d);
    must(pre_reader_decaps(&t->d, &t->file, &t->a_pub, &t->capsule, &t->w1, &t->commit,
                           &t->kek));
}

static void sealing(struct world *t)
{
    uint8_t message[32];
    uint8_t sealed[sizeof message + SEAL_EXTRA_BYTES];
    uint8_t back[sizeof message];
    struct scalar e;
    struct scalar k;
    struct pop pop;

    draw(&e);
    draw(&k);
    random_fill(message, sizeof message);
    SECRET(message);
    must(seal_to_with(&e, &t->b_pub, view_text("aad"), view_of(message, sizeof message),
                      (struct span){ sealed, sizeof sealed }));
    PUBLIC(sealed);
    must(seal_open(&t->b, view_text("aad"), view_of(sealed, sizeof sealed),
                   (struct span){ back, sizeof back }));
    must(pop_prove_with(&k, &t->b, &t->b_pub, view_text("body"), &pop));
    PUBLIC(pop);
    must(pop_check(&pop, &t->b_pub, view_text("body")));
}

static void records(enum aead_suite suite)
{
    struct symkey key;
    uint8_t nonce[AEAD_XCHACHA_NONCE_BYTES] = { 1 };
    uint8_t plain[100];
    uint8_t ct[100];
    uint8_t tag[AEAD_TAG_BYTES];

    random_fill(&key, sizeof key);
    random_fill(plain, sizeof plain);
    SECRET(key);
    SECRET(plain);
    for (int i = 0; i < 2; i++) { /* the second time with a kept key schedule */
        must(aead_seal(suite, &key, nonce, view_text("aad"), view_of(plain, 100), ct,
                       tag));
        PUBLIC(ct);
        PUBLIC(tag);
        must(aead_open_sealed(suite, &key, nonce, view_text("aad"), view_of(ct, 100), tag,
                              plain));
    }
    aead_thread_fini();
}

static void keyed_hashes_and_signatures(void)
{
    struct sign_key *k = NULL;
    struct symkey seed;
    struct symkey derived;
    struct digest mac;
    struct verify_key pk;
    struct signature sig;

    random_fill(&seed, sizeof seed);
    SECRET(seed);
    mac = digest_hmac(view_of(seed.b, 32), view_text("name"));
    PUBLIC(mac);
    digest_hkdf(view_of(seed.b, 32), view_text("salt"), view_text("info"),
                (struct span){ derived.b, sizeof derived.b });
    k = sign_key_from_seed(&seed);
    INVARIANT(k != NULL);
    pk = sign_key_public(k);
    PUBLIC(pk);
    sig = sign_labelled(k, LABEL_OP, &mac);
    PUBLIC(sig);
    must(sign_check_labelled(&pk, LABEL_OP, &mac, &sig));
    sign_key_free(k);
}

int main(int argc, char *argv[])
{
    struct world t = { 0 };

    if (secret_arena_open() < 0 || selftest_run() < 0 || selftest_run_people() < 0)
        return 1;
    t.file = (struct file_ctx){ { random_id(), random_id(), 1 }, random_id(), 1 };
    t.grant = (struct grant_ctx){ t.file.class_ctx, random_id(), random_id(), { { 0 } } };
    people(&t);
    server_and_reader(&t);
    sealing(&t);
    records(AEAD_GCM);
    records(AEAD_XCHACHA);
    keyed_hashes_and_signatures();
    if (argc > 1 && strcmp(argv[1], "leak") == 0 && t.a.b[0] == 7)
        puts("a key begins with 7");
    return 0;
}
