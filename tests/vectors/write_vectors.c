/*
 * Writes fresh random known answers as JSON on stdout: the inputs, and what our code makes of
 * them. check_vectors.mjs computes the same from the formulas, in another language with other
 * libraries. Keys in here are drawn for the test and protect nothing.
 *
 *   write_vectors [ROUNDS]
 */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/hex.h"
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
#include "crypto/sign.h"
#include "format/block.h"
#include "format/entry_test.h"
#include "format/header_seal_test.h"
#include "format/row.h"

enum { ROUNDS_DEFAULT = 4, ROUNDS_MAX = 1000, TEXT_BYTES_MAX = 300 };

struct round {
    json_t *out;
    struct file_ctx file;
    struct grant_ctx grant;
    struct scalar a;
    struct scalar b;
    struct point a_pub;
    struct point b_pub;
    struct capsule capsule;
    struct symkey kek;
    struct digest commit;
};

/* Every call here must succeed: valid inputs only. */
#define MUST(call)               \
    do {                         \
        int must_rc = (call);    \
        INVARIANT(must_rc == 0); \
    } while (0)

static void put(json_t *o, const char *name, const void *p, size_t n)
{
    char *hex = malloc(2 * n + 1);

    INVARIANT(hex != NULL);
    hex_encode(p, n, hex);
    MUST(json_object_set_new(o, name, json_string(hex)));
    free(hex);
}

static void put_number(json_t *o, const char *name, uint64_t v)
{
    MUST(json_object_set_new(o, name, json_integer((json_int_t)v)));
}

static json_t *put_group(json_t *o, const char *name)
{
    json_t *group = json_object();

    MUST(json_object_set_new(o, name, group));
    return group;
}

static uint32_t draw_u32(uint32_t below)
{
    return randombytes_uniform(below);
}

/* 0 to TEXT_BYTES_MAX random bytes. */
static struct view draw_text(uint8_t room[TEXT_BYTES_MAX])
{
    size_t n = draw_u32(TEXT_BYTES_MAX + 1);

    random_fill(room, n);
    return view_of(room, n);
}

static void write_inputs(struct round *r)
{
    struct class_ctx c = { random_id(), random_id(), draw_u32(UINT32_MAX) };
    uint8_t ctx[GRANT_CTX_BYTES];

    r->file = (struct file_ctx){ c, random_id(), draw_u32(UINT32_MAX) };
    r->grant =
        (struct grant_ctx){ .class_ctx = c, .grant = random_id(), .reader = random_id() };
    random_fill(r->grant.reader_card.b, sizeof r->grant.reader_card.b);
    pre_scalar_random(&r->a);
    pre_scalar_random(&r->b);
    MUST(pre_public(&r->a, &r->a_pub));
    MUST(pre_public(&r->b, &r->b_pub));

    put(r->out, "patient", c.patient.b, 16);
    put(r->out, "class", c.class_id.b, 16);
    put_number(r->out, "epoch", c.epoch);
    put(r->out, "file", r->file.file.b, 16);
    put_number(r->out, "hdr_gen", r->file.hdr_gen);
    put(r->out, "grant", r->grant.grant.b, 16);
    put(r->out, "reader", r->grant.reader.b, 16);
    put(r->out, "reader_card", r->grant.reader_card.b, 32);
    file_ctx_encode(&r->file, ctx);
    put(r->out, "file_ctx", ctx, FILE_CTX_BYTES);
    grant_ctx_encode(&r->grant, ctx);
    put(r->out, "grant_ctx", ctx, GRANT_CTX_BYTES);
    put(r->out, "a", r->a.b, 32);
    put(r->out, "b", r->b.b, 32);
    put(r->out, "A", r->a_pub.b, 32);
    put(r->out, "B", r->b_pub.b, 32);
}

