/*
 * umount.phrfs DIR: started by umount(8) because /run/mount/utab says helper=phrfs. Says what
 * is not uploaded yet (it is safe in the local queue), unmounts, and returns when phrfs has
 * ended, so that the next mount of the same source works at once. Never waits for the network.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/config.h"
#include "base/scope.h"
#include "ipc/caller.h"
#include "mount/ctlpath.h"
#include "utab.h"

enum { EXIT_USAGE = 1, EXIT_UMOUNT = 32 };
enum { ASK_MS = 3000, END_WAIT_MS = 35 * 1000 };

/* The socket of the mount, or "" where it cannot be known. */
static void find_socket(const char *dir, char out[PATH_MAX])
{
    static struct config config;
    char why[400];

    out[0] = '\0';
    if (config_load(NULL, &config, why, sizeof why) < 0)
        return;
    if (utab_find_run(dir, config.run, sizeof config.run) < 0)
        return;
    if (ctlpath_make(&config, dir, out) < 0)
        out[0] = '\0';
}

/* A descriptor that tells the end of phrfs, or -1. */
static int open_process(struct caller *c)
{
    struct caller_reply reply = { 0 };
    const char *at;
    char *text;
    int fd = -1;

    if (caller_call(c, MSG_MOUNT_STATUS, view_of(NULL, 0), -1, ASK_MS, &reply) == 0) {
        text = strndup((const char *)reply.bytes, reply.n);
        at = text ? strstr(text, "\"pid\":") : NULL;
        if (at)
            fd = (int)syscall(SYS_pidfd_open, (pid_t)strtol(at + 6, NULL, 10), 0);
        free(text);
    }
    caller_reply_fini(&reply);
    return fd;
}

static void say_backlog(struct caller *c)
{
    struct caller_reply reply = { 0 };
    uint8_t no_wait[4] = { 0 };

    if (caller_call(c, MSG_MOUNT_SYNC, view_of(no_wait, sizeof no_wait), -1, ASK_MS,
                    &reply) == 0 &&
        reply.n == 16) {
        uint32_t unsealed = get_le32(reply.bytes + 4);
        uint32_t objects = get_le32(reply.bytes + 8);

        if (unsealed + objects > 0)
            fprintf(stderr,
                    "umount.phrfs: %u file(s) and %u object(s) not uploaded yet; they "
                    "are kept in the local queue\n",
                    unsealed, objects);
    }
    caller_reply_fini(&reply);
}

static void wait_for_end(int process)
{
    struct pollfd p = { .fd = process, .events = POLLIN };

    if (poll(&p, 1, END_WAIT_MS) == 0)
        fputs("umount.phrfs: phrfs is still writing; the next mount will wait for it\n",
              stderr);
}

static int unmount(const char *dir, int flags)
{
    scoped(caller_close) struct caller *caller = NULL;
    scoped(close_fd) int process = -1;
    char socket[PATH_MAX];

    find_socket(dir, socket);
    if (socket[0] && caller_open(socket, IPC_ROLE_NONE, &caller) == 0) {
        process = open_process(caller);
        say_backlog(caller);
        caller_close(give(caller));
    }
    if (umount2(dir, flags) < 0) {
        fprintf(stderr, "umount.phrfs: %s: %s\n", dir,
                errno == EBUSY ? "target is busy; see fuser -vm" : strerror(errno));
        return EXIT_UMOUNT;
    }
    if (utab_remove(dir) < 0)
        fputs("umount.phrfs: cannot write /run/mount/utab\n", stderr);
    if (process >= 0 && (flags & MNT_DETACH) == 0)
        wait_for_end(process);
    return 0;
}

int main(int argc, char *argv[])
{
    int flags = UMOUNT_NOFOLLOW;
    int c;

    opterr = 0;
    while ((c = getopt(argc, argv, "flnrvt:N:")) != -1) {
        if (c == 'f')
            flags |= MNT_FORCE;
        else if (c == 'l')
            flags |= MNT_DETACH;
        else if (c == '?')
            break;
    }
    if (c == '?' || argc - optind != 1) {
        fputs("usage: umount.phrfs DIR [-f] [-l]\n", stderr);
        return EXIT_USAGE;
    }
    if (geteuid() != 0) {
        execlp("fusermount3", "fusermount3", flags & MNT_DETACH ? "-uz" : "-u",
               argv[optind], (char *)NULL);
        fprintf(stderr, "umount.phrfs: cannot start fusermount3: %s\n", strerror(errno));
        return EXIT_UMOUNT;
    }
    return unmount(argv[optind], flags);
}
