#include "fuzz.h"

#include "../golden/samples.h"
#include "format/suspension.h"

/* Signs what is there anew, so that mutations reach what a signature would hide. */
static void sign_again(const struct sign_key *key, uint8_t *p, size_t n)
{
    struct writer w;
    struct suspension s = { 0 };
    struct reader r = reader_over(view_of(p, n));

    reader_expect(&r, "PHRFS-B1");
    s.serial = reader_u64(&r);
    s.time_s = reader_u64(&r);
    s.count = reader_u32(&r);
    if (!reader_ok(&r) || r.left < 64)
        return;
    s.users = reader_view(&r, r.left - 64);
    writer_init(&w);
    if (suspension_encode(&s, key, &w) == 0) {
        fuzz_expect_same(writer_done(&w), view_of(p, n), 64);
        for (size_t i = n - 64; i < n; i++)
            p[i] = w.p[i];
    }
    writer_fini(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(sign_key_free) struct sign_key *key = NULL;
    scoped(writer_fini) struct writer copy = { 0 };
    struct verify_key pk;
    struct suspension s;

    fuzz_arena_open();
    key = sample_sign_key();
    pk = sign_key_public(key);
    writer_init(&copy);
    writer_bytes(&copy, data, size);
    sign_again(key, copy.p, copy.n);
    if (suspension_check(writer_done(&copy), &pk, &s) < 0)
        return 0;
    for (uint32_t i = 0; i < s.count; i++)
        suspension_get_user(&s, i);
    return 0;
}
