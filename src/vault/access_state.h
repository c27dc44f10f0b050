/* What an open handle may do, for the files that cut it off (access.c, cutoff.c). */
#ifndef PHR_VAULT_ACCESS_STATE_H
#define PHR_VAULT_ACCESS_STATE_H

#include <stdatomic.h>

#include "vault/session.h"

struct access {
    struct access *next; /* vault->access_lock */
    struct access **at;  /* vault->access_lock: the pointer to this one */
    struct vault *v;
    atomic_uint refs;
    atomic_int rc; /* 0, or what access_check says from now on */
    _Atomic uint64_t used_ms; /* boot time of the last access_check */
    struct id16 user;
    struct id16 class_id;
    uint64_t nodeid;
    enum access_mode mode;
    struct key_set *keys;
};
/* A reference for the caller. Takes the caller's reference on keys. NULL: out of memory. */
struct access *access_new(struct vault *v, const struct id16 *user, const struct id16 *class_id,
                          uint64_t nodeid, enum access_mode mode, struct key_set *take);

/*
 * Cutting off (DESIGN 7): the notifier first lets the kernel write back what the reader had
 * written while he had the right, then the flag goes up, then cached pages go.
 */
void cutoff_class(struct vault *v, const struct id16 *user, const struct id16 *class_id, int rc);
/* A lease ended: handles with released keys only (one's own new files need no lease). */
void cutoff_leased(struct vault *v, const struct id16 *user, const struct id16 *class_id);
/* The same at once, for a logout that has flushed by itself: all of a user's handles. */
void cutoff_user_now(struct vault *v, const struct id16 *user, int rc);
/* Told to session_refresh. Under the names lock. */
void cutoff_on_lost(struct vault *v, struct identity *id, struct class_key *k);
/* What the kernel keeps of a compartment's and its patient's directory (who may enter them) goes. */
void cutoff_tell_tops(struct vault *v, const struct class_ctx *ctx);
/* When this user last read or wrote by a handle that is open now, boot time; 0: he has none. */
uint64_t access_used_ms(struct vault *v, const struct id16 *user);
/* The nodes that a user has open, each told to the notifier. */
void cutoff_flush_user(struct vault *v, const struct id16 *user);

#endif
