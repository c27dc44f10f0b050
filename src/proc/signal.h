/* Signals as something to read, so that no handler runs in the middle of anything. */
#ifndef PHR_PROC_SIGNAL_H
#define PHR_PROC_SIGNAL_H

#include "phr/err.h"

/*
 * Blocks SIGTERM, SIGINT, SIGHUP and SIGUSR1 for this thread and all that it starts, so call
 * it before the first one. The descriptor is the caller's.
 */
int signal_open(int *out_fd) PHR_MUST_CHECK;
/* The next signal's number; 0 after timeout_ms (-1 waits); negative on failure. */
int signal_next(int fd, int timeout_ms) PHR_MUST_CHECK;

#endif
