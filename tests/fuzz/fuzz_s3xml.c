/* What an S3 server, or who plays one, may send. */
#include "fuzz.h"

#include <string.h>

#include "sidecar/s3xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct s3xml_page page;
    struct s3xml_error error;

    if (s3xml_parse_list(view_of(data, size), &page) == 0) {
        INVARIANT(page.count <= S3XML_KEYS_MAX);
        INVARIANT(!page.is_truncated || page.token[0] != '\0');
        for (size_t i = 0; i < page.count; i++)
            INVARIANT(strlen(page.keys[i]) <= S3XML_KEY_BYTES_MAX);
        s3xml_page_fini(&page);
    }
    if (s3xml_parse_error(view_of(data, size), &error) == 0) {
        for (const char *c = error.message; *c; c++)
            INVARIANT(*c >= ' ' && *c <= '~');
    }
    return 0;
}
