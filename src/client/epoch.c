/*
 * A new epoch for a compartment. EPOCH-1: nothing is remembered outside the ledger; what is
 * left to do is read off the replica, so a kill at any point costs nothing but time:
 *
 *   a grant of the newest epoch is revoked (or the class is held)  -> epoch-begin, epoch
 *   an epoch is OLD, and a reader of it has no grant in the newest  -> grants
 *   a header lies under an OLD epoch                               -> re-wrapped headers
 *   an epoch is OLD, and none of that is left                      -> retire-epoch
 *
 * EPOCH-2: the rk of old epochs stay until retire-epoch, so the remaining readers read on all
 * the time. EPOCH-3: rows keep their ids and versions; only the key that seals them changes.
 * EPOCH-4: a grant that was revoked because another replaced it asks for no new epoch.
 * EPOCH-5: a reader whom the server refuses today (suspended, card run out) gets no grant in the
 * new epoch and must not keep the others waiting.
 */
#include "client/epoch.h"

#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "client/granting.h"
#include "client/reseal.h"
#include "crypto/digest.h"
#include "crypto/pre_owner.h"
#include "crypto/pre_writer.h"

enum { HEADERS_PER_OP = OP_CHANGES_MAX, GRANTS_PER_OP = 64 };

/* EPOCH-5: found out while one epoch change is ended; the next one asks again. */
struct skips {
    struct id16 *grants; /* of the old epoch */
    size_t count;
    bool is_one_by_one; /* to find out which one it is */
};

static bool is_of(const struct class_ctx *ctx, const struct id16 *class_id)
{
    return id_equal(&ctx->class_id, class_id);
}

static bool needs_epoch(const struct replica *r, const struct replica_class *newest)
{
    const struct replica_grant *g;

    if (newest->state == LEDGER_EPOCH_HELD)
        return true;
    for (size_t i = 0; (g = replica_get_grant(r, i)) != NULL; i++) {
        if (g->is_revoked && g->reason != REVOKE_REPLACED && /* EPOCH-4 */
            class_ctx_equal(&g->grant.ctx.class_ctx, &newest->ctx))
            return true;
    }
    return false;
}

static const struct replica_class *find_old(const struct replica *r,
                                            const struct id16 *class_id)
{
    const struct replica_class *c;

    for (size_t i = 0; (c = replica_get_class(r, i)) != NULL; i++) {
        if (is_of(&c->ctx, class_id) && c->state == LEDGER_EPOCH_OLD)
            return c;
    }
    return NULL;
}

bool epoch_is_unfinished(const struct replica *r, const struct id16 *class_id)
{
    const struct replica_class *newest = replica_find_class(r, class_id);

    return newest && (needs_epoch(r, newest) || find_old(r, class_id) != NULL);
}

/* ---- epoch-begin and epoch ---- */

static int push_begin(struct phr_owner *o, const struct class_ctx *ctx)
{
    scoped(draft_fini) struct draft d = { 0 };
    uint8_t body[CLASS_CTX_BYTES];
    int rc = draft_init(&d, ctx);

    if (rc < 0)
        return rc;
    class_ctx_encode(ctx, body);
    writer_bytes(draft_add(&d, CHANGE_EPOCH_BEGIN), body, sizeof body);
    rc = draft_submit(&d, o, NULL);
    if (rc == 0)
        client_progress(o->client, "epoch-begin", 0, 0);
    return rc;
}

static int push_epoch(struct phr_owner *o, const struct class_ctx *old)
{
    scoped(compartment_fini) struct compartment was = { 0 };
    scoped(compartment_fini) struct compartment now = { 0 };
    scoped(writer_fini) struct writer record;
    scoped(writer_fini) struct writer names;
    scoped(draft_fini) struct draft d = { 0 };
    const struct replica_header *old_names =
        replica_find_header(o->replica, &old->class_id);
    struct class_ctx ctx = *old;
    struct epoch_change change = { 0 };
    int rc = old_names ? owner_open_epoch(o, old, &was) : PHR_E_NO_HEADER;

    writer_init(&record);
    writer_init(&names);
    ctx.epoch++;
    if (rc == 0)
        rc = compartment_new(&ctx, &now);
    if (rc == 0)
        rc = compartment_record(&now, &o->identity->card.b, &record);
    if (rc == 0)
        rc = compartment_names_header(&now, old_names->ctx.hdr_gen + 1, &names);
    if (rc == 0)
        rc = reseal_namespace(o, &was, &now, &change.object_id);
    if (rc == 0)
        rc = draft_init(&d, old);
    if (rc < 0)
        return rc;
    change.class_record = writer_done(&record);
    change.names_header = writer_done(&names);
    epoch_encode(&change, draft_add(&d, CHANGE_EPOCH));
    rc = draft_submit(&d, o, NULL);
    if (rc == 0)
        client_progress(o->client, "epoch", 0, 0);
    return rc;
}

/* ---- grants for those who stay ---- */

