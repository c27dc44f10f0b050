#include "twin.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

static void open_flags(void)
{
    int fd;

    TRY(open("none", O_RDONLY));
    TRY(open("", O_RDONLY));
    TRY(close(FD(open("f", O_CREAT | O_WRONLY, 0644))));
    TRY(open("f", O_CREAT | O_EXCL | O_WRONLY, 0644));
    twin_write_file("f", 5000, 1);
    TRY(close(FD(open("f", O_RDONLY | O_TRUNC))));
    twin_show("f");
    twin_write_file("f", 5000, 1);
    TRY(close(FD(open("f", O_CREAT | O_RDWR, 0600))));
    twin_show("f");
    TRY(open("f", O_DIRECTORY | O_RDONLY));
    TRY(open("f/x", O_RDONLY));
    TRY(open("f/", O_RDONLY));
    TRY(open("f/", O_RDWR | O_CREAT, 0644));
    TRY(open("new/", O_RDWR | O_CREAT, 0644));
    TRY(mkdir("d", 0755));
    TRY(open("d", O_RDWR));
    TRY(open("d", O_WRONLY));
    TRY(open("d", O_CREAT | O_RDONLY, 0644));
    TRY(open("d", O_RDONLY | O_TRUNC));
    fd = FD(open("d", O_RDONLY | O_DIRECTORY));
    TRY(read(fd, (char[4]){ 0 }, 4));
    TRY(write(fd, "x", 1));
    TRY(ftruncate(fd, 0));
    TRY(close(fd));
    TRY(symlink("f", "s"));
    TRY(symlink("nowhere", "dangling"));
    TRY(open("s", O_RDONLY | O_NOFOLLOW));
    TRY(open("s", O_CREAT | O_EXCL | O_RDWR, 0644));
    TRY(open("dangling", O_CREAT | O_EXCL | O_RDWR, 0644));
    TRY(open("dangling", O_RDONLY));
    fd = FD(open("s", O_PATH | O_NOFOLLOW));
    twin_show_fd("O_PATH of a link", fd);
    TRY(read(fd, (char[4]){ 0 }, 4));
    TRY(close(fd));
    TRY(close(FD(open("dangling", O_CREAT | O_RDWR, 0644))));
    twin_show("nowhere");
    TRY(open("d", O_TMPFILE | O_RDWR, 0600));
    TRY(open("d", O_TMPFILE | O_RDONLY, 0600));
    TRY(open("f", O_RDWR | O_TMPFILE, 0600));
    TRY(close(FD(open("f", O_RDONLY | O_NOATIME))));
    AS(USER_A, GROUP_A)
    {
        TRY(open("f", O_RDONLY | O_NOATIME));
        TRY(open("f", O_WRONLY));
        TRY(open("mine", O_CREAT | O_WRONLY, 0644));
    }
}

static void open_modes_of_access(void)
{
    int fd = FD(open("f", O_CREAT | O_WRONLY, 0644));

    TRY(read(fd, (char[4]){ 0 }, 4));
    TRY(write(fd, "data", 4));
    TRY(close(fd));
    fd = FD(open("f", O_RDONLY));
    TRY(write(fd, "x", 1));
    TRY(ftruncate(fd, 0));
    TRY(fallocate(fd, 0, 0, 10));
    TRY(fchmod(fd, 0600));
    TRY(fsync(fd));
    TRY(close(fd));
    TRY(close(fd));
    TRY(truncate("f", 2));
    twin_show("f");
    fd = FD(open("zero", O_CREAT | O_RDWR, 0));
    TRY(write(fd, "into a file without rights", 26));
    TRY(close(fd));
    twin_show("zero");
    fd = FD(open("mode", O_CREAT | O_RDWR, 06777));
    twin_show_fd("set-id bits at creation", fd);
    TRY(close(fd));
    TRY(access("f", R_OK | W_OK));
    TRY(access("f", X_OK));
    TRY(access("none", F_OK));
    TRY(faccessat(AT_FDCWD, "f", X_OK, AT_EACCESS));
}

static void open_append(void)
{
    char room[64] = { 0 };
    int a = FD(open("f", O_CREAT | O_RDWR | O_APPEND, 0644));
    int b = FD(open("f", O_RDWR));

    TRY(write(a, "one", 3));
    TRY(pwrite(b, "TWO", 3, 5));
    TRY(write(a, "three", 5));
    TRY(lseek(a, 0, SEEK_CUR));
    TRY(lseek(a, 1, SEEK_SET));
    TRY(write(a, "!", 1));
    TRY(pwrite(a, "end", 3, 0)); /* Linux appends all the same */
    TRY(ftruncate(b, 4));
    TRY(write(a, "last", 4));
    TRY(pread(b, room, sizeof room, 0));
    twin_digest_fd("all of it", b);
    TRY(fcntl(b, F_SETFL, O_APPEND));
    TRY(write(b, "appended", 8));
    TRY(fcntl(b, F_GETFL) & O_APPEND);
    twin_digest("f");
}

