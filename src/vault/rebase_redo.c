/* The second half of a rebase: parked changes on what the ledger says now (REBASE-1). */
#include "vault/rebase_redo.h"

#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "format/row.h"
#include "vault/header_new.h"
#include "vault/names.h"
#include "vault/notify.h"
#include "vault/nsdb_ledger.h"
#include "vault/opdraft.h"
#include "vault/rebase.h"
#include "vault/spool.h"

enum { REDO_ROWS_MAX = 4096 }; /* in one transaction; the rest follows in the next */

struct redo {
    struct vault *v;
    struct identity *id;
    struct class_key *key;
    struct session session; /* borrowed identity, for names_tx */
    struct names_tx tx;
    size_t done;
};

/* A parked row with its bytes, out of the statement. */
struct parked_copy {
    struct parked_row row;
    struct writer bytes; /* bytes || fk_box */
};

static void copy_fini(struct parked_copy *c)
{
    writer_fini(&c->bytes);
}

static int copy_rows(struct vault *v, const struct id16 *class_id, struct parked_copy **out_rows,
                     size_t *out_count)
{
    struct parked_copy *rows = calloc(REDO_ROWS_MAX, sizeof *rows);
    struct nsdb_stmt s;
    size_t n = 0;
    int rc = 0;

    if (!rows)
        return -ENOMEM;
    nsdb_parked_scan(v->db, class_id, &s);
    while (n < REDO_ROWS_MAX && (rc = nsdb_parked_next(&s, &rows[n].row)) > 0) {
        struct parked_copy *c = &rows[n++];
        size_t bytes = c->row.bytes.n;

        writer_init(&c->bytes);
        writer_view(&c->bytes, c->row.bytes);
        writer_view(&c->bytes, c->row.fk_box);
        if (!writer_ok(&c->bytes)) {
            rc = -ENOMEM;
            break;
        }
        c->row.bytes = view_of(c->bytes.p, bytes);
        c->row.fk_box = view_of(c->bytes.p ? c->bytes.p + bytes : NULL, c->bytes.n - bytes);
    }
    nsdb_end(&s);
    *out_rows = rows;
    *out_count = n;
    return rc < 0 ? rc : 0;
}

/* Changes of one parked row are one draft. */
static int flush_draft(struct redo *r)
{
    struct change changes[ARRAY_COUNT(r->tx.items)];

    if (r->tx.count == 0)
        return 0;
    if (!writer_ok(&r->tx.bodies))
        return -ENOMEM;
    for (size_t i = 0; i < r->tx.count; i++) {
        changes[i].type = r->tx.items[i].type;
        changes[i].body = view_of(r->tx.bodies.p + r->tx.items[i].at, r->tx.items[i].n);
    }
    int rc = opdraft_add(r->v, r->id, &r->key->ctx, changes, r->tx.count);

    writer_fini(&r->tx.bodies);
    writer_init(&r->tx.bodies);
    r->tx.count = 0;
    return rc;
}

static bool inode_lives(struct vault *v, const struct id16 *ino)
{
    struct name_inode row;
    struct nsdb_stmt s;

    if (nsdb_inode_find(v->db, ino, &s, &row) < 0)
        return false;
    nsdb_end(&s);
    return !row.is_gone;
}

/* A name that is free for this row in the directory: the wanted one, or a conflict name. */
static int free_name(struct redo *r, const struct id16 *row, const struct id16 *parent,
                     struct dentry *d)
{
    struct dentry wanted = *d;

    for (unsigned attempt = 0; attempt < 100; attempt++) {
        struct name_dentry there;
        struct nsdb_stmt s;
        struct id16 tag = name_tag(&r->key->rows, parent, view_of(d->name, d->name_bytes));
        int rc = nsdb_dentry_find(r->v->db, parent, &tag, &s, &there);

        if (rc == -ENOENT)
            return 0;
        if (rc < 0)
            return rc;
        nsdb_end(&s);
        if (id_equal(&there.row, row))
            return 0;
        *d = wanted;
        retire_conflict_name(d, attempt);
    }
    return -EEXIST;
}

