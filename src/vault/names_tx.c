/*
 * A change of names as one transaction (S-2): rows, the ledger's image of them, audit event, and
 * the draft of its op (opdraft.c). Attributes of existing inodes are the exception: they are kept
 * at once and drafted in batches within two seconds (STORAGE 3: a coalesced dirty flag); after a
 * crash the rows say what has no draft yet, and who is to sign it.
 */
#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "vault/names.h"
#include "vault/opdraft.h"
#include "vault/spool.h"

int names_begin(struct names_tx *tx, struct vault *v, const struct who *who, struct session *s,
                struct class_key *k)
{
    *tx = (struct names_tx){ .v = v, .session = s, .key = k, .who = who };
    writer_init(&tx->bodies);
    if (vault_is_read_only(v))
        return -EROFS;
    return nsdb_begin(v->db);
}

void names_rollback(struct names_tx *tx)
{
    nsdb_rollback(tx->v->db);
    spool_undo_tx(tx->v->spool);
    writer_fini(&tx->bodies);
}

int names_commit(struct names_tx *tx, const struct event *event, bool soon)
{
    struct change changes[ARRAY_COUNT(tx->items)];
    int rc = writer_ok(&tx->bodies) ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < tx->count; i++) {
        changes[i].type = tx->items[i].type;
        changes[i].body = view_of(tx->bodies.p + tx->items[i].at, tx->items[i].n);
    }
    if (rc == 0 && tx->count > 0)
        rc = opdraft_add(tx->v, tx->session->id, &tx->key->ctx, changes, tx->count);
    if (rc == 0 && event)
        rc = spool_event_tx(tx->v->spool, event);
    if (rc < 0) {
        names_rollback(tx);
        return rc;
    }
    writer_fini(&tx->bodies);
    if (soon) {
        nsdb_commit_soon(tx->v->db);
        return 0;
    }
    rc = nsdb_commit(tx->v->db);
    if (rc < 0)
        spool_undo_tx(tx->v->spool);
    return rc;
}

static size_t change_begin(struct names_tx *tx)
{
    return tx->bodies.n;
}

static void change_end(struct names_tx *tx, enum change_type type, size_t at)
{
    INVARIANT(tx->count < ARRAY_COUNT(tx->items));
    tx->items[tx->count].type = type;
    tx->items[tx->count].at = at;
    tx->items[tx->count].n = tx->bodies.n - at;
    tx->count++;
}

static void add_remove(struct names_tx *tx, const struct id16 *id, uint64_t version)
{
    struct remove_change r = { .row = *id, .version = version };
    size_t at = change_begin(tx);

    remove_encode(&r, &tx->bodies);
    change_end(tx, CHANGE_REMOVE, at);
}

uint64_t names_signed_version(const struct name_inode *row)
{
    return row->is_dirty ? row->version - 1 : row->version;
}

int names_new_inode(struct names_tx *tx, const struct id16 *ino, const struct inode_attr *attr,
                    uint64_t *out_nodeid)
{
    scoped(writer_fini) struct writer sealed = { 0 };
    struct inode_row ids = { .ino = *ino, .version = 1 };
    struct name_inode row = {
        .ino = *ino, .class_id = tx->key->ctx.class_id, .kind = NODE_BELOW,
        .epoch = tx->key->ctx.epoch, .version = 1, .writer = tx->session->id->user
    };
    size_t at;
    int rc;

    writer_init(&sealed);
    rc = inode_seal(&tx->key->rows, &ids, attr, &sealed);
    if (rc < 0)
        return rc;
    row.sealed = ids.sealed = writer_done(&sealed);
    rc = nsdb_inode_insert(tx->v->db, &row);
    if (rc < 0)
        return rc;
    at = change_begin(tx);
    inode_row_encode(&ids, &tx->bodies);
    change_end(tx, CHANGE_INODE, at);
    *out_nodeid = row.nodeid;
    return 0;
}

int names_renew_inode(struct names_tx *tx, struct name_inode *row, const struct inode_attr *attr)
{
    scoped(writer_fini) struct writer sealed = { 0 };
    struct inode_row ids = { .ino = row->ino, .version = 1 };
    size_t at;
    int rc;

    writer_init(&sealed);
    rc = inode_seal(&tx->key->rows, &ids, attr, &sealed);
    if (rc < 0)
        return rc;
    row->epoch = tx->key->ctx.epoch;
    row->version = 1;
    row->is_dirty = false;
    row->sealed = ids.sealed = writer_done(&sealed);
    rc = nsdb_inode_update(tx->v->db, row);
    if (rc < 0)
        return rc;
    at = change_begin(tx);
    inode_row_encode(&ids, &tx->bodies);
    change_end(tx, CHANGE_INODE, at);
    return 0;
}

