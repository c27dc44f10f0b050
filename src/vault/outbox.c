/*
 * The outbox.
 *
 * OUTBOX-1  An op is signed once, by its writer, and leaves only when it came back in a verified entry
 *           (S-2), or when a rebase makes it anew. A seal is signed in the transaction of its
 *           change; metadata waits as drafts, and is signed before a push (opdraft.c).
 * OUTBOX-2  Numbers of a lane rise and are never used twice on this host, also after a rebase
 *           or a lost database (nsdb_op_n_load looks at all who know).
 * OUTBOX-3  Metadata ops of one patient leave in the order in which they were made, seals behind
 *           them, and no seal overtakes a draft whose writer can sign it; a seal waits for its
 *           objects and holds nobody up.
 * OUTBOX-4  A seal leaves only when the transaction that made or renewed it is on disk: else a
 *           power cut leaves a ledger that has what this host takes for another's change.
 *
 *   draft ──(signed, with others)──► ready
 *   held ──(objects stored)──► ready ──(pushed, entry applied)──► gone
 *                                └──(refused for ever)──► parked, shown in status
 */
#include "vault/outbox.h"

#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "crypto/digest.h"
#include "format/header.h"
#include "vault/names.h"
#include "vault/nsdb_ledger.h"
#include "vault/nsdb_opdraft.h"
#include "vault/opdraft.h"
#include "vault/spool.h"
#include "vault/worker.h"

enum { PUSH_OPS_MAX = 128, PUSH_BYTES_MAX = 1024 * 1024, PUSH_CHANGES_MAX = 256 };

static int sign_op(struct vault *v, struct identity *id, const struct class_ctx *ctx, uint64_t n,
                   const struct change *changes, size_t count, struct writer *bytes,
                   struct outbox_row *row)
{
    struct op op = {
        .patient = ctx->patient, .class_id = ctx->class_id, .epoch = ctx->epoch, .host = v->host,
        .n = n, .time_s = clock_realtime_s(), .writer = id->user, .writer_card = id->card.hash,
        .count = (uint16_t)count
    };
    struct change copy[OP_CHANGES_MAX];
    uint64_t seq;
    int rc;

    INVARIANT(count > 0 && count <= OP_CHANGES_MAX);
    memcpy(copy, changes, count * sizeof *changes);
    op.changes = copy;
    rc = nsdb_patient_get(v->db, &ctx->patient, &seq, &op.base_leaf);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    rc = op_encode(&op, bytes);
    if (rc < 0)
        return rc;
    row->patient = ctx->patient;
    row->class_id = ctx->class_id;
    row->writer = id->user;
    row->n = n;
    row->created_ms = clock_boottime_ms();
    row->op = writer_done(bytes);
    row->hash = digest_sha256(row->op);
    row->sig = op_sign(row->op, id->sign);
    return 0;
}

int outbox_add(struct vault *v, struct identity *id, const struct class_ctx *ctx, enum op_lane lane,
               enum outbox_state state, const struct change *changes, size_t count,
               uint64_t *out_rowid)
{
    scoped(writer_fini) struct writer bytes = { 0 };
    struct outbox_row row = { .lane = lane, .state = state };
    int rc;

    INVARIANT(nsdb_is_in_tx(v->db));
    writer_init(&bytes);
    rc = sign_op(v, id, ctx, ++id->op_n[lane], changes, count, &bytes, &row);
    if (rc == 0)
        rc = nsdb_outbox_add(v->db, &row);
    if (rc == 0)
        *out_rowid = row.id;
    return rc;
}

static int seal_changes(const struct seal_change *seals, size_t count, struct writer *bodies,
                        struct change *out_changes)
{
    size_t at[OP_CHANGES_MAX + 1] = { 0 };

    for (size_t i = 0; i < count; i++) {
        seal_encode(&seals[i], bodies);
        at[i + 1] = bodies->n;
    }
    if (!writer_ok(bodies))
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        out_changes[i] = (struct change){ CHANGE_SEAL, view_of(bodies->p + at[i], at[i + 1] - at[i]) };
    return 0;
}

/* Sizes and times of sealed files go to the other hosts with their inodes. */
static int note_sealed(struct vault *v, const struct identity *id, const struct class_ctx *ctx,
                       const struct seal_change *seal)
{
    struct name_inode inode;
    struct nsdb_stmt s;
    char program[32];
    struct event e;

    if (nsdb_inode_find(v->db, &seal->file, &s, &inode) == 0) {
        nsdb_end(&s);
        touch_set(v, inode.nodeid, TOUCH_CONTENT, &id->user);
    }
    spool_event_init(v, &e, EVENT_WRITE, NULL, NULL, program);
    e.user = id->user;
    e.card = id->card.hash;
    e.patient = ctx->patient;
    e.class_id = ctx->class_id;
    e.file = seal->file;
    return spool_event_tx(v->spool, &e);
}

