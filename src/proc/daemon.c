#include "proc/daemon.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/scope.h"

enum { LOG_BYTES_MAX = 8 * 1024 * 1024 }; /* of the file, looked at when we start */

/* The parent: ends with the child's word. */
__attribute__((noreturn)) static void wait_and_exit(int fd, pid_t child)
{
    uint8_t status = EXIT_FAILURE;
    ssize_t n;
    int how;

    do {
        n = read(fd, &status, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1)
        _exit(status);
    if (waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) != 0)
        _exit(WEXITSTATUS(how));
    _exit(EXIT_FAILURE);
}

int daemon_start(struct daemon *d, const char *program, const char *log_path, bool foreground)
{
    int ends[2];
    pid_t child;

    *d = (struct daemon){ .ready_fd = -1, .program = program, .log_path = log_path };
    if (foreground)
        return 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return -errno;
    }
    if (child > 0) {
        close(ends[1]);
        wait_and_exit(ends[0], child);
    }
    close(ends[0]);
    d->ready_fd = ends[1];
    d->is_background = true;
    return setsid() < 0 ? -errno : 0;
}

/* Our log lines go on somewhere: the journal, else a file, else nowhere. */
static int open_log(const struct daemon *d)
{
    struct stat st;
    int fd = -1;

    if (getenv("JOURNAL_STREAM"))
        return -1; /* stderr is it already */
    if (access("/run/systemd/journal/stdout", W_OK) == 0)
        fd = sd_journal_stream_fd(d->program, LOG_INFO, 0);
    if (fd < 0 && d->log_path)
        fd = open(d->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > LOG_BYTES_MAX)
        ignored(ftruncate(fd, 0)); /* then it grows on: nobody rotates it */
    if (fd < 0)
        fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    return fd;
}

static void let_go(const struct daemon *d)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = open_log(d);

    if (null >= 0) {
        ignored(dup2(null, STDIN_FILENO)); /* what stays open is no harm to us */
        ignored(dup2(null, STDOUT_FILENO));
        if (null > STDERR_FILENO)
            close(null);
    }
    if (log >= 0) {
        ignored(dup2(log, STDERR_FILENO));
        if (log > STDERR_FILENO)
            close(log);
    }
    ignored(chdir("/")); /* only so that nobody's directory stays busy */
}

static void tell_parent(struct daemon *d, uint8_t status)
{
    if (d->ready_fd < 0)
        return;
    ignored(write(d->ready_fd, &status, 1)); /* without it, the parent reads the end: failed */
    close(d->ready_fd);
    d->ready_fd = -1;
}

void daemon_ready(struct daemon *d)
{
    if (d->is_background)
        let_go(d);
    ignored(sd_notify(0, "READY=1")); /* not under systemd: nobody to tell */
    tell_parent(d, 0);
}

void daemon_failed(struct daemon *d, int exit_status)
{
    tell_parent(d, (uint8_t)exit_status);
}

void daemon_say(const char *sentence)
{
    ignored(sd_notifyf(0, "STATUS=%s", sentence)); /* as above */
}

void daemon_stopping(void)
{
    ignored(sd_notify(0, "STOPPING=1")); /* as above */
}

unsigned daemon_watchdog_ms(void)
{
    uint64_t usec = 0;

    if (sd_watchdog_enabled(0, &usec) <= 0)
        return 0;
    return (unsigned)(usec / 1000 / 2); /* twice as often as asked */
}

void daemon_alive(void)
{
    ignored(sd_notify(0, "WATCHDOG=1")); /* as above */
}
