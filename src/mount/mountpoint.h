/*
 * One mounted phrfs: the vault, the FUSE session and what connects them. Shared by the files
 * of this folder; every field is fixed between mountpoint_open and mountpoint_close unless it
 * says otherwise.
 */
#ifndef PHR_MOUNT_MOUNTPOINT_H
#define PHR_MOUNT_MOUNTPOINT_H

#include <stdatomic.h>

#include "mount/fuse_door.h"
#include "mount/mount_opts.h"

/* Nodes by hash that have handles open for writing; a collision costs a flush, no more. */
enum { WRITER_BUCKETS = 4096 };

struct mountpoint {
    struct mount_opts *opts;
    struct vault *vault;
    struct fuse_session *fuse;
    struct pending *pending;
    struct notifier *notifier;
    struct control *control;
    struct receive *receive; /* while it is served */
    struct guard *guard; /* NULL: mount.phrfs has mounted us */
    int signal_fd;
    atomic_bool is_loop_over;
    _Atomic uint32_t writers[WRITER_BUCKETS];
    void (*on_ready)(void *user);
    void *ready_user;
};

static inline _Atomic uint32_t *mountpoint_get_writers(struct mountpoint *m,
                                                       uint64_t nodeid)
{
    return &m->writers[(nodeid * UINT64_C(0x9e3779b97f4a7c15)) >> 52];
}

/* Mounts, opens the vault, unlocks the identity of the options. Prints why it fails. */
int mountpoint_open(struct mount_opts *opts,
                    struct mountpoint **out_mountpoint) PHR_MUST_CHECK;
/* Instead: verifies the vault without keys and without mounting, and prints what it found. */
int mountpoint_check(struct mount_opts *opts) PHR_MUST_CHECK;
/* Until unmounted or told to end by a signal. on_ready: the kernel has its first answer. */
int mountpoint_serve(struct mountpoint *m, void (*on_ready)(void *user),
                     void *user) PHR_MUST_CHECK;
/* Everything accepted is durable on this machine when it returns. */
void mountpoint_close(struct mountpoint *m);

#include "base/scope.h"
SCOPED_HANDLE(struct mountpoint, mountpoint_close)

#endif
