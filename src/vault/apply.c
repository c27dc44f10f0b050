/*
 * Applying the ledger.
 *
 * APPLY-1  An entry is verified by this process itself and applied whole, in one transaction
 *          with the pin (head of the patient), or not at all.
 * APPLY-2  Verification sees the confirmed side only; users see the local side as well (S-2).
 * APPLY-3  Where an entry of others meets a local change (same row, same name, a new epoch), the
 *          local changes of the patient are taken back first, in the same transaction, and made
 *          anew after it (rebase.c). The first committer keeps the name.
 */
#include "vault/apply.h"

#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "format/op.h"
#include "format/row.h"
#include "vault/access_state.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/notify.h"
#include "vault/nsdb_ledger.h"
#include "vault/nsdb_outbox.h"
#include "vault/rebase.h"
#include "vault/spool.h"
#include "vault/worker.h"

static bool is_local_row(struct vault *v, const struct id16 *id)
{
    struct name_inode inode;
    struct name_dentry dentry;
    struct shadow_row shadow;
    struct nsdb_stmt s;

    for (int kind = SHADOW_DENTRY; kind <= SHADOW_HEADER; kind++) {
        if (nsdb_shadow_get(v->db, (enum shadow_kind)kind, id, &s, &shadow) == 0) {
            nsdb_end(&s);
            return true;
        }
    }
    if (nsdb_inode_find(v->db, id, &s, &inode) == 0) {
        nsdb_end(&s);
        return inode.conf != inode.version;
    }
    if (nsdb_dentry_get(v->db, id, &s, &dentry) == 0) {
        nsdb_end(&s);
        return dentry.conf != dentry.version;
    }
    return false;
}

static bool is_local_name(struct vault *v, const struct dentry_row *ids)
{
    struct name_dentry dentry;
    struct nsdb_stmt s;

    if (nsdb_dentry_find(v->db, &ids->parent, &ids->tag, &s, &dentry) < 0)
        return false;
    nsdb_end(&s);
    return dentry.conf != dentry.version && !id_equal(&dentry.row, &ids->row);
}

static bool change_meets_local(struct vault *v, const struct change *c)
{
    struct header_change header;
    struct remove_change gone;
    struct dentry_row dentry;
    struct inode_row inode;

    switch (c->type) {
    case CHANGE_EPOCH:
        return true;
    case CHANGE_DENTRY:
        return dentry_row_decode(c->body, &dentry) == 0 &&
               (is_local_row(v, &dentry.row) || is_local_name(v, &dentry));
    case CHANGE_INODE:
        return inode_row_decode(c->body, &inode) == 0 && is_local_row(v, &inode.ino);
    case CHANGE_HEADER:
        return header_change_decode(c->body, &header) == 0 && is_local_row(v, &header.file);
    case CHANGE_REMOVE:
        return remove_decode(c->body, &gone) == 0 && is_local_row(v, &gone.row);
    case CHANGE_CLASS_RECORD:
    case CHANGE_GRANT:
    case CHANGE_REVOKE:
    case CHANGE_EPOCH_BEGIN:
    case CHANGE_RETIRE_EPOCH:
    case CHANGE_SEAL:
    case CHANGE_SNAPSHOT:
    case CHANGE_CARD_PIN:
    case CHANGE_BREAK_GLASS:
    case CHANGE_GUEST_SHARE:
        return false;
    default:
        return false;
    }
}

static void note_own_seals(struct apply *a, const struct op *op)
{
    for (size_t i = 0; i < op->count; i++) {
        struct seal_change seal;

        if (op->changes[i].type == CHANGE_SEAL && seal_decode(op->changes[i].body, &seal) == 0)
            writer_bytes(&a->own_seals, seal.file.b, sizeof seal.file.b);
    }
}

/* Looks through an entry: what in it is ours, and whether the rest meets a local change. */
static int look_through(struct apply *a, const struct entry *e, bool *out_all_own, bool *out_meets)
{
    *out_all_own = true;
    *out_meets = false;
    for (size_t i = 0; i < e->op_count; i++) {
        struct digest hash = digest_sha256(e->ops[i].op);
        struct signature sig;
        uint64_t id;
        struct op op;
        int rc = op_decode(e->ops[i].op, &op);

        if (rc < 0)
            return rc;
        if (nsdb_outbox_find(a->v->db, &hash, &id, &sig) == 0) {
            note_own_seals(a, &op);
            if (memcmp(&sig, &e->ops[i].sig, sizeof sig) != 0)
                *out_all_own = false; /* checked as another's: what is in the ledger must be good */
        } else {
            *out_all_own = false;
            for (size_t c = 0; c < op.count && !*out_meets; c++)
                *out_meets = change_meets_local(a->v, &op.changes[c]);
        }
        op_fini(&op);
    }
    return writer_ok(&a->own_seals) ? 0 : -ENOMEM;
}

/*
 * An op of this host that is not in the outbox any more: it was on its way when an entry of others
 * took our changes back. What is parked was made on top of it, by the same person here or by another.
 */
