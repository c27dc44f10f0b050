#include "client/owner.h"

#include <string.h>

#include "client/epoch.h"
#include "crypto/digest.h"

static const struct keyring_pin *find_pin(const struct keyring *ring,
                                          const struct id16 *patient)
{
    for (size_t i = 0; i < ring->pin_count; i++) {
        if (id_equal(&ring->pins[i].patient, patient))
            return &ring->pins[i];
    }
    return NULL;
}

int phr_owner_open(struct phr_client *c, struct phr_identity *identity,
                   enum phr_owner_flags flags, struct phr_owner **out_owner)
{
    scoped(phr_owner_close) struct phr_owner *o = calloc(1, sizeof *o);
    int rc;

    c->why[0] = '\0';
    if (!o)
        return -ENOMEM;
    o->client = c;
    o->identity = identity;
    if (identity->card.role != CARD_OWNER)
        return client_fail(c, PHR_E_RIGHTS, "%s owns no records: give the patient's id",
                           identity->card.label);
    if (!identity->ring->is_approved)
        return client_fail(c, PHR_E_CARD,
                           "the patient's card is not approved by the authority yet");
    rc = replica_new(c, &identity->ring->user, &identity->anchor,
                     find_pin(identity->ring, &identity->ring->user), &o->replica);
    if (rc == 0)
        rc = replica_refresh(o->replica);
    if (rc == 0)
        rc = owner_pin(o);
    if (rc == 0 && (flags & PHR_OWNER_RESUME))
        rc = epoch_finish_all(o, NULL);
    if (rc == 0)
        rc = owner_pin(o);
    if (rc < 0)
        return c->why[0] ? rc : client_fail_plain(c, rc, "the patient's ledger");
    *out_owner = give(o);
    return 0;
}

void phr_owner_close(struct phr_owner *o)
{
    if (!o)
        return;
    if (o->replica)
        ignored(owner_pin(
            o)); /* a lower pin only means less protection until the next command */
    replica_free(o->replica);
    free(o);
}

int owner_pin(struct phr_owner *o)
{
    struct keyring *ring = o->identity->ring;
    const struct keyring_pin *old = find_pin(ring, &ring->user);
    struct keyring_pin pin = { .patient = ring->user };
    int rc;

    if (!replica_get_head(o->replica, &pin.seq, &pin.leaf) ||
        (old && old->seq == pin.seq))
        return 0;
    rc = keyring_pin(ring, &pin);
    if (rc == 0)
        o->identity->is_changed = true;
    return rc;
}

int owner_open_epoch(struct phr_owner *o, const struct class_ctx *ctx,
                     struct compartment *out)
{
    const struct replica_class *c = replica_find_epoch(o->replica, ctx);

    return c ? compartment_open_sealed(c, o->identity->ring->b, out) : -ENOENT;
}

int owner_open_class(struct phr_owner *o, const struct id16 *class_id,
                     struct compartment *out)
{
    const struct replica_class *c = replica_find_class(o->replica, class_id);

    return c ? compartment_open_sealed(c, o->identity->ring->b, out) : -ENOENT;
}

int owner_each_class(struct phr_owner *o,
                     int (*on_class)(void *user, const struct replica_class *c,
                                     const char *name),
                     void *user)
{
    const struct replica_class *c;
    int rc = 0;

    for (size_t i = 0; rc == 0 && (c = replica_get_class(o->replica, i)) != NULL; i++) {
        scoped(compartment_fini) struct compartment keys = { 0 };
        char patient[DISPLAY_NAME_BYTES_MAX + 1];
        char name[DISPLAY_NAME_BYTES_MAX + 1];

        if (c != replica_find_class(o->replica, &c->ctx.class_id))
            continue; /* an older epoch */
        rc = compartment_open_sealed(c, o->identity->ring->b, &keys);
        if (rc == 0)
            rc = compartment_names(&keys, o->replica, patient, name);
        if (rc == 0)
            rc = on_class(user, c, name);
    }
    return rc;
}

static int on_name(void *user, const struct replica_class *c, const char *name)
{
    (void)c;
    return strcmp(name, user) == 0;
}

int owner_check_compartment(struct phr_owner *o, const char *name)
{
    char wanted[DISPLAY_NAME_BYTES_MAX + 1];
    size_t n = name ? strlen(name) : 0;
    int rc;

    if (!name)
        return 0;
    if (n == 0 || n >= sizeof wanted)
        return client_fail(o->client, PHR_E_UNKNOWN_ID, "no compartment has that name");
    memcpy(wanted, name, n + 1);
    rc = owner_each_class(o, on_name, wanted);
    if (rc == 0)
        return client_fail(o->client, PHR_E_UNKNOWN_ID,
                           "there is no compartment %s; see 'phr compartment list'",
                           name);
    return rc < 0 ? rc : 0;
}
