/*
 * Rebase: state, not history. What a user sees is a set of rows; what the ledger says is another.
 * A rebase throws unsent ops and drafts away and makes new ones from the difference, row by row:
 *
 *   unwind   each row that differs goes to `parked` as it is here; the ledger's image comes back
 *   (the entry is applied on clean ground)
 *   redo     each parked row is compared with the ledger's row as it is now
 *
 * REBASE-1  Nothing parked is dropped but by redo, which decides: the first committer keeps the
 *           name, edit beats delete, another's change of the same row beats a rename here.
 * REBASE-2  A row that is new here keeps its node id and its place, so open files go on.
 * REBASE-3  A row keeps its id when it is made anew: the op that was thrown away may have been
 *           taken by the server before, and comes back in a later entry (apply.c, advance_parked).
 * REBASE-4  So what was removed before the ledger had it stays parked until the ledger has a later op of
 *           each writer whose ops were thrown away: then the SRS takes none of these any more.
 * REBASE-5  No header of ours takes a key away that another host has put into one: contents need it. Where
 *           it drew the same number as this host, or its header cannot be opened by the writer here, the
 *           first committer's header stays, and what was written here becomes a conflict copy, which
 *           keeps the parked keys (table conflict_keys) until it is made. Until a parked header is made
 *           anew nothing of its file is sealed, recovered or copied with the header's keys.
 */
#include "vault/rebase.h"

#include "format/row.h"
#include "vault/nsdb_ledger.h"
#include "vault/nsdb_names.h"
#include "vault/nsdb_opdraft.h"
#include "vault/nsdb_outbox.h"
#include "vault/rebase_redo.h"

static int park_dentry(struct nsdb *db, const struct name_dentry *d, uint64_t base)
{
    scoped(writer_fini) struct writer bytes = { 0 };
    struct dentry_row ids = {
        .row = d->row, .parent = d->parent, .tag = d->tag, .version = d->version, .sealed = d->sealed
    };
    struct parked_row parked = {
        .kind = SHADOW_DENTRY, .id = d->row, .class_id = d->class_id, .epoch = d->epoch,
        .base = base, .number = d->cookie, .writer = d->writer
    };

    writer_init(&bytes);
    dentry_row_encode(&ids, &bytes);
    if (!writer_ok(&bytes))
        return -ENOMEM;
    parked.bytes = writer_done(&bytes);
    return nsdb_parked_put(db, &parked);
}

/* Also of a row that the ledger has not: the op that made it may be on its way. */
static int park_removal(struct nsdb *db, const struct shadow_row *shadow)
{
    struct parked_row parked = {
        .kind = shadow->kind, .id = shadow->id, .class_id = shadow->class_id,
        .epoch = shadow->epoch, .base = shadow->base, .writer = shadow->writer, .is_removed = true
    };

    return nsdb_parked_put(db, &parked);
}

/* The ledger's image back into the table. */
static int restore_dentry(struct nsdb *db, const struct shadow_row *shadow)
{
    struct name_dentry d = { 0 };
    struct dentry_row ids;
    int rc = dentry_row_decode(shadow->bytes, &ids);

    if (rc < 0)
        return rc;
    d.row = ids.row;
    d.parent = ids.parent;
    d.tag = ids.tag;
    d.class_id = shadow->class_id;
    d.epoch = shadow->epoch;
    d.version = d.conf = ids.version;
    d.sealed = ids.sealed;
    return nsdb_dentry_insert(db, &d);
}

