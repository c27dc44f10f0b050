/*
 * One load on a file system, timed from inside, so that no interpreter and no start of a process
 * stands in a figure. Every job prints one JSON object and ends with 0, or says what failed.
 *
 *   fs_load write FILE BYTES CALL          new file, calls of CALL bytes, fsync, close
 *   fs_load read FILE CALL                 open, read to the end, close
 *   fs_load randread FILE COUNT JOBS       COUNT blocks of 4 KiB in all, none twice, by JOBS threads
 *   fs_load randwrite FILE MS              blocks of 4 KiB for MS milliseconds, then fsync
 *   fs_load create DIR FILES FOLDERS BYTES FILES files spread over FOLDERS new folders
 *   fs_load readall DIR FILES FOLDERS      the same files, whole, in the same order
 *   fs_load remove DIR FILES FOLDERS       the same files, then the folders
 *   fs_load stat DIR FILES FOLDERS         lstat(2) of each: a list of microseconds
 *   fs_load open DIR FILES FOLDERS         open(2) alone of each, after lstat of all: the same
 *   fs_load run PROGRAM [ARGUMENT...]      from fork to its end, its output thrown away
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK = 4096,
    CALL_MAX = 1 << 20,
    SMALL_CALL = 64 << 10, /* what programs that write images use */
    PATH_ROOM = 4096,
    JOBS_MAX = 16
};

#define NS_PER_S 1000000000LL

static const char *what = "start";

