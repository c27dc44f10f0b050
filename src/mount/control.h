/* The mount's control socket: phr login, logout, status, sync, check. */
#ifndef PHR_MOUNT_CONTROL_H
#define PHR_MOUNT_CONTROL_H

#include <limits.h>

#include "mount/mountpoint.h"

struct control;

/* From the directory, or the source where that is not known. */
int control_path(const struct mount_opts *opts, char out_path[PATH_MAX]) PHR_MUST_CHECK;
int control_open(struct mountpoint *m, struct control **out_control) PHR_MUST_CHECK;
/* No request is in the vault any more when it returns. */
void control_close(struct control *c);

#endif