/* The same reader, rights, time and purpose in the newest epoch, revoked or not: he was seen to. */
static bool has_successor(const struct replica *r, const struct grant *old,
                          const struct class_ctx *newest)
{
    const struct replica_grant *g;

    for (size_t i = 0; (g = replica_get_grant(r, i)) != NULL; i++) {
        if (class_ctx_equal(&g->grant.ctx.class_ctx, newest) &&
            id_equal(&g->grant.ctx.reader, &old->ctx.reader) &&
            g->grant.rights == old->rights && g->grant.not_after_s == old->not_after_s &&
            g->grant.purpose == old->purpose && g->grant.max_opens == old->max_opens)
            return true;
    }
    return false;
}

static bool is_skipped(const struct skips *skips, const struct id16 *grant)
{
    for (size_t i = 0; i < skips->count; i++) {
        if (id_equal(&skips->grants[i], grant))
            return true;
    }
    return false;
}

static int skip(struct skips *skips, const struct id16 *grant)
{
    struct id16 *bigger = reallocarray(skips->grants, skips->count + 1, sizeof *bigger);

    if (!bigger)
        return -ENOMEM;
    skips->grants = bigger;
    skips->grants[skips->count++] = *grant;
    return 0;
}

static int push_grants(struct phr_owner *o, const struct replica_class *newest,
                       struct skips *skips, bool *out_any)
{
    scoped(compartment_fini) struct compartment keys = { 0 };
    scoped(draft_fini) struct draft d = { 0 };
    const struct class_ctx ctx = newest->ctx;
    const uint64_t now_s = clock_realtime_s();
    const size_t room = skips->is_one_by_one ? 1 : GRANTS_PER_OP;
    const struct replica_grant *g;
    struct id16 last = { 0 };
    int rc = owner_open_epoch(o, &ctx, &keys);

    if (rc == 0)
        rc = draft_init(&d, &ctx);
    for (size_t i = 0;
         rc == 0 && d.count < room && (g = replica_get_grant(o->replica, i)) != NULL;
         i++) {
        const struct replica_class *of =
            replica_find_epoch(o->replica, &g->grant.ctx.class_ctx);

        if (g->is_revoked || !is_of(&g->grant.ctx.class_ctx, &ctx.class_id) || !of ||
            of->state != LEDGER_EPOCH_OLD || g->grant.not_after_s <= now_s ||
            has_successor(o->replica, &g->grant, &ctx) ||
            is_skipped(skips, &g->grant.ctx.grant))
            continue;
        last = g->grant.ctx.grant;
        rc = granting_add(o, &keys, &g->grant, &d);
    }
    if (rc < 0)
        return rc;
    *out_any = d.count > 0;
    if (d.count == 0)
        return 0;
    rc = draft_submit(&d, o, NULL);
    if (rc == PHR_E_CARD || rc == PHR_E_EXPIRED) { /* EPOCH-5 */
        o->client->why[0] = '\0';
        rc = skips->is_one_by_one ? skip(skips, &last) : 0;
        skips->is_one_by_one = true;
        return rc;
    }
    if (rc == 0)
        client_progress(o->client, "grants", 0, 0);
    return rc;
}

/* ---- headers ---- */

static int rewrap(struct phr_owner *o, const struct replica_header *from,
                  const struct compartment *was, const struct compartment *now,
                  struct draft *d)
{
    scoped(secret_free) struct symkey *kek = secret_alloc(sizeof *kek);
    scoped(writer_fini) struct writer out;
    struct file_ctx ctx = { .class_ctx = now->ctx,
                            .file = from->ctx.file,
                            .hdr_gen = from->ctx.hdr_gen + 1 };
    struct header_change change = { .file = ctx.file, .hdr_gen = ctx.hdr_gen };
    struct file_key keys[FK_COUNT_MAX];
    struct header h;
    struct capsule capsule;
    struct digest commit;
    size_t count = 0;
    int rc = kek ? header_decode(from->bytes, &h) : -ENOMEM;

    writer_init(&out);
    if (rc == 0)
        rc = pre_owner_decaps(was->a, &h.ctx, &h.capsule, &h.commit, kek);
    if (rc == 0)
        rc = header_open_sealed(&h, kek, keys, &count);
    if (rc < 0)
        return client_fail(o->client, rc,
                           "a file's header does not open with the owner's key: %s",
                           phr_err_text(rc));
    rc = pre_encaps(&now->a_pub, &ctx, &capsule, kek, &commit);
    if (rc == 0)
        rc = header_seal(h.suite, &ctx, &capsule, kek, &commit, keys, count, &out);
    file_keys_free(keys, count);
    if (rc < 0)
        return rc;
    change.header = writer_done(&out);
    header_change_encode(&change, draft_add(d, CHANGE_HEADER));
    return 0;
}

static bool is_left(const struct replica_header *h, const struct class_ctx *newest)
{
    return h->bytes.n > 0 && is_of(&h->ctx.class_ctx, &newest->class_id) &&
           h->ctx.class_ctx.epoch < newest->epoch;
}

