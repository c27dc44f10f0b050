/*
 * A small process outside the sandbox. It holds no key and reads nothing. After the death of
 * phrfs (kill -9 included) it ends what the kernel still asks it: a thread that was telling the
 * kernel to forget something may wait there for a request that nobody will answer, and keeps
 * the connection open (inval.c). A mount that phrfs made itself it also takes away, then and on
 * request; one that mount.phrfs made stays, dead, so that nothing is written below it.
 */
#ifndef PHR_MOUNT_GUARD_H
#define PHR_MOUNT_GUARD_H

#include <stdbool.h>

#include "phr/err.h"

struct guard;
struct mount_opts;

/* Before keys are loaded and before the first thread. Its line in ps says what it is. */
int guard_open(const struct mount_opts *opts, struct guard **out_guard) PHR_MUST_CHECK;
/* Detaches the mount now; the kernel ends the connection when nothing is open any more. False:
   the mount is another's. */
bool guard_unmount(struct guard *g);
/* After the FUSE descriptor was closed: a mount that nobody answers for is gone on return. */
void guard_close(struct guard *g); /* NULL is fine */

#include "base/scope.h"
SCOPED_HANDLE(struct guard, guard_close)

#endif
