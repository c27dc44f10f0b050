#include "check.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "proc/daemon.h"
#include "proc/harden.h"
#include "proc/privs.h"
#include "proc/signal.h"

static int exit_of(void (*body)(int pipe_fd), int pipe_fd)
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        body(pipe_fd);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void serve_a_moment(int pipe_fd)
{
    struct daemon d;
    char word = 'r';

    if (daemon_start(&d, "test", NULL, false) < 0)
        _exit(98);
    daemon_ready(&d);
    /* Written by the child, after the parent has gone with 0; stdout is not the terminal now. */
    if (isatty(STDOUT_FILENO) || getsid(0) != getpid())
        word = 'x';
    ignored(write(pipe_fd, &word, 1)); /* the test reads it, or fails */
    _exit(0);
}

static void fail_to_start(int pipe_fd)
{
    struct daemon d;

    (void)pipe_fd;
    if (daemon_start(&d, "test", NULL, false) < 0)
        _exit(98);
    daemon_failed(&d, 42);
    _exit(0);
}

static void die_at_start(int pipe_fd)
{
    struct daemon d;

    (void)pipe_fd;
    if (daemon_start(&d, "test", NULL, false) < 0)
        _exit(98);
    _exit(7);
}

static void be_killed_at_start(int pipe_fd)
{
    struct daemon d;

    (void)pipe_fd;
    if (daemon_start(&d, "test", NULL, false) < 0)
        _exit(98);
    raise(SIGKILL);
}

TEST(daemon__whoever_waits_gets_the_true_status)
{
    int ends[2];
    char word = 0;

    UNUSED_STATE;
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(exit_of(serve_a_moment, ends[1]), 0);
    CHECK_EQ(read(ends[0], &word, 1), 1);
    CHECK_EQ(word, 'r');
    CHECK_EQ(exit_of(fail_to_start, -1), 42);
    CHECK_EQ(exit_of(die_at_start, -1), 7);
    CHECK_EQ(exit_of(be_killed_at_start, -1), 1);
    close(ends[0]);
    close(ends[1]);
}

static void check_hardened(int pipe_fd)
{
    struct rlimit lim;

    (void)pipe_fd;
    if (harden_process() < 0 || harden_no_new_privs() < 0)
        _exit(1);
    if (getrlimit(RLIMIT_CORE, &lim) < 0 || lim.rlim_cur != 0 || lim.rlim_max != 0)
        _exit(2);
    if (prctl(PR_GET_DUMPABLE) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        _exit(3);
}

TEST(harden__no_core_no_tracing_no_new_privileges)
{
    UNUSED_STATE;
    CHECK_EQ(exit_of(check_hardened, -1), 0);
}

static void check_memlock(int pipe_fd)
{
    const struct rlimit little = { 32 * 1024, 64 * 1024 };
    const struct rlimit more = { 1024 * 1024, 1024 * 1024 };
    struct rlimit lim;
    bool may_raise;

    (void)pipe_fd;
    if (setrlimit(RLIMIT_MEMLOCK, &little) < 0)
        _exit(1);
    may_raise = setrlimit(RLIMIT_MEMLOCK, &more) == 0; /* root in a container may not */
    if (may_raise && setrlimit(RLIMIT_MEMLOCK, &little) < 0)
        _exit(2);
    harden_raise_memlock(1024 * 1024);
    if (getrlimit(RLIMIT_MEMLOCK, &lim) < 0)
        _exit(3);
    _exit(lim.rlim_cur == (may_raise ? more.rlim_cur : little.rlim_max) ? 0 : 4);
}

TEST(harden__raises_the_limit_of_locked_memory_as_far_as_it_may)
{
    UNUSED_STATE;
    CHECK_EQ(exit_of(check_memlock, -1), 0);
}

static void drop_to_nobody(int pipe_fd)
{
    (void)pipe_fd;
    if (privs_drop("nobody") < 0)
        _exit(1);
    if (getuid() == 0 || getgid() == 0 || setuid(0) == 0)
        _exit(2);
    if (privs_drop("nobody") < 0) /* already he */
        _exit(3);
    if (privs_drop("root") != -EPERM)
        _exit(4);
}

TEST(privs__there_is_no_way_back)
{
    UNUSED_STATE;
    CHECK_EQ(privs_drop("no-such-user-here"), PHR_E_UNKNOWN_ID);
    if (geteuid() != 0) {
        print_message("not root: dropping was not tried\n");
        skip();
    }
    CHECK_EQ(exit_of(drop_to_nobody, -1), 0);
}

static void read_a_signal(int pipe_fd)
{
    int fd = -1;

    (void)pipe_fd;
    if (signal_open(&fd) < 0)
        _exit(1);
    if (signal_next(fd, 10) != 0)
        _exit(2);
    raise(SIGTERM);
    if (signal_next(fd, 1000) != SIGTERM)
        _exit(3);
}

TEST(signal__is_something_to_read)
{
    UNUSED_STATE;
    CHECK_EQ(exit_of(read_a_signal, -1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(daemon__whoever_waits_gets_the_true_status),
        UNIT(harden__no_core_no_tracing_no_new_privileges),
        UNIT(harden__raises_the_limit_of_locked_memory_as_far_as_it_may),
        UNIT(privs__there_is_no_way_back),
        UNIT(signal__is_something_to_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
