/* Starting the other programs of this project. */
#ifndef PHR_CLIENT_CHILD_H
#define PHR_CLIENT_CHILD_H

#include <sys/types.h>

#include "client/client.h"

enum { CHILD_ARGS_MAX = 16 };
/*
 * Next to this binary, else as $PATH says. The child gets PHR_CONFIG, PHR_HOME and PHR_RUN as
 * here. Waits for its end; PHR_E_SIDECAR when it failed.
 */
int child_run(struct phr_client *c, const char *name, const char *const *args) PHR_MUST_CHECK;
/*
 * In a session of its own, for as long as it likes, with everything it says in the run
 * directory's file NAME.log.
 */
int child_daemon(struct phr_client *c, const char *name, pid_t *out_pid) PHR_MUST_CHECK;

#endif
