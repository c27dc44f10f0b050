#include "base/checked.h"

#include <signal.h>
#include <unistd.h>

void invariant_broken(const char *what, const char *file, int line)
{
    fprintf(stderr, "invariant broken: %s (%s:%d)\n", what, file, line);
    fflush(stderr);
    abort(); /* cores are off in every process that holds a secret (proc/harden.c) */
}
