/* libphr, part 2: identities, their cards, patients and compartments. Rules as in control.h. */
#ifndef PHR_IDENTITY_H
#define PHR_IDENTITY_H

#include "phr/control.h"

enum phr_role {
    PHR_ROLE_PERSON = 1,
    PHR_ROLE_SERVICE = 2,
    PHR_ROLE_GROUP = 3,
    PHR_ROLE_OWNER = 4,
    PHR_ROLE_AUTHORITY = 5,
    PHR_ROLE_SRS = 6
};

/* One identity as its card (or request) shows it. */
struct phr_identity_info {
    char label[65];       /* empty for patients */
    char user[33];        /* hex */
    char fingerprint[65]; /* SHA-256 of the card, hex */
    enum phr_role role;
    uint64_t not_before_s;
    uint64_t not_after_s;
    uint64_t serial;
    bool is_approved; /* false: a request that waits for the authority */
    bool is_valid;    /* signatures and time */
    bool has_keyring; /* here, in PHR_HOME/keys */
};

struct phr_identity; /* an unlocked keyring */

/*
 * Make keys: PHR_HOME/keys/LABEL.keyring (0600) and a request for the authority.
 *
 * Shapes   label: 1..64 of [a-z0-9._-]; role: person, service or group
 * Units    valid_days from now; 0 is five years
 * Owns     nothing
 * Errors   PHR_E_EXISTS, PHR_E_USAGE (not a label), PHR_E_CONFIG (no realm here), -errno
 * Threads  one per client; about a second (Argon2id)
 * Source   CRYPTO 2.6, 2.10
 */
struct phr_identity_wish {
    const char *label;
    enum phr_role role;
    uint64_t valid_days;
    const char *keyring_user; /* NULL, or a system user who shall own the keyring file */
};
int phr_identity_new(struct phr_client *c, const struct phr_identity_wish *wish,
                     const struct phr_passphrase *pass) PHR_MUST_CHECK;
/*
 * The authority signs the request of this label: realm/cards/LABEL.card. A keyring takes its
 * card up when it is next unlocked. The validity is the one that the applicant signed.
 */
int phr_identity_approve(struct phr_client *c, const char *label,
                         const struct phr_passphrase *authority) PHR_MUST_CHECK;
/* Cards and requests of the realm, in the order of their names. Stops at the first non-zero result. */
int phr_identity_each(struct phr_client *c,
                      int (*on_identity)(void *user,
                                         const struct phr_identity_info *info),
                      void *user) PHR_MUST_CHECK;
int phr_identity_show(struct phr_client *c, const char *label,
                      struct phr_identity_info *out_info) PHR_MUST_CHECK;
/*
 * The SRS refuses this identity from now on: the authority signs the list of all who are
 * suspended. is_back: takes it off the list again.
 */
int phr_identity_suspend(struct phr_client *c, const char *label, bool is_back,
                         const struct phr_passphrase *authority) PHR_MUST_CHECK;
/* New passphrase for a keyring: rewrites one small file. */
int phr_identity_passwd(struct phr_client *c, const char *label,
                        const struct phr_passphrase *old_pass,
                        const struct phr_passphrase *new_pass) PHR_MUST_CHECK;

/*
 * Open a keyring. Its anchors must be this realm's.
 *
 * Shapes   label: of an identity, or a patient's id as typed; keyring_path NULL or a file elsewhere
 * Owns     the caller owns *out_identity: phr_identity_lock wipes it
 * Errors   PHR_E_UNKNOWN_ID, PHR_E_PASSPHRASE, PHR_E_RIGHTS (file open to others), PHR_E_CARD
 * Threads  one per client; about a second (Argon2id)
 * Source   CRYPTO 2.10
 */
int phr_identity_unlock(struct phr_client *c, const char *label, const char *keyring_path,
                        const struct phr_passphrase *pass,
                        struct phr_identity **out_identity) PHR_MUST_CHECK;
void phr_identity_lock(struct phr_identity *i); /* NULL is fine */
/* Hex of user16 (a patient's id); borrowed. */
const char *phr_identity_get_user(const struct phr_identity *i);
bool phr_identity_is_approved(const struct phr_identity *i);

/*
 * A patient: owner's keyring and card, genesis in the ledger with the six compartments.
 *
 * Shapes   id: as people type it, 1..200 bytes, no '/' and no dot first; name NULL: the id
 * Owns     nothing; out_patient has room for 33 characters (hex)
 * Errors   PHR_E_EXISTS, PHR_E_SIDECAR, PHR_E_CARD, PHR_E_PASSPHRASE
 * Threads  one per client
 * Source   CRYPTO 2.5, 2.7 (genesis)
 */
struct phr_patient_wish {
    const char *id;
    const char *name;
    const char *keyring_user; /* NULL: the caller */
    const struct phr_passphrase *owner;
    const struct phr_passphrase *authority;
};
int phr_patient_add(struct phr_client *c, const struct phr_patient_wish *wish,
                    char *out_patient) PHR_MUST_CHECK;

/*
 * A patient's ledger, replayed and verified from its first entry, with the owner's keys.
 * What an earlier command left half done (a revocation that was killed) is ended first,
 * unless flags say not to.
 *
 * Errors   PHR_E_FORK, PHR_E_ROLLBACK (the keyring has seen more), PHR_E_SIGNATURE, PHR_E_SIDECAR,
 *          PHR_E_RIGHTS (the identity owns no records)
 */
struct phr_owner;
enum phr_owner_flags { PHR_OWNER_RESUME = 1 << 0 };
int phr_owner_open(struct phr_client *c, struct phr_identity *identity,
                   enum phr_owner_flags flags,
                   struct phr_owner **out_owner) PHR_MUST_CHECK;
void phr_owner_close(struct phr_owner *o); /* NULL is fine */

struct phr_compartment_info {
    char id[33];
    char name[256];
    uint32_t epoch;
    bool is_unfinished; /* an epoch change is half done */
    uint64_t file_count;
    uint64_t grant_count; /* live */
};
int phr_compartment_each(struct phr_owner *o,
                         int (*on_compartment)(void *user,
                                               const struct phr_compartment_info *info),
                         void *user) PHR_MUST_CHECK;
int phr_compartment_add(struct phr_owner *o, const char *name) PHR_MUST_CHECK;

#endif
