#include "sidecar/credentials.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cursor.h"
#include "base/fdio.h"
#include "base/secret.h"

enum { SECRET_KEY_BYTES_MAX = 256 };

struct line {
    struct view name;
    struct view value;
};

static struct view trim(struct view v)
{
    while (v.n > 0 && (v.p[0] == ' ' || v.p[0] == '\t')) {
        v.p++;
        v.n--;
    }
    while (v.n > 0 && (v.p[v.n - 1] == ' ' || v.p[v.n - 1] == '\t' || v.p[v.n - 1] == '\r'))
        v.n--;
    return v;
}

/* False at the end of the text. A line without `=` has an empty name. */
static bool next_line(struct view *io_text, struct line *out_line)
{
    const uint8_t *end;
    const uint8_t *equals;
    struct view line;

    if (io_text->n == 0)
        return false;
    end = memchr(io_text->p, '\n', io_text->n);
    line.p = io_text->p;
    line.n = end ? (size_t)(end - io_text->p) : io_text->n;
    io_text->p += line.n;
    io_text->n -= line.n;
    if (end) {
        io_text->p++;
        io_text->n--;
    }
    line = trim(line);
    equals = line.n > 0 ? memchr(line.p, '=', line.n) : NULL;
    out_line->name = view_of(line.p, 0);
    out_line->value = line;
    if (equals) {
        size_t n = (size_t)(equals - line.p);

        out_line->name = trim(view_of(line.p, n));
        out_line->value = trim(view_of(equals + 1, line.n - n - 1));
    }
    return true;
}

/* Printable ASCII only: it becomes part of a header. */
static bool is_plain(struct view v)
{
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] <= ' ' || v.p[i] > '~')
            return false;
    }
    return v.n > 0;
}

static int take_secret(struct view value, size_t max, char **io_slot)
{
    if (*io_slot || !is_plain(value) || value.n > max)
        return PHR_E_FORMAT;
    *io_slot = secret_alloc(value.n + 1);
    if (!*io_slot)
        return -ENOMEM;
    memcpy(*io_slot, value.p, value.n);
    (*io_slot)[value.n] = '\0';
    return 0;
}

static int take_line(struct credentials *c, const struct line *line)
{
    if (line->name.n == 0)
        return line->value.n == 0 || line->value.p[0] == '#' ? 0 : PHR_E_FORMAT;
    if (line->name.p[0] == '#')
        return 0;
    if (view_equal(line->name, view_text("secret_key")))
        return take_secret(line->value, SECRET_KEY_BYTES_MAX, &c->secret_key);
    if (view_equal(line->name, view_text("session_token")))
        return take_secret(line->value, CREDENTIALS_TOKEN_BYTES_MAX, &c->session_token);
    if (!view_equal(line->name, view_text("access_key")) || c->access_key[0] != '\0')
        return PHR_E_FORMAT;
    if (!is_plain(line->value) || line->value.n >= sizeof c->access_key)
        return PHR_E_FORMAT;
    memcpy(c->access_key, line->value.p, line->value.n);
    return 0;
}

int credentials_parse(struct view text, struct credentials **out_credentials)
{
    scoped(credentials_free) struct credentials *c = calloc(1, sizeof *c);
    struct line line;

    if (!c)
        return -ENOMEM;
    while (next_line(&text, &line)) {
        int rc = take_line(c, &line);

        if (rc < 0)
            return rc;
    }
    if (c->access_key[0] == '\0' || !c->secret_key)
        return PHR_E_FORMAT;
    *out_credentials = give(c);
    return 0;
}

void credentials_free(struct credentials *c)
{
    if (!c)
        return;
    secret_free(c->secret_key);
    secret_free(c->session_token);
    free(c);
}

/* What systemd's LoadCredential= hands over has the mask of its ACL as group bits. */
static bool is_systemd_credential(const char *path)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    size_t n = dir ? strlen(dir) : 0;

    return n > 1 && strncmp(path, dir, n) == 0 && path[n] == '/' && !strstr(path, "..");
}

int credentials_load(const char *path, struct credentials **out_credentials, char *out_why,
                     size_t why_bytes)
{
    scoped(close_fd) int fd = -1;
    scoped(secret_free) uint8_t *text = NULL;
    struct stat st;
    int rc = fdio_open(AT_FDCWD, path, O_RDONLY, 0, &fd);

    if (rc == 0 && fstat(fd, &st) < 0)
        rc = -errno;
    if (rc < 0) {
        snprintf(out_why, why_bytes, "credentials: %s", phr_err_text(rc));
        return rc;
    }
    if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) ||
        ((st.st_mode & 077) && !is_systemd_credential(path))) {
        snprintf(out_why, why_bytes,
                 "credentials: the file must be ours and closed to others (chmod 600)");
        return PHR_E_CONFIG;
    }
    if (st.st_size <= 0 || st.st_size > CREDENTIALS_BYTES_MAX) {
        snprintf(out_why, why_bytes, "credentials: the file is empty or too long");
        return PHR_E_CONFIG;
    }
    text = secret_alloc((size_t)st.st_size);
    if (!text)
        return -ENOMEM;
    rc = fdio_pread_all(fd, text, (size_t)st.st_size, 0);
    if (rc == 0)
        rc = credentials_parse(view_of(text, (size_t)st.st_size), out_credentials);
    if (rc == PHR_E_FORMAT) {
        snprintf(out_why, why_bytes,
                 "credentials: expected lines access_key=, secret_key= and maybe session_token=");
        return PHR_E_CONFIG;
    }
    return rc;
}
