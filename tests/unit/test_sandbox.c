/* Each case runs in a child that tries something and says by its exit status what came of it. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "proc/sandbox.h"

enum { EXIT_NO_SANDBOX = 99 };

static char allowed_dir[] = "/tmp/phr-box-XXXXXX";
static int landlock_abi; /* in the child */

static int run(enum sandbox_profile profile, int (*body)(void))
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        struct sandbox_path paths[] = { { allowed_dir, true }, { "/nowhere/at/all", true } };
        struct sandbox_opts opts = { .profile = profile, .paths = paths, .path_count = 2 };
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        if (null < 0 || dup2(null, STDERR_FILENO) < 0)
            _exit(EXIT_NO_SANDBOX);
        if (sandbox_enter(&opts, &landlock_abi) < 0)
            _exit(EXIT_NO_SANDBOX);
        _exit(body());
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int try_inet(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? 0 : errno;
}

static int try_inet6(void)
{
    return socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? 0 : errno;
}

static int try_packet(void)
{
    return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0 ? 0 : errno;
}

static int try_unix(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? 0 : errno;
}

static int try_fork(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return pid > 0 ? 0 : errno;
}

static void *nothing(void *arg)
{
    return arg;
}

static int try_thread(void)
{
    pthread_t t;
    int rc = pthread_create(&t, NULL, nothing, NULL);

    return rc == 0 ? pthread_join(t, NULL) : rc;
}

static int try_exec(void)
{
    execl("/bin/true", "true", (char *)NULL);
    return errno;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static int try_ptrace(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0 ? 0 : errno;
}
#endif

static int try_written_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);

    return p != MAP_FAILED ? 0 : errno;
}

/* 0: as it should be with Landlock; 1: not; 77: no Landlock here. */
static int try_files(void)
{
    char path[64];
    int fd;

    if (landlock_abi == 0)
        return 77;
    if (open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0 || errno != EACCES)
        return 1;
    snprintf(path, sizeof path, "%s/f", allowed_dir);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, 10) < 0 || unlink(path) < 0)
        return 2;
    fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 3;
    return open("/etc/passwd", O_RDWR | O_CLOEXEC) >= 0 ? 4 : 0;
}

TEST(sandbox__mount_has_no_network_and_no_children)
{
    UNUSED_STATE;
    CHECK_EQ(run(SANDBOX_MOUNT, try_inet), EAFNOSUPPORT);
    CHECK_EQ(run(SANDBOX_MOUNT, try_inet6), EAFNOSUPPORT);
    CHECK_EQ(run(SANDBOX_MOUNT, try_packet), EAFNOSUPPORT);
    CHECK_EQ(run(SANDBOX_MOUNT, try_unix), 0);
    CHECK_EQ(run(SANDBOX_MOUNT, try_fork), EPERM);
    CHECK_EQ(run(SANDBOX_MOUNT, try_thread), 0);
}

TEST(sandbox__sidecar_has_inet_and_no_children)
{
    UNUSED_STATE;
    CHECK_EQ(run(SANDBOX_SIDECAR, try_inet), 0);
    CHECK_EQ(run(SANDBOX_SIDECAR, try_unix), 0);
    CHECK_EQ(run(SANDBOX_SIDECAR, try_packet), EAFNOSUPPORT);
    CHECK_EQ(run(SANDBOX_SIDECAR, try_fork), EPERM);
    CHECK_EQ(run(SANDBOX_SIDECAR, try_thread), 0);
}

TEST(sandbox__what_only_an_intruder_does_ends_the_process)
{
    UNUSED_STATE;
    for (int p = SANDBOX_MOUNT; p <= SANDBOX_SIDECAR; p++) {
        CHECK_EQ(run((enum sandbox_profile)p, try_exec), 128 + SIGSYS);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their leak checker's */
        CHECK_EQ(run((enum sandbox_profile)p, try_ptrace), 128 + SIGSYS);
#endif
        CHECK_EQ(run((enum sandbox_profile)p, try_written_code), EPERM);
    }
}

TEST(sandbox__only_the_given_directories_are_open_where_there_is_landlock)
{
    int rc = run(SANDBOX_SIDECAR, try_files);

    UNUSED_STATE;
    if (rc == 77) {
        print_message("this kernel has no Landlock: not tried\n");
        skip();
    }
    CHECK_EQ(rc, 0);
    CHECK_EQ(run(SANDBOX_MOUNT, try_files), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(sandbox__mount_has_no_network_and_no_children),
        UNIT(sandbox__sidecar_has_inet_and_no_children),
        UNIT(sandbox__what_only_an_intruder_does_ends_the_process),
        UNIT(sandbox__only_the_given_directories_are_open_where_there_is_landlock),
    };
    int rc;

    if (!mkdtemp(allowed_dir))
        return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    ignored(rmdir(allowed_dir)); /* its emptiness is checked by its removal being silent */
    return rc;
}
