/*
 * What the files of src/vault share about one open vault. Nobody outside includes this.
 * Lock order and who guards what: README.md.
 */
#ifndef PHR_VAULT_VAULT_STATE_H
#define PHR_VAULT_VAULT_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "ipc/caller.h"
#include "ledger/verify.h"
#include "vault/content.h"
#include "vault/nsdb_names.h"
#include "vault/vault.h"

struct identity;
struct session;
struct spool;
struct notify;
struct worker;
struct lease;
struct touch;
struct pool;
struct nodecache;

struct vault {
    struct vault_opts opts; /* fixed; config is the caller's */
    atomic_bool is_read_only;
    char home[PATH_MAX];
    int dir_fd;  /* vault/ */
    int lock_fd; /* vault/lock, flocked */
    struct id16 host;
    uint8_t *device_key; /* arena, 32 bytes */

    struct verify_anchor anchor; /* of realm/, compared with each keyring at login */
    struct card authority_card;
    struct card srs_card;

    struct nsdb *db; /* its lock is the names lock */
    struct contents *contents;
    struct link *link;
    struct spool *spool;
    struct notify *notify;
    struct worker *worker;
    struct pool *pool;

    struct identity *identities; /* names lock */
    struct session *sessions;    /* names lock */
    struct lease *lease;         /* names lock: released keys and requests in flight */
    struct nodecache *nodecache; /* names lock */
    struct touch *touch;         /* names lock: times that are not in the rows yet */
    uint64_t denied_uid_place;   /* names lock: last denied attempt that was recorded */
    uint64_t denied_ms;          /* names lock */

    pthread_mutex_t access_lock; /* leaf: the list below */
    struct access *accesses;     /* access_lock */
};

#endif