static void count_headers(const struct replica *r, const struct class_ctx *newest,
                          uint64_t *out_left, uint64_t *out_all)
{
    const struct replica_header *h;

    *out_left = 0;
    *out_all = 0;
    for (size_t i = 0; (h = replica_get_header(r, i)) != NULL; i++) {
        if (h->bytes.n == 0 || !is_of(&h->ctx.class_ctx, &newest->class_id))
            continue;
        *out_all += 1;
        *out_left += is_left(h, newest);
    }
}

static int push_headers(struct phr_owner *o, const struct replica_class *newest,
                        uint64_t *out_count)
{
    scoped(compartment_fini) struct compartment now = { 0 };
    scoped(compartment_fini) struct compartment was = { 0 };
    scoped(draft_fini) struct draft d = { 0 };
    const struct class_ctx ctx = newest->ctx;
    const struct replica_header *h;
    uint64_t left;
    uint64_t all;
    int rc = owner_open_epoch(o, &ctx, &now);

    if (rc == 0)
        rc = draft_init(&d, &ctx);
    for (size_t i = 0; rc == 0 && d.count < HEADERS_PER_OP &&
                       (h = replica_get_header(o->replica, i)) != NULL;
         i++) {
        if (!is_left(h, &ctx))
            continue;
        if (!was.a || !class_ctx_equal(&was.ctx, &h->ctx.class_ctx)) {
            compartment_fini(&was);
            rc = owner_open_epoch(o, &h->ctx.class_ctx, &was);
        }
        if (rc == 0)
            rc = rewrap(o, h, &was, &now, &d);
    }
    *out_count = d.count;
    if (rc < 0 || d.count == 0)
        return rc;
    rc = draft_submit(&d, o, NULL);
    if (rc < 0)
        return rc;
    count_headers(o->replica, &ctx, &left, &all);
    client_progress(o->client, "headers", all - left, all);
    return 0;
}

/* ---- retire-epoch ---- */

static int push_retire(struct phr_owner *o, const struct class_ctx *newest,
                       const struct class_ctx *old)
{
    scoped(draft_fini) struct draft d = { 0 };
    uint8_t body[CLASS_CTX_BYTES];
    int rc = draft_init(&d, newest);

    if (rc < 0)
        return rc;
    class_ctx_encode(old, body);
    writer_bytes(draft_add(&d, CHANGE_RETIRE_EPOCH), body, sizeof body);
    rc = draft_submit(&d, o, NULL);
    if (rc == 0)
        client_progress(o->client, "retire-epoch", 0, 0);
    return rc;
}

/* One step; *out_any is false when nothing was left to do. */
static int step(struct phr_owner *o, const struct id16 *class_id, struct skips *skips,
                struct epoch_done *done, bool *out_any)
{
    const struct replica_class *newest = replica_find_class(o->replica, class_id);
    const struct replica_class *old;
    struct class_ctx ctx;
    struct class_ctx old_ctx;
    uint64_t headers = 0;
    int rc;

    *out_any = true;
    if (!newest)
        return PHR_E_UNKNOWN_ID;
    ctx = newest->ctx; /* a refresh moves what newest points to */
    if (needs_epoch(o->replica, newest)) {
        if (newest->state != LEDGER_EPOCH_HELD)
            return push_begin(o, &ctx);
        rc = push_epoch(o, &ctx);
        done->class_count += rc == 0;
        return rc;
    }
    old = find_old(o->replica, class_id);
    if (!old) {
        *out_any = false;
        return 0;
    }
    old_ctx = old->ctx;
    rc = push_grants(o, newest, skips, out_any);
    if (rc < 0 || *out_any)
        return rc;
    *out_any = true;
    newest = replica_find_class(o->replica, class_id);
    rc = push_headers(o, newest, &headers);
    if (rc == 0)
        done->header_count += headers;
    if (rc < 0 || headers > 0)
        return rc;
    return push_retire(o, &ctx, &old_ctx);
}

int epoch_finish(struct phr_owner *o, const struct id16 *class_id,
                 struct epoch_done *out_done)
{
    struct epoch_done none = { 0 };
    struct epoch_done *done = out_done ? out_done : &none;
    struct skips skips = { 0 };
    unsigned stale_count = 0;
    bool any = true;
    int rc = 0;

    while (any && (rc == 0 || rc == PHR_E_STALE) && stale_count < OWNER_TRIES_MAX) {
        rc = step(o, class_id, &skips, done, &any);
        stale_count = rc == PHR_E_STALE ? stale_count + 1 : 0;
    }
    free(skips.grants);
    if (rc < 0 && !o->client->why[0])
        return client_fail_plain(o->client, rc, "changing the compartment's key");
    return rc;
}

int epoch_finish_all(struct phr_owner *o, struct epoch_done *out_done)
{
    const struct replica_class *c;
    int rc = 0;

    for (size_t i = 0; rc == 0 && (c = replica_get_class(o->replica, i)) != NULL; i++) {
        const struct id16 class_id = c->ctx.class_id;

        if (epoch_is_unfinished(o->replica, &class_id))
            rc = epoch_finish(o, &class_id, out_done);
    }
    return rc;
}
