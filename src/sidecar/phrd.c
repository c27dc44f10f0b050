#include "sidecar/phrd.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/secret.h"
#include "proc/daemon.h"
#include "proc/privs.h"
#include "proc/sandbox.h"
#include "proc/signal.h"
#include "sidecar/phrd_rules.h"

enum {
    CONNECTIONS_MAX = 512,
    IN_FLIGHT_MAX = 1024, /* a mount whose fetches all hang must still be able to open */
    TICK_MS = 200,
    STORE_LOOK_MS = 2000,
    MESSAGE_BYTES = 300
};

static int open_home(struct phrd *p);
static int take_lock(struct phrd *p);
static int open_store(struct phrd *p);
static int is_new_store(struct phrd *p, bool *out_is_new);
static int enter_sandbox(struct phrd *p);
static int open_srs(struct phrd *p);
static int open_socket(struct phrd *p);

/* What went wrong, once, where a person sees it. */
static int say(int rc, const char *what)
{
    fprintf(stderr, "phrd: %s: %s\n", what, phr_err_text(rc));
    return rc;
}

int phrd_new(const struct phrd_options *options, struct phrd **out_phrd)
{
    static const char *const levels[] = { "error", "warn", "info", "debug" };
    scoped(phrd_free) struct phrd *p = calloc(1, sizeof *p);
    char why[MESSAGE_BYTES] = "";
    enum log_level level = LOG_LEVEL_INFO;
    int rc;

    if (!p)
        return -ENOMEM;
    p->lock_fd = p->realm_fd = p->dir_fd = -1;
    pthread_rwlock_init(&p->parts, NULL);
    p->options = *options;
    p->started_s = clock_realtime_s();
    rc = config_load(options->config_path, &p->config, why, sizeof why);
    if (rc < 0) {
        fprintf(stderr, "phrd: %s\n", why[0] ? why : phr_err_text(rc));
        return rc;
    }
    for (size_t i = 0; i < ARRAY_COUNT(levels); i++) {
        if (strcmp(p->config.log_level, levels[i]) == 0)
            level = (enum log_level)i;
    }
    log_open("phrd", level);
    *out_phrd = give(p);
    return 0;
}

void phrd_free(struct phrd *p)
{
    struct transport *transport;

    if (!p)
        return;
    if (p->has_server_thread) {
        server_stop(p->server);
        pthread_join(p->server_thread, NULL);
    }
    mounts_stop(p->mounts);
    if (p->store)
        objstore_interrupt(p->store);
    /* The SRS and the transport call each other: from here on the SRS finds none. */
    pthread_rwlock_wrlock(&p->parts);
    transport = give(p->transport);
    pthread_rwlock_unlock(&p->parts);
    transport_close(transport);
    if (p->srs)
        srs_close(p->srs);
    server_close(p->server);
    mounts_close(p->mounts); /* the server told it of the connections that it closed */
    syncdb_close(p->db);
    objstore_close(p->store);
    if (p->realm_fd >= 0)
        close(p->realm_fd);
    if (p->dir_fd >= 0)
        close(p->dir_fd);
    if (p->lock_fd >= 0)
        close(p->lock_fd);
    pthread_rwlock_destroy(&p->parts);
    free(p);
}

/* ---- --init ---- */

/* A store in a directory, for the sidecar's user, who may not make one beside sidecar/. */
static int make_store_dir(struct phrd *p, uid_t uid, gid_t gid)
{
    scoped(close_fd) int dir = -1;
    int rc;

    if (strncmp(p->config.store_url, "file:///", 8) != 0)
        return 0;
    rc = fdio_make_dir(p->config.store_url + 7, 0750, &dir);
    if (rc == 0 && fchown(dir, uid, gid) < 0)
        rc = -errno;
    return rc < 0 ? say(rc, "the store's directory") : 0;
}

