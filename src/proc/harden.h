/* What every process of ours does first: nobody may look inside, nothing gains privileges. */
#ifndef PHR_PROC_HARDEN_H
#define PHR_PROC_HARDEN_H

#include "phr/err.h"

/* No core files, no tracing by other processes of this user, SIGPIPE ignored, umask 077. */
int harden_process(void) PHR_MUST_CHECK;
/*
 * No setuid program started from here gains anything. Apart, since fusermount3 is one: phrfs
 * calls this when it is mounted. sandbox_enter does it by itself.
 */
int harden_no_new_privs(void) PHR_MUST_CHECK;
/* As many descriptors as the hard limit allows, at most max. */
void harden_raise_files(unsigned long max);
/* The same for locked memory; root raises the hard limit too, for the user it becomes. */
void harden_raise_memlock(unsigned long bytes);

#endif
