/*
 * The body of a keyring: fields (type u8 || LE32 len || bytes) in arena memory, zeros up to a
 * multiple of 4,096. Fields stand in the order of their types; names and pins may repeat.
 */
#include "format/keyring.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "format/padding.h"

enum field {
    FIELD_END = 0, /* only zeros from here on */
    FIELD_SEED = 1,
    FIELD_B = 2,
    FIELD_CARD = 3,
    FIELD_AUTHORITY_CARD = 4,
    FIELD_SRS_CARD = 5,
    FIELD_NAME = 6,         /* patient16 || class16 or 0 || name */
    FIELD_PIN = 7,          /* patient16 || LE64 seq || leaf32 */
    FIELD_CARD_REQUEST = 8, /* in place of FIELD_CARD until the authority has signed */
    FIELD_USER = 9,
    FIELD_LAST = FIELD_USER
};
enum { FIELD_EXTRA_BYTES = 1 + 4, PIN_BYTES = 16 + 8 + 32, NAME_FIXED_BYTES = 32 };

static_assert(KEYRING_BODY_BYTES_MAX <= SECRET_ARENA_BYTES / 4, "one run of the arena");

static void field_write(struct writer *w, enum field type, const void *p, size_t n)
{
    writer_u8(w, (uint8_t)type);
    writer_lp(w, view_of(p, n));
}

static void optional_write(struct writer *w, enum field type, const void *p, size_t n)
{
    if (p)
        field_write(w, type, p, n);
}

static void name_write(struct writer *w, const struct keyring_name *name)
{
    size_t n = strnlen(name->name, sizeof name->name);

    writer_u8(w, FIELD_NAME);
    writer_u32(w, (uint32_t)(NAME_FIXED_BYTES + n));
    writer_bytes(w, name->patient.b, sizeof name->patient.b);
    writer_bytes(w, name->class_id.b, sizeof name->class_id.b);
    writer_bytes(w, name->name, n);
}

static void pin_write(struct writer *w, const struct keyring_pin *pin)
{
    writer_u8(w, FIELD_PIN);
    writer_u32(w, PIN_BYTES);
    writer_bytes(w, pin->patient.b, sizeof pin->patient.b);
    writer_u64(w, pin->seq);
    writer_bytes(w, pin->leaf.b, sizeof pin->leaf.b);
}

static void body_write(const struct keyring *k, struct writer *w)
{
    field_write(w, FIELD_USER, k->user.b, sizeof k->user.b);
    field_write(w, FIELD_SEED, k->seed->b, sizeof k->seed->b);
    optional_write(w, FIELD_B, k->b, sizeof *k->b);
    optional_write(w, k->is_approved ? FIELD_CARD : FIELD_CARD_REQUEST, k->card,
                   k->card_bytes);
    optional_write(w, FIELD_AUTHORITY_CARD, k->authority_card, k->authority_card_bytes);
    optional_write(w, FIELD_SRS_CARD, k->srs_card, k->srs_card_bytes);
    for (size_t i = 0; i < k->name_count; i++)
        name_write(w, &k->names[i]);
    for (size_t i = 0; i < k->pin_count; i++)
        pin_write(w, &k->pins[i]);
}

/* An upper bound is good enough: padding is by whole pages, and it is checked below. */
static int body_size(const struct keyring *k, size_t *out_n)
{
    size_t n = 6 * (FIELD_EXTRA_BYTES + 32) + k->card_bytes + k->authority_card_bytes +
               k->srs_card_bytes + k->pin_count * (FIELD_EXTRA_BYTES + PIN_BYTES);

    if (k->card_bytes > CARD_BYTES_MAX || k->authority_card_bytes > CARD_BYTES_MAX ||
        k->srs_card_bytes > CARD_BYTES_MAX || k->pin_count > KEYRING_ITEMS_MAX ||
        k->name_count > KEYRING_ITEMS_MAX)
        return PHR_E_LIMIT;
    for (size_t i = 0; i < k->name_count; i++)
        n += FIELD_EXTRA_BYTES + NAME_FIXED_BYTES +
             strnlen(k->names[i].name, sizeof k->names[i].name);
    n = padding_up(n, KEYRING_PAD_BYTES);
    if (n > KEYRING_BODY_BYTES_MAX)
        return PHR_E_LIMIT;
    *out_n = n;
    return 0;
}

int keyring_body_encode(const struct keyring *k, uint8_t **out_body, size_t *out_n)
{
    uint8_t *body;
    struct writer w;
    size_t n;
    int rc = body_size(k, &n);

    if (rc < 0)
        return rc;
    body = secret_alloc(n);
    if (!body)
        return -ENOMEM;
    writer_init_fixed(&w, (struct span){ body, n });
    body_write(k, &w);
    INVARIANT(writer_ok(&w)); /* the rest is zero: arena memory comes wiped */
    *out_body = body;
    *out_n = n;
    return 0;
}

/* A 32-byte secret in new arena memory. */
static int secret_read(struct view v, const void *have, void **out_secret)
{
    void *p;

    if (v.n != 32 || have)
        return PHR_E_FORMAT;
    p = secret_alloc(v.n);
    if (!p)
        return -ENOMEM;
    memcpy(p, v.p, v.n);
    *out_secret = p;
    return 0;
}