/* What root made for the sidecar's own user becomes his: the directories and the files in them. */
static int hand_over(struct phrd *p)
{
    static const char *const files[] = { "srs.key", "rk.keys",     "srs.db",     "srs.db-wal",
                                         "sync.db", "sync.db-wal", "srs.db-shm", "sync.db-shm",
                                         "lock",    "store" };
    uid_t uid = 0;
    gid_t gid = 0;
    int rc;

    if (geteuid() != 0 || p->config.sidecar_user[0] == '\0')
        return 0;
    rc = privs_find(p->config.sidecar_user, &uid, &gid);
    if (rc < 0)
        return say(rc, p->config.sidecar_user);
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        if (fchownat(p->dir_fd, files[i], uid, gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
            return say(-errno, files[i]);
    }
    if (fchown(p->dir_fd, uid, gid) < 0)
        return say(-errno, "sidecar/");
    return make_store_dir(p, uid, gid);
}

int phrd_init_home(struct phrd *p)
{
    char realm[PATH_MAX];
    int home = -1;
    int rc = fdio_make_dir(p->config.home, 0755, &home);

    if (rc < 0)
        return say(rc, "the home directory");
    close(home);
    rc = config_home_path(&p->config, "realm", realm, sizeof realm);
    if (rc == 0)
        rc = config_home_path(&p->config, "sidecar", p->dir_path, sizeof p->dir_path);
    if (rc == 0)
        rc = fdio_make_dir(realm, 0755, &p->realm_fd);
    if (rc == 0 && fchmod(p->realm_fd, 0755) < 0) /* public, whatever the umask */
        rc = -errno;
    if (rc == 0)
        rc = fdio_make_dir(p->dir_path, 0700, &p->dir_fd);
    if (rc < 0)
        return say(rc, "realm/ and sidecar/");
    rc = take_lock(p);
    if (rc < 0)
        return rc;
    rc = secret_arena_open();
    if (rc == 0)
        rc = srs_init(p->dir_fd, p->realm_fd);
    if (rc < 0)
        return say(rc, "making the SRS");
    return hand_over(p);
}

/* ---- opening ---- */

int phrd_open(struct phrd *p)
{
    char path[PATH_MAX];
    int rc = open_home(p);

    if (rc == 0)
        rc = take_lock(p);
    if (rc == 0)
        rc = open_store(p);
    if (rc == 0)
        rc = enter_sandbox(p);
    if (rc < 0)
        return rc;
    rc = snprintf(path, sizeof path, "%s/sync.db", p->dir_path) >= (int)sizeof path
             ? PHR_E_LIMIT
             : syncdb_open(path, &p->db);
    if (rc == 0)
        rc = syncdb_host(p->db, &p->host);
    if (rc == 0)
        rc = mounts_open(p->db, p->config.lease_s, &p->mounts);
    if (rc < 0)
        return say(rc, "sync.db");
    rc = open_srs(p);
    if (rc == 0 && !p->options.rebuild)
        rc = open_socket(p);
    return rc;
}

/* /run/phr lies in memory and is gone after a boot: made here where tmpfiles.d has not. */
static int make_run_dir(struct phrd *p, uid_t uid, gid_t gid)
{
    scoped(close_fd) int run = -1;
    struct stat st;
    int rc;

    if (stat(p->config.run, &st) == 0)
        return 0;
    rc = fdio_make_dir(p->config.run, 0755, &run);
    if (rc == 0 && geteuid() == 0 && fchown(run, uid, gid) < 0)
        rc = -errno;
    if (rc == 0 && fchmod(run, 0755) < 0)
        rc = -errno;
    return rc < 0 ? say(rc, p->config.run) : 0;
}

/* Directories and the user that we are from here on. */
static int open_home(struct phrd *p)
{
    char realm[PATH_MAX];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int rc = 0;

    p->mount_uid = geteuid();
    if (p->config.user[0]) {
        gid_t unused;

        rc = privs_find(p->config.user, &p->mount_uid, &unused);
    }
    if (rc == 0 && p->config.sidecar_user[0])
        rc = privs_find(p->config.sidecar_user, &uid, &gid);
    if (rc < 0)
        return say(rc, "the users in phr.conf");
    rc = make_run_dir(p, uid, gid);
    if (rc == 0 && p->config.sidecar_user[0]) {
        rc = privs_drop(p->config.sidecar_user);
        if (rc < 0)
            return say(rc, "becoming the sidecar's user");
    }
    if (rc < 0)
        return rc;
    rc = config_home_path(&p->config, "realm", realm, sizeof realm);
    if (rc == 0)
        rc = config_home_path(&p->config, "sidecar", p->dir_path, sizeof p->dir_path);
    if (rc == 0)
        rc = fdio_open_dir(AT_FDCWD, realm, &p->realm_fd);
    if (rc == 0)
        rc = fdio_open_dir(AT_FDCWD, p->dir_path, &p->dir_fd);
    if (rc == -ENOENT)
        fprintf(stderr, "phrd: there is no realm in %s yet: run 'phr init'\n", p->config.home);
    else if (rc < 0)
        return say(rc, p->config.home);
    return rc;
}

/* One phrd per sidecar/: the databases are ours alone (S-3). */
static int take_lock(struct phrd *p)
{
    char text[32];
    ssize_t n;
    int rc = fdio_open(p->dir_fd, "lock", O_RDWR | O_CREAT, 0600, &p->lock_fd);

    if (rc < 0)
        return say(rc, "sidecar/lock");
    if (flock(p->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        n = pread(p->lock_fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        fprintf(stderr, "phrd: %s is served by another phrd already (process %s)\n", p->dir_path,
                text[0] ? text : "unknown");
        return PHR_E_BUSY;
    }
    n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(p->lock_fd, 0) < 0 || pwrite(p->lock_fd, text, (size_t)n, 0) != n)
        return say(-errno, "sidecar/lock");
    return 0;
}

static int open_store(struct phrd *p)
{
    struct objstore_config config = { .credentials = p->config.store_credentials,
                                      .ca_file = p->config.store_ca_file };
    char why[MESSAGE_BYTES] = "";
    int rc = secret_arena_open();

    if (rc < 0)
        return say(rc, "the arena of secrets");
    if (p->config.store_url[0] == '\0') {
        int n = snprintf(p->config.store_url, sizeof p->config.store_url, "file://%s/objects",
                         p->config.home);

        if (n < 0 || (size_t)n >= sizeof p->config.store_url)
            return say(PHR_E_LIMIT, "[store] url");
        log_warn("no_store_configured", LOG_WORD("now", "objects_stay_on_this_machine"));
    }
    config.url = p->config.store_url;
    rc = is_new_store(p, &config.may_make);
    if (rc < 0)
        return say(rc, "sidecar/store");
    rc = objstore_open(&config, &p->store, why, sizeof why);
    if (rc < 0)
        fprintf(stderr, "phrd: %s\n", why[0] ? why : phr_err_text(rc));
    if (rc == 0 && config.may_make)
        rc = fdio_save(p->dir_fd, "store", view_text(p->config.store_url), 0600);
    return rc;
}

/*
 * sidecar/store holds the URL of the store that we have used before. Only a new one may be
 * made: an old one that is missing (a disk that is not mounted) must not become an empty one.
 */
static int is_new_store(struct phrd *p, bool *out_is_new)
{
    scoped(free) uint8_t *was = NULL;
    size_t n = 0;
    int rc = fdio_load(p->dir_fd, "store", sizeof p->config.store_url, &was, &n);

    if (rc < 0 && rc != -ENOENT)
        return rc;
    *out_is_new = rc == -ENOENT || !view_equal(view_of(was, n), view_text(p->config.store_url));
    if (rc == 0 && *out_is_new)
        log_warn("store_changed", LOG_WORD("note", "what_the_old_one_had_is_not_copied_by_phrd"));
    return 0;
}

static int enter_sandbox(struct phrd *p)
{
    char realm[PATH_MAX];
    struct sandbox_path paths[] = { { p->dir_path, true }, { p->config.run, true },
                                    { realm, false },      { p->config.store_ca_file, false },
                                    { "", true } };
    struct sandbox_opts opts = { .profile = SANDBOX_SIDECAR, .paths = paths, .path_count = 4 };
    int abi = 0;
    int rc = config_home_path(&p->config, "realm", realm, sizeof realm);

    if (strncmp(p->config.store_url, "file://", 7) == 0) {
        paths[4].path = p->config.store_url + 7;
        opts.path_count = 5;
        if (stat(paths[4].path, &p->store_dir) < 0)
            log_warn("store_missing", LOG_WORD("note", "ends_to_be_restarted_when_it_is_there"));
    }
    if (rc == 0)
        rc = sandbox_enter(&opts, &abi);
    if (rc < 0)
        return say(rc, "the sandbox");
    log_info("start", LOG_WORD("version", PHR_VERSION), LOG_U64("landlock", (uint64_t)abi),
             LOG_WORD("store", opts.path_count == 5 ? "directory" : "s3"),
             LOG_U64("uid", geteuid()), LOG_U64("lease_s", p->config.lease_s));
    return 0;
}

/* ---- the SRS's callbacks: from its committer thread ---- */

static void on_entry(void *user, const struct id16 *patient, uint64_t seq, struct view entry)
{
    struct phrd *p = user;
    uint8_t push[sizeof patient->b + 8];

    pthread_rwlock_rdlock(&p->parts);
    if (p->transport)
        ignored(transport_put_entry(p->transport, patient, seq, entry)); /* or phrd_redrive */
    pthread_rwlock_unlock(&p->parts);
    memcpy(push, patient->b, sizeof patient->b);
    put_le64(push + sizeof patient->b, seq);
    if (p->server)
        server_push(p->server, IPC_ROLE_MOUNT, MSG_LEDGER_CHANGED, view_of(push, sizeof push));
}

static void on_checkpoint(void *user, uint64_t size, struct view note)
{
    struct phrd *p = user;
    int rc = 0;

    pthread_rwlock_rdlock(&p->parts);
    if (p->transport)
        rc = transport_put_checkpoint(p->transport, size, note);
    pthread_rwlock_unlock(&p->parts);
    if (rc < 0)
        log_warn("checkpoint_not_queued", LOG_RC("cause", rc), LOG_U64("size", size));
}

static int load_object(void *user, const struct id16 *patient, const struct digest *object_id,
                       uint8_t **out_p, size_t *out_n)
{
    struct phrd *p = user;
    int rc = PHR_E_STORE;

    pthread_rwlock_rdlock(&p->parts);
    if (p->transport)
        rc = transport_load_object(p->transport, patient, object_id, out_p, out_n);
    pthread_rwlock_unlock(&p->parts);
    return rc;
}

static void on_entry_stored(void *user, const struct id16 *patient, uint64_t seq)
{
    struct phrd *p = user;
    int rc = srs_entry_stored(p->srs, patient, seq);

    if (rc < 0)
        log_warn("entry_stored_not_noted", LOG_RC("cause", rc)); /* it will be compared again */
}

static int open_srs(struct phrd *p)
{
    struct srs_opts opts = { .dir_fd = p->dir_fd, .realm_fd = p->realm_fd,
                             .lease_s = p->config.lease_s, .user = p, .on_entry = on_entry,
                             .on_checkpoint = on_checkpoint, .load_object = load_object };
    struct transport_opts to = { .store = p->store, .db = p->db,
                                 .store_url = p->config.store_url, .user = p,
                                 .on_entry_stored = on_entry_stored };
    int rc = srs_open(&opts, &p->srs);

    if (rc < 0)
        return say(rc, "the SRS (is its card approved? 'phr init' does that)");
    p->srs_card = srs_get_card(p->srs)->hash;
    rc = transport_open(&to, &p->transport);
    return rc < 0 ? say(rc, "the transport") : 0;
}

static int open_socket(struct phrd *p)
{
    char path[PATH_MAX];
    struct server_opts opts = { .socket_path = path, .socket_mode = 0666, .rules = phrd_rules,
                                .rule_count = phrd_rule_count, .user = p,
                                .on_close = phrd_rules_on_close,
                                .connections_max = CONNECTIONS_MAX,
                                .trusted_uid = p->mount_uid,
                                .in_flight_max = IN_FLIGHT_MAX };
    int rc = config_run_path(&p->config, "phrd.sock", path, sizeof path);

    if (rc == 0)
        rc = server_open(&opts, &p->server);
    return rc < 0 ? say(rc, "phrd.sock") : 0;
}

/* ---- serving ---- */

static int redrive_entry(void *user, const struct id16 *patient, uint64_t seq, struct view entry)
{
    return transport_put_entry(user, patient, seq, entry);
}

void phrd_redrive(struct phrd *p)
{
    int rc = srs_entries_unstored(p->srs, redrive_entry, p->transport);

    if (rc < 0 && rc != -EAGAIN) /* full: the rest comes when there is room */
        log_warn("entries_not_queued", LOG_RC("cause", rc));
}

uint32_t phrd_retry(struct phrd *p)
{
    uint32_t count = transport_retry(p->transport);

    /* Mounts offer again what was refused. */
    server_push(p->server, IPC_ROLE_MOUNT, MSG_STORE_RETRY, view_of(NULL, 0));
    return count;
}

static void *run_server(void *arg)
{
    struct phrd *p = arg;
    int rc = server_run(p->server);

    if (rc < 0)
        log_error("server_ended", LOG_RC("cause", rc));
    atomic_store(&p->has_server_ended, true);
    return NULL;
}

/*
 * The sandbox holds the directory that was there when we entered it. When another one is there
 * now (mounted again, or only now), a new process has to look: we end, systemd starts us.
 */
static bool is_store_replaced(const struct phrd *p)
{
    struct stat st;

    if (strncmp(p->config.store_url, "file://", 7) != 0 ||
        stat(p->config.store_url + 7, &st) < 0 || !S_ISDIR(st.st_mode))
        return false;
    return st.st_dev != p->store_dir.st_dev || st.st_ino != p->store_dir.st_ino;
}

int phrd_serve(struct phrd *p, struct daemon *d, int signal_fd)
{
    uint64_t alive_ms = 0;
    uint64_t looked_ms = 0;
    int rc;

    phrd_redrive(p);
    rc = -pthread_create(&p->server_thread, NULL, run_server, p);
    if (rc < 0)
        return say(rc, "the server's thread");
    p->has_server_thread = true;
    daemon_ready(d);
    log_info("serving", LOG_ID("host", p->host.b));
    for (;;) {
        unsigned every_ms = daemon_watchdog_ms();

        rc = signal_next(signal_fd, TICK_MS);
        if (rc == SIGTERM || rc == SIGINT || rc < 0)
            break;
        if (rc == SIGUSR1) /* what `phr sync --retry` asks, for scripts */
            log_info("retry", LOG_U64("items", phrd_retry(p)));
        if (atomic_load(&p->has_server_ended))
            return -EIO;
        mounts_tick(p->mounts);
        transport_tick(p->transport);
        if (transport_wants_entries(p->transport))
            phrd_redrive(p);
        if (clock_boottime_ms() - looked_ms > STORE_LOOK_MS) {
            looked_ms = clock_boottime_ms();
            if (is_store_replaced(p)) {
                log_error("store_replaced", LOG_WORD("now", "ending_to_be_restarted"));
                return PHR_E_STORE;
            }
        }
        if (every_ms && clock_boottime_ms() - alive_ms > every_ms) {
            alive_ms = clock_boottime_ms();
            daemon_alive();
        }
    }
    daemon_stopping();
    log_info("ending", LOG_U64("signal", (uint64_t)(rc > 0 ? rc : 0)));
    return rc < 0 ? rc : 0;
}
