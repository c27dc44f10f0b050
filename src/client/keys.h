/* Keyring files and card requests: making, unlocking, saving. */
#ifndef PHR_CLIENT_KEYS_H
#define PHR_CLIENT_KEYS_H

#include "client/client.h"

/* What a new card says. */
struct keys_wish {
    enum card_role role;
    const char *label;        /* empty for owners */
    const char *file;         /* name of the keyring below keys/, without its ending */
    const char *keyring_user; /* system user who shall own the file; NULL: the caller */
    struct id16 org;
    uint64_t not_after_s;
};
/*
 * New keys, passphrase and request; nothing is saved yet. An owner's user is the hash of his
 * key. authority and srs become the keyring's anchors (empty views: none yet).
 */
int keys_new(struct phr_client *c, const struct keys_wish *wish,
             const struct phr_passphrase *pass,
             struct phr_identity **out_identity) PHR_MUST_CHECK;
/* Puts this card (or the trust anchors) into the keyring in memory. */
int keys_set_card(struct phr_identity *i, struct view card,
                  bool is_approved) PHR_MUST_CHECK;
int keys_set_anchors(struct phr_identity *i, struct view authority,
                     struct view srs) PHR_MUST_CHECK;
/* Writes the keyring file, 0600, owner kept. About a second. */
int keys_save(struct phr_identity *i, const char *keyring_user) PHR_MUST_CHECK;
/* Signs a request as the authority: a card. */
int keys_approve(struct phr_identity *authority, struct view request,
                 struct writer *out_card) PHR_MUST_CHECK;
/* Unlocks keys/authority.keyring. */
int keys_unlock_authority(struct phr_client *c, const struct phr_passphrase *pass,
                          struct phr_identity **out_identity) PHR_MUST_CHECK;
bool keys_name_is_valid(const char *name);

#endif
