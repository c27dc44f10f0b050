/*
 * What a process gives up before it looks at anything from outside. Two fences:
 *
 * - seccomp: system calls that only an intruder would make. What ordinary libraries may try
 *   gets an errno (an inet socket in phrfs: EAFNOSUPPORT; a child process: EPERM); what none
 *   of them has a reason for (execve, ptrace, mount, bpf, modules, io_uring ...) raises
 *   SIGSYS, which writes the number of the call to stderr and ends the process.
 * - Landlock, where the kernel has it: only the given paths, and for phrfs no TCP at all.
 *
 * Call it when paths, descriptors and libraries are open and before the first thread starts:
 * Landlock holds for the calling thread and its future children only.
 */
#ifndef PHR_PROC_SANDBOX_H
#define PHR_PROC_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "phr/err.h"

enum sandbox_profile {
    SANDBOX_MOUNT,  /* phrfs: no network, no child processes */
    SANDBOX_SIDECAR /* phrd: inet sockets, resolver and TLS files; no child processes */
};

struct sandbox_path {
    const char *path; /* a directory (all below it) or a file; skipped when it does not exist */
    bool may_write;
};

struct sandbox_opts {
    enum sandbox_profile profile;
    bool may_unmount; /* phrfs started by root: it unmounts itself when told to end */
    const struct sandbox_path *paths; /* beside what C library, resolver and TLS need */
    size_t path_count;
};

/* out_landlock_abi: 0 where the kernel has no Landlock: only seccomp holds then; may be NULL. */
int sandbox_enter(const struct sandbox_opts *opts, int *out_landlock_abi) PHR_MUST_CHECK;

#endif