static void write_encaps(struct round *r)
{
    json_t *o = put_group(r->out, "encaps");
    struct scalar k;
    struct scalar u;
    struct point w;
    struct point shared;
    struct symkey opened;
    uint8_t h[32];

    pre_scalar_random(&k);
    pre_scalar_random(&u);
    MUST(pre_encaps_with(&k, &u, &r->a_pub, &r->file, &r->capsule, &r->kek, &r->commit));
    MUST(pre_capsule_challenge(&r->file, &r->a_pub, &r->capsule.e, &r->capsule.v, h));
    MUST(pre_capsule_w(&r->capsule, &w));
    MUST(crypto_scalarmult_ristretto255(shared.b, r->a.b, w.b));
    MUST(pre_owner_decaps(&r->a, &r->file, &r->capsule, &r->commit, &opened));
    put(o, "r", k.b, 32);
    put(o, "u", u.b, 32);
    put(o, "E", r->capsule.e.b, 32);
    put(o, "V", r->capsule.v.b, 32);
    put(o, "W", w.b, 32);
    put(o, "h", h, 32);
    put(o, "s", r->capsule.s, 32);
    put(o, "K", shared.b, 32);
    put(o, "kek", r->kek.b, 32);
    put(o, "kek_owner", opened.b, 32);
    put(o, "commit", r->commit.b, 32);
}

/* As the product calls it, with r and u unseen: the judge opens it with a. */
static void write_encaps_unseen(struct round *r)
{
    json_t *o = put_group(r->out, "encaps_unseen");
    struct capsule c;
    struct symkey kek;
    struct digest commit;

    MUST(pre_encaps(&r->a_pub, &r->file, &c, &kek, &commit));
    put(o, "E", c.e.b, 32);
    put(o, "V", c.v.b, 32);
    put(o, "s", c.s, 32);
    put(o, "kek", kek.b, 32);
    put(o, "commit", commit.b, 32);
}

static void write_reencryption(struct round *r)
{
    json_t *o = put_group(r->out, "reencryption");
    struct scalar x;
    struct scalar rk;
    struct scalar d;
    struct scalar k;
    struct point x_pub;
    struct point r_pub;
    struct point w;
    struct point w1;
    struct symkey opened;
    struct dleq proof;

    pre_scalar_random(&x);
    pre_scalar_random(&k);
    MUST(pre_rekeygen_with(&x, &r->a, &r->a_pub, &r->b_pub, &r->grant, &rk, &x_pub,
                           &r_pub));
    MUST(pre_capsule_w(&r->capsule, &w));
    MUST(pre_reencrypt(&rk, &w, &w1));
    MUST(
        pre_reader_grant_key(&r->b, &r->grant, &r->a_pub, &r->b_pub, &x_pub, &r_pub, &d));
    MUST(pre_reader_decaps(&d, &r->file, &r->a_pub, &r->capsule, &w1, &r->commit,
                           &opened));
    MUST(pre_prove_with(&k, &rk, &r->file, &r->grant.grant, &r->a_pub, &r_pub, &w, &w1,
                        &proof));
    put(o, "x", x.b, 32);
    put(o, "X", x_pub.b, 32);
    put(o, "d", d.b, 32);
    put(o, "rk", rk.b, 32);
    put(o, "R", r_pub.b, 32);
    put(o, "W1", w1.b, 32);
    put(o, "kek_reader", opened.b, 32);
    put(o, "k", k.b, 32);
    put(o, "dleq_c", proof.c, 32);
    put(o, "dleq_z", proof.z, 32);
}

static void write_seal(struct round *r)
{
    json_t *o = put_group(r->out, "seal");
    uint8_t aad_room[TEXT_BYTES_MAX];
    uint8_t text_room[TEXT_BYTES_MAX];
    uint8_t sealed[TEXT_BYTES_MAX + SEAL_EXTRA_BYTES];
    struct view aad = draw_text(aad_room);
    struct view text = draw_text(text_room);
    struct span out = { sealed, text.n + SEAL_EXTRA_BYTES };
    struct scalar e;

    pre_scalar_random(&e);
    put(o, "e", e.b, 32);
    put(o, "aad", aad.p, aad.n);
    put(o, "message", text.p, text.n);
    MUST(seal_to_with(&e, &r->b_pub, aad, text, out));
    put(o, "sealed", out.p, out.n);
    MUST(seal_to(&r->b_pub, aad, text, out));
    put(o, "sealed_unseen", out.p, out.n);
}