static int unwind_dentry(struct nsdb *db, const struct id16 *row)
{
    struct shadow_row shadow = { 0 };
    struct name_dentry d;
    struct nsdb_stmt s;
    struct nsdb_stmt ss;
    bool has_shadow = nsdb_shadow_get(db, SHADOW_DENTRY, row, &ss, &shadow) == 0;
    int rc = nsdb_dentry_get(db, row, &s, &d);

    if (rc == 0) {
        rc = park_dentry(db, &d, has_shadow ? shadow.base : 0);
        nsdb_end(&s);
        if (rc == 0)
            rc = nsdb_dentry_delete(db, row); /* of its place and name: the ledger's may differ */
    } else if (rc == -ENOENT) {
        rc = has_shadow ? park_removal(db, &shadow) : 0;
    }
    if (rc == 0 && has_shadow && shadow.version > 0)
        rc = restore_dentry(db, &shadow);
    if (has_shadow)
        nsdb_end(&ss);
    return rc < 0 ? rc : nsdb_shadow_delete(db, SHADOW_DENTRY, row);
}

static int park_inode(struct nsdb *db, const struct name_inode *i, uint64_t base)
{
    scoped(writer_fini) struct writer bytes = { 0 };
    struct inode_row ids = { i->ino, i->version, i->sealed };
    struct parked_row parked = {
        .kind = SHADOW_INODE, .id = i->ino, .class_id = i->class_id, .epoch = i->epoch,
        .base = base, .number = i->nodeid, .writer = i->writer
    };

    writer_init(&bytes);
    inode_row_encode(&ids, &bytes);
    if (!writer_ok(&bytes))
        return -ENOMEM;
    parked.bytes = writer_done(&bytes);
    return nsdb_parked_put(db, &parked);
}

static int restore_inode(struct nsdb *db, const struct shadow_row *shadow, struct name_inode *row)
{
    struct inode_row ids;
    int rc = inode_row_decode(shadow->bytes, &ids);

    if (rc < 0)
        return rc;
    row->epoch = shadow->epoch;
    row->version = row->conf = ids.version;
    row->sealed = ids.sealed;
    row->is_gone = false;
    row->is_dirty = false;
    return nsdb_inode_update(db, row);
}

static int unwind_inode(struct nsdb *db, const struct id16 *ino)
{
    struct shadow_row shadow = { 0 };
    struct name_inode i;
    struct nsdb_stmt s;
    struct nsdb_stmt ss;
    bool has_shadow = nsdb_shadow_get(db, SHADOW_INODE, ino, &ss, &shadow) == 0;
    int rc = nsdb_inode_find(db, ino, &s, &i);

    if (rc == 0 && i.is_gone) {
        nsdb_end(&s);
        rc = has_shadow ? park_removal(db, &shadow) : 0;
        if (rc == 0 && has_shadow && shadow.version > 0)
            rc = restore_inode(db, &shadow, &i);
    } else if (rc == 0) {
        rc = park_inode(db, &i, has_shadow ? shadow.base : 0);
        nsdb_end(&s);
        /* REBASE-2: a new one stays; nothing in the ledger can clash with its random id. */
        if (rc == 0 && has_shadow && shadow.version > 0)
            rc = restore_inode(db, &shadow, &i);
    } else if (rc == -ENOENT) {
        rc = has_shadow ? park_removal(db, &shadow) : 0; /* purged since: the node is made anew */
        if (rc == 0 && has_shadow && shadow.version > 0) {
            struct inode_row ids;
            struct name_inode fresh = { .ino = *ino, .class_id = shadow.class_id };

            rc = inode_row_decode(shadow.bytes, &ids);
            fresh.epoch = shadow.epoch;
            fresh.version = fresh.conf = ids.version;
            fresh.sealed = ids.sealed;
            if (rc == 0)
                rc = nsdb_inode_insert(db, &fresh);
        }
    }
    if (has_shadow)
        nsdb_end(&ss);
    return rc < 0 ? rc : nsdb_shadow_delete(db, SHADOW_INODE, ino);
}

