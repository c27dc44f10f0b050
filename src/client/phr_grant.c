#include "phr/grant.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/secret.h"
#include "client/epoch.h"
#include "client/granting.h"
#include "crypto/digest.h"
#include "crypto/pre_owner.h"
#include "crypto/random.h"
#include "crypto/seal.h"

enum { CLASSES_MAX = 1024, CLOCK_SKEW_S = 300 };
#define TIME_NEVER_S UINT64_C(253402300799) /* the end of the year 9999 */

static int seal_rk(const struct phr_owner *o, const struct grant_ctx *ctx,
                   const struct scalar *rk, uint8_t out[32 + SEAL_EXTRA_BYTES])
{
    uint8_t aad[GRANT_CTX_BYTES];

    grant_ctx_encode(ctx, aad);
    return seal_to(&o->identity->srs.b, view_of(aad, sizeof aad),
                   view_of(rk->b, sizeof rk->b),
                   (struct span){ out, 32 + SEAL_EXTRA_BYTES });
}

int granting_add(struct phr_owner *o, const struct compartment *keys,
                 const struct grant *like, struct draft *d)
{
    scoped(secret_free) struct scalar *rk = secret_alloc(sizeof *rk);
    uint8_t sealed[32 + SEAL_EXTRA_BYTES];
    struct grant g = *like;
    int rc;

    if (!rk)
        return -ENOMEM;
    g.ctx.class_ctx = keys->ctx;
    g.ctx.grant = random_id();
    g.a = keys->a_pub;
    rc = pre_rekeygen(keys->a, &keys->a_pub, &g.b, &g.ctx, rk, &g.x, &g.r);
    if (rc == 0)
        rc = seal_rk(o, &g.ctx, rk, sealed);
    if (rc < 0)
        return rc;
    g.sealed_rk = digest_sha256(view_of(sealed, sizeof sealed));
    rc = grant_encode(&g, o->identity->sign, draft_add(d, CHANGE_GRANT));
    if (rc == 0)
        draft_add_rk(d, &g.ctx.grant, view_of(sealed, sizeof sealed));
    return rc;
}

/* ---- phr grant ---- */

struct wanted {
    const char *name; /* NULL: all */
    struct id16 ids[CLASSES_MAX];
    size_t count;
};

static int on_wanted(void *user, const struct replica_class *c, const char *name)
{
    struct wanted *w = user;

    if (w->name && strcmp(w->name, name) != 0)
        return 0;
    if (w->count == CLASSES_MAX)
        return PHR_E_LIMIT;
    w->ids[w->count++] = c->ctx.class_id;
    return 0;
}

/* The reader's card, checked against the authority that the owner's keyring trusts. */
static int load_reader(struct phr_owner *o, const char *label, struct writer *bytes,
                       struct card *out_card)
{
    struct phr_client *c = o->client;
    char rel[LABEL_BYTES_MAX + 32];
    int rc;

    if (!label_is_valid(view_text(label)))
        return client_fail(c, PHR_E_UNKNOWN_ID, "'%s' is not the label of an identity",
                           label);
    if (snprintf(rel, sizeof rel, "cards/%s.card", label) >= (int)sizeof rel)
        return PHR_E_LIMIT;
    rc = client_load_card(c, rel, &o->identity->authority.ed, bytes, out_card);
    if (rc == -ENOENT)
        return client_fail(c, PHR_E_UNKNOWN_ID,
                           "there is no card of %s; the authority approves one with "
                           "'phr identity approve %s'",
                           label, label);
    if (rc == 0 && strcmp(out_card->label, label) != 0)
        rc = client_fail(c, PHR_E_CARD, "the card of %s names somebody else", label);
    if (rc == 0 && out_card->role != CARD_PERSON && out_card->role != CARD_SERVICE &&
        out_card->role != CARD_GROUP)
        rc = client_fail(c, PHR_E_CARD, "%s cannot be a reader", label);
    if (rc == 0 && card_check_time(out_card, clock_realtime_s()) < 0)
        rc = client_fail(c, PHR_E_EXPIRED,
                         "the card of %s is outside its time of validity", label);
    return rc;
}

