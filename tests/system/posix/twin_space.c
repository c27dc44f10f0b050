#include "twin.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

static uint8_t bytes[1 << 20];

static void seek_all(int fd, const char *label)
{
    static const off_t places[] = {
        0,       1,      4096, 8191, 65536, 1 << 20, (1 << 20) + 4095, (1 << 20) + 4096,
        3 << 20, 5 << 20
    };
    char line[96];

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        off_t at = lseek(fd, places[i], SEEK_DATA);

        snprintf(line, sizeof line, "%s: data from %jd", label, (intmax_t)places[i]);
        twin_result(line, at, at < 0 ? errno : 0);
        at = lseek(fd, places[i], SEEK_HOLE);
        snprintf(line, sizeof line, "%s: hole from %jd", label, (intmax_t)places[i]);
        twin_result(line, at, at < 0 ? errno : 0);
    }
}

static void space_holes(void)
{
    int fd = FD(open("f", O_CREAT | O_RDWR, 0644));

    seek_all(fd, "empty");
    TRY(ftruncate(fd, 4 << 20));
    seek_all(fd, "all hole");
    twin_fill(bytes, sizeof bytes, 1);
    TRY(pwrite(fd, bytes, 8192, 1 << 20));
    seek_all(fd, "dirty");
    twin_digest_fd("dirty", fd);
    TRY(fsync(fd));
    seek_all(fd, "synced");
    TRY(pwrite(fd, bytes, 10, 3 << 20));
    seek_all(fd, "dirty again");
    TRY(close(fd));
    fd = FD(open("f", O_RDWR));
    seek_all(fd, "opened again");
    TRY(ftruncate(fd, 1 << 20));
    seek_all(fd, "cut");
    TRY(ftruncate(fd, 4 << 20));
    seek_all(fd, "stretched");
    TRY(pwrite(fd, bytes, 4096, 0));
    TRY(pwrite(fd, bytes, 4096, (4 << 20) - 4096));
    seek_all(fd, "two ends");
    twin_digest_fd("two ends", fd);
    TRY(close(fd));
    fd = FD(open("f", O_RDONLY));
    seek_all(fd, "read only");
}

static void space_fallocate(void)
{
    enum {
        KEEP = FALLOC_FL_KEEP_SIZE,
        PUNCH = FALLOC_FL_PUNCH_HOLE,
        ZERO = FALLOC_FL_ZERO_RANGE
    };
    struct stat st;
    int fd = FD(open("f", O_CREAT | O_RDWR, 0644));

    TRY(fallocate(fd, 0, 0, 10000));
    twin_digest_fd("reserved", fd);
    fstat(fd, &st);
    twin_line("shows in blocks", "%d", st.st_blocks * 512 >= 10000);
    twin_fill(bytes, 100000, 1);
    TRY(pwrite(fd, bytes, 60000, 0));
    TRY(fallocate(fd, KEEP, 0, 200000));
    twin_show("f");
    TRY(fallocate(fd, PUNCH | KEEP, 4096, 8192));
    twin_digest_fd("punched", fd);
    TRY(fallocate(fd, PUNCH | KEEP, 20001, 777));
    twin_digest_fd("punched within a block", fd);
    TRY(fallocate(fd, PUNCH | KEEP, 30001, 10001));
    twin_digest_fd("punched across", fd);
    TRY(fallocate(fd, PUNCH | KEEP, 59000, 1 << 20));
    twin_show("f");
    twin_digest_fd("punched over the end", fd);
    TRY(fallocate(fd, ZERO, 50000, 20000));
    twin_show("f");
    twin_digest_fd("zeroed over the end", fd);
    TRY(fallocate(fd, ZERO | KEEP, 60000, 100000));
    twin_show("f");
    TRY(pwrite(fd, bytes, 100000, 0));
    TRY(fallocate(fd, ZERO, 100, 5000));
    twin_digest_fd("zeroed", fd);
    TRY(fallocate(fd, ZERO | KEEP, 8192, 4096));
    twin_digest_fd("zeroed a block", fd);
    TRY(fallocate(fd, PUNCH, 0, 4096));
    TRY(fallocate(fd, 0, 0, 0));
    TRY(fallocate(fd, 0, -1, 10));
    TRY(fallocate(fd, 0, 10, -1));
    TRY(fallocate(fd, PUNCH | KEEP, 0, 0));
    TRY(fallocate(fd, PUNCH | ZERO | KEEP, 0, 10));
    TRY(fallocate(fd, 1 << 12, 0, 10));
    TRY(fallocate(fd, 0, (off_t)1 << 62, (off_t)1 << 62));
    TRY(posix_fallocate(fd, 150000, 10));
    twin_show("f");
    TRY(fsync(fd));
    TRY(close(fd));
    twin_digest("f");
    fd = FD(open(".", O_RDONLY | O_DIRECTORY));
    TRY(fallocate(fd, 0, 0, 10));
    TRY(close(fd));
    TRY(mkfifo("p", 0600));
    fd = FD(open("p", O_RDWR));
    TRY(fallocate(fd, 0, 0, 10));
}

