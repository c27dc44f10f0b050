/* The store's credentials file and its URL: both are typed by people. */
#include "fuzz.h"

#include <string.h>
#include <strings.h>

#include "sidecar/credentials.h"
#include "sidecar/s3url.h"
#include "sidecar/storekey.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(free) char *text = malloc(size + 1);
    struct credentials *c = NULL;
    struct id16 patient;
    uint64_t seq;
    struct s3url url;
    char why[200];

    fuzz_arena_open();
    INVARIANT(text != NULL);
    if (credentials_parse(view_of(data, size), &c) == 0)
        INVARIANT(c->access_key[0] != '\0' && c->secret_key != NULL);
    credentials_free(c);
    INVARIANT(secret_used_bytes() == 0);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (s3url_parse(text, &url, why, sizeof why) == 0)
        INVARIANT(url.bucket[0] && url.endpoint[0] && url.region[0]);
    if (storekey_parse_entry(text, &patient, &seq) == 0) {
        char again[STOREKEY_BYTES];

        storekey_entry(&patient, seq, again);
        INVARIANT(strcasecmp(text, again) == 0); /* hex digits of either case */
    }
    return 0;
}
