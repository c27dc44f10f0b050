#include "twin.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>

static int lock(int fd, int command, short type, off_t from, off_t n)
{
    struct flock l = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = n
    };

    return fcntl(fd, command, &l);
}

static void ask(const char *label, int fd, short type, off_t from, off_t n)
{
    struct flock l = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = n
    };

    if (fcntl(fd, F_GETLK, &l) < 0)
        twin_result(label, -1, errno);
    else
        twin_line(label, "type %d from %jd for %jd", l.l_type, (intmax_t)l.l_start,
                  (intmax_t)l.l_len);
}

static void locks_flock(void)
{
    int a = FD(open("f", O_CREAT | O_RDWR, 0644));
    int b = FD(open("f", O_RDONLY));

    TRY(flock(a, LOCK_EX));
    TRY(flock(b, LOCK_EX | LOCK_NB));
    TRY(flock(b, LOCK_SH | LOCK_NB));
    AS(USER_A, GROUP_A)
    {
        int c = FD(open("f", O_RDONLY));

        TRY(flock(c, LOCK_SH | LOCK_NB));
        TRY(flock(a, LOCK_SH | LOCK_NB)); /* inherited: the same open file */
    }
    TRY(flock(b, LOCK_SH | LOCK_NB));
    TRY(flock(a, LOCK_UN));
    TRY(flock(b, LOCK_EX | LOCK_NB));
    TRY(flock(a, LOCK_SH | LOCK_NB));
    TRY(close(b));
    TRY(flock(a, LOCK_SH | LOCK_NB));
    TRY(flock(a, 99));
    TRY(unlink("f"));
    TRY(flock(a, LOCK_EX | LOCK_NB));
}

static void locks_records(void)
{
    int a = FD(open("f", O_CREAT | O_RDWR, 0644));
    int b;

    TRY(write(a, "0123456789", 10));
    TRY(lock(a, F_SETLK, F_WRLCK, 0, 5));
    TRY(lock(a, F_SETLK, F_RDLCK, 5, 5));
    AS(0, 0)
    {
        b = FD(open("f", O_RDWR));
        TRY(lock(b, F_SETLK, F_WRLCK, 4, 1));
        TRY(lock(b, F_SETLK, F_WRLCK, 5, 1));
        TRY(lock(b, F_SETLK, F_RDLCK, 5, 1));
        TRY(lock(b, F_SETLK, F_WRLCK, 10, 0));
        ask("who holds 0..5", b, F_WRLCK, 0, 5);
        ask("who holds 20", b, F_WRLCK, 20, 5);
    }
    ask("my own", a, F_WRLCK, 0, 100);
    TRY(lock(a, F_SETLK, F_UNLCK, 2, 2));
    AS(0, 0)
    {
        b = FD(open("f", O_RDWR));
        TRY(lock(b, F_SETLK, F_WRLCK, 2, 2));
        ask("who holds 0..2", b, F_WRLCK, 0, 100);
    }
    b = FD(open("f", O_RDWR));
    TRY(lock(b, F_OFD_SETLK, F_WRLCK, 0, 1));
    TRY(close(b)); /* drops every record lock of this process */
    AS(0, 0)
    {
        b = FD(open("f", O_RDWR));
        TRY(lock(b, F_SETLK, F_WRLCK, 0, 0));
    }
    TRY(lock(a, F_SETLK, 77, 0, 5));
    TRY(lock(a, F_SETLK, F_WRLCK, -5, 2));
    b = FD(open("f", O_RDONLY));
    TRY(lock(b, F_SETLK, F_WRLCK, 0, 5));
    TRY(lock(a, F_OFD_SETLK, F_WRLCK, 0, 5));
    TRY(lock(b, F_OFD_SETLK, F_RDLCK, 0, 5));
    TRY(lockf(a, F_TEST, 5));
}

static void nothing(int signal)
{
    (void)signal;
}

/* A lock that waits gets it, and one that is interrupted says so. */
static void locks_waiting(void)
{
    struct sigaction act = { .sa_handler = nothing };
    int a = FD(open("f", O_CREAT | O_RDWR, 0644));
    int status = 0;
    pid_t pid;

    TRY(flock(a, LOCK_EX));
    TRY(lock(a, F_SETLK, F_WRLCK, 0, 0));
    pid = fork();
    if (pid == 0) {
        int b = open("f", O_RDWR);

        _exit(flock(b, LOCK_EX) == 0 && lock(b, F_SETLKW, F_WRLCK, 0, 0) == 0 ? 7 : 1);
    }
    usleep(30000);
    TRY(flock(a, LOCK_UN));
    usleep(30000);
    TRY(lock(a, F_SETLK, F_UNLCK, 0, 0));
    waitpid(pid, &status, 0);
    twin_line("the one that waited", "%d", WEXITSTATUS(status));
    TRY(flock(a, LOCK_EX));
    pid = fork();
    if (pid == 0) {
        int b = open("f", O_RDWR);

        sigaction(SIGALRM, &act, NULL);
        ualarm(30000, 30000);
        _exit(flock(b, LOCK_EX) < 0 ? errno : 0);
    }
    waitpid(pid, &status, 0);
    twin_line("interrupted", "%d", WEXITSTATUS(status) == EINTR);
}

static void locks_leases(void)
{
    int a = FD(open("f", O_CREAT | O_RDWR, 0644));

    TRY(close(a));
    a = FD(open("f", O_RDONLY));
    TRY(fcntl(a, F_SETLEASE, F_RDLCK));
    TRY(fcntl(a, F_GETLEASE));
    TRY(fcntl(a, F_SETLEASE, F_UNLCK));
    TRY(fcntl(a, F_SETLEASE, F_WRLCK));
}

const struct twin_body twin_locks_bodies[] = {
    { .name = "locks_flock", .run = locks_flock },
    { .name = "locks_records", .run = locks_records },
    { .name = "locks_waiting", .run = locks_waiting },
    { .name = "locks_leases", .run = locks_leases },
    { .name = NULL },
};
