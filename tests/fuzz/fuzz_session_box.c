/*
 * Keys of a file under the local key. The input is a row of `kind || body`: kind 0 a key boxed
 * as session_box_keys does it (LE32 gen), else `n || n bytes` as they are.
 */
#include "fuzz.h"

#include <string.h>

#include "vault/session.h"

static void put_boxed(struct identity *id, const struct id16 *file, uint32_t gen, struct writer *out)
{
    struct file_key one = { .gen = gen, .key = secret_alloc(sizeof *one.key) };

    INVARIANT(one.key != NULL);
    memset(one.key->b, (int)(gen & 0xff), sizeof one.key->b);
    INVARIANT(session_box_keys(id, file, &one, 1, out) == 0);
    secret_free(one.key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(writer_fini) struct writer box = { 0 };
    struct reader r = reader_over(view_of(data, size));
    struct file_key keys[FK_COUNT_MAX];
    struct identity id = { 0 };
    const struct id16 file = { { 1 } };
    size_t used;
    size_t n = 0;

    fuzz_arena_open();
    id.lk = secret_alloc(sizeof *id.lk);
    INVARIANT(id.lk != NULL);
    memset(id.lk->b, 5, sizeof id.lk->b);
    used = secret_used_bytes();
    writer_init(&box);
    while (r.left > 0) {
        uint8_t kind = reader_u8(&r);

        if (kind == 0 && r.left >= 4) {
            put_boxed(&id, &file, reader_u32(&r), &box);
        } else {
            size_t len = reader_u8(&r);

            writer_view(&box, reader_view(&r, len < r.left ? len : r.left));
        }
    }
    if (session_open_box(&id, &file, writer_done(&box), keys, &n) == 0) {
        INVARIANT(n > 0 && n <= FK_COUNT_MAX);
        for (size_t i = 0; i < n; i++)
            INVARIANT(keys[i].key->b[0] == (keys[i].gen & 0xff));
        file_keys_free(keys, n);
    }
    INVARIANT(secret_used_bytes() == used);
    secret_free(id.lk);
    return 0;
}
