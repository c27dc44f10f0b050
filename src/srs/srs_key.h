/*
 * srs.key: "PHRFS-X1" || Ed25519 seed(32) || KEM secret b(32) || record key(32) || SHA-256 of all
 * before(32), mode 0600. SECRET; the record key opens the records of the log.
 */
#ifndef PHR_SRS_SRS_KEY_H
#define PHR_SRS_SRS_KEY_H

#include "base/scope.h"
#include "crypto/sign.h"
#include "phr/err.h"
#include "phr/types.h"

struct srs_key {
    struct sign_key *sign;
    struct scalar *b;      /* arena */
    struct symkey *record; /* arena */
};

/* New keys, written and fsynced. -EEXIST when there are some. */
int srs_key_make(int dir_fd) PHR_MUST_CHECK;
/* PHR_E_FORMAT; PHR_E_RIGHTS when others than its owner may read the file. */
int srs_key_load(int dir_fd, struct srs_key *out_key) PHR_MUST_CHECK;
void srs_key_fini(struct srs_key *k);
static inline void srs_key_fini_scope(struct srs_key *k)
{
    srs_key_fini(k);
}

#endif
