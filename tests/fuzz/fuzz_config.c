#include "fuzz.h"

#include <string.h>

#include "base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scoped(free) char *text = malloc(size + 1);
    struct config c = { 0 };
    char why[256];

    INVARIANT(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = 0;
    ignored(config_parse(text, &c, why, sizeof why)); /* any text may come */
    return 0;
}
