#include "srs/srs_state.h"

#include <string.h>

#include "crypto/digest.h"
#include "format/header.h"
#include "srs/srs_rows.h"

bool srs_state_is_failure(int rc)
{
    return rc < 0 && rc > -4096 && rc != -ENOENT;
}

/* ---- questions of the ledger ---- */

static int get_head(void *user, const struct id16 *patient, uint64_t *out_seq,
                    struct digest *out_leaf)
{
    const struct srs_state *s = user;
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT seq, leaf FROM head WHERE patient = ?");
    int rc;

    srs_db_bind_id(&q, patient);
    rc = srs_db_first(&q);
    if (rc < 0)
        return rc;
    srs_db_col_bytes(&q, 1, out_leaf->b, sizeof out_leaf->b, &rc);
    *out_seq = srs_db_col_u64(&q, 0);
    return rc;
}

static int get_card(void *user, const struct id16 *patient, const struct id16 *writer,
                    struct card *out_card)
{
    const struct srs_state *s = user;
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db, "SELECT bytes FROM card INDEXED BY card_user WHERE patient = ? AND user = ?"
               " AND is_newest = 1");
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, writer);
    rc = srs_db_first(&q);
    return rc < 0 ? rc : card_decode(srs_db_col_view(&q, 0), out_card);
}

int srs_state_get_card(const struct srs_state *s, const struct id16 *patient,
                       const struct digest *hash, struct card *out_card)
{
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT bytes FROM card WHERE patient = ? AND hash = ?");
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_digest(&q, hash);
    rc = srs_db_first(&q);
    return rc < 0 ? rc : card_decode(srs_db_col_view(&q, 0), out_card);
}

static int get_epoch_current(void *user, const struct id16 *patient,
                             const struct id16 *class_id, uint32_t *out_epoch)
{
    const struct srs_state *s = user;
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT epoch FROM class WHERE patient = ? AND class = ? "
                            "ORDER BY epoch DESC LIMIT 1");
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, class_id);
    rc = srs_db_first(&q);
    if (rc == 0)
        *out_epoch = (uint32_t)srs_db_col_u64(&q, 0);
    return rc;
}

static int get_class(void *user, const struct class_ctx *ctx,
                     struct ledger_class *out_class)
{
    const struct srs_state *s = user;
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT a, state, held_s FROM class WHERE patient = ? AND "
                            "class = ? AND epoch = ?");
    struct ledger_class found = { .ctx = *ctx };
    int rc;

    srs_db_bind_id(&q, &ctx->patient);
    srs_db_bind_id(&q, &ctx->class_id);
    srs_db_bind_u64(&q, ctx->epoch);
    rc = srs_db_first(&q);
    if (rc < 0)
        return rc;
    srs_db_col_bytes(&q, 0, found.a.b, sizeof found.a.b, &rc);
    found.state = (enum ledger_epoch_state)srs_db_col_u64(&q, 1);
    found.held_since_s = srs_db_col_u64(&q, 2);
    if (rc == 0)
        *out_class = found;
    return rc;
}

static int find_write_grant(void *user, const struct class_ctx *ctx,
                            const struct id16 *writer, const struct digest *card)
{
    const struct srs_state *s = user;
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT 1 FROM grants WHERE patient = ? AND class = ? AND "
                            "epoch = ? AND reader = ?"
                            " AND card = ? AND rights = ? AND is_revoked = 0");

    srs_db_bind_id(&q, &ctx->patient);
    srs_db_bind_id(&q, &ctx->class_id);
    srs_db_bind_u64(&q, ctx->epoch);
    srs_db_bind_id(&q, writer);
    srs_db_bind_digest(&q, card);
    srs_db_bind_u64(&q, GRANT_RW);
    return srs_db_first(&q);
}