static void write_block(struct round *r, const char *name, enum aead_suite suite)
{
    json_t *o = put_group(r->out, name);
    struct seg_geometry g = { suite, (uint8_t)(12 + draw_u32(5)), 22 };
    uint64_t seg_index = draw_u32(UINT32_MAX);
    uint32_t block_index = draw_u32(64); /* also fits 64 KiB blocks */
    uint8_t room[TEXT_BYTES_MAX];
    uint8_t ct[TEXT_BYTES_MAX];
    uint8_t entry[STRIP_ENTRY_XCHACHA_BYTES];
    uint8_t nonce[AEAD_XCHACHA_NONCE_BYTES];
    uint8_t salt[SALT_BYTES];
    struct view text = view_of(room, 1 + draw_u32(TEXT_BYTES_MAX));
    struct symkey fk;
    struct symkey key;

    random_fill(room, sizeof room);
    random_fill(nonce, sizeof nonce);
    random_fill(salt, sizeof salt);
    random_fill(fk.b, sizeof fk.b);
    segment_key(&fk, salt, &r->file.file, seg_index, &g, &key);
    MUST(block_seal(&g, &key, block_index, nonce, text, ct, entry));
    put_number(o, "suite", suite);
    put_number(o, "block_log2", g.block_log2);
    put_number(o, "seg_log2", g.seg_log2);
    put_number(o, "seg_index", seg_index);
    put_number(o, "block_index", block_index);
    put(o, "fk", fk.b, 32);
    put(o, "salt", salt, sizeof salt);
    put(o, "nonce", nonce, aead_nonce_bytes(suite));
    put(o, "plain", text.p, text.n);
    put(o, "seg_key", key.b, 32);
    put(o, "ct", ct, text.n);
    put(o, "strip_entry", entry, strip_entry_bytes(suite));
}

static void write_names(struct round *r)
{
    json_t *o = put_group(r->out, "names");
    struct id16 parent = random_id();
    struct id16 tag;
    uint8_t room[TEXT_BYTES_MAX];
    uint8_t box[TEXT_BYTES_MAX + AEAD_BOX_EXTRA_BYTES];
    struct view name = view_of(room, 1 + draw_u32(NAME_BYTES_MAX));
    struct row_keys keys;
    struct symkey nk;

    random_fill(room, sizeof room);
    random_fill(nk.b, sizeof nk.b);
    MUST(row_keys_derive(&nk, &r->file.class_ctx, &keys));
    tag = name_tag(&keys, &parent, name);
    MUST(aead_box(keys.row, view_of(tag.b, 16), name,
                  (struct span){ box, name.n + AEAD_BOX_EXTRA_BYTES }));
    put(o, "nk", nk.b, 32);
    put(o, "parent", parent.b, 16);
    put(o, "name", name.p, name.n);
    put(o, "k_tag", keys.tag->b, 32);
    put(o, "k_row", keys.row->b, 32);
    put(o, "tag", tag.b, 16);
    put(o, "box", box, name.n + AEAD_BOX_EXTRA_BYTES); /* aad = tag */
    row_keys_free(&keys);
}

static void write_header(struct round *r, const char *name, enum aead_suite suite)
{
    json_t *o = put_group(r->out, name);
    json_t *fks = json_array();
    size_t count = 1 + draw_u32(FK_COUNT_MAX);
    struct symkey keys[FK_COUNT_MAX];
    struct file_key list[FK_COUNT_MAX];
    uint8_t nonce[AEAD_XCHACHA_NONCE_BYTES];
    uint32_t gen = 0;
    struct header h = { .suite = suite,
                        .block_log2 = 12,
                        .seg_log2 = 22,
                        .ctx = r->file,
                        .capsule = r->capsule,
                        .commit = r->commit };
    scoped(writer_fini) struct writer w;
    struct digest d;

    MUST(json_object_set_new(o, "keys", fks));
    for (size_t i = 0; i < count; i++) {
        json_t *one = json_object();

        random_fill(keys[i].b, sizeof keys[i].b);
        gen += 1 + draw_u32(5);
        list[i] = (struct file_key){ gen, &keys[i] };
        put_number(one, "gen", gen);
        put(one, "fk", keys[i].b, 32);
        MUST(json_array_append_new(fks, one));
    }
    random_fill(nonce, sizeof nonce);
    writer_init(&w);
    MUST(header_seal_with(&h, &r->kek, list, count, nonce, &w));
    INVARIANT(writer_ok(&w));
    d = header_digest(writer_done(&w));
    put_number(o, "suite", suite);
    put(o, "nonce", nonce, aead_nonce_bytes(suite));
    put(o, "bytes", w.p, w.n);
    put(o, "sha256", d.b, 32);
}

