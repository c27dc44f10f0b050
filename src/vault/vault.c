/*
 * Opening and closing a vault.
 *
 * VAULT-1  One process owns a vault (flock); a second waits at most 30 s for one that is ending.
 * VAULT-2  What the realm's cards say is checked against each keyring at login, and all ledger
 *          entries are verified against them.
 *
 * Lock order: contents' locks ► names lock (nsdb) ► worker's, notifier's, lease's wait lock,
 * access list, spool. README.md says more. Nothing is called outwards (upcalls, wake) with any
 * of them held.
 */
#include "vault/vault.h"

#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/secret.h"
#include "crypto/random.h"
#include "format/card.h"
#include "ipc/caller.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/nodecache.h"
#include "vault/notify.h"
#include "vault/opdraft.h"
#include "vault/pool.h"
#include "vault/session.h"
#include "vault/spool.h"
#include "vault/worker.h"

enum { LOCK_WAIT_MS = 30000, LOCK_TRY_MS = 50, DEVICE_KEY_BYTES = 32 };

struct nsdb *vault_get_nsdb(struct vault *v)
{
    return v->db;
}

struct contents *vault_get_contents(struct vault *v)
{
    return v->contents;
}

struct link *vault_get_link(struct vault *v)
{
    return v->link;
}

const struct config *vault_get_config(struct vault *v)
{
    return v->opts.config;
}

const struct vault_upcalls *vault_get_upcalls(struct vault *v)
{
    return &v->opts.upcalls;
}

const uint8_t *vault_get_device_key(struct vault *v)
{
    return v->device_key;
}

const struct id16 *vault_get_host(struct vault *v)
{
    return &v->host;
}

bool vault_is_read_only(struct vault *v)
{
    return atomic_load_explicit(&v->is_read_only, memory_order_relaxed);
}

bool vault_begin_writing(struct vault *v)
{
    if (!vault_is_read_only(v) || !atomic_exchange(&v->is_read_only, false))
        return false;
    contents_kick(v->contents);
    return true;
}

/* ---- opening ---- */

