/*
 * Anyone on the machine may connect; SO_PEERCRED says who it is. A login binds to the uid of
 * the caller and to nobody else. What may take long (Argon2 is with the caller, but keys come
 * from the SRS, a sync waits for the network) runs on a thread of its own, at most
 * JOBS_MAX at a time.
 */
#include "mount/control.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/log.h"
#include "ipc/server.h"
#include "mount/ctlpath.h"

enum { CONNECTIONS_MAX = 64, IN_FLIGHT_MAX = 4, JOBS_MAX = 16 };
enum { IDLE_LOOK_MS = 1000 };
enum { SYNC_MS_MAX = 24 * 3600 * 1000, SYNC_SLICE_MS = 500, CHECK_STEP_MS = 500 };

struct control {
    struct mountpoint *mount;
    struct server *server;
    pthread_t thread;
    bool has_thread;
    pthread_t idler;
    bool has_idler;
    pthread_mutex_t lock;
    pthread_cond_t idle;    /* no job runs any more */
    pthread_cond_t closing;
    unsigned jobs;   /* lock */
    bool is_closing; /* lock */
};

struct job {
    struct control *control;
    struct request *req;
    struct view payload; /* the request's, until its reply */
    void (*run)(struct job *j);
};

static void on_login(void *user, struct request *req, struct view payload);
static void on_logout(void *user, struct request *req, struct view payload);
static void on_status(void *user, struct request *req, struct view payload);
static void on_sync(void *user, struct request *req, struct view payload);
static void on_check(void *user, struct request *req, struct view payload);

/* No HELLO here, so every peer has the role NONE; the uid decides. */
#define ANYBODY (1U << IPC_ROLE_NONE)
static const struct rule rules[] = {
    { MSG_LOGIN, ANYBODY, KEYRING_BYTES_MAX + 16, 0, true, on_login },
    { MSG_LOGOUT, ANYBODY, 0, 0, false, on_logout },
    { MSG_MOUNT_STATUS, ANYBODY, 0, 0, false, on_status },
    { MSG_MOUNT_SYNC, ANYBODY, 4, 0, false, on_sync },
    { MSG_MOUNT_CHECK, ANYBODY, 1, 0, false, on_check },
};

int control_path(const struct mount_opts *opts, char out_path[PATH_MAX])
{
    return ctlpath_make(&opts->config, opts->dir[0] ? opts->dir : opts->source, out_path);
}

static void *server_main(void *arg)
{
    struct control *c = arg;
    int rc = server_run(c->server);

    if (rc < 0)
        log_error("control_ended", LOG_RC("cause", rc));
    return NULL;
}

/* Logs out whoever has done nothing for as long as the configuration says; false: nobody is left. */
static bool log_out_idle(struct control *c, uint64_t idle_s)
{
    uint32_t uid = 0;
    uint32_t unsealed = 0;
    int rc = vault_logout_idle(c->mount->vault, idle_s * 1000, &uid, &unsealed);

    if (rc == 0)
        log_info("logout_idle", LOG_U64("uid", uid), LOG_U64("unsealed", unsealed));
    else if (rc != -ENOENT)
        log_warn("logout_idle", LOG_U64("uid", uid), LOG_RC("cause", rc));
    return rc == 0;
}

