/*
 * The vault's one thread that may wait for phrd: fetches and applies the ledger, pushes ops and
 * audit events, signs batches of attributes, renews leases. FUSE workers only wake it.
 */
#ifndef PHR_VAULT_WORKER_H
#define PHR_VAULT_WORKER_H

#include "vault/vault_state.h"

int worker_open(struct vault *v, struct worker **out_worker) PHR_MUST_CHECK;
void worker_close(struct worker *w); /* NULL is fine; before link_close */
/* Asks it to end; worker_close waits. Between them link_close answers what it waits for. */
void worker_stop(struct worker *w);
bool worker_is_stopping(struct vault *v);
/* Waits until a round has ended, at most timeout_ms. */
void worker_wait_round(struct vault *v, uint32_t timeout_ms);
/* From the link's callbacks. */
void worker_on_up(struct vault *v);
void worker_on_changed(struct vault *v, const struct id16 *patient, uint64_t seq);
/* Ops are pushed without the hold of two seconds. */
void worker_push_now(struct vault *v);
/* A names key has come: directories can be read now. */
void worker_names_changed(struct vault *v);
/*
 * The ledgers of this user, those in which he has a grant, and these patients' (the caller's) are kept up with from
 * now on. Any thread. -ENOMEM.
 */
int worker_follow(struct vault *v, const struct id16 *user, const struct id16 *patients, size_t count) PHR_MUST_CHECK;
/* Waits until all that is followed was fetched once since the link came up, at most timeout_ms. */
void worker_wait_fresh(struct vault *v, uint32_t timeout_ms);
/* All that is followed was fetched once since the link came up. */
bool worker_is_fresh(struct vault *v);
/*
 * The server may have more of this ledger than the head at seq: it said so, or has not been asked yet. Only where
 * it has not is an older head than a pin a roll-back.
 */
bool worker_is_behind(struct vault *v, const struct id16 *patient, uint64_t seq);
/* 0, or why the server's ledger of this patient is not the one that this host has verified. */
int worker_contradiction(struct vault *v, const struct id16 *patient);
/* The whole of what a sync or a logout wants signed and sent; returns at once. */
void worker_kick(struct vault *v);

/* ---- for the worker's own files (apply.c, rebase.c); worker thread, names lock not held ---- */
/* A call that waits for its answer. *out_payload is the caller's (writer_fini). */
int worker_call(struct vault *v, enum msg_type type, struct view payload, int fd,
                uint32_t timeout_ms, struct writer *out_payload) PHR_MUST_CHECK;

#endif
