/* Signed open requests and renewals, and their context (CRYPTO 2.6). */
#ifndef PHR_FORMAT_OPEN_REQUEST_H
#define PHR_FORMAT_OPEN_REQUEST_H

#include "base/cursor.h"
#include "crypto/pre.h"
#include "crypto/sign.h"
#include "format/grant.h"
#include "format/limits.h"

enum open_why {
    OPEN_WHY_OPEN = 1,
    OPEN_WHY_AHEAD = 2,
    OPEN_WHY_NAMES = 3,
    OPEN_WHY_RENEW = 4
};

struct open_file {
    struct file_ctx ctx;
    struct digest header; /* hash of the header that the reader holds */
    enum open_why why;
};
struct open_request {
    struct id16 req;
    struct id16 grant;
    enum purpose purpose;
    struct digest context; /* SHA-256 of the context bytes that travel beside */
    uint64_t time_s;
    struct digest checkpoint; /* hash of the last checkpoint note seen; zero = none */
    uint16_t count;
    struct open_file *files; /* decode: new memory, open_request_fini */
};
int open_request_encode(const struct open_request *r, const struct sign_key *reader,
                        struct writer *out) PHR_MUST_CHECK;
int open_request_decode(struct view bytes,
                        struct open_request *out_request) PHR_MUST_CHECK;
/* The signature over the encoded bytes: PHR_E_SIGNATURE. */
int open_request_check(struct view bytes, const struct verify_key *reader) PHR_MUST_CHECK;
void open_request_fini(struct open_request *r);

/* Context: host16 || LE32 uid || LP(program) || LP(reason). Stored encrypted. */
struct open_context {
    struct id16 host;
    uint32_t uid;
    struct view program;
    struct view reason;
};
void open_context_encode(const struct open_context *c, struct writer *out);
int open_context_decode(struct view bytes,
                        struct open_context *out_context) PHR_MUST_CHECK;

#include "format/open_answer.h" /* for those who include this */

#endif
