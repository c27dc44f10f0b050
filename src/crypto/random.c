#include "crypto/random.h"

#include <sodium.h>

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
