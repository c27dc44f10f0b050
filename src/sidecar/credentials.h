/*
 * The object store's key pair: a file of `access_key=`, `secret_key=` and, with temporary
 * credentials, `session_token=` lines; `#` starts a comment. The file must belong to us or to
 * root and be closed to everybody else. Its bytes never leave the secret arena.
 */
#ifndef PHR_SIDECAR_CREDENTIALS_H
#define PHR_SIDECAR_CREDENTIALS_H

#include "base/scope.h"
#include "phr/err.h"
#include "phr/types.h"

enum { CREDENTIALS_BYTES_MAX = 8 * 1024, CREDENTIALS_TOKEN_BYTES_MAX = 4096 };

struct credentials {
    char access_key[129];   /* public: it is in every request */
    char *secret_key;       /* SECRET, arena */
    char *session_token;    /* SECRET, arena; NULL when there is none */
};

/* PHR_E_CONFIG: open to others, or not such a file; out_why (160 bytes) says what to do. */
int credentials_load(const char *path, struct credentials **out_credentials, char *out_why,
                     size_t why_bytes) PHR_MUST_CHECK;
/* text is in the arena or a test's; it is not changed. PHR_E_FORMAT. */
int credentials_parse(struct view text, struct credentials **out_credentials) PHR_MUST_CHECK;
void credentials_free(struct credentials *c);
SCOPED_HANDLE(struct credentials, credentials_free)

#endif
