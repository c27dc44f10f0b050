/*
 * The fixed inputs of the known answers: ids SHA-256("tv/" || label), truncated; scalars
 * SHA-512("tv/" || label) reduced. Test values, no secrets.
 */
#ifndef PHR_CRYPTO_SELFTEST_INPUTS_H
#define PHR_CRYPTO_SELFTEST_INPUTS_H

#include "crypto/pre.h"
#include "phr/types.h"

/* The first n bytes (at most 32) of the label's hash. */
void selftest_inputs_bytes(const char *label, void *out, size_t n);
struct id16 selftest_inputs_id(const char *label);
void selftest_inputs_scalar(const char *label, struct scalar *out);
struct file_ctx selftest_inputs_file(void);
struct grant_ctx selftest_inputs_grant(void);
/* Decodes one of our own hexadecimal constants; a wrong length is an INVARIANT. */
void selftest_inputs_hex(const char *hex, void *out, size_t n);

#endif
