/* What is mounted where, as the kernel tells it. */
#ifndef PHR_MOUNT_MOUNTTAB_H
#define PHR_MOUNT_MOUNTTAB_H

#include <stdbool.h>

/* The mount on top at this absolute directory is ours: type fuse.phrfs and this source. */
bool mounttab_is_ours(const char *dir, const char *source);

#endif
