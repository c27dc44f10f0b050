/* New headers: a file's first, after O_TRUNC, and with a new key generation after an epoch change. */
#ifndef PHR_VAULT_HEADER_NEW_H
#define PHR_VAULT_HEADER_NEW_H

#include "vault/session.h"

/*
 * A header with one fresh key for file, sealed to a_pub: 80 us of PRE, so without any lock where
 * it can be. hdr_gen 1 for a new file.
 */
int header_new(const struct class_ctx *ctx, const struct point *a_pub, const struct id16 *file,
               uint32_t hdr_gen, uint32_t fk_gen, struct key_set **out_keys) PHR_MUST_CHECK;
/* A header for keys that there are already. Takes the keys. */
int header_new_wrap(const struct class_ctx *ctx, const struct point *a_pub, const struct id16 *file,
                    uint32_t hdr_gen, struct file_key *take, size_t count,
                    struct key_set **out_keys) PHR_MUST_CHECK;
/* The first generation number of an epoch: generations rise with epochs, so that a write can tell. */
uint32_t header_new_fk_gen(uint32_t epoch, uint32_t gen_before);

/* ---- under the names lock, each a transaction of its own with its op ---- */
/* O_TRUNC: -EALREADY when the keys at hand serve (made here, not in the ledger yet). */
int header_new_trunc(struct vault *v, struct session *s, struct class_key *k,
                     const struct id16 *file, struct key_set **out_keys) PHR_MUST_CHECK;
/* Opened for writing: replaces *io_keys by a set with a key of this epoch when it has none. */
int header_new_generation(struct vault *v, struct session *s, struct class_key *k,
                          const struct id16 *file, struct key_set **io_keys) PHR_MUST_CHECK;

#endif
