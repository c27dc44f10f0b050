/*
 * Headers made ahead: a new file's header costs 80 us of PRE, which a thread of its own does
 * before it is asked for. Each carries a file id that nobody uses yet.
 */
#ifndef PHR_VAULT_POOL_H
#define PHR_VAULT_POOL_H

#include "vault/access.h"

struct pool;

int pool_open(struct pool **out_pool) PHR_MUST_CHECK;
void pool_close(struct pool *p); /* NULL is fine */
/*
 * A header for this compartment-epoch, or NULL when none is ready; either way more are made.
 * The caller's reference; the new file's id is keys->ctx.file. Any thread.
 */
struct key_set *pool_take(struct pool *p, const struct class_ctx *ctx, const struct point *a_pub);
/* Wipes what is ready (logout). */
void pool_forget(struct pool *p);

#endif