static int seal_dentry(struct names_tx *tx, struct name_dentry *row, const struct dentry *d,
                       struct writer *sealed)
{
    struct dentry_row ids = {
        .row = row->row, .parent = row->parent, .version = row->version
    };
    size_t at;
    int rc;

    ids.tag = row->tag = name_tag(&tx->key->rows, &row->parent, view_of(d->name, d->name_bytes));
    rc = dentry_seal(&tx->key->rows, &ids, d, sealed);
    if (rc < 0)
        return rc;
    row->class_id = tx->key->ctx.class_id;
    row->epoch = tx->key->ctx.epoch;
    row->writer = tx->session->id->user;
    row->is_opened = true;
    row->child = d->ino;
    row->dtype = d->type;
    row->sealed = ids.sealed = writer_done(sealed);
    at = change_begin(tx);
    dentry_row_encode(&ids, &tx->bodies);
    change_end(tx, CHANGE_DENTRY, at);
    return 0;
}

int names_new_dentry(struct names_tx *tx, const struct id16 *row_id, const struct id16 *parent,
                     const struct dentry *d)
{
    scoped(writer_fini) struct writer sealed = { 0 };
    struct name_dentry row = { .parent = *parent, .version = 1 };
    int rc;

    row.row = row_id ? *row_id : random_id_rising();
    writer_init(&sealed);
    rc = seal_dentry(tx, &row, d, &sealed);
    if (rc < 0)
        return rc;
    return nsdb_dentry_insert(tx->v->db, &row);
}

/* The ledger's image of a dentry that is about to differ; a removal of a new one leaves a mark. */
static int keep_dentry(struct names_tx *tx, const struct id16 *row16, bool removing)
{
    scoped(writer_fini) struct writer bytes = { 0 };
    struct name_dentry row;
    struct shadow_row shadow = { .kind = SHADOW_DENTRY };
    struct nsdb_stmt s;
    int rc = nsdb_dentry_get(tx->v->db, row16, &s, &row);

    if (rc < 0)
        return rc;
    writer_init(&bytes);
    if (row.conf == row.version) {
        struct dentry_row ids = {
            .row = row.row, .parent = row.parent, .tag = row.tag, .version = row.version,
            .sealed = row.sealed
        };

        dentry_row_encode(&ids, &bytes);
        shadow.has_name = true;
        shadow.parent = row.parent;
        shadow.tag = row.tag;
        shadow.version = shadow.base = row.conf;
    }
    nsdb_end(&s);
    if (row.conf != 0 && row.conf != row.version)
        return 0; /* it stands there since the first change */
    if (row.conf == 0 && !removing)
        return 0;
    if (!writer_ok(&bytes))
        return -ENOMEM;
    shadow.id = row.row;
    shadow.class_id = row.class_id;
    shadow.epoch = row.epoch;
    shadow.writer = tx->session->id->user;
    shadow.bytes = writer_done(&bytes);
    return nsdb_shadow_put(tx->v->db, &shadow);
}

int names_change_dentry(struct names_tx *tx, struct name_dentry *row, const struct id16 *parent,
                        const struct dentry *d)
{
    scoped(writer_fini) struct writer sealed = { 0 };
    int rc = keep_dentry(tx, &row->row, false);

    if (rc < 0)
        return rc;
    writer_init(&sealed);
    row->parent = *parent;
    row->version++;
    rc = seal_dentry(tx, row, d, &sealed);
    if (rc < 0)
        return rc;
    return nsdb_dentry_update(tx->v->db, row);
}

int names_remove_dentry(struct names_tx *tx, const struct name_dentry *row)
{
    int rc = keep_dentry(tx, &row->row, true);

    if (rc == 0)
        rc = nsdb_dentry_remove(tx->v->db, row);
    if (rc == 0)
        add_remove(tx, &row->row, row->version);
    return rc;
}

