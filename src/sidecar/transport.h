/*
 * Objects on their way: threads that upload what is in the queue (fetcher.h has those that
 * fetch), and what sync.db remembers of it.
 *
 * TRANSPORT-1 "Stored" is said after the store said so; it is noted in sync.db first. A crash
 *             in between makes the object be offered and compared again, nothing more.
 * TRANSPORT-2 Nothing is lost by a restart: phrfs offers its objects again, ledger entries come
 *             from srs.db, checkpoints from sync.db.
 */
#ifndef PHR_SIDECAR_TRANSPORT_H
#define PHR_SIDECAR_TRANSPORT_H

#include <jansson.h>

#include "base/scope.h"
#include "sidecar/objstore.h"
#include "sidecar/queue.h"
#include "sidecar/syncdb.h"

struct transport;
struct transport_opts {
    struct objstore *store; /* both stay the caller's, longer than the transport */
    struct syncdb *db;
    const char *store_url;  /* for status */
    void *user;
    /* The store has this entry now; from a worker thread. */
    void (*on_entry_stored)(void *user, const struct id16 *patient, uint64_t seq);
};
int transport_open(const struct transport_opts *opts, struct transport **out_transport) PHR_MUST_CHECK;
/* Stops the threads; whoever still waits is answered PHR_E_CLOSED. */
void transport_close(struct transport *t);
SCOPED_HANDLE(struct transport, transport_close)

typedef void (*transport_done)(void *user, int rc, uint64_t bytes);
/*
 * Takes fd, also on failure. done is called once unless this returns negative, maybe before
 * it returns: 0 stored, PHR_E_STORE_REFUSED parked, PHR_E_CLOSED. -EAGAIN: the queue is full.
 */
int transport_put_object(struct transport *t, const struct id16 *patient, const struct digest *id,
                         int fd, uint64_t offset, uint64_t bytes, transport_done done,
                         void *user) PHR_MUST_CHECK;
/* Copies. -EAGAIN when too many wait: transport_wants_entries says when to come again. */
int transport_put_entry(struct transport *t, const struct id16 *patient, uint64_t seq,
                        struct view entry) PHR_MUST_CHECK;
bool transport_wants_entries(struct transport *t);
int transport_put_checkpoint(struct transport *t, uint64_t size, struct view note) PHR_MUST_CHECK;
/* Takes fd, an empty file. is_wanted may be NULL; asked before the work begins. -ENOENT: not there. */
int transport_get_object(struct transport *t, const struct id16 *patient, const struct digest *id,
                         int fd, uint64_t bytes_max, bool (*is_wanted)(void *user),
                         transport_done done, void *user) PHR_MUST_CHECK;
/* Blocks, some seconds at most. PHR_E_STORE: not there now. */
int transport_load_object(struct transport *t, const struct id16 *patient, const struct digest *id,
                          uint8_t **out_p, size_t *out_n) PHR_MUST_CHECK;
/* Keys of ledger entries below a prefix, on a thread of its own; done(user, rc, count) at the end. */
int transport_list(struct transport *t, const char *prefix,
                   int (*on_key)(void *user, const char *key), transport_done done,
                   void *user) PHR_MUST_CHECK;
/* Parked ones go again; how many. */
uint32_t transport_retry(struct transport *t);
/* Now and then: asks the store again whether it is there while nobody else does. */
void transport_tick(struct transport *t);

/* Objects "store", "queue" and array "parked" for phr status; NULL without memory. */
json_t *transport_dup_status(struct transport *t);

#endif