static void *idler_main(void *arg)
{
    struct control *c = arg;
    uint64_t idle_s = c->mount->opts->config.idle_logout_s;

    pthread_mutex_lock(&c->lock);
    while (!c->is_closing) {
        struct timespec until;

        pthread_mutex_unlock(&c->lock);
        while (log_out_idle(c, idle_s))
            continue;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_LOOK_MS / 1000;
        pthread_mutex_lock(&c->lock);
        if (!c->is_closing)
            pthread_cond_timedwait(&c->closing, &c->lock, &until);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int control_open(struct mountpoint *m, struct control **out_control)
{
    char path[PATH_MAX];
    struct server_opts opts = { .socket_path = path,
                                .socket_mode = 0666,
                                .rules = rules,
                                .rule_count = ARRAY_COUNT(rules),
                                .connections_max = CONNECTIONS_MAX,
                                .in_flight_max = IN_FLIGHT_MAX };
    struct control *c = calloc(1, sizeof *c);
    pthread_condattr_t monotonic; /* a clock that is set back must not keep anybody logged in */
    int rc;

    if (!c)
        return -ENOMEM;
    c->mount = m;
    opts.user = c;
    ignored(pthread_mutex_init(&c->lock, NULL)); /* default kinds: cannot fail */
    ignored(pthread_cond_init(&c->idle, NULL));
    ignored(pthread_condattr_init(&monotonic));
    ignored(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC));
    ignored(pthread_cond_init(&c->closing, &monotonic));
    pthread_condattr_destroy(&monotonic);
    rc = control_path(m->opts, path);
    if (rc == 0)
        rc = server_open(&opts, &c->server);
    if (rc == 0)
        rc = -pthread_create(&c->thread, NULL, server_main, c);
    c->has_thread = rc == 0;
    if (rc == 0 && m->opts->config.idle_logout_s > 0) {
        rc = -pthread_create(&c->idler, NULL, idler_main, c);
        c->has_idler = rc == 0;
    }
    if (rc < 0) {
        control_close(c);
        return rc;
    }
    *out_control = c;
    return 0;
}

void control_close(struct control *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->is_closing = true;
    pthread_cond_signal(&c->closing);
    pthread_mutex_unlock(&c->lock);
    if (c->has_idler)
        ignored(pthread_join(c->idler, NULL));
    if (c->server)
        server_stop(c->server);
    if (c->has_thread)
        ignored(pthread_join(c->thread, NULL));
    pthread_mutex_lock(&c->lock);
    while (c->jobs >
           0) /* each has an end: vault calls are bounded, a sync looks at is_ended */
        pthread_cond_wait(&c->idle, &c->lock);
    pthread_mutex_unlock(&c->lock);
    server_close(c->server);
    pthread_cond_destroy(&c->idle);
    pthread_cond_destroy(&c->closing);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void fail(struct request *req, int rc)
{
    request_reply(req, rc, view_of(NULL, 0));
}

static void *job_main(void *arg)
{
    struct job *j = arg;
    struct control *c = j->control;

    j->run(j); /* replies */
    free(j);
    pthread_mutex_lock(&c->lock);
    c->jobs--;
    pthread_cond_signal(&c->idle);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static bool job_admit(struct control *c)
{
    scoped(unlock) pthread_mutex_t *held = lock(&c->lock);

    (void)held;
    if (c->is_closing || c->jobs >= JOBS_MAX)
        return false;
    c->jobs++;
    return true;
}

static void start(struct control *c, struct request *req, struct view payload,
                  void (*run)(struct job *j))
{
    struct job *j = calloc(1, sizeof *j);
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    if (!j || !job_admit(c)) {
        fail(req, j ? PHR_E_BUSY : -ENOMEM);
        free(j);
        return;
    }
    *j = (struct job){ .control = c, .req = req, .payload = payload, .run = run };
    ignored(pthread_attr_init(&attr)); /* fixed size: cannot fail */
    ignored(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED));
    rc = -pthread_create(&thread, &attr, job_main, j);
    pthread_attr_destroy(&attr);
    if (rc == 0)
        return;
    fail(req, rc);
    free(j);
    pthread_mutex_lock(&c->lock);
    c->jobs--;
    pthread_mutex_unlock(&c->lock);
}

static void run_login(struct job *j)
{
    struct reader r = reader_over(j->payload);
    uint16_t purpose = reader_u16(&r);
    struct view body = reader_lp(&r, KEYRING_BYTES_MAX);
    uid_t uid = request_get_peer(j->req)->uid;
    struct keyring *keyring = NULL;
    struct id16 user;
    int rc = PHR_E_PROTOCOL;

    if (reader_done(&r) && purpose >= PURPOSE_TREAT && purpose <= PURPOSE_LAST)
        rc = keyring_body_decode(body, &keyring);
    if (rc == 0)
        rc = vault_login(j->control->mount->vault, uid, keyring, (enum purpose)purpose,
                         &user);
    if (rc < 0) {
        log_warn("login_refused", LOG_U64("uid", uid), LOG_RC("cause", rc));
        fail(j->req, rc);
        return;
    }
    log_info("login", LOG_U64("uid", uid), LOG_ID("user", user.b));
    request_reply(j->req, 0, view_of(user.b, sizeof user.b));
}

static void on_login(void *user, struct request *req, struct view payload)
{
    start(user, req, payload, run_login);
}

static void run_logout(struct job *j)
{
    uid_t uid = request_get_peer(j->req)->uid;
    uint32_t unsealed = 0;
    uint8_t reply[4];
    int rc = vault_logout(j->control->mount->vault, uid, &unsealed);

    if (rc < 0) {
        fail(j->req, rc);
        return;
    }
    log_info("logout", LOG_U64("uid", uid), LOG_U64("unsealed", unsealed));
    put_le32(reply, unsealed);
    request_reply(j->req, 0, view_of(reply, sizeof reply));
}

static void on_logout(void *user, struct request *req, struct view payload)
{
    start(user, req, payload, run_logout);
}

static void put_json_text(struct writer *w, const char *key, const char *text)
{
    writer_text(w, "\"");
    writer_text(w, key);
    writer_text(w, "\":\"");
    for (; *text; text++) {
        char escaped[8];

        if (*text == '"' || *text == '\\' || (uint8_t)*text < 0x20) {
            snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)(uint8_t)*text);
            writer_text(w, escaped);
        } else {
            writer_u8(w, (uint8_t)*text);
        }
    }
    writer_text(w, "\",");
}