static int keep_inode(struct vault *v, uint64_t nodeid, const struct id16 *writer, bool removing)
{
    scoped(writer_fini) struct writer bytes = { 0 };
    struct name_inode row;
    struct shadow_row shadow = { .kind = SHADOW_INODE, .writer = *writer };
    struct nsdb_stmt s;
    int rc = nsdb_inode_get(v->db, nodeid, &s, &row);

    if (rc < 0)
        return rc;
    writer_init(&bytes);
    if (row.conf == row.version) {
        struct inode_row ids = { row.ino, row.version, row.sealed };

        inode_row_encode(&ids, &bytes);
        shadow.version = shadow.base = row.conf;
    }
    nsdb_end(&s);
    if (row.conf != 0 && row.conf != row.version)
        return 0;
    if (row.conf == 0 && !removing)
        return 0;
    if (!writer_ok(&bytes))
        return -ENOMEM;
    shadow.id = row.ino;
    shadow.class_id = row.class_id;
    shadow.epoch = row.epoch;
    shadow.bytes = writer_done(&bytes);
    return nsdb_shadow_put(v->db, &shadow);
}

int names_remove_inode(struct names_tx *tx, const struct name_inode *row)
{
    int rc = keep_inode(tx->v, row->nodeid, &tx->session->id->user, true);

    if (rc < 0)
        return rc;
    add_remove(tx, &row->ino, names_signed_version(row));
    return nsdb_inode_mark_gone(tx->v->db, row->nodeid);
}

int names_put_header(struct names_tx *tx, const struct key_set *keys)
{
    scoped(writer_fini) struct writer box = { 0 };
    scoped(writer_fini) struct writer old_bytes = { 0 };
    struct identity *id = tx->session->id;
    struct header_change change = {
        .file = keys->ctx.file, .hdr_gen = keys->ctx.hdr_gen,
        .header = view_of(keys->header, keys->header_bytes)
    };
    struct name_header row = {
        .file = keys->ctx.file, .class_id = keys->ctx.class_ctx.class_id,
        .epoch = keys->ctx.class_ctx.epoch, .hdr_gen = keys->ctx.hdr_gen, .writer = id->user,
        .fk_user = id->user, .bytes = change.header
    };
    struct name_header old;
    struct nsdb_stmt s;
    size_t at;
    int rc;

    writer_init(&box);
    writer_init(&old_bytes);
    if (keys->ctx.hdr_gen > 1 && nsdb_header_get(tx->v->db, &row.file, &s, &old) == 0) {
        struct shadow_row shadow = {
            .kind = SHADOW_HEADER, .id = row.file, .class_id = old.class_id, .epoch = old.epoch,
            .version = old.conf, .base = old.conf, .writer = id->user
        };

        writer_view(&old_bytes, old.bytes);
        nsdb_end(&s);
        shadow.bytes = writer_done(&old_bytes);
        row.conf = old.conf;
        if (old.conf == old.hdr_gen) {
            rc = nsdb_shadow_put(tx->v->db, &shadow);
            if (rc < 0)
                return rc;
        }
    }
    rc = session_box_keys(id, &row.file, keys->keys, keys->count, &box);
    if (rc < 0)
        return rc;
    row.fk_box = writer_done(&box);
    rc = nsdb_header_put(tx->v->db, &row);
    if (rc < 0)
        return rc;
    at = change_begin(tx);
    header_change_encode(&change, &tx->bodies);
    change_end(tx, CHANGE_HEADER, at);
    return 0;
}

/* ---- attributes ---- */

static int set_attr_tx(struct vault *v, struct node *n, const struct inode_attr *attr,
                       const struct id16 *writer)
{
    struct class_key *k = session_class_any(v, &n->row.class_id);
    scoped(writer_fini) struct writer sealed = { 0 };
    struct name_inode row = n->row;
    struct inode_row ids;
    int rc;

    if (!k)
        return PHR_E_LOCKED;
    rc = keep_inode(v, row.nodeid, writer, false);
    if (rc < 0)
        return rc;
    if (!row.is_dirty)
        row.version++;
    row.is_dirty = !row.is_gone;
    row.epoch = k->ctx.epoch;
    row.writer = *writer;
    writer_init(&sealed);
    ids = (struct inode_row){ .ino = row.ino, .version = row.version };
    rc = inode_seal(&k->rows, &ids, attr, &sealed);
    if (rc < 0)
        return rc;
    row.sealed = writer_done(&sealed);
    rc = nsdb_inode_update(v->db, &row);
    if (rc < 0)
        return rc;
    row.sealed = view_of(NULL, 0);
    n->row = row;
    return 0;
}

