/* Small objects side by side in one file; each is a container of its own to everybody else. */
#ifndef PHR_STORE_PACK_H
#define PHR_STORE_PACK_H

#include "store/container.h"

enum { PACK_OBJECT_BYTES_MAX = 255 * 4096, PACK_BYTES_MAX = 65536 * 4096 };

/* A new object in one pwritev; v is used up. Written once, never again (STORE-3). */
int pack_put(struct store *s, struct iovec *v, int count, uint64_t *out_id) PHR_MUST_CHECK;

/* The next objects will be synced one by one: zeros where they will lie, so that a sync of them
   need not wait for the journal of the file system below. A hint. */
void pack_write_ahead(struct store *s);
/* Zeros that were not needed go; nothing more is put. */
void pack_close(struct store *s);

/* Of the pack itself. */
uint64_t pack_id(uint64_t number);
uint64_t pack_number(uint64_t id);
/* Of an object: where it lies in its pack. A pack itself has 0 bytes here. */
uint64_t pack_object_at(uint64_t id);
uint64_t pack_object_bytes(uint64_t id);
/* Bytes [at, at + len) of an object are about to be read. How much behind them, from *out_at in the
   pack on, the kernel should fetch meanwhile; 0: nothing. */
uint64_t pack_read_ahead(struct store *s, uint64_t id, uint64_t at, uint64_t len,
                         uint64_t *out_at);
/* Takes a pack of an earlier run away when nothing is left in it. */
void pack_reap(struct store *s, uint64_t id);

#endif
