#include "twin.h"

#include <stdio.h>
#include <string.h>

static void rename_files(void)
{
    int old, fd;

    twin_write_file("a", 1000, 1);
    twin_write_file("b", 2000, 2);
    TRY(mkdir("d", 0755));
    TRY(rename("a", "a"));
    TRY(rename("none", "x"));
    TRY(rename("a", "none/x"));
    TRY(rename("a", "b/x"));
    TRY(rename("a", "d"));
    TRY(rename("d", "a"));
    TRY(rename("a", "d/"));
    TRY(rename("a", "x/"));
    TRY(rename("a/", "x"));
    TRY(rename(".", "x"));
    TRY(rename("a", "."));
    TRY(rename("a", ".."));
    old = FD(open("b", O_RDWR));
    TRY(rename("a", "b"));
    twin_show("a");
    twin_digest("b");
    twin_show_fd("what was replaced", old);
    twin_digest_fd("its bytes", old);
    TRY(pwrite(old, "still", 5, 0));
    TRY(close(old));
    fd = FD(open("b", O_RDWR));
    TRY(rename("b", "d/c"));
    TRY(write(fd, "moved", 5));
    twin_show_fd("moved while open", fd);
    TRY(close(fd));
    twin_digest("d/c");
    TRY(link("d/c", "e"));
    TRY(rename("e", "d/c"));
    twin_show("e");
    twin_show("d/c");
    TRY(symlink("d/c", "s"));
    TRY(rename("s", "e"));
    twin_show("e");
    twin_digest("e");
    TRY(rename("d/c", "e"));
    twin_show("e");
}

static void rename_directories(void)
{
    struct stat before, after;
    int fd;

    TRY(mkdir("a", 0755));
    TRY(mkdir("a/b", 0755));
    TRY(mkdir("a/b/c", 0755));
    TRY(mkdir("empty", 0700));
    TRY(mkdir("full", 0755));
    twin_touch("full/f", 0644);
    TRY(rename("a", "a/b/x"));
    TRY(rename("a", "a/b/c"));
    TRY(rename("a/b/c", "a"));
    TRY(rename("a/b/c", "a/b"));
    TRY(rename("a", "full"));
    twin_show("empty");
    stat("a/b", &before);
    TRY(rename("a/b", "empty"));
    stat("empty", &after);
    twin_line("kept its inode", "%d", before.st_ino == after.st_ino);
    twin_show("a");
    twin_show("empty");
    twin_show("empty/c");
    TRY(rename("full", "empty/c"));
    twin_show("empty");
    TRY(access("empty/c/f", F_OK));
    fd = FD(open("empty/c", O_RDONLY | O_DIRECTORY));
    TRY(rename("empty/c", "a/moved"));
    twin_show("a");
    twin_show("empty");
    TRY(faccessat(fd, "../../a", F_OK, 0));
    TRY(faccessat(fd, "f", F_OK, 0));
    TRY(rename("a/moved/f", "f"));
    TRY(rename("a/moved", "f"));
    TRY(rename("f", "a/moved"));
    TRY(rename("a/", "z/"));
    TRY(rename("z/.", "y"));
    TRY(rename("z/..", "y"));
    twin_show("z");
    TRY(mkdir("target", 0755));
    fd = FD(open("target", O_RDONLY | O_DIRECTORY));
    TRY(rename("z", "target"));
    twin_show_fd("an open target", fd);
    TRY(openat(fd, "x", O_CREAT | O_RDWR, 0644));
}

