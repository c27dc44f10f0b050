/*
 * The names side of a vault as far as contents need it: a real namespace.db, keys made from
 * the node's number, an outbox in memory, an object store in memory instead of phrd.
 */
#ifndef PHR_TESTS_UNIT_FAKE_VAULT_H
#define PHR_TESTS_UNIT_FAKE_VAULT_H

#include "base/config.h"
#include "format/op.h"
#include "vault/content_state.h"

enum { FAKE_OBJECTS_MAX = 4096, FAKE_SEALS_MAX = 4096 };

struct fake_object {
    struct digest id;
    uint8_t *bytes;
    size_t n;
};

/* What went to the outbox. */
struct fake_seal {
    uint64_t op_rowid;
    uint64_t nodeid; /* of the file */
    struct seal_change seal;
    bool is_released;
};

struct vault {
    struct nsdb *db;
    struct contents *contents;
    struct config config;
    uint8_t *device_key;
    struct id16 host;
    int dir_fd;
    bool is_read_only;
    bool is_locked;      /* nobody is logged in: access_keys_local says so */
    unsigned last_releases;
    struct vault_upcalls upcalls;

    pthread_mutex_t lock; /* what follows */
    struct fake_object objects[FAKE_OBJECTS_MAX];
    size_t object_count;
    struct fake_seal seals[FAKE_SEALS_MAX];
    size_t seal_count;
    uint64_t next_op;
    int put_status;      /* what an OBJECT_PUT gets */
    bool is_link_down;
};

/* store_bytes_max of the vaults that are opened from now on. */
extern uint64_t fake_store_bytes_max;
/* dir is made when missing; config: nothing is sealed by itself. */
int fake_vault_open(const char *dir, struct vault **out_vault) PHR_MUST_CHECK;
void fake_vault_close(struct vault *v);
/* As after a crash: nothing is flushed, memory is given back. Only where no thread works. */
void fake_dir_remove(const char *dir);

/* A new file with this number, and a handle. */
int fake_create(struct vault *v, uint64_t nodeid, struct file **out_file) PHR_MUST_CHECK;
int fake_open(struct vault *v, uint64_t nodeid, int flags, struct file **out_file) PHR_MUST_CHECK;
struct id16 fake_file_id(uint64_t nodeid);
/* A waiter that a test can wait for. */
struct fake_waiter {
    struct waiter w;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_woken;
    int rc;
};
void fake_waiter_init(struct fake_waiter *f);
int fake_waiter_wait(struct fake_waiter *f, unsigned timeout_ms);

#endif
