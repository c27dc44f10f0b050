#include "mount/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/mount_opts.h"
#include "mount/mounttab.h"

enum { CLOSE_WAIT_MS = 3000, CLOSE_TICK_MS = 10, LIFE_TICK_MS = 1000 };

struct guard {
    int fd; /* a byte: unmount; its end: we are gone */
    pid_t pid;
    bool may_detach;
};

__attribute__((noreturn)) static void guard_main(int fd, const struct mount_opts *opts);

int guard_open(const struct mount_opts *opts, struct guard **out_guard)
{
    struct guard *g = calloc(1, sizeof *g);
    int ends[2];

    if (!g)
        return -ENOMEM;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        free(g);
        return -errno;
    }
    g->may_detach = opts->fuse_fd < 0;
    g->pid = fork();
    if (g->pid == 0)
        guard_main(ends[0], opts);
    close(ends[0]);
    g->fd = ends[1];
    if (g->pid < 0) {
        close(g->fd);
        free(g);
        return -errno;
    }
    *out_guard = g;
    return 0;
}

bool guard_unmount(struct guard *g)
{
    return g && g->may_detach && write(g->fd, "u", 1) == 1;
}

void guard_close(struct guard *g)
{
    if (!g)
        return;
    close(g->fd);
    for (int waited = 0; waited < CLOSE_WAIT_MS; waited += CLOSE_TICK_MS) {
        if (waitpid(g->pid, NULL, WNOHANG) != 0)
            break;
        ignored(poll(NULL, 0, CLOSE_TICK_MS)); /* a child's end has no descriptor here */
    }
    free(g);
}

static void detach(const char *dir, const char *source)
{
    char *const args[] = { (char[]){ "fusermount3" },
                           (char[]){ "-u" },
                           (char[]){ "-q" },
                           (char[]){ "-z" },
                           (char[]){ "--" },
                           strdup(dir),
                           NULL };
    char *const env[] = { (char[]){ "PATH=/usr/bin:/bin:/usr/sbin:/sbin" }, NULL };
    pid_t pid;

    if (!mounttab_is_ours(dir, source))
        return;
    if (geteuid() == 0)
        ignored(umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW)); /* somebody was faster */
    else if (posix_spawnp(&pid, args[0], NULL, NULL, args, env) == 0)
        ignored(waitpid(pid, NULL, 0)); /* as above */
}

/*
 * Ends every request of the connection. A forced unmount begins with that; what is busy stays
 * mounted, so we are busy with it. Fails for an ordinary user: his umount(8) would hang the same.
 */
static void abort_requests(const char *dir, const char *source)
{
    int busy;

    if (!mounttab_is_ours(dir, source))
        return;
    busy = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC); /* asks nobody: it is a mount's root */
    if (busy < 0)
        return;
    ignored(umount2(dir, MNT_FORCE | UMOUNT_NOFOLLOW)); /* EBUSY is what we want */
    close(busy);
}

/* Its first thread is dead; where all are, our pipe has ended too. */
static bool is_half_dead(int stat_fd)
{
    char line[512];
    ssize_t n = pread(stat_fd, line, sizeof line - 1, 0);
    const char *name_end;

    if (n <= 0)
        return false;
    line[n] = '\0';
    name_end = strrchr(line, ')');
    return name_end && strncmp(name_end, ") Z", 3) == 0;
}

/* Until the other end of fd is gone. */
static void watch(int fd, int stat_fd, const struct mount_opts *opts)
{
    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int ready = poll(&p, 1, LIFE_TICK_MS);
        char byte;
        ssize_t n;

        if (ready < 0 && errno != EINTR)
            return;
        if (ready == 0 && is_half_dead(stat_fd))
            abort_requests(opts->dir, opts->source);
        if (ready <= 0)
            continue;
        n = read(fd, &byte, 1);
        if (n == 0 || (n < 0 && errno != EINTR))
            return;
        if (n == 1)
            detach(opts->dir, opts->source);
    }
}

static void stand_apart(int *io_fd)
{
    int null = open("/dev/null", O_RDWR);

    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        ignored(dup2(
            null,
            fd)); /* whoever waits for the end of our output must not wait for this */
    if (*io_fd != 3 && dup2(*io_fd, 3) == 3)
        *io_fd = 3;
    ignored(fcntl(3, F_SETFD, FD_CLOEXEC));     /* fusermount3 needs no such descriptor */
    ignored(close_range(4, ~0U, 0));            /* the kernel knows it since 5.9 */
    ignored(chdir("/"));                        /* keeps nobody's directory busy */
    ignored(prctl(PR_SET_NAME, "phrfs-guard")); /* a name for ps */
    /* It ends when phrfs does, also where a signal is for all of a group. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
}

static void guard_main(int fd, const struct mount_opts *opts)
{
    char path[64];
    struct statfs fs;
    int stat_fd;

    stand_apart(&fd);
    memset(opts->title, 0, opts->title_bytes);
    snprintf(opts->title, opts->title_bytes, "phrfs-guard");
    snprintf(path, sizeof path, "/proc/%d/stat", (int)getppid());
    stat_fd = open(path, O_RDONLY | O_CLOEXEC);
    watch(fd, stat_fd, opts);
    /* ECONNABORTED: our question was on its way while the kernel closed the device. */
    if (opts->fuse_fd < 0 && statfs(opts->dir, &fs) < 0 &&
        (errno == ENOTCONN || errno == ECONNABORTED))
        detach(opts->dir, opts->source);
    _exit(0);
}
