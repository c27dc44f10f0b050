/*
 * What somebody waits for: objects, lists, the question whether the store is there. On
 * threads of its own, so that reading never stands behind a backlog of uploads.
 *
 * FETCH-1 Fetched bytes have the hash that was asked for, or they are not handed out.
 */
#ifndef PHR_SIDECAR_FETCHER_H
#define PHR_SIDECAR_FETCHER_H

#include "base/scope.h"
#include "sidecar/storestate.h"

struct fetcher;
int fetcher_open(struct objstore *store, struct storestate *state, struct fetcher **out_fetcher)
    PHR_MUST_CHECK;
/* Ends the threads (objstore_interrupt first); whoever still waits is answered PHR_E_CLOSED. */
void fetcher_close(struct fetcher *f);
SCOPED_HANDLE(struct fetcher, fetcher_close)

typedef void (*fetcher_done)(void *user, int rc, uint64_t count);
/*
 * Takes fd, an empty file, also on failure. is_wanted may be NULL; asked before the work begins.
 * done is called once, unless this returns negative (-EAGAIN: too many wait): count is bytes.
 */
int fetcher_get(struct fetcher *f, const char *key, const struct digest *sha256, int fd,
                uint64_t bytes_max, bool (*is_wanted)(void *user), fetcher_done done, void *user)
    PHR_MUST_CHECK;
/* Keys below a prefix, in order; then done with their count. */
int fetcher_list(struct fetcher *f, const char *prefix, int (*on_key)(void *user, const char *key),
                 fetcher_done done, void *user) PHR_MUST_CHECK;
/* Blocks, some seconds at most. -ENOENT: not there. The bytes are the caller's (free). */
int fetcher_load(struct fetcher *f, const char *key, const struct digest *sha256,
                 uint8_t **out_p, size_t *out_n) PHR_MUST_CHECK;
/* Asks the store whether it is there, when nobody else does. */
void fetcher_probe_now_and_then(struct fetcher *f);

#endif
