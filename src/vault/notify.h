/* Upcalls to the mount, from a thread of their own with no lock held, in order. */
#ifndef PHR_VAULT_NOTIFY_H
#define PHR_VAULT_NOTIFY_H

#include "vault/vault_state.h"

int notify_open(struct vault *v, struct notify **out_notify) PHR_MUST_CHECK;
void notify_close(struct notify *n); /* drops what is queued; NULL is fine */
void notify_node(struct vault *v, uint64_t nodeid);
void notify_entry(struct vault *v, uint64_t parent, struct view name);
void notify_names(struct vault *v);
/* Runs fn on the notifier's thread after all that was queued before. */
void notify_call(struct vault *v, void (*fn)(struct vault *v, void *arg), void *arg);
/* Waits until everything queued so far was told, at most timeout_ms. Not from the notifier. */
void notify_wait(struct vault *v, uint32_t timeout_ms);

#endif
