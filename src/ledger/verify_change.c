/*
 * VERIFY-1: whoever is not the owner changes rows, seals and headers of files only, in a class-epoch
 *   for which the chain holds a live rw grant to his card. The header of the names key is the
 *   owner's: another one in its place would take all names from everybody.
 * VERIFY-2: rows, headers and seals change in the current epoch only. What comes for an older one
 *   is STALE: its writer signs anew under the new keys.
 * VERIFY-3: a hold (epoch-begin) keeps rows of its class away for HOLD_S at most, and an epoch
 *   change fits only while its hold stands. The first row that is placed after the time ends
 *   the hold in the state, so every verifier sees the same by position.
 * VERIFY-4: an epoch change replaces all rows of its class, so in one op no row stands beside it.
 */
#include "ledger/verify_change.h"

#include "base/checked.h"
#include "crypto/digest.h"
#include "crypto/pre_proxy.h"
#include "format/header.h"
#include "format/row.h"

enum { HOLD_S = 60, VERSION_FIRST = 1, HDR_GEN_FIRST = 1 };

static int is_none(int rc)
{
    return rc == -ENOENT;
}

/* The class is there and writable for this writer: once per running class. */
static int check_write(struct verify_scope *v)
{
    struct ledger_class found;
    uint32_t current;
    int rc;

    if (!v->has_class || v->has_epoch)
        return PHR_E_FORMAT;
    v->has_rows = true;
    if (v->may_write)
        return 0;
    rc = v->s->get_epoch_current(v->s->user, &v->ctx.patient, &v->ctx.class_id, &current);
    if (rc < 0)
        return is_none(rc) ? PHR_E_RIGHTS : rc;
    if (current != v->ctx.epoch)
        return PHR_E_STALE; /* VERIFY-2 */
    rc = v->s->get_class(v->s->user, &v->ctx, &found);
    if (rc < 0)
        return rc;
    if (!v->is_owner) {
        rc = v->s->find_write_grant(v->s->user, &v->ctx, &v->op->writer,
                                    &v->op->writer_card);
        if (rc < 0)
            return is_none(rc) ? PHR_E_RIGHTS : rc;
    }
    if (found.state == LEDGER_EPOCH_HELD && !v->ignores_hold &&
        v->now_s < found.held_since_s + HOLD_S)
        return PHR_E_EPOCH_HELD;
    v->may_write = true;
    return 0;
}

/* ---- what the owner alone may change ---- */

static int check_card_pin(struct verify_scope *v, struct view body)
{
    struct card card;
    struct id16 id;
    int rc = card_check(body, &v->anchor->authority, &card);

    if (rc < 0)
        return rc;
    id = patient_id(&card.ed);
    if ((card.role == CARD_OWNER) != id_equal(&id, &card.user))
        return PHR_E_CARD;
    if (id_equal(&card.user, &v->op->patient) && card.role != CARD_OWNER)
        return PHR_E_CARD;
    return 0;
}

static int check_class_record(struct verify_scope *v, struct view body)
{
    struct class_record record;
    uint32_t current;
    int rc = class_record_decode(body, &record);

    if (rc < 0)
        return rc;
    if (!id_equal(&record.ctx.patient, &v->op->patient) ||
        id_is_zero(&record.ctx.class_id))
        return PHR_E_FORMAT;
    rc = pre_point_check(&record.a);
    if (rc < 0)
        return rc;
    rc = v->s->get_epoch_current(v->s->user, &record.ctx.patient, &record.ctx.class_id,
                                 &current);
    if (rc == 0)
        return PHR_E_STALE; /* a further epoch comes by an epoch change only */
    if (!is_none(rc))
        return rc;
    v->ctx = record.ctx;
    v->has_class = true;
    v->may_write = false;
    return 0;
}

