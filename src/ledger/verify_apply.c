#include "ledger/verify_apply.h"

#include "base/checked.h"
#include "format/header.h"

/* A row that is placed in a held class ends its hold (VERIFY-3). */
static int end_hold(const struct ledger_state *s, struct verify_place *place)
{
    struct ledger_class found;
    int rc;

    if (place->is_hold_seen)
        return 0;
    rc = s->get_class(s->user, &place->ctx, &found);
    if (rc == 0 && found.state == LEDGER_EPOCH_HELD)
        rc = s->put_epoch_state(s->user, &place->ctx, LEDGER_EPOCH_CURRENT, place->now_s);
    place->is_hold_seen = rc == 0;
    return rc;
}

static int apply_card_pin(const struct ledger_state *s, struct verify_place *place,
                          struct view body)
{
    struct card card;
    int rc = card_decode(body, &card);

    return rc < 0 ? rc : s->put_card(s->user, &place->ctx.patient, &card, body);
}

static int apply_class_record(const struct ledger_state *s, struct verify_place *place,
                              struct view body)
{
    struct class_record record;
    int rc = class_record_decode(body, &record);

    if (rc < 0)
        return rc;
    place->ctx = record.ctx;
    place->is_hold_seen = true; /* a new class is not held */
    return s->put_class(s->user, &record, body);
}

static int apply_grant(const struct ledger_state *s, struct verify_place *place,
                       struct view body)
{
    struct grant g;
    int rc = grant_decode(body, &g);

    (void)place;
    return rc < 0 ? rc : s->put_grant(s->user, &g, body);
}

static int apply_revoke(const struct ledger_state *s, struct verify_place *place,
                        struct view body)
{
    struct revoke revoke;
    int rc = revoke_decode(body, &revoke);

    return rc < 0 ? rc : s->put_revoke(s->user, &place->ctx.patient, &revoke);
}

static int apply_epoch_begin(const struct ledger_state *s, struct verify_place *place,
                             struct view body)
{
    struct class_ctx ctx;
    int rc = class_ctx_body_decode(body, &ctx);

    return rc < 0 ? rc
                  : s->put_epoch_state(s->user, &ctx, LEDGER_EPOCH_HELD, place->now_s);
}

static int apply_retire_epoch(const struct ledger_state *s, struct verify_place *place,
                              struct view body)
{
    struct class_ctx ctx;
    int rc = class_ctx_body_decode(body, &ctx);

    return rc < 0 ? rc
                  : s->put_epoch_state(s->user, &ctx, LEDGER_EPOCH_RETIRED, place->now_s);
}

static int put_header(const struct ledger_state *s, struct view bytes)
{
    struct digest hash;
    struct header h;
    int rc = header_decode(bytes, &h);

    if (rc < 0)
        return rc;
    hash = header_digest(bytes);
    return s->put_header(s->user, &h.ctx, &hash, bytes);
}

/* The rows come last: only they may be PENDING, and then the whole entry is offered again. */
static int apply_epoch(const struct ledger_state *s, struct verify_place *place,
                       struct view body)
{
    struct class_record record;
    struct epoch_change epoch;
    struct class_ctx before;
    int rc = epoch_decode(body, &epoch);

    if (rc == 0)
        rc = class_record_decode(epoch.class_record, &record);
    if (rc < 0)
        return rc;
    before = record.ctx;
    before.epoch--;
    rc = s->put_epoch_state(s->user, &before, LEDGER_EPOCH_OLD, place->now_s);
    if (rc == 0)
        rc = s->put_class(s->user, &record, epoch.class_record);
    if (rc == 0)
        rc = put_header(s, epoch.names_header);
    if (rc == 0)
        rc = s->put_epoch_rows(s->user, &record.ctx, &epoch.object_id);
    return rc;
}

static int apply_header(const struct ledger_state *s, struct verify_place *place,
                        struct view body)
{
    struct header_change change;
    int rc = header_change_decode(body, &change);

    if (rc == 0)
        rc = end_hold(s, place);
    return rc < 0 ? rc : put_header(s, change.header);
}

static int apply_inode(const struct ledger_state *s, struct verify_place *place,
                       struct view body)
{
    int rc = end_hold(s, place);

    return rc < 0 ? rc : s->put_inode(s->user, &place->ctx, body);
}

static int apply_dentry(const struct ledger_state *s, struct verify_place *place,
                        struct view body)
{
    int rc = end_hold(s, place);

    return rc < 0 ? rc : s->put_dentry(s->user, &place->ctx, body);
}

static int apply_remove(const struct ledger_state *s, struct verify_place *place,
                        struct view body)
{
    struct remove_change change;
    int rc = remove_decode(body, &change);

    if (rc == 0)
        rc = end_hold(s, place);
    return rc < 0 ? rc : s->put_remove(s->user, &place->ctx, &change.row);
}

static int apply_seal(const struct ledger_state *s, struct verify_place *place,
                      struct view body)
{
    struct seal_change seal;
    int rc = seal_decode(body, &seal);

    if (rc == 0)
        rc = end_hold(s, place);
    return rc < 0 ? rc : s->put_seal(s->user, &place->ctx, &seal);
}

/* A snapshot is a copy of what the state holds already: where it lies is the store's business. */
static int apply_snapshot(const struct ledger_state *s, struct verify_place *place,
                          struct view body)
{
    (void)s;
    (void)place;
    (void)body;
    return 0;
}

static int (*const appliers[CHANGE_LAST + 1])(const struct ledger_state *s,
                                              struct verify_place *place,
                                              struct view body) = {
    [CHANGE_CLASS_RECORD] = apply_class_record,
    [CHANGE_GRANT] = apply_grant,
    [CHANGE_REVOKE] = apply_revoke,
    [CHANGE_EPOCH_BEGIN] = apply_epoch_begin,
    [CHANGE_EPOCH] = apply_epoch,
    [CHANGE_RETIRE_EPOCH] = apply_retire_epoch,
    [CHANGE_HEADER] = apply_header,
    [CHANGE_INODE] = apply_inode,
    [CHANGE_DENTRY] = apply_dentry,
    [CHANGE_REMOVE] = apply_remove,
    [CHANGE_SEAL] = apply_seal,
    [CHANGE_SNAPSHOT] = apply_snapshot,
    [CHANGE_CARD_PIN] = apply_card_pin,
};

int verify_apply_change(const struct ledger_state *s, struct verify_place *place,
                        const struct change *c)
{
    INVARIANT(c->type >= CHANGE_CLASS_RECORD && c->type <= CHANGE_LAST &&
              appliers[c->type]);
    return appliers[c->type](s, place, c->body);
}
