#include "fuzz.h"

#include "../golden/samples.h"
#include "format/card.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(sign_key_free) struct sign_key *key = NULL;
    struct verify_key pk;
    struct card c;

    fuzz_arena_open();
    ignored(card_request_decode(view_of(data, size), &c)); /* for the reading only */
    if (card_decode(view_of(data, size), &c) < 0)
        return 0;
    key = sample_sign_key();
    pk = sign_key_public(key);
    ignored(card_check(view_of(data, size), &pk,
                       &c)); /* mutated ones fail, and that is all */
    return 0;
}
