/*
 * The life of a mount.
 *
 *   open:  mount(2), guard -> secrets -> sandbox -> threads -> vault -> identity -> socket
 *   serve: INIT ... requests ... ENODEV (unmounted) or a signal
 *   close: no new control requests -> parked requests answered -> vault durable -> end
 *
 * Mounting comes first because it is what the sandbox takes away; whoever looks at the
 * directory meanwhile waits, can be killed, and gets his answer.
 *
 * MOUNT-1 RELEASE and DESTROY may never come: durability depends on neither.
 * MOUNT-2 No request runs in the vault when vault_close is called.
 */
#include "mount/mountpoint.h"

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/secret.h"
#include "mount/control.h"
#include "mount/guard.h"
#include "mount/inval.h"
#include "mount/negotiate.h"
#include "mount/ops.h"
#include "mount/pending.h"
#include "mount/receive.h"
#include "mount/unlock.h"
#include "proc/daemon.h"
#include "proc/harden.h"
#include "proc/sandbox.h"
#include "proc/signal.h"

enum {
    DETACH_WAIT_MS = 5000,
    SIGNAL_TICK_MS = 500,
    OPEN_FILES_WANTED = 65536
};

static int fuse_open(struct mountpoint *m);
static int fence(const struct mountpoint *m);
static int vault_start(struct mountpoint *m);
static void *signal_main(void *arg);

static int fail(const char *what, int rc)
{
    fprintf(stderr, "phrfs: %s: %s\n", what, phr_err_text(rc));
    return rc;
}

static int secrets_open(void)
{
    int rc = secret_arena_open();

    return rc < 0 ? fail("cannot start", rc) : 0;
}

int mountpoint_open(struct mount_opts *opts, struct mountpoint **out_mountpoint)
{
    scoped(mountpoint_close) struct mountpoint *m = calloc(1, sizeof *m);
    int rc;

    if (!m)
        return -ENOMEM;
    m->opts = opts;
    m->signal_fd = -1;
    harden_raise_files(OPEN_FILES_WANTED);
    rc = signal_open(&m->signal_fd);
    if (rc == 0)
        rc = unlock_open(opts);
    if (rc < 0)
        return rc;
    rc = fuse_open(m);
    if (rc == 0)
        rc = secrets_open(); /* after the fork of the guard */
    if (rc == 0)
        rc = fence(m);
    if (rc == 0)
        rc = vault_start(m);
    if (rc == 0)
        rc = unlock_login(opts, m->vault);
    if (rc < 0)
        return rc;
    rc = control_open(m, &m->control);
    if (rc < 0)
        return fail("cannot make the control socket in the run directory", rc);
    *out_mountpoint = give(m);
    return 0;
}

int mountpoint_check(struct mount_opts *opts)
{
    scoped(mountpoint_close) struct mountpoint *m = calloc(1, sizeof *m);
    scoped(free) char *json = NULL;
    int rc;

    if (!m)
        return -ENOMEM;
    m->opts = opts;
    m->signal_fd = -1;
    rc = secrets_open();
    if (rc == 0)
        rc = fence(m);
    if (rc == 0)
        rc = vault_start(m);
    if (rc < 0)
        return rc;
    rc = vault_check(m->vault, &json);
    if (rc < 0)
        return fail("cannot check the vault", rc);
    puts(json);
    return 0;
}

/* Before INIT the kernel knows nothing that could be wrong, and takes no notification. */
static void on_init(void *user)
{
    struct mountpoint *m = user;

    inval_attach(m->notifier, m->fuse);
    m->on_ready(m->ready_user);
}

int mountpoint_serve(struct mountpoint *m, void (*on_ready)(void *user), void *user)
{
    pthread_t thread;
    int rc = receive_open(m->fuse, &m->receive);

    if (rc < 0)
        return fail("cannot serve", rc);
    m->on_ready = on_ready;
    m->ready_user = user;
    negotiate_on_init(on_init, m);
    rc = -pthread_create(&thread, NULL, signal_main, m);
    if (rc < 0) {
        receive_close(m->receive);
        return fail("cannot serve", rc);
    }
    rc = receive_run(m->receive);
    atomic_store(&m->is_loop_over, true);
    ignored(
        kill(getpid(), SIGUSR1)); /* wakes the signal thread; blocked everywhere else */
    ignored(pthread_join(thread, NULL)); /* it looks at is_loop_over */
    receive_close(m->receive);
    m->receive = NULL;
    return rc;
}

