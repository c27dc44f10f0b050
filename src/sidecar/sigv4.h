/*
 * AWS Signature Version 4 for S3, headers only, the payload's real hash always. Own code since
 * libcurl 7.88 signs what it is given without canonicalising, hashes no uploads, cannot shift
 * its clock and copies the secret without wiping it.
 *
 * One encoder makes both the URL and what is signed, so that they cannot differ: build the
 * URL from sigv4_encode_path and sigv4_encode_query and give the same strings to sigv4_sign.
 * Threads: a struct sigv4 belongs to one thread at a time.
 */
#ifndef PHR_SIDECAR_SIGV4_H
#define PHR_SIDECAR_SIGV4_H

#include "base/scope.h"
#include "phr/err.h"
#include "phr/types.h"
#include "sidecar/credentials.h"

enum {
    SIGV4_PAIRS_MAX = 16,
    SIGV4_DATE_BYTES = 17, /* YYYYMMDDTHHMMSSZ and the NUL */
    SIGV4_AUTHORIZATION_BYTES = 512
};

struct sigv4_pair {
    const char *name;
    const char *value; /* "" for none */
};

/* Raw bytes to URL text: unreserved ones and '/' stay, upper-case hex. PHR_E_LIMIT: no room. */
int sigv4_encode_path(const char *raw, char *out, size_t room) PHR_MUST_CHECK;
/* Sorted by encoded name, then value; "name=" where the value is empty. */
int sigv4_encode_query(const struct sigv4_pair *pairs, size_t count, char *out, size_t room)
    PHR_MUST_CHECK;

struct sigv4_request {
    const char *method;
    const char *path;  /* encoded, with the leading slash */
    const char *query; /* encoded; "" for none */
    /* Names in lower case; host and everything else that is to be signed (range,
       if-none-match, content-type, x-amz-...), but x-amz-date, x-amz-content-sha256 and
       x-amz-security-token, which are added here. */
    const struct sigv4_pair *headers;
    size_t header_count;
    struct digest payload;
    uint64_t time_s;
};

struct sigv4_answer {
    char date[SIGV4_DATE_BYTES];      /* x-amz-date */
    char payload[65];                 /* x-amz-content-sha256 */
    char authorization[SIGV4_AUTHORIZATION_BYTES];
};

struct sigv4; /* keeps the key of the day in the arena */
int sigv4_new(const struct credentials *c, const char *region, struct sigv4 **out_signer)
    PHR_MUST_CHECK;
void sigv4_free(struct sigv4 *s);
int sigv4_sign(struct sigv4 *s, const struct sigv4_request *r, struct sigv4_answer *out_answer)
    PHR_MUST_CHECK;
SCOPED_HANDLE(struct sigv4, sigv4_free)

#endif
