#include "twin.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static uint8_t bytes[1 << 20];

static void data_truncate(void)
{
    static const off_t sizes[] = { 10000, 5000, 4096,   8192,  4095,  4097,
                                   0,     1,    300000, 65536, 65537, 100 };
    int fd;

    twin_write_file("f", 20000, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        TRY(truncate("f", sizes[i]));
        twin_digest("f");
        twin_show("f");
    }
    fd = FD(open("f", O_RDWR));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        twin_fill(bytes, 30000, (unsigned)i);
        TRY(pwrite(fd, bytes, 30000, (off_t)(i * 777)));
        TRY(ftruncate(fd, sizes[i]));
        twin_digest_fd("written and cut", fd);
        TRY(ftruncate(fd, sizes[i] + 9000));
        twin_digest_fd("and stretched", fd);
    }
    TRY(close(fd));
    twin_digest("f");
    TRY(truncate("f", -1));
    TRY(truncate("none", 0));
    TRY(truncate(".", 0));
    TRY(truncate("f/x", 0));
    TRY(truncate("f", (off_t)1 << 40));
    twin_show("f");
    fd = FD(open("f", O_RDWR));
    TRY(pwrite(fd, "far", 3, ((off_t)1 << 39) + 5));
    TRY(pread(fd, bytes, 10, ((off_t)1 << 39) + 1));
    twin_line("far bytes", "%02x %02x %02x %02x %02x", bytes[0], bytes[3], bytes[4],
              bytes[6], bytes[7]);
    TRY(ftruncate(fd, 7));
    TRY(close(fd));
    twin_digest("f");
}

static void data_edges(void)
{
    char *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char room[16];
    int fd = FD(open("f", O_CREAT | O_RDWR, 0644));

    TRY(pwrite(fd, "x", 1, -1));
    TRY(pread(fd, room, 1, -1));
    TRY(pread(fd, room, sizeof room, 0));
    TRY(pread(fd, room, sizeof room, (off_t)1 << 50));
    TRY(lseek(fd, -1, SEEK_SET));
    TRY(lseek(fd, 0, 99));
    TRY(lseek(fd, 100, SEEK_END));
    TRY(write(fd, "past the end", 12));
    twin_digest_fd("a gap", fd);
    TRY(write(fd, room, 0));
    TRY(read(fd, room, 0));
    TRY(pread(fd, nowhere, 4, 0));
    TRY(pwrite(fd, nowhere, 4, 0));
    TRY(lseek(fd, LLONG_MAX, SEEK_SET));
    TRY(write(fd, "x", 1));
    TRY(ftruncate(fd, LLONG_MAX));
    TRY(close(fd));
    twin_show("f");
}

static void data_file_size_limit(void)
{
    struct rlimit limit = { 10000, 10000 };
    int fd = FD(open("f", O_CREAT | O_RDWR, 0644));

    signal(SIGXFSZ, SIG_IGN);
    TRY(setrlimit(RLIMIT_FSIZE, &limit));
    TRY(pwrite(fd, bytes, 20000, 0));
    TRY(pwrite(fd, bytes, 1, 10000));
    TRY(ftruncate(fd, 10001));
    TRY(ftruncate(fd, 10000));
    TRY(fallocate(fd, 0, 0, 20000));
    twin_show("f");
}

static void data_vectors(void)
{
    uint8_t a[3000], b[5000];
    struct iovec parts[3] = { { a, sizeof a }, { b, sizeof b }, { bytes, 100000 } };
    int fd = FD(open("f", O_CREAT | O_RDWR, 0644));

    twin_fill(a, sizeof a, 1);
    twin_fill(b, sizeof b, 2);
    twin_fill(bytes, 100000, 3);
    TRY(writev(fd, parts, 3));
    TRY(pwritev(fd, parts, 2, 50000));
    twin_digest_fd("vectors", fd);
    TRY(preadv(fd, parts, 3, 1234));
    TRY(pwritev2(fd, parts, 1, 777, RWF_SYNC));
    TRY(pwritev2(fd, parts, 1, 0, RWF_APPEND));
    twin_digest_fd("vectors", fd);
}