/* libfuse frees its copy of our directory only in its own unmount, which would start fusermount3
   (forbidden here) unless the connection has ended. Else those bytes stay until we end. */
static void session_end(struct fuse_session *se)
{
    struct pollfd p = { .fd = fuse_session_fd(se) };

    if (p.fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLERR))
        fuse_session_unmount(se);
    fuse_session_destroy(se); /* closes the descriptor */
}

void mountpoint_close(struct mountpoint *m)
{
    if (!m)
        return;
    control_close(m->control);
    pending_stop(m->pending);
    if (m->vault)
        vault_close(m->vault);
    if (m->notifier)
        inval_detach(m->notifier);
    pending_close(m->pending);
    inval_close(m->notifier);
    if (m->fuse)
        session_end(m->fuse);
    guard_close(m->guard);
    if (m->signal_fd >= 0)
        close(m->signal_fd);
    free(m);
}

static int add_words(struct fuse_args *args, const struct mount_opts *o)
{
    char *list = NULL;
    char source[SOURCE_BYTES_MAX + 16];
    int bad = 0;

    snprintf(source, sizeof source, "fsname=%s", o->source);
    bad |= fuse_opt_add_arg(args, "phrfs") < 0;
    if (o->is_debug)
        bad |= fuse_opt_add_arg(args, "-d") < 0;
    if (o->fuse_fd < 0) { /* else mount.phrfs has told the kernel */
        bad |= fuse_opt_add_opt_escaped(&list, source) < 0;
        bad |= fuse_opt_add_opt(&list, "subtype=phrfs,default_permissions,noatime") < 0;
        if (o->kernel_words[0])
            bad |= fuse_opt_add_opt(&list, o->kernel_words + 1) < 0;
        if (o->is_for_all)
            bad |= fuse_opt_add_opt(&list, "allow_other") < 0;
        bad |= fuse_opt_add_arg(args, "-o") < 0;
        bad |= list == NULL || fuse_opt_add_arg(args, list) < 0;
    }
    free(list);
    return bad ? -ENOMEM : 0;
}

static int fuse_open(struct mountpoint *m)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_lowlevel_ops ops = { .init = negotiate_init };
    int rc = add_words(&args, m->opts);

    ops_names_register(&ops);
    ops_attrs_register(&ops);
    ops_files_register(&ops);
    ops_dirs_register(&ops);
    ops_xattrs_register(&ops);
    if (rc == 0)
        m->fuse = fuse_session_new(&args, &ops, sizeof ops, m);
    fuse_opt_free_args(&args);
    if (!m->fuse)
        return fail("cannot prepare the mount", rc < 0 ? rc : -EINVAL);
    errno = 0;
    if (m->opts->fuse_fd < 0 &&
        fuse_session_mount(m->fuse, m->opts->dir) < 0) /* libfuse has said why */
        return fail("cannot mount", errno != 0 ? -errno : -EPERM);
    rc = guard_open(m->opts, &m->guard);
    if (rc == 0)
        rc = negotiate_attach(m->fuse, m->opts->fuse_fd >= 0 ? m->opts->fuse_fd
                                                             : fuse_session_fd(m->fuse));
    return rc < 0 ? fail("cannot prepare the mount", rc) : 0;
}

/* From here on: no network, no new programs, only these directories. */
static int fence(const struct mountpoint *m)
{
    const struct config *c = &m->opts->config;
    char vault[PATH_MAX];
    char realm[PATH_MAX];
    scoped(close_fd) int made = -1;
    struct sandbox_path paths[] = {
        { vault, true },    { c->run, true },   { realm, false },
        { c->path, false }, { "/proc", false },
    };
    struct sandbox_opts opts = { .profile = SANDBOX_MOUNT,
                                 .may_unmount =
                                     false, /* Landlock would not allow it; guard.c */
                                 .paths = paths,
                                 .path_count = sizeof paths / sizeof paths[0] };
    int abi = 0;
    int rc = config_home_path(c, "vault", vault, sizeof vault);

    if (rc == 0)
        rc = config_home_path(c, "realm", realm, sizeof realm);
    if (rc == 0)
        rc = fdio_make_dir(vault, 0700, &made);
    if (rc < 0)
        return fail(vault, rc);
    /* pthread_cancel loads it when the first worker ends, which the fence would not allow. */
    if (!dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_GLOBAL))
        return fail("libgcc_s.so.1 is missing", -ENOENT);
    rc = sandbox_enter(&opts, &abi);
    if (rc < 0)
        return fail("cannot enter the sandbox", rc);
    log_debug("sandbox", LOG_U64("landlock_abi", (uint64_t)abi));
    return 0;
}

