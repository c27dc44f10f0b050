/* phrd: the sidecar. Read main() first; proc/README.md says why the stages stand in this order. */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proc/daemon.h"
#include "proc/harden.h"
#include "proc/signal.h"
#include "sidecar/phrd.h"
#include "sidecar/rebuild.h"

enum {
    FILES_MAX = 65536,
    MEMLOCK_BYTES = 16 * 1024 * 1024, /* the arena, and what libsodium rounds it to */
    OPTION_INIT = 256,
    OPTION_REBUILD
};

static const char usage[] =
    "usage: phrd [--config FILE] [--foreground]\n"
    "       phrd [--config FILE] --init | --rebuild\n"
    "\n"
    "The sidecar of phrfs: carries ciphertext to the object store, keeps ledger, grants and\n"
    "audit log, and sees no plaintext and no person's key.\n"
    "\n"
    "  --config FILE   instead of /etc/phr/phr.conf\n"
    "  --foreground    stay here and log to stderr (for systemd); else: return when serving,\n"
    "                  and log to the journal or PHR_RUN/phrd.log\n"
    "  --init          make realm/ and sidecar/ and the SRS's keys, then end ('phr init' calls it)\n"
    "  --rebuild       fill an empty srs.db from the ledgers in the object store, then end\n"
    "  --help, --version\n";

static int parse(int argc, char *argv[], struct phrd_options *out);
static int rebuild(struct phrd *p);
static int serve(struct phrd *p, struct daemon *d, int signal_fd);

int main(int argc, char *argv[])
{
    struct phrd_options options = { 0 };
    scoped(phrd_free) struct phrd *p = NULL;
    struct daemon daemon;
    char log_path[PATH_MAX];
    int signal_fd = -1;
    int rc = parse(argc, argv, &options);

    if (rc <= 0)
        return rc == 0 ? EXIT_SUCCESS : phr_err_exit(PHR_E_USAGE);
    harden_raise_memlock(MEMLOCK_BYTES);
    rc = harden_process(); /* no cores, no tracing */
    if (rc == 0)
        rc = phrd_new(&options, &p); /* phr.conf */
    if (rc < 0)
        return phr_err_exit(rc);
    if (options.init)
        return phr_err_exit(phrd_init_home(p));
    if (options.rebuild)
        return phr_err_exit(rebuild(p));
    rc = config_run_path(&p->config, "phrd.log", log_path, sizeof log_path);
    if (rc == 0)
        rc = daemon_start(&daemon, "phrd", log_path, options.foreground); /* before threads and keys */
    if (rc < 0)
        return phr_err_exit(rc);
    rc = signal_open(&signal_fd);
    harden_raise_files(FILES_MAX); /* one per object that waits */
    if (rc == 0)
        rc = phrd_open(p); /* user, lock, store, sandbox, databases, SRS, socket */
    if (rc == 0)
        rc = serve(p, &daemon, signal_fd); /* until told to end */
    if (rc < 0)
        daemon_failed(&daemon, phr_err_exit(rc));
    return phr_err_exit(rc);
}

/* 1: go on; 0: everything has been said; negative: wrong usage. */
static int parse(int argc, char *argv[], struct phrd_options *out)
{
    static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                             { "foreground", no_argument, NULL, 'f' },
                                             { "init", no_argument, NULL, OPTION_INIT },
                                             { "rebuild", no_argument, NULL, OPTION_REBUILD },
                                             { "help", no_argument, NULL, 'h' },
                                             { "version", no_argument, NULL, 'V' },
                                             { NULL, 0, NULL, 0 } };
    int c;

    while ((c = getopt_long(argc, argv, "c:fhV", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            out->config_path = optarg;
            break;
        case 'f':
            out->foreground = true;
            break;
        case OPTION_INIT:
            out->init = true;
            break;
        case OPTION_REBUILD:
            out->rebuild = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        case 'V':
            puts("phrd " PHR_VERSION);
            return 0;
        default:
            fputs(usage, stderr);
            return PHR_E_USAGE;
        }
    }
    if (optind < argc || (out->init && out->rebuild)) {
        fputs(usage, stderr);
        return PHR_E_USAGE;
    }
    return 1;
}

static int rebuild(struct phrd *p)
{
    struct rebuild_count count = { 0 };
    char why[200] = "";
    int rc = phrd_open(p);

    if (rc < 0)
        return rc;
    rc = rebuild_run(p->srs, p->store, &count, why, sizeof why);
    printf("%llu entries of %llu patients\n", (unsigned long long)count.entries,
           (unsigned long long)count.patients);
    if (rc < 0)
        fprintf(stderr, "phrd: rebuilding stopped: %s\n", why);
    return rc;
}

static int serve(struct phrd *p, struct daemon *d, int signal_fd)
{
    int rc = phrd_serve(p, d, signal_fd);

    close(signal_fd);
    return rc;
}
