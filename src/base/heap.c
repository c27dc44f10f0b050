#include "base/heap.h"

#include <malloc.h>
#include <stddef.h>

#include "base/scope.h"

static const size_t much_bytes = (size_t)16 << 20;

void heap_trim(void)
{
    if (mallinfo2().fordblks > much_bytes)
        ignored(malloc_trim(0)); /* whether there was any */
}
