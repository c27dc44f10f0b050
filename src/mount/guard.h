/*
 * A small process outside the sandbox that takes a mount away when phrfs is told to end, or
 * ends without having been unmounted (kill -9 included). It holds no key and reads nothing.
 */
#ifndef PHR_MOUNT_GUARD_H
#define PHR_MOUNT_GUARD_H

#include "phr/err.h"

struct guard;
struct mount_opts;

/* Before keys are loaded and before the first thread. Its line in ps says what it is. */
int guard_open(const struct mount_opts *opts, struct guard **out_guard) PHR_MUST_CHECK;
/* Detaches the mount now; the kernel ends the connection when nothing is open any more. */
void guard_unmount(struct guard *g);
/* After the FUSE descriptor was closed: a mount that nobody answers for is gone on return. */
void guard_close(struct guard *g); /* NULL is fine */

#include "base/scope.h"
SCOPED_HANDLE(struct guard, guard_close)

#endif
