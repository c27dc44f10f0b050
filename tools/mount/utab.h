/*
 * /run/mount/utab: what libmount knows of a mount beside the kernel. helper=phrfs there makes
 * umount(8) start umount.phrfs; the run directory is for that program.
 */
#ifndef PHR_TOOLS_MOUNT_UTAB_H
#define PHR_TOOLS_MOUNT_UTAB_H

#include <stddef.h>

#include "phr/err.h"

#include "base/cursor.h"

/* Replaces what stands there for dir. 0 also where there is no /run/mount. */
int utab_add(const char *dir, const char *source, const char *run) PHR_MUST_CHECK;
int utab_remove(const char *dir) PHR_MUST_CHECK;
/* The run directory of the mount; -ENOENT. */
int utab_find_run(const char *dir, char *out_run, size_t room) PHR_MUST_CHECK;
/* The same from the bytes of the table. PHR_E_LIMIT, PHR_E_FORMAT. */
int utab_parse_run(struct view table, const char *dir, char *out_run, size_t room) PHR_MUST_CHECK;

#endif
