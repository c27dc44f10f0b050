/*
 * Identities and their class keys.
 *
 * SESSION-1  A secret of an identity lives in the arena from login to logout and nowhere else;
 *            the local key LK lies in the database sealed to the identity's own B.
 * SESSION-2  A class key exists exactly while the ledger (as applied here) gives the right: the
 *            owner's own class records, a reader's grants that are not revoked and in time.
 */
#include "vault/session.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/secret.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/pre_owner.h"
#include "crypto/pre_reader.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "vault/identity.h"
#include "vault/nsdb_ledger.h"
#include "vault/nsdb_outbox.h"

enum { CLASS_SECRETS_BYTES = 96 }; /* a || lk || NK of a class record */

struct session *session_of_uid(struct vault *v, uint32_t uid)
{
    struct session *any = NULL;

    for (struct session *s = v->sessions; s; s = s->next) {
        if (s->uid == uid) {
            s->used_ms = clock_boottime_ms();
            return s;
        }
        if (s->uid == VAULT_UID_ANY)
            any = s;
    }
    return any;
}

struct identity *session_identity(struct vault *v, const struct id16 *user)
{
    for (struct identity *id = v->identities; id; id = id->next)
        if (id_equal(&id->user, user))
            return id;
    return NULL;
}

int session_signer(struct vault *v, const struct id16 *user, struct identity **out_id)
{
    struct identity *id = session_identity(v, user);

    if (!id)
        return PHR_E_LOCKED;
    *out_id = id;
    return 0;
}

struct class_key *session_class(struct identity *id, const struct id16 *class_id)
{
    struct class_key *found = NULL;

    for (struct class_key *k = id->classes; k; k = k->next)
        if (k->is_current && id_equal(&k->ctx.class_id, class_id))
            if (!found || k->rights > found->rights)
                found = k;
    return found;
}

bool session_has_patient(const struct identity *id, const struct id16 *patient)
{
    for (const struct class_key *k = id->classes; k; k = k->next)
        if (id_equal(&k->ctx.patient, patient))
            return true;
    return false;
}

struct class_key *session_class_epoch(struct identity *id, const struct class_ctx *ctx)
{
    struct class_key *found = NULL;

    for (struct class_key *k = id->classes; k; k = k->next)
        if (class_ctx_equal(&k->ctx, ctx))
            if (!found || k->rights > found->rights)
                found = k;
    return found;
}

struct class_key *session_class_grant(struct identity *id, const struct id16 *grant)
{
    for (struct class_key *k = id->classes; k; k = k->next)
        if (!k->is_owner && id_equal(&k->grant.ctx.grant, grant))
            return k;
    return NULL;
}

const struct row_keys *session_rows(struct vault *v, const struct id16 *class_id, uint32_t epoch)
{
    for (struct identity *id = v->identities; id; id = id->next)
        for (struct class_key *k = id->classes; k; k = k->next)
            if (k->has_rows && k->ctx.epoch == epoch && id_equal(&k->ctx.class_id, class_id))
                return &k->rows;
    return NULL;
}

struct class_key *session_class_any(struct vault *v, const struct id16 *class_id)
{
    struct class_key *found = NULL;

    for (struct identity *id = v->identities; id; id = id->next)
        for (struct class_key *k = id->classes; k; k = k->next)
            if (k->has_rows && id_equal(&k->ctx.class_id, class_id))
                if (!found || k->ctx.epoch > found->ctx.epoch)
                    found = k;
    return found;
}

bool session_lacks_names(const struct identity *id)
{
    for (const struct class_key *k = id->classes; k; k = k->next)
        if (k->is_current && !k->has_rows)
            return true;
    return false;
}

static void class_key_free(struct class_key *k)
{
    secret_free(k->a);
    secret_free(k->d);
    if (k->has_rows)
        row_keys_free(&k->rows);
    free(k);
}

void identity_free(struct identity *id)
{
    if (!id)
        return;
    while (id->classes) {
        struct class_key *k = id->classes;

        id->classes = k->next;
        class_key_free(k);
    }
    sign_key_free(id->sign);
    secret_free(id->lk);
    keyring_free(id->ring);
    free(id);
}

void session_free_all(struct vault *v)
{
    while (v->sessions) {
        struct session *s = v->sessions;

        v->sessions = s->next;
        free(s);
    }
    while (v->identities) {
        struct identity *id = v->identities;

        v->identities = id->next;
        identity_free(id);
    }
}

/* ---- names ---- */

