#include "twin.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAST_ENTRIES = 5000, LONG_ENTRIES = 50000 };

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(DIR *d, char **names, int room, int *out_dots)
{
    struct dirent *e;
    int n = 0;

    *out_dots = 0;
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            (*out_dots)++;
        else if (n < room)
            names[n++] = strdup(e->d_name);
    }
    qsort(names, (size_t)n, sizeof names[0], by_name);
    return n;
}

static void list(const char *label, const char *path)
{
    static char *names[LONG_ENTRIES + 100];
    DIR *d = opendir(path);
    uint64_t h = 7;
    int dots, n, twice = 0;

    if (!d) {
        twin_result(label, -1, errno);
        return;
    }
    n = read_names(d, names, LONG_ENTRIES + 100, &dots);
    for (int i = 0; i < n; i++) {
        twice += i > 0 && strcmp(names[i], names[i - 1]) == 0;
        for (const char *c = names[i]; *c; c++)
            h = h * 31 + (unsigned char)*c;
    }
    for (int i = 0; i < n; i++)
        free(names[i]);
    twin_line(label, "%d names, %d dots, %d twice, %016jx", n, dots, twice, (uintmax_t)h);
    closedir(d);
}

static void fill(const char *path, int from, int to)
{
    char name[64];

    for (int i = from; i < to; i++) {
        int fd;

        snprintf(name, sizeof name, "%s/entry-%06d", path, i);
        fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
        if (fd < 0) {
            twin_result(name, -1, errno);
            return;
        }
        close(fd);
    }
}

static void empty(const char *path, int from, int to, int step)
{
    char name[64];

    for (int i = from; i < to; i += step) {
        snprintf(name, sizeof name, "%s/entry-%06d", path, i);
        if (unlink(name) < 0) {
            twin_result(name, -1, errno);
            return;
        }
    }
}

static void big(int entries)
{
    TRY(mkdir("d", 0755));
    fill("d", 0, entries);
    list("full", "d");
    twin_show("d");
    TRY(rmdir("d"));
    empty("d", 0, entries, 2);
    list("half", "d");
    fill("d", entries, entries + 10);
    empty("d", 1, entries, 2);
    list("ten", "d");
    empty("d", entries, entries + 10, 1);
    list("none", "d");
    TRY(rmdir("d"));
}

static void dirs_big(void)
{
    big(FAST_ENTRIES);
}

static void dirs_huge(void)
{
    big(LONG_ENTRIES);
}

/* What was there all the time is listed once, whatever comes and goes meanwhile. */
static void dirs_while_changing(void)
{
    static char seen[2000];
    struct dirent *e;
    int step = 0, missing = 0, twice = 0, stayed = 0;
    char name[64];
    DIR *d;

    TRY(mkdir("d", 0755));
    fill("d", 0, 2000);
    d = opendir("d");
    while ((e = readdir(d)) != NULL) {
        int i = e->d_name[0] == 'e' ? (int)strtol(e->d_name + 6, NULL, 10) : -1;

        if (i >= 0 && i < 2000) {
            twice += seen[i];
            seen[i] = 1;
        }
        if (step <
            600) { /* one goes, one comes: the goers are those with an odd number */
            snprintf(name, sizeof name, "d/entry-%06d", step * 2 + 1);
            unlink(name);
            snprintf(name, sizeof name, "d/later-%06d", step);
            close(open(name, O_CREAT | O_WRONLY, 0644));
        }
        step++;
    }
    closedir(d);
    for (int i = 0; i < 2000; i++) {
        if (i % 2 == 0 || i > 1200) {
            stayed++;
            missing += !seen[i];
        }
    }
    twin_line("stayed", "%d, %d missing, %d twice", stayed, missing, twice);
    list("afterwards", "d");
}

