/* Headers made here. A key generation tells the epoch it was made in (STORAGE: re-key on next write). */
#include "vault/header_new.h"

#include <string.h>

#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/pre_writer.h"
#include "crypto/random.h"
#include "vault/lease.h"
#include "vault/names.h"

enum {
    FK_GEN_EPOCH_SHIFT = 18, /* 16,384 epochs */
    /* Random, so that hosts that truncate a file at once choose different numbers; once in 63 times
       they do not, and the rebase mends it (REBASE-5). Each header of an epoch fits with one step. */
    FK_GEN_STEP_MAX = 63,
    EPOCH_HEADERS_MAX = 4096,
    TRUNC_KEPT_MAX = FK_COUNT_MAX / 2 /* the rest is for epoch changes without a truncation */
};

uint32_t header_new_fk_gen(uint32_t epoch, uint32_t gen_before)
{
    uint32_t first = epoch << FK_GEN_EPOCH_SHIFT;
    uint8_t step;

    random_fill(&step, sizeof step);
    return (gen_before > first ? gen_before : first) + 1 + step % FK_GEN_STEP_MAX;
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
    if (rc == 0) {
        lease_keep_keys(v, s->id, keys);
        lease_mark_current(v, s->id, &keys->ctx);
    }
    return rc;
}

/* The newest keys of old (NULL: none at hand), and a fresh one behind them where there is room. */
static int wrap_fresh(const struct class_key *k, const struct id16 *file, uint32_t hdr_gen,
                      const struct key_set *old, size_t kept, uint32_t fk_gen,
                      struct key_set **out_keys)
{
    struct file_key copy[FK_COUNT_MAX] = { 0 };
    size_t n = 0;

    for (size_t i = old && old->count > kept ? old->count - kept : 0; old && i < old->count; i++) {
        copy[n].gen = old->keys[i].gen;
        copy[n].key = secret_alloc(sizeof *copy[n].key);
        if (!copy[n].key)
            goto no_memory;
        memcpy(copy[n].key->b, old->keys[i].key->b, sizeof copy[n].key->b);
        n++;
    }
    if (n < FK_COUNT_MAX) {
        copy[n].gen = fk_gen;
        copy[n].key = secret_alloc(sizeof *copy[n].key);
        if (!copy[n].key)
            goto no_memory;
        random_fill(copy[n].key->b, sizeof copy[n].key->b);
        n++;
    }
    return header_new_wrap(&k->ctx, &k->a_pub, file, hdr_gen, copy, n, out_keys);
no_memory:
    file_keys_free(copy, n);
    return -ENOMEM;
}

/* Above whatever this header holds: each generation of it added one step at most. */
static uint32_t gen_unknown(const struct name_header *row)
{
    uint32_t steps = row->hdr_gen < EPOCH_HEADERS_MAX ? row->hdr_gen : EPOCH_HEADERS_MAX;

    return (row->epoch << FK_GEN_EPOCH_SHIFT) + steps * FK_GEN_STEP_MAX;
}

/* The version before stays readable until the next is sealed: its keys go along where they are at
   hand. Here it is what a crash falls back to, elsewhere it is the newest there is. */
int header_new_trunc(struct vault *v, struct session *s, struct class_key *k,
                     const struct id16 *file, struct key_set **out_keys)
{
    struct key_set *old = NULL;
    struct key_set *keys = NULL;
    struct name_header row;
    uint32_t gen_before = 0;
    struct header h;
    struct nsdb_stmt st;
    int rc = nsdb_header_get(v->db, file, &st, &row);

    if (rc < 0)
        return rc == -ENOENT ? PHR_E_NO_HEADER : rc;
    rc = header_decode(row.bytes, &h);
    if (rc == 0 && access_keys_here(v, s->id, &row, &h, &old) < 0)
        old = NULL;
    if (rc == 0 && old && row.conf != row.hdr_gen && row.epoch == k->ctx.epoch)
        rc = -EALREADY;
    if (old)
        gen_before = old->keys[old->count - 1].gen;
    else
        gen_before = gen_unknown(&row);
    nsdb_end(&st);
    if (rc == 0)
        rc = wrap_fresh(k, file, row.hdr_gen + 1, old, TRUNC_KEPT_MAX,
                        header_new_fk_gen(k->ctx.epoch, gen_before), &keys);
    if (rc == 0)
        rc = store(v, s, k, keys);
    key_set_release(old);
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
    uint32_t newest = old->keys[old->count - 1].gen;
    int rc;

    if (newest >= (k->ctx.epoch << FK_GEN_EPOCH_SHIFT) && old->ctx.class_ctx.epoch == k->ctx.epoch)
        return 0;
    rc = wrap_fresh(k, file, old->ctx.hdr_gen + 1, old, FK_COUNT_MAX,
                    header_new_fk_gen(k->ctx.epoch, newest), &keys);
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
