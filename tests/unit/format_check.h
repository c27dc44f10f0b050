/* What every decoder's test asks, beside check.h. */
#ifndef PHR_TESTS_UNIT_FORMAT_CHECK_H
#define PHR_TESTS_UNIT_FORMAT_CHECK_H

#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "../golden/samples.h"
#include "base/hex.h"
#include "crypto/digest.h"
#include "crypto/selftest_inputs.h"

typedef int decode_fn(struct view bytes); /* decodes and drops the result */

/* In a block of exactly n bytes, so that sanitizers see one byte too far. */
static inline int decode_exact(decode_fn *decode, struct view bytes, size_t n)
{
    uint8_t *exact = malloc(n > 0 ? n : 1);
    int rc;

    assert_non_null(exact);
    memset(exact, 0, n);
    if (n > 0)
        memcpy(exact, bytes.p, n < bytes.n ? n : bytes.n);
    rc = decode(view_of(exact, n));
    free(exact);
    return rc;
}

/*
 * A sample is accepted; no truncation of it is, but at multiples of step bytes when step is
 * not 0 (formats whose last field is "the rest"); nor is one byte more.
 */
static inline void check_cuts(const char *sample, decode_fn *decode, size_t step)
{
    scoped(writer_fini) struct writer w = { 0 };

    writer_init(&w);
    CHECK_EQ(sample_make(sample, &w), 0);
    CHECK_EQ(decode_exact(decode, writer_done(&w), w.n), 0);
    for (size_t n = 0; n < w.n; n++) {
        if (step == 0 || (w.n - n) % step != 0)
            CHECK_EQ(decode_exact(decode, writer_done(&w), n), PHR_E_FORMAT);
    }
    CHECK_EQ(decode_exact(decode, writer_done(&w), w.n + 1), PHR_E_FORMAT);
}

/* The sample with one byte set must be refused. */
static inline void check_byte(const char *sample, decode_fn *decode, size_t at,
                              uint8_t value)
{
    scoped(writer_fini) struct writer w = { 0 };

    writer_init(&w);
    CHECK_EQ(sample_make(sample, &w), 0);
    CHECK(at < w.n && w.p[at] != value);
    w.p[at] = value;
    CHECK_EQ(decode_exact(decode, writer_done(&w), w.n), PHR_E_FORMAT);
}

static inline void check_hex(const void *bytes, size_t n, const char *hex)
{
    uint8_t want[1024];

    CHECK_EQ(strlen(hex), 2 * n);
    CHECK_EQ(hex_decode(hex, want, n), 0);
    CHECK_BYTES(bytes, want, n);
}

#endif
