/*
 * Contents of open files. A handle (struct file) keeps the identity of its open; all handles
 * of a node share one struct content. Blocks are encrypted as they arrive.
 */
#ifndef PHR_VAULT_FILE_H
#define PHR_VAULT_FILE_H

#include "vault/node.h"

struct file;

/*
 * Opens by node. The right is checked, the event recorded (P2), the key taken: by the owner's
 * key, the local key, a lease, or the SRS (PENDING). *out_keep_cache tells FOPEN_KEEP_CACHE.
 */
int file_open(struct vault *v, const struct who *who, uint64_t nodeid, int flags, struct waiter *w,
              struct file **out_file, bool *out_keep_cache) PHR_MUST_CHECK;
/*
 * In full up to the end of file, or an error, never short (P6). out_n < room.n only at the
 * end. PENDING while a segment comes from the object store. -EACCES once cut off.
 */
int file_read(struct file *f, uint64_t offset, struct span room, struct waiter *w,
              size_t *out_n) PHR_MUST_CHECK;
int file_write(struct file *f, uint64_t offset, struct view bytes, struct waiter *w) PHR_MUST_CHECK;
/* close(2): survives kill -9 from here on. */
int file_flush(struct file *f) PHR_MUST_CHECK;
/* fsync(2): survives a power cut from here on, its audit events too. */
int file_fsync(struct file *f, bool data_only) PHR_MUST_CHECK;
void file_release(struct file *f);
/* SEEK_DATA, SEEK_HOLE. */
int file_lseek(struct file *f, uint64_t offset, int whence, uint64_t *out_offset) PHR_MUST_CHECK;
/* mode as fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE]; else -EOPNOTSUPP. */
int file_fallocate(struct file *f, int mode, uint64_t offset, uint64_t len, struct waiter *w) PHR_MUST_CHECK;
/* Where write(2) must fail at once because the disk is nearly full: FOPEN_DIRECT_IO. */
bool file_wants_direct_io(const struct file *f);
uint64_t file_get_nodeid(const struct file *f);

#endif
