/*
 * Keys of files as identities have them in memory: opened by the owner, taken from the local
 * key, or released by the SRS under a lease. And the requests that bring releases.
 */
#ifndef PHR_VAULT_LEASE_H
#define PHR_VAULT_LEASE_H

#include "vault/session.h"

int lease_open(struct vault *v) PHR_MUST_CHECK;
void lease_close(struct vault *v); /* wakes who waits with PHR_E_CLOSED; drops all keys */

/* ---- cache; under the names lock ---- */
/* A reference, or NULL. Opens what was released and not opened yet (PRE, 100 us). */
struct key_set *lease_find_keys(struct vault *v, struct identity *id, const struct file_ctx *ctx);
/* Takes no reference of the caller's; keeps one of its own. */
void lease_keep_keys(struct vault *v, const struct identity *id, struct key_set *keys);
/* Forgets the keys of a user in a class (class NULL: in all). */
void lease_forget(struct vault *v, const struct id16 *user, const struct id16 *class_id);
/*
 * The keys by which the file's present header opens, without looking at its row: known since
 * lease_mark_current, until nsdb tells of a change. A reference, or NULL.
 */
struct key_set *lease_find_current(struct vault *v, struct identity *id, const struct id16 *file);
void lease_mark_current(struct vault *v, const struct identity *id, const struct file_ctx *ctx);
void lease_header_changed(struct vault *v, const struct id16 *file);
void lease_headers_changed(struct vault *v); /* of any file */
void lease_forget_file(struct vault *v, const struct id16 *file);
bool lease_has_keys(struct vault *v, const struct id16 *user, const struct id16 *class_id);
/* From raw header bytes and kek-opened keys. Takes the keys. */
int key_set_new(const struct header *h, struct file_key *take, size_t count, struct key_set **out_keys) PHR_MUST_CHECK;

/* ---- requests; under the names lock ---- */
/*
 * Asks the SRS for this file's key (and, for the third file of a folder in a row, ahead for the
 * next). PHR_E_PENDING when w was taken; PHR_E_SIDECAR at once when the link is down.
 */
int lease_ask_file(struct vault *v, const struct who *who, struct session *s, struct class_key *k,
                   const struct file_ctx *ctx, struct view header, struct waiter *w) PHR_MUST_CHECK;
/* Asks for the names keys that this identity lacks; answered by session_take_names. */
void lease_ask_names(struct vault *v, struct identity *id);
/* Waits (names lock not held) until no names request of this user is in flight, or the time is over. */
void lease_wait_names(struct vault *v, const struct id16 *user, uint32_t timeout_ms);
/* Waits until the ledger holds a header of this file other than `not`: PHR_E_PENDING, w taken. */
int lease_wait_header(struct vault *v, const struct id16 *file, const struct digest *not_hash,
                      struct waiter *w) PHR_MUST_CHECK;
/* After something was applied, names lock not held: wakes whose header is there now. */
void lease_wake_headers(struct vault *v);
/* Every second from the worker, names lock not held: renewals, ends of leases, deadlines. */
void lease_tick(struct vault *v);

#endif
