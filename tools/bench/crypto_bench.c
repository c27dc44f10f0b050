/*
 * How fast the parts of an open and of a block are, on one core, in CPU time.
 *
 *   crypto_bench [--json] [--ms N]      N milliseconds per line, 200 by default
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/secret.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/pre_owner.h"
#include "crypto/pre_proxy.h"
#include "crypto/pre_reader.h"
#include "crypto/pre_writer.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "crypto/selftest.h"
#include "crypto/sign.h"

enum { BLOCK = 4096, MS_DEFAULT = 200, MS_MAX = 60000 };

struct stage {
    struct scalar *a; /* all secrets in the arena, as in the product */
    struct scalar *b;
    struct scalar *rk;
    struct scalar *d;
    struct symkey *kek;
    struct symkey *keys; /* two */
    struct sign_key *signer;
    struct point a_pub;
    struct point b_pub;
    struct point x;
    struct point r;
    struct point w;
    struct point w1;
    struct file_ctx file;
    struct grant_ctx grant;
    struct capsule capsule;
    struct digest commit;
    struct verify_key pk;
    struct signature sig;
    uint8_t nonce[AEAD_XCHACHA_NONCE_BYTES];
    uint8_t plain[BLOCK];
    uint8_t ct[BLOCK];
    uint8_t tag[AEAD_TAG_BYTES];
    uint64_t turn;
};

struct line {
    const char *name;
    void (*run)(struct stage *s);
    size_t bytes; /* 0: counted in operations */
};

static int stage_build(struct stage *s);
static void stage_free(struct stage *s);
static double measure(const struct line *l, struct stage *s, double seconds);

#define MUST(call)               \
    do {                         \
        int must_rc = (call);    \
        INVARIANT(must_rc == 0); \
    } while (0)

static void run_encaps(struct stage *s)
{
    struct capsule c;
    struct digest commit;

    MUST(pre_encaps(&s->a_pub, &s->file, &c, s->kek, &commit));
}

static void run_check_capsule(struct stage *s)
{
    MUST(pre_check_capsule(&s->capsule, &s->a_pub, &s->file));
}

static void run_decaps_owner(struct stage *s)
{
    MUST(pre_owner_decaps(s->a, &s->file, &s->capsule, &s->commit, s->kek));
}

static void run_rekeygen(struct stage *s)
{
    struct point x;
    struct point r;

    MUST(pre_rekeygen(s->a, &s->a_pub, &s->b_pub, &s->grant, s->rk, &x, &r));
}

static void run_reencrypt(struct stage *s)
{
    struct point w1;

    MUST(pre_reencrypt(s->rk, &s->w, &w1));
}

static void run_grant_key(struct stage *s)
{
    MUST(pre_reader_grant_key(s->b, &s->grant, &s->a_pub, &s->b_pub, &s->x, &s->r, s->d));
}

static void run_decaps_reader(struct stage *s)
{
    MUST(pre_reader_decaps(s->d, &s->file, &s->a_pub, &s->capsule, &s->w1, &s->commit,
                           s->kek));
}

static void run_sign(struct stage *s)
{
    s->sig = sign_labelled(s->signer, LABEL_RECEIPT, &s->commit);
}

static void run_verify(struct stage *s)
{
    MUST(sign_check_labelled(&s->pk, LABEL_RECEIPT, &s->commit, &s->sig));
}

static void run_seal_key(struct stage *s)
{
    uint8_t sealed[32 + SEAL_EXTRA_BYTES];

    MUST(seal_to(&s->b_pub, view_text("aad"), view_of(s->commit.b, 32),
                 (struct span){ sealed, sizeof sealed }));
}

static void run_seal_gcm(struct stage *s)
{
    put_le64(s->nonce, s->turn++);
    MUST(aead_seal(AEAD_GCM, s->keys, s->nonce, view_of(s->nonce, 8),
                   view_of(s->plain, BLOCK), s->ct, s->tag));
}

static void run_seal_gcm_two_keys(struct stage *s)
{
    put_le64(s->nonce, s->turn++);
    MUST(aead_seal(AEAD_GCM, &s->keys[s->turn % 2], s->nonce, view_of(s->nonce, 8),
                   view_of(s->plain, BLOCK), s->ct, s->tag));
}

/* Opens what run_seal_gcm sealed last. */
static void run_open_gcm(struct stage *s)
{
    MUST(aead_open_sealed(AEAD_GCM, s->keys, s->nonce, view_of(s->nonce, 8),
                          view_of(s->ct, BLOCK), s->tag, s->plain));
}

static void run_seal_xchacha(struct stage *s)
{
    put_le64(s->nonce, s->turn++);
    MUST(aead_seal(AEAD_XCHACHA, s->keys, s->nonce, view_of(s->nonce, 8),
                   view_of(s->plain, BLOCK), s->ct, s->tag));
}

static void run_sha256(struct stage *s)
{
    s->commit = digest_sha256(view_of(s->plain, BLOCK));
}

static void run_hmac(struct stage *s)
{
    struct digest d = digest_hmac(view_of(s->keys->b, 32), view_of(s->commit.b, 32));

    s->nonce[8] ^= d.b[0];
}

