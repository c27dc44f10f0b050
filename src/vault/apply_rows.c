/*
 * Names, headers and seals of a verified entry. Each row meets one of four states (nsdb_names.h):
 *
 *   the same row is here, unconfirmed   it was ours and came back: confirmed
 *   here, changed beyond it             ours as well, an earlier step: the shadow advances
 *   removed here                        the shadow advances; our removal is still on its way
 *   here and confirmed, or not here     another host's change: taken over, the kernel is told
 *
 * After an unwind only new inodes and headers are unconfirmed (REBASE-2). What comes for one of
 * them is an op of ours that was on its way, and the row was made anew since: the ledger's counts.
 */
#include <dirent.h>
#include <string.h>

#include "crypto/digest.h"
#include "format/header.h"
#include "format/snapshot.h"
#include "vault/apply.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/nodecache.h"
#include "vault/notify.h"
#include "vault/nsdb_ledger.h"
#include "vault/outbox.h"

static const struct id16 nobody;

static int advance_shadow(struct apply *a, enum shadow_kind kind, const struct id16 *id,
                          const struct class_ctx *ctx, uint64_t version, const struct dentry_row *name,
                          struct view bytes)
{
    struct shadow_row shadow = { .kind = kind, .id = *id, .writer = nobody, .base = version };
    struct shadow_row old;
    struct nsdb_stmt s;

    if (nsdb_shadow_get(a->v->db, kind, id, &s, &old) == 0) {
        shadow.writer = old.writer;
        nsdb_end(&s);
    }
    shadow.class_id = ctx->class_id;
    shadow.epoch = ctx->epoch;
    shadow.version = version;
    shadow.bytes = bytes;
    if (name) {
        shadow.has_name = true;
        shadow.parent = name->parent;
        shadow.tag = name->tag;
    }
    return nsdb_shadow_put(a->v->db, &shadow);
}

/* ---- headers ---- */

int apply_put_header(void *user, const struct file_ctx *ctx, const struct digest *hash,
                     struct view bytes)
{
    struct apply *a = user;
    struct name_header row = {
        .file = ctx->file, .class_id = ctx->class_ctx.class_id, .epoch = ctx->class_ctx.epoch,
        .hdr_gen = ctx->hdr_gen, .conf = ctx->hdr_gen, .bytes = bytes
    };
    struct name_header old;
    struct nsdb_stmt s;
    bool is_ours;
    int rc = nsdb_header_get(a->v->db, &ctx->file, &s, &old);

    (void)hash;
    if (rc == -ENOENT)
        return nsdb_header_put(a->v->db, &row);
    if (rc < 0)
        return rc;
    is_ours = old.conf != old.hdr_gen && !a->is_unwound;
    if (is_ours || view_equal(old.bytes, bytes)) {
        bool is_same = view_equal(old.bytes, bytes);

        nsdb_end(&s);
        rc = nsdb_header_confirm(a->v->db, &ctx->file, ctx->hdr_gen);
        if (rc < 0)
            return rc;
        return is_same ? nsdb_shadow_delete(a->v->db, SHADOW_HEADER, &ctx->file)
                       : advance_shadow(a, SHADOW_HEADER, &ctx->file, &ctx->class_ctx, ctx->hdr_gen,
                                        NULL, bytes);
    }
    nsdb_end(&s);
    lease_forget_file(a->v, &ctx->file);
    return nsdb_header_put(a->v->db, &row); /* another's: the local copy of the keys goes */
}

/* ---- dentries ---- */

static uint64_t nodeid_of(struct vault *v, const struct id16 *ino)
{
    struct name_inode row;
    struct nsdb_stmt s;

    if (nsdb_inode_find(v->db, ino, &s, &row) < 0)
        return 0;
    nsdb_end(&s);
    return row.nodeid;
}

/* A name appeared, changed or went: the kernel forgets what it knew about it. */
static void tell_entry(struct vault *v, struct name_dentry *row)
{
    uint64_t parent = nodeid_of(v, &row->parent);
    struct dentry d;

    if (!parent)
        return;
    notify_node(v, parent);
    if (names_open_dentry(v, row, &d) == 0)
        notify_entry(v, parent, view_of(d.name, d.name_bytes));
}

