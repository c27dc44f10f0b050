#include "sidecar/phrd.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/log.h"
#include "proc/daemon.h"
#include "proc/signal.h"
#include "sidecar/phrd_rules.h"

enum {
    CONNECTIONS_MAX = 512,
    IN_FLIGHT_MAX = 1024, /* a mount whose fetches all hang must still be able to open */
    TICK_MS = 200,
    STORE_LOOK_MS = 2000,
    MESSAGE_BYTES = 300
};

static int open_srs(struct phrd *p);
static int open_socket(struct phrd *p);

int phrd_say(int rc, const char *what)
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

/* ---- opening ---- */

int phrd_open(struct phrd *p)
{
    char path[PATH_MAX];
    int rc = phrd_enter_home(p);

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
        return phrd_say(rc, "sync.db");
    rc = open_srs(p);
    if (rc == 0 && !p->options.rebuild)
        rc = open_socket(p);
    return rc;
}

/* ---- the SRS's callbacks: from its committer thread ---- */

void phrd_tell_changed(struct phrd *p, const struct id16 *patient, uint64_t seq)
{
    uint8_t push[sizeof patient->b + 8];

    memcpy(push, patient->b, sizeof patient->b);
    put_le64(push + sizeof patient->b, seq);
    if (p->server)
        server_push(p->server, IPC_ROLE_MOUNT, MSG_LEDGER_CHANGED, view_of(push, sizeof push));
}

static void on_entry(void *user, const struct id16 *patient, uint64_t seq, struct view entry)
{
    struct phrd *p = user;

    pthread_rwlock_rdlock(&p->parts);
    if (p->transport)
        ignored(transport_put_entry(p->transport, patient, seq, entry)); /* or phrd_redrive */
    pthread_rwlock_unlock(&p->parts);
    phrd_tell_changed(p, patient, seq);
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
        return phrd_say(rc, "the SRS (is its card approved? 'phr init' does that)");
    p->srs_card = srs_get_card(p->srs)->hash;
    rc = transport_open(&to, &p->transport);
    return rc < 0 ? phrd_say(rc, "the transport") : 0;
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
    return rc < 0 ? phrd_say(rc, "phrd.sock") : 0;
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
        return phrd_say(rc, "the server's thread");
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
