/* The identity of the whole mount: identity= with passfile= or passfd=. */
#ifndef PHR_MOUNT_UNLOCK_H
#define PHR_MOUNT_UNLOCK_H

#include "mount/mount_opts.h"

/*
 * Before the sandbox: opens both files and refuses those that others may read. Prints why.
 * Fills identity_fd and pass_fd.
 */
int unlock_open(struct mount_opts *io_opts) PHR_MUST_CHECK;
/* Opens the keyring (about a second) and gives it to the vault. Prints why it fails. */
int unlock_login(struct mount_opts *opts, struct vault *v) PHR_MUST_CHECK;

#endif