int names_set_attr(struct vault *v, struct node *n, const struct inode_attr *attr,
                   const struct id16 *writer)
{
    int rc;

    if (nsdb_is_in_tx(v->db))
        return set_attr_tx(v, n, attr, writer);
    rc = nsdb_begin(v->db);
    if (rc < 0)
        return rc;
    rc = set_attr_tx(v, n, attr, writer);
    if (rc < 0) {
        nsdb_rollback(v->db);
        return rc;
    }
    nsdb_commit_soon(v->db);
    return 0;
}

enum { SIGN_BATCH = 64 };

/* One op for up to SIGN_BATCH inodes of one writer and class; the rest stay in the list. */
static int sign_some(struct vault *v, struct identity *id, const struct class_ctx *ctx,
                     uint64_t *nodeids, size_t count)
{
    scoped(writer_fini) struct writer bodies = { 0 };
    struct change changes[SIGN_BATCH];
    size_t at[SIGN_BATCH + 1] = { 0 };
    size_t n = 0;
    int rc = 0;

    writer_init(&bodies);
    for (size_t i = 0; i < count && n < SIGN_BATCH && rc == 0 && bodies.n < OP_BYTES_MAX / 2; i++) {
        struct name_inode row;
        struct nsdb_stmt s;

        if (nodeids[i] == 0 || nsdb_inode_get(v->db, nodeids[i], &s, &row) < 0)
            continue;
        if (row.is_dirty && row.epoch == ctx->epoch && id_equal(&row.writer, &id->user) &&
            id_equal(&row.class_id, &ctx->class_id)) {
            struct inode_row ids = { row.ino, row.version, row.sealed };
            scoped(writer_fini) struct writer sealed = { 0 };

            writer_init(&sealed);
            inode_row_encode(&ids, &bodies);
            writer_view(&sealed, row.sealed);
            nsdb_end(&s);
            at[++n] = bodies.n;
            row.is_dirty = false;
            row.sealed = writer_done(&sealed);
            rc = nsdb_inode_update(v->db, &row);
            nodeids[i] = 0;
        } else {
            nsdb_end(&s);
        }
    }
    if (rc < 0 || n == 0)
        return rc;
    if (!writer_ok(&bodies))
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        changes[i] = (struct change){ CHANGE_INODE, view_of(bodies.p + at[i], at[i + 1] - at[i]) };
    return opdraft_add(v, id, ctx, changes, n);
}

/* The first inode left in the list decides whose op comes next. */
static int sign_next(struct vault *v, const struct id16 *user, uint64_t *nodeids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct name_inode row;
        struct identity *id;
        struct class_key *k;
        struct nsdb_stmt s;

        if (nodeids[i] == 0)
            continue;
        if (nsdb_inode_get(v->db, nodeids[i], &s, &row) < 0) {
            nodeids[i] = 0;
            continue;
        }
        nsdb_end(&s);
        id = session_identity(v, &row.writer);
        k = id ? session_class(id, &row.class_id) : NULL;
        if (!k || k->ctx.epoch != row.epoch || k->rights != GRANT_RW ||
            (user && !id_equal(user, &row.writer))) {
            nodeids[i] = 0; /* stays dirty until its writer is back */
            continue;
        }
        int rc = sign_some(v, id, &k->ctx, nodeids + i, count - i);

        return rc < 0 ? rc : 1;
    }
    return 0;
}

int names_sign_some(struct vault *v, const struct id16 *user, uint64_t *io_after)
{
    enum { ROUND = 1024 };
    uint64_t nodeids[ROUND];
    size_t count = 0;
    int rc = nsdb_begin(v->db);

    if (rc < 0)
        return rc;
    rc = nsdb_inode_list_dirty(v->db, *io_after, nodeids, ROUND, &count);
    if (rc == 0 && count > 0)
        *io_after = nodeids[count - 1];
    while (rc == 0 && (rc = sign_next(v, user, nodeids, count)) > 0)
        rc = 0;
    if (rc < 0) {
        nsdb_rollback(v->db);
        return rc;
    }
    if (count == 0) {
        nsdb_rollback(v->db);
        return 0;
    }
    rc = nsdb_commit(v->db);
    return rc < 0 ? rc : count == ROUND;
}

int names_sign_dirty(struct vault *v, const struct id16 *user)
{
    uint64_t after = 0;
    int rc;

    do {
        rc = names_sign_some(v, user, &after);
    } while (rc > 0);
    return rc;
}
