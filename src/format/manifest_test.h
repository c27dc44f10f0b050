/* Tests only: the tree hash over leaves of any length (RFC 6962 example vectors). */
#ifndef PHR_FORMAT_MANIFEST_TEST_H
#define PHR_FORMAT_MANIFEST_TEST_H

#include "format/manifest.h"

struct digest manifest_mth(const struct view *leaves, size_t count);

#endif
