/* s3://bucket/prefix?endpoint=https://host:port&region=us-east-1[&insecure=1] */
#ifndef PHR_SIDECAR_S3URL_H
#define PHR_SIDECAR_S3URL_H

#include "phr/err.h"
#include "phr/types.h"

struct s3url {
    char bucket[64];
    char prefix[130];   /* "" or with a slash at its end */
    char endpoint[260]; /* scheme and host, no slash at its end */
    char host[250];     /* as the Host header has it */
    char region[64];    /* us-east-1 when not given */
    bool is_tls;
};

/*
 * PHR_E_CONFIG with the reason in out_why. Plain http is for this machine only, or for
 * whoever writes insecure=1: then names, sizes and times of objects travel in the open, and a
 * changed answer is noticed late (by hash).
 */
int s3url_parse(const char *text, struct s3url *out_url, char *out_why, size_t why_bytes)
    PHR_MUST_CHECK;

#endif