static int take_dentry(struct apply *a, const struct class_ctx *ctx, const struct dentry_row *ids,
                       uint64_t cookie)
{
    struct name_dentry row = {
        .cookie = cookie, .row = ids->row, .parent = ids->parent, .tag = ids->tag,
        .class_id = ctx->class_id, .epoch = ctx->epoch, .version = ids->version,
        .conf = ids->version, .sealed = ids->sealed
    };
    struct dentry d;

    ignored(names_open_dentry(a->v, &row, &d)); /* else when somebody logs in who can */
    tell_entry(a->v, &row);
    return cookie ? nsdb_dentry_update(a->v->db, &row) : nsdb_dentry_insert(a->v->db, &row);
}

int apply_put_dentry(void *user, const struct class_ctx *ctx, struct view row_bytes)
{
    struct apply *a = user;
    struct name_dentry old;
    struct dentry_row ids;
    struct shadow_row shadow;
    struct nsdb_stmt s;
    bool is_same;
    int rc = dentry_row_decode(row_bytes, &ids);

    if (rc < 0)
        return rc;
    rc = nsdb_dentry_get(a->v->db, &ids.row, &s, &old);
    if (rc == -ENOENT) {
        if (nsdb_shadow_get(a->v->db, SHADOW_DENTRY, &ids.row, &s, &shadow) == 0) {
            nsdb_end(&s);
            return advance_shadow(a, SHADOW_DENTRY, &ids.row, ctx, ids.version, &ids, row_bytes);
        }
        return take_dentry(a, ctx, &ids, 0);
    }
    if (rc < 0)
        return rc;
    is_same = old.version == ids.version && view_equal(old.sealed, ids.sealed);
    if (old.conf != old.version) {
        nsdb_end(&s);
        rc = nsdb_dentry_confirm(a->v->db, &ids.row, ids.version);
        if (rc < 0)
            return rc;
        return is_same ? nsdb_shadow_delete(a->v->db, SHADOW_DENTRY, &ids.row)
                       : advance_shadow(a, SHADOW_DENTRY, &ids.row, ctx, ids.version, &ids,
                                        row_bytes);
    }
    tell_entry(a->v, &old);
    nsdb_end(&s);
    return take_dentry(a, ctx, &ids, old.cookie);
}

/* ---- inodes ---- */

static int take_inode(struct apply *a, const struct class_ctx *ctx, const struct inode_row *ids,
                      uint64_t nodeid)
{
    struct name_inode row = {
        .nodeid = nodeid, .ino = ids->ino, .class_id = ctx->class_id,
        .kind = id_equal(&ids->ino, &ctx->class_id) ? NODE_CLASS : NODE_BELOW,
        .epoch = ctx->epoch, .version = ids->version, .conf = ids->version, .sealed = ids->sealed
    };
    scoped(names_fini) struct node n = { 0 };
    int rc;

    if (!nodeid)
        return nsdb_inode_insert(a->v->db, &row);
    rc = nsdb_inode_update(a->v->db, &row);
    if (rc < 0)
        return rc;
    touch_drop(a->v, nodeid);
    if (names_load(a->v, nodeid, &n) == 0 && S_ISREG(n.attr.mode)) {
        rc = contents_set_mtime(a->v->contents, nodeid, &n.attr.mtime);
        rc = rc == -ENOENT ? 0 : rc;
    }
    notify_node(a->v, nodeid);
    if (row.kind == NODE_CLASS)
        a->has_rights_changed = true; /* the names of patient and compartment */
    return rc;
}

int apply_put_inode(void *user, const struct class_ctx *ctx, struct view row_bytes)
{
    struct apply *a = user;
    struct inode_row ids;
    struct name_inode old;
    struct shadow_row shadow;
    struct nsdb_stmt s;
    bool is_same;
    int rc = inode_row_decode(row_bytes, &ids);

    if (rc < 0)
        return rc;
    rc = nsdb_inode_find(a->v->db, &ids.ino, &s, &old);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (rc == -ENOENT || old.is_gone) {
        if (rc == 0)
            nsdb_end(&s);
        if (nsdb_shadow_get(a->v->db, SHADOW_INODE, &ids.ino, &s, &shadow) == 0) {
            nsdb_end(&s);
            return advance_shadow(a, SHADOW_INODE, &ids.ino, ctx, ids.version, NULL, row_bytes);
        }
        return take_inode(a, ctx, &ids, rc == 0 ? old.nodeid : 0);
    }
    is_same = old.version == ids.version && view_equal(old.sealed, ids.sealed);
    if (old.conf != old.version && a->is_unwound && !is_same) {
        nsdb_end(&s);
        old.epoch = ctx->epoch;
        old.version = old.conf = ids.version;
        old.sealed = ids.sealed;
        old.is_dirty = false;
        return nsdb_inode_update(a->v->db, &old);
    }
    if (old.conf != old.version) {
        nsdb_end(&s);
        rc = nsdb_inode_confirm(a->v->db, old.nodeid, ids.version);
        if (rc < 0)
            return rc;
        return is_same ? nsdb_shadow_delete(a->v->db, SHADOW_INODE, &ids.ino)
                       : advance_shadow(a, SHADOW_INODE, &ids.ino, ctx, ids.version, NULL,
                                        row_bytes);
    }
    nsdb_end(&s);
    return take_inode(a, ctx, &ids, old.nodeid);
}

