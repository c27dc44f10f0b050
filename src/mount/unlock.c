#include "mount/unlock.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/secret.h"

static int open_private(const char *what, const char *path, int *out_fd)
{
    scoped(close_fd) int fd = -1;
    struct stat st;
    int rc = fdio_open(AT_FDCWD, path, O_RDONLY, 0, &fd);

    if (rc == 0 && fstat(fd, &st) < 0)
        rc = -errno;
    if (rc < 0) {
        fprintf(stderr, "phrfs: %s %s: %s\n", what, path, phr_err_text(rc));
        return rc;
    }
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0 ||
        (st.st_uid != geteuid() && st.st_uid != 0)) {
        fprintf(
            stderr,
            "phrfs: %s %s must be a file that only its owner may read; chmod 600 %s\n",
            what, path, path);
        return -EACCES;
    }
    *out_fd = give_fd(fd);
    return 0;
}

int unlock_open(struct mount_opts *io_opts)
{
    int rc = 0;

    if (io_opts->identity[0])
        rc = open_private("identity", io_opts->identity, &io_opts->identity_fd);
    if (rc == 0 && io_opts->passfile[0])
        rc = open_private("passfile", io_opts->passfile, &io_opts->pass_fd);
    return rc;
}

/* The first line, without its newline. Byte by byte: a pipe may carry more for somebody else. */
static int read_passphrase(int fd, uint8_t *room, size_t room_bytes, size_t *out_n)
{
    size_t n = 0;

    for (;;) {
        ssize_t got = read(fd, room + n, 1);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0 || room[n] == '\n')
            break;
        if (++n >= room_bytes)
            return PHR_E_LIMIT;
    }
    *out_n = n;
    return n > 0 ? 0 : PHR_E_PASSPHRASE;
}

static int read_keyring(int fd, uint8_t **out_bytes, size_t *out_n)
{
    scoped(free) uint8_t *bytes = NULL;
    struct stat st;
    int rc;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size <= 0 || st.st_size > KEYRING_BYTES_MAX)
        return PHR_E_FORMAT;
    bytes = malloc((size_t)st.st_size);
    if (!bytes)
        return -ENOMEM;
    rc = fdio_pread_all(fd, bytes, (size_t)st.st_size, 0);
    if (rc < 0)
        return rc;
    *out_n = (size_t)st.st_size;
    *out_bytes = give(bytes);
    return 0;
}

static int open_keyring(const struct mount_opts *opts, struct keyring **out_keyring)
{
    scoped(secret_free) uint8_t *passphrase = secret_alloc(PASSPHRASE_BYTES_MAX + 1);
    scoped(free) uint8_t *sealed = NULL;
    size_t sealed_n = 0;
    size_t n = 0;
    int rc;

    if (!passphrase)
        return -ENOMEM;
    rc = read_passphrase(opts->pass_fd, passphrase, PASSPHRASE_BYTES_MAX + 1, &n);
    if (rc == 0)
        rc = read_keyring(opts->identity_fd, &sealed, &sealed_n);
    if (rc < 0)
        return rc;
    return keyring_open_sealed(view_of(sealed, sealed_n), view_of(passphrase, n),
                               out_keyring);
}

int unlock_login(struct mount_opts *opts, struct vault *v)
{
    struct keyring *keyring = NULL;
    struct id16 user;
    int rc;

    if (opts->identity_fd < 0)
        return 0;
    rc = open_keyring(opts, &keyring);
    close(opts->identity_fd);
    close(opts->pass_fd);
    opts->identity_fd = opts->pass_fd = -1;
    if (rc == 0)
        rc = vault_login(v, VAULT_UID_ANY, keyring, PURPOSE_TREAT, &user);
    if (rc < 0) {
        fprintf(stderr, "phrfs: cannot unlock the identity of this mount: %s\n",
                phr_err_text(rc));
        return rc;
    }
    log_info("identity_unlocked", LOG_ID("user", user.b));
    return 0;
}
