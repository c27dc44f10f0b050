/*
 * A realm in one process, for the tests of ledger and srs: an authority, people with keys and cards,
 * an owner's compartments, ops. Made with the same functions that mounts and clients use.
 */
#ifndef PHR_TESTS_UNIT_TINY_REALM_H
#define PHR_TESTS_UNIT_TINY_REALM_H

#include "check.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "crypto/digest.h"
#include "crypto/pre_owner.h"
#include "crypto/pre_reader.h"
#include "crypto/pre_writer.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "format/header.h"
#include "format/op.h"
#include "format/row.h"
#include "format/snapshot.h"
#include "ledger/verify.h"

enum { TINY_YEAR_S = 365 * 24 * 3600 };

struct tiny_person {
    struct sign_key *sign;
    struct scalar *b;
    struct card card;
    uint8_t bytes[CARD_BYTES_MAX];
    size_t n;
};

static inline void tiny_approve(struct tiny_person *p, struct view request,
                                const struct sign_key *authority,
                                const struct verify_key *authority_pk)
{
    struct writer w;

    writer_init_fixed(&w, (struct span){ p->bytes, sizeof p->bytes });
    CHECK_EQ(card_approve(request, authority, &w), 0);
    p->n = w.n;
    CHECK_EQ(card_check(view_of(p->bytes, p->n), authority_pk, &p->card), 0);
}

/* authority NULL: it signs itself. Owners are called by the hash of their key. */
static inline struct tiny_person tiny_person_new(enum card_role role, const char *label,
                                                 const struct tiny_person *authority)
{
    struct tiny_person p = { .sign = sign_key_new(), .b = secret_alloc(sizeof *p.b) };
    const uint64_t now_s = clock_realtime_s();
    struct card c = { .role = role,
                      .not_before_s = now_s - 60,
                      .not_after_s = now_s + TINY_YEAR_S,
                      .serial = 1 };
    struct writer request;
    struct verify_key pk;

    assert_non_null(p.sign);
    assert_non_null(p.b);
    pre_scalar_random(p.b);
    c.ed = sign_key_public(p.sign);
    CHECK_EQ(pre_public(p.b, &c.b), 0);
    c.user = role == CARD_OWNER ? patient_id(&c.ed) : random_id();
    if (role != CARD_OWNER)
        memcpy(c.label, label, strlen(label));
    writer_init(&request);
    CHECK_EQ(card_request_encode(&c, p.sign, p.b, &request), 0);
    pk = sign_key_public(authority ? authority->sign : p.sign);
    tiny_approve(&p, writer_done(&request), authority ? authority->sign : p.sign, &pk);
    writer_fini(&request);
    return p;
}

static inline void tiny_person_fini(struct tiny_person *p)
{
    sign_key_free(p->sign);
    secret_free(p->b);
}

/* ---- compartments ---- */

struct tiny_class {
    struct class_ctx ctx;
    struct scalar *a;
    struct point a_pub;
    struct symkey *nk;
    struct row_keys rows;
};

static inline struct tiny_class tiny_class_new(const struct class_ctx *ctx)
{
    struct tiny_class c = { .ctx = *ctx,
                            .a = secret_alloc(sizeof *c.a),
                            .nk = secret_alloc(sizeof *c.nk) };

    assert_non_null(c.a);
    assert_non_null(c.nk);
    pre_scalar_random(c.a);
    CHECK_EQ(pre_public(c.a, &c.a_pub), 0);
    random_fill(c.nk->b, sizeof c.nk->b);
    CHECK_EQ(row_keys_derive(c.nk, ctx, &c.rows), 0);
    return c;
}

static inline void tiny_class_fini(struct tiny_class *c)
{
    secret_free(c->a);
    secret_free(c->nk);
    row_keys_free(&c->rows);
}

/* ---- ops ---- */

struct tiny_op {
    struct op op;
    struct change changes[OP_CHANGES_MAX];
    struct writer bodies[OP_CHANGES_MAX];
    struct writer bytes;
    struct signed_op is;
};

static inline struct tiny_op *tiny_op_new(const struct class_ctx *ctx)
{
    struct tiny_op *t = calloc(1, sizeof *t);

    assert_non_null(t);
    t->op = (struct op){ .patient = ctx->patient,
                         .class_id = ctx->class_id,
                         .epoch = ctx->epoch,
                         .time_s = clock_realtime_s(),
                         .changes = t->changes };
    writer_init(&t->bytes);
    return t;
}