int outbox_add_seals(struct vault *v, const struct id16 *writer, const struct class_ctx *ctx,
                     const struct seal_change *seals, size_t count, uint64_t *out_op_rowid)
{
    scoped(writer_fini) struct writer bodies = { 0 };
    struct change changes[OP_CHANGES_MAX];
    struct class_ctx current;
    struct identity *id;
    int rc;

    if (count == 0 || count > OP_CHANGES_MAX)
        return PHR_E_LIMIT;
    rc = session_signer(v, writer, &id);
    if (rc == 0)
        rc = nsdb_class_current(v->db, &ctx->class_id, &current);
    if (rc < 0)
        return rc;
    writer_init(&bodies);
    rc = seal_changes(seals, count, &bodies, changes);
    if (rc == 0)
        rc = outbox_add(v, id, &current, OP_LANE_SEAL, OUTBOX_HELD, changes, count, out_op_rowid);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = note_sealed(v, id, &current, &seals[i]);
    return rc;
}

int outbox_release(struct vault *v, uint64_t op_rowid)
{
    struct outbox_row row;
    struct nsdb_stmt s;
    int rc = nsdb_outbox_get(v->db, op_rowid, &s, &row);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc; /* it came back already */
    nsdb_end(&s);
    if (row.state != OUTBOX_HELD)
        return 0;
    rc = nsdb_outbox_set_state(v->db, op_rowid, OUTBOX_READY, 0);
    if (rc == 0)
        worker_push_now(v);
    return rc;
}

/* The header that the ledger (or our own pending change) has now. */
static void refresh_header(struct vault *v, struct seal_change *seal)
{
    struct name_header row;
    struct nsdb_stmt s;

    if (nsdb_header_get(v->db, &seal->file, &s, &row) < 0)
        return;
    seal->header = header_digest(row.bytes);
    nsdb_end(&s);
}

static bool seals_file(struct view bytes, const struct id16 *file)
{
    struct op op;
    bool found = false;

    if (op_decode(bytes, &op) < 0)
        return false;
    for (size_t i = 0; i < op.count && !found; i++) {
        struct seal_change seal;

        found = op.changes[i].type == CHANGE_SEAL && seal_decode(op.changes[i].body, &seal) == 0 &&
                id_equal(&seal.file, file);
    }
    op_fini(&op);
    return found;
}

/* The file is there, and nobody else has sealed it since. */
static bool still_fits(struct vault *v, const struct seal_change *seal)
{
    struct name_inode inode;
    struct nsdb_stmt s;
    uint64_t last = 0;
    int rc = nsdb_seal_get(v->db, &seal->file, &last);

    if ((rc < 0 && rc != -ENOENT) || last != seal->base_version ||
        nsdb_inode_find(v->db, &seal->file, &s, &inode) < 0)
        return false;
    nsdb_end(&s);
    return !inode.is_gone;
}

/* Its header waits to be made anew: under the one that is there the contents would be read with other keys. */
static int look_for_parked(struct vault *v, const struct id16 *file)
{
    bool is_parked = false;
    int rc = nsdb_parked_has(v->db, SHADOW_HEADER, file, &is_parked);

    return rc < 0 ? rc : is_parked ? PHR_E_LOCKED : 0;
}

static int give_up(struct vault *v, uint64_t rowid)
{
    int rc = nsdb_outbox_delete(v->db, rowid);

    return rc < 0 ? rc : nsdb_outbox_drop_objects(v->db, rowid);
}

int outbox_renew_seals(struct vault *v, uint64_t rowid, const struct id16 *without)
{
    size_t fitting = 0;
    scoped(writer_fini) struct writer old = { 0 };
    scoped(writer_fini) struct writer bodies = { 0 };
    scoped(writer_fini) struct writer bytes = { 0 };
    struct seal_change *seals = NULL;
    struct change changes[OP_CHANGES_MAX];
    struct class_ctx current;
    struct outbox_row row;
    struct identity *id;
    struct nsdb_stmt s;
    struct op op;
    int rc = nsdb_outbox_get(v->db, rowid, &s, &row);

    if (rc < 0)
        return rc;
    writer_init(&old);
    writer_init(&bodies);
    writer_init(&bytes);
    writer_view(&old, row.op);
    nsdb_end(&s);
    rc = op_decode(writer_done(&old), &op);
    if (rc < 0)
        return rc;
    if (op.count == 1 && without && seals_file(writer_done(&old), without)) {
        op_fini(&op);
        return give_up(v, rowid);
    }
    rc = session_signer(v, &row.writer, &id);
    if (rc < 0) {
        op_fini(&op);
        return rc;
    }
    rc = nsdb_class_current(v->db, &row.class_id, &current);
    seals = calloc(op.count, sizeof *seals);
    if (!seals)
        rc = -ENOMEM;
    for (size_t i = 0; rc == 0 && i < op.count; i++) {
        rc = seal_decode(op.changes[i].body, &seals[fitting]);
        if (rc < 0 || (without && id_equal(without, &seals[fitting].file)) ||
            !still_fits(v, &seals[fitting]))
            continue; /* deleted, or sealed elsewhere: its change is a conflict copy by now */
        rc = look_for_parked(v, &seals[fitting].file);
        if (rc == 0)
            refresh_header(v, &seals[fitting]);
        else if (rc == PHR_E_LOCKED && without)
            rc = 0; /* refused with the header that it names, and comes here again */
        fitting++;
    }
    if (rc == 0 && fitting == 0) {
        rc = give_up(v, rowid);
    } else if (rc == 0) {
        rc = seal_changes(seals, fitting, &bodies, changes);
        if (rc == 0)
            rc = sign_op(v, id, &current, ++id->op_n[OP_LANE_SEAL], changes, fitting, &bytes, &row);
        row.reason = 0;
        if (rc == 0)
            rc = nsdb_outbox_replace(v->db, &row);
    }
    op_fini(&op);
    free(seals);
    return rc;
}

