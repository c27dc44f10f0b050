/* The one door to libfuse: low-level interface of 3.14 and the kernel's own structures. */
#ifndef PHR_MOUNT_FUSE_DOOR_H
#define PHR_MOUNT_FUSE_DOOR_H

#define FUSE_USE_VERSION 314

#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>

#endif
