/* Encaps: wraps a fresh key for a compartment's public key. CRYPTO 2.1. */
#ifndef PHR_CRYPTO_PRE_WRITER_H
#define PHR_CRYPTO_PRE_WRITER_H

#include "crypto/pre.h"

/*
 * out_kek is arena memory of the caller. commit goes into the header.
 * Errors: PHR_E_POINT when a is not a valid key. Cost: about 80 us.
 */
int pre_encaps(const struct point *a, const struct file_ctx *ctx, struct capsule *out_capsule,
               struct symkey *out_kek, struct digest *out_commit) PHR_MUST_CHECK;

#endif
