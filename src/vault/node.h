/*
 * Names and attributes. Every call is resolved by node id, never by path. `who` is the caller
 * as FUSE gives it. Results: 0, -errno, PHR_E_*; with a waiter also PHR_E_PENDING.
 *
 * Tree: root (patients) / patient (compartments) / compartment root / …. The first two levels
 * are made from what the sessions may see; everything below is rows of namespace.db.
 */
#ifndef PHR_VAULT_NODE_H
#define PHR_VAULT_NODE_H

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "vault/vault.h"

struct who {
    uint32_t uid;
    uint32_t gid;
    int32_t pid;
    uint32_t umask;
};

struct node_attr {
    uint64_t nodeid;
    uint64_t generation;
    struct stat st;
    bool is_top; /* root, patient or compartment directory: short timeouts, no absent names */
};

int node_lookup(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                struct node_attr *out_attr) PHR_MUST_CHECK;
int node_getattr(struct vault *v, const struct who *who, uint64_t nodeid,
                 struct node_attr *out_attr) PHR_MUST_CHECK;
/* The kernel dropped n lookups: matters only for nodes without a name. */
void node_forget(struct vault *v, uint64_t nodeid, uint64_t n);

enum node_set { /* which fields of node_change count */
    NODE_SET_MODE = 1 << 0,
    NODE_SET_UID = 1 << 1,
    NODE_SET_GID = 1 << 2,
    NODE_SET_SIZE = 1 << 3,
    NODE_SET_ATIME = 1 << 4,
    NODE_SET_MTIME = 1 << 5,
    NODE_SET_ATIME_NOW = 1 << 6,
    NODE_SET_MTIME_NOW = 1 << 7,
    NODE_SET_CTIME = 1 << 8,
    NODE_KILL_SUIDGID = 1 << 9,
    NODE_KILL_NO_REASON = 1 << 10 /* nothing else set, or the ctime: a write, or chown(-1, -1) */
};
struct file;
struct node_change {
    enum node_set set;
    uint32_t mode, uid, gid;
    uint64_t size;
    struct timespec atime, mtime, ctime;
    struct file *file; /* the handle of ftruncate, or NULL */
};
/* May be PENDING: a truncate to more than 0 needs the file's key. */
int node_setattr(struct vault *v, const struct who *who, uint64_t nodeid,
                 const struct node_change *change, struct waiter *w,
                 struct node_attr *out_attr) PHR_MUST_CHECK;

/* mknod: regular files, FIFOs and sockets; devices are -EPERM. */
int node_mknod(struct vault *v, const struct who *who, uint64_t parent, struct view name,
               uint32_t mode, struct node_attr *out_attr) PHR_MUST_CHECK;
int node_mkdir(struct vault *v, const struct who *who, uint64_t parent, struct view name,
               uint32_t mode, struct node_attr *out_attr) PHR_MUST_CHECK;
/* Makes and opens: out_file as from file_open. */
int node_create(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                uint32_t mode, int open_flags, struct node_attr *out_attr,
                struct file **out_file) PHR_MUST_CHECK;
int node_symlink(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                 struct view target, struct node_attr *out_attr) PHR_MUST_CHECK;
int node_link(struct vault *v, const struct who *who, uint64_t nodeid, uint64_t new_parent,
              struct view new_name, struct node_attr *out_attr) PHR_MUST_CHECK;
int node_unlink(struct vault *v, const struct who *who, uint64_t parent, struct view name) PHR_MUST_CHECK;
int node_rmdir(struct vault *v, const struct who *who, uint64_t parent, struct view name) PHR_MUST_CHECK;
/* flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE; others -EINVAL. Across compartments -EXDEV. */
int node_rename(struct vault *v, const struct who *who, uint64_t parent, struct view name,
                uint64_t new_parent, struct view new_name, unsigned flags) PHR_MUST_CHECK;
/* Appends the target to out. */
int node_readlink(struct vault *v, const struct who *who, uint64_t nodeid, struct writer *out) PHR_MUST_CHECK;

struct dir; /* an open directory: a stable position is (row cookie), never an index */
int node_opendir(struct vault *v, const struct who *who, uint64_t nodeid, struct dir **out_dir) PHR_MUST_CHECK;
/*
 * From the entry after `cookie` (0 = start, "." and ".." first). on_entry returns false when
 * its buffer is full: that entry has not been taken. attr is filled (readdirplus) when plus.
 */
struct dir_entry {
    struct view name;
    uint64_t cookie;
    uint8_t type;
    uint64_t st_ino;
    const struct node_attr *attr; /* NULL without plus, and for . and .. */
};
int node_readdir(struct dir *d, const struct who *who, uint64_t cookie, bool plus,
                 bool (*on_entry)(void *user, const struct dir_entry *e), void *user) PHR_MUST_CHECK;
void node_releasedir(struct dir *d);

/* user.*, trusted.*, security.*, system.posix_acl_*; in ownership=grants the ACL is computed. */
int node_getxattr(struct vault *v, const struct who *who, uint64_t nodeid, struct view name,
                  struct writer *out) PHR_MUST_CHECK; /* -ENODATA */
int node_setxattr(struct vault *v, const struct who *who, uint64_t nodeid, struct view name,
                  struct view value, int flags) PHR_MUST_CHECK;
int node_listxattr(struct vault *v, const struct who *who, uint64_t nodeid, struct writer *out) PHR_MUST_CHECK;
int node_removexattr(struct vault *v, const struct who *who, uint64_t nodeid, struct view name) PHR_MUST_CHECK;
/* From memory; never the network. */
int node_statfs(struct vault *v, struct statvfs *out_st) PHR_MUST_CHECK;
int node_fsyncdir(struct vault *v, uint64_t nodeid) PHR_MUST_CHECK;

#endif