static void run_hkdf(struct stage *s)
{
    digest_hkdf(view_of(s->keys->b, 32), view_of(s->plain, 32), view_of(s->commit.b, 32),
                (struct span){ s->kek->b, 32 });
}

/* In the order in which stage fields are made: opens follow their seal, digests come last. */
static const struct line lines[] = {
    { "encaps", run_encaps, 0 },
    { "check_capsule", run_check_capsule, 0 },
    { "decaps_owner", run_decaps_owner, 0 },
    { "reencrypt", run_reencrypt, 0 },
    { "grant_key_reader", run_grant_key, 0 },
    { "decaps_reader", run_decaps_reader, 0 },
    { "rekeygen", run_rekeygen, 0 },
    { "seal_key", run_seal_key, 0 },
    { "sign", run_sign, 0 },
    { "verify", run_verify, 0 },
    { "seal_4k_gcm", run_seal_gcm, BLOCK },
    { "open_4k_gcm", run_open_gcm, BLOCK },
    { "seal_4k_gcm_new_key", run_seal_gcm_two_keys, BLOCK },
    { "seal_4k_xchacha", run_seal_xchacha, BLOCK },
    { "sha256_4k", run_sha256, BLOCK },
    { "hmac_32", run_hmac, 0 },
    { "hkdf_32", run_hkdf, 0 },
};

int main(int argc, char *argv[])
{
    struct stage s = { 0 };
    bool json = false;
    long ms = MS_DEFAULT;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--ms") == 0 && i + 1 < argc) {
            ms = strtol(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: crypto_bench [--json] [--ms N]\n");
            return 2;
        }
    }
    if (ms < 1 || ms > MS_MAX || stage_build(&s) < 0) {
        fprintf(stderr,
                "crypto_bench: cannot start (locked memory, self-test or --ms)\n");
        return 1;
    }
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        const struct line *l = &lines[i];
        double per_s = measure(l, &s, (double)ms / 1e3);
        double value = l->bytes ? per_s * (double)l->bytes / 1e6 : per_s;
        const char *unit = l->bytes ? "MB_per_s" : "per_s";

        if (json)
            printf("%s{\"name\": \"%s\", \"%s\": %.0f, \"us\": %.3f}%s\n", i ? " " : "[",
                   l->name, unit, value, 1e6 / per_s,
                   i + 1 < ARRAY_COUNT(lines) ? "," : "]");
        else
            printf("%-20s %10.0f %s  %9.2f us\n", l->name, value,
                   l->bytes ? "MB/s" : "1/s ", 1e6 / per_s);
    }
    stage_free(&s);
    return 0;
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Runs per second of CPU time. */
static double measure(const struct line *l, struct stage *s, double seconds)
{
    uint64_t runs = 0;
    uint64_t batch = 1;
    double start;
    double spent = 0;

    l->run(s); /* contexts and caches */
    start = cpu_seconds();
    while (spent < seconds) {
        for (uint64_t i = 0; i < batch; i++)
            l->run(s);
        runs += batch;
        spent = cpu_seconds() - start;
        if (spent < seconds / 20)
            batch *= 2;
    }
    return (double)runs / spent;
}

static int stage_build(struct stage *s)
{
    int rc = secret_arena_open();

    if (rc < 0)
        return rc;
    if (selftest_run() < 0 || selftest_run_people() < 0)
        return PHR_E_SELFTEST;
    s->a = secret_alloc(sizeof *s->a);
    s->b = secret_alloc(sizeof *s->b);
    s->rk = secret_alloc(sizeof *s->rk);
    s->d = secret_alloc(sizeof *s->d);
    s->kek = secret_alloc(sizeof *s->kek);
    s->keys = secret_alloc(2 * sizeof *s->keys);
    s->signer = sign_key_new();
    if (!s->a || !s->b || !s->rk || !s->d || !s->kek || !s->keys || !s->signer)
        return -ENOMEM;
    pre_scalar_random(s->a);
    pre_scalar_random(s->b);
    random_fill(s->keys, 2 * sizeof *s->keys);
    s->file = (struct file_ctx){ { random_id(), random_id(), 1 }, random_id(), 1 };
    s->grant =
        (struct grant_ctx){ s->file.class_ctx, random_id(), random_id(), { { 0 } } };
    MUST(pre_public(s->a, &s->a_pub));
    MUST(pre_public(s->b, &s->b_pub));
    MUST(pre_encaps(&s->a_pub, &s->file, &s->capsule, s->kek, &s->commit));
    MUST(pre_rekeygen(s->a, &s->a_pub, &s->b_pub, &s->grant, s->rk, &s->x, &s->r));
    MUST(pre_reader_grant_key(s->b, &s->grant, &s->a_pub, &s->b_pub, &s->x, &s->r, s->d));
    MUST(pre_capsule_w(&s->capsule, &s->w));
    MUST(pre_reencrypt(s->rk, &s->w, &s->w1));
    s->pk = sign_key_public(s->signer);
    return 0;
}

static void stage_free(struct stage *s)
{
    secret_free(s->a);
    secret_free(s->b);
    secret_free(s->rk);
    secret_free(s->d);
    secret_free(s->kek);
    secret_free(s->keys);
    sign_key_free(s->signer);
}
