/* Headers made here. The generation of a key tells the epoch it was made in (STORAGE: re-key on next write). */
#include "vault/header_new.h"

#include <string.h>

#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/pre_writer.h"
#include "crypto/random.h"
#include "vault/lease.h"
#include "vault/names.h"

enum { FK_GEN_EPOCH_SHIFT = 12 }; /* 4,096 truncations per epoch get a number of their own */

uint32_t header_new_fk_gen(uint32_t epoch, uint32_t gen_before)
{
    uint32_t first = (epoch << FK_GEN_EPOCH_SHIFT) + 1;

    return gen_before >= first ? gen_before + 1 : first;
}

int header_new_wrap(const struct class_ctx *ctx, const struct point *a_pub, const struct id16 *file,
                    uint32_t hdr_gen, struct file_key *take, size_t count,
                    struct key_set **out_keys)
{
    struct file_ctx fctx = { .class_ctx = *ctx, .file = *file, .hdr_gen = hdr_gen };
    scoped(secret_free) struct symkey *kek = secret_alloc(sizeof *kek);
    scoped(writer_fini) struct writer bytes = { 0 };
    struct capsule capsule;
    struct digest commit;
    struct header h;
    int rc;

    writer_init(&bytes);
    rc = kek ? pre_encaps(a_pub, &fctx, &capsule, kek, &commit) : -ENOMEM;
    if (rc == 0)
        rc = header_seal(aead_suite_best(), &fctx, &capsule, kek, &commit, take, count, &bytes);
    if (rc == 0)
        rc = header_decode(writer_done(&bytes), &h);
    if (rc < 0) {
        file_keys_free(take, count);
        return rc;
    }
    return key_set_new(&h, take, count, out_keys);
}

int header_new(const struct class_ctx *ctx, const struct point *a_pub, const struct id16 *file,
               uint32_t hdr_gen, uint32_t fk_gen, struct key_set **out_keys)
{
    struct file_key key = { .gen = fk_gen, .key = secret_alloc(sizeof *key.key) };

    if (!key.key)
        return -ENOMEM;
    random_fill(key.key->b, sizeof key.key->b);
    return header_new_wrap(ctx, a_pub, file, hdr_gen, &key, 1, out_keys);
}

/* One transaction: header row, op. */
static int store(struct vault *v, struct session *s, struct class_key *k, struct key_set *keys)
{
    struct names_tx tx;
    int rc = names_begin(&tx, v, NULL, s, k);

    if (rc < 0)
        return rc;
    rc = names_put_header(&tx, keys);
    if (rc < 0) {
        names_rollback(&tx);
        return rc;
    }
    rc = names_commit(&tx, NULL, true);
    if (rc == 0)
        lease_keep_keys(v, s->id, keys);
    return rc;
}

int header_new_trunc(struct vault *v, struct session *s, struct class_key *k,
                     const struct id16 *file, struct key_set **out_keys)
{
    struct key_set *keys = NULL;
    struct name_header row;
    uint32_t hdr_gen = 1;
    uint32_t gen_before = 0;
    struct header h;
    struct nsdb_stmt st;
    int rc = nsdb_header_get(v->db, file, &st, &row);

    if (rc < 0)
        return rc == -ENOENT ? PHR_E_NO_HEADER : rc;
    rc = header_decode(row.bytes, &h);
    if (rc == 0 && row.conf != row.hdr_gen && row.epoch == k->ctx.epoch &&
        access_keys_here(v, s->id, &row, &h, &keys) == 0) {
        key_set_release(keys);
        rc = -EALREADY;
    }
    hdr_gen = row.hdr_gen + 1;
    if (rc == 0 && access_keys_here(v, s->id, &row, &h, &keys) == 0) {
        gen_before = keys->keys[keys->count - 1].gen;
        key_set_release(keys);
        keys = NULL;
    } else {
        gen_before = (row.epoch << FK_GEN_EPOCH_SHIFT) + hdr_gen; /* at least above what was */
    }
    nsdb_end(&st);
    if (rc < 0)
        return rc;
    rc = header_new(&k->ctx, &k->a_pub, file, hdr_gen,
                    header_new_fk_gen(k->ctx.epoch, gen_before), &keys);
    if (rc == 0)
        rc = store(v, s, k, keys);
    if (rc < 0) {
        key_set_release(keys);
        return rc;
    }
    *out_keys = keys;
    return 0;
}

int header_new_generation(struct vault *v, struct session *s, struct class_key *k,
                          const struct id16 *file, struct key_set **io_keys)
{
    struct key_set *old = *io_keys;
    struct key_set *keys = NULL;
    struct file_key copy[FK_COUNT_MAX];
    size_t n = 0;
    int rc;

    if (old->keys[old->count - 1].gen >= (k->ctx.epoch << FK_GEN_EPOCH_SHIFT) &&
        old->ctx.class_ctx.epoch == k->ctx.epoch)
        return 0;
    for (; n < old->count; n++) {
        copy[n].gen = old->keys[n].gen;
        copy[n].key = secret_alloc(sizeof *copy[n].key);
        if (!copy[n].key)
            break;
        memcpy(copy[n].key->b, old->keys[n].key->b, sizeof copy[n].key->b);
    }
    if (n == old->count && n < FK_COUNT_MAX) {
        copy[n].gen = header_new_fk_gen(k->ctx.epoch, copy[n - 1].gen);
        copy[n].key = secret_alloc(sizeof *copy[n].key);
        if (copy[n].key) {
            random_fill(copy[n].key->b, sizeof copy[n].key->b);
            n++;
        }
    }
    if (n < old->count) {
        file_keys_free(copy, n);
        return -ENOMEM;
    }
    rc = header_new_wrap(&k->ctx, &k->a_pub, file, old->ctx.hdr_gen + 1, copy, n, &keys);
    if (rc == 0)
        rc = store(v, s, k, keys);
    if (rc < 0) {
        key_set_release(keys);
        return rc;
    }
    key_set_release(old);
    *io_keys = keys;
    return 0;
}
