/* Tests only: a header with a given nonce and geometry, for known answers. */
#ifndef PHR_FORMAT_HEADER_SEAL_TEST_H
#define PHR_FORMAT_HEADER_SEAL_TEST_H

#include "format/header.h"

/* Of h counts all but n_fk, sealed and bytes. nonce has aead_nonce_bytes(h->suite). */
int header_seal_with(const struct header *h, const struct symkey *kek,
                     const struct file_key *keys, size_t count, const uint8_t *nonce,
                     struct writer *out) PHR_MUST_CHECK;

#endif