static int check_grant(struct verify_scope *v, struct view body)
{
    struct ledger_class found;
    struct grant g;
    struct grant known;
    struct card card;
    bool is_revoked;
    int rc = grant_check(body, &v->owner, &g);

    if (rc < 0)
        return rc;
    if (!id_equal(&g.ctx.class_ctx.patient, &v->op->patient))
        return PHR_E_FORMAT;
    rc = v->s->get_class(v->s->user, &g.ctx.class_ctx, &found);
    if (rc < 0)
        return is_none(rc) ? PHR_E_STALE : rc;
    if (found.state == LEDGER_EPOCH_RETIRED)
        return PHR_E_STALE;
    if (!view_equal(view_of(found.a.b, sizeof found.a.b), view_of(g.a.b, sizeof g.a.b)))
        return PHR_E_POINT;
    rc = v->s->get_card(v->s->user, &v->op->patient, &g.ctx.reader, &card);
    if (rc < 0)
        return is_none(rc) ? PHR_E_CARD : rc;
    if (!digest_equal(&card.hash, &g.ctx.reader_card) ||
        !view_equal(view_of(card.b.b, sizeof card.b.b), view_of(g.b.b, sizeof g.b.b)))
        return PHR_E_CARD;
    rc = pre_point_check(&g.x);
    if (rc == 0)
        rc = pre_point_check(&g.r);
    if (rc < 0)
        return rc;
    rc = v->s->get_grant(v->s->user, &v->op->patient, &g.ctx.grant, &known, &is_revoked);
    if (is_none(rc))
        return 0;
    return rc < 0 ? rc : PHR_E_STALE;
}

/* Revoking twice is harmless and must not fail: nobody should have to find out which came first. */
static int check_revoke(struct verify_scope *v, struct view body)
{
    struct revoke revoke;
    struct grant g;
    bool is_revoked;
    int rc = revoke_decode(body, &revoke);

    if (rc < 0)
        return rc;
    rc = v->s->get_grant(v->s->user, &v->op->patient, &revoke.grant, &g, &is_revoked);
    return is_none(rc) ? PHR_E_STALE : rc;
}

static int find_own_class(const struct verify_scope *v, const struct class_ctx *ctx,
                          struct ledger_class *out_class)
{
    int rc;

    if (!id_equal(&ctx->patient, &v->op->patient))
        return PHR_E_FORMAT;
    rc = v->s->get_class(v->s->user, ctx, out_class);
    return is_none(rc) ? PHR_E_STALE : rc;
}

static int check_epoch_begin(struct verify_scope *v, struct view body)
{
    struct ledger_class found;
    struct class_ctx ctx;
    int rc = class_ctx_body_decode(body, &ctx);

    if (rc == 0)
        rc = find_own_class(v, &ctx, &found);
    if (rc < 0)
        return rc;
    return found.state == LEDGER_EPOCH_CURRENT || found.state == LEDGER_EPOCH_HELD
               ? 0
               : PHR_E_STALE;
}

static int check_retire_epoch(struct verify_scope *v, struct view body)
{
    struct ledger_class found;
    struct class_ctx ctx;
    int rc = class_ctx_body_decode(body, &ctx);

    if (rc == 0)
        rc = find_own_class(v, &ctx, &found);
    if (rc < 0)
        return rc;
    return found.state == LEDGER_EPOCH_OLD ? 0 : PHR_E_STALE;
}

static int check_capsule(const struct verify_scope *v, const struct header *h,
                         const struct point *a)
{
    return v->is_vouched ? 0 : pre_check_capsule(&h->capsule, a, &h->ctx);
}

static int check_epoch(struct verify_scope *v, struct view body)
{
    static const struct digest none;
    struct class_record record;
    struct epoch_change epoch;
    struct ledger_class found;
    struct class_ctx before;
    struct header names;
    int rc = epoch_decode(body, &epoch);

    if (rc == 0)
        rc = class_record_decode(epoch.class_record, &record);
    if (rc == 0)
        rc = header_decode(epoch.names_header, &names);
    if (rc < 0)
        return rc;
    if (v->has_rows || v->has_epoch || record.ctx.epoch == 0 ||
        digest_equal(&epoch.object_id, &none) ||
        !class_ctx_equal(&names.ctx.class_ctx, &record.ctx) ||
        !id_equal(&names.ctx.file, &record.ctx.class_id) ||
        names.ctx.hdr_gen < HDR_GEN_FIRST)
        return PHR_E_FORMAT; /* VERIFY-4 */
    before = record.ctx;
    before.epoch--;
    rc = find_own_class(v, &before, &found);
    if (rc < 0)
        return rc;
    if (found.state != LEDGER_EPOCH_HELD)
        return PHR_E_STALE; /* VERIFY-3 */
    rc = pre_point_check(&record.a);
    if (rc < 0)
        return rc;
    v->has_epoch = true;
    v->may_write = false;
    return check_capsule(v, &names, &record.a);
}

static int check_snapshot(struct verify_scope *v, struct view body)
{
    struct digest object;

    (void)v;
    return snapshot_ref_decode(body, &object);
}

