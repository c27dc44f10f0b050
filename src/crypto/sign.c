#include "crypto/sign.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"

enum { LABEL_BYTES_LONGEST = 64 };

struct sign_key {
    uint8_t sk[crypto_sign_SECRETKEYBYTES]; /* seed || public key, in the arena */
};

static_assert(sizeof(struct sign_key) == SECRET_SLOT_BYTES, "one slot per key");

struct labelled {
    uint8_t b[LABEL_BYTES_LONGEST + 1 + 32];
};

static struct view labelled_message(struct labelled *room, const char *label,
                                    const struct digest *h);

struct sign_key *sign_key_new(void)
{
    struct verify_key pk;
    struct sign_key *k = secret_alloc(sizeof *k);

    if (!k)
        return NULL;
    INVARIANT(crypto_sign_keypair(pk.b, k->sk) == 0);
    return k;
}

struct sign_key *sign_key_from_seed(const struct symkey *seed)
{
    struct verify_key pk;
    struct sign_key *k = secret_alloc(sizeof *k);

    if (!k)
        return NULL;
    INVARIANT(crypto_sign_seed_keypair(pk.b, k->sk, seed->b) == 0);
    return k;
}

void sign_key_free(struct sign_key *k)
{
    secret_free(k);
}

void sign_key_seed(const struct sign_key *k, struct symkey *out_seed)
{
    memcpy(out_seed->b, k->sk, sizeof out_seed->b);
}

struct verify_key sign_key_public(const struct sign_key *k)
{
    struct verify_key pk;

    memcpy(pk.b, k->sk + 32, sizeof pk.b);
    return pk;
}

struct signature sign_labelled(const struct sign_key *k, const char *label,
                               const struct digest *h)
{
    struct labelled room;

    return sign_bytes(k, labelled_message(&room, label, h));
}

int sign_check_labelled(const struct verify_key *pk, const char *label,
                        const struct digest *h, const struct signature *sig)
{
    struct labelled room;

    return sign_check_bytes(pk, labelled_message(&room, label, h), sig);
}

struct signature sign_bytes(const struct sign_key *k, struct view message)
{
    struct signature sig;

    INVARIANT(crypto_sign_detached(sig.b, NULL, message.p, message.n, k->sk) == 0);
    return sig;
}

int sign_check_bytes(const struct verify_key *pk, struct view message,
                     const struct signature *sig)
{
    if (crypto_sign_verify_detached(sig->b, message.p, message.n, pk->b) != 0)
        return PHR_E_SIGNATURE;
    return 0;
}

static struct view labelled_message(struct labelled *room, const char *label,
                                    const struct digest *h)
{
    size_t n = strlen(label);

    INVARIANT(n <= LABEL_BYTES_LONGEST);
    memcpy(room->b, label, n);
    room->b[n] = 0x00;
    memcpy(room->b + n + 1, h->b, sizeof h->b);
    return (struct view){ room->b, n + 1 + sizeof h->b };
}