int outbox_drop_seals(struct vault *v, const struct id16 *patient, const struct id16 *file)
{
    enum { DROP_MAX = 64 }; /* seals of one file that wait at a time */
    uint64_t ids[DROP_MAX];
    struct outbox_row row;
    struct nsdb_stmt s;
    size_t n = 0;
    int rc = 0;

    nsdb_outbox_scan(v->db, patient, &s);
    while (n < DROP_MAX && (rc = nsdb_outbox_next(&s, &row)) > 0)
        if (row.lane == OP_LANE_SEAL && seals_file(row.op, file))
            ids[n++] = row.id;
    nsdb_end(&s);
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        rc = outbox_renew_seals(v, ids[i], file);
        if (rc == PHR_E_LOCKED)
            rc = 0; /* the server refuses it, and then it goes */
    }
    return rc < 0 ? rc : 0;
}

static uint32_t changes_of(struct view op)
{
    struct op o;
    uint32_t n = 0;

    if (op_decode(op, &o) == 0) {
        n = o.count;
        op_fini(&o);
    }
    return n;
}

/* Rows of one lane into the push. False: some stay behind. */
struct push_fill {
    struct vault *v;
    struct writer ops;
    uint32_t changes;
    uint64_t *ids;
    size_t count;
    bool stays_behind;
};

static int take_lane(struct push_fill *p, const struct id16 *patient, enum op_lane lane)
{
    struct outbox_row row;
    struct nsdb_stmt s;
    int rc = 0;

    nsdb_outbox_scan(p->v->db, patient, &s);
    while (!p->stays_behind && (rc = nsdb_outbox_next(&s, &row)) > 0) {
        if (row.state != OUTBOX_READY || row.lane != lane)
            continue;
        p->changes += changes_of(row.op);
        if (p->count >= PUSH_OPS_MAX ||
            (p->count > 0 &&
             (p->changes > PUSH_CHANGES_MAX || p->ops.n + row.op.n > PUSH_BYTES_MAX))) {
            p->stays_behind = true;
            break;
        }
        writer_lp(&p->ops, row.op);
        writer_bytes(&p->ops, row.sig.b, sizeof row.sig.b);
        p->ids[p->count++] = row.id;
    }
    nsdb_end(&s);
    return rc < 0 ? rc : 0;
}

/* Drafts are gathered for hold_ms, then all become ops. */
static int sign_due(struct vault *v, const struct id16 *patient, const struct outbox_wish *wish,
                    bool *out_waits)
{
    uint64_t now = clock_boottime_ms();
    uint64_t oldest;
    int rc = nsdb_opdraft_oldest(v->db, patient, &oldest);

    *out_waits = rc == 0 && oldest <= now && now - oldest < wish->hold_ms;
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    return *out_waits ? 0 : opdraft_sign(v, patient, wish->is_single ? OPDRAFT_SINGLE : OPDRAFT_MERGED);
}

int outbox_take(struct vault *v, const struct id16 *patient, const struct outbox_wish *wish,
                struct writer *out, uint64_t *out_ids, size_t *out_count)
{
    struct push_fill p = { .v = v, .ids = out_ids };
    bool waits = false;
    size_t others;
    int rc = sign_due(v, patient, wish, &waits);

    if (rc == 0)
        rc = take_lane(&p, patient, OP_LANE_META);
    p.stays_behind |= waits;
    others = p.count;

    /* A seal needs the inode and the header that a rebase may have made after it. */
    if (rc == 0)
        rc = take_lane(&p, patient, OP_LANE_SEAL);
    /* OUTBOX-4 */
    if (rc == 0 && p.count > others)
        rc = nsdb_sync(v->db);
    if (rc == 0) {
        writer_u16(out, (uint16_t)p.count);
        writer_view(out, writer_done(&p.ops));
        writer_u16(out, 0); /* no re-encryption keys */
        *out_count = p.count;
        rc = writer_ok(&p.ops) && writer_ok(out) ? 0 : -ENOMEM;
    }
    writer_fini(&p.ops);
    return rc;
}
