/* phrfs SOURCE DIR -o …: the FUSE server. Read mountpoint.c next, then ops_*.c. */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "mount/control.h"
#include "mount/mount_opts.h"
#include "mount/mountpoint.h"
#include "proc/daemon.h"
#include "proc/harden.h"

/* The bits of mount(8). */
enum { EXIT_USAGE = 1, EXIT_SYSTEM = 2, EXIT_MOUNT = 32 };

static void log_start(const struct mount_opts *o)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    enum log_level level = LOG_LEVEL_INFO;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(o->config.log_level, names[i]) == 0)
            level = (enum log_level)i;
    }
    log_open("phrfs", o->is_debug ? LOG_LEVEL_DEBUG : level);
}

static void on_ready(void *user)
{
    daemon_ready(
        user); /* before the first line of the log: a command that worked says nothing */
    log_info("mounted", LOG_WORD("version", PHR_VERSION));
}

/* Its own function so that the daemon's parent hears of the failure after everything is undone. */
static int serve(struct mount_opts *opts, struct daemon *d)
{
    scoped(mountpoint_close) struct mountpoint *m = NULL;
    int rc = mountpoint_open(opts, &m);

    if (rc == 0)
        rc = mountpoint_serve(m, on_ready, d);
    return rc;
}

/* NULL when it does not fit: then there is only the journal. */
static const char *log_path(const struct mount_opts *o, char path[PATH_MAX])
{
    if (control_path(o, path) < 0)
        return NULL;
    memcpy(path + strlen(path) - 3, "log", 3);
    return path;
}

/* Heaps of threads other than the first grow by single pages, each with a system call; any thread
   answers requests here, and what they leave behind (contents, SQLite's pages) grows with the work. */
static void share_heap(void)
{
    ignored(mallopt(M_ARENA_MAX, 1)); /* slower only */
}

int main(int argc, char *argv[])
{
    static struct mount_opts opts;
    static char log_room[PATH_MAX];
    char why[512];
    struct daemon d;
    int rc = mount_opts_parse(argc, argv, &opts, why, sizeof why);

    if (rc < 0) {
        if (why[0])
            fprintf(stderr, "phrfs: %s\n", why);
        return why[0] ? EXIT_USAGE : 0;
    }
    share_heap();
    log_start(&opts);
    rc = harden_process(); /* no dumps, no tracing */
    if (rc == 0)
        rc = daemon_start(&d, "phrfs", log_path(&opts, log_room), opts.is_foreground);
    if (rc < 0) {
        fprintf(stderr, "phrfs: cannot start: %s\n", phr_err_text(rc));
        return EXIT_SYSTEM;
    }
    if (opts.is_check)
        return mountpoint_check(&opts) < 0 ? EXIT_MOUNT : 0;
    rc = serve(&opts, &d); /* until unmounted */

    daemon_failed(&d, EXIT_MOUNT); /* says nothing once we were ready */
    return rc < 0 ? EXIT_MOUNT : 0;
}