int srs_state_get_grant(const struct srs_state *s, const struct id16 *grant,
                        struct srs_grant *out_grant)
{
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db,
        "SELECT bytes, is_revoked, opens, slot, box FROM grants WHERE grant_id = ?");
    struct srs_grant g = { 0 };
    int rc;

    srs_db_bind_id(&q, grant);
    rc = srs_db_first(&q);
    if (rc == 0)
        rc = grant_decode(srs_db_col_view(&q, 0), &g.grant);
    if (rc < 0)
        return rc;
    g.is_revoked = srs_db_col_u64(&q, 1) != 0;
    g.opens = srs_db_col_u64(&q, 2);
    g.has_key = srs_db_col_view(&q, 4).n > 0;
    if (g.has_key) {
        g.slot = (uint32_t)srs_db_col_u64(&q, 3);
        srs_db_col_bytes(&q, 4, g.box, sizeof g.box, &rc);
    }
    if (rc == 0)
        *out_grant = g;
    return rc;
}

int srs_state_add_opens(const struct srs_state *s, const struct id16 *grant,
                        uint64_t count)
{
    struct srs_stmt q =
        srs_db_query(s->db, "UPDATE grants SET opens = opens + ? WHERE grant_id = ?");

    srs_db_bind_u64(&q, count);
    srs_db_bind_id(&q, grant);
    return srs_db_run(&q);
}

static int get_grant(void *user, const struct id16 *patient, const struct id16 *grant,
                     struct grant *out_grant, bool *out_revoked)
{
    struct srs_grant g;
    int rc = srs_state_get_grant(user, grant, &g);

    if (rc < 0)
        return rc;
    /* Another patient's: there is one of this name, and it is not this patient's to change. */
    if (!id_equal(&g.grant.ctx.class_ctx.patient, patient))
        return PHR_E_RIGHTS;
    *out_grant = g.grant;
    *out_revoked = g.is_revoked;
    return 0;
}

int srs_state_get_header(const struct srs_state *s, const struct id16 *patient,
                         const struct id16 *file, struct srs_header *out_header)
{
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db,
        "SELECT class, epoch, gen, hash, w FROM header WHERE patient = ? AND file = ?");
    struct srs_header h = { .ctx = { .class_ctx = { .patient = *patient },
                                     .file = *file } };
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, file);
    rc = srs_db_first(&q);
    if (rc < 0)
        return rc;
    srs_db_col_bytes(&q, 0, h.ctx.class_ctx.class_id.b, sizeof h.ctx.class_ctx.class_id.b,
                     &rc);
    h.ctx.class_ctx.epoch = (uint32_t)srs_db_col_u64(&q, 1);
    h.ctx.hdr_gen = (uint32_t)srs_db_col_u64(&q, 2);
    srs_db_col_bytes(&q, 3, h.hash.b, sizeof h.hash.b, &rc);
    srs_db_col_bytes(&q, 4, h.w.b, sizeof h.w.b, &rc);
    if (rc == 0)
        *out_header = h;
    return rc;
}

static int get_header(void *user, const struct id16 *patient, const struct id16 *file,
                      struct ledger_header *out_header)
{
    struct srs_header h;
    int rc = srs_state_get_header(user, patient, file, &h);

    if (rc == 0)
        *out_header = (struct ledger_header){ .ctx = h.ctx, .hash = h.hash };
    return rc;
}

static int get_content_version(void *user, const struct id16 *patient,
                               const struct id16 *file, uint64_t *out_version)
{
    const struct srs_state *s = user;
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT version FROM seal WHERE patient = ? AND file = ?");
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, file);
    rc = srs_db_first(&q);
    if (rc == 0)
        *out_version = srs_db_col_u64(&q, 0);
    return rc;
}

static int get_last_n(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t *out_n)
{
    const struct srs_state *s = user;
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db,
        "SELECT n FROM lane WHERE patient = ? AND writer = ? AND host = ? AND lane = ?");
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, writer);
    srs_db_bind_id(&q, host);
    srs_db_bind_u64(&q, lane);
    rc = srs_db_first(&q);
    if (rc == 0)
        *out_n = srs_db_col_u64(&q, 0);
    return rc;
}

/* ---- changes of the ledger ---- */

