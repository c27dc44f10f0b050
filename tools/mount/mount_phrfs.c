/*
 * mount.phrfs SOURCE DIR -o …: the mount helper, and the only privileged part of phrfs.
 *
 * As root it opens /dev/fuse, mounts, and starts phrfs as the configured user on that
 * descriptor; it returns when the mount answers. For anybody else it becomes phrfs, which
 * mounts through fusermount3. Exit codes are the bits of mount(8); a failure is one line on
 * stderr that says which file and what to do.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/config.h"
#include "base/scope.h"
#include "helper_opts.h"
#include "mount/mounttab.h"
#include "proc/privs.h"
#include "utab.h"

enum { EXIT_USAGE = 1, EXIT_SYSTEM = 2, EXIT_MOUNT = 32 };
enum { ANSWER_WAIT_S = 30, RESOLVE_WAIT_S = 30, DEAD_LAYERS_MAX = 16 };

/* The kernel's share of dirty pages: below the floor of free disk space that the vault keeps,
   so that what write(2) accepted always fits. */
static const char dirty_bytes_max[] = "201326592"; /* 192 MiB */
static const char read_ahead_kb[] = "4096";

struct helper {
    struct helper_opts opts;
    struct config config;
    char dir[PATH_MAX];
    int fuse_fd;
    int identity_fd;
    int pass_fd;
};