static void data_sync(void)
{
    int fd = FD(open("f", O_CREAT | O_RDWR | O_SYNC, 0644));

    TRY(write(fd, "sync", 4));
    TRY(ftruncate(fd, 2));
    TRY(write(fd, "sync", 4));
    twin_digest_fd("O_SYNC", fd);
    TRY(close(fd));
    fd = FD(open("g", O_CREAT | O_RDWR | O_DSYNC, 0644));
    twin_fill(bytes, 100000, 1);
    TRY(write(fd, bytes, 100000));
    TRY(pwrite(fd, bytes, 1000, 500));
    twin_digest_fd("O_DSYNC", fd);
    TRY(fsync(fd));
    TRY(fdatasync(fd));
    TRY(syncfs(fd));
    TRY(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
    TRY(close(fd));
    fd = FD(open(".", O_RDONLY | O_DIRECTORY));
    TRY(fsync(fd));
    TRY(fdatasync(fd));
    TRY(close(fd));
    TRY(mkfifo("p", 0600));
    fd = FD(open("p", O_RDWR));
    TRY(fsync(fd));
}

static void data_direct(void)
{
    uint8_t *room = aligned_alloc(4096, 65536);
    int fd = FD(open("f", O_CREAT | O_RDWR | O_DIRECT, 0644));
    int cached = FD(open("f", O_RDWR));

    twin_fill(room, 65536, 1);
    TRY(pwrite(fd, room, 65536, 0));
    twin_digest_fd("cached after direct", cached);
    twin_fill(bytes, 5000, 2);
    TRY(pwrite(cached, bytes, 5000, 3000));
    TRY(pread(fd, room, 65536, 0));
    twin_line("direct after cached", "%d", memcmp(room + 3000, bytes, 5000));
    TRY(pwrite(fd, room, 4096, 8192));
    twin_digest_fd("cached after direct", cached);
    TRY(pread(fd, room, 4096, 65536));
    TRY(pread(fd, room, 8192, 61440));
    TRY(ftruncate(fd, 1000));
    TRY(pread(fd, room, 4096, 0));
    free(room);
}

static void copy(const char *label, int from, off_t from_at, int to, off_t to_at,
                 size_t n)
{
    ssize_t got = copy_file_range(from, &from_at, to, &to_at, n, 0);

    twin_result(label, got, got < 0 ? errno : 0);
}

static void data_copy_file_range(void)
{
    int from, to, dir;

    twin_write_file("f", 100000, 1);
    from = FD(open("f", O_RDWR));
    to = FD(open("g", O_CREAT | O_RDWR, 0644));
    copy("all", from, 0, to, 0, 100000);
    twin_digest("g");
    copy("more than there is", from, 50000, to, 1000, 1000000);
    copy("behind the end", from, 100000, to, 0, 10);
    copy("far behind the end", from, (off_t)1 << 40, to, 0, 10);
    copy("nothing", from, 0, to, 0, 0);
    copy("unaligned", from, 333, to, 7777, 55555);
    twin_digest("g");
    copy("absurd", from, 0, to, 0, SIZE_MAX);
    copy("half absurd", from, 0, to, 0, SSIZE_MAX);
    copy("2 GiB", from, 0, to, 0, (size_t)1 << 31);
    copy("4 GiB", from, 0, to, 0, (size_t)1 << 32);
    copy("from -1", from, -1, to, 0, 10);
    copy("overlapping itself", from, 0, from, 500, 1000);
    copy("within itself", from, 0, from, 200000, 1000);
    twin_digest("f");
    copy("far away", from, 0, to, (off_t)1 << 33, 100);
    twin_show("g");
    TRY(copy_file_range(from, NULL, to, NULL, 100, 1));
    TRY(close(to));
    to = FD(open("g", O_RDONLY));
    copy("into read-only", from, 0, to, 0, 10);
    TRY(close(to));
    to = FD(open("g", O_RDWR | O_APPEND));
    copy("into O_APPEND", from, 0, to, 0, 10);
    dir = FD(open(".", O_RDONLY | O_DIRECTORY));
    copy("from a directory", dir, 0, to, 0, 10);
    TRY(close(to));
    to = FD(open("h", O_CREAT | O_RDWR, 0644));
    TRY(sendfile(to, from, NULL, 300000));
    twin_digest("h");
    to = FD(open("../other/posix-copy", O_CREAT | O_RDWR | O_TRUNC, 0644));
    copy("into another compartment", from, 0, to, 0, 5000);
    TRY(unlink("../other/posix-copy"));
}

const struct twin_body twin_data_bodies[] = {
    { .name = "data_truncate", .run = data_truncate },
    { .name = "data_edges", .run = data_edges },
    { .name = "data_file_size_limit", .run = data_file_size_limit },
    { .name = "data_vectors", .run = data_vectors },
    { .name = "data_sync", .run = data_sync },
    { .name = "data_direct", .run = data_direct },
    { .name = "data_copy_file_range", .run = data_copy_file_range },
    { .name = NULL },
};
