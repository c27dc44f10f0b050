#include "fuzz.h"

#include <string.h>

#include "../golden/samples.h"
#include "crypto/digest.h"

enum { COUNT_AT = 12, FIXED_BYTES = 92, RECORD_BYTES = 45, MAC_BYTES = 32 };

/* Makes the MAC right, so that mutations reach what lies behind it. */
static void mac_repair(const struct overlay_keys *k, uint8_t *p, size_t n)
{
    size_t body;
    struct digest mac;

    if (n < COUNT_AT + 4)
        return;
    body = FIXED_BYTES + (size_t)get_le32(p + COUNT_AT) * RECORD_BYTES;
    if (body + MAC_BYTES > n)
        return;
    mac = digest_hmac(view_of(k->group->b, sizeof k->group->b), view_of(p, body));
    memcpy(p + body, mac.b, sizeof mac.b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct overlay_group g;
    scoped(writer_fini) struct writer again = { 0 };
    scoped(free) uint8_t *copy = malloc(size ? size : 1);
    struct overlay_keys k;
    struct digest mac;
    size_t header_bytes;

    fuzz_arena_open();
    INVARIANT(copy != NULL && sample_overlay_keys(&k) == 0);
    if (size > 0)
        memcpy(copy, data, size);
    mac_repair(&k, copy, size);
    if (overlay_group_decode(view_of(copy, size), AEAD_GCM, &k, &g, &header_bytes,
                             &mac) == 0) {
        writer_init(&again);
        INVARIANT(overlay_group_encode(&g, AEAD_GCM, &k, &again, &mac) == 0);
        fuzz_expect_same(writer_done(&again), view_of(copy, header_bytes), 0);
    }
    overlay_keys_free(&k);
    return 0;
}