static inline void tiny_op_free(struct tiny_op *t)
{
    for (uint16_t i = 0; i < t->op.count; i++)
        writer_fini(&t->bodies[i]);
    writer_fini(&t->bytes);
    free(t);
}

static inline struct writer *tiny_op_add(struct tiny_op *t, enum change_type type)
{
    struct writer *w = &t->bodies[t->op.count];

    t->changes[t->op.count++].type = type;
    writer_init(w);
    return w;
}

/* n also names the lane. */
static inline struct signed_op tiny_op_sign(struct tiny_op *t,
                                            const struct tiny_person *writer,
                                            const struct id16 *host, uint64_t n)
{
    for (uint16_t i = 0; i < t->op.count; i++)
        t->changes[i].body = writer_done(&t->bodies[i]);
    t->op.writer = writer->card.user;
    t->op.writer_card = writer->card.hash;
    t->op.host = *host;
    t->op.n = n;
    t->bytes.n = 0;
    CHECK_EQ(op_encode(&t->op, &t->bytes), 0);
    t->is.op = writer_done(&t->bytes);
    t->is.sig = op_sign(t->is.op, writer->sign);
    return t->is;
}

/* ---- changes ---- */

static inline void tiny_put_card(struct tiny_op *t, const struct tiny_person *p)
{
    writer_bytes(tiny_op_add(t, CHANGE_CARD_PIN), p->bytes, p->n);
}

static inline void tiny_write_record(const struct tiny_class *c,
                                     const struct tiny_person *owner, struct writer *out)
{
    uint8_t plain[96];
    uint8_t sealed[96 + SEAL_EXTRA_BYTES];
    uint8_t ctx[CLASS_CTX_BYTES];
    struct class_record record = { .ctx = c->ctx,
                                   .a = c->a_pub,
                                   .sealed = { sealed, sizeof sealed } };

    memcpy(plain, c->a->b, 32);
    memset(plain + 32, 7, 32);
    memcpy(plain + 64, c->nk->b, 32);
    class_ctx_encode(&c->ctx, ctx);
    CHECK_EQ(seal_to(&owner->card.b, view_of(ctx, sizeof ctx),
                     view_of(plain, sizeof plain),
                     (struct span){ sealed, sizeof sealed }),
             0);
    class_record_encode(&record, out);
}

/* A header for this file; *out_kek (may be NULL) is what opens it. */
static inline void tiny_write_header(const struct tiny_class *c, const struct id16 *file,
                                     uint32_t gen, const struct symkey *key,
                                     struct symkey *out_kek, struct writer *out)
{
    struct symkey *kek = secret_alloc(sizeof *kek);
    struct symkey *fresh = secret_alloc(sizeof *fresh);
    const struct file_ctx ctx = { .class_ctx = c->ctx, .file = *file, .hdr_gen = gen };
    struct file_key fk;
    struct capsule capsule;
    struct digest commit;

    assert_non_null(kek);
    assert_non_null(fresh);
    random_fill(fresh->b, sizeof fresh->b);
    if (key)
        memcpy(fresh->b, key->b, sizeof fresh->b);
    fk = (struct file_key){ .gen = 1, .key = fresh };
    CHECK_EQ(pre_encaps(&c->a_pub, &ctx, &capsule, kek, &commit), 0);
    CHECK_EQ(header_seal(AEAD_XCHACHA, &ctx, &capsule, kek, &commit, &fk, 1, out), 0);
    if (out_kek)
        *out_kek = *kek;
    secret_free(kek);
    secret_free(fresh);
}

static inline void tiny_put_header(struct tiny_op *t, const struct tiny_class *c,
                                   const struct id16 *file, uint32_t gen,
                                   struct writer *keep)
{
    struct header_change change = { .file = *file, .hdr_gen = gen };
    struct writer bytes;

    writer_init(&bytes);
    tiny_write_header(c, file, gen, NULL, NULL, &bytes);
    change.header = writer_done(&bytes);
    header_change_encode(&change, tiny_op_add(t, CHANGE_HEADER));
    if (keep)
        writer_view(keep, writer_done(&bytes));
    writer_fini(&bytes);
}

static inline void tiny_write_inode(const struct tiny_class *c, const struct id16 *ino,
                                    uint64_t version, struct writer *out)
{
    const struct inode_attr attr = { .mode = S_IFREG | 0644 };
    struct inode_row row = { .ino = *ino, .version = version };
    struct writer sealed;

    writer_init(&sealed);
    CHECK_EQ(inode_seal(&c->rows, &row, &attr, &sealed), 0);
    row.sealed = writer_done(&sealed);
    inode_row_encode(&row, out);
    writer_fini(&sealed);
}

