/*
 * What the files of libphr share: the client, the unlocked identity, and the ways to phrd.
 * Not for others: they include phr/….h.
 */
#ifndef PHR_CLIENT_CLIENT_H
#define PHR_CLIENT_CLIENT_H

#include "base/config.h"
#include "base/fdio.h"
#include "crypto/sign.h"
#include "format/card.h"
#include "format/keyring.h"
#include "ipc/caller.h"
#include "ledger/verify.h"
#include "phr/identity.h"

enum {
    CLIENT_CALL_TIMEOUT_MS = 30 * 1000,
    CLIENT_ID_BYTES_MAX = 200,
    CLIENT_FILE_NAME_MAX = 255
};

struct phr_client {
    struct config config;
    char why[512];
    struct caller *caller; /* to phrd; opened at the first question */
    void (*on_progress)(void *user, const char *step, uint64_t done, uint64_t all);
    void *progress_user;
};

struct phr_identity {
    struct phr_client *client;
    struct keyring *ring;
    struct sign_key *sign;
    struct card card; /* hash is zero while it is a request */
    struct card authority;
    struct card srs;
    struct verify_anchor anchor;
    uint8_t *pass; /* SECRET: to save the keyring again; arena */
    size_t pass_bytes;
    char path[PATH_MAX]; /* of the keyring file */
    char user_hex[33];
    bool is_changed; /* the keyring is saved when it is locked again */
};

/* Sets the sentence and returns rc. */
int client_fail(struct phr_client *c, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Sets "<what>: <sentence of rc>" unless a better one stands there already; returns rc. */
int client_fail_plain(struct phr_client *c, int rc, const char *what);
void client_progress(struct phr_client *c, const char *step, uint64_t done, uint64_t all);

/* One question to phrd; connects first. Any status but 0 is the result. */
int client_ask(struct phr_client *c, enum msg_type type, struct view payload, int fd,
               uint32_t timeout_ms, struct caller_reply *out_reply) PHR_MUST_CHECK;
/* host16 of phrd. */
int client_get_host(struct phr_client *c, struct id16 *out_host) PHR_MUST_CHECK;

/* Directories of PHR_HOME. */
int client_open_dir(struct phr_client *c, const char *rel, int *out_fd) PHR_MUST_CHECK;
/* The realm's public card, checked: authority.card by itself, others by the authority. */
int client_load_authority(struct phr_client *c, struct writer *out_bytes,
                          struct card *out_card) PHR_MUST_CHECK;
int client_load_card(struct phr_client *c, const char *rel,
                     const struct verify_key *authority, struct writer *out_bytes,
                     struct card *out_card) PHR_MUST_CHECK;

static inline void caller_reply_fini_scope(struct caller_reply *r)
{
    caller_reply_fini(r);
}
SCOPED_HANDLE(struct phr_identity, phr_identity_lock)

#endif
