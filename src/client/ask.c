#include "client/ask.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>

#include "base/secret.h"
#include "client/client.h"
#include "crypto/digest.h"
#include "crypto/passphrase.h"

/*
 * The signal that came while the terminal was silent; a handler can reach nothing but a global.
 * It is delivered again once the terminal speaks.
 */
static volatile sig_atomic_t ask_signal;

static const int ask_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
enum { ASK_SIGNALS = sizeof ask_signals / sizeof ask_signals[0] };

static void on_signal(int number)
{
    ask_signal = number;
}

/* Byte by byte: what follows the newline belongs to the next reader of the descriptor. */
static int read_line(int fd, uint8_t *line, size_t *out_n)
{
    size_t n = 0;

    for (;;) {
        ssize_t got = read(fd, line + n, 1);

        if (got < 0 && errno == EINTR && ask_signal == 0)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0 || line[n] == '\n')
            break;
        if (++n > PASSPHRASE_BYTES_MAX)
            return PHR_E_LIMIT;
    }
    *out_n = n;
    return 0;
}

static int open_file(struct phr_client *c, const char *path, int *out_fd)
{
    struct stat st;
    int rc = fdio_open(AT_FDCWD, path, O_RDONLY, 0, out_fd);

    if (rc < 0)
        return client_fail_plain(c, rc, path);
    if (fstat(*out_fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0 ||
        (st.st_uid != geteuid() && geteuid() != 0))
        return client_fail(c, PHR_E_RIGHTS,
                           "%s must be a file of yours that nobody else may read; "
                           "chmod 600 %s",
                           path, path);
    return 0;
}

static int read_silent(int fd, const char *prompt, uint8_t *line, size_t *out_n)
{
    struct termios was;
    struct termios quiet;
    int rc;

    if (tcgetattr(fd, &was) < 0)
        return -errno;
    quiet = was;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    quiet.c_lflag |= ICANON | ECHONL;
    rc = fdio_write_all(fd, prompt, strlen(prompt));
    if (rc == 0)
        rc = fdio_write_all(fd, ": ", 2);
    if (rc == 0 && tcsetattr(fd, TCSAFLUSH, &quiet) < 0)
        rc = -errno;
    if (rc == 0)
        rc = read_line(fd, line, out_n);
    ignored(tcsetattr(fd, TCSAFLUSH, &was)); /* the terminal may be gone */
    return rc;
}

/* Whatever ends the reading, the terminal shows again what is typed. */
static int read_terminal(int fd, const char *prompt, uint8_t *line, size_t *out_n)
{
    const struct sigaction ours = { .sa_handler =
                                        on_signal }; /* no SA_RESTART: read(2) ends */
    struct sigaction before[ASK_SIGNALS];
    int rc;

    ask_signal = 0;
    for (size_t i = 0; i < ASK_SIGNALS; i++)
        ignored(sigaction(ask_signals[i], &ours,
                          &before[i])); /* valid numbers: cannot fail */
    rc = read_silent(fd, prompt, line, out_n);
    for (size_t i = 0; i < ASK_SIGNALS; i++)
        ignored(sigaction(ask_signals[i], &before[i], NULL));
    if (ask_signal == 0)
        return rc;
    ignored(raise(ask_signal));
    return -EINTR; /* it was ignored, or stopped us for a while */
}

static int ask_terminal(struct phr_client *c, const struct phr_passphrase *how,
                        uint8_t *line, size_t *out_n)
{
    scoped(close_fd) int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    scoped(secret_free) uint8_t *again = NULL;
    struct digest first;
    struct digest second;
    size_t again_n = 0;
    int rc;

    if (tty < 0)
        return client_fail(
            c, PHR_E_PASSPHRASE,
            "there is no terminal to ask for a passphrase; use --passfd or --passfile");
    rc = read_terminal(tty, how->prompt ? how->prompt : "Passphrase", line, out_n);
    if (rc < 0 || !how->is_new)
        return rc;
    again = secret_alloc(PASSPHRASE_BYTES_MAX + 1);
    if (!again)
        return -ENOMEM;
    rc = read_terminal(tty, "The same again", again, &again_n);
    if (rc < 0)
        return rc;
    first = digest_sha256(view_of(line, *out_n)); /* equal time whatever was typed */
    second = digest_sha256(view_of(again, again_n));
    if (!digest_equal(&first, &second))
        rc = client_fail(c, PHR_E_USAGE,
                         "the two passphrases differ; nothing was changed");
    return rc;
}

int ask_passphrase(struct phr_client *c, const struct phr_passphrase *how,
                   uint8_t **out_pass, size_t *out_bytes)
{
    scoped(secret_free) uint8_t *line = secret_alloc(PASSPHRASE_BYTES_MAX + 1);
    scoped(close_fd) int file = -1;
    size_t n = 0;
    int rc;

    if (!line)
        return -ENOMEM;
    if (how->fd >= 0) {
        rc = read_line(how->fd, line, &n);
    } else if (how->file) {
        rc = open_file(c, how->file, &file);
        if (rc == 0)
            rc = read_line(file, line, &n);
    } else {
        rc = ask_terminal(c, how, line, &n);
    }
    if (rc == 0 && n == 0)
        rc = client_fail(c, PHR_E_USAGE, "an empty passphrase protects nothing");
    if (rc < 0)
        return c->why[0] ? rc : client_fail_plain(c, rc, "passphrase");
    *out_pass = give(line);
    *out_bytes = n;
    return 0;
}
