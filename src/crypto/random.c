#include "crypto/random.h"

#include <sodium.h>
#include <time.h>

void random_fill(void *p, size_t n)
{
    randombytes_buf(p, n);
}

struct id16 random_id(void)
{
    struct id16 id;

    randombytes_buf(id.b, sizeof id.b);
    return id;
}

struct id16 random_id_rising(void)
{
    enum { TIME_BYTES = 5 };
    struct id16 id = random_id();
    struct timespec now;
    uint64_t s;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    s = (uint64_t)now.tv_sec;
    for (size_t i = TIME_BYTES; i > 0; i--, s >>= 8)
        id.b[i - 1] = (uint8_t)s;
    return id;
}
