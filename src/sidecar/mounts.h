/*
 * The mounts that phrd knows: applied.h with a lock, a memory (sync.db) and those who wait for
 * it. Threads: any.
 */
#ifndef PHR_SIDECAR_MOUNTS_H
#define PHR_SIDECAR_MOUNTS_H

#include "ipc/server.h"
#include "sidecar/syncdb.h"

enum { MOUNTS_WAITERS_MAX = 256, MOUNTS_WAIT_MS_MAX = 15 * 60 * 1000 };

struct mounts;
/* lease_s: the SRS's; a mount that claims less is still counted with it. */
int mounts_open(struct syncdb *db, uint64_t lease_s, struct mounts **out_mounts) PHR_MUST_CHECK;
/* Answers who waits; the server still tells of connections that end. NULL is fine. */
void mounts_stop(struct mounts *m);
void mounts_close(struct mounts *m); /* after the server */
SCOPED_HANDLE(struct mounts, mounts_close)

int mounts_join(struct mounts *m, const struct peer *peer, const struct id16 *host,
                uint64_t lease_s) PHR_MUST_CHECK;
void mounts_leave(struct mounts *m, const struct peer *peer);
int mounts_applied(struct mounts *m, const struct id16 *host, const struct id16 *patient,
                   uint64_t seq) PHR_MUST_CHECK;
/* Owns req: answers when all have applied it or timeout_ms is over. */
void mounts_wait(struct mounts *m, struct request *req, const struct id16 *patient, uint64_t seq,
                 uint32_t timeout_ms);
/* Several times a second: deadlines; every minute: that connected ones still are. */
void mounts_tick(struct mounts *m);
size_t mounts_connected(struct mounts *m);

#endif
