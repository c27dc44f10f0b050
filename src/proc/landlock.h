/* The second fence of proc/sandbox.h. */
#ifndef PHR_PROC_LANDLOCK_H
#define PHR_PROC_LANDLOCK_H

#include "proc/sandbox.h"

/* out_abi: the version that the kernel speaks, 0 for none. no_new_privs must be set. */
int landlock_enter(const struct sandbox_opts *opts, int *out_abi) PHR_MUST_CHECK;

#endif
