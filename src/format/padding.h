/* Zero padding behind content that knows its own length. */
#ifndef PHR_FORMAT_PADDING_H
#define PHR_FORMAT_PADDING_H

#include "phr/types.h"

enum { PADDING_ROW_BYTES = 32 }; /* rows hide their length up to this */

/* n rounded up to a multiple of step (a power of two or not; n far below SIZE_MAX). */
static inline size_t padding_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

static inline bool padding_is_zero(struct view v)
{
    uint8_t any = 0;

    for (size_t i = 0; i < v.n; i++)
        any |= v.p[i];
    return any == 0;
}

#endif
