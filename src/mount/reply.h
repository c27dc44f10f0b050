/*
 * The only place that answers the kernel, exactly once per request, and the only mapping from
 * reasons to errno. Every answer that carries attributes goes through one function.
 */
#ifndef PHR_MOUNT_REPLY_H
#define PHR_MOUNT_REPLY_H

#include "mount/mountpoint.h"
#include "vault/file.h"

struct mountpoint *reply_mountpoint(fuse_req_t req);
struct vault *reply_vault(fuse_req_t req);
/* For requests that change something (vault_begin_writing). */
struct vault *reply_vault_writing(fuse_req_t req);
struct who reply_who(fuse_req_t req);

void reply_fail(fuse_req_t req, int rc); /* rc < 0 */
void reply_done(fuse_req_t req);
void reply_none(fuse_req_t req);
/* done or fail */
void reply_result(fuse_req_t req, int rc);
void reply_attr(fuse_req_t req, const struct node_attr *attr);
/* The kernel holds a lookup from now on; when it is gone already, the vault is told. */
void reply_entry(fuse_req_t req, const struct node_attr *attr);
/* There is no such name, and the kernel may remember that for a moment. */
void reply_no_entry(fuse_req_t req);
/* Take the handle: it is released when the kernel does not want it any more. */
void reply_create(fuse_req_t req, const struct node_attr *attr, struct file *take,
                  int flags);
void reply_open(fuse_req_t req, struct file *take, int flags, bool keep_cache);
void reply_opendir(fuse_req_t req, struct dir *take, bool may_cache);
void reply_data(fuse_req_t req, struct view data);
void reply_written(fuse_req_t req, size_t n);
void reply_link(fuse_req_t req, const char *target);
/* An xattr call asks for the size (room 0) or for the bytes. */
void reply_xattr(fuse_req_t req, struct view value, size_t room);
void reply_statfs(fuse_req_t req, const struct statvfs *st);
void reply_offset(fuse_req_t req, uint64_t offset);
/* One directory entry into room; its size, or a size beyond room when it does not fit. */
size_t reply_pack_entry(fuse_req_t req, struct span room, const struct dir_entry *e,
                        bool plus);

/* This thread's buffer for plaintext on its way out: page-aligned, not in core files, wiped at
   the thread's end. NULL when memory is short. Valid until the next call. */
uint8_t *reply_room(size_t n);

#endif
