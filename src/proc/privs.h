/* From root to the user who is to run this, with no way back. */
#ifndef PHR_PROC_PRIVS_H
#define PHR_PROC_PRIVS_H

#include <sys/types.h>

#include "phr/err.h"

/* PHR_E_UNKNOWN_ID: no such user on this machine. */
int privs_find(const char *user, uid_t *out_uid, gid_t *out_gid) PHR_MUST_CHECK;
/*
 * Groups, gid, uid, all capabilities with them. Nothing happens when we are that user
 * already; -EPERM when we are neither he nor root.
 */
int privs_drop(const char *user) PHR_MUST_CHECK;

#endif