/* ---- what a writer may change ---- */

static int check_header(struct verify_scope *v, struct view body)
{
    struct header_change change;
    struct ledger_header known = { 0 };
    struct ledger_class found;
    struct header h;
    uint32_t gen_before = HDR_GEN_FIRST - 1;
    int rc = header_change_decode(body, &change);

    if (rc == 0)
        rc = header_decode(change.header, &h);
    if (rc == 0)
        rc = check_write(v);
    if (rc < 0)
        return rc;
    if (!class_ctx_equal(&h.ctx.class_ctx, &v->ctx) ||
        !id_equal(&h.ctx.file, &change.file) || h.ctx.hdr_gen != change.hdr_gen)
        return PHR_E_FORMAT;
    if (!v->is_owner && id_equal(&change.file, &v->ctx.class_id))
        return PHR_E_RIGHTS; /* VERIFY-1 */
    rc = v->s->get_header(v->s->user, &v->op->patient, &change.file, &known);
    if (rc < 0 && !is_none(rc))
        return rc;
    if (rc == 0) {
        if (!id_equal(&known.ctx.class_ctx.class_id, &v->ctx.class_id))
            return PHR_E_RIGHTS;
        gen_before = known.ctx.hdr_gen;
    }
    if (change.hdr_gen == 0 || change.hdr_gen - 1 != gen_before)
        return PHR_E_STALE;
    rc = v->s->get_class(v->s->user, &v->ctx, &found);
    return rc < 0 ? rc : check_capsule(v, &h, &found.a);
}

static int check_row(struct verify_scope *v, enum ledger_row_kind kind,
                     const struct id16 *id, uint64_t version)
{
    struct ledger_row known;
    int rc = check_write(v);

    if (rc < 0)
        return rc;
    rc = v->s->get_row(v->s->user, &v->op->patient, id, &known);
    if (is_none(rc))
        return version == VERSION_FIRST ? 0 : PHR_E_STALE;
    if (rc < 0)
        return rc;
    if (!id_equal(&known.class_id, &v->ctx.class_id))
        return PHR_E_RIGHTS;
    if (known.kind != kind)
        return PHR_E_FORMAT;
    return version > 0 && version - 1 == known.version ? 0 : PHR_E_STALE;
}

static int check_inode(struct verify_scope *v, struct view body)
{
    struct inode_row row;
    int rc = inode_row_decode(body, &row);

    return rc < 0 ? rc : check_row(v, LEDGER_ROW_INODE, &row.ino, row.version);
}

static int check_dentry(struct verify_scope *v, struct view body)
{
    struct dentry_row row;
    struct id16 other;
    int rc = dentry_row_decode(body, &row);

    if (rc == 0)
        rc = check_row(v, LEDGER_ROW_DENTRY, &row.row, row.version);
    if (rc < 0)
        return rc;
    rc = v->s->find_name(v->s->user, &v->op->patient, &row.parent, &row.tag, &other);
    if (is_none(rc))
        return 0;
    if (rc < 0)
        return rc;
    return id_equal(&other, &row.row) ? 0 : PHR_E_STALE;
}

static int check_remove(struct verify_scope *v, struct view body)
{
    struct remove_change change;
    struct ledger_row known;
    int rc = remove_decode(body, &change);

    if (rc == 0)
        rc = check_write(v);
    if (rc < 0)
        return rc;
    if (id_equal(&change.row, &v->ctx.class_id))
        return PHR_E_RIGHTS; /* the root stays as long as its compartment */
    rc = v->s->get_row(v->s->user, &v->op->patient, &change.row, &known);
    if (rc < 0)
        return is_none(rc) ? PHR_E_STALE : rc;
    if (!id_equal(&known.class_id, &v->ctx.class_id))
        return PHR_E_RIGHTS;
    return change.version == known.version ? 0 : PHR_E_STALE;
}