/* The keys under which a row was parked; *own is the caller's (row_keys_free) where it is filled. */
static int parked_keys(struct redo *r, const struct parked_row *p, struct row_keys *own,
                       const struct row_keys **out_keys)
{
    const struct class_ctx ctx = {
        .patient = r->key->ctx.patient, .class_id = p->class_id, .epoch = p->epoch
    };
    int rc = 0;

    *out_keys = session_rows(r->v, &p->class_id, p->epoch);
    if (*out_keys)
        return 0;
    rc = PHR_E_LOCKED;
    for (struct identity *id = r->v->identities; id && rc < 0; id = id->next)
        rc = session_old_rows(r->v, id, &ctx, own);
    *out_keys = own;
    return rc;
}

static bool says_same(struct vault *v, struct name_dentry *now, const struct id16 *parent,
                      const struct dentry *d)
{
    struct dentry there;

    return id_equal(&now->parent, parent) && names_open_dentry(v, now, &there) == 0 &&
           there.type == d->type && id_equal(&there.ino, &d->ino) &&
           view_equal(view_of(there.name, there.name_bytes), view_of(d->name, d->name_bytes));
}

static int redo_dentry(struct redo *r, const struct parked_row *p)
{
    struct row_keys own = { 0 };
    const struct row_keys *keys;
    struct dentry_row ids;
    struct name_dentry now;
    struct nsdb_stmt s;
    struct dentry d;
    int there;
    int rc = dentry_row_decode(p->bytes, &ids);

    if (rc == 0)
        rc = parked_keys(r, p, &own, &keys);
    if (rc == 0)
        rc = dentry_open_sealed(keys, &ids, &d);
    row_keys_free(&own);
    if (rc < 0)
        return rc;
    if (!inode_lives(r->v, &d.ino))
        return 0; /* what it named was deleted elsewhere and not changed here */
    if (!inode_lives(r->v, &ids.parent))
        ids.parent = p->class_id; /* the folder is gone: into the compartment's root */
    there = nsdb_dentry_get(r->v->db, &p->id, &s, &now);
    if (there == 0) {
        bool is_same = (now.version == ids.version && view_equal(now.sealed, ids.sealed)) ||
                       says_same(r->v, &now, &ids.parent, &d);

        nsdb_end(&s);
        if (is_same || now.version != p->base)
            return 0; /* it came back, or the first committer renamed it */
        rc = free_name(r, &p->id, &ids.parent, &d);
        return rc < 0 ? rc : names_change_dentry(&r->tx, &now, &ids.parent, &d);
    }
    if (there != -ENOENT)
        return there;
    rc = free_name(r, &p->id, &ids.parent, &d);
    /* REBASE-3; a row that the ledger has had is not used again */
    return rc < 0 ? rc : names_new_dentry(&r->tx, p->base == 0 ? &p->id : NULL, &ids.parent, &d);
}

static int redo_inode(struct redo *r, const struct parked_row *p)
{
    struct row_keys own = { 0 };
    const struct row_keys *keys;
    scoped(inode_plain_free) struct writer plain = { 0 };
    struct name_inode now;
    struct inode_row ids;
    struct inode_attr attr;
    struct nsdb_stmt s;
    bool is_same;
    int rc = inode_row_decode(p->bytes, &ids);

    writer_init(&plain);
    if (rc == 0)
        rc = parked_keys(r, p, &own, &keys);
    if (rc == 0)
        rc = inode_open_sealed(keys, &ids, &plain, &attr);
    row_keys_free(&own);
    if (rc < 0)
        return rc;
    rc = nsdb_inode_find(r->v->db, &p->id, &s, &now);
    if (rc == -ENOENT)
        return 0; /* deleted elsewhere and purged: attributes alone do not bring it back */
    if (rc < 0)
        return rc;
    is_same = now.conf > 0 && now.version == ids.version && view_equal(now.sealed, ids.sealed);
    nsdb_end(&s);
    if (is_same || now.is_gone)
        return 0;
    if (now.conf == 0)
        return names_renew_inode(&r->tx, &now, &attr);
    {
        scoped(names_fini) struct node n = { 0 };

        rc = names_load(r->v, now.nodeid, &n);
        return rc < 0 ? rc : names_set_attr(r->v, &n, &attr, &r->id->user);
    }
}

