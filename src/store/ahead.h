/* Bytes that somebody will read soon, fetched from the disk beside him. */
#ifndef PHR_STORE_AHEAD_H
#define PHR_STORE_AHEAD_H

#include "store/container.h"

struct ahead;

int ahead_open(struct store *s, struct ahead **out_ahead) PHR_MUST_CHECK;
/* What was not begun is dropped; NULL is fine. */
void ahead_close(struct ahead *a);
/* Bytes [at, at + len) of the file that holds this container. A hint: where much is wanted already,
   it is forgotten. Never waits for the disk. */
void ahead_want(struct ahead *a, uint64_t id, uint64_t at, uint64_t len);

#endif
