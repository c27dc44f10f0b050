/* Revocation for the owner (CRYPTO 1.7, 2.7): the revoke op first, then what epoch.c derives from it. */
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "client/epoch.h"
#include "crypto/digest.h"
#include "phr/grant.h"

enum { CLASSES_MAX = 1024, WAIT_MARGIN_MS = 5000 };

struct target {
    struct phr_owner *owner;
    const char *compartment; /* NULL: all */
    struct id16 ids[CLASSES_MAX];
    size_t count;
};

static int on_target(void *user, const struct replica_class *c, const char *name)
{
    struct target *t = user;

    if (t->compartment && strcmp(t->compartment, name) != 0)
        return 0;
    if (t->count == CLASSES_MAX)
        return PHR_E_LIMIT;
    t->ids[t->count++] = c->ctx.class_id;
    return 0;
}

/* By the card that the ledger pins: an identity may have left the realm's directory since. */
static int find_reader(struct phr_owner *o, const char *label, struct id16 *out_reader)
{
    const struct replica_grant *g;

    for (size_t i = 0; (g = replica_get_grant(o->replica, i)) != NULL; i++) {
        char hex[33];
        struct card card;

        hex_encode(g->grant.ctx.reader.b, sizeof g->grant.ctx.reader.b, hex);
        if (strcmp(hex, label) == 0 ||
            (replica_find_card(o->replica, &g->grant.ctx.reader, &card) == 0 &&
             strcmp(card.label, label) == 0)) {
            *out_reader = g->grant.ctx.reader;
            return 0;
        }
    }
    return client_fail(o->client, PHR_E_UNKNOWN_ID,
                       "%s was never granted anything here; see 'phr grants'", label);
}

/* Every live grant of this reader in one class, in all its epochs. */
static int push_revoke(struct phr_owner *o, const struct id16 *class_id,
                       const struct id16 *reader, uint32_t *out_count, uint64_t *out_seq)
{
    scoped(draft_fini) struct draft d = { 0 };
    const struct replica_class *newest = replica_find_class(o->replica, class_id);
    const struct replica_grant *g;
    int rc = newest ? draft_init(&d, &newest->ctx) : PHR_E_UNKNOWN_ID;

    if (rc < 0)
        return rc;
    for (size_t i = 0;
         (g = replica_get_grant(o->replica, i)) != NULL && !draft_is_full(&d); i++) {
        const struct revoke revoke = { .grant = g->grant.ctx.grant,
                                       .reason = REVOKE_OWNER };

        if (!g->is_revoked && id_equal(&g->grant.ctx.class_ctx.class_id, class_id) &&
            id_equal(&g->grant.ctx.reader, reader))
            revoke_encode(&revoke, draft_add(&d, CHANGE_REVOKE));
    }
    *out_count = d.count;
    if (d.count == 0)
        return 0;
    rc = draft_submit(&d, o, out_seq);
    if (rc == 0)
        client_progress(o->client, "revoke", 0, 0);
    return rc;
}

static int revoke_class(struct phr_owner *o, const struct id16 *class_id,
                        const struct id16 *reader, struct phr_revoke_result *io_result)
{
    unsigned tries = 0;
    uint32_t count = 0;
    int rc;

    do {
        rc = push_revoke(o, class_id, reader, &count, &io_result->seq);
        if (rc == 0)
            io_result->grant_count += count;
    } while ((rc == PHR_E_STALE && ++tries < OWNER_TRIES_MAX) ||
             (rc == 0 && count == OP_CHANGES_MAX));
    return rc;
}

int phr_revoke(struct phr_owner *o, const struct phr_revoke_wish *wish,
               struct phr_revoke_result *out_result)
{
    scoped(free) struct target *t = calloc(1, sizeof *t);
    struct epoch_done done = { 0 };
    struct id16 reader;
    int rc;

    *out_result = (struct phr_revoke_result){ 0 };
    o->client->why[0] = '\0';
    if (!t)
        return -ENOMEM;
    t->owner = o;
    t->compartment = wish->compartment;
    rc = owner_check_compartment(o, wish->compartment);
    if (rc == 0)
        rc = find_reader(o, wish->from, &reader);
    if (rc == 0)
        rc = owner_each_class(o, on_target, t);
    for (size_t i = 0; rc == 0 && i < t->count;
         i++) /* all of them before the long work */
        rc = revoke_class(o, &t->ids[i], &reader, out_result);
    if (rc == 0 && out_result->grant_count == 0)
        return client_fail(o->client, PHR_E_NO_GRANT,
                           "%s has no live grant here; nothing was changed", wish->from);
    if (rc == 0)
        rc = epoch_finish_all(o, &done);
    out_result->class_count = done.class_count;
    out_result->header_count = done.header_count;
    return rc < 0 && !o->client->why[0] ? client_fail_plain(o->client, rc, "revoke") : rc;
}

int phr_revoke_each_host(struct phr_owner *o, uint64_t seq, uint32_t timeout_ms,
                         int (*on_host)(void *user, const struct phr_revoke_host *host),
                         void *user)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    uint8_t ask[16 + 8 + 4];
    struct reader in;
    uint16_t count;
    int rc;

    memcpy(ask, o->identity->ring->user.b, 16);
    put_le64(ask + 16, seq);
    put_le32(ask + 24, timeout_ms);
    rc = client_ask(o->client, MSG_WAIT_APPLIED, view_of(ask, sizeof ask), -1,
                    timeout_ms + WAIT_MARGIN_MS, &reply);
    if (rc < 0)
        return o->client->why[0] ? rc : client_fail_plain(o->client, rc, "phrd");
    in = reader_over(view_of(reply.bytes, reply.n));
    count = reader_u16(&in);
    for (uint16_t i = 0; i < count && rc == 0; i++) {
        struct phr_revoke_host host = { 0 };
        struct id16 id;

        reader_bytes(&in, id.b, sizeof id.b);
        host.is_applied = reader_u8(&in) != 0;
        host.ends_at_s = reader_u64(&in);
        if (!reader_ok(&in))
            return PHR_E_PROTOCOL;
        hex_encode(id.b, sizeof id.b, host.host);
        rc = on_host(user, &host);
    }
    return rc == 0 && !reader_done(&in) ? PHR_E_PROTOCOL : rc;
}
