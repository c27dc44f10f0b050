/*
 * Segments, blocks, strip, manifest, footer, overlay groups (CRYPTO 2.4, STORAGE 1). Bytes
 * and keys only; where they lie on disk is the business of src/store.
 */
#ifndef PHR_FORMAT_SEGMENT_H
#define PHR_FORMAT_SEGMENT_H

#include "format/block.h"
#include "format/footer.h"
#include "format/manifest.h"
#include "format/overlay.h"

#endif
