/* Arithmetic on numbers from outside: each is true when the sum fits. */
#ifndef PHR_BASE_CHECKED_H
#define PHR_BASE_CHECKED_H

#include <stdio.h>
#include <stdlib.h>

#define checked_add(a, b, out) (!__builtin_add_overflow((a), (b), (out)))
#define checked_sub(a, b, out) (!__builtin_sub_overflow((a), (b), (out)))
#define checked_mul(a, b, out) (!__builtin_mul_overflow((a), (b), (out)))

#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Our own mistakes: stays on in release, ends the process. Never for outside data. */
#define INVARIANT(x)                                                                       \
    do {                                                                                   \
        if (!(x))                                                                          \
            invariant_broken(#x, __FILE__, __LINE__);                                      \
    } while (0)

__attribute__((noreturn)) void invariant_broken(const char *what, const char *file, int line);

#endif