/* What the reader held here before ends with the new grant; he stays a reader (EPOCH-4). */
static int add_replaced(struct phr_owner *o, const struct class_ctx *ctx,
                        const struct id16 *reader, struct draft *d)
{
    const struct replica_grant *g;

    for (size_t i = 0; (g = replica_get_grant(o->replica, i)) != NULL; i++) {
        const struct revoke revoke = { .grant = g->grant.ctx.grant,
                                       .reason = REVOKE_REPLACED };

        if (g->is_revoked || !class_ctx_equal(&g->grant.ctx.class_ctx, ctx) ||
            !id_equal(&g->grant.ctx.reader, reader))
            continue;
        if (draft_is_full(d))
            return PHR_E_LIMIT;
        revoke_encode(&revoke, draft_add(d, CHANGE_REVOKE));
    }
    return 0;
}

static int grant_class(struct phr_owner *o, const struct id16 *class_id,
                       const struct grant *like, const struct card *reader,
                       struct view card_bytes, uint32_t *out_count)
{
    scoped(draft_fini) struct draft d = { 0 };
    const struct replica_class *newest = replica_find_class(o->replica, class_id);
    const struct replica_class *c;
    struct card pinned;
    uint32_t count = 0;
    int rc = newest ? draft_init(&d, &newest->ctx) : PHR_E_UNKNOWN_ID;

    if (rc < 0)
        return rc;
    if (replica_find_card(o->replica, &reader->user, &pinned) < 0 ||
        !digest_equal(&pinned.hash, &reader->hash))
        writer_view(draft_add(&d, CHANGE_CARD_PIN), card_bytes);
    for (size_t i = 0; rc == 0 && (c = replica_get_class(o->replica, i)) != NULL; i++) {
        scoped(compartment_fini) struct compartment keys = { 0 };

        if (!id_equal(&c->ctx.class_id, class_id) || c->state == LEDGER_EPOCH_RETIRED)
            continue;
        rc = owner_open_epoch(o, &c->ctx, &keys);
        if (rc == 0)
            rc = granting_add(o, &keys, like, &d);
        if (rc == 0)
            rc = add_replaced(o, &c->ctx, &reader->user, &d);
        count++;
    }
    if (rc == 0)
        rc = draft_submit(&d, o, NULL);
    if (rc == 0)
        *out_count += count;
    return rc;
}

static int grant_class_retried(struct phr_owner *o, const struct id16 *class_id,
                               const struct grant *like, const struct card *reader,
                               struct view card_bytes, uint32_t *out_count)
{
    int rc = PHR_E_STALE;

    for (unsigned tries = 0; rc == PHR_E_STALE && tries < OWNER_TRIES_MAX; tries++)
        rc = grant_class(o, class_id, like, reader, card_bytes, out_count);
    return rc;
}

static int fill_grant(struct phr_owner *o, const struct phr_grant_wish *wish,
                      const struct card *reader, struct grant *out)
{
    uint64_t now_s = clock_realtime_s();

    *out = (struct grant){ .ctx = { .reader = reader->user, .reader_card = reader->hash },
                           .b = reader->b,
                           .rights = wish->may_write ? GRANT_RW : GRANT_R,
                           .not_before_s = now_s - CLOCK_SKEW_S,
                           .not_after_s =
                               wish->not_after_s ? wish->not_after_s : TIME_NEVER_S,
                           .max_opens = wish->max_opens,
                           .purpose = PURPOSE_ANY };
    if (out->not_after_s <= now_s)
        return client_fail(o->client, PHR_E_USAGE,
                           "a grant that has ended already is none");
    if (wish->purpose && purpose_parse(wish->purpose, &out->purpose) < 0)
        return client_fail(o->client, PHR_E_USAGE,
                           "'%s' is not a purpose of use; one of TREAT ETREAT BTG "
                           "HPAYMT HOPERAT HRESCH PATRQT PUBHLTH",
                           wish->purpose);
    return 0;
}

