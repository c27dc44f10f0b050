#include "twin.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

static int set_times(const char *path, long a_s, long a_ns, long m_s, long m_ns)
{
    struct timespec times[2] = { { .tv_sec = a_s, .tv_nsec = a_ns },
                                 { .tv_sec = m_s, .tv_nsec = m_ns } };

    return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static void show_times(const char *label, const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        twin_result(label, -1, errno);
    else
        twin_line(label, "atime %jd.%09ld mtime %jd.%09ld", (intmax_t)st.st_atim.tv_sec,
                  st.st_atim.tv_nsec, (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* ext4 with 256-byte inodes reaches from 1901 to 2446, and clamps what lies beyond. */
static void times_explicit(void)
{
    static const long seconds[] = {
        0,           1,          -1,          1000000000, 2147483647,
        2147483648,  4102444800, 4294967295,  4294967296, 15032385535,
        -2147483648, -86400,     -1000000000,
    };
    char label[64];

    twin_touch("f", 0644);
    TRY(mkdir("d", 0755));
    TRY(symlink("f", "s"));
    TRY(mkfifo("p", 0644));
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++) {
        snprintf(label, sizeof label, "%ld s", seconds[i]);
        TRY(set_times("f", seconds[i], 999999999, seconds[i], 1));
        show_times(label, "f");
        TRY(set_times("d", seconds[i], 0, seconds[i], 123456789));
        show_times(label, "d");
    }
    TRY(set_times("s", 5, 6, 7, 8));
    show_times("the link", "s");
    TRY(set_times("p", 9, 10, 11, 12));
    show_times("the fifo", "p");
    TRY(set_times("f", 1, 1000000000, 1, 0));
    TRY(set_times("f", 1, -1, 1, 0));
    TRY(set_times("none", 1, 0, 1, 0));
    TRY(set_times("f", 77, UTIME_OMIT, 88, 99));
    show_times("atime omitted", "f");
    TRY(set_times("f", 11, 22, 88, UTIME_OMIT));
    show_times("mtime omitted", "f");
    MOVES("f", set_times("f", 0, UTIME_OMIT, 0, UTIME_OMIT));
    MOVES("f", set_times("f", 0, UTIME_NOW, 0, UTIME_OMIT));
    MOVES("f", set_times("f", 0, UTIME_OMIT, 0, UTIME_NOW));
    MOVES("f", utimensat(AT_FDCWD, "f", NULL, 0));
    MOVES("d", utimensat(AT_FDCWD, "d", NULL, 0));
    TRY(set_times("f", 100, 5, 200, 6));
    MOVES("f", set_times("f", 100, 5, 200, 6));
}

static void times_rights(void)
{
    TRY(chmod(".", 0777));
    twin_touch("f", 0666);
    twin_touch("ro", 0644);
    AS(USER_A, GROUP_A)
    {
        TRY(utimensat(AT_FDCWD, "f", NULL, 0));
        TRY(set_times("f", 0, UTIME_NOW, 0, UTIME_NOW));
        TRY(set_times("f", 0, UTIME_OMIT, 0, UTIME_NOW));
        TRY(set_times("f", 1, 0, 1, 0));
        TRY(set_times("f", 0, UTIME_OMIT, 0, UTIME_OMIT));
        TRY(utimensat(AT_FDCWD, "ro", NULL, 0));
        TRY(set_times("ro", 1, 0, 1, 0));
        twin_touch("a", 0400);
        TRY(set_times("a", 1, 0, 1, 0));
        TRY(utimensat(AT_FDCWD, "a", NULL, 0));
    }
}

static void times_of_files(void)
{
    char room[8];
    int fd;

    twin_write_file("f", 10000, 1);
    TRY(mkdir("d", 0755));
    MOVES("f", chmod("f", 0600));
    MOVES("f", chown("f", 1, 1));
    MOVES("f", chown("f", (uid_t)-1, (gid_t)-1));
    MOVES("f", link("f", "g"));
    MOVES("f", unlink("g"));
    MOVES("f", rename("f", "h"));
    rename("h", "f");
    MOVES("f", truncate("f", 5000));
    MOVES("f", truncate("f", 5000));
    MOVES("f", truncate("f", 6000));
    MOVES("f", truncate("f", 0));
    MOVES("f", truncate("f", 0));
    MOVES("f", close(open("f", O_WRONLY | O_TRUNC)));
    MOVES("f", close(open("f", O_WRONLY | O_CREAT, 0600)));
    fd = FD(open("f", O_RDWR));
    MOVES("f", write(fd, "data", 4));
    MOVES("f", write(fd, "data", 4));
    MOVES("f", write(fd, "", 0));
    MOVES("f", ftruncate(fd, 3));
    MOVES("f", ftruncate(fd, 3));
    MOVES("f", fallocate(fd, 0, 0, 10000));
    MOVES("f", fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20000));
    MOVES("f", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    MOVES("f", fsync(fd));
    MOVES("f", fchmod(fd, 0644));
    MOVES("f", write(fd, "late", 4));
    MOVES("f", close(fd));
    MOVES("f", access("f", R_OK));
    MOVES("f", readlink("f", room, sizeof room));
    MOVES("f", symlink("f", "s"));
}

/* A time set by hand survives what was written before it. */
static void times_set_and_kept(void)
{
    int fd = FD(open("f", O_CREAT | O_RDWR, 0644));

    TRY(write(fd, "data", 4));
    TRY(set_times("f", 1000, 1, 2000, 2));
    show_times("after writing", "f");
    TRY(fsync(fd));
    show_times("after fsync", "f");
    TRY(close(fd));
    show_times("after close", "f");
    fd = FD(open("f", O_RDWR));
    show_times("after open", "f");
    TRY(close(fd));
    TRY(chmod("f", 0600));
    show_times("after chmod", "f");
    TRY(rename("f", "g"));
    show_times("after rename", "g");
    TRY(link("g", "h"));
    show_times("after link", "h");
    TRY(mkdir("d", 0755));
    TRY(set_times("d", 3000, 3, 4000, 4));
    TRY(rename("d", "e"));
    show_times("after rename of a directory", "e");
}

static void times_of_directories(void)
{
    TRY(mkdir("d", 0755));
    MOVES("d", close(open("d/f", O_CREAT | O_RDWR, 0644)));
    MOVES("d", close(open("d/f", O_CREAT | O_RDWR, 0644)));
    MOVES("d", chmod("d/f", 0600));
    MOVES("d", link("d/f", "d/g"));
    MOVES("d", symlink("x", "d/s"));
    MOVES("d", mkfifo("d/p", 0600));
    MOVES("d", mkdir("d/sub", 0755));
    MOVES("d/sub", mkdir("d/sub/x", 0755));
    MOVES("d", rmdir("d/sub/x"));
    MOVES("d", rename("d/f", "d/h"));
    MOVES("d", unlink("d/h"));
    MOVES("d", unlink("d/none"));
    MOVES("d", rmdir("d/sub"));
    MOVES("d", rename("d/g", "g"));
    MOVES("d", rename("g", "d/g"));
    MOVES("d", chmod("d", 0700));
    MOVES("d", truncate("d/g", 100));
}

static void times_by_mapping(void)
{
    struct stat before;
    char *at;
    int fd;

    twin_write_file("f", 8192, 1);
    fd = FD(open("f", O_RDWR));
    at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    twin_times_before("f", &before);
    at[0] = 'm';
    TRY(msync(at, 8192, MS_SYNC));
    twin_times_after("stored through a mapping", "f", &before);
    TRY(munmap(at, 8192));
    TRY(close(fd));
    twin_times_after("and closed", "f", &before);
}

/* Read times: the mount is noatime, and says so. */
static void times_of_reading(void)
{
    char room[64];
    int fd;

    twin_write_file("f", 1000, 1);
    set_times("f", 1000, 0, 2000, 0);
    fd = FD(open("f", O_RDONLY));
    MOVES("f", read(fd, room, sizeof room));
    MOVES("f", read(fd, room, sizeof room));
    TRY(close(fd));
    set_times("f", 1000, 0, 2000, 0);
    fd = FD(open("f", O_RDONLY | O_NOATIME));
    MOVES("f", read(fd, room, sizeof room));
    TRY(close(fd));
}

static void show_statx(const char *label, const char *path, int flags)
{
    struct statx x;
    unsigned got;

    if (statx(AT_FDCWD, path, flags, STATX_BASIC_STATS | STATX_BTIME, &x) < 0) {
        twin_result(label, -1, errno);
        return;
    }
    got = x.stx_mask & (STATX_BASIC_STATS | STATX_BTIME);
    twin_line(label, "mask %x %s %04o links %u of %u:%u %s", got & ~(unsigned)STATX_BTIME,
              twin_type(x.stx_mode), x.stx_mode & 07777U, x.stx_nlink, x.stx_uid,
              x.stx_gid,
              S_ISDIR(x.stx_mode)   ? ""
              : x.stx_size == 12345 ? "12345 bytes"
                                    : "other size");
    twin_line("  block size", "%u", x.stx_blksize);
    twin_line("  birth time", "%s", got & STATX_BTIME ? "known" : "unknown");
    twin_line("  attributes known", "%s",
              x.stx_attributes & ~(uint64_t)STATX_ATTR_MOUNT_ROOT ? "some set"
                                                                  : "none set");
}

static void times_statx(void)
{
    struct stat st, dir;

    twin_write_file("f", 12345, 1);
    TRY(symlink("f", "s"));
    show_statx("statx f", "f", 0);
    show_statx("statx s", "s", AT_SYMLINK_NOFOLLOW);
    show_statx("statx of the directory", ".", 0);
    show_statx("statx forced", "f", AT_STATX_FORCE_SYNC);
    show_statx("statx unforced", "f", AT_STATX_DONT_SYNC);
    show_statx("statx none", "none", 0);
    stat("f", &st);
    stat(".", &dir);
    twin_line("one device", "%d", st.st_dev == dir.st_dev);
    twin_line("rdev", "%u:%u", major(st.st_rdev), minor(st.st_rdev));
    TRY(truncate("f", 0));
    stat("f", &st);
    twin_line("blocks of an empty file", "%jd", (intmax_t)st.st_blocks);
}

const struct twin_body twin_times_bodies[] = {
    { .name = "times_explicit", .run = times_explicit },
    { .name = "times_rights", .run = times_rights },
    { .name = "times_of_files", .run = times_of_files },
    { .name = "times_set_and_kept", .run = times_set_and_kept },
    { .name = "times_of_directories", .run = times_of_directories },
    { .name = "times_by_mapping", .run = times_by_mapping },
    { .name = "times_of_reading", .run = times_of_reading },
    { .name = "times_statx", .run = times_statx },
    { .name = NULL },
};
