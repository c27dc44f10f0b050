/*
 * The PRE-KEM of CRYPTO 2.1: types and the context encodings that bind a capsule to a file.
 * Split by role, so that the link line proves who can do what (STYLE 7):
 *   pre_writer.h  Encaps             anyone
 *   pre_owner.h   Decaps_owner, ReKeyGen
 *   pre_reader.h  Decaps_reader
 *   pre_proxy.h   CheckCapsule, ReEncrypt, DLEQ proof   (all that phrd may link)
 */
#ifndef PHR_CRYPTO_PRE_H
#define PHR_CRYPTO_PRE_H

#include "phr/err.h"
#include "phr/types.h"

enum {
    CLASS_CTX_BYTES = 36,
    FILE_CTX_BYTES = 56,
    GRANT_CTX_BYTES = 100,
    CAPSULE_BYTES = 96,
    DLEQ_BYTES = 64
};

struct class_ctx {
    struct id16 patient;
    struct id16 class_id; /* a compartment; `class` in CRYPTO.md */
    uint32_t epoch;
};

struct file_ctx {
    struct class_ctx class_ctx;
    struct id16 file;
    uint32_t hdr_gen;
};

struct grant_ctx {
    struct class_ctx class_ctx;
    struct id16 grant;
    struct id16 reader;
    struct digest reader_card;
};

struct capsule {
    struct point e;
    struct point v;
    uint8_t s[32]; /* public scalar of the Schnorr proof */
};

struct dleq {
    uint8_t c[32];
    uint8_t z[32];
};

void class_ctx_encode(const struct class_ctx *c, uint8_t out[CLASS_CTX_BYTES]);
void file_ctx_encode(const struct file_ctx *c, uint8_t out[FILE_CTX_BYTES]);
void grant_ctx_encode(const struct grant_ctx *c, uint8_t out[GRANT_CTX_BYTES]);
void class_ctx_decode(const uint8_t in[CLASS_CTX_BYTES], struct class_ctx *out_ctx);
void file_ctx_decode(const uint8_t in[FILE_CTX_BYTES], struct file_ctx *out_ctx);
void grant_ctx_decode(const uint8_t in[GRANT_CTX_BYTES], struct grant_ctx *out_ctx);
bool class_ctx_equal(const struct class_ctx *a, const struct class_ctx *b);
bool file_ctx_equal(const struct file_ctx *a, const struct file_ctx *b);

/* pt_ok and sc_ok of CRYPTO 1.12: PHR_E_POINT for identity, non-canonical, zero. */
int pre_point_check(const struct point *p) PHR_MUST_CHECK;
int pre_scalar_check(const uint8_t s[32]) PHR_MUST_CHECK;
/* H2S: hash-to-scalar over LP(dst) and LP(each part); PHR_E_POINT when zero. */
int pre_hash_to_scalar(const char *dst, const struct view *parts, size_t count,
                       uint8_t out[32]) PHR_MUST_CHECK;
/* scalar * G for a KEM key pair. */
int pre_public(const struct scalar *secret, struct point *out_public) PHR_MUST_CHECK;
/* A uniform non-zero scalar into the arena memory given. */
void pre_scalar_random(struct scalar *out);
/* h of a capsule's Schnorr proof: binds patient, class, epoch, file, generation and A. */
int pre_capsule_challenge(const struct file_ctx *ctx, const struct point *a_pub,
                          const struct point *e, const struct point *v,
                          uint8_t out_h[32]) PHR_MUST_CHECK;
/* W = E + V, checked not to be the identity. */
int pre_capsule_w(const struct capsule *c, struct point *out_w) PHR_MUST_CHECK;

#endif