/* Modes that move bytes: offered by ext4 with extents. */
static void space_fallocate_moves(void)
{
    int fd = FD(open("f", O_CREAT | O_RDWR, 0644));

    twin_fill(bytes, 100000, 1);
    TRY(pwrite(fd, bytes, 65536, 0));
    TRY(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4096, 8192));
    twin_digest_fd("collapsed", fd);
    TRY(fallocate(fd, FALLOC_FL_INSERT_RANGE, 4096, 8192));
    twin_digest_fd("inserted", fd);
}

static void space_blocks(void)
{
    struct stat st;
    int fd = FD(open("f", O_CREAT | O_RDWR, 0644));

    twin_fill(bytes, sizeof bytes, 1);
    TRY(pwrite(fd, bytes, 1 << 20, 0));
    TRY(fsync(fd));
    fstat(fd, &st);
    twin_line("blocks of 1 MiB while open", "%d", st.st_blocks * 512 >= 1 << 20);
    TRY(close(fd));
    TRY(stat("f", &st));
    twin_line("blocks of 1 MiB", "%d", st.st_blocks * 512 >= 1 << 20);
    fd = FD(open("hole", O_CREAT | O_RDWR, 0644));
    TRY(ftruncate(fd, (off_t)1 << 30));
    TRY(fsync(fd));
    TRY(close(fd));
    TRY(stat("hole", &st));
    twin_line("blocks of a hole under 1 MiB", "%d", st.st_blocks * 512 < 1 << 20);
}

static void space_statfs(void)
{
    struct statvfs st;

    TRY(statvfs(".", &st));
    twin_line("blocks", "%d",
              st.f_blocks > 0 && st.f_bfree <= st.f_blocks && st.f_bavail <= st.f_bfree);
    twin_line("free", "%d", st.f_bavail > 0);
    twin_line("inodes", "%d", st.f_files > 0 && st.f_ffree <= st.f_files);
    twin_line("block size", "%lu %lu", st.f_bsize, st.f_frsize);
    twin_line("longest name", "%lu", st.f_namemax);
    twin_line("noatime", "%d", (st.f_flag & ST_NOATIME) != 0);
    twin_line("pathconf name", "%ld", pathconf(".", _PC_NAME_MAX));
    twin_line("pathconf links", "%ld", pathconf(".", _PC_LINK_MAX));
    twin_line("pathconf symlink", "%ld", pathconf(".", _PC_2_SYMLINKS));
}

const struct twin_body twin_space_bodies[] = {
    { .name = "space_holes", .run = space_holes },
    { .name = "space_fallocate", .run = space_fallocate },
    { .name = "space_fallocate_moves", .run = space_fallocate_moves },
    { .name = "space_blocks", .run = space_blocks },
    { .name = "space_statfs", .run = space_statfs },
    { .name = NULL },
};
