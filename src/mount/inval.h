/*
 * Telling the kernel what is no longer true. Only this file's own thread does it, holding no
 * lock: an invalidation writes dirty pages back, which FUSE workers must answer meanwhile.
 */
#ifndef PHR_MOUNT_INVAL_H
#define PHR_MOUNT_INVAL_H

#include "base/cursor.h"
#include "mount/fuse_door.h"
#include "phr/err.h"
#include "phr/types.h"
#include "vault/waiter.h"

struct notifier;

int inval_open(struct notifier **out_notifier) PHR_MUST_CHECK;
/* Until then there is nobody to tell, and everything is done at once. */
void inval_attach(struct notifier *n, struct fuse_session *se);
void inval_detach(struct notifier *n);
void inval_close(struct notifier *n);

/*
 * These come back when the kernel has done it (dirty pages are written back, cached ones
 * gone), at most INVAL_WAIT_MS later. From a thread that answers requests they do not wait.
 */
enum { INVAL_WAIT_MS = 5000 };
void inval_node(struct notifier *n, uint64_t nodeid);
void inval_entry(struct notifier *n, uint64_t parent, struct view name);
void inval_names(struct notifier *n);

/* PHR_E_PENDING: the waiter is woken once the kernel's dirty pages of the node are with us. */
int inval_flush(struct notifier *n, uint64_t nodeid, struct waiter *w) PHR_MUST_CHECK;

/* This thread answers requests: it must never wait for the kernel. */
void inval_mark_worker(void);

#endif
