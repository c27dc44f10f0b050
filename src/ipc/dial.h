/* Connecting to a Unix socket: shared by caller.c, link.c and the server's look for a rival. */
#ifndef PHR_IPC_DIAL_H
#define PHR_IPC_DIAL_H

#include <sys/socket.h>
#include <sys/un.h>

#include "phr/err.h"

/* PHR_E_LIMIT when the path does not fit. */
int dial_address(const char *path, struct sockaddr_un *out_addr) PHR_MUST_CHECK;
/* PHR_E_SIDECAR when nobody listens there or takes the connection within a second. */
int dial(const char *path, int *out_fd) PHR_MUST_CHECK;

#endif