int srs_state_put_entry(const struct srs_state *s, const struct id16 *patient,
                        uint64_t seq, const struct digest *leaf, struct view bytes,
                        bool is_stored)
{
    struct srs_stmt q = srs_db_query(
        s->db, "INSERT INTO entry(patient, seq, is_stored, bytes) VALUES(?,?,?,?)");
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_u64(&q, seq);
    srs_db_bind_u64(&q, is_stored);
    srs_db_bind_view(&q, bytes);
    rc = srs_db_run(&q);
    if (rc < 0)
        return rc;
    q = srs_db_query(s->db,
                     "INSERT OR REPLACE INTO head(patient, seq, leaf) VALUES(?,?,?)");
    srs_db_bind_id(&q, patient);
    srs_db_bind_u64(&q, seq);
    srs_db_bind_digest(&q, leaf);
    return srs_db_run(&q);
}

/* Only verify_entry_apply asks for this: an import, whose entries come from the bucket. */
static int put_head(void *user, const struct id16 *patient, uint64_t seq,
                    const struct digest *leaf, struct view entry_bytes)
{
    return srs_state_put_entry(user, patient, seq, leaf, entry_bytes, true);
}

static int put_card(void *user, const struct id16 *patient, const struct card *card,
                    struct view bytes)
{
    const struct srs_state *s = user;
    struct srs_stmt q = srs_db_query(
        s->db,
        "UPDATE card INDEXED BY card_user SET is_newest = 0 WHERE patient = ? AND user = ?"
        " AND is_newest = 1");
    int rc;

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, &card->user);
    rc = srs_db_run(&q);
    if (rc < 0)
        return rc;
    q = srs_db_query(s->db, "INSERT OR REPLACE INTO card(hash, patient, user, is_newest, "
                            "bytes) VALUES(?,?,?,1,?)");
    srs_db_bind_digest(&q, &card->hash);
    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, &card->user);
    srs_db_bind_view(&q, bytes);
    return srs_db_run(&q);
}

static int put_class(void *user, const struct class_record *record, struct view bytes)
{
    const struct srs_state *s = user;
    struct srs_stmt q = srs_db_query(
        s->db,
        "INSERT INTO class(patient, class, epoch, a, state, held_s) VALUES(?,?,?,?,?,0)");

    (void)bytes;
    srs_db_bind_id(&q, &record->ctx.patient);
    srs_db_bind_id(&q, &record->ctx.class_id);
    srs_db_bind_u64(&q, record->ctx.epoch);
    srs_db_bind_view(&q, view_of(record->a.b, sizeof record->a.b));
    srs_db_bind_u64(&q, LEDGER_EPOCH_CURRENT);
    return srs_db_run(&q);
}

static int put_epoch_state(void *user, const struct class_ctx *ctx,
                           enum ledger_epoch_state state, uint64_t time_s)
{
    const struct srs_state *s = user;
    struct srs_stmt q =
        srs_db_query(s->db, "UPDATE class SET state = ?, held_s = ? WHERE patient = ? "
                            "AND class = ? AND epoch = ?");

    srs_db_bind_u64(&q, state);
    srs_db_bind_u64(&q, time_s);
    srs_db_bind_id(&q, &ctx->patient);
    srs_db_bind_id(&q, &ctx->class_id);
    srs_db_bind_u64(&q, ctx->epoch);
    return srs_db_run(&q);
}

static int put_grant(void *user, const struct grant *grant, struct view bytes)
{
    const struct srs_state *s = user;
    struct srs_stmt q = srs_db_query(
        s->db,
        "INSERT INTO grants(grant_id, patient, class, epoch, reader, card, rights,"
        " is_revoked, opens, slot, box, bytes) VALUES(?,?,?,?,?,?,?,0,0,NULL,NULL,?)");

    srs_db_bind_id(&q, &grant->ctx.grant);
    srs_db_bind_id(&q, &grant->ctx.class_ctx.patient);
    srs_db_bind_id(&q, &grant->ctx.class_ctx.class_id);
    srs_db_bind_u64(&q, grant->ctx.class_ctx.epoch);
    srs_db_bind_id(&q, &grant->ctx.reader);
    srs_db_bind_digest(&q, &grant->ctx.reader_card);
    srs_db_bind_u64(&q, grant->rights);
    srs_db_bind_view(&q, bytes);
    return srs_db_run(&q);
}

