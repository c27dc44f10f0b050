#include "utab.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/fdio.h"

enum { UTAB_BYTES_MAX = 4 * 1024 * 1024 };
static const char run_key[] = " ATTRS=phrfs.run=";

/* As mntent does: octal for what separates fields and lines. */
static void put_mangled(struct writer *w, const char *text)
{
    for (; *text; text++) {
        if (strchr(" \t\n\\", *text)) {
            char octal[8];

            snprintf(octal, sizeof octal, "\\%03o", (unsigned)(unsigned char)*text);
            writer_text(w, octal);
        } else {
            writer_u8(w, (uint8_t)*text);
        }
    }
}

static bool is_line_of(struct view line, const char *dir)
{
    scoped(writer_fini) struct writer key;
    struct view want;

    writer_init(&key);
    writer_text(&key, " TARGET=");
    put_mangled(&key, dir);
    writer_u8(&key, ' ');
    want = writer_done(&key);
    return writer_ok(&key) && memmem(line.p, line.n, want.p, want.n) != NULL;
}

static struct view next_line(struct reader *r)
{
    const uint8_t *end = memchr(r->p, '\n', r->left);

    return reader_view(r, end ? (size_t)(end - r->p) + 1 : r->left);
}

/* The table without the lines of dir. */
static int load_others(int run_mount, const char *dir, struct writer *out)
{
    scoped(free) uint8_t *bytes = NULL;
    struct reader r;
    size_t n = 0;
    int rc = fdio_load(run_mount, "utab", UTAB_BYTES_MAX, &bytes, &n);

    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return rc;
    r = reader_over(view_of(bytes, n));
    while (r.left > 0) {
        struct view line = next_line(&r);

        if (!is_line_of(line, dir))
            writer_view(out, line);
    }
    return writer_ok(out) ? 0 : -ENOMEM;
}

static int rewrite(const char *dir, const char *source, const char *run)
{
    scoped(close_fd) int run_mount = -1;
    scoped(close_fd) int held = -1;
    scoped(writer_fini) struct writer table;
    int rc;

    writer_init(&table);
    if (fdio_open_dir(AT_FDCWD, "/run/mount", &run_mount) < 0)
        return 0; /* nobody reads such a table here */
    rc = fdio_open(run_mount, "utab.lock", O_RDWR | O_CREAT, 0644, &held);
    if (rc == 0 &&
        flock(held, LOCK_EX) < 0) /* libmount's own lock: held for an instant */
        rc = -errno;
    if (rc == 0)
        rc = load_others(run_mount, dir, &table);
    if (rc < 0)
        return rc;
    if (source) {
        writer_text(&table, "SRC=");
        put_mangled(&table, source);
        writer_text(&table, " TARGET=");
        put_mangled(&table, dir);
        writer_text(&table, " ROOT=/");
        writer_text(&table, run_key);
        put_mangled(&table, run);
        writer_text(&table, " OPTS=helper=phrfs\n");
    }
    if (!writer_ok(&table))
        return -ENOMEM;
    return fdio_save(run_mount, "utab", writer_done(&table), 0644);
}

int utab_add(const char *dir, const char *source, const char *run)
{
    return rewrite(dir, source, run);
}

int utab_remove(const char *dir)
{
    return rewrite(dir, NULL, NULL);
}

static bool is_octal(const uint8_t *p)
{
    return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' && p[2] <= '7';
}

/* One field up to its space, octal undone. */
static int demangle(struct view field, char *out, size_t room)
{
    size_t n = 0;

    for (size_t i = 0; i < field.n && field.p[i] != ' ' && field.p[i] != '\n'; i++) {
        unsigned c = field.p[i];

        if (c == '\\' && i + 3 < field.n && is_octal(field.p + i + 1)) {
            c = (unsigned)(field.p[i + 1] - '0') << 6 | (unsigned)(field.p[i + 2] - '0') << 3 |
                (unsigned)(field.p[i + 3] - '0');
            i += 3;
        }
        if (n + 1 >= room)
            return PHR_E_LIMIT;
        if (c == 0)
            return PHR_E_FORMAT; /* of a path */
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return n > 0 ? 0 : -ENOENT;
}

int utab_parse_run(struct view table, const char *dir, char *out_run, size_t room)
{
    struct reader r = reader_over(table);

    while (r.left > 0) {
        struct view line = next_line(&r);
        const uint8_t *at = memmem(line.p, line.n, run_key, sizeof run_key - 1);

        if (!is_line_of(line, dir) || !at)
            continue;
        at += sizeof run_key - 1;
        return demangle(view_of(at, (size_t)(line.p + line.n - at)), out_run, room);
    }
    return -ENOENT;
}

int utab_find_run(const char *dir, char *out_run, size_t room)
{
    scoped(free) uint8_t *bytes = NULL;
    size_t n = 0;
    int rc = fdio_load(AT_FDCWD, "/run/mount/utab", UTAB_BYTES_MAX, &bytes, &n);

    return rc < 0 ? rc : utab_parse_run(view_of(bytes, n), dir, out_run, room);
}