/* ---- removals ---- */

static int remove_inode(struct apply *a, const struct id16 *ino)
{
    struct name_inode row;
    struct nsdb_stmt s;
    int rc = nsdb_inode_find(a->v->db, ino, &s, &row);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    nsdb_end(&s);
    if (row.is_gone)
        return 0; /* gone here already; its last handle or lookup deletes it */
    writer_u64(&a->gone, row.nodeid);
    notify_node(a->v, row.nodeid);
    return nsdb_inode_mark_gone(a->v->db, row.nodeid);
}

int apply_put_remove(void *user, const struct class_ctx *ctx, const struct id16 *row)
{
    struct apply *a = user;
    struct shadow_row shadow;
    struct name_dentry dentry;
    struct nsdb_stmt s;
    int rc;

    (void)ctx;
    if (nsdb_shadow_get(a->v->db, SHADOW_DENTRY, row, &s, &shadow) == 0) {
        nsdb_end(&s);
        return nsdb_shadow_delete(a->v->db, SHADOW_DENTRY, row);
    }
    if (nsdb_dentry_get(a->v->db, row, &s, &dentry) == 0) {
        tell_entry(a->v, &dentry);
        nsdb_end(&s);
        return nsdb_dentry_delete(a->v->db, row);
    }
    if (nsdb_shadow_get(a->v->db, SHADOW_INODE, row, &s, &shadow) == 0) {
        nsdb_end(&s);
        rc = nsdb_shadow_delete(a->v->db, SHADOW_INODE, row);
    } else {
        rc = remove_inode(a, row);
    }
    if (rc == 0)
        rc = nsdb_shadow_delete(a->v->db, SHADOW_HEADER, row);
    if (rc == 0)
        rc = nsdb_seal_delete(a->v->db, row);
    if (rc == 0 && nodeid_of(a->v, row) == 0)
        rc = nsdb_header_delete(a->v->db, row);
    return rc;
}

/* ---- seals ---- */

static bool is_own_seal(const struct apply *a, const struct id16 *file)
{
    for (size_t at = 0; at + sizeof file->b <= a->own_seals.n; at += sizeof file->b)
        if (memcmp(a->own_seals.p + at, file->b, sizeof file->b) == 0)
            return true;
    return false;
}

/* The ledger has the seal: a writer's local copy of the key goes, the owner's stays. */
static int drop_box(struct apply *a, const struct class_ctx *ctx, const struct id16 *file)
{
    struct name_header row;
    struct nsdb_stmt s;
    int rc = nsdb_header_get(a->v->db, file, &s, &row);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    nsdb_end(&s);
    if (row.conf != row.hdr_gen || id_is_zero(&row.fk_user) || id_equal(&row.fk_user, &ctx->patient))
        return 0;
    return nsdb_header_set_box(a->v->db, file, &nobody, view_of(NULL, 0));
}

/* The seal has no times: the inode has them. Of our own seals the row of the contents has newer. */
static int set_mtime(struct apply *a, uint64_t nodeid)
{
    scoped(names_fini) struct node n = { 0 };

    if (names_load(a->v, nodeid, &n) < 0 || n.row.conf != n.row.version)
        return 0; /* nobody is logged in, or our own time is newer */
    return contents_set_mtime(a->v->contents, nodeid, &n.attr.mtime);
}

