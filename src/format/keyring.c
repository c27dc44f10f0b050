/*
 * A keyring in memory, and the file around its body. Key and commitment come from passphrase
 * and salt; both are fresh with every save, and the nonce is random as well.
 */
#include "format/keyring.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/random.h"

enum { HEAD_BYTES = 8 + 16 + 4 + 8 + 16 + 32 };

int keyring_new(struct keyring **out_keyring)
{
    scoped(keyring_free) struct keyring *k = calloc(1, sizeof *k);

    if (!k)
        return -ENOMEM;
    k->seed = secret_alloc(sizeof *k->seed);
    k->b = secret_alloc(sizeof *k->b);
    if (!k->seed || !k->b)
        return -ENOMEM;
    random_fill(k->seed->b, sizeof k->seed->b);
    pre_scalar_random(k->b);
    k->user = random_id();
    k->cost = (struct passphrase_cost){ PASSPHRASE_OPS_MIN, PASSPHRASE_MEM_MIN };
    *out_keyring = give(k);
    return 0;
}

void keyring_free(struct keyring *k)
{
    if (!k)
        return;
    secret_free(k->seed);
    secret_free(k->b);
    free(k->card);
    free(k->authority_card);
    free(k->srs_card);
    if (k->names) /* whose patients these are is nobody's business */
        secret_wipe(k->names, k->name_count * sizeof *k->names);
    free(k->names);
    free(k->pins);
    free(k);
}

static void head_write(const struct keyring *k, const uint8_t salt[16],
                       const struct digest *commit, struct writer *w)
{
    writer_text(w, "PHRFS-Y1");
    writer_bytes(w, k->user.b, sizeof k->user.b);
    writer_u32(w, k->cost.ops);
    writer_u64(w, k->cost.mem_bytes);
    writer_bytes(w, salt, 16);
    writer_bytes(w, commit->b, sizeof commit->b);
}

int keyring_seal(const struct keyring *k, struct view passphrase, struct writer *out)
{
    scoped(secret_free) struct symkey *key = secret_alloc(sizeof *key);
    scoped(secret_free) uint8_t *body = NULL;
    struct digest commit;
    uint8_t salt[16];
    size_t start = out->n;
    size_t n;
    int rc;

    if (!key)
        return -ENOMEM;
    rc = keyring_body_encode(k, &body, &n);
    if (rc < 0)
        return rc;
    random_fill(salt, sizeof salt);
    rc = passphrase_derive(passphrase, &k->cost, salt, key, &commit);
    if (rc < 0)
        return rc;
    head_write(k, salt, &commit, out);
    writer_zeros(out, n + AEAD_BOX_EXTRA_BYTES);
    if (!writer_ok(out))
        return -ENOMEM;
    return aead_box(
        key, view_of(out->p + start, HEAD_BYTES), view_of(body, n),
        (struct span){ out->p + start + HEAD_BYTES, n + AEAD_BOX_EXTRA_BYTES });
}

struct head {
    struct id16 user;
    struct passphrase_cost cost;
    uint8_t salt[16];
    struct digest commit;
    struct view box;
};

static int head_read(struct view file, struct head *out_head)
{
    struct reader r = reader_over(file);
    struct head h = { 0 };

    reader_expect(&r, "PHRFS-Y1");
    reader_bytes(&r, h.user.b, sizeof h.user.b);
    h.cost.ops = reader_u32(&r);
    h.cost.mem_bytes = reader_u64(&r);
    reader_bytes(&r, h.salt, sizeof h.salt);
    reader_bytes(&r, h.commit.b, sizeof h.commit.b);
    h.box = reader_view(&r, r.left);
    if (!reader_done(&r) || h.box.n <= AEAD_BOX_EXTRA_BYTES ||
        h.box.n - AEAD_BOX_EXTRA_BYTES > KEYRING_BODY_BYTES_MAX ||
        (h.box.n - AEAD_BOX_EXTRA_BYTES) % KEYRING_PAD_BYTES != 0)
        return PHR_E_FORMAT;
    *out_head = h;
    return 0;
}

/* The body in arena memory of n bytes. */
static int body_open(const struct head *h, struct view file, struct view passphrase,
                     uint8_t *out_body, size_t n)
{
    scoped(secret_free) struct symkey *key = secret_alloc(sizeof *key);
    struct digest commit;
    int rc;

    if (!key)
        return -ENOMEM;
    rc = passphrase_derive(passphrase, &h->cost, h->salt, key, &commit);
    if (rc < 0)
        return rc;
    if (!digest_equal(&commit, &h->commit))
        return PHR_E_PASSPHRASE;
    rc = aead_open_box(key, view_of(file.p, HEAD_BYTES), h->box,
                       (struct span){ out_body, n });
    return rc == PHR_E_SEAL ? PHR_E_PASSPHRASE : rc; /* wrong or damaged: one answer */
}

int keyring_open_sealed(struct view file, struct view passphrase,
                        struct keyring **out_keyring)
{
    scoped(keyring_free) struct keyring *k = NULL;
    scoped(secret_free) uint8_t *body = NULL;
    struct head h;
    size_t n;
    int rc = head_read(file, &h);

    if (rc < 0)
        return rc;
    n = h.box.n - AEAD_BOX_EXTRA_BYTES;
    body = secret_alloc(n);
    if (!body)
        return -ENOMEM;
    rc = body_open(&h, file, passphrase, body, n);
    if (rc < 0)
        return rc;
    rc = keyring_body_decode(view_of(body, n), &k);
    if (rc < 0)
        return rc;
    if (!id_equal(&k->user, &h.user))
        return PHR_E_FORMAT;
    k->cost = h.cost;
    *out_keyring = give(k);
    return 0;
}

int keyring_add_name(struct keyring *k, const struct keyring_name *name)
{
    struct keyring_name *more;

    if (name->name[0] == '\0' || !memchr(name->name, 0, sizeof name->name))
        return -EINVAL;
    for (size_t i = 0; i < k->name_count; i++) {
        if (id_equal(&k->names[i].patient, &name->patient) &&
            id_equal(&k->names[i].class_id, &name->class_id)) {
            k->names[i] = *name;
            return 0;
        }
    }
    if (k->name_count >= KEYRING_ITEMS_MAX)
        return PHR_E_LIMIT;
    more = calloc(k->name_count + 1, sizeof *more);
    if (!more)
        return -ENOMEM;
    if (k->names) {
        memcpy(more, k->names, k->name_count * sizeof *more);
        secret_wipe(k->names, k->name_count * sizeof *k->names);
    }
    free(k->names);
    k->names = more;
    k->names[k->name_count++] = *name;
    return 0;
}

static int pin_raise(struct keyring_pin *old, const struct keyring_pin *pin)
{
    if (pin->seq < old->seq)
        return PHR_E_ROLLBACK;
    if (pin->seq == old->seq && !digest_equal(&pin->leaf, &old->leaf))
        return PHR_E_FORK;
    *old = *pin;
    return 0;
}

int keyring_pin(struct keyring *k, const struct keyring_pin *pin)
{
    struct keyring_pin *more;

    for (size_t i = 0; i < k->pin_count; i++) {
        if (id_equal(&k->pins[i].patient, &pin->patient))
            return pin_raise(&k->pins[i], pin);
    }
    if (k->pin_count >= KEYRING_ITEMS_MAX)
        return PHR_E_LIMIT;
    more = realloc(k->pins, (k->pin_count + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    k->pins = more;
    k->pins[k->pin_count++] = *pin;
    return 0;
}