static void die(const char *path)
{
    fprintf(stderr, "fs_load: %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint8_t *buffer_new(size_t n)
{
    uint64_t state = 88172645463325252ULL;
    uint8_t *buffer;

    if (posix_memalign((void **)&buffer, BLOCK, n) != 0)
        die("buffer");
    for (size_t i = 0; i + 8 <= n; i += 8) {
        const uint64_t v = random_next(&state);
        memcpy(buffer + i, &v, 8);
    }
    return buffer;
}

static long long number(const char *text, long long max)
{
    char *end;
    const long long v = strtoll(text, &end, 10);

    if (*end || v < 1 || v > max) {
        errno = EINVAL;
        die(text);
    }
    return v;
}

static void print_sum(int64_t start, long long count, long long bytes)
{
    printf("{\"seconds\": %.9f, \"count\": %lld, \"bytes\": %lld}\n",
           (double)(now_ns() - start) / NS_PER_S, count, bytes);
}

static void write_all(int fd, const char *path, const uint8_t *p, size_t n)
{
    while (n > 0) {
        const ssize_t got = write(fd, p, n);

        if (got < 0)
            die(path);
        p += got;
        n -= (size_t)got;
    }
}

static long long read_all(const char *path, uint8_t *buffer, size_t call)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    long long sum = 0;
    ssize_t got;

    if (fd < 0)
        die(path);
    while ((got = read(fd, buffer, call)) > 0)
        sum += got;
    if (got < 0 || close(fd) < 0)
        die(path);
    return sum;
}

/* ---- one big file ---- */

static void job_write(char **a)
{
    const long long bytes = number(a[1], 1LL << 40);
    const size_t call = (size_t)number(a[2], CALL_MAX);
    uint8_t *buffer = buffer_new(call);
    const int64_t start = now_ns();
    const int fd = open(a[0], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        die(a[0]);
    for (long long done = 0; done < bytes; done += (long long)call)
        write_all(fd, a[0], buffer, call);
    if (fsync(fd) < 0 || close(fd) < 0)
        die(a[0]);
    print_sum(start, 1, bytes);
    free(buffer);
}

static void job_read(char **a)
{
    const size_t call = (size_t)number(a[1], CALL_MAX);
    uint8_t *buffer = buffer_new(call);
    const int64_t start = now_ns();

    print_sum(start, 1, read_all(a[0], buffer, call));
    free(buffer);
}

static long long block_count(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        die(path);
    if (st.st_size < BLOCK) {
        errno = EINVAL;
        die(path);
    }
    return st.st_size / BLOCK;
}

struct reader {
    pthread_t thread;
    const char *path;
    const uint32_t *blocks;
    size_t n;
};

static void *reader_main(void *argument)
{
    const struct reader *r = argument;
    uint8_t *buffer = buffer_new(BLOCK);
    const int fd = open(r->path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        die(r->path);
    for (size_t i = 0; i < r->n; i++)
        if (pread(fd, buffer, BLOCK, (off_t)r->blocks[i] * BLOCK) != BLOCK)
            die(r->path);
    close(fd);
    free(buffer);
    return NULL;
}

static uint32_t *blocks_shuffled(size_t n)
{
    uint32_t *blocks = calloc(n, sizeof *blocks);
    uint64_t state = 2463534242ULL;

    if (!blocks)
        die("shuffle");
    for (size_t i = 0; i < n; i++) {
        const size_t j = (size_t)(random_next(&state) % (i + 1));

        blocks[i] = blocks[j];
        blocks[j] = (uint32_t)i;
    }
    return blocks;
}

static void job_randread(char **a)
{
    const size_t all = (size_t)block_count(a[0]);
    const size_t jobs = (size_t)number(a[2], JOBS_MAX);
    size_t count = (size_t)number(a[1], 1LL << 32);
    uint32_t *blocks = blocks_shuffled(all);
    struct reader readers[JOBS_MAX];
    int64_t start;

    if (count > all)
        count = all;
    start = now_ns();
    for (size_t i = 0; i < jobs; i++) {
        readers[i] =
            (struct reader){ 0, a[0], blocks + i * (count / jobs), count / jobs };
        errno = pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]);
        if (errno)
            die("thread");
    }
    for (size_t i = 0; i < jobs; i++)
        pthread_join(readers[i].thread, NULL);
    count -= count % jobs;
    print_sum(start, (long long)count, (long long)count * BLOCK);
    free(blocks);
}

static void job_randwrite(char **a)
{
    const uint64_t all = (uint64_t)block_count(a[0]);
    const int64_t ns = number(a[1], 1000000) * 1000000;
    uint8_t *buffer = buffer_new(BLOCK);
    const int64_t start = now_ns();
    const int fd = open(a[0], O_WRONLY | O_CLOEXEC);
    uint64_t state = 4101842887655102017ULL;
    long long count = 0;

    if (fd < 0)
        die(a[0]);
    for (; now_ns() - start < ns; count++)
        if (pwrite(fd, buffer, BLOCK, (off_t)(random_next(&state) % all) * BLOCK) !=
            BLOCK)
            die(a[0]);
    if (fsync(fd) < 0 || close(fd) < 0)
        die(a[0]);
    print_sum(start, count, count * BLOCK);
    free(buffer);
}

/* ---- many files ---- */

struct tree {
    const char *dir;
    long long files, folders;
    char path[PATH_ROOM];
};

static struct tree tree_of(char **a)
{
    return (struct tree){ a[0], number(a[1], 100000000), number(a[2], 10000000), "" };
}

static const char *tree_folder(struct tree *t, long long i)
{
    if (snprintf(t->path, sizeof t->path, "%s/d%06lld", t->dir, i) >=
        (int)sizeof t->path)
        exit(2);
    return t->path;
}

/* Folder by folder, as a person's programs make them. */
static const char *tree_file(struct tree *t, long long i)
{
    if (snprintf(t->path, sizeof t->path, "%s/d%06lld/file%07lld", t->dir,
                 i * t->folders / t->files, i) >= (int)sizeof t->path)
        exit(2);
    return t->path;
}

static void job_create(char **a)
{
    struct tree t = tree_of(a);
    const size_t bytes = (size_t)number(a[3], 1 << 30);
    uint8_t *buffer = buffer_new(SMALL_CALL);
    const int64_t start = now_ns();

    for (long long i = 0; i < t.folders; i++)
        if (mkdir(tree_folder(&t, i), 0755) < 0)
            die(t.path);
    for (long long i = 0; i < t.files; i++) {
        const int fd = open(tree_file(&t, i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        if (fd < 0)
            die(t.path);
        for (size_t done = 0; done < bytes; done += SMALL_CALL)
            write_all(fd, t.path, buffer,
                      bytes - done < SMALL_CALL ? bytes - done : SMALL_CALL);
        if (close(fd) < 0)
            die(t.path);
    }
    print_sum(start, t.files, t.files * (long long)bytes);
    free(buffer);
}

static void job_readall(char **a)
{
    struct tree t = tree_of(a);
    uint8_t *buffer = buffer_new(SMALL_CALL);
    const int64_t start = now_ns();
    long long bytes = 0;

    for (long long i = 0; i < t.files; i++)
        bytes += read_all(tree_file(&t, i), buffer, SMALL_CALL);
    print_sum(start, t.files, bytes);
    free(buffer);
}

static void job_remove(char **a)
{
    struct tree t = tree_of(a);
    const int64_t start = now_ns();

    for (long long i = 0; i < t.files; i++)
        if (unlink(tree_file(&t, i)) < 0)
            die(t.path);
    for (long long i = 0; i < t.folders; i++)
        if (rmdir(tree_folder(&t, i)) < 0)
            die(t.path);
    print_sum(start, t.files, 0);
}

static void stat_all(struct tree *t, double *us)
{
    for (long long i = 0; i < t->files; i++) {
        const char *path = tree_file(t, i);
        const int64_t start = now_ns();
        struct stat st;

        if (lstat(path, &st) < 0)
            die(path);
        us[i] = (double)(now_ns() - start) / 1000;
    }
}

static void print_list(const double *us, long long n)
{
    printf("{\"us\": [");
    for (long long i = 0; i < n; i++)
        printf("%s%.2f", i ? ", " : "", us[i]);
    printf("]}\n");
}

static void job_stat(char **a)
{
    struct tree t = tree_of(a);
    double *us = calloc((size_t)t.files, sizeof *us);

    if (!us)
        die("times");
    stat_all(&t, us);
    print_list(us, t.files);
    free(us);
}

static void job_open(char **a)
{
    struct tree t = tree_of(a);
    double *us = calloc((size_t)t.files, sizeof *us);

    if (!us)
        die("times");
    stat_all(&t, us); /* names and attributes are warm, which is no part of an open */
    for (long long i = 0; i < t.files; i++) {
        const char *path = tree_file(&t, i);
        const int64_t start = now_ns();
        const int fd = open(path, O_RDONLY | O_CLOEXEC);

        us[i] = (double)(now_ns() - start) / 1000;
        if (fd < 0 || close(fd) < 0)
            die(path);
    }
    print_list(us, t.files);
    free(us);
}

/* ---- programs ---- */

static void job_run(char **a)
{
    const int64_t start = now_ns();
    const pid_t pid = fork();
    int status;

    if (pid < 0)
        die(a[0]);
    if (pid == 0) {
        const int null = open("/dev/null", O_RDWR);

        if (null < 0 || dup2(null, STDOUT_FILENO) < 0)
            _exit(126);
        execvp(a[0], a);
        _exit(127);
    }
    if (waitpid(pid, &status, 0) < 0)
        die(a[0]);
    if (status != 0) {
        fprintf(stderr, "fs_load: %s ended with status %d\n", a[0], status);
        exit(1);
    }
    print_sum(start, 1, 0);
}

static const struct {
    const char *name;
    int words; /* at least, for run */
    void (*job)(char **);
} jobs[] = {
    { "write", 3, job_write },       { "read", 2, job_read },
    { "randread", 3, job_randread }, { "randwrite", 2, job_randwrite },
    { "create", 4, job_create },     { "readall", 3, job_readall },
    { "remove", 3, job_remove },     { "stat", 3, job_stat },
    { "open", 3, job_open },         { "run", 1, job_run },
};

int main(int argc, char *argv[])
{
    for (size_t i = 0; argc > 1 && i < sizeof jobs / sizeof *jobs; i++) {
        const int words = argc - 2;

        what = jobs[i].name;
        if (strcmp(argv[1], what) != 0)
            continue;
        if (words != jobs[i].words && !(jobs[i].job == job_run && words > 0))
            break;
        jobs[i].job(argv + 2);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    fprintf(stderr, "usage: fs_load JOB WORDS: see the top of fs_load.c\n");
    return 2;
}