static int put_revoke(void *user, const struct id16 *patient, const struct revoke *revoke)
{
    const struct srs_state *s = user;
    struct srs_stmt q = srs_db_query(
        s->db, "UPDATE grants SET is_revoked = 1 WHERE grant_id = ? AND patient = ?");

    srs_db_bind_id(&q, &revoke->grant);
    srs_db_bind_id(&q, patient);
    return srs_db_run(&q);
}

/* W = E + V is computed here once, so that an open is one multiplication. */
static int put_header(void *user, const struct file_ctx *ctx, const struct digest *hash,
                      struct view bytes)
{
    const struct srs_state *s = user;
    struct header h;
    struct point w;
    struct srs_stmt q;
    int rc = header_decode(bytes, &h);

    if (rc == 0)
        rc = pre_capsule_w(&h.capsule, &w);
    if (rc < 0)
        return rc;
    q = srs_db_query(
        s->db, "INSERT OR REPLACE INTO header(patient, file, class, epoch, gen, hash, w)"
               " VALUES(?,?,?,?,?,?,?)");
    srs_db_bind_id(&q, &ctx->class_ctx.patient);
    srs_db_bind_id(&q, &ctx->file);
    srs_db_bind_id(&q, &ctx->class_ctx.class_id);
    srs_db_bind_u64(&q, ctx->class_ctx.epoch);
    srs_db_bind_u64(&q, ctx->hdr_gen);
    srs_db_bind_digest(&q, hash);
    srs_db_bind_view(&q, view_of(w.b, sizeof w.b));
    return srs_db_run(&q);
}

static int put_seal(void *user, const struct class_ctx *ctx,
                    const struct seal_change *seal)
{
    const struct srs_state *s = user;
    struct srs_stmt q = srs_db_query(
        s->db, "INSERT OR REPLACE INTO seal(patient, file, version) VALUES(?,?,?)");

    srs_db_bind_id(&q, &ctx->patient);
    srs_db_bind_id(&q, &seal->file);
    srs_db_bind_u64(&q, seal->content_version);
    return srs_db_run(&q);
}

static int put_last_n(void *user, const struct id16 *patient, const struct id16 *writer,
                      const struct id16 *host, enum op_lane lane, uint64_t n)
{
    const struct srs_state *s = user;
    struct srs_stmt q = srs_db_query(
        s->db,
        "INSERT OR REPLACE INTO lane(patient, writer, host, lane, n) VALUES(?,?,?,?,?)");

    srs_db_bind_id(&q, patient);
    srs_db_bind_id(&q, writer);
    srs_db_bind_id(&q, host);
    srs_db_bind_u64(&q, lane);
    srs_db_bind_u64(&q, n);
    return srs_db_run(&q);
}

void srs_state_init(struct srs_state *s)
{
    s->ledger = (struct ledger_state){
        .user = s,
        .get_head = get_head,
        .get_card = get_card,
        .get_epoch_current = get_epoch_current,
        .get_class = get_class,
        .find_write_grant = find_write_grant,
        .get_grant = get_grant,
        .get_row = srs_rows_get,
        .find_name = srs_rows_find_name,
        .get_header = get_header,
        .get_content_version = get_content_version,
        .get_last_n = get_last_n,
        .count_children = srs_rows_count_children,
        .put_head = put_head,
        .put_card = put_card,
        .put_class = put_class,
        .put_epoch_state = put_epoch_state,
        .put_grant = put_grant,
        .put_revoke = put_revoke,
        .put_header = put_header,
        .put_dentry = srs_rows_put_dentry,
        .put_inode = srs_rows_put_inode,
        .put_remove = srs_rows_put_remove,
        .put_seal = put_seal,
        .put_epoch_rows = srs_rows_put_epoch,
        .put_last_n = put_last_n,
    };
}
