/*
 * A new patient. PATIENT-1: the keyring is on disk before the ledger knows of the patient, so
 * that nothing in the ledger is ever without its key; when the ledger refuses, it is removed.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "client/epoch.h"
#include "client/keys.h"
#include "client/owner.h"
#include "crypto/digest.h"
#include "crypto/random.h"

enum { CARD_VALID_S = 5 * 365 * 24 * 60 * 60, EPOCH_FIRST = 1, HDR_GEN_FIRST = 1 };

static const char *const compartment_names_all[] = { "personal",      "imaging",
                                                     "labs",          "notes",
                                                     "prescriptions", "insurance" };

/* class-record, names header, class root: what makes a compartment. */
static int add_class(struct draft *d, const struct phr_identity *i,
                     const struct compartment *keys, const char *patient_name,
                     const char *name)
{
    scoped(writer_fini) struct writer header;
    struct header_change change = { .file = keys->ctx.class_id,
                                    .hdr_gen = HDR_GEN_FIRST };
    int rc;

    writer_init(&header);
    rc = compartment_record(keys, &i->card.b, draft_add(d, CHANGE_CLASS_RECORD));
    if (rc == 0)
        rc = compartment_names_header(keys, HDR_GEN_FIRST, &header);
    if (rc < 0)
        return rc;
    change.header = writer_done(&header);
    header_change_encode(&change, draft_add(d, CHANGE_HEADER));
    return compartment_root(keys, patient_name, name, draft_add(d, CHANGE_INODE));
}

static int add_new_class(struct draft *d, struct phr_identity *i,
                         const char *patient_name, const char *name)
{
    scoped(compartment_fini) struct compartment keys = { 0 };
    const struct class_ctx ctx = { .patient = i->ring->user,
                                   .class_id = random_id(),
                                   .epoch = EPOCH_FIRST };
    struct keyring_name known = { .patient = ctx.patient, .class_id = ctx.class_id };
    int rc = compartment_new(&ctx, &keys);

    if (rc == 0)
        rc = add_class(d, i, &keys, patient_name, name);
    if (rc < 0)
        return rc;
    if (snprintf(known.name, sizeof known.name, "%s", name) >= (int)sizeof known.name)
        return PHR_E_LIMIT;
    return keyring_add_name(i->ring, &known);
}

static int make_genesis(struct draft *d, struct phr_identity *i, const char *patient_name)
{
    const struct class_ctx none = { .patient = i->ring->user };
    struct keyring_name known = { .patient = i->ring->user };
    int rc = draft_init(d, &none);

    if (rc < 0)
        return rc;
    if (snprintf(known.name, sizeof known.name, "%s", patient_name) >=
        (int)sizeof known.name)
        return client_fail(i->client, PHR_E_LIMIT,
                           "a patient's name has %d bytes at most",
                           DISPLAY_NAME_BYTES_MAX);
    rc = keyring_add_name(i->ring, &known);
    writer_bytes(draft_add(d, CHANGE_CARD_PIN), i->ring->card, i->ring->card_bytes);
    for (size_t k = 0;
         rc == 0 && k < sizeof compartment_names_all / sizeof compartment_names_all[0];
         k++)
        rc = add_new_class(d, i, patient_name, compartment_names_all[k]);
    return rc;
}

/* The card goes under the patient's hash: what people call the patient stays in the keyring. */
static int save_card(struct phr_identity *i, bool is_gone)
{
    scoped(close_fd) int dir = -1;
    char name[64];
    int rc = client_open_dir(i->client, "realm/cards", &dir);

    if (rc < 0)
        return rc;
    ignored(snprintf(name, sizeof name, "%s.card", i->user_hex)); /* 32 digits */
    return is_gone
               ? fdio_unlink(dir, name)
               : fdio_save(dir, name, view_of(i->ring->card, i->ring->card_bytes), 0644);
}

static int make_owner(struct phr_client *c, const struct phr_patient_wish *wish,
                      struct phr_identity **out_identity)
{
    scoped(phr_identity_lock) struct phr_identity *authority = NULL;
    scoped(phr_identity_lock) struct phr_identity *i = NULL;
    scoped(writer_fini) struct writer card;
    struct keys_wish keys = { .role = CARD_OWNER,
                              .label = "",
                              .file = wish->id,
                              .keyring_user = wish->keyring_user,
                              .not_after_s = clock_realtime_s() + CARD_VALID_S };
    int rc;

    writer_init(&card);
    rc = keys_unlock_authority(c, wish->authority, &authority);
    if (rc < 0)
        return rc;
    keys.org = authority->card.org;
    rc = keys_new(c, &keys, wish->owner, &i);
    if (rc == 0)
        rc = keys_set_anchors(
            i, view_of(authority->ring->card, authority->ring->card_bytes),
            view_of(authority->ring->srs_card, authority->ring->srs_card_bytes));
    if (rc == 0)
        rc = keys_approve(authority, view_of(i->ring->card, i->ring->card_bytes), &card);
    if (rc == 0)
        rc = keys_set_card(i, writer_done(&card), true);
    if (rc == 0)
        *out_identity = give(i);
    return rc;
}