static void on_inval_node(void *user, uint64_t nodeid)
{
    inval_node(((struct mountpoint *)user)->notifier, nodeid);
}

static void on_inval_entry(void *user, uint64_t parent, struct view name)
{
    inval_entry(((struct mountpoint *)user)->notifier, parent, name);
}

static void on_damaged(void *user, const struct id16 *file, uint64_t first, uint64_t count)
{
    (void)user;
    log_error("damaged", LOG_ID("file", file->b), LOG_U64("block", first), LOG_U64("blocks", count));
}

static void on_contradicted(void *user, const struct id16 *patient, int reason)
{
    (void)user;
    log_error("ledger_contradicted", LOG_ID("patient", patient->b), LOG_RC("cause", reason));
}

static void on_held(void *user, int reason)
{
    (void)user;
    if (reason < 0)
        log_error("names_held", LOG_RC("cause", reason));
    else
        log_warn("names_go_on");
}

static void on_inval_names(void *user)
{
    inval_names(((struct mountpoint *)user)->notifier);
}

static int vault_start(struct mountpoint *m)
{
    struct vault_opts opts = { .config = &m->opts->config,
                               .ownership = m->opts->ownership,
                               .is_read_only = m->opts->is_read_only };
    int rc = inval_open(&m->notifier);

    opts.upcalls.user = m;
    opts.upcalls.inval_node = on_inval_node;
    opts.upcalls.inval_entry = on_inval_entry;
    opts.upcalls.inval_names = on_inval_names;
    opts.upcalls.damaged = on_damaged;
    opts.upcalls.contradicted = on_contradicted;
    opts.upcalls.held = on_held;
    if (rc == 0)
        rc = pending_open(&m->pending);
    if (rc == 0)
        rc = vault_open(&opts, &m->vault);
    if (rc == -ENOENT)
        fprintf(stderr, "phrfs: there is no realm in %s; make one with 'phr init'\n",
                m->opts->config.home);
    else if (rc == PHR_E_BUSY)
        fprintf(stderr, "phrfs: the vault in %s is in use by another phrfs\n",
                m->opts->config.home);
    else if (rc < 0)
        fprintf(stderr, "phrfs: cannot open the vault in %s: %s\n", m->opts->config.home,
                phr_err_text(rc));
    else if (vault_kept_logs(m->vault) > 0) /* see phr status */
        log_error("changes_kept_aside", LOG_U64("logs", vault_kept_logs(m->vault)));
    return rc;
}

static void on_kick(int signo)
{
    (void)signo; /* only to interrupt who waits for a request */
}

static bool wait_for_end(struct mountpoint *m, uint64_t wait_ms)
{
    uint64_t until = clock_boottime_ms() + wait_ms;

    while (!atomic_load(&m->is_loop_over) && clock_boottime_ms() < until)
        ignored(poll(NULL, 0, 20)); /* the loop has no other way to tell */
    return atomic_load(&m->is_loop_over);
}

static void end_loop(struct mountpoint *m)
{
    struct sigaction action = { .sa_handler = on_kick };

    ignored(sigaction(SIGUSR2, &action, NULL)); /* valid arguments: cannot fail */
    log_info("ending", LOG_WORD("cause", "signal"));
    daemon_stopping();
    if (guard_unmount(m->guard) && wait_for_end(m, DETACH_WAIT_MS))
        return; /* nothing is open any more: the kernel has written everything back */
    /* While workers still answer: the notifier may be waiting for one of them. */
    inval_detach(m->notifier);
    fuse_session_exit(m->fuse);
    do {
        receive_kick(m->receive);
    } while (!wait_for_end(m, 50));
}

static void *signal_main(void *arg)
{
    struct mountpoint *m = arg;

    while (!atomic_load(&m->is_loop_over)) {
        int signo = signal_next(m->signal_fd, SIGNAL_TICK_MS);

        if (signo == SIGTERM || signo == SIGINT) {
            end_loop(m);
            break;
        }
        if (daemon_watchdog_ms() > 0)
            daemon_alive();
    }
    return NULL;
}
