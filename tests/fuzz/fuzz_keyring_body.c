#include "fuzz.h"

#include "format/keyring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(keyring_free) struct keyring *k = NULL;
    scoped(keyring_free) struct keyring *same = NULL;
    scoped(secret_free) uint8_t *body = NULL;
    size_t n;

    fuzz_arena_open();
    if (keyring_body_decode(view_of(data, size), &k) < 0)
        return 0;
    INVARIANT(keyring_body_encode(k, &body, &n) == 0);
    INVARIANT(keyring_body_decode(view_of(body, n), &same) == 0);
    INVARIANT(same->name_count == k->name_count && same->pin_count == k->pin_count);
    INVARIANT(same->is_approved == k->is_approved && same->card_bytes == k->card_bytes);
    return 0;
}
