/* The threads that take requests from the kernel and answer them: the essay is in receive.c. */
#ifndef PHR_MOUNT_RECEIVE_H
#define PHR_MOUNT_RECEIVE_H

#include "mount/fuse_door.h"
#include "phr/err.h"

struct receive;

int receive_open(struct fuse_session *session, struct receive **out_receive) PHR_MUST_CHECK;
/* Until the connection ends, or the session was told to exit and receive_kick was called. */
int receive_run(struct receive *r) PHR_MUST_CHECK;
/* Interrupts who waits for a request; to be repeated until receive_run returns. Any thread. */
void receive_kick(struct receive *r);
void receive_close(struct receive *r);

#endif
