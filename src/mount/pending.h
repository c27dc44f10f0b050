/*
 * Requests that wait for something outside (a key from the SRS, a segment from the store).
 * No FUSE worker waits: it parks the request here and goes on. When the vault wakes it, a
 * small pool runs it again; a deadline or an interrupt answers it before that.
 */
#ifndef PHR_MOUNT_PENDING_H
#define PHR_MOUNT_PENDING_H

#include "mount/fuse_door.h"
#include "vault/file.h"
#include "vault/waiter.h"

struct pending;

enum { PENDING_OPEN_MS = 1900, PENDING_DATA_MS = 20 * 1000 };

/* One request that can wait: its arguments, and what runs it. */
struct task {
    struct waiter waiter; /* first: the vault gives it back to us */
    fuse_req_t req;
    /* Calls the vault and answers, or returns PHR_E_PENDING when the vault took the waiter. */
    int (*run)(struct task *t);
    uint32_t deadline_after_ms;
    uint64_t nodeid;
    struct file *file;
    int flags;
    uint64_t offset;
    uint64_t length;
    struct view
        bytes; /* of a write: borrowed from the worker, copied when it is parked */
    struct node_change change;
    bool kill_suidgid;
    bool is_second_run;
    /* The rest is pending.c's. */
    struct pending *table;
    struct task *prev, *next;
    int state;
    bool is_interrupted;
    bool is_held; /* the vault has the waiter */
    int wake_rc;
    uint64_t deadline_ms;
    uint8_t *copy;
};

int pending_open(struct pending **out_pending) PHR_MUST_CHECK;
/* No parked request runs the vault again: those in the table are answered EIO as they wake. */
void pending_stop(struct pending *p);
/* After vault_close, which has woken everything. */
void pending_close(struct pending *p);

/* A zeroed task of this thread, not allocated anew for each request; NULL when memory is short. */
struct task *pending_prepare(struct pending *p, fuse_req_t req,
                             int (*run)(struct task *t));
/* Runs it now; parks it when it must wait. Takes the task. */
void pending_run(struct task *take);

#endif