static int advance_parked(struct apply *a, const struct op *op)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < op->count; i++) {
        struct view body = op->changes[i].body;
        struct parked_row to = { 0 };
        struct header_change header;
        struct dentry_row dentry;
        struct inode_row inode;

        if (op->changes[i].type == CHANGE_DENTRY && dentry_row_decode(body, &dentry) == 0) {
            to.kind = SHADOW_DENTRY;
            to.id = dentry.row;
            to.base = dentry.version;
        } else if (op->changes[i].type == CHANGE_INODE && inode_row_decode(body, &inode) == 0) {
            to.kind = SHADOW_INODE;
            to.id = inode.ino;
            to.base = inode.version;
        } else if (op->changes[i].type == CHANGE_HEADER && header_change_decode(body, &header) == 0) {
            to.kind = SHADOW_HEADER;
            to.id = header.file;
            to.base = header.hdr_gen;
        } else {
            continue;
        }
        rc = nsdb_parked_set_base(a->v->db, &to, &a->has_advanced);
    }
    return rc;
}

static int advance_all_parked(struct apply *a, const struct entry *e)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < e->op_count; i++) {
        struct op op;

        rc = op_decode(e->ops[i].op, &op);
        if (rc < 0)
            return rc;
        if (id_equal(&op.host, &a->v->host))
            rc = advance_parked(a, &op);
        op_fini(&op);
    }
    return rc;
}

static int clear_outbox(struct vault *v, const struct entry *e)
{
    for (size_t i = 0; i < e->op_count; i++) {
        struct digest hash = digest_sha256(e->ops[i].op);
        struct signature sig;
        uint64_t id;
        int rc = nsdb_outbox_find(v->db, &hash, &id, &sig);

        if (rc == 0)
            rc = nsdb_outbox_delete(v->db, id);
        if (rc < 0 && rc != -ENOENT)
            return rc;
    }
    return 0;
}

/* Skips what is known; a known place with another entry is a fork. */
static int check_place(struct vault *v, const struct entry *e)
{
    struct digest leaf;
    uint64_t seq;
    int rc = nsdb_patient_get(v->db, &e->patient, &seq, &leaf);

    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return rc;
    if (e->seq == seq)
        return digest_equal(&leaf, &e->leaf) ? -EALREADY : PHR_E_FORK;
    return e->seq < seq ? -EALREADY : 0;
}

static int apply_in_tx(struct apply *a, struct view bytes, const struct entry *e, bool *out_meets)
{
    struct ledger_state state;
    bool all_own;
    int rc = check_place(a->v, e);

    if (rc < 0)
        return rc;
    rc = look_through(a, e, &all_own, out_meets);
    if (rc == 0 && *out_meets)
        rc = rebase_unwind(a->v, &e->patient);
    if (rc < 0)
        return rc;
    a->is_unwound = *out_meets;
    apply_state_init(a, &state);
    rc = verify_entry_apply(&state, &a->v->anchor, bytes, all_own ? VERIFY_VOUCHED : 0);
    if (rc == 0)
        rc = advance_all_parked(a, e);
    if (rc == 0)
        rc = clear_outbox(a->v, e);
    return rc;
}

static void purge_gone(struct vault *v, const struct writer *gone)
{
    for (size_t at = 0; at + 8 <= gone->n; at += 8) {
        uint64_t nodeid = get_le64(gone->p + at);

        if (!contents_is_open(v->contents, nodeid))
            ignored(node_purge(v, nodeid)); /* else with the last handle, or at the next start */
    }
}

int apply_entry(struct vault *v, struct view bytes, struct apply_object *io_object)
{
    struct apply a = { .v = v, .object = io_object };
    struct entry e;
    bool meets = false;
    int rc = entry_decode(bytes, &e);

    if (rc < 0)
        return rc;
    writer_init(&a.own_seals);
    writer_init(&a.gone);
    nsdb_lock(v->db); /* nobody sees rows of a new epoch with the keys of the old one */
    rc = nsdb_begin(v->db);
    if (rc == 0) {
        rc = apply_in_tx(&a, bytes, &e, &meets);
        if (rc < 0) {
            nsdb_rollback(v->db);
            spool_undo_tx(v->spool);
        } else {
            rc = nsdb_commit(v->db);
        }
    }
    if (rc == 0) {
        if (a.has_rights_changed)
            apply_settle(v);
        if (meets || a.has_advanced)
            rc = rebase_redo(v, &e.patient);
    }
    nsdb_unlock(v->db);
    if (rc == 0)
        purge_gone(v, &a.gone);
    writer_fini(&a.own_seals);
    writer_fini(&a.gone);
    entry_fini(&e);
    return rc == -EALREADY ? 0 : rc;
}

void apply_settle(struct vault *v)
{
    nsdb_lock(v->db);
    session_refresh(v, cutoff_on_lost);
    for (struct identity *id = v->identities; id; id = id->next) {
        for (struct class_key *k = id->classes; k; k = k->next) {
            if (!k->has_rows || !k->is_current)
                continue;
            session_load_root(v, k);
            ignored(names_index_class(v, &k->ctx.class_id)); /* again at the next login */
        }
        lease_ask_names(v, id);
    }
    nsdb_unlock(v->db);
    notify_names(v);
}
