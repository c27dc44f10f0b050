/* One signed HTTP request to an S3 server: the one door to libcurl. */
#ifndef PHR_SIDECAR_S3REQUEST_H
#define PHR_SIDECAR_S3REQUEST_H

#include "base/scope.h"
#include "sidecar/credentials.h"
#include "sidecar/objstore.h"
#include "sidecar/s3url.h"
#include "sidecar/sigv4.h"

struct s3session; /* connections, key of the day, clock offset; any thread */
int s3session_new(const struct s3url *url, const struct credentials *credentials,
                  const char *ca_file, struct s3session **out_session) PHR_MUST_CHECK;
void s3session_free(struct s3session *s);
void s3session_interrupt(struct s3session *s);
SCOPED_HANDLE(struct s3session, s3session_free)

struct s3request {
    const char *method; /* GET, HEAD, PUT */
    const char *key;    /* "" for the bucket itself; the prefix of the URL is put before it */
    const struct sigv4_pair *query;
    size_t query_count;
    bool if_none_match;         /* If-None-Match: * */
    const struct objstore_put *body; /* PUT */
    int to_fd;                  /* where a 2xx body goes; -1: into the answer, small */
    uint64_t bytes_max;         /* of it */
    uint32_t timeout_ms;        /* for all of it; 0: as long as it moves */
};

struct s3answer {
    int status;
    char code[64];      /* of an Error document, or "" */
    char message[160];
    uint8_t *body;      /* s3answer_fini */
    size_t body_bytes;
    uint64_t bytes;     /* written to to_fd */
    struct digest sha256; /* of them */
    uint64_t date_s;    /* the server's Date, 0 for none */
    uint32_t retry_after_s;
};
void s3answer_fini(struct s3answer *a);

/*
 * 0: an answer came whole, whatever its status. Otherwise out_note says why: PHR_E_STORE,
 * PHR_E_SEAL (the body is not what its hash says: stopped before its end, so that the server
 * stores nothing), -EFBIG (more than bytes_max), -errno of the file.
 * Learns the clock's offset from RequestTimeTooSkewed and tries once more.
 */
int s3request_send(struct s3session *s, const struct s3request *r, struct s3answer *out_answer,
                   struct objstore_note *out_note) PHR_MUST_CHECK;

#endif