/* The key set of a header in the ledger, where this writer can open it. */
static struct key_set *keys_of_now(struct redo *r, const struct name_header *now)
{
    struct key_set *set = NULL;
    struct header h;

    if (header_decode(now->bytes, &h) < 0 || access_keys_here(r->v, r->id, now, &h, &set) < 0)
        return NULL;
    return set;
}

/* Inserts what io_keys lacks, by generation; the oldest goes where there is no room. */
static int merge_keys(const struct key_set *set, struct file_key *io_keys, size_t *io_count)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct file_key *from = &set->keys[i];
        struct symkey *copy = secret_alloc(sizeof *copy);
        size_t at = 0;

        if (!copy)
            return -ENOMEM;
        memcpy(copy->b, from->key->b, sizeof copy->b);
        while (at < *io_count && io_keys[at].gen < from->gen)
            at++;
        if (at < *io_count && io_keys[at].gen == from->gen) { /* the same (is_same_number) */
            secret_free(copy);
            continue;
        }
        if (*io_count == FK_COUNT_MAX && at == 0) {
            secret_free(copy);
            continue;
        }
        if (*io_count == FK_COUNT_MAX) {
            secret_free(io_keys[0].key);
            memmove(io_keys, io_keys + 1, --*io_count * sizeof *io_keys);
            at--;
        }
        memmove(io_keys + at + 1, io_keys + at, (*io_count - at) * sizeof *io_keys);
        io_keys[at] = (struct file_key){ .gen = from->gen, .key = copy };
        ++*io_count;
    }
    return 0;
}

/* Two hosts drew the same generation for keys of their own (header_new.c). */
static bool is_same_number(const struct key_set *set, const struct file_key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct symkey *k = key_set_find(set, keys[i].gen);

        if (k && !secret_equal(k->b, keys[i].key->b, sizeof k->b))
            return true;
    }
    return false;
}

/* Keys of both sides: sealed contents of the ledger need its own, contents here the parked ones. */
static int redo_header(struct redo *r, const struct parked_row *p)
{
    struct file_key keys[FK_COUNT_MAX];
    struct key_set *theirs = NULL;
    struct key_set *set = NULL;
    struct name_header now;
    struct nsdb_stmt s;
    uint32_t conf = 0;
    size_t count = 0;
    bool is_same;
    int rc = nsdb_header_get(r->v->db, &p->id, &s, &now);

    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    is_same = now.conf == now.hdr_gen && view_equal(now.bytes, p->bytes);
    conf = now.conf;
    if (!is_same && conf > 0)
        theirs = keys_of_now(r, &now);
    nsdb_end(&s);
    if (is_same || !inode_lives(r->v, &p->id)) {
        key_set_release(theirs);
        return 0;
    }
    rc = session_open_box(r->id, &p->id, p->fk_box, keys, &count);
    if (rc == 0 && (theirs ? is_same_number(theirs, keys, count) : conf > 0 && conf != p->base)) {
        rc = retire_with_keys(r->v, &r->key->ctx.patient, p, theirs); /* REBASE-5 */
        file_keys_free(keys, count);
        key_set_release(theirs);
        return rc;
    }
    if (rc == 0 && theirs) {
        rc = merge_keys(theirs, keys, &count);
        if (rc < 0)
            file_keys_free(keys, count);
    }
    key_set_release(theirs);
    if (rc < 0)
        return rc == -ENOENT ? PHR_E_LOCKED : rc;
    rc = header_new_wrap(&r->key->ctx, &r->key->a_pub, &p->id, conf + 1, keys, count, &set);
    if (rc < 0)
        return rc;
    rc = names_put_header(&r->tx, set);
    key_set_release(set);
    return rc;
}

