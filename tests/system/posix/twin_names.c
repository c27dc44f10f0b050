#include "twin.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static void names_links(void)
{
    struct stat a, b;
    int fd;

    twin_write_file("a", 100, 1);
    TRY(mkdir("d", 0755));
    TRY(link("a", "b"));
    TRY(link("a", "d/c"));
    TRY(link("a", "b"));
    TRY(link("none", "x"));
    TRY(link("d", "e"));
    TRY(link("a", "none/x"));
    TRY(link("a", "a/x"));
    TRY(link("a", "."));
    twin_show("a");
    twin_show("d/c");
    stat("a", &a);
    stat("d/c", &b);
    twin_line("the same inode", "%d", a.st_ino == b.st_ino);
    fd = FD(open("b", O_WRONLY | O_APPEND));
    TRY(write(fd, "more", 4));
    TRY(link("b", "while-open"));
    TRY(write(fd, "!", 1));
    TRY(close(fd));
    twin_digest("a");
    TRY(chmod("d/c", 0600));
    twin_show("b");
    TRY(unlink("a"));
    twin_show("b");
    TRY(unlink("b"));
    TRY(unlink("while-open"));
    twin_show("d/c");
    twin_digest("d/c");
    TRY(symlink("d/c", "s"));
    TRY(link("s", "s2"));
    twin_show("s2");
    TRY(linkat(AT_FDCWD, "s", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
    twin_show("followed");
    TRY(link("s/", "x"));
    TRY(linkat(AT_FDCWD, "s", AT_FDCWD, "x", 0x4000000));
    AS(USER_A, GROUP_A)
    {
        TRY(link("d/c", "mine"));
    }
}

static void names_symlinks(void)
{
    char target[PATH_MAX + 8];
    char room[PATH_MAX];

    memset(target, 't', sizeof target);
    target[4095] = '\0';
    TRY(symlink(target, "long"));
    twin_show("long");
    TRY(readlink("long", room, sizeof room));
    TRY(readlink("long", room, 10));
    target[4095] = 't';
    target[4096] = '\0';
    TRY(symlink(target, "longer"));
    TRY(symlink("", "empty"));
    TRY(symlink("f", "s"));
    TRY(symlink("g", "s"));
    TRY(readlink("s", room, sizeof room));
    twin_show("s");
    TRY(open("s", O_RDONLY));
    twin_write_file("f", 10, 1);
    TRY(readlink("f", room, sizeof room));
    twin_digest("s");
    TRY(symlink("loop2", "loop1"));
    TRY(symlink("loop1", "loop2"));
    TRY(open("loop1", O_RDONLY));
    TRY(access("loop1", F_OK));
    TRY(chmod("loop1", 0600));
    TRY(open("loop1/x", O_RDONLY));
    for (int i = 0; i < 42; i++) {
        char from[16], to[16];

        snprintf(from, sizeof from, "c%d", i);
        snprintf(to, sizeof to, "c%d", i + 1);
        if (symlink(i ? from : "f", to) < 0)
            twin_result("symlink of a chain", -1, errno);
    }
    TRY(access("c40", F_OK));
    TRY(access("c41", F_OK));
    TRY(mkdir("d", 0755));
    TRY(symlink("d", "sd"));
    TRY(rmdir("sd"));
    TRY(open("sd/none", O_RDONLY));
    TRY(unlink("sd/"));
    TRY(lchown("s", 7, 8));
    twin_show("s");
    twin_show("f");
    TRY(fchmodat(AT_FDCWD, "s", 0600, AT_SYMLINK_NOFOLLOW));
    TRY(unlink("s"));
    twin_show("f");
}

static void names_any_bytes(void)
{
    static const char *const odd[] = {
        "\xff\xfe\x01", "with space", "new\nline", "-rf",  "a\\b", "..x",  "...",
        "\xc3\xbc",     "u\xcc\x88",  "*",         "\"",   "'",    "\x7f", " ",
        "tab\t",        ":",          "CON",       "nul.", "~",    "#",
    };
    char label[32];
    char name[300];

    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        snprintf(label, sizeof label, "odd name %zu", i);
        twin_line(label, "%d", close(open(odd[i], O_CREAT | O_EXCL | O_RDWR, 0644)));
        twin_line(label, "%d", access(odd[i], F_OK));
    }
    for (int byte = 1; byte < 256; byte++) {
        if (byte == '/')
            continue;
        memset(name, byte, 255);
        name[255] = '\0';
        if (mkdir(name, 0755) < 0 || access(name, F_OK) < 0) {
            snprintf(label, sizeof label, "255 times byte %d", byte);
            twin_result(label, -1, errno);
        }
    }
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    TRY(mkdir(name, 0755));
    TRY(open(name, O_CREAT | O_RDWR, 0644));
    TRY(access(name, F_OK));
    TRY(symlink("x", name));
    TRY(unlink(name));
    TRY(rmdir(name));
    TRY(mkfifo(name, 0644));
    twin_touch("f", 0644);
    TRY(link("f", name));
    TRY(rename("f", name));
    name[255] = '\0';
    TRY(rename("f", name));
    TRY(unlink(name));
}

static void names_long_paths(void)
{
    char path[PATH_MAX + 100];
    char part[256];
    int depth = 0;

    memset(part, 'd', 250);
    part[250] = '\0';
    for (; depth < 20; depth++) {
        if (mkdir(part, 0755) < 0 || chdir(part) < 0)
            break;
    }
    twin_line("levels of 250 bytes", "%d", depth);
    TRY(close(open("deep", O_CREAT | O_RDWR, 0644)));
    twin_show("deep");
    twin_line("getcwd", "%s",
              getcwd(path, sizeof path) ? "a name" : strerrorname_np(errno));
    memset(path, 0, sizeof path);
    while (strlen(path) < PATH_MAX) {
        size_t n = strlen(path);

        path[n] = 'x';
        path[n + 1] = '/';
    }
    TRY(open(path, O_RDONLY));
    TRY(mkdir(path, 0755));
    TRY(rename("deep", path));
}

static void names_unlink(void)
{
    char room[32] = { 0 };
    int fd, dir;

    twin_write_file("f", 10000, 1);
    fd = FD(open("f", O_RDWR));
    TRY(unlink("f"));
    TRY(unlink("f"));
    TRY(open("f", O_RDONLY));
    twin_show_fd("unlinked", fd);
    TRY(pwrite(fd, "into it", 7, 9000));
    TRY(fsync(fd));
    twin_digest_fd("its bytes", fd);
    TRY(ftruncate(fd, 20));
    TRY(fchmod(fd, 0600));
    TRY(fchown(fd, 1, 2));
    TRY(fallocate(fd, 0, 0, 5000));
    twin_show_fd("changed", fd);
    twin_write_file("f", 5, 2);
    twin_digest("f");
    twin_digest_fd("the old", fd);
    TRY(close(fd));
    TRY(mkdir("d", 0755));
    TRY(mkdir("d/sub", 0755));
    dir = FD(open("d", O_RDONLY | O_DIRECTORY));
    TRY(rmdir("d"));
    TRY(unlinkat(dir, "sub", 0));
    TRY(unlinkat(dir, "sub", AT_REMOVEDIR));
    TRY(rmdir("d"));
    twin_show_fd("a removed directory", dir);
    TRY(openat(dir, "x", O_CREAT | O_RDWR, 0644));
    TRY(mkdirat(dir, "x", 0755));
    TRY(symlinkat("x", dir, "x"));
    TRY(linkat(AT_FDCWD, "f", dir, "x", 0));
    TRY(renameat(AT_FDCWD, "f", dir, "x"));
    TRY(openat(dir, "..", O_RDONLY | O_DIRECTORY) >= 0);
    TRY(faccessat(dir, ".", F_OK, 0));
    TRY(fchmod(dir, 0700));
    TRY(fchown(dir, 3, 4));
    TRY(fsync(dir));
    twin_show_fd("changed", dir);
    TRY(close(dir));
    TRY(unlink("."));
    TRY(unlink(".."));
    TRY(rmdir("."));
    TRY(unlink(""));
    TRY(readlink("none", room, sizeof room));
}

static void names_of_the_cwd(void)
{
    char room[PATH_MAX];

    TRY(mkdir("d", 0755));
    TRY(chdir("d"));
    TRY(rmdir("../d"));
    twin_line("getcwd", "%s",
              getcwd(room, sizeof room) ? "a name" : strerrorname_np(errno));
    TRY(open("x", O_CREAT | O_RDWR, 0644));
    TRY(open(".", O_RDONLY) >= 0);
    TRY(chdir(".."));
    TRY(chdir("none"));
    TRY(mkdir("e", 0));
    TRY(chdir("e"));
    TRY(chdir(".."));
    AS(USER_A, GROUP_A)
    {
        TRY(chdir("e"));
    }
}

static void names_other_compartment(void)
{
    twin_write_file("f", 100, 1);
    TRY(mkdir("d", 0755));
    TRY(link("f", "../other/posix-x"));
    TRY(rename("f", "../other/posix-x"));
    TRY(rename("d", "../other/posix-d"));
    unlink("../other/posix-x");
    rmdir("../other/posix-d");
}

/* ext4 allows 65,000 names for a file. */
static void names_many_links(void)
{
    char name[32];
    int made = 0;

    twin_touch("f", 0644);
    TRY(mkdir("d", 0755));
    for (; made < 66000; made++) {
        snprintf(name, sizeof name, "d/%d", made);
        if (link("f", name) < 0)
            break;
    }
    twin_result("link again and again", -1, errno);
    twin_line("names made", "%d", made);
    twin_show("f");
}

const struct twin_body twin_names_bodies[] = {
    { .name = "names_links", .run = names_links },
    { .name = "names_symlinks", .run = names_symlinks },
    { .name = "names_any_bytes", .run = names_any_bytes },
    { .name = "names_long_paths", .run = names_long_paths },
    { .name = "names_unlink", .run = names_unlink },
    { .name = "names_of_the_cwd", .run = names_of_the_cwd },
    { .name = "names_other_compartment", .run = names_other_compartment },
    { .name = "names_many_links", .run = names_many_links, .is_long = true },
    { .name = NULL },
};
