/* FUSE operations, by family. Each gathers arguments, calls the vault and hands the result to reply.c. */
#ifndef PHR_MOUNT_OPS_H
#define PHR_MOUNT_OPS_H

#include "mount/fuse_door.h"

/* Each adds its operations to the table that libfuse calls. */
void ops_names_register(struct fuse_lowlevel_ops *ops);
void ops_attrs_register(struct fuse_lowlevel_ops *ops);
void ops_files_register(struct fuse_lowlevel_ops *ops);
void ops_dirs_register(struct fuse_lowlevel_ops *ops);
void ops_xattrs_register(struct fuse_lowlevel_ops *ops);

#endif