/* -EAGAIN: the ledger has not had the row; if it comes, it goes again (nsdb_parked_forget). */
static int redo_removal(struct redo *r, const struct parked_row *p)
{
    struct name_dentry dentry;
    struct name_inode inode;
    struct nsdb_stmt s;
    uint32_t links = 0;
    bool empty = true;
    int rc;

    if (p->kind == SHADOW_DENTRY) {
        rc = nsdb_dentry_get(r->v->db, &p->id, &s, &dentry);
        if (rc == -ENOENT)
            return p->base == 0 ? -EAGAIN : 0;
        if (rc < 0)
            return rc;
        nsdb_end(&s);
        return dentry.version == p->base ? names_remove_dentry(&r->tx, &dentry) : 0;
    }
    if (p->kind != SHADOW_INODE)
        return 0;
    rc = nsdb_inode_find(r->v->db, &p->id, &s, &inode);
    if (rc == 0)
        nsdb_end(&s);
    if (rc == -ENOENT || (rc == 0 && inode.is_gone))
        return p->base == 0 ? -EAGAIN : 0;
    if (rc < 0)
        return rc;
    if (inode.version != p->base)
        return 0; /* edit beats delete */
    rc = nsdb_dentry_count_links(r->v->db, &p->id, &links);
    if (rc == 0)
        rc = nsdb_dentry_is_empty(r->v->db, &p->id, &empty);
    if (rc < 0 || links > 0 || !empty)
        return rc;
    return names_remove_inode(&r->tx, &inode);
}

static int redo_row(struct redo *r, const struct parked_row *p)
{
    int rc;

    if (p->is_removed)
        rc = redo_removal(r, p);
    else if (p->kind == SHADOW_DENTRY)
        rc = redo_dentry(r, p);
    else if (p->kind == SHADOW_INODE)
        rc = redo_inode(r, p);
    else
        rc = redo_header(r, p);
    if (rc == 0)
        rc = flush_draft(r);
    if (rc == 0)
        rc = nsdb_parked_delete(r->v->db, p->kind, &p->id);
    return rc;
}

/* True when this row's writer can make it anew now. */
static bool may_redo(struct redo *r, const struct parked_row *p)
{
    r->id = session_identity(r->v, &p->writer);
    r->key = r->id ? session_class(r->id, &p->class_id) : NULL;
    if (!r->key || !r->key->has_rows || r->key->rights != GRANT_RW)
        return false;
    r->session = (struct session){ .id = r->id };
    r->tx.session = &r->session;
    r->tx.key = r->key;
    return true;
}

static int redo_class(struct redo *r, const struct id16 *class_id)
{
    struct parked_copy *rows = NULL;
    size_t count = 0;
    int rc = copy_rows(r->v, class_id, &rows, &count);

    /* Removals, then inodes, headers, names: the ledger takes none before what it hangs on. */
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (!may_redo(r, &rows[i].row))
            continue;
        rc = redo_row(r, &rows[i].row);
        if (rc == PHR_E_LOCKED || rc == PHR_E_SEAL || rc == -EAGAIN) {
            rc = 0; /* stays parked; shown in status */
            r->tx.count = 0;
            writer_fini(&r->tx.bodies);
            writer_init(&r->tx.bodies);
        } else if (rc == 0) {
            r->done++;
        }
    }
    for (size_t i = 0; i < count; i++)
        copy_fini(&rows[i]);
    free(rows);
    return rc;
}

int rebase_redo(struct vault *v, const struct id16 *patient)
{
    scoped(writer_fini) struct writer classes = { 0 };
    struct redo r = { .v = v };
    int rc;

    writer_init(&classes);
    writer_init(&r.tx.bodies);
    r.tx.v = v;
    rc = nsdb_begin(v->db);
    if (rc < 0)
        return rc;
    rc = rebase_classes(v, patient, &classes);
    for (size_t at = 0; rc == 0 && at + sizeof(struct id16) <= classes.n; at += sizeof(struct id16)) {
        struct id16 id;

        memcpy(id.b, classes.p + at, sizeof id.b);
        rc = redo_class(&r, &id);
    }
    writer_fini(&r.tx.bodies);
    if (rc < 0) {
        nsdb_rollback(v->db);
        spool_undo_tx(v->spool);
        return rc;
    }
    rc = nsdb_commit(v->db);
    if (rc == 0 && r.done > 0)
        notify_names(v);
    return rc;
}

int rebase_redo_all(struct vault *v)
{
    struct id16 patient = { { 0 } };
    uint32_t parked = 0;
    int rc = nsdb_parked_count(v->db, &parked);

    while (rc == 0 && parked > 0 && nsdb_patient_next(v->db, &patient, &patient) == 0)
        rc = rebase_redo(v, &patient);
    return rc;
}
