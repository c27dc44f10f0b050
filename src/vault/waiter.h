/* Somebody who waits for an answer that a FUSE worker must not wait for (P7). */
#ifndef PHR_VAULT_WAITER_H
#define PHR_VAULT_WAITER_H

/*
 * A vault call that returns PHR_E_PENDING has taken the waiter: wake is called exactly once,
 * from another thread, with no vault lock held, within the call's deadline. rc 0: call the
 * same function again, it now finds what it needs; otherwise: rc is the answer.
 */
struct waiter {
    void (*wake)(struct waiter *w, int rc);
    struct waiter *next; /* the vault's while it waits */
};

#endif