static inline void tiny_put_inode(struct tiny_op *t, const struct tiny_class *c,
                                  const struct id16 *ino, uint64_t version)
{
    tiny_write_inode(c, ino, version, tiny_op_add(t, CHANGE_INODE));
}

static inline void tiny_write_dentry(const struct tiny_class *c, const struct id16 *row16,
                                     const struct id16 *parent, const char *name,
                                     const struct id16 *ino, uint64_t version,
                                     struct writer *out)
{
    struct dentry d = { .ino = *ino, .type = DT_REG, .name_bytes = strlen(name) };
    struct dentry_row row = { .row = *row16, .parent = *parent, .version = version };
    struct writer sealed;

    memcpy(d.name, name, d.name_bytes);
    row.tag = name_tag(&c->rows, parent, view_text(name));
    writer_init(&sealed);
    CHECK_EQ(dentry_seal(&c->rows, &row, &d, &sealed), 0);
    row.sealed = writer_done(&sealed);
    dentry_row_encode(&row, out);
    writer_fini(&sealed);
}

static inline void tiny_put_dentry(struct tiny_op *t, const struct tiny_class *c,
                                   const struct id16 *row16, const struct id16 *parent,
                                   const char *name, const struct id16 *ino,
                                   uint64_t version)
{
    tiny_write_dentry(c, row16, parent, name, ino, version,
                      tiny_op_add(t, CHANGE_DENTRY));
}

static inline void tiny_put_remove(struct tiny_op *t, const struct id16 *row,
                                   uint64_t version)
{
    const struct remove_change change = { .row = *row, .version = version };

    remove_encode(&change, tiny_op_add(t, CHANGE_REMOVE));
}

static inline void tiny_put_ctx(struct tiny_op *t, enum change_type type,
                                const struct class_ctx *ctx)
{
    uint8_t bytes[CLASS_CTX_BYTES];

    class_ctx_encode(ctx, bytes);
    writer_bytes(tiny_op_add(t, type), bytes, sizeof bytes);
}

static inline void tiny_put_revoke(struct tiny_op *t, const struct id16 *grant)
{
    const struct revoke revoke = { .grant = *grant, .reason = REVOKE_OWNER };

    revoke_encode(&revoke, tiny_op_add(t, CHANGE_REVOKE));
}

/* A grant, and beside it the sealed re-encryption key. */
struct tiny_grant {
    struct grant grant;
    uint8_t sealed[32 + SEAL_EXTRA_BYTES];
};

static inline struct tiny_grant
tiny_put_grant(struct tiny_op *t, const struct tiny_class *c,
               const struct tiny_person *owner, const struct tiny_person *reader,
               const struct point *srs, const struct grant *wish)
{
    struct scalar *rk = secret_alloc(sizeof *rk);
    struct tiny_grant g = { .grant = *wish };
    uint8_t ctx[GRANT_CTX_BYTES];

    assert_non_null(rk);
    g.grant.ctx =
        (struct grant_ctx){ c->ctx, random_id(), reader->card.user, reader->card.hash };
    g.grant.a = c->a_pub;
    g.grant.b = reader->card.b;
    CHECK_EQ(pre_rekeygen(c->a, &c->a_pub, &reader->card.b, &g.grant.ctx, rk, &g.grant.x,
                          &g.grant.r),
             0);
    grant_ctx_encode(&g.grant.ctx, ctx);
    CHECK_EQ(seal_to(srs, view_of(ctx, sizeof ctx), view_of(rk->b, sizeof rk->b),
                     (struct span){ g.sealed, sizeof g.sealed }),
             0);
    g.grant.sealed_rk = digest_sha256(view_of(g.sealed, sizeof g.sealed));
    CHECK_EQ(grant_encode(&g.grant, owner->sign, tiny_op_add(t, CHANGE_GRANT)), 0);
    secret_free(rk);
    return g;
}

static inline struct grant tiny_wish(enum grant_rights rights)
{
    const uint64_t now_s = clock_realtime_s();

    return (struct grant){ .rights = rights,
                           .not_before_s = now_s - 60,
                           .not_after_s = now_s + 3600 };
}

/* ---- the realm ---- */

struct tiny_realm {
    struct tiny_person authority, srs, owner, reader, writer;
    struct verify_anchor anchor;
    struct id16 patient;
    struct id16 host;
    struct tiny_class labs; /* epoch 1 */
    uint64_t n;             /* of the last op of anybody here */
};

