/*
 * What mount and kernel agree on at INIT (STORAGE 4), and how requests travel: libfuse 3.14
 * cannot ask for HANDLE_KILLPRIV_V2 and SETXATTR_EXT, so its reply is completed on the way out,
 * and the flags that come with them are read from the raw request on the way in.
 */
#ifndef PHR_MOUNT_NEGOTIATE_H
#define PHR_MOUNT_NEGOTIATE_H

#include "mount/fuse_door.h"
#include "phr/err.h"
#include "phr/types.h"

/* Of the request that this FUSE worker handles; valid until its handler returns. */
struct raw_request {
    uint32_t opcode;
    uint64_t nodeid;
    bool kill_suidgid;  /* WRITE, OPEN, CREATE, SETATTR: set-id bits must fall */
    bool kill_sgid_acl; /* SETXATTR of an access ACL by someone outside the group */
    struct span idle;   /* what a short request leaves of the worker's buffer: for the answer */
};
const struct raw_request *negotiate_get_raw(void);

/* The init operation of libfuse. */
void negotiate_init(void *userdata, struct fuse_conn_info *conn);
/* The session reads and writes this descriptor through us, and closes it at its end. */
int negotiate_attach(struct fuse_session *se, int fd) PHR_MUST_CHECK;
/* Before the loop: called once, when INIT has been answered. */
void negotiate_on_init(void (*on_init)(void *user), void *user);

#endif
