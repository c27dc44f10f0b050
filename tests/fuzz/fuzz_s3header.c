/* Lines of the head of a server's answer, as libcurl hands them on. */
#include "fuzz.h"

#include <string.h>

#include "sidecar/s3request_test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct s3answer answer = { 0 };

    while (size > 0) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t n = end ? (size_t)(end - data) + 1 : size;

        s3request_parse_header(view_of(data, n), &answer);
        INVARIANT(answer.retry_after_s < RETRY_AFTER_S_MAX && !answer.body && answer.status == 0);
        data += n;
        size -= n;
    }
    return 0;
}
