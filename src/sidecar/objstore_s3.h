/* Objects in an S3 bucket, by libcurl and our own signer. See S3 rules at the head of the .c. */
#ifndef PHR_SIDECAR_OBJSTORE_S3_H
#define PHR_SIDECAR_OBJSTORE_S3_H

#include "sidecar/objstore.h"

int objstore_s3_open(const struct objstore_config *config, struct objstore **out_store,
                     char *out_why, size_t why_bytes) PHR_MUST_CHECK;

#endif