static void open_files_of_kinds(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    int c = socket(AF_UNIX, SOCK_STREAM, 0);
    char room[8] = { 0 };
    int fd;

    TRY(mkfifo("p", 0640));
    TRY(mkfifo("p", 0640));
    twin_show("p");
    TRY(open("p", O_WRONLY | O_NONBLOCK));
    fd = FD(open("p", O_RDWR | O_NONBLOCK));
    TRY(write(fd, "through", 7));
    TRY(read(fd, room, sizeof room));
    TRY(close(fd));
    twin_show("p");
    TRY(bind(s, (const struct sockaddr *)&at, sizeof at));
    TRY(listen(s, 1));
    twin_show("sock");
    TRY(connect(c, (const struct sockaddr *)&at, sizeof at));
    TRY(open("sock", O_RDWR));
    TRY(bind(c, (const struct sockaddr *)&at, sizeof at));
    TRY(mknod("s2", S_IFSOCK | 0611, 0));
    TRY(mknod("r", S_IFREG | 0604, 0));
    TRY(mknod("r", S_IFREG | 0604, 0));
    TRY(mknod("untyped", 0600, 0));
    twin_show("s2");
    twin_show("r");
    twin_show("untyped");
    TRY(mknod("dir", S_IFDIR | 0755, 0));
    TRY(mknod("chr", S_IFCHR | 0600, makedev(1, 3)));
    TRY(mknod("blk", S_IFBLK | 0600, makedev(7, 99)));
    TRY(chmod("p", 0600));
    TRY(chown("s2", 5, 6));
    twin_show("p");
    twin_show("s2");
    TRY(truncate("p", 0));
    TRY(link("p", "p2"));
    TRY(rename("sock", "sock2"));
    twin_show("p2");
    twin_show("sock2");
    TRY(unlink("p"));
    TRY(unlink("p2"));
    TRY(unlink("sock2"));
    AS(USER_A, GROUP_A)
    {
        TRY(mknod("n", S_IFIFO | 0600, 0));
    }
    TRY(chmod(".", 0777));
    AS(USER_A, GROUP_A)
    {
        TRY(mknod("n", S_IFIFO | 0600, 0));
        TRY(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
        twin_show("n");
    }
}

static void open_mkdir(void)
{
    TRY(mkdir("d", 0755));
    TRY(mkdir("d", 0755));
    TRY(mkdir("d/", 0755));
    TRY(mkdir(".", 0755));
    TRY(mkdir("e/", 0711));
    TRY(mkdir("none/d", 0755));
    TRY(mkdir("sticky", 01777));
    TRY(mkdir("setgid", 02755));
    TRY(mkdir("bare", 0));
    TRY(mkdir("odd", 0151));
    twin_show("d");
    twin_show("e");
    twin_show("sticky");
    twin_show("setgid");
    twin_show("bare");
    twin_show("odd");
    TRY(mkdir("d/a", 0755));
    TRY(mkdir("d/b", 0755));
    TRY(rmdir("d"));
    twin_show("d");
    TRY(rmdir("d/a"));
    twin_show("d");
    TRY(rmdir("d/."));
    TRY(rmdir("d/.."));
    TRY(rmdir("d/b/"));
    TRY(rmdir("d"));
    TRY(rmdir("d"));
    twin_touch("f", 0644);
    TRY(rmdir("f"));
    TRY(mkdir("f", 0755));
    TRY(mkdir("f/d", 0755));
    TRY(unlink("e"));
    TRY(unlink("f/"));
    TRY(symlink("gone", "dangling"));
    TRY(mkdir("dangling", 0755));
    TRY(mkdir("dangling/", 0755));
    umask(077);
    TRY(mkdir("masked", 0777));
    twin_show("masked");
    AS(USER_A, GROUP_A)
    {
        TRY(mkdir("e/x", 0755));
        TRY(mkdir("masked/x", 0755));
        TRY(rmdir("bare"));
    }
}

static void open_umask(void)
{
    static const mode_t masks[] = { 0, 022, 027, 077, 0777, 0123 };
    char name[32];

    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        umask(masks[i]);
        snprintf(name, sizeof name, "f%zu", i);
        TRY(close(open(name, O_CREAT | O_WRONLY, 0666)));
        twin_show(name);
        snprintf(name, sizeof name, "x%zu", i);
        TRY(close(open(name, O_CREAT | O_WRONLY, 0777)));
        twin_show(name);
        snprintf(name, sizeof name, "d%zu", i);
        TRY(mkdir(name, 0777));
        twin_show(name);
        snprintf(name, sizeof name, "p%zu", i);
        TRY(mkfifo(name, 0666));
        twin_show(name);
        snprintf(name, sizeof name, "s%zu", i);
        TRY(symlink("target", name));
        twin_show(name);
    }
}

static void open_by_proc(void)
{
    char link[64];
    int fd = FD(open("f", O_CREAT | O_RDWR, 0644));
    int again;

    TRY(write(fd, "hello", 5));
    TRY(unlink("f"));
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    again = FD(open(link, O_RDWR | O_APPEND));
    TRY(write(again, " world", 6));
    twin_digest_fd("through the first", fd);
    twin_show_fd("the first", fd);
    TRY(truncate(link, 3));
    twin_show_fd("cut", again);
    TRY(chmod(link, 0600));
    twin_show_fd("chmod", again);
    TRY(linkat(AT_FDCWD, link, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
    TRY(close(fd));
    TRY(close(again));
}

const struct twin_body twin_open_bodies[] = {
    { .name = "open_flags", .run = open_flags },
    { .name = "open_modes_of_access", .run = open_modes_of_access },
    { .name = "open_append", .run = open_append },
    { .name = "open_files_of_kinds", .run = open_files_of_kinds },
    { .name = "open_mkdir", .run = open_mkdir },
    { .name = "open_umask", .run = open_umask },
    { .name = "open_by_proc", .run = open_by_proc },
    { .name = NULL },
};