int apply_put_seal(void *user, const struct class_ctx *ctx, const struct seal_change *seal)
{
    struct apply *a = user;
    scoped(writer_fini) struct writer bytes = { 0 };
    struct content_row content;
    struct name_dentry row;
    struct nsdb_stmt s;
    uint64_t nodeid = nodeid_of(a->v, &seal->file);
    bool is_ours = is_own_seal(a, &seal->file);
    bool is_known; /* what the kernel knows of the file is that version, or a later one */
    int rc;

    writer_init(&bytes);
    seal_encode(seal, &bytes);
    rc = nsdb_seal_put(a->v->db, ctx, &seal->file, seal->content_version, writer_done(&bytes));
    if (rc == 0)
        rc = drop_box(a, ctx, &seal->file);
    if (rc < 0 || nodeid == 0)
        return rc;
    rc = nsdb_content_get(a->v->db, nodeid, NULL, &content);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    is_ours = is_ours && rc == 0;
    is_known = is_ours && content.content_version >= seal->content_version;
    /* A live kernel inode never changes version: another's version gets a number of its own. */
    if (rc == 0 && !is_ours) {
        uint64_t old = nodeid;

        rc = retire_node(a->v, old, content.state != CONTENT_CLEAN, &nodeid);
        if (rc == 0 && content.state != CONTENT_CLEAN)
            rc = outbox_drop_seals(a->v, &ctx->patient, &seal->file);
        if (rc < 0)
            return rc;
        writer_u64(&a->gone, old); /* its contents go with the last handle, or are copied */
        notify_node(a->v, old);
    }
    rc = contents_apply_seal(a->v->contents, nodeid, ctx, seal);
    if (rc == 0 && !is_ours)
        rc = set_mtime(a, nodeid);
    if (rc == 0 && !is_known && nsdb_dentry_of(a->v->db, &seal->file, &s, &row) == 0) {
        tell_entry(a->v, &row);
        nsdb_end(&s);
    }
    return rc;
}

/* ---- a new epoch: all rows of the class anew ---- */

struct epoch_rows {
    struct apply *a;
    const struct class_ctx *ctx;
};

static int mark_rows(struct nsdb *db, const char *sql, const struct id16 *class_id)
{

    return nsdb_run_id(db, sql, class_id);
}

static int on_snapshot_row(void *user, enum snapshot_kind kind, struct view row)
{
    struct epoch_rows *e = user;
    struct name_dentry old;
    struct name_inode old_inode;
    struct dentry_row d;
    struct inode_row i;
    struct nsdb_stmt s;
    int rc;

    if (kind == SNAPSHOT_DENTRY) {
        rc = dentry_row_decode(row, &d);
        if (rc < 0)
            return rc;
        rc = nsdb_dentry_get(e->a->v->db, &d.row, &s, &old);
        if (rc == 0)
            nsdb_end(&s);
        return rc < 0 && rc != -ENOENT ? rc : take_dentry(e->a, e->ctx, &d, rc == 0 ? old.cookie : 0);
    }
    if (kind != SNAPSHOT_INODE)
        return 0;
    rc = inode_row_decode(row, &i);
    if (rc < 0)
        return rc;
    rc = nsdb_inode_find(e->a->v->db, &i.ino, &s, &old_inode);
    if (rc == 0)
        nsdb_end(&s);
    return rc < 0 && rc != -ENOENT ? rc : take_inode(e->a, e->ctx, &i, rc == 0 ? old_inode.nodeid : 0);
}

int apply_put_epoch_rows(void *user, const struct class_ctx *ctx, const struct digest *object_id)
{
    static const char mark_dentries[] = "UPDATE dentry SET version = 0 WHERE class = ?";
    static const char mark_inodes[] =
        "UPDATE inode SET version = 0 WHERE class = ? AND conf > 0 AND gone = 0";
    static const char drop_dentries[] = "DELETE FROM dentry WHERE class = ? AND version = 0";
    static const char drop_inodes[] =
        "UPDATE inode SET gone = 1 WHERE class = ? AND version = 0 AND kind < 2";
    struct apply *a = user;
    struct epoch_rows e = { a, ctx };
    struct snapshot_head head;
    struct digest found;
    int rc;

    if (a->object->bytes.n == 0 || !digest_equal(&a->object->id, object_id)) {
        a->object->id = *object_id;
        return PHR_E_PENDING;
    }
    found = digest_sha256(a->object->bytes);
    if (!digest_equal(&found, object_id))
        return PHR_E_SEAL;
    rc = mark_rows(a->v->db, mark_dentries, &ctx->class_id);
    if (rc == 0)
        rc = mark_rows(a->v->db, mark_inodes, &ctx->class_id);
    if (rc == 0)
        rc = snapshot_decode(a->object->bytes, &head, on_snapshot_row, &e);
    if (rc == 0)
        rc = mark_rows(a->v->db, drop_dentries, &ctx->class_id);
    if (rc == 0)
        rc = mark_rows(a->v->db, drop_inodes, &ctx->class_id);
    nodecache_drop_all(a->v); /* rows that nsdb does not tell of one by one */
    a->has_rights_changed = true;
    return rc;
}
