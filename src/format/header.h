/*
 * The header of a file: its keys wrapped for a compartment's key (CRYPTO 2.4, offsets in
 * README.md). Public bytes; opening needs the kek of its capsule.
 */
#ifndef PHR_FORMAT_HEADER_H
#define PHR_FORMAT_HEADER_H

#include "base/cursor.h"
#include "crypto/aead.h"
#include "crypto/pre.h"
#include "format/limits.h"

struct header {
    enum aead_suite suite;
    uint8_t block_log2;
    uint8_t seg_log2;
    uint8_t n_fk;
    uint32_t flags;
    struct file_ctx ctx;
    struct capsule capsule;
    struct digest commit;
    struct view sealed; /* nonce || ct || tag; borrowed */
    struct view bytes;  /* the whole header; borrowed */
};

struct file_key {
    uint32_t gen;
    struct symkey *key; /* arena; who holds it frees it */
};

/* PHR_E_FORMAT. Checks magic, suite, ranges and lengths, not the capsule's proof. */
int header_decode(struct view bytes, struct header *out_header) PHR_MUST_CHECK;
/* SHA-256 of the whole header: what requests and seals name. */
struct digest header_digest(struct view bytes);
/*
 * Wraps keys (gens strictly increasing) under kek; never twice under one kek. out is an
 * initialised writer.
 */
int header_seal(enum aead_suite suite, const struct file_ctx *ctx,
                const struct capsule *capsule, const struct symkey *kek,
                const struct digest *commit, const struct file_key *keys, size_t count,
                struct writer *out) PHR_MUST_CHECK;
/* out_keys has room for FK_COUNT_MAX; each key is new arena memory. PHR_E_SEAL. */
int header_open_sealed(const struct header *h, const struct symkey *kek,
                       struct file_key *out_keys, size_t *out_count) PHR_MUST_CHECK;
void file_keys_free(struct file_key *keys, size_t count);

#endif
