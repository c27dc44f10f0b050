#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { NAMES_MAX = 4096, XATTR_ROOM = 65536, SHOWN_MAX = 20 };

struct walk {
    enum fuzz_tree how;
    int faults;
};

static void fault(struct walk *w, const char *path, const char *what)
{
    if (w->faults++ < SHOWN_MAX)
        printf("TREE %s: %s\n", path, what);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list(const char *path, char **names)
{
    struct dirent *e;
    DIR *d = opendir(path);
    int n = 0;

    if (!d)
        return -1;
    while ((e = readdir(d)) != NULL && n < NAMES_MAX) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            names[n++] = strdup(e->d_name);
    }
    closedir(d);
    qsort(names, (size_t)n, sizeof names[0], by_name);
    return n;
}

static uint8_t *read_whole(const char *path, size_t *out_n)
{
    int fd = open(path, O_RDONLY | O_NOATIME);
    uint8_t *bytes;
    struct stat st;
    size_t n = 0;

    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    bytes = malloc((size_t)st.st_size + 1);
    while (bytes && n < (size_t)st.st_size) {
        ssize_t got = pread(fd, bytes + n, (size_t)st.st_size - n, (off_t)n);

        if (got <= 0)
            break;
        n += (size_t)got;
    }
    if (n != (size_t)st.st_size) {
        free(bytes);
        bytes = NULL;
    }
    close(fd);
    *out_n = n;
    return bytes;
}

static void write_whole(const char *path, const uint8_t *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
        perror(path);
    close(fd);
}

static void compare_bytes(struct walk *w, const char *a, const char *b, ino_t ino)
{
    size_t an = 0, bn = 0;
    uint8_t *ab = read_whole(a, &an);
    uint8_t *bb = read_whole(b, &bn);
    char text[200];

    if (!ab || !bb) {
        snprintf(text, sizeof text, "cannot be read: %s", strerror(errno));
        fault(w, b, text);
    } else if (an != bn || memcmp(ab, bb, an) != 0) {
        size_t at = 0;

        while (at < an && at < bn && ab[at] == bb[at])
            at++;
        snprintf(text, sizeof text,
                 "%zu and %zu bytes, different from %zu on (%02x, %02x)", an, bn, at,
                 at < an ? ab[at] : 0U, at < bn ? bb[at] : 0U);
        if (w->how != FUZZ_TREE_AFTER_KILL || !fuzz_history_allows(ino, ab, an, bb, bn))
            fault(w, b, text);
        else
            write_whole(a, bb, bn); /* the model goes on from what is there */
    }
    free(ab);
    free(bb);
}

static uint64_t xattr_sum(const char *path)
{
    static char names[XATTR_ROOM], value[XATTR_ROOM];
    ssize_t n = llistxattr(path, names, sizeof names);
    uint64_t sum = n < 0 ? (uint64_t)errno : 0;

    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
        ssize_t got = lgetxattr(path, names + at, value, sizeof value);
        uint64_t h = 7;

        if (strcmp(names + at, "security.selinux") == 0)
            continue;
        for (const char *c = names + at; *c; c++)
            h = h * 31 + (unsigned char)*c;
        for (ssize_t i = 0; i < got; i++)
            h = h * 33 + (unsigned char)value[i];
        sum += h;
    }
    return sum;
}

static void compare_node(struct walk *w, const char *a, const char *b);

static void compare_names(struct walk *w, const char *a, const char *b)
{
    char **an = calloc(2 * NAMES_MAX, sizeof *an), **bn = an + NAMES_MAX;
    int a_count = list(a, an), b_count = list(b, bn);
    int i = 0, j = 0;

    if (a_count < 0 || b_count < 0)
        fault(w, b, "cannot be listed");
    while (i < a_count || j < b_count) {
        int order = i >= a_count ? 1 : j >= b_count ? -1 : strcmp(an[i], bn[j]);
        char *pa = NULL, *pb = NULL;

        if (asprintf(&pa, "%s/%s", a, order <= 0 ? an[i] : bn[j]) < 0 ||
            asprintf(&pb, "%s/%s", b, order <= 0 ? an[i] : bn[j]) < 0)
            abort();
        if (order == 0)
            compare_node(w, pa, pb);
        else
            fault(w, pb, order < 0 ? "is missing on the mount" : "is on the mount alone");
        i += order <= 0;
        j += order >= 0;
        free(pa);
        free(pb);
    }
    for (i = 0; i < a_count; i++)
        free(an[i]);
    for (j = 0; j < b_count; j++)
        free(bn[j]);
    free(an);
}

static void compare_node(struct walk *w, const char *a, const char *b)
{
    struct fuzz_seen sa, sb;
    struct stat x, y;
    char ta[4096] = "", tb[4096] = "", text[300];

    if (lstat(a, &x) < 0 || lstat(b, &y) < 0) {
        fault(w, b, strerror(errno));
        return;
    }
    if (S_ISREG(x.st_mode) && S_ISREG(y.st_mode))
        compare_bytes(w, a, b, x.st_ino);
    if (S_ISDIR(x.st_mode) && S_ISDIR(y.st_mode))
        compare_names(w, a, b);
    if (S_ISLNK(x.st_mode) && S_ISLNK(y.st_mode) &&
        (readlink(a, ta, sizeof ta - 1) < 0 || readlink(b, tb, sizeof tb - 1) < 0 ||
         strcmp(ta, tb) != 0))
        fault(w, b, "points elsewhere");
    fuzz_see(&x, 0, &sa);
    fuzz_see(&y, 0, &sb);
    if (w->how ==
        FUZZ_TREE_AFTER_KILL) { /* time stamps of the last seconds may be lost */
        struct timespec times[2] = { y.st_atim, y.st_mtim };

        if (utimensat(AT_FDCWD, a, times, AT_SYMLINK_NOFOLLOW) < 0)
            perror(a);
        sa.mtime_s = sb.mtime_s;
        sa.mtime_ns = sb.mtime_ns;
        sa.size = sb.size; /* compared with the bytes */
    }
    if (memcmp(&sa, &sb, sizeof sa) != 0) {
        snprintf(text, sizeof text,
                 "mode %o %o links %u %u owner %u:%u %u:%u size %" PRId64 " %" PRId64
                 " mtime %" PRId64 ".%" PRId64 " %" PRId64 ".%" PRId64,
                 sa.mode, sb.mode, sa.links, sb.links, sa.uid, sa.gid, sb.uid, sb.gid,
                 sa.size, sb.size, sa.mtime_s, sa.mtime_ns, sb.mtime_s, sb.mtime_ns);
        fault(w, b, text);
    }
    if (xattr_sum(a) != xattr_sum(b))
        fault(w, b, "has other extended attributes");
}

int fuzz_tree_compare(const char *ext4, const char *mount, enum fuzz_tree how)
{
    struct walk w = { .how = how };

    compare_node(&w, ext4, mount);
    return w.faults;
}
