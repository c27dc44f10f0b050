/* --rebuild: an empty srs.db from the ledgers in the bucket. */
#ifndef PHR_SIDECAR_REBUILD_H
#define PHR_SIDECAR_REBUILD_H

#include "sidecar/objstore.h"
#include "srs/srs.h"

struct rebuild_count {
    uint64_t entries;
    uint64_t patients;
};
/*
 * Every entry in order, verified by the SRS as it goes in. Stops at the first one that does
 * not fit, is damaged or is missing in the middle: out_count then says how far it came, and
 * out_why (200 bytes) what is wrong, with no patient in it but the first digits of his id.
 */
int rebuild_run(struct srs *srs, struct objstore *store, struct rebuild_count *out_count,
                char *out_why, size_t why_bytes) PHR_MUST_CHECK;

#endif
