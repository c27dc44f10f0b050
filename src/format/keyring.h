/* The keyring file: encoding only, no I/O (CRYPTO 2.10). phrfs and phr link it, phrd never. */
#ifndef PHR_FORMAT_KEYRING_H
#define PHR_FORMAT_KEYRING_H

#include "base/cursor.h"
#include "crypto/passphrase.h"
#include "crypto/pre.h"
#include "crypto/sign.h"
#include "format/card.h"

enum {
    KEYRING_BYTES_MAX = 1024 * 1024,     /* of the file, before it is looked at */
    KEYRING_BODY_BYTES_MAX = 256 * 1024, /* one run of the secret arena */
    KEYRING_PAD_BYTES = 4096,
    KEYRING_ITEMS_MAX = 4096 /* names, and pins */
};

struct keyring_name { /* what people call a patient or a compartment */
    struct id16 patient;
    struct id16 class_id; /* zero: the patient */
    char name[DISPLAY_NAME_BYTES_MAX + 1];
};
struct keyring_pin {
    struct id16 patient;
    uint64_t seq;
    struct digest leaf;
};
struct keyring {
    struct id16 user;
    struct passphrase_cost cost;
    struct symkey *seed; /* Ed25519; arena */
    struct scalar *b;    /* KEM secret; arena; NULL for an authority */
    uint8_t *card;       /* own card or, until approved, card request */
    size_t card_bytes;
    bool is_approved;
    uint8_t *authority_card;
    size_t authority_card_bytes;
    uint8_t *srs_card;
    size_t srs_card_bytes;
    struct keyring_name *names;
    size_t name_count;
    struct keyring_pin *pins;
    size_t pin_count;
};
/* New keys, user16 random; cost the compiled-in default. Caller: keyring_free. */
int keyring_new(struct keyring **out_keyring) PHR_MUST_CHECK;
void keyring_free(struct keyring *k); /* wipes; NULL is fine */
/* The file's bytes under this passphrase, with a fresh salt. About a second (Argon2id). */
int keyring_seal(const struct keyring *k, struct view passphrase,
                 struct writer *out) PHR_MUST_CHECK;
/* PHR_E_PASSPHRASE, PHR_E_FORMAT. */
int keyring_open_sealed(struct view file, struct view passphrase,
                        struct keyring **out_keyring) PHR_MUST_CHECK;
/*
 * The body alone (SECRET): what a login hands to a mount over its control socket. Arena
 * memory, *out_n bytes, secret_free.
 */
int keyring_body_encode(const struct keyring *k, uint8_t **out_body,
                        size_t *out_n) PHR_MUST_CHECK;
int keyring_body_decode(struct view body, struct keyring **out_keyring) PHR_MUST_CHECK;
int keyring_add_name(struct keyring *k, const struct keyring_name *name) PHR_MUST_CHECK;
/* Raises the pin of a patient; PHR_E_ROLLBACK when seq is lower, PHR_E_FORK when the leaf differs. */
int keyring_pin(struct keyring *k, const struct keyring_pin *pin) PHR_MUST_CHECK;

#include "base/scope.h"
SCOPED_HANDLE(struct keyring, keyring_free)

#endif