static int unwind_header(struct nsdb *db, const struct id16 *file)
{
    struct shadow_row shadow = { 0 };
    struct name_header h;
    struct nsdb_stmt s;
    struct nsdb_stmt ss;
    bool has_shadow = nsdb_shadow_get(db, SHADOW_HEADER, file, &ss, &shadow) == 0;
    int rc = nsdb_header_get(db, file, &s, &h);

    if (rc == 0) {
        struct parked_row parked = {
            .kind = SHADOW_HEADER, .id = *file, .class_id = h.class_id, .epoch = h.epoch,
            .base = has_shadow ? shadow.base : 0, .writer = h.writer, .fk_user = h.fk_user,
            .fk_box = h.fk_box, .bytes = h.bytes
        };

        if (h.conf != h.hdr_gen)
            rc = nsdb_parked_put(db, &parked);
        nsdb_end(&s);
        if (rc == 0 && has_shadow && shadow.version > 0) {
            struct name_header back = {
                .file = *file, .class_id = shadow.class_id, .epoch = shadow.epoch,
                .hdr_gen = (uint32_t)shadow.version, .conf = (uint32_t)shadow.version,
                .bytes = shadow.bytes
            };

            rc = nsdb_header_put(db, &back);
        }
    } else if (rc == -ENOENT) {
        rc = 0;
    }
    if (has_shadow)
        nsdb_end(&ss);
    return rc < 0 ? rc : nsdb_shadow_delete(db, SHADOW_HEADER, file);
}

static int unwind_kind(struct nsdb *db, const struct id16 *class_id, enum shadow_kind kind,
                       int (*unwind)(struct nsdb *db, const struct id16 *id))
{
    scoped(writer_fini) struct writer ids = { 0 };
    int rc;

    writer_init(&ids);
    rc = nsdb_local_list(db, class_id, kind, &ids);
    for (size_t at = 0; rc == 0 && at + sizeof(struct id16) <= ids.n; at += sizeof(struct id16)) {
        struct id16 id;

        for (size_t i = 0; i < sizeof id.b; i++)
            id.b[i] = ids.p[at + i];
        rc = unwind(db, &id);
    }
    return rc;
}

static int unwind_class(struct vault *v, const struct id16 *class_id)
{
    int rc = unwind_kind(v->db, class_id, SHADOW_DENTRY, unwind_dentry);

    if (rc == 0)
        rc = unwind_kind(v->db, class_id, SHADOW_INODE, unwind_inode);
    if (rc == 0)
        rc = unwind_kind(v->db, class_id, SHADOW_HEADER, unwind_header);
    return rc;
}

/* One id per class of a patient. */
int rebase_classes(struct vault *v, const struct id16 *patient, struct writer *out_ids)
{
    static const char sql[] = "SELECT DISTINCT class FROM class WHERE patient = ?";
    struct nsdb_stmt s;
    int rc;

    nsdb_query(v->db, sql, &s);
    nsdb_bind_id(&s, patient);
    while ((rc = nsdb_step(&s)) > 0)
        writer_view(out_ids, nsdb_col_view(&s, 0));
    nsdb_end(&s);
    return rc < 0 ? rc : writer_ok(out_ids) ? 0 : -ENOMEM;
}

int rebase_unwind(struct vault *v, const struct id16 *patient)
{
    scoped(writer_fini) struct writer classes = { 0 };
    int rc;

    writer_init(&classes);
    rc = rebase_classes(v, patient, &classes);
    for (size_t at = 0; rc == 0 && at + sizeof(struct id16) <= classes.n; at += sizeof(struct id16)) {
        struct id16 id;

        for (size_t i = 0; i < sizeof id.b; i++)
            id.b[i] = classes.p[at + i];
        rc = unwind_class(v, &id);
    }
    if (rc == 0)
        rc = nsdb_op_n_keep(v->db, patient);
    if (rc == 0)
        rc = nsdb_unwound_keep(v->db, patient);
    if (rc == 0)
        rc = nsdb_outbox_delete_meta(v->db, patient);
    if (rc == 0)
        rc = nsdb_opdraft_drop(v->db, patient);
    return rc;
}
