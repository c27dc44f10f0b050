#include "twin.h"

#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

enum { BODY_SECONDS = 150, LONG_SECONDS = 1200 };

static const struct twin_body *const groups[] = {
    twin_open_bodies,  twin_names_bodies,  twin_rename_bodies, twin_modes_bodies,
    twin_times_bodies, twin_data_bodies,   twin_space_bodies,  twin_mmap_bodies,
    twin_locks_bodies, twin_xattrs_bodies, twin_acls_bodies,   twin_dirs_bodies,
};
static const char *body_name;

static void run_body(const struct twin_body *b, const char *other);

/* posix_twin DIR OTHER [--long] [--only PART] */
int main(int argc, char *argv[])
{
    bool with_long = false;
    const char *only = "";

    if (argc < 3) {
        fprintf(stderr, "usage: posix_twin DIR OTHER [--long] [--only PART]\n");
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--long") == 0)
            with_long = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (chdir(argv[1]) < 0) {
        perror(argv[1]);
        return 2;
    }
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        for (const struct twin_body *b = groups[g]; b->name; b++) {
            if ((!b->is_long || with_long) && strstr(b->name, only))
                run_body(b, argv[2]);
        }
    }
    return 0;
}

static void run_body(const struct twin_body *b, const char *other)
{
    int status = 0;
    pid_t pid;

    body_name = b->name;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        alarm(b->is_long ? LONG_SECONDS : BODY_SECONDS);
        umask(022);
        if (mkdir(b->name, 0755) < 0 || chdir(b->name) < 0 || mkdir("work", 0755) < 0 ||
            symlink(other, "other") < 0 || chdir("work") < 0) {
            twin_result("set up", -1, errno);
            _exit(1);
        }
        b->run();
        fflush(stdout);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    if (status != 0)
        printf("%s: ended -> %s %d\n", b->name, WIFSIGNALED(status) ? "signal" : "exit",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

void twin_result(const char *label, long long result, int error)
{
    if (error)
        printf("%s: %s -> %s\n", body_name, label, strerrorname_np(error));
    else
        printf("%s: %s -> %lld\n", body_name, label, result);
}

void twin_line(const char *label, const char *format, ...)
{
    va_list args;

    printf("%s: %s -> ", body_name, label);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

const char *twin_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "dir";
    case S_IFLNK:
        return "link";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    default:
        return "other";
    }
}

static void show(const char *label, const struct stat *st)
{
    if (S_ISDIR(st->st_mode))
        twin_line(label, "dir %04o links %ju of %u:%u", st->st_mode & 07777U,
                  (uintmax_t)st->st_nlink, st->st_uid, st->st_gid);
    else
        twin_line(label, "%s %04o links %ju of %u:%u size %jd", twin_type(st->st_mode),
                  st->st_mode & 07777U, (uintmax_t)st->st_nlink, st->st_uid, st->st_gid,
                  (intmax_t)st->st_size);
}

void twin_show(const char *path)
{
    char label[400];
    struct stat st;

    snprintf(label, sizeof label, "stat %s", path);
    if (lstat(path, &st) < 0)
        twin_result(label, -1, errno);
    else
        show(label, &st);
}

void twin_show_fd(const char *label, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        twin_result(label, -1, errno);
    else
        show(label, &st);
}

void twin_fill(uint8_t *room, size_t n, unsigned seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;

    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        room[i] = (uint8_t)(x >> 32);
    }
}

void twin_write_file(const char *path, size_t n, unsigned seed)
{
    uint8_t *room = malloc(n + 1);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    twin_fill(room, n, seed);
    if (fd < 0 || write(fd, room, n) != (ssize_t)n)
        twin_result("write a file", -1, errno);
    close(fd);
    free(room);
}

void twin_touch(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

    if (fd < 0 || fchmod(fd, mode) < 0)
        twin_result("touch", -1, errno);
    close(fd);
}

void twin_digest_fd(const char *label, int fd)
{
    uint64_t h = 0xcbf29ce484222325ULL;
    uint8_t room[65536];
    off_t at = 0;
    ssize_t n;

    while ((n = pread(fd, room, sizeof room, at)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            h = (h ^ room[i]) * 0x100000001b3ULL;
        at += n;
    }
    if (n < 0)
        twin_result(label, -1, errno);
    else
        twin_line(label, "%jd bytes, %016jx", (intmax_t)at, (uintmax_t)h);
}

void twin_digest(const char *path)
{
    char label[400];
    int fd = open(path, O_RDONLY);

    snprintf(label, sizeof label, "bytes of %s", path);
    if (fd < 0) {
        twin_result(label, -1, errno);
        return;
    }
    twin_digest_fd(label, fd);
    close(fd);
}

bool twin_enter(uid_t uid, gid_t gid)
{
    int status = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        alarm(BODY_SECONDS);
        if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
            setresuid(uid, uid, uid) < 0)
            twin_result("become another", -1, errno);
        return true;
    }
    waitpid(pid, &status, 0);
    if (status != 0)
        twin_line("another's part ended", "%d", status);
    return false;
}

void twin_leave(void)
{
    fflush(stdout);
    _exit(0);
}

void twin_tick(void)
{
    struct timespec pause = { .tv_nsec = 13 * 1000 * 1000 };

    nanosleep(&pause, NULL);
}

void twin_times_before(const char *path, struct stat *out_st)
{
    memset(out_st, 0, sizeof *out_st);
    if (lstat(path, out_st) < 0)
        twin_result("stat before", -1, errno);
    twin_tick();
}

static char direction(struct timespec from, struct timespec to)
{
    if (from.tv_sec == to.tv_sec && from.tv_nsec == to.tv_nsec)
        return '=';
    if (to.tv_sec < from.tv_sec ||
        (to.tv_sec == from.tv_sec && to.tv_nsec < from.tv_nsec))
        return '-';
    return '+';
}

void twin_times_after(const char *label, const char *path, const struct stat *before)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        twin_result(label, -1, errno);
    else
        twin_line(label, "atime%c mtime%c ctime%c",
                  direction(before->st_atim, st.st_atim),
                  direction(before->st_mtim, st.st_mtim),
                  direction(before->st_ctim, st.st_ctim));
}