static void write_pop(struct round *r)
{
    json_t *o = put_group(r->out, "pop");
    uint8_t room[TEXT_BYTES_MAX];
    struct view body = draw_text(room);
    struct scalar k;
    struct pop pop;

    pre_scalar_random(&k);
    MUST(pop_prove_with(&k, &r->b, &r->b_pub, body, &pop));
    put(o, "k", k.b, 32);
    put(o, "body", body.p, body.n);
    put(o, "c", pop.c, 32);
    put(o, "z", pop.z, 32);
    MUST(pop_prove(&r->b, &r->b_pub, body, &pop));
    put(o, "c_unseen", pop.c, 32);
    put(o, "z_unseen", pop.z, 32);
}

static void write_entry(struct round *r)
{
    json_t *o = put_group(r->out, "entry");
    scoped(sign_key_free) struct sign_key *srs = sign_key_new();
    scoped(writer_fini) struct writer w;
    uint8_t room[TEXT_BYTES_MAX];
    struct view body = draw_text(room);
    struct entry e = { .patient = r->file.class_ctx.patient,
                       .seq = draw_u32(UINT32_MAX),
                       .type = ENTRY_TYPE_OPS,
                       .time_s = draw_u32(UINT32_MAX),
                       .srs = random_id() };
    struct verify_key pk;
    struct digest rec_hash;
    struct symkey seed;

    INVARIANT(srs != NULL);
    random_fill(e.prev.b, sizeof e.prev.b);
    random_fill(e.srs_card.b, sizeof e.srs_card.b);
    writer_init(&w);
    MUST(entry_encode_body(&e, body, srs, &w, &rec_hash));
    INVARIANT(writer_ok(&w));
    sign_key_seed(srs, &seed);
    pk = sign_key_public(srs);
    put(o, "seed", seed.b, 32);
    put(o, "public", pk.b, 32);
    put(o, "prev", e.prev.b, 32);
    put_number(o, "seq", e.seq);
    put_number(o, "time", e.time_s);
    put(o, "srs", e.srs.b, 16);
    put(o, "srs_card", e.srs_card.b, 32);
    put(o, "body", body.p, body.n);
    put(o, "bytes", w.p, w.n);
    put(o, "rec_hash", rec_hash.b, 32);
    put(o, "sig", e.sig.b, 64);
    put(o, "leaf", e.leaf.b, 32);
}

static json_t *write_round(void)
{
    struct round r = { .out = json_object() };

    write_inputs(&r);
    write_encaps(&r);
    write_encaps_unseen(&r);
    write_reencryption(&r);
    write_seal(&r);
    write_block(&r, "block_gcm", AEAD_GCM);
    write_block(&r, "block_xchacha", AEAD_XCHACHA);
    write_names(&r);
    write_header(&r, "header_gcm", AEAD_GCM);
    write_header(&r, "header_xchacha", AEAD_XCHACHA);
    write_pop(&r);
    write_entry(&r);
    return r.out;
}

int main(int argc, char *argv[])
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : ROUNDS_DEFAULT;
    json_t *all = json_array();

    if (rounds < 1 || rounds > ROUNDS_MAX || secret_arena_open() < 0)
        return 1;
    for (long i = 0; i < rounds; i++)
        MUST(json_array_append_new(all, write_round()));
    MUST(json_dumpf(all, stdout, JSON_INDENT(1)));
    json_decref(all);
    return 0;
}