static int lock_dir(struct vault *v)
{
    uint64_t end = clock_boottime_ms() + LOCK_WAIT_MS;
    int rc = fdio_open(v->dir_fd, "lock", O_RDWR | O_CREAT, 0600, &v->lock_fd);

    if (rc < 0)
        return rc;
    while (flock(v->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        struct timespec pause = { .tv_nsec = LOCK_TRY_MS * 1000000L };

        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (clock_boottime_ms() >= end)
            return PHR_E_BUSY;
        nanosleep(&pause, NULL); /* flock has no deadline of its own */
    }
    return 0;
}

/* host16 || device key; made with the vault. */
static int load_vault_key(struct vault *v)
{
    scoped(secret_free) uint8_t *both = secret_alloc(sizeof v->host.b + DEVICE_KEY_BYTES);
    int fd = -1;
    int rc;

    v->device_key = secret_alloc(DEVICE_KEY_BYTES);
    if (!both || !v->device_key)
        return -ENOMEM;
    rc = fdio_open(v->dir_fd, "vault.key", O_RDONLY, 0, &fd);
    if (rc == 0) {
        rc = fdio_pread_all(fd, both, sizeof v->host.b + DEVICE_KEY_BYTES, 0);
        close_fd_scope(&fd);
        if (rc == -ENODATA)
            rc = PHR_E_FORMAT;
    } else if (rc == -ENOENT) {
        random_fill(both, sizeof v->host.b + DEVICE_KEY_BYTES);
        rc = fdio_save(v->dir_fd, "vault.key", view_of(both, sizeof v->host.b + DEVICE_KEY_BYTES),
                       0600);
    }
    if (rc < 0)
        return rc;
    memcpy(v->host.b, both, sizeof v->host.b);
    memcpy(v->device_key, both + sizeof v->host.b, DEVICE_KEY_BYTES);
    return 0;
}

static int load_card(int realm_fd, const char *name, const struct verify_key *authority,
                     struct card *out_card)
{
    scoped(free) uint8_t *bytes = NULL;
    size_t n;
    int rc = fdio_load(realm_fd, name, CARD_BYTES_MAX, &bytes, &n);

    if (rc < 0)
        return rc;
    rc = card_decode(view_of(bytes, n), out_card);
    if (rc < 0)
        return rc;
    return card_check(view_of(bytes, n), authority ? authority : &out_card->ed, out_card);
}

static int load_realm(struct vault *v)
{
    scoped(close_fd) int realm = -1;
    char path[PATH_MAX];
    /* By its path: the sandbox lets us into realm/ and vault/, not into what lies beside them. */
    int rc = config_home_path(v->opts.config, "realm", path, sizeof path);

    if (rc == 0)
        rc = fdio_open_dir(AT_FDCWD, path, &realm);
    if (rc == 0)
        rc = load_card(realm, "authority.card", NULL, &v->authority_card);
    if (rc == 0)
        rc = load_card(realm, "srs.card", &v->authority_card.ed, &v->srs_card);
    if (rc < 0)
        return rc;
    if (v->authority_card.role != CARD_AUTHORITY || v->srs_card.role != CARD_SRS)
        return PHR_E_CARD;
    v->anchor.authority = v->authority_card.ed;
    v->anchor.srs = v->srs_card.ed;
    v->anchor.srs_card = v->srs_card.hash;
    return 0;
}

static int open_database(struct vault *v)
{
    char path[PATH_MAX + 32];

    if (snprintf(path, sizeof path, "%s/vault/namespace.db", v->home) >= (int)sizeof path)
        return PHR_E_LIMIT;
    return nsdb_open(path, &v->db);
}

static int open_spool(struct vault *v)
{
    struct spool_opts opts = {
        .dir_fd = v->dir_fd, .db = v->db, .host = v->host, .srs = v->srs_card.b,
        .is_sync = strcmp(v->opts.config->audit, "sync") == 0
    };

    return spool_open(&opts, &v->spool);
}

/* Nodes that had no name when the last process ended. */
static void purge_nameless(struct vault *v)
{
    uint64_t nodeids[256];
    size_t n = 0;

    do {
        if (nsdb_inode_list_gone(v->db, nodeids, 256, &n) < 0)
            return;
        for (size_t i = 0; i < n; i++)
            if (node_purge(v, nodeids[i]) < 0)
                return; /* a read-only or full disk: they wait */
    } while (n == 256);
}

static void on_push(void *user, enum msg_type type, struct view payload)
{
    struct reader r = reader_over(payload);
    struct id16 patient;
    uint64_t seq;

    if (type == MSG_STORE_RETRY)
        contents_kick(((struct vault *)user)->contents); /* what was refused is offered again */
    if (type != MSG_LEDGER_CHANGED)
        return;
    reader_bytes(&r, patient.b, sizeof patient.b);
    seq = reader_u64(&r);
    if (reader_done(&r))
        worker_on_changed(user, &patient, seq);
}

static void on_up(void *user)
{
    struct vault *v = user;

    worker_on_up(v);
    contents_kick(v->contents);
}

static int open_link(struct vault *v)
{
    char path[PATH_MAX];
    struct link_opts opts = {
        .socket_path = path, .host = v->host, .lease_s = v->opts.config->lease_s, .user = v,
        .on_up = on_up, .on_push = on_push
    };
    int rc = config_run_path(v->opts.config, "phrd.sock", path, sizeof path);

    return rc < 0 ? rc : link_open(&opts, &v->link);
}

static void note_mount(struct vault *v, enum event_type type)
{
    char program[32];
    struct event e;

    spool_event_init(v, &e, type, NULL, NULL, program);
    e.uid = getuid();
    ignored(spool_event(v->spool, &e)); /* no access depends on it; a full disk stops the opens */
}

static int open_parts(struct vault *v)
{
    int rc = load_realm(v);

    if (rc == 0)
        rc = load_vault_key(v);
    if (rc == 0)
        rc = open_link(v); /* before any thread of ours that asks for it */
    if (rc == 0)
        rc = open_database(v);
    if (rc == 0)
        rc = open_spool(v);
    if (rc == 0)
        rc = lease_open(v);
    if (rc == 0)
        rc = nodecache_open(v);
    if (rc == 0)
        rc = notify_open(v, &v->notify);
    if (rc == 0)
        rc = pool_open(&v->pool);
    if (rc == 0)
        rc = contents_open(v, v->dir_fd, &v->contents);
    if (rc < 0)
        return rc;
    purge_nameless(v);
    note_mount(v, EVENT_MOUNT);
    rc = worker_open(v, &v->worker);
    return rc < 0 ? rc : link_start(v->link);
}

int vault_open(const struct vault_opts *opts, struct vault **out_vault)
{
    struct vault *v = calloc(1, sizeof *v);
    char path[PATH_MAX];
    int rc;

    if (!v)
        return -ENOMEM;
    v->opts = *opts;
    atomic_init(&v->is_read_only, opts->is_read_only);
    v->dir_fd = -1;
    v->lock_fd = -1;
    pthread_mutex_init(&v->access_lock, NULL);
    snprintf(v->home, sizeof v->home, "%s", opts->config->home);
    rc = config_home_path(opts->config, "vault", path, sizeof path);
    if (rc == 0)
        rc = fdio_make_dir(path, 0700, &v->dir_fd);
    if (rc == 0)
        rc = lock_dir(v);
    if (rc == 0)
        rc = open_parts(v);
    if (rc < 0) {
        vault_close(v);
        return rc;
    }
    *out_vault = v;
    return 0;
}

/* Times and attributes into rows, and all into ops, while their writers can still sign. */
static void sign_all(struct vault *v)
{
    nsdb_lock(v->db);
    ignored(touch_flush(v, NULL)); /* time stamps: the last two seconds are lost instead */
    ignored(names_sign_dirty(v, NULL));  /* signed at the next login instead */
    ignored(opdraft_sign_all(v));          /* the same (DRAFT-2) */
    nsdb_unlock(v->db);
}

void vault_close(struct vault *v)
{
    if (!v)
        return;
    if (v->db && v->spool)
        sign_all(v);
    worker_stop(v->worker);
    contents_stop(v->contents);
    link_stop(v->link); /* answers what the worker and waiters wait for */
    worker_close(v->worker);
    v->worker = NULL;
    contents_close(v->contents);
    v->contents = NULL;
    if (v->spool)
        note_mount(v, EVENT_UMOUNT);
    notify_close(v->notify);
    v->notify = NULL;
    pool_close(v->pool);
    nodecache_close(v);
    lease_close(v);
    link_close(v->link);
    touch_close(v);
    session_free_all(v);
    if (v->db)
        ignored(nsdb_sync(v->db)); /* the next start finds what is there */
    spool_close(v->spool);
    nsdb_close(v->db);
    secret_free(v->device_key);
    close_fd_scope(&v->lock_fd);
    close_fd_scope(&v->dir_fd);
    pthread_mutex_destroy(&v->access_lock);
    free(v);
}