static int check_seal(struct verify_scope *v, struct view body)
{
    static const struct digest none;
    struct seal_change seal;
    struct ledger_header header;
    struct ledger_row row;
    uint64_t last = 0;
    int rc = seal_decode(body, &seal);

    if (rc == 0)
        rc = check_write(v);
    if (rc < 0)
        return rc;
    if ((seal.segment_count == 0) != digest_equal(&seal.manifest_object, &none))
        return PHR_E_FORMAT;
    rc = v->s->get_row(v->s->user, &v->op->patient, &seal.file, &row);
    if (rc < 0)
        return is_none(rc) ? PHR_E_STALE : rc;
    if (row.kind != LEDGER_ROW_INODE || !id_equal(&row.class_id, &v->ctx.class_id))
        return PHR_E_RIGHTS;
    rc = v->s->get_header(v->s->user, &v->op->patient, &seal.file, &header);
    if (rc < 0)
        return is_none(rc) ? PHR_E_STALE : rc;
    if (!digest_equal(&header.hash, &seal.header))
        return PHR_E_STALE;
    rc = v->s->get_content_version(v->s->user, &v->op->patient, &seal.file, &last);
    if (rc < 0 && !is_none(rc))
        return rc;
    return seal.base_version == last && seal.content_version > last ? 0 : PHR_E_STALE;
}

/* In the order of enum change_type; break-glass and guest-share have no body in this version. */
static const struct {
    int (*check)(struct verify_scope *v, struct view body);
    bool is_owners;
} changes[CHANGE_LAST + 1] = {
    [CHANGE_CLASS_RECORD] = { check_class_record, true },
    [CHANGE_GRANT] = { check_grant, true },
    [CHANGE_REVOKE] = { check_revoke, true },
    [CHANGE_EPOCH_BEGIN] = { check_epoch_begin, true },
    [CHANGE_EPOCH] = { check_epoch, true },
    [CHANGE_RETIRE_EPOCH] = { check_retire_epoch, true },
    [CHANGE_HEADER] = { check_header, false },
    [CHANGE_INODE] = { check_inode, false },
    [CHANGE_DENTRY] = { check_dentry, false },
    [CHANGE_REMOVE] = { check_remove, false },
    [CHANGE_SEAL] = { check_seal, false },
    [CHANGE_SNAPSHOT] = { check_snapshot, true },
    [CHANGE_CARD_PIN] = { check_card_pin, true },
};

int verify_change_check(struct verify_scope *v, const struct change *c)
{
    if (c->type < CHANGE_CLASS_RECORD || c->type > CHANGE_LAST || !changes[c->type].check)
        return PHR_E_FORMAT;
    if (changes[c->type].is_owners && !v->is_owner)
        return PHR_E_RIGHTS; /* VERIFY-1 */
    return changes[c->type].check(v, c->body);
}

/* ---- when the whole op stands ---- */

/* Ids alone tell nothing about folders: the attributes are sealed. So any live inode will do. */
static int check_inode_lives(const struct verify_scope *v, const struct id16 *ino)
{
    struct ledger_row row;
    int rc = v->s->get_row(v->s->user, &v->op->patient, ino, &row);

    if (rc < 0)
        return is_none(rc) ? PHR_E_STALE : rc;
    if (row.kind != LEDGER_ROW_INODE || !id_equal(&row.class_id, &v->ctx.class_id))
        return PHR_E_RIGHTS;
    return 0;
}

static int close_dentry(const struct verify_scope *v, struct view body)
{
    struct dentry_row row;
    struct ledger_row now;
    int rc = dentry_row_decode(body, &row);

    if (rc < 0)
        return rc;
    rc = v->s->get_row(v->s->user, &v->op->patient, &row.row, &now);
    if (is_none(rc))
        return 0; /* removed again by the same op */
    return rc < 0 ? rc : check_inode_lives(v, &now.parent);
}

/* Not every state can count; the SRS can, and it places the ops. */
static int close_remove(const struct verify_scope *v, struct view body)
{
    struct remove_change change;
    uint64_t count = 0;
    int rc = remove_decode(body, &change);

    if (rc < 0 || !v->s->count_children)
        return rc;
    rc = v->s->count_children(v->s->user, &v->op->patient, &change.row, &count);
    if (rc < 0)
        return rc;
    return count == 0 ? 0 : PHR_E_STALE;
}

static int close_header(const struct verify_scope *v, struct view body)
{
    struct header_change change;
    int rc = header_change_decode(body, &change);

    return rc < 0 ? rc : check_inode_lives(v, &change.file);
}

int verify_change_close(const struct verify_scope *v, const struct change *c)
{
    /* A patient-wide op may hold several classes: only its last is the running one. */
    const bool is_one_class = !id_is_zero(&v->op->class_id);

    if (c->type == CHANGE_DENTRY && is_one_class)
        return close_dentry(v, c->body);
    if (c->type == CHANGE_HEADER && is_one_class)
        return close_header(v, c->body);
    return c->type == CHANGE_REMOVE ? close_remove(v, c->body) : 0;
}