static void copy_name(char out[DISPLAY_NAME_BYTES_MAX + 1], struct view name)
{
    size_t n = name.n < DISPLAY_NAME_BYTES_MAX ? name.n : DISPLAY_NAME_BYTES_MAX;

    for (size_t i = 0; i < n; i++)
        out[i] = name.p[i] == '/' || name.p[i] == '\0' ? '_' : (char)name.p[i];
    out[n] = '\0';
    if (strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
        out[0] = '_';
}

void session_load_root(struct vault *v, struct class_key *k)
{
    scoped(inode_plain_free) struct writer plain = { 0 };
    struct inode_attr attr;
    struct name_inode row;
    struct nsdb_stmt s;

    writer_init(&plain);
    if (!k->has_rows || nsdb_inode_find(v->db, &k->ctx.class_id, &s, &row) < 0)
        return;
    if (row.epoch == k->ctx.epoch) {
        struct inode_row ids = { row.ino, row.version, row.sealed };

        if (inode_open_sealed(&k->rows, &ids, &plain, &attr) == 0) {
            copy_name(k->patient_name, attr.patient_name);
            copy_name(k->name, attr.compartment_name);
        }
    }
    nsdb_end(&s);
    if (!k->patient_name[0]) {
        char hex[9];

        hex_encode(k->ctx.patient.b, 4, hex);
        snprintf(k->patient_name, sizeof k->patient_name, "patient-%s", hex);
    }
    if (!k->name[0]) {
        char hex[9];

        hex_encode(k->ctx.class_id.b, 4, hex);
        snprintf(k->name, sizeof k->name, "compartment-%s", hex);
    }
}

static void names_aad(const struct class_ctx *ctx, uint8_t out[5 + CLASS_CTX_BYTES])
{
    memcpy(out, "names", 5);
    class_ctx_encode(ctx, out + 5);
}

int session_take_names(struct vault *v, struct identity *id, struct class_key *k,
                       const struct symkey *nk)
{
    uint8_t aad[5 + CLASS_CTX_BYTES];
    uint8_t box[sizeof nk->b + AEAD_BOX_EXTRA_BYTES];
    int rc;

    if (!k->has_rows) {
        rc = row_keys_derive(nk, &k->ctx, &k->rows);
        if (rc < 0)
            return rc;
        k->has_rows = true;
    }
    session_load_root(v, k);
    if (k->is_owner)
        return 0;
    names_aad(&k->ctx, aad);
    rc = aead_box(id->lk, view_of(aad, sizeof aad), view_of(nk->b, sizeof nk->b),
                  (struct span){ box, sizeof box });
    if (rc < 0)
        return rc;
    return nsdb_local_key_put(v->db, &id->user, LOCAL_KEY_NAMES, &k->ctx.class_id, k->ctx.epoch,
                              view_of(box, sizeof box));
}

/* The names key that an identity was given once, under its local key. */
static int open_local_names(struct vault *v, struct identity *id, const struct class_ctx *ctx,
                            struct symkey *out_nk)
{
    scoped(writer_fini) struct writer box = { 0 };
    uint8_t aad[5 + CLASS_CTX_BYTES];
    int rc;

    writer_init(&box);
    rc = nsdb_local_key_get(v->db, &id->user, LOCAL_KEY_NAMES, &ctx->class_id, ctx->epoch, &box);
    if (rc < 0)
        return rc;
    names_aad(ctx, aad);
    return aead_open_box(id->lk, view_of(aad, sizeof aad), writer_done(&box),
                         (struct span){ out_nk->b, sizeof out_nk->b });
}

static void load_local_names(struct vault *v, struct identity *id, struct class_key *k)
{
    scoped(secret_free) struct symkey *nk = secret_alloc(sizeof *nk);

    if (!nk || open_local_names(v, id, &k->ctx, nk) < 0)
        return; /* none, or of another local key: asked of the SRS again */
    if (row_keys_derive(nk, &k->ctx, &k->rows) < 0)
        return;
    k->has_rows = true;
    session_load_root(v, k);
}

/* ---- keeping class keys in line with the ledger ---- */

/* a || lk || NK of a class record that is the owner's own. plain: CLASS_SECRETS_BYTES of the arena. */
static int open_record(struct identity *id, const struct class_ctx *ctx, struct view record_bytes,
                       uint8_t *plain)
{
    uint8_t aad[CLASS_CTX_BYTES];
    struct class_record record;
    int rc = class_record_decode(record_bytes, &record);

    if (rc < 0)
        return rc;
    if (record.sealed.n != CLASS_SECRETS_BYTES + SEAL_EXTRA_BYTES)
        return PHR_E_FORMAT;
    class_ctx_encode(ctx, aad);
    return seal_open(id->ring->b, view_of(aad, sizeof aad), record.sealed,
                     (struct span){ plain, CLASS_SECRETS_BYTES });
}

static int add_owned(struct vault *v, struct identity *id, const struct ledger_class *c,
                     struct view record_bytes)
{
    scoped(secret_free) uint8_t *plain = secret_alloc(CLASS_SECRETS_BYTES);
    scoped(secret_free) struct symkey *nk = secret_alloc(sizeof *nk);
    struct class_key *k;
    int rc;

    if (!plain || !nk)
        return -ENOMEM;
    rc = open_record(id, &c->ctx, record_bytes, plain);
    if (rc < 0)
        return rc;
    k = calloc(1, sizeof *k);
    if (!k)
        return -ENOMEM;
    k->ctx = c->ctx;
    k->a_pub = c->a;
    k->is_owner = true;
    k->rights = GRANT_RW;
    k->a = secret_alloc(sizeof *k->a);
    if (!k->a) {
        class_key_free(k);
        return -ENOMEM;
    }
    memcpy(k->a->b, plain, sizeof k->a->b);
    memcpy(nk->b, plain + 64, sizeof nk->b);
    k->next = id->classes;
    id->classes = k;
    return session_take_names(v, id, k, nk);
}

int session_old_rows(struct vault *v, struct identity *id, const struct class_ctx *ctx,
                     struct row_keys *out_keys)
{
    scoped(secret_free) uint8_t *plain = secret_alloc(CLASS_SECRETS_BYTES);
    scoped(secret_free) struct symkey *nk = secret_alloc(sizeof *nk);
    scoped(writer_fini) struct writer record = { 0 };
    int rc;

    writer_init(&record);
    if (!plain || !nk)
        return -ENOMEM;
    rc = open_local_names(v, id, ctx, nk);
    if (rc < 0 && id_equal(&id->user, &ctx->patient)) {
        rc = nsdb_class_copy_record(v->db, &ctx->class_id, ctx->epoch, &record);
        if (rc == 0)
            rc = open_record(id, ctx, writer_done(&record), plain);
        if (rc == 0)
            memcpy(nk->b, plain + 64, sizeof nk->b);
    }
    return rc < 0 ? PHR_E_LOCKED : row_keys_derive(nk, ctx, out_keys);
}

static int add_granted(struct vault *v, struct identity *id, const struct grant *g)
{
    struct class_key *k = calloc(1, sizeof *k);

    if (!k)
        return -ENOMEM;
    k->ctx = g->ctx.class_ctx;
    k->a_pub = g->a;
    k->rights = g->rights;
    k->grant = *g;
    k->next = id->classes;
    id->classes = k;
    load_local_names(v, id, k);
    return 0;
}

static bool grant_is_live(const struct identity *id, const struct grant *g, uint64_t now_s)
{
    return grant_check_time(g, now_s) == 0 && digest_equal(&g->ctx.reader_card, &id->card.hash);
}

static void mark_current(struct vault *v, struct identity *id)
{
    for (struct class_key *k = id->classes; k; k = k->next) {
        struct class_ctx newest;

        k->is_current = nsdb_class_current(v->db, &k->ctx.class_id, &newest) == 0 &&
                        newest.epoch == k->ctx.epoch;
    }
}

/* A key of an epoch that lost its last right, or of a grant that ended. */
static bool is_lost(struct vault *v, struct identity *id, struct class_key *k, uint64_t now_s)
{
    struct ledger_class c;
    struct grant g;
    bool revoked;

    if (nsdb_class_get(v->db, &k->ctx.class_id, k->ctx.epoch, &c) < 0 ||
        c.state == LEDGER_EPOCH_RETIRED)
        return true;
    if (k->is_owner)
        return false;
    if (nsdb_grant_get(v->db, &k->grant.ctx.grant, &g, &revoked) < 0)
        return true;
    return revoked || !grant_is_live(id, &g, now_s);
}

static void drop_lost(struct vault *v, struct identity *id, uint64_t now_s,
                      void (*on_lost)(struct vault *v, struct identity *id, struct class_key *k))
{
    struct class_key **at = &id->classes;
    uint32_t parked = 0;

    ignored(nsdb_parked_count(v->db, &parked)); /* a names key too many is harmless */
    while (*at) {
        struct class_key *k = *at;

        if (!is_lost(v, id, k, now_s)) {
            at = &k->next;
            continue;
        }
        *at = k->next;
        /* While changes are parked, their old names key opens them (session_old_rows). */
        if (!k->is_owner && parked == 0 && !session_class_epoch(id, &k->ctx))
            ignored(nsdb_local_key_delete(v->db, &id->user, LOCAL_KEY_NAMES, &k->ctx.class_id,
                                          k->ctx.epoch)); /* opened again it would be useless */
        if (on_lost)
            on_lost(v, id, k);
        class_key_free(k);
    }
}

static void refresh_owned(struct vault *v, struct identity *id)
{
    struct nsdb_stmt s;
    struct ledger_class c;
    struct view record;

    nsdb_class_scan(v->db, &id->user, &s);
    while (nsdb_class_next(&s, &c, &record) > 0)
        if (!session_class_epoch(id, &c.ctx))
            ignored(add_owned(v, id, &c, record)); /* one damaged class must not hide the others */
    nsdb_end(&s);
}

static void refresh_granted(struct vault *v, struct identity *id, uint64_t now_s)
{
    struct nsdb_stmt s;
    struct grant g;
    int rc;

    nsdb_grant_scan(v->db, &id->user, &s);
    while ((rc = nsdb_grant_next(&s, &g)) != 0) {
        struct ledger_class c;

        if (rc < 0 && rc != PHR_E_FORMAT)
            break;
        if (rc < 0 || !grant_is_live(id, &g, now_s) || session_class_grant(id, &g.ctx.grant))
            continue;
        if (nsdb_class_get(v->db, &g.ctx.class_ctx.class_id, g.ctx.class_ctx.epoch, &c) < 0 ||
            c.state == LEDGER_EPOCH_RETIRED)
            continue;
        ignored(add_granted(v, id, &g)); /* out of memory: tried again at the next refresh */
    }
    nsdb_end(&s);
}

void session_refresh(struct vault *v,
                     void (*on_lost)(struct vault *v, struct identity *id, struct class_key *k))
{
    uint64_t now_s = clock_realtime_s();

    for (struct identity *id = v->identities; id; id = id->next) {
        drop_lost(v, id, now_s, on_lost);
        refresh_owned(v, id);
        refresh_granted(v, id, now_s);
        mark_current(v, id);
    }
}

/* ---- file keys under the local key ---- */

static void fk_aad(const struct id16 *file, uint32_t gen, uint8_t out[2 + 16 + 4])
{
    memcpy(out, "fk", 2);
    memcpy(out + 2, file->b, sizeof file->b);
    put_le32(out + 18, gen);
}

int session_box_keys(struct identity *id, const struct id16 *file, const struct file_key *keys,
                     size_t count, struct writer *out)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t box[sizeof keys[i].key->b + AEAD_BOX_EXTRA_BYTES];
        uint8_t aad[22];
        int rc;

        fk_aad(file, keys[i].gen, aad);
        rc = aead_box(id->lk, view_of(aad, sizeof aad),
                      view_of(keys[i].key->b, sizeof keys[i].key->b),
                      (struct span){ box, sizeof box });
        if (rc < 0)
            return rc;
        writer_u32(out, keys[i].gen);
        writer_bytes(out, box, sizeof box);
    }
    return writer_ok(out) ? 0 : -ENOMEM;
}

int session_open_box(struct identity *id, const struct id16 *file, struct view box,
                     struct file_key *out_keys, size_t *out_count)
{
    struct reader r = reader_over(box);
    size_t n = 0;

    while (r.left > 0 && n < FK_COUNT_MAX) {
        uint32_t gen = reader_u32(&r);
        struct view one = reader_view(&r, 32 + AEAD_BOX_EXTRA_BYTES);
        struct symkey *key = secret_alloc(sizeof *key);
        uint8_t aad[22];
        int rc = key && reader_ok(&r) ? 0 : key ? PHR_E_FORMAT : -ENOMEM;

        fk_aad(file, gen, aad);
        if (rc == 0)
            rc = aead_open_box(id->lk, view_of(aad, sizeof aad), one,
                               (struct span){ key->b, sizeof key->b });
        if (rc < 0) {
            secret_free(key);
            file_keys_free(out_keys, n);
            return rc;
        }
        out_keys[n].gen = gen;
        out_keys[n++].key = key;
    }
    if (n == 0)
        return -ENOENT;
    *out_count = n;
    return 0;
}
