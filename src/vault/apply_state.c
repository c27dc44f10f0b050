/* struct ledger_state over the confirmed side of namespace.db: questions, and what is no name. */
#include <string.h>

#include "crypto/digest.h"
#include "format/header.h"
#include "vault/apply.h"
#include "vault/nsdb_ledger.h"
#include "vault/nsdb_names.h"

static struct nsdb *db_of(void *user)
{
    return ((struct apply *)user)->v->db;
}

static int get_head(void *user, const struct id16 *patient, uint64_t *out_seq,
                    struct digest *out_leaf)
{
    return nsdb_patient_get(db_of(user), patient, out_seq, out_leaf);
}

static int get_card(void *user, const struct id16 *patient, const struct id16 *writer,
                    struct card *out_card)
{
    return nsdb_card_get(db_of(user), patient, writer, out_card);
}

static int get_epoch_current(void *user, const struct id16 *patient, const struct id16 *class_id,
                             uint32_t *out_epoch)
{
    struct class_ctx ctx;
    int rc = nsdb_class_current(db_of(user), class_id, &ctx);

    if (rc < 0)
        return rc;
    if (!id_equal(&ctx.patient, patient))
        return -ENOENT;
    *out_epoch = ctx.epoch;
    return 0;
}

static int get_class(void *user, const struct class_ctx *ctx, struct ledger_class *out_class)
{
    struct ledger_class c;
    int rc = nsdb_class_get(db_of(user), &ctx->class_id, ctx->epoch, &c);

    if (rc < 0)
        return rc;
    if (!class_ctx_equal(&c.ctx, ctx))
        return -ENOENT;
    *out_class = c;
    return 0;
}

static int find_write_grant(void *user, const struct class_ctx *ctx, const struct id16 *writer,
                            const struct digest *card)
{
    struct nsdb_stmt s;
    struct grant g;
    int found = -ENOENT;
    int rc;

    nsdb_grant_scan(db_of(user), writer, &s);
    while (found == -ENOENT && (rc = nsdb_grant_next(&s, &g)) != 0) {
        if (rc < 0)
            found = rc;
        else if (class_ctx_equal(&g.ctx.class_ctx, ctx) && g.rights == GRANT_RW &&
                 digest_equal(&g.ctx.reader_card, card))
            found = 0;
    }
    nsdb_end(&s);
    return found;
}

static int get_grant(void *user, const struct id16 *patient, const struct id16 *grant,
                     struct grant *out_grant, bool *out_revoked)
{
    (void)patient;
    return nsdb_grant_get(db_of(user), grant, out_grant, out_revoked);
}

static int shadow_as_row(struct nsdb *db, enum shadow_kind kind, const struct id16 *id,
                         struct ledger_row *out_row)
{
    struct shadow_row shadow;
    struct nsdb_stmt s;
    int rc = nsdb_shadow_get(db, kind, id, &s, &shadow);

    if (rc < 0)
        return rc;
    nsdb_end(&s);
    *out_row = (struct ledger_row){
        .kind = kind == SHADOW_DENTRY ? LEDGER_ROW_DENTRY : LEDGER_ROW_INODE,
        .class_id = shadow.class_id, .epoch = shadow.epoch, .version = shadow.version,
        .parent = shadow.parent, .tag = shadow.tag
    };
    return shadow.version == 0 ? -EALREADY : 0; /* known to be absent */
}

static int dentry_as_row(struct nsdb *db, const struct id16 *id, struct ledger_row *out_row)
{
    struct name_dentry d;
    struct nsdb_stmt s;
    int rc = nsdb_dentry_get(db, id, &s, &d);

    if (rc < 0)
        return rc;
    nsdb_end(&s);
    *out_row = (struct ledger_row){
        .kind = LEDGER_ROW_DENTRY, .class_id = d.class_id, .epoch = d.epoch, .version = d.version,
        .parent = d.parent, .tag = d.tag
    };
    return d.conf == d.version ? 0 : -ENOENT;
}

static int inode_as_row(struct nsdb *db, const struct id16 *id, struct ledger_row *out_row)
{
    struct name_inode i;
    struct nsdb_stmt s;
    int rc = nsdb_inode_find(db, id, &s, &i);

    if (rc < 0)
        return rc;
    nsdb_end(&s);
    *out_row = (struct ledger_row){
        .kind = LEDGER_ROW_INODE, .class_id = i.class_id, .epoch = i.epoch, .version = i.version
    };
    return i.conf == i.version && !i.is_gone && i.kind <= NODE_CLASS ? 0 : -ENOENT;
}

/* The ledger's image: the shadow where one stands, else the row itself when it is confirmed. */
static int get_row(void *user, const struct id16 *patient, const struct id16 *row,
                   struct ledger_row *out_row)
{
    struct nsdb *db = db_of(user);
    int rc;