static inline void tiny_realm_init(struct tiny_realm *r)
{
    *r = (struct tiny_realm){ .authority =
                                  tiny_person_new(CARD_AUTHORITY, "authority", NULL) };
    r->srs = tiny_person_new(CARD_SRS, "srs", &r->authority);
    r->owner = tiny_person_new(CARD_OWNER, "", &r->authority);
    r->reader = tiny_person_new(CARD_PERSON, "dr.reader", &r->authority);
    r->writer = tiny_person_new(CARD_PERSON, "lab.writer", &r->authority);
    r->anchor =
        (struct verify_anchor){ r->authority.card.ed, r->srs.card.ed, r->srs.card.hash };
    r->patient = r->owner.card.user;
    r->host = random_id();
    r->labs = tiny_class_new(&(struct class_ctx){ r->patient, random_id(), 1 });
}

static inline void tiny_realm_fini(struct tiny_realm *r)
{
    tiny_class_fini(&r->labs);
    tiny_person_fini(&r->authority);
    tiny_person_fini(&r->srs);
    tiny_person_fini(&r->owner);
    tiny_person_fini(&r->reader);
    tiny_person_fini(&r->writer);
}

static inline void tiny_put_class(struct tiny_op *t, const struct tiny_class *c,
                                  const struct tiny_person *owner)
{
    tiny_write_record(c, owner, tiny_op_add(t, CHANGE_CLASS_RECORD));
    tiny_put_header(t, c, &c->ctx.class_id, 1, NULL);
    tiny_put_inode(t, c, &c->ctx.class_id, 1);
}

static inline struct tiny_op *tiny_genesis(const struct tiny_realm *r)
{
    const struct class_ctx wide = { .patient = r->patient };
    struct tiny_op *t = tiny_op_new(&wide);

    tiny_put_card(t, &r->owner);
    tiny_put_class(t, &r->labs, &r->owner);
    return t;
}

/* A new file of this name in the root: header, inode, dentry. */
static inline struct tiny_op *tiny_create(const struct tiny_class *c, const char *name,
                                          const struct id16 *file, const struct id16 *row,
                                          struct writer *keep_header)
{
    struct tiny_op *t = tiny_op_new(&c->ctx);

    tiny_put_dentry(t, c, row, &c->ctx.class_id, name, file, 1);
    tiny_put_inode(t, c, file, 1);
    tiny_put_header(t, c, file, 1, keep_header);
    return t;
}

/* The object of an epoch change: this root and one dentry with its inode. */
static inline void tiny_write_epoch_object(const struct tiny_class *next,
                                           const struct id16 *row, const char *name,
                                           const struct id16 *file, struct writer *out)
{
    const struct snapshot_head head = { .ctx = next->ctx };
    struct writer inode, root, dentry;
    struct view inodes[2], dentries[1];
    struct snapshot_rows rows[SNAPSHOT_KINDS] = { { dentries, 1 }, { inodes, 2 } };

    writer_init(&inode);
    writer_init(&root);
    writer_init(&dentry);
    tiny_write_inode(next, file, 1, &inode);
    tiny_write_inode(next, &next->ctx.class_id, 1, &root);
    tiny_write_dentry(next, row, &next->ctx.class_id, name, file, 1, &dentry);
    dentries[0] = writer_done(&dentry);
    inodes[0] = writer_done(&inode);
    inodes[1] = writer_done(&root);
    if (memcmp(inodes[0].p, inodes[1].p, 16) > 0) {
        inodes[0] = writer_done(&root);
        inodes[1] = writer_done(&inode);
    }
    CHECK_EQ(snapshot_encode(&head, rows, out), 0);
    writer_fini(&inode);
    writer_fini(&root);
    writer_fini(&dentry);
}

static inline void tiny_put_epoch(struct tiny_op *t, const struct tiny_class *next,
                                  const struct tiny_person *owner,
                                  const struct digest *object)
{
    struct epoch_change epoch = { .object_id = *object };
    struct writer record, header;

    writer_init(&record);
    writer_init(&header);
    tiny_write_record(next, owner, &record);
    tiny_write_header(next, &next->ctx.class_id, 1, next->nk, NULL, &header);
    epoch.class_record = writer_done(&record);
    epoch.names_header = writer_done(&header);
    epoch_encode(&epoch, tiny_op_add(t, CHANGE_EPOCH));
    writer_fini(&record);
    writer_fini(&header);
}

#endif
