/* Where the control socket of a mount lies. Also for umount.phrfs. */
#ifndef PHR_MOUNT_CTLPATH_H
#define PHR_MOUNT_CTLPATH_H

#include "base/config.h"

/* RUN/<16 hex digits>.ctl, from the directory that it is mounted on, as an absolute path. */
int ctlpath_make(const struct config *config, const char *dir,
                 char out_path[PATH_MAX]) PHR_MUST_CHECK;

#endif