    (void)patient;
    rc = shadow_as_row(db, SHADOW_INODE, row, out_row);
    if (rc == -ENOENT)
        rc = inode_as_row(db, row, out_row);
    if (rc == -ENOENT)
        rc = shadow_as_row(db, SHADOW_DENTRY, row, out_row);
    if (rc == -ENOENT)
        rc = dentry_as_row(db, row, out_row);
    return rc == -EALREADY ? -ENOENT : rc;
}

static int find_name(void *user, const struct id16 *patient, const struct id16 *parent,
                     const struct id16 *tag, struct id16 *out_row)
{
    struct name_dentry d;
    struct nsdb_stmt s;
    int rc;

    (void)patient;
    rc = nsdb_shadow_find_name(db_of(user), parent, tag, out_row);
    if (rc != -ENOENT)
        return rc;
    rc = nsdb_dentry_find(db_of(user), parent, tag, &s, &d);
    if (rc < 0)
        return rc;
    nsdb_end(&s);
    if (d.conf != d.version)
        return -ENOENT; /* a name that only this host has */
    *out_row = d.row;
    return 0;
}

static int get_header(void *user, const struct id16 *patient, const struct id16 *file,
                      struct ledger_header *out_header)
{
    struct nsdb *db = db_of(user);
    struct shadow_row shadow;
    struct name_header row;
    struct nsdb_stmt s;
    struct header h;
    struct view bytes;
    int rc = nsdb_shadow_get(db, SHADOW_HEADER, file, &s, &shadow);

    (void)patient;
    bytes = rc == 0 ? shadow.bytes : view_of(NULL, 0);
    if (rc == -ENOENT) {
        rc = nsdb_header_get(db, file, &s, &row);
        if (rc < 0)
            return rc;
        bytes = row.bytes;
        if (row.conf != row.hdr_gen)
            rc = -ENOENT;
    }
    if (rc == 0)
        rc = header_decode(bytes, &h);
    if (rc == 0) {
        out_header->ctx = h.ctx;
        out_header->hash = header_digest(bytes);
    }
    nsdb_end(&s);
    return rc;
}

static int get_content_version(void *user, const struct id16 *patient, const struct id16 *file,
                               uint64_t *out_version)
{
    (void)patient;
    return nsdb_seal_get(db_of(user), file, out_version);
}

static int get_last_n(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t *out_n)
{
    return nsdb_last_n_get(db_of(user), patient, writer, host, lane, out_n);
}

static int put_head(void *user, const struct id16 *patient, uint64_t seq, const struct digest *leaf,
                    struct view entry_bytes)
{
    (void)entry_bytes; /* the ledger itself is phrd's and the bucket's to keep */
    return nsdb_patient_put(db_of(user), patient, seq, leaf);
}

static int put_card(void *user, const struct id16 *patient, const struct card *card,
                    struct view bytes)
{
    ((struct apply *)user)->has_rights_changed = true;
    return nsdb_card_put(db_of(user), patient, card, bytes);
}

static int put_class(void *user, const struct class_record *record, struct view bytes)
{
    ((struct apply *)user)->has_rights_changed = true;
    return nsdb_class_put(db_of(user), record, bytes);
}

static int put_epoch_state(void *user, const struct class_ctx *ctx, enum ledger_epoch_state state,
                           uint64_t time_s)
{
    ((struct apply *)user)->has_rights_changed = true;
    return nsdb_class_set_state(db_of(user), ctx, state, time_s);
}

static int put_grant(void *user, const struct grant *grant, struct view bytes)
{
    ((struct apply *)user)->has_rights_changed = true;
    return nsdb_grant_put(db_of(user), grant, bytes);
}

static int put_revoke(void *user, const struct id16 *patient, const struct revoke *revoke)
{
    (void)patient;
    ((struct apply *)user)->has_rights_changed = true;
    return nsdb_grant_revoke(db_of(user), &revoke->grant);
}

static int put_last_n(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t n)
{
    return nsdb_last_n_put(db_of(user), patient, writer, host, lane, n);
}

void apply_state_init(struct apply *a, struct ledger_state *out_state)
{
    *out_state = (struct ledger_state){
        .user = a,
        .get_head = get_head,
        .get_card = get_card,
        .get_epoch_current = get_epoch_current,
        .get_class = get_class,
        .find_write_grant = find_write_grant,
        .get_grant = get_grant,
        .get_row = get_row,
        .find_name = find_name,
        .get_header = get_header,
        .get_content_version = get_content_version,
        .get_last_n = get_last_n,
        .put_head = put_head,
        .put_card = put_card,
        .put_class = put_class,
        .put_epoch_state = put_epoch_state,
        .put_grant = put_grant,
        .put_revoke = put_revoke,
        .put_header = apply_put_header,
        .put_dentry = apply_put_dentry,
        .put_inode = apply_put_inode,
        .put_remove = apply_put_remove,
        .put_seal = apply_put_seal,
        .put_epoch_rows = apply_put_epoch_rows,
        .put_last_n = put_last_n
    };
}