static int card_read(struct view v, uint8_t **slot, size_t *slot_bytes)
{
    if (v.n < 1 || v.n > CARD_BYTES_MAX || *slot)
        return PHR_E_FORMAT;
    *slot = malloc(v.n);
    if (!*slot)
        return -ENOMEM;
    memcpy(*slot, v.p, v.n);
    *slot_bytes = v.n;
    return 0;
}

static int name_read(struct view v, struct keyring_name *out_name)
{
    struct reader r = reader_over(v);
    struct view text;

    reader_bytes(&r, out_name->patient.b, sizeof out_name->patient.b);
    reader_bytes(&r, out_name->class_id.b, sizeof out_name->class_id.b);
    text = reader_view(&r, r.left);
    if (!reader_done(&r) || text.n < 1 || text.n > DISPLAY_NAME_BYTES_MAX ||
        memchr(text.p, 0, text.n))
        return PHR_E_FORMAT;
    memcpy(out_name->name, text.p, text.n);
    return 0;
}

static int pin_read(struct view v, struct keyring_pin *out_pin)
{
    struct reader r = reader_over(v);

    reader_bytes(&r, out_pin->patient.b, sizeof out_pin->patient.b);
    out_pin->seq = reader_u64(&r);
    reader_bytes(&r, out_pin->leaf.b, sizeof out_pin->leaf.b);
    return reader_done(&r) ? 0 : PHR_E_FORMAT;
}

struct counts {
    size_t names;
    size_t pins;
    bool has_user;
};

static int field_read(struct keyring *k, struct counts *c, uint8_t type, struct view v)
{
    void *secret = NULL;
    int rc;

    switch (type) {
    case FIELD_SEED:
        rc = secret_read(v, k->seed, &secret);
        k->seed = rc < 0 ? k->seed : secret;
        return rc;
    case FIELD_B:
        rc = secret_read(v, k->b, &secret);
        k->b = rc < 0 ? k->b : secret;
        return rc;
    case FIELD_CARD:
        k->is_approved = true;
        return card_read(v, &k->card, &k->card_bytes);
    case FIELD_CARD_REQUEST:
        return card_read(v, &k->card, &k->card_bytes);
    case FIELD_AUTHORITY_CARD:
        return card_read(v, &k->authority_card, &k->authority_card_bytes);
    case FIELD_SRS_CARD:
        return card_read(v, &k->srs_card, &k->srs_card_bytes);
    case FIELD_NAME:
        return name_read(v, &k->names[c->names++]);
    case FIELD_PIN:
        return pin_read(v, &k->pins[c->pins++]);
    case FIELD_USER:
        if (v.n != sizeof k->user.b || c->has_user)
            return PHR_E_FORMAT;
        memcpy(k->user.b, v.p, v.n);
        c->has_user = true;
        return 0;
    default:
        return PHR_E_FORMAT;
    }
}

/* The next field; false at the end, where only zeros may follow. */
static bool field_next(struct reader *r, uint8_t *out_type, struct view *out_value)
{
    if (r->left == 0 || padding_is_zero(view_of(r->p, 1)))
        return false;
    *out_type = reader_u8(r);
    *out_value = reader_lp(r, CARD_BYTES_MAX);
    return reader_ok(r);
}

/* First pass: are the lengths sound, and how many names and pins are there? */
static int fields_count(struct view body, struct counts *out_counts)
{
    struct reader r = reader_over(body);
    struct counts c = { 0 };
    struct view v;
    uint8_t type;

    while (field_next(&r, &type, &v)) {
        c.names += type == FIELD_NAME;
        c.pins += type == FIELD_PIN;
    }
    if (!reader_ok(&r) || !padding_is_zero(view_of(r.p, r.left)))
        return PHR_E_FORMAT;
    if (c.names > KEYRING_ITEMS_MAX || c.pins > KEYRING_ITEMS_MAX)
        return PHR_E_FORMAT;
    *out_counts = c;
    return 0;
}

int keyring_body_decode(struct view body, struct keyring **out_keyring)
{
    scoped(keyring_free) struct keyring *k = NULL;
    struct reader r = reader_over(body);
    struct counts all;
    struct counts seen = { 0 };
    struct view v;
    uint8_t type;
    int rc;

    if (body.n < 1 || body.n > KEYRING_BODY_BYTES_MAX || body.n % KEYRING_PAD_BYTES != 0)
        return PHR_E_FORMAT;
    rc = fields_count(body, &all);
    if (rc < 0)
        return rc;
    k = calloc(1, sizeof *k);
    if (!k)
        return -ENOMEM;
    k->cost = (struct passphrase_cost){ PASSPHRASE_OPS_MIN, PASSPHRASE_MEM_MIN };
    k->names = calloc(all.names + 1, sizeof *k->names);
    k->pins = calloc(all.pins + 1, sizeof *k->pins);
    if (!k->names || !k->pins)
        return -ENOMEM;
    k->name_count = all.names;
    k->pin_count = all.pins;
    while (field_next(&r, &type, &v)) {
        rc = field_read(k, &seen, type, v);
        if (rc < 0)
            return rc;
    }
    if (!k->seed || !seen.has_user)
        return PHR_E_FORMAT;
    *out_keyring = give(k);
    return 0;
}