static void rename_flags(void)
{
    struct stat a, b;

    twin_write_file("a", 10, 1);
    twin_write_file("b", 20, 2);
    TRY(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
    TRY(renameat2(AT_FDCWD, "a", AT_FDCWD, "a", RENAME_NOREPLACE));
    TRY(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
    TRY(renameat2(AT_FDCWD, "none", AT_FDCWD, "x", RENAME_NOREPLACE));
    twin_show("a");
    twin_show("c");
    TRY(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE));
    twin_show("b");
    twin_show("c");
    TRY(renameat2(AT_FDCWD, "b", AT_FDCWD, "none", RENAME_EXCHANGE));
    TRY(renameat2(AT_FDCWD, "none", AT_FDCWD, "b", RENAME_EXCHANGE));
    TRY(renameat2(AT_FDCWD, "b", AT_FDCWD, "b", RENAME_EXCHANGE));
    TRY(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE | RENAME_NOREPLACE));
    TRY(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", 1U << 7));
    TRY(mkdir("d", 0755));
    TRY(mkdir("d/sub", 0755));
    TRY(renameat2(AT_FDCWD, "b", AT_FDCWD, "d", RENAME_EXCHANGE));
    twin_show("b");
    twin_show("d");
    TRY(renameat2(AT_FDCWD, "b", AT_FDCWD, "b/sub", RENAME_EXCHANGE));
    TRY(renameat2(AT_FDCWD, "b/sub", AT_FDCWD, "b", RENAME_EXCHANGE));
    TRY(mkdir("e", 0755));
    TRY(renameat2(AT_FDCWD, "c", AT_FDCWD, "e/f", RENAME_NOREPLACE));
    TRY(renameat2(AT_FDCWD, "b/sub", AT_FDCWD, "e/f", RENAME_EXCHANGE));
    twin_show("b");
    twin_show("e");
    twin_show("b/sub");
    twin_show("e/f");
    TRY(link("d", "d2"));
    stat("d", &a);
    TRY(renameat2(AT_FDCWD, "d", AT_FDCWD, "d2", RENAME_EXCHANGE));
    stat("d2", &b);
    twin_line("one inode by two names", "%d", a.st_ino == b.st_ino);
    TRY(symlink("x", "s"));
    TRY(renameat2(AT_FDCWD, "s", AT_FDCWD, "e", RENAME_EXCHANGE));
    twin_show("s");
    twin_show("e");
    TRY(renameat2(AT_FDCWD, "d", AT_FDCWD, "w", RENAME_WHITEOUT));
    twin_show("w");
}

static void rename_rights(void)
{
    TRY(mkdir("sticky", 0777));
    TRY(chmod("sticky", 01777));
    TRY(mkdir("open", 0777));
    TRY(chmod("open", 0777));
    TRY(mkdir("shut", 0755));
    AS(USER_A, GROUP_A)
    {
        twin_touch("sticky/a", 0666);
        twin_touch("sticky/a2", 0666);
        twin_touch("open/a", 0666);
        TRY(mkdir("open/d", 0555));
        TRY(mkdir("open/w", 0755));
    }
    twin_touch("shut/r", 0666);
    AS(USER_B, GROUP_B)
    {
        twin_touch("sticky/b", 0666);
        TRY(rename("sticky/a", "sticky/x"));
        TRY(rename("sticky/a", "open/x"));
        TRY(rename("sticky/b", "sticky/a"));
        TRY(unlink("sticky/a"));
        TRY(renameat2(AT_FDCWD, "sticky/a", AT_FDCWD, "sticky/b", RENAME_EXCHANGE));
        TRY(rename("sticky/b", "sticky/c"));
        TRY(rename("shut/r", "open/r"));
        TRY(rename("open/a", "shut/a"));
        TRY(rename("open/a", "open/z"));
        TRY(rename("open/d", "open/e"));
        TRY(rename("open/e", "open/w/e"));
        TRY(rmdir("open/e"));
        TRY(unlink("shut/r"));
    }
    AS(USER_A, GROUP_A)
    {
        TRY(mkdir("open/mine", 0555));
        TRY(mkdir("open/into", 0755));
        TRY(rename("open/mine", "open/into/mine"));
        TRY(rename("sticky/a2", "sticky/a3"));
        TRY(unlink("sticky/c"));
    }
    TRY(chown("sticky", USER_B, GROUP_B));
    AS(USER_B, GROUP_B)
    {
        TRY(unlink("sticky/a"));
    }
    twin_show("sticky");
    twin_show("open");
}

static void rename_moves_times(void)
{
    TRY(mkdir("d", 0755));
    TRY(mkdir("e", 0755));
    twin_touch("d/f", 0644);
    twin_touch("d/g", 0644);
    MOVES("d", rename("d/f", "d/h"));
    MOVES("e", rename("d/h", "e/h"));
    MOVES("e/h", rename("e/h", "e/i"));
    MOVES("d", rename("e/i", "d/i"));
    MOVES("e", rename("d/g", "d/i"));
    MOVES("d", renameat2(AT_FDCWD, "d/i", AT_FDCWD, "e", RENAME_EXCHANGE));
    twin_show("e");
}

const struct twin_body twin_rename_bodies[] = {
    { .name = "rename_files", .run = rename_files },
    { .name = "rename_directories", .run = rename_directories },
    { .name = "rename_flags", .run = rename_flags },
    { .name = "rename_rights", .run = rename_rights },
    { .name = "rename_moves_times", .run = rename_moves_times },
    { .name = NULL },
};
