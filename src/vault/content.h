/*
 * Contents as the names side sees them: one struct contents per vault, one row per regular
 * file. Provided by the contents side (content*.c, file.c, sealer.c, hydrate.c).
 */
#ifndef PHR_VAULT_CONTENT_H
#define PHR_VAULT_CONTENT_H

#include "format/op.h"
#include "vault/access.h"
#include "vault/file.h"
#include "vault/nsdb.h"

struct contents;

/* Opens data/ below vault_fd, recovers dirty files as far as it can without keys, starts the
   syncer (<= 1 s) and the sealer. Keys come later: contents_kick tries what waited for them. */
int contents_open(struct vault *v, int vault_fd, struct contents **out_contents) PHR_MUST_CHECK;
/* The sealer stops, nothing more is asked of the link: before link_close. NULL is fine. */
void contents_stop(struct contents *c);
/* After link_close, which answers what is in flight. Syncs all; never the network. */
void contents_close(struct contents *c);
/* An identity logged in or the link came up: recover, seal and offer objects that waited. */
void contents_kick(struct contents *c);
/* Logout: everything of nodes that this user has open is flushed and locally durable, keys dropped. */
int contents_logout(struct contents *c, const struct id16 *user, uint32_t *out_unsealed) PHR_MUST_CHECK;

/* A new, empty file, in the caller's transaction. */
int contents_create(struct contents *c, uint64_t nodeid, const struct id16 *file,
                    const struct id16 *writer) PHR_MUST_CHECK;
/* A handle on an access that the names side has made (node_create). Takes a reference on it. */
int contents_open_file(struct contents *c, uint64_t nodeid, struct access *a, int open_flags,
                       struct file **out_file) PHR_MUST_CHECK;
/* The access that a handle was opened with; borrowed from it. */
struct access *file_get_access(const struct file *f);
/*
 * A node goes on under another number (its reader was cut off while others have it open): dirty
 * data is written out, the row moves, handles of the old number stay as they are (they say ESTALE).
 */
int contents_retire(struct contents *c, uint64_t nodeid, uint64_t new_nodeid) PHR_MUST_CHECK;
/* Size, mtime and blocks as they are now, dirty state included. -ENOENT: no row. */
struct content_attr {
    uint64_t size;
    struct row_time mtime;
    uint64_t blocks_512;
};
int contents_getattr(struct contents *c, uint64_t nodeid, struct content_attr *out_attr) PHR_MUST_CHECK;
/* The kernel's mtime (SETATTR with write-back). */
int contents_set_mtime(struct contents *c, uint64_t nodeid, const struct row_time *mtime) PHR_MUST_CHECK;
int contents_truncate(struct contents *c, uint64_t nodeid, struct access *a, uint64_t size,
                      struct waiter *w) PHR_MUST_CHECK;
/* The last name and the last handle are gone: in the caller's transaction; containers are freed
   by a background thread after the commit. */
int contents_delete(struct contents *c, uint64_t nodeid) PHR_MUST_CHECK;
bool contents_is_open(struct contents *c, uint64_t nodeid);

/* The ledger has a seal: made here (then the row is CLEAN) or elsewhere (then cur is the sealed
   version, fetched segment by segment). In the caller's transaction. */
int contents_apply_seal(struct contents *c, uint64_t nodeid, const struct class_ctx *ctx,
                        const struct seal_change *seal) PHR_MUST_CHECK;
/* Seals what is dirty now, whatever its age; asynchronous. */
void contents_seal_all(struct contents *c);
void contents_count(struct contents *c, uint32_t *out_unsealed, uint32_t *out_objects, uint32_t *out_parked);
/*
 * Reads and verifies a file: every block as a reader would get it, the hashes of sealed segments
 * where nobody here has the keys, the footers. on_damage: count blocks from first on, or with
 * count 0 the footer of the segment that begins there. -ENOENT: no contents.
 */
int contents_check_node(struct contents *c, uint64_t nodeid,
                        void (*on_damage)(void *user, uint64_t nodeid, uint64_t first,
                                          uint64_t count, int rc),
                        void *user) PHR_MUST_CHECK;
/* Fetches sealed segments again whose local bytes are not right, where the object store has them.
   Waits for them; what could not be had stays as it was. */
void contents_repair(struct contents *c, uint64_t nodeid);
/* 0, or -ENOENT. */
int contents_has_container(struct contents *c, uint64_t container) PHR_MUST_CHECK;

/* ---- what the contents side needs from the names side (vault.c, outbox.c) ---- */
struct link;
struct nsdb *vault_get_nsdb(struct vault *v);
struct contents *vault_get_contents(struct vault *v);
struct link *vault_get_link(struct vault *v); /* ipc/caller.h */
const struct config *vault_get_config(struct vault *v);
const struct vault_upcalls *vault_get_upcalls(struct vault *v);
const uint8_t *vault_get_device_key(struct vault *v); /* 32 bytes, arena */
const struct id16 *vault_get_host(struct vault *v);
/*
 * Signs a seal op by the identity `writer` (must be logged in: PHR_E_LOCKED) and stores it in the
 * outbox in the caller's transaction, to be sent once outbox_release says that its objects are stored.
 * Up to OP_CHANGES_MAX seals of one class per op.
 */
int outbox_add_seals(struct vault *v, const struct id16 *writer, const struct class_ctx *ctx,
                     const struct seal_change *seals, size_t count, uint64_t *out_op_rowid) PHR_MUST_CHECK;
int outbox_release(struct vault *v, uint64_t op_rowid) PHR_MUST_CHECK;
/* Class and patient of a node; for sealing and object keys. */
int node_get_class(struct vault *v, uint64_t nodeid, struct class_ctx *out_ctx) PHR_MUST_CHECK;
/* The last handle of a node was released: nodes without a name are deleted now. */
void node_on_last_release(struct vault *v, uint64_t nodeid);

#endif