int phr_grant_add(struct phr_owner *o, const struct phr_grant_wish *wish,
                  uint32_t *out_count)
{
    scoped(free) struct wanted *wanted = calloc(1, sizeof *wanted);
    scoped(writer_fini) struct writer card_bytes;
    struct card reader;
    struct grant like;
    uint32_t count = 0;
    int rc;

    writer_init(&card_bytes);
    o->client->why[0] = '\0';
    if (!wanted)
        return -ENOMEM;
    wanted->name = wish->compartment;
    rc = owner_check_compartment(o, wish->compartment);
    if (rc == 0)
        rc = load_reader(o, wish->to, &card_bytes, &reader);
    if (rc == 0)
        rc = fill_grant(o, wish, &reader, &like);
    if (rc == 0)
        rc = owner_each_class(o, on_wanted, wanted);
    for (size_t i = 0; rc == 0 && i < wanted->count; i++) {
        rc = grant_class_retried(o, &wanted->ids[i], &like, &reader,
                                 writer_done(&card_bytes), &count);
        client_progress(o->client, "grant", i + 1, wanted->count);
    }
    if (rc < 0)
        return o->client->why[0] ? rc : client_fail_plain(o->client, rc, "grant");
    *out_count = count;
    return 0;
}

/* ---- phr grants ---- */

struct listing {
    struct phr_owner *owner;
    int (*on_grant)(void *user, const struct phr_grant_info *info);
    void *user;
};

static void fill_info(const struct phr_owner *o, const struct replica_grant *g,
                      const char *compartment, struct phr_grant_info *out)
{
    const struct replica_class *epoch =
        replica_find_epoch(o->replica, &g->grant.ctx.class_ctx);
    struct card card;

    *out = (struct phr_grant_info){
        .epoch = g->grant.ctx.class_ctx.epoch,
        .may_write = g->grant.rights == GRANT_RW,
        .is_revoked = g->is_revoked,
        .is_expired = g->grant.not_after_s <= clock_realtime_s(),
        .is_retired = epoch && epoch->state == LEDGER_EPOCH_RETIRED,
        .not_before_s = g->grant.not_before_s,
        .not_after_s = g->grant.not_after_s >= TIME_NEVER_S ? 0 : g->grant.not_after_s,
        .max_opens = g->grant.max_opens,
        .purpose =
            g->grant.purpose == PURPOSE_ANY ? "any" : purpose_name(g->grant.purpose)
    };
    hex_encode(g->grant.ctx.grant.b, sizeof g->grant.ctx.grant.b, out->grant);
    hex_encode(g->grant.ctx.reader.b, sizeof g->grant.ctx.reader.b, out->reader);
    if (replica_find_card(o->replica, &g->grant.ctx.reader, &card) == 0 && card.label[0])
        ignored(
            snprintf(out->reader, sizeof out->reader, "%s", card.label)); /* same room */
    ignored(snprintf(out->compartment, sizeof out->compartment, "%s", compartment));
}

static int on_listed_class(void *user, const struct replica_class *c, const char *name)
{
    const struct listing *l = user;
    const struct replica_grant *g;
    int rc = 0;

    for (size_t i = 0; rc == 0 && (g = replica_get_grant(l->owner->replica, i)) != NULL;
         i++) {
        struct phr_grant_info info;

        if (!id_equal(&g->grant.ctx.class_ctx.class_id, &c->ctx.class_id))
            continue;
        fill_info(l->owner, g, name, &info);
        rc = l->on_grant(l->user, &info);
    }
    return rc;
}

int phr_grant_each(struct phr_owner *o,
                   int (*on_grant)(void *user, const struct phr_grant_info *info),
                   void *user)
{
    struct listing l = { .owner = o, .on_grant = on_grant, .user = user };

    o->client->why[0] = '\0';
    return owner_each_class(o, on_listed_class, &l);
}