static int fail(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static int resolve_dir(struct helper *h);
static int remount(struct helper *h);
static int become_phrfs(struct helper *h);
static int prepare(struct helper *h);
static int mount_device(struct helper *h);
static int start_phrfs(struct helper *h);
static int wait_for_answer(const struct helper *h);
static void tune(const struct helper *h);

static int fail(int status, const char *format, ...)
{
    va_list args;

    fputs("mount.phrfs: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return status;
}

static int mount_all(struct helper *h)
{
    int status = prepare(h); /* configuration, user, keyring files */

    if (status == 0 && !h->opts.is_fake)
        status = mount_device(h);
    if (status != 0 || h->opts.is_fake)
        return status;
    status = start_phrfs(h);
    if (status == 0)
        status = wait_for_answer(h);
    if (status != 0) {
        ignored(umount2(h->dir, MNT_DETACH)); /* nobody answers for it */
        return status;
    }
    tune(h);
    if (!h->opts.no_table && utab_add(h->dir, h->opts.source, h->config.run) < 0)
        fail(0, "cannot write /run/mount/utab; umount will not wait for phrfs");
    return 0;
}

int main(int argc, char *argv[])
{
    static struct helper h = { .fuse_fd = -1, .identity_fd = -1, .pass_fd = -1 };
    char why[256];
    int status;

    if (helper_opts_parse(argc, argv, &h.opts, why, sizeof why) < 0)
        return fail(EXIT_USAGE, "%s", why);
    alarm(RESOLVE_WAIT_S); /* a mount that hangs there must not hang us: death ends the request */
    status = resolve_dir(&h);
    alarm(0);
    if (status != 0)
        return status;
    if (h.opts.is_remount)
        return remount(&h);
    if (geteuid() != 0)
        return become_phrfs(&h);
    return mount_all(&h);
}

static bool is_dead(int error)
{
    return error == ENOTCONN || error == ECONNABORTED;
}

/* A dead mount of ours is taken away; mount(8) itself believes that all is well over it. */
static int resolve_dir(struct helper *h)
{
    struct statfs fs; /* asks who serves it; a stat of a dead mount may come from the cache */
    struct stat st;
    const char *dir = h->opts.dir;

    for (int layer = 0; layer < DEAD_LAYERS_MAX; layer++) {
        if (realpath(dir, h->dir) && statfs(h->dir, &fs) == 0 && stat(h->dir, &st) == 0)
            return S_ISDIR(st.st_mode) ? 0
                                       : fail(EXIT_USAGE, "%s is not a directory", dir);
        if (!is_dead(errno))
            break;
        if (dir[0] != '/')
            return fail(EXIT_USAGE, "%s is a dead mount; name it by its absolute path",
                        dir);
        snprintf(h->dir, sizeof h->dir, "%s", dir);
        if (h->opts.is_remount || !mounttab_is_ours(h->dir, h->opts.source))
            return fail(EXIT_MOUNT,
                        "%s is a dead mount (of another kind or source); umount -l %s",
                        dir, dir);
        if (umount2(h->dir, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
            return fail(EXIT_MOUNT, "cannot detach the dead mount on %s: %s", dir,
                        strerror(errno));
        fail(0, "the mount on %s was dead and has been detached", dir);
    }
    return fail(EXIT_USAGE, "cannot mount on %s: %s", dir, strerror(errno));
}

/* The kernel alone decides about ro, rw and the no… flags; phrfs needs no word of it. */
static int remount(struct helper *h)
{
    if (!mounttab_is_ours(h->dir, h->opts.source))
        return fail(EXIT_MOUNT, "%s is not a phrfs mount of %s; see findmnt %s",
                    h->opts.dir, h->opts.source, h->opts.dir);
    if (h->opts.is_fake)
        return 0;
    if (mount(h->opts.source, h->dir, "fuse.phrfs", MS_REMOUNT | h->opts.flags, NULL) < 0)
        return fail(EXIT_MOUNT, "cannot remount %s: %s", h->opts.dir, strerror(errno));
    return 0;
}

/* Beside this program, as in a build tree, else where it is installed. */
static const char *phrfs_path(char room[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", room, PATH_MAX - 1);
    char *slash;

    if (n > 0) {
        room[n] = '\0';
        slash = strrchr(room, '/');
        if (slash && slash + sizeof "/phrfs" < room + PATH_MAX) {
            memcpy(slash, "/phrfs", sizeof "/phrfs");
            if (access(room, X_OK) == 0)
                return room;
        }
    }
    return PHRFS_PATH;
}

static int exec_phrfs(const char *source, const char *where, const char *list)
{
    char path[PATH_MAX];
    const char *program = phrfs_path(path);

    if (list[0])
        execl(program, "phrfs", source, where, "-o", list + 1, (char *)NULL);
    else
        execl(program, "phrfs", source, where, (char *)NULL);
    return fail(EXIT_SYSTEM, "cannot start %s: %s", program, strerror(errno));
}

static int become_phrfs(struct helper *h)
{
    struct helper_opts *o = &h->opts;
    char list[HELPER_WORDS_BYTES_MAX + 3 * PATH_MAX];
    int rc = 0;

    snprintf(list, sizeof list, "%s%s", o->kernel_words, o->words);
    if (o->config[0])
        rc = helper_opts_add(list, sizeof list, "config", o->config);
    if (rc == 0 && o->identity[0])
        rc = helper_opts_add(list, sizeof list, "identity", o->identity);
    if (rc == 0 && o->passfile[0])
        rc = helper_opts_add(list, sizeof list, "passfile", o->passfile);
    if (rc < 0)
        return fail(EXIT_USAGE, "the options are too long");
    return o->is_fake ? 0 : exec_phrfs(o->source, h->dir, list);
}

/* As root, because such a file is root's own; phrfs gets the descriptor. */
static int open_private(const struct helper *h, const char *path, int *out_fd)
{
    struct stat st;
    uid_t user = 0;
    gid_t group = 0;
    int fd;

    if (path[0] == '\0')
        return 0;
    if (h->config.user[0] && privs_find(h->config.user, &user, &group) < 0)
        return fail(EXIT_USAGE, "%s: there is no user '%s'", h->config.path,
                    h->config.user);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(EXIT_USAGE, "cannot open %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0 ||
        (st.st_uid != 0 && st.st_uid != user)) {
        close(fd);
        return fail(EXIT_USAGE,
                    "%s must be a file that only its owner may read; chmod 600 %s", path,
                    path);
    }
    *out_fd = fd;
    return 0;
}

static int prepare(struct helper *h)
{
    char why[400];
    int status;

    if (mounttab_is_ours(h->dir, h->opts.source))
        return fail(EXIT_MOUNT, "%s is already mounted on %s", h->opts.source,
                    h->opts.dir);
    if (config_load(h->opts.config[0] ? h->opts.config : NULL, &h->config, why,
                    sizeof why) < 0)
        return fail(EXIT_USAGE, "%s", why);
    if (h->config.user[0]) {
        uid_t uid;
        gid_t gid;

        if (privs_find(h->config.user, &uid, &gid) < 0)
            return fail(EXIT_USAGE,
                        "%s: there is no user '%s'; systemd-sysusers makes it",
                        h->config.path, h->config.user);
    }
    status = open_private(h, h->opts.identity, &h->identity_fd);
    if (status == 0)
        status = open_private(h, h->opts.passfile, &h->pass_fd);
    return status;
}

static int mount_device(struct helper *h)
{
    char data[160];

    h->fuse_fd = open("/dev/fuse", O_RDWR);
    if (h->fuse_fd < 0)
        return fail(EXIT_SYSTEM, "cannot open /dev/fuse: %s; modprobe fuse",
                    strerror(errno));
    snprintf(data, sizeof data,
             "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions%s",
             h->fuse_fd, h->opts.is_for_all ? ",allow_other" : "");
    if (mount(h->opts.source, h->dir, "fuse.phrfs", h->opts.flags, data) < 0)
        return fail(EXIT_MOUNT, "cannot mount on %s: %s", h->opts.dir, strerror(errno));
    return 0;
}

static int run_phrfs(struct helper *h)
{
    char list[HELPER_WORDS_BYTES_MAX + 3 * PATH_MAX];
    char where[32];
    char number[16];
    int rc;

    snprintf(where, sizeof where, "/dev/fd/%d", h->fuse_fd);
    snprintf(list, sizeof list, "%s%s", h->opts.words,
             h->opts.flags & MS_RDONLY ? ",ro" : "");
    rc = helper_opts_add(list, sizeof list, "dir", h->dir);
    if (rc == 0 && h->opts.config[0])
        rc = helper_opts_add(list, sizeof list, "config", h->config.path);
    if (rc == 0 && h->identity_fd >= 0) {
        snprintf(number, sizeof number, "%d", h->identity_fd);
        rc = helper_opts_add(list, sizeof list, "identityfd", number);
    }
    if (rc == 0 && h->pass_fd >= 0) {
        snprintf(number, sizeof number, "%d", h->pass_fd);
        rc = helper_opts_add(list, sizeof list, "passfd", number);
    }
    if (rc < 0)
        return fail(EXIT_USAGE, "the options are too long");
    /* So that writing back never waits for itself when memory is short. Older kernels: no. */
    ignored(prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0));
    rc = h->config.user[0] ? privs_drop(h->config.user) : 0;
    if (rc < 0)
        return fail(EXIT_SYSTEM, "cannot become user '%s': %s", h->config.user,
                    phr_err_text(rc));
    return exec_phrfs(h->opts.source, where, list);
}

/* phrfs goes into the background by itself, when the kernel has its first answer. */
static int start_phrfs(struct helper *h)
{
    pid_t pid = fork();
    int how = 0;

    if (pid < 0)
        return fail(EXIT_SYSTEM, "cannot start phrfs: %s", strerror(errno));
    if (pid == 0)
        _exit(run_phrfs(h));
    close(h->fuse_fd); /* only phrfs answers: when it ends, so does the connection */
    h->fuse_fd = -1;
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFEXITED(how))
        return fail(EXIT_MOUNT, "phrfs was killed by signal %d", WTERMSIG(how));
    return WEXITSTATUS(how); /* it has said why */
}

/* Refusing to list is an answer too: nobody is logged in yet. */
static int look(const char *dir)
{
    DIR *d = opendir(dir);

    if (!d)
        return is_dead(errno) || errno == EIO || errno == ETIMEDOUT ? EXIT_MOUNT : 0;
    errno = 0;
    ignored(readdir(d)); /* its errno is what counts */
    return is_dead(errno) || errno == EIO ? EXIT_MOUNT : 0;
}

static int wait_for_answer(const struct helper *h)
{
    pid_t pid = fork();
    int how = 0;

    if (pid < 0)
        return fail(EXIT_SYSTEM, "cannot look at the mount: %s", strerror(errno));
    if (pid == 0) {
        alarm(ANSWER_WAIT_S); /* its own process: only death ends a request that hangs */
        _exit(look(h->dir));
    }
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return 0;
    return fail(EXIT_MOUNT, "the mount on %s does not answer; see journalctl -t phrfs",
                h->opts.dir);
}

static void set_bdi(dev_t dev, const char *knob, const char *value)
{
    char path[96];
    int fd;

    snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/%s", major(dev), minor(dev), knob);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* an older kernel, or a read-only /sys: slower, not wrong */
    ignored(write(fd, value, strlen(value)));
    close(fd);
}

/* Larger requests and a write-back cache worth the name (STORAGE 4). */
static void tune(const struct helper *h)
{
    struct stat st;

    if (stat(h->dir, &st) < 0)
        return;
    set_bdi(st.st_dev, "read_ahead_kb", read_ahead_kb);
    set_bdi(st.st_dev, "strict_limit", "0");
    set_bdi(st.st_dev, "max_bytes", dirty_bytes_max);
}
