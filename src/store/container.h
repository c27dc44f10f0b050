/*
 * One container: a file of ciphertext in data/NNNNNN/. Threads: all may be called from any
 * thread; callers keep two writers from the same bytes.
 */
#ifndef PHR_STORE_CONTAINER_H
#define PHR_STORE_CONTAINER_H

#include <sys/uio.h>

#include "store/store.h"

/*
 * s: one segment or manifest. o: the overlay of one dirty file. p: a small object in a pack, or
 * the pack (pack.h). The kind is in the low bits of a container's id, so an id tells the name; 0
 * is no container.
 */
enum container_kind { CONTAINER_SEGMENT = 1, CONTAINER_OVERLAY = 2, CONTAINER_PACK = 3 };

/* How everything on disk is referred to. */
struct loc {
    uint64_t container;
    uint64_t offset;
    uint64_t len;
};

enum container_kind container_kind(uint64_t id);
uint64_t container_number(uint64_t id);
/* The file that holds it, as an id: itself, or its pack; and where it begins there. */
uint64_t container_file(uint64_t id);
uint64_t container_at(uint64_t id);

/* A new, empty file. -ENOSPC at the floor. */
int container_create(struct store *s, enum container_kind kind, uint64_t *out_id) PHR_MUST_CHECK;
/* All bytes, or -ENODATA where the file ends before, or -errno. */
int container_read(struct store *s, uint64_t id, struct span room, uint64_t at) PHR_MUST_CHECK;
int container_write(struct store *s, uint64_t id, struct view bytes, uint64_t at) PHR_MUST_CHECK;
/* One pwritev; v is used up. */
int container_write_parts(struct store *s, uint64_t id, struct iovec *v, int count,
                          uint64_t at) PHR_MUST_CHECK;
/* fdatasync, and the directory when the container is new. */
int container_sync(struct store *s, uint64_t id) PHR_MUST_CHECK;
/* Tells the kernel to begin writing back; no wait. */
void container_sync_start(struct store *s, uint64_t id, uint64_t at, uint64_t len);
/* These bytes are read soon: fetched by a thread (ahead.h). */
void container_will_need(struct store *s, uint64_t id, uint64_t at, uint64_t len);
/* What that thread does: of the file, not of an object in it. */
void container_fetch(struct store *s, uint64_t file, uint64_t at, uint64_t len);
int container_truncate(struct store *s, uint64_t id, uint64_t bytes) PHR_MUST_CHECK;
int container_punch(struct store *s, uint64_t id, uint64_t at, uint64_t len) PHR_MUST_CHECK;
int container_get_bytes(struct store *s, uint64_t id, uint64_t *out_bytes) PHR_MUST_CHECK;
/* A descriptor of its own, to be sent to phrd: read-only, or for writing where it will fill. */
int container_dup_fd(struct store *s, uint64_t id, bool for_writing, int *out_fd) PHR_MUST_CHECK;
/* -ENOENT is fine. */
int container_unlink(struct store *s, uint64_t id) PHR_MUST_CHECK;

#endif
