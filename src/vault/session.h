/*
 * Identities that are unlocked in this vault, the uids they are bound to, and what each holds
 * for a compartment-epoch. Everything under the names lock; pointers are borrowed while it is held.
 */
#ifndef PHR_VAULT_SESSION_H
#define PHR_VAULT_SESSION_H

#include "format/header.h"
#include "vault/node.h"
#include "vault/vault_state.h"

static inline void inode_plain_free_scope(struct writer *plain)
{
    inode_plain_free(plain);
}

/* What an identity holds for one compartment-epoch. */
struct class_key {
    struct class_key *next;
    struct class_ctx ctx;
    struct point a_pub;
    bool is_owner;
    bool is_current; /* the newest epoch of the class: rows are sealed with it */
    enum grant_rights rights;
    struct scalar *a;   /* owner; arena */
    struct scalar *d;   /* reader; arena, made at first use */
    struct grant grant; /* reader */
    bool has_rows;      /* rows is there */
    bool is_asking;     /* a request for the names key is in flight */
    struct row_keys rows;
    uint64_t lease_end_ms;  /* reader: CLOCK_BOOTTIME; 0 = nothing was released */
    uint64_t lease_sent_ms; /* when the request that gave it was sent */
    bool is_renewing;
    char patient_name[DISPLAY_NAME_BYTES_MAX + 1]; /* of the class root; "" = not known yet */
    char name[DISPLAY_NAME_BYTES_MAX + 1];
};

struct identity {
    struct identity *next;
    struct id16 user;
    struct keyring *ring;
    struct sign_key *sign;
    struct symkey *lk; /* arena: seals keys for local use */
    struct card card;
    struct class_key *classes;
    uint64_t op_n[2]; /* last number used, per lane META and SEAL */
    unsigned sessions;
    /* Opening the third file of a folder in a row asks ahead. */
    struct id16 ahead_parent;
    unsigned ahead_count;
};

struct session {
    struct session *next;
    uint32_t uid; /* or VAULT_UID_ANY */
    enum purpose purpose;
    bool is_leaving; /* logging out: nothing new is opened */
    uint64_t used_ms; /* boot time: somebody asked for something in his name */
    struct identity *id;
};

/* Who answers for requests of this uid; he is not idle then. NULL: nobody. */
struct session *session_of_uid(struct vault *v, uint32_t uid);
struct identity *session_identity(struct vault *v, const struct id16 *user);
/* What this identity may do in the class now: its newest epoch with rows or right. NULL: nothing. */
struct class_key *session_class(struct identity *id, const struct id16 *class_id);
/* True when anything of this patient is open to the identity. */
bool session_has_patient(const struct identity *id, const struct id16 *patient);
struct class_key *session_class_epoch(struct identity *id, const struct class_ctx *ctx);
struct class_key *session_class_grant(struct identity *id, const struct id16 *grant);
/* Row keys of a class-epoch from whoever has them; NULL when nobody is logged in for it. */
const struct row_keys *session_rows(struct vault *v, const struct id16 *class_id, uint32_t epoch);
/*
 * Row keys of an epoch that gives no right any more, for changes that were parked under it: from
 * the local key, or by the owner's class record. Caller: row_keys_free. PHR_E_LOCKED.
 */
int session_old_rows(struct vault *v, struct identity *id, const struct class_ctx *ctx,
                     struct row_keys *out_keys) PHR_MUST_CHECK;
/* Any class key with rows for the class, newest epoch. */
struct class_key *session_class_any(struct vault *v, const struct id16 *class_id);

/*
 * Brings the class keys of all identities in line with the ledger: new grants and epochs come,
 * revoked and expired ones go (out_lost is told each before it is freed; may be NULL).
 */
void session_refresh(struct vault *v, void (*on_lost)(struct vault *v, struct identity *id, struct class_key *k));
/* Takes a names key as it was released; stores it under the local key. */
int session_take_names(struct vault *v, struct identity *id, struct class_key *k, const struct symkey *nk) PHR_MUST_CHECK;
/* True while some class key still waits for its names key. */
bool session_lacks_names(const struct identity *id);
/* Reads patient's and compartment's name from the class root. */
void session_load_root(struct vault *v, struct class_key *k);
void session_free_all(struct vault *v);
/* Who signs for user: PHR_E_LOCKED when not logged in. */
int session_signer(struct vault *v, const struct id16 *user, struct identity **out_id) PHR_MUST_CHECK;
/* fk of a file for local use: LE32 gen || box, per key. */
int session_box_keys(struct identity *id, const struct id16 *file, const struct file_key *keys,
                     size_t count, struct writer *out) PHR_MUST_CHECK;
int session_open_box(struct identity *id, const struct id16 *file, struct view box,
                     struct file_key *out_keys, size_t *out_count) PHR_MUST_CHECK;

#endif
