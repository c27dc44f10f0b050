#include "client/compartment.h"

#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/aead.h"
#include "crypto/pre_writer.h"
#include "crypto/random.h"
#include "crypto/seal.h"

enum {
    RECORD_SECRET_BYTES = 3 * 32, /* a || lk || NK */
    NAMES_KEY_GEN = 1,
    ROOT_VERSION = 1
};

static int alloc_keys(struct compartment *c)
{
    c->a = secret_alloc(sizeof *c->a);
    c->lk = secret_alloc(sizeof *c->lk);
    c->nk = secret_alloc(sizeof *c->nk);
    return c->a && c->lk && c->nk ? 0 : -ENOMEM;
}

void compartment_fini(struct compartment *c)
{
    secret_free(c->a);
    secret_free(c->lk);
    secret_free(c->nk);
    row_keys_free(&c->rows);
    *c = (struct compartment){ 0 };
}

int compartment_new(const struct class_ctx *ctx, struct compartment *out)
{
    struct compartment c = { .ctx = *ctx };
    int rc = alloc_keys(&c);

    if (rc == 0) {
        pre_scalar_random(c.a);
        random_fill(c.lk->b, sizeof c.lk->b);
        random_fill(c.nk->b, sizeof c.nk->b);
        rc = pre_public(c.a, &c.a_pub);
    }
    if (rc == 0)
        rc = row_keys_derive(c.nk, ctx, &c.rows);
    if (rc < 0) {
        compartment_fini(&c);
        return rc;
    }
    *out = c;
    return 0;
}

int compartment_open_sealed(const struct replica_class *from,
                            const struct scalar *owner_b, struct compartment *out)
{
    scoped(secret_free) uint8_t *plain = secret_alloc(RECORD_SECRET_BYTES);
    struct compartment c = { .ctx = from->ctx, .a_pub = from->a };
    struct class_record record;
    struct point a_pub;
    uint8_t ctx[CLASS_CTX_BYTES];
    int rc = plain ? class_record_decode(from->record, &record) : -ENOMEM;

    if (rc == 0 && record.sealed.n != RECORD_SECRET_BYTES + SEAL_EXTRA_BYTES)
        rc = PHR_E_FORMAT;
    class_ctx_encode(&from->ctx, ctx);
    if (rc == 0)
        rc = seal_open(owner_b, view_of(ctx, sizeof ctx), record.sealed,
                       (struct span){ plain, RECORD_SECRET_BYTES });
    if (rc < 0)
        return rc;
    rc = alloc_keys(&c);
    if (rc == 0) {
        memcpy(c.a->b, plain, 32);
        memcpy(c.lk->b, plain + 32, 32);
        memcpy(c.nk->b, plain + 64, 32);
        rc = pre_public(c.a, &a_pub);
    }
    if (rc == 0 && memcmp(a_pub.b, from->a.b, sizeof a_pub.b) != 0)
        rc = PHR_E_SEAL;
    if (rc == 0)
        rc = row_keys_derive(c.nk, &c.ctx, &c.rows);
    if (rc < 0) {
        compartment_fini(&c);
        return rc;
    }
    *out = c;
    return 0;
}

int compartment_record(const struct compartment *c, const struct point *owner,
                       struct writer *out)
{
    scoped(secret_free) uint8_t *plain = secret_alloc(RECORD_SECRET_BYTES);
    uint8_t sealed[RECORD_SECRET_BYTES + SEAL_EXTRA_BYTES];
    uint8_t ctx[CLASS_CTX_BYTES];
    struct class_record record = { .ctx = c->ctx, .a = c->a_pub };
    int rc;

    if (!plain)
        return -ENOMEM;
    memcpy(plain, c->a->b, 32);
    memcpy(plain + 32, c->lk->b, 32);
    memcpy(plain + 64, c->nk->b, 32);
    class_ctx_encode(&c->ctx, ctx);
    rc = seal_to(owner, view_of(ctx, sizeof ctx), view_of(plain, RECORD_SECRET_BYTES),
                 (struct span){ sealed, sizeof sealed });
    if (rc < 0)
        return rc;
    record.sealed = view_of(sealed, sizeof sealed);
    class_record_encode(&record, out);
    return writer_ok(out) ? 0 : -ENOMEM;
}

/* NK is the only key of the class root's header: one re-encryption gives a reader the names. */
int compartment_names_header(const struct compartment *c, uint32_t hdr_gen,
                             struct writer *out)
{
    scoped(secret_free) struct symkey *kek = secret_alloc(sizeof *kek);
    const struct file_ctx ctx = { .class_ctx = c->ctx,
                                  .file = c->ctx.class_id,
                                  .hdr_gen = hdr_gen };
    const struct file_key key = { .gen = NAMES_KEY_GEN, .key = c->nk };
    struct capsule capsule;
    struct digest commit;
    int rc;

    if (!kek)
        return -ENOMEM;
    rc = pre_encaps(&c->a_pub, &ctx, &capsule, kek, &commit);
    if (rc < 0)
        return rc;
    return header_seal(aead_suite_best(), &ctx, &capsule, kek, &commit, &key, 1, out);
}

/*
 * Who may enter a compartment is decided by grants before these bits are looked at, so the
 * root's mode stands in nobody's way.
 */
int compartment_root(const struct compartment *c, const char *patient_name,
                     const char *name, struct writer *out)
{
    scoped(writer_fini) struct writer sealed;
    struct row_time now = { .s = (int64_t)clock_realtime_s() };
    struct inode_row row = { .ino = c->ctx.class_id, .version = ROOT_VERSION };
    const struct inode_attr attr = { .mode = S_IFDIR | 0777,
                                     .uid = getuid(),
                                     .gid = getgid(),
                                     .atime = now,
                                     .mtime = now,
                                     .ctime = now,
                                     .btime = now,
                                     .patient_name = view_text(patient_name),
                                     .compartment_name = view_text(name) };
    int rc;

    writer_init(&sealed);
    rc = inode_seal(&c->rows, &row, &attr, &sealed);
    if (rc < 0)
        return rc;
    row.sealed = writer_done(&sealed);
    inode_row_encode(&row, out);
    return writer_ok(out) ? 0 : -ENOMEM;
}

static void copy_name(struct view name, char *out)
{
    size_t n = name.n < DISPLAY_NAME_BYTES_MAX ? name.n : DISPLAY_NAME_BYTES_MAX;

    memcpy(out, name.p, n);
    out[n] = '\0';
}

int compartment_names(const struct compartment *c, const struct replica *r,
                      char *out_patient, char *out_name)
{
    const struct replica_row *found = replica_find_row(r, &c->ctx.class_id);
    struct writer plain;
    struct inode_row row;
    struct inode_attr attr;
    int rc;

    if (!found)
        return -ENOENT;
    rc = inode_row_decode(found->bytes, &row);
    if (rc < 0)
        return rc;
    writer_init(&plain);
    rc = inode_open_sealed(&c->rows, &row, &plain, &attr);
    if (rc == 0) {
        copy_name(attr.patient_name, out_patient);
        copy_name(attr.compartment_name, out_name);
    }
    inode_plain_free(&plain);
    return rc;
}
