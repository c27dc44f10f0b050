/* Public bytes as lower-case hex and back. */
#ifndef PHR_BASE_HEX_H
#define PHR_BASE_HEX_H

#include "phr/err.h"
#include "phr/types.h"

/* out has room for 2 * n + 1 characters. */
void hex_encode(const uint8_t *p, size_t n, char *out);
/* Exactly 2 * n hex digits (either case) and nothing else, or PHR_E_FORMAT. */
int hex_decode(const char *text, uint8_t *out, size_t n) PHR_MUST_CHECK;

#endif
