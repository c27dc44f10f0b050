/*
 * sync.db: what phrd remembers of its uploads, and of mounts that may still hold keys. All of
 * it can be learnt again (an object offered twice is compared with what the store has), so it
 * is written without waiting for the disk, and a damaged file is put aside for a fresh one.
 * Threads: any.
 */
#ifndef PHR_SIDECAR_SYNCDB_H
#define PHR_SIDECAR_SYNCDB_H

#include "base/cursor.h"
#include "base/scope.h"
#include "phr/err.h"
#include "phr/types.h"

enum syncdb_state { SYNCDB_QUEUED = 0, SYNCDB_STORED = 1, SYNCDB_PARKED = 2 };

struct syncdb_item {
    char key[204];
    int kind;  /* enum queue_kind */
    enum syncdb_state state;
    uint32_t attempts;
    int reason;      /* of the last failure, or 0 */
    char words[200]; /* the same for people */
    uint64_t at_s;   /* of the last change */
};

struct syncdb;
int syncdb_open(const char *path, struct syncdb **out_db) PHR_MUST_CHECK;
void syncdb_close(struct syncdb *db);
SCOPED_HANDLE(struct syncdb, syncdb_close)

/* host16 of this phrd, made at the first call. */
int syncdb_host(struct syncdb *db, struct id16 *out_host) PHR_MUST_CHECK;

int syncdb_find(struct syncdb *db, const char *key, struct syncdb_item *out_item) PHR_MUST_CHECK; /* -ENOENT */
/* Inserts or replaces; a body is kept until the item is stored. */
int syncdb_note(struct syncdb *db, const struct syncdb_item *item, struct view body) PHR_MUST_CHECK;
/* A negative result of the callback ends it and is returned. */
int syncdb_each(struct syncdb *db, enum syncdb_state state, uint32_t max,
                int (*on_item)(void *user, const struct syncdb_item *item, struct view body),
                void *user) PHR_MUST_CHECK;
int syncdb_count(struct syncdb *db, enum syncdb_state state, uint64_t *out_count) PHR_MUST_CHECK;
/* Parked ones are queued again, with their attempts forgotten. */
int syncdb_unpark(struct syncdb *db, uint32_t *out_count) PHR_MUST_CHECK;

/* A mount was connected at seen_s and keeps keys for lease_s. */
int syncdb_save_mount(struct syncdb *db, const struct id16 *host, uint64_t lease_s, uint64_t seen_s)
    PHR_MUST_CHECK;
int syncdb_drop_mount(struct syncdb *db, const struct id16 *host) PHR_MUST_CHECK;
int syncdb_each_mount(struct syncdb *db,
                      void (*on_mount)(void *user, const struct id16 *host, uint64_t lease_s,
                                       uint64_t seen_s),
                      void *user) PHR_MUST_CHECK;

#endif
