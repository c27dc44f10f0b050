/* Encaps with the caller's r and u: known answers only. */
#ifndef PHR_CRYPTO_PRE_WRITER_TEST_H
#define PHR_CRYPTO_PRE_WRITER_TEST_H

#include "crypto/pre_writer.h"

/* PHR_E_POINT also when r + u is zero (the caller with random ones tries again). */
int pre_encaps_with(const struct scalar *r, const struct scalar *u, const struct point *a,
                    const struct file_ctx *ctx, struct capsule *out_capsule,
                    struct symkey *out_kek, struct digest *out_commit) PHR_MUST_CHECK;

#endif
