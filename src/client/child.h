/* Starting the other programs of this project. */
#ifndef PHR_CLIENT_CHILD_H
#define PHR_CLIENT_CHILD_H

#include "client/client.h"

enum { CHILD_ARGS_MAX = 16, CHILD_OUTPUT_BYTES_MAX = 64 * 1024 * 1024 };
/*
 * Next to this binary, else as $PATH says. The child gets PHR_CONFIG, PHR_HOME and PHR_RUN as
 * here. Waits for its end; PHR_E_SIDECAR when it failed.
 */
int child_run(struct phr_client *c, const char *name,
              const char *const *args) PHR_MUST_CHECK;
/* The same, with what it prints (CHILD_OUTPUT_BYTES_MAX at most); the caller frees the text. */
int child_capture(struct phr_client *c, const char *name, const char *const *args,
                  char **out_text) PHR_MUST_CHECK;

#endif
