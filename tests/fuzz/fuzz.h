/*
 * Fuzz targets. Each defines LLVMFuzzerTestOneInput and is built twice: with clang's libFuzzer,
 * and with replay_main.c, which runs the committed corpus and fixed mutations of it. A target
 * that decodes well also encodes again and compares: each format has one spelling only.
 */
#ifndef PHR_TESTS_FUZZ_FUZZ_H
#define PHR_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/scope.h"
#include "base/secret.h"
#include "phr/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process unless both are alike but for the last `tail` bytes (a signature). */
static inline void fuzz_expect_same(struct view a, struct view b, size_t tail)
{
    INVARIANT(a.n == b.n && a.n >= tail);
    INVARIANT(view_equal(view_of(a.p, a.n - tail), view_of(b.p, b.n - tail)));
}

static inline void fuzz_arena_open(void)
{
    INVARIANT(secret_arena_open() == 0); /* only the first call does anything */
}

#endif
