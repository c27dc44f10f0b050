#include "check.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cursor.h"
#include "base/fdio.h"
#include "base/hex.h"
#include "base/waiting.h"

static int make_temp_dir(char *path)
{
    int fd = -1;

    CHECK(mkdtemp(path) != NULL);
    CHECK_EQ(fdio_open_dir(AT_FDCWD, path, &fd), 0);
    return fd;
}

TEST(fdio__save_replaces_whole_with_the_mode_asked_for)
{
    char path[] = "/tmp/phr-fdio-XXXXXX";
    scoped(close_fd) int dir = make_temp_dir(path);
    scoped(free) uint8_t *bytes = NULL;
    struct stat st;
    size_t n = 0;

    UNUSED_STATE;
    CHECK_EQ(fdio_save(dir, "key", view_text("one"), 0600), 0);
    CHECK_EQ(fdio_save(dir, "key", view_text("second"), 0600), 0);
    CHECK_EQ(fdio_load(dir, "key", 100, &bytes, &n), 0);
    CHECK_EQ(n, 6);
    CHECK_BYTES(bytes, "second", 6);
    CHECK_EQ(fstatat(dir, "key", &st, 0), 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
    CHECK_EQ(fdio_unlink(dir, "key"), 0);
    CHECK_EQ(rmdir(path), 0); /* no temporary file was left */
}

TEST(fdio__load_has_a_limit_and_follows_no_symlink)
{
    char path[] = "/tmp/phr-fdio-XXXXXX";
    scoped(close_fd) int dir = make_temp_dir(path);
    uint8_t *bytes = NULL;
    size_t n = 0;

    UNUSED_STATE;
    CHECK_EQ(fdio_save(dir, "f", view_text("0123456789"), 0644), 0);
    CHECK_EQ(fdio_load(dir, "f", 9, &bytes, &n), -EFBIG);
    CHECK_EQ(symlinkat("f", dir, "link"), 0);
    CHECK_EQ(fdio_load(dir, "link", 100, &bytes, &n), -ELOOP);
    CHECK_EQ(fdio_load(dir, "missing", 100, &bytes, &n), -ENOENT);
    CHECK(bytes == NULL);
    CHECK_EQ(fdio_unlink(dir, "link"), 0);
    CHECK_EQ(fdio_unlink(dir, "f"), 0);
    CHECK_EQ(rmdir(path), 0);
}

TEST(fdio__a_short_file_is_said_to_be_one)
{
    char path[] = "/tmp/phr-fdio-XXXXXX";
    scoped(close_fd) int dir = make_temp_dir(path);
    scoped(close_fd) int fd = -1;
    uint8_t room[8];

    UNUSED_STATE;
    CHECK_EQ(fdio_save(dir, "f", view_text("1234"), 0644), 0);
    CHECK_EQ(fdio_open(dir, "f", O_RDWR, 0, &fd), 0);
    CHECK_EQ(fdio_pread_all(fd, room, 4, 0), 0);
    CHECK_EQ(fdio_pread_all(fd, room, 5, 0), -ENODATA);
    CHECK_EQ(fdio_shred(fd, 0, 4), 0);
    CHECK_EQ(fdio_pread_all(fd, room, 4, 0), 0);
    CHECK_BYTES(room, "\0\0\0\0", 4);
    CHECK_EQ(fdio_unlink(dir, "f"), 0);
    CHECK_EQ(rmdir(path), 0);
}

TEST(fdio__what_is_in_memory_is_read_without_a_wait)
{
    char path[] = "/tmp/phr-fdio-XXXXXX";
    scoped(close_fd) int dir = make_temp_dir(path);
    scoped(close_fd) int fd = -1;
    char bytes[8] = "";
    size_t n;

    UNUSED_STATE;
    CHECK_EQ(fdio_save(dir, "f", view_text("abcd"), 0600), 0);
    CHECK_EQ(fdio_open(dir, "f", O_RDONLY, 0, &fd), 0);
    n = fdio_pread_ready(fd, bytes, sizeof bytes, 1);
    CHECK(n == 3 || n == 0); /* not every file system can tell */
    CHECK_BYTES(bytes, "bcd", n);
    CHECK_EQ(fdio_pread_ready(-1, bytes, sizeof bytes, 0), 0);
    CHECK_EQ(fdio_unlink(dir, "f"), 0);
    CHECK_EQ(rmdir(path), 0);
}

static void count_up(void *user)
{
    int *count = user;

    ++*count;
}

TEST(waiting__the_watcher_hears_of_it_once)
{
    int count = 0;

    UNUSED_STATE;
    waiting_begin();
    CHECK(!waiting_is_watched());
    waiting_set_watcher(count_up, &count);
    CHECK(waiting_is_watched());
    waiting_begin();
    waiting_begin();
    CHECK_EQ(count, 1);
    CHECK(!waiting_is_watched());
}

TEST(hex__takes_exactly_its_digits)
{
    const uint8_t bytes[3] = { 0x00, 0xa5, 0xff };
    char text[7];
    uint8_t back[3];

    UNUSED_STATE;
    hex_encode(bytes, sizeof bytes, text);
    CHECK_EQ(strcmp(text, "00a5ff"), 0);
    CHECK_EQ(hex_decode("00A5fF", back, 3), 0);
    CHECK_BYTES(back, bytes, 3);
    CHECK_EQ(hex_decode("00a5f", back, 3), PHR_E_FORMAT);
    CHECK_EQ(hex_decode("00a5ff0", back, 3), PHR_E_FORMAT);
    CHECK_EQ(hex_decode("00a5fg", back, 3), PHR_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(fdio__save_replaces_whole_with_the_mode_asked_for),
        UNIT(fdio__load_has_a_limit_and_follows_no_symlink),
        UNIT(fdio__a_short_file_is_said_to_be_one),
        UNIT(fdio__what_is_in_memory_is_read_without_a_wait),
        UNIT(waiting__the_watcher_hears_of_it_once),
        UNIT(hex__takes_exactly_its_digits),
    };

    return RUN_TESTS(tests);
}