/* Root and the mount's own user see what concerns everybody; others only themselves. */
static bool is_admin(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

/* Where it is mounted, in front of what the vault says about itself: {"mount": …}. */
static void on_status(void *user, struct request *req, struct view payload)
{
    struct control *c = user;
    const struct mount_opts *o = c->mount->opts;
    uid_t uid = request_get_peer(req)->uid;
    scoped(free) char *vault =
        vault_dup_status(c->mount->vault, is_admin(uid) ? VAULT_UID_ANY : uid);
    scoped(writer_fini) struct writer w;
    char numbers[96];

    (void)payload;
    writer_init(&w);
    if (!vault || vault[0] != '{') {
        fail(req, vault ? -EIO : -ENOMEM);
        return;
    }
    writer_text(&w, "{");
    put_json_text(&w, "dir", o->dir);
    put_json_text(&w, "source", o->source);
    put_json_text(&w, "version", PHR_VERSION);
    put_json_text(&w, "ownership",
                  o->ownership == VAULT_OWNERSHIP_GRANTS ? "grants" : "stored");
    snprintf(numbers, sizeof numbers, "\"pid\":%d,\"read_only\":%s%s", (int)getpid(),
             vault_is_read_only(c->mount->vault) ? "true" : "false", vault[1] == '}' ? "" : ",");
    writer_text(&w, numbers);
    writer_text(&w, vault + 1);
    if (writer_ok(&w))
        request_reply(req, 0, writer_done(&w));
    else
        fail(req, -ENOMEM);
}

static bool may_go_on(struct job *j)
{
    struct control *c = j->control;
    scoped(unlock) pthread_mutex_t *held = lock(&c->lock);

    (void)held;
    return !c->is_closing && request_is_wanted(j->req);
}

static bool is_empty(const struct vault_backlog *b)
{
    return b->ops == 0 && b->unsealed == 0 && b->objects == 0;
}

/* In slices: neither an unmount nor a caller who has gone waits for the end of a day-long sync. */
static int sync_slices(struct job *j, uint32_t timeout_ms, struct vault_backlog *out_left)
{
    uint64_t end = clock_boottime_ms() + timeout_ms;
    int rc;

    for (;;) {
        uint64_t now = clock_boottime_ms();
        uint64_t left_ms = end > now ? end - now : 0;

        rc = vault_sync(j->control->mount->vault,
                        left_ms < SYNC_SLICE_MS ? (uint32_t)left_ms : SYNC_SLICE_MS, out_left);
        if (rc < 0 || left_ms <= SYNC_SLICE_MS || is_empty(out_left) || !may_go_on(j))
            return rc;
    }
}

static void run_sync(struct job *j)
{
    struct reader r = reader_over(j->payload);
    uint32_t timeout_ms = reader_u32(&r);
    struct vault_backlog left = { 0 };
    uint8_t reply[16];
    int rc = PHR_E_PROTOCOL;

    if (reader_done(&r) && timeout_ms <= SYNC_MS_MAX)
        rc = sync_slices(j, timeout_ms, &left);
    if (rc < 0) {
        fail(j->req, rc);
        return;
    }
    put_le32(reply, left.ops);
    put_le32(reply + 4, left.unsealed);
    put_le32(reply + 8, left.objects);
    put_le32(reply + 12, left.parked);
    request_reply(j->req, 0, view_of(reply, sizeof reply));
}

static void on_sync(void *user, struct request *req, struct view payload)
{
    start(user, req, payload, run_sync);
}

/* One step: who wants all of it asks again until the answer says that it is finished. */
static void run_check(struct job *j)
{
    scoped(free) char *json = NULL;
    struct vault_check opts = { .is_new = (j->payload.p[0] & CHECK_NEW) != 0,
                                .repairs = (j->payload.p[0] & CHECK_REPAIR) != 0,
                                .budget_ms = CHECK_STEP_MS };
    bool is_finished;
    int rc = vault_check_step(j->control->mount->vault, &opts, &is_finished, &json);

    if (rc < 0)
        fail(j->req, rc);
    else
        request_reply(j->req, 0, view_text(json));
}

/* The answer names files of every identity that is logged in: for the mount's own user and root. */
static void on_check(void *user, struct request *req, struct view payload)
{
    uid_t uid = request_get_peer(req)->uid;

    if (!is_admin(uid)) {
        fail(req, -EPERM);
        return;
    }
    if (payload.n != 1 || (payload.p[0] & ~(CHECK_NEW | CHECK_REPAIR))) {
        fail(req, PHR_E_PROTOCOL);
        return;
    }
    start(user, req, payload, run_check);
}