int phr_patient_add(struct phr_client *c, const struct phr_patient_wish *wish,
                    char *out_patient)
{
    scoped(phr_identity_lock) struct phr_identity *i = NULL;
    scoped(phr_owner_close) struct phr_owner *o = calloc(1, sizeof *o);
    scoped(draft_fini) struct draft d = { 0 };
    struct id16 host;
    int rc;

    c->why[0] = '\0';
    if (!o)
        return -ENOMEM;
    if (!keys_name_is_valid(wish->id))
        return client_fail(
            c, PHR_E_USAGE,
            "a patient's id has 1 to %d bytes, no '/', and no '.' or '-' first",
            CLIENT_ID_BYTES_MAX);
    if (wish->name && !keys_name_is_valid(wish->name))
        return client_fail(c, PHR_E_USAGE, "'%s' cannot be the name of a folder",
                           wish->name);
    rc = client_get_host(c, &host); /* before anything is made */
    if (rc == 0)
        rc = make_owner(c, wish, &i);
    if (rc == 0)
        rc = make_genesis(&d, i, wish->name ? wish->name : wish->id);
    if (rc == 0)
        rc = keys_save(i, wish->keyring_user); /* PATIENT-1 */
    if (rc < 0)
        return c->why[0] ? rc : client_fail_plain(c, rc, "the patient's keyring");
    o->client = c;
    o->identity = i;
    rc = replica_new(c, &i->ring->user, &i->anchor, NULL, &o->replica);
    if (rc == 0)
        rc = save_card(i, false);
    if (rc == 0)
        rc = draft_submit(&d, o, NULL);
    if (rc < 0) {
        replica_free(give(o->replica));
        ignored(unlink(i->path)); /* PATIENT-1; what fails here was told above */
        ignored(save_card(i, true));
        i->is_changed = false;
        return c->why[0] ? rc : client_fail_plain(c, rc, "the patient's first entry");
    }
    memcpy(out_patient, i->user_hex, sizeof i->user_hex);
    return 0;
}

/* ---- compartments ---- */

struct listing {
    struct phr_owner *owner;
    int (*on_compartment)(void *user, const struct phr_compartment_info *info);
    void *user;
};

static int on_class(void *user, const struct replica_class *c, const char *name)
{
    const struct listing *l = user;
    const struct replica *r = l->owner->replica;
    struct phr_compartment_info info = { .epoch = c->ctx.epoch };
    const struct replica_header *h;
    const struct replica_grant *g;
    const uint64_t now_s = clock_realtime_s();

    hex_encode(c->ctx.class_id.b, sizeof c->ctx.class_id.b, info.id);
    ignored(snprintf(info.name, sizeof info.name, "%s", name));
    info.is_unfinished = epoch_is_unfinished(r, &c->ctx.class_id);
    for (size_t i = 0; (h = replica_get_header(r, i)) != NULL; i++)
        info.file_count += h->bytes.n > 0 && !id_equal(&h->ctx.file, &c->ctx.class_id) &&
                           id_equal(&h->ctx.class_ctx.class_id, &c->ctx.class_id);
    for (size_t i = 0; (g = replica_get_grant(r, i)) != NULL; i++)
        info.grant_count += !g->is_revoked && g->grant.not_after_s > now_s &&
                            class_ctx_equal(&g->grant.ctx.class_ctx, &c->ctx);
    return l->on_compartment(l->user, &info);
}

int phr_compartment_each(struct phr_owner *o,
                         int (*on_compartment)(void *user,
                                               const struct phr_compartment_info *info),
                         void *user)
{
    struct listing l = { .owner = o, .on_compartment = on_compartment, .user = user };

    o->client->why[0] = '\0';
    return owner_each_class(o, on_class, &l);
}

static int patient_name(struct phr_owner *o, char *out)
{
    scoped(compartment_fini) struct compartment keys = { 0 };
    const struct replica_class *c = replica_get_class(o->replica, 0);
    char name[DISPLAY_NAME_BYTES_MAX + 1];
    int rc = c ? owner_open_class(o, &c->ctx.class_id, &keys) : PHR_E_UNKNOWN_ID;

    return rc < 0 ? rc : compartment_names(&keys, o->replica, out, name);
}

int phr_compartment_add(struct phr_owner *o, const char *name)
{
    char patient[DISPLAY_NAME_BYTES_MAX + 1];
    const struct class_ctx none = { .patient = o->identity->ring->user };
    int rc = PHR_E_STALE;

    o->client->why[0] = '\0';
    if (!keys_name_is_valid(name))
        return client_fail(o->client, PHR_E_USAGE,
                           "'%s' cannot be the name of a compartment", name);
    for (unsigned tries = 0; rc == PHR_E_STALE && tries < OWNER_TRIES_MAX; tries++) {
        scoped(draft_fini) struct draft d = { 0 };

        if (owner_check_compartment(o, name) == 0)
            return client_fail(o->client, PHR_E_EXISTS,
                               "there is a compartment %s already", name);
        o->client->why[0] = '\0';
        rc = patient_name(o, patient);
        if (rc == 0)
            rc = draft_init(&d, &none);
        if (rc == 0)
            rc = add_new_class(&d, o->identity, patient, name);
        if (rc == 0)
            rc = draft_submit(&d, o, NULL);
    }
    o->identity->is_changed = true; /* the keyring learned a name */
    return rc < 0 && !o->client->why[0] ? client_fail_plain(o->client, rc, name) : rc;
}
