/* libmount's table, which also others write. The input: the directory, a zero byte, the table. */
#include "fuzz.h"

#include <string.h>

#include "../../tools/mount/utab.h"

enum { DIR_BYTES_MAX = 255, RUN_BYTES = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
    size_t n = end ? (size_t)(end - data) : 0;
    char dir[DIR_BYTES_MAX + 1];
    char run[RUN_BYTES];

    if (!end || n > DIR_BYTES_MAX)
        return 0;
    memcpy(dir, data, n + 1);
    memset(run, 'x', sizeof run);
    if (utab_parse_run(view_of(end + 1, size - n - 1), dir, run, sizeof run) == 0)
        INVARIANT(memchr(run, '\0', sizeof run) && run[0]);
    return 0;
}