static void dirs_positions(void)
{
    enum { N = 700 };
    static long places[N];
    static char names[N][64];
    struct dirent *e;
    int n = 0, wrong = 0;
    char text[80];
    DIR *d;

    TRY(mkdir("d", 0755));
    fill("d", 0, N - 10);
    d = opendir("d");
    for (; n < N; n++) {
        places[n] = telldir(d);
        e = readdir(d);
        if (!e)
            break;
        memcpy(names[n], e->d_name, strlen(e->d_name) + 1);
    }
    twin_line("entries", "%d", n);
    for (int i = n - 1; i >= 0; i -= 7) {
        seekdir(d, places[i]);
        e = readdir(d);
        wrong += !e || strcmp(e->d_name, names[i]) != 0;
    }
    twin_line("wrong after seekdir", "%d", wrong);
    snprintf(text, sizeof text, "d/%s", names[100]);
    TRY(unlink(text) * 0);
    fill("d", 900, 950);
    wrong = 0;
    for (int i = n - 1; i >= 0; i -= 7) {
        if (i == 100)
            continue;
        seekdir(d, places[i]);
        e = readdir(d);
        wrong += !e || strcmp(e->d_name, names[i]) != 0;
    }
    twin_line("wrong after changes", "%d", wrong);
    rewinddir(d);
    for (n = 0; readdir(d) != NULL; n++)
        continue;
    twin_line("after rewinddir", "%d", n);
    closedir(d);
}

static void dirs_types(void)
{
    struct dirent *e;
    int wrong = 0, n = 0;
    DIR *d;

    twin_touch("f", 0644);
    TRY(mkdir("d", 0755));
    TRY(symlink("f", "s"));
    TRY(mkfifo("p", 0600));
    TRY(mknod("k", S_IFSOCK | 0600, 0));
    d = opendir(".");
    while ((e = readdir(d)) != NULL) {
        struct stat st;

        if (strcmp(e->d_name, "..") == 0)
            continue;
        if (lstat(e->d_name, &st) < 0)
            twin_result(e->d_name, -1, errno);
        wrong +=
            st.st_ino != e->d_ino || (e->d_type != DT_UNKNOWN &&
                                      (mode_t)DTTOIF(e->d_type) != (st.st_mode & S_IFMT));
        n++;
    }
    twin_line("entries", "%d, %d with a wrong type or inode", n, wrong);
    closedir(d);
}

static void dirs_removed(void)
{
    DIR *d;
    int n = 0;

    TRY(mkdir("d", 0755));
    fill("d", 0, 10);
    d = opendir("d");
    TRY(readdir(d) != NULL);
    empty("d", 0, 10, 1);
    TRY(rmdir("d"));
    errno = 0;
    while (readdir(d) != NULL)
        n++;
    twin_line("rest of a removed directory", "%s",
              n <= 11 && errno == 0 ? "ends" : strerrorname_np(errno));
    rewinddir(d);
    errno = 0;
    TRY(readdir(d) != NULL);
    twin_line("errno", "%d", errno);
    closedir(d);
}

static void dirs_deep(void)
{
    int depth = 0;

    for (; depth < 200; depth++) {
        if (mkdir("d", 0755) < 0 || chdir("d") < 0)
            break;
    }
    twin_line("levels", "%d", depth);
    twin_touch("f", 0644);
    for (; depth > 150; depth--) {
        if (chdir("..") < 0)
            twin_result("up", -1, errno);
    }
    TRY(rename("d", "e"));
    TRY(access("e/d/d/d/d/d/d/d/d/d/d/d/d", F_OK));
}

const struct twin_body twin_dirs_bodies[] = {
    { .name = "dirs_big", .run = dirs_big },
    { .name = "dirs_while_changing", .run = dirs_while_changing },
    { .name = "dirs_positions", .run = dirs_positions },
    { .name = "dirs_types", .run = dirs_types },
    { .name = "dirs_removed", .run = dirs_removed },
    { .name = "dirs_deep", .run = dirs_deep },
    { .name = "dirs_huge", .run = dirs_huge, .is_long = true },
    { .name = NULL },
};
