#include "twin.h"

#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static void modes_chmod(void)
{
    int fd;

    twin_touch("f", 0644);
    for (unsigned mode = 0; mode <= 07777; mode += 0311) {
        TRY(chmod("f", mode));
        twin_show("f");
    }
    TRY(chmod("f", 0644));
    TRY(mkdir("d", 0755));
    TRY(chmod("d", 07777));
    twin_show("d");
    TRY(chmod("d", 0));
    twin_show("d");
    TRY(chmod("none", 0600));
    TRY(chmod("f/x", 0600));
    fd = FD(open("f", O_RDONLY));
    TRY(fchmod(fd, 0604));
    TRY(unlink("f"));
    TRY(fchmod(fd, 0640));
    twin_show_fd("unlinked", fd);
    TRY(mkdir("open", 0777));
    TRY(chmod("open", 0777));
    twin_touch("open/root", 0666);
    AS(USER_A, GROUP_A)
    {
        TRY(chmod("open/root", 0777));
        TRY(chmod("open", 0755));
        twin_touch("open/a", 0644);
        TRY(chmod("open/a", 06755));
        twin_show("open/a");
        TRY(chmod("open/a", 01644));
        twin_show("open/a");
        TRY(mkdir("open/ad", 0755));
        TRY(chmod("open/ad", 03755));
        twin_show("open/ad");
    }
    TRY(chown("open/a", USER_A, GROUP_B));
    TRY(chown("open/ad", USER_A, GROUP_B));
    AS(USER_A, GROUP_A) /* not in the group: no set-group-id */
    {
        TRY(chmod("open/a", 06755));
        twin_show("open/a");
        TRY(chmod("open/ad", 02755));
        twin_show("open/ad");
    }
    AS(USER_B, GROUP_B)
    {
        TRY(chmod("open/a", 0644));
        TRY(utimensat(AT_FDCWD, "open/a", NULL, 0));
    }
}

static void modes_chown(void)
{
    twin_touch("f", 0644);
    TRY(chown("f", 1234, 2345));
    twin_show("f");
    TRY(chown("f", (uid_t)-1, 7));
    twin_show("f");
    TRY(chown("f", 8, (gid_t)-1));
    twin_show("f");
    TRY(chown("f", 4294967294U, 4294967294U));
    twin_show("f");
    TRY(chown("f", (uid_t)-1, (gid_t)-1));
    TRY(chown("f", USER_A, GROUP_A));
    for (unsigned mode = 0; mode < 010; mode++) {
        TRY(chmod("f", 06000 | mode << 6 | mode << 3 | mode));
        TRY(chown("f", USER_A, GROUP_A));
        twin_show("f");
        TRY(chmod("f", 06000 | mode << 6 | mode << 3 | mode));
        TRY(chown("f", (uid_t)-1, (gid_t)-1));
        twin_show("f");
    }
    TRY(mkdir("d", 0755));
    TRY(chmod("d", 06755));
    TRY(chown("d", USER_A, GROUP_A));
    twin_show("d");
    TRY(chmod("f", 06755));
    AS(USER_A, GROUP_A)
    {
        TRY(chown("f", USER_B, (gid_t)-1));
        TRY(chown("f", USER_A, (gid_t)-1));
        twin_show("f");
        TRY(chmod("f", 06755));
        TRY(chown("f", (uid_t)-1, GROUP_B));
        TRY(chown("f", (uid_t)-1, GROUP_A));
        twin_show("f");
        TRY(chmod("f", 06755));
        TRY(chown("f", (uid_t)-1, (gid_t)-1));
        twin_show("f");
        TRY(chown("d", USER_A, GROUP_A));
        twin_show("d");
    }
    twin_touch("setid", 06755);
    TRY(mkfifo("p", 0600));
    TRY(chmod("p", 04600));
    AS(USER_B, GROUP_B)
    {
        TRY(chown("f", USER_B, GROUP_B));
        TRY(chown("f", (uid_t)-1, (gid_t)-1));
        TRY(chown("setid", (uid_t)-1, (gid_t)-1));
        TRY(chown("p", (uid_t)-1, (gid_t)-1));
        twin_show("setid");
        twin_show("p");
    }
    TRY(chown("p", (uid_t)-1, (gid_t)-1));
    twin_show("p");
    TRY(symlink("f", "s"));
    TRY(lchown("s", 1, 1));
    twin_show("s");
    twin_show("f");
}

static void modes_supplementary_groups(void)
{
    static const gid_t groups[] = { GROUP_B };

    TRY(mkdir("d", 0770));
    TRY(chown("d", 0, GROUP_B));
    AS(USER_A, GROUP_A)
    {
        TRY(access("d/x", F_OK));
    }
    if (setgroups(1, groups) < 0 || setresgid(GROUP_A, GROUP_A, GROUP_A) < 0 ||
        setresuid(USER_A, USER_A, USER_A) < 0)
        twin_result("become another", -1, errno);
    twin_touch("d/f", 0644);
    twin_show("d/f");
    TRY(chown("d/f", (uid_t)-1, GROUP_B));
    twin_show("d/f");
    TRY(chmod("d/f", 02755));
    twin_show("d/f");
    TRY(chown("d/f", (uid_t)-1, 1));
}

static void write_byte(const char *path)
{
    int fd = open(path, O_WRONLY);

    TRY(write(fd, "y", 1));
    close(fd);
}

static void reset(const char *path, mode_t mode)
{
    unlink(path);
    twin_write_file(path, 10000, 1);
    if (chown(path, USER_A, GROUP_A) < 0 || chmod(path, mode) < 0)
        twin_result("reset", -1, errno);
}

static void modes_setid_falls(void)
{
    static const mode_t modes[] = { 06777, 04777, 02777, 02767, 06666, 02766 };
    int fd;

    TRY(chmod(".", 0777));
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        for (int owner = 0; owner < 2; owner++) {
            uid_t uid = owner ? USER_A : USER_B;
            gid_t gid = owner ? GROUP_A : GROUP_B;

            twin_line("mode", "%04o by %s", modes[i], owner ? "the owner" : "another");
            reset("f", modes[i]);
            AS(uid, gid)
            {
                write_byte("f");
            }
            twin_show("f");
            reset("f", modes[i]);
            AS(uid, gid)
            {
                TRY(truncate("f", 10));
            }
            twin_show("f");
            reset("f", modes[i]);
            AS(uid, gid)
            {
                TRY(truncate("f", 20000));
            }
            twin_show("f");
            reset("f", modes[i]);
            AS(uid, gid)
            {
                TRY(close(open("f", O_WRONLY | O_TRUNC)));
            }
            twin_show("f");
            reset("f", modes[i]);
            AS(uid, gid)
            {
                fd = open("f", O_WRONLY);
                TRY(ftruncate(fd, 5));
            }
            twin_show("f");
            reset("f", modes[i]);
            AS(uid, gid)
            {
                fd = open("f", O_WRONLY);
                TRY(fallocate(fd, 0, 0, 20000));
            }
            twin_show("f");
            reset("f", modes[i]);
            AS(uid, gid)
            {
                fd = open("f", O_WRONLY | O_APPEND);
                TRY(write(fd, "z", 1));
            }
            twin_show("f");
        }
    }
    reset("f", 06777);
    write_byte("f"); /* root keeps them */
    twin_show("f");
    TRY(truncate("f", 3));
    twin_show("f");
    reset("f", 06777);
    AS(USER_B, GROUP_B)
    {
        TRY(utimensat(AT_FDCWD, "f", NULL, 0));
        fd = open("f", O_RDWR);
        TRY(write(fd, "", 0));
    }
    twin_show("f");
}

static void modes_setid_by_mapping(void)
{
    reset("f", 06777);
    TRY(chmod(".", 0777));
    AS(USER_B, GROUP_B)
    {
        int fd = open("f", O_RDWR);
        char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        at[0] = 'm';
        TRY(msync(at, 4096, MS_SYNC));
    }
    twin_show("f");
}

static void modes_sticky_and_setgid(void)
{
    TRY(mkdir("g", 0755));
    TRY(chown("g", 0, GROUP_B));
    TRY(chmod("g", 02777));
    twin_touch("g/root", 0644);
    TRY(mkdir("g/d", 0755));
    TRY(symlink("x", "g/s"));
    TRY(mkfifo("g/p", 0644));
    twin_show("g/root");
    twin_show("g/d");
    twin_show("g/s");
    twin_show("g/p");
    TRY(mkdir("g/d/deeper", 0700));
    twin_show("g/d/deeper");
    AS(USER_A, GROUP_A)
    {
        TRY(close(open("g/a", O_CREAT | O_RDWR, 02755)));
        twin_show("g/a");
        TRY(close(open("g/b", O_CREAT | O_RDWR, 02745)));
        twin_show("g/b");
        TRY(mkdir("g/ad", 0755));
        twin_show("g/ad");
        TRY(mknod("g/n", S_IFREG | 02755, 0));
        twin_show("g/n");
    }
    TRY(rename("g/a", "moved"));
    twin_show("moved");
    TRY(mkdir("st", 0777));
    TRY(chmod("st", 01777));
    twin_touch("st/root", 0666);
    AS(USER_A, GROUP_A)
    {
        twin_touch("st/a", 0666);
        TRY(mkdir("st/ad", 0777));
        TRY(unlink("st/root"));
        TRY(unlink("st/a"));
        twin_touch("st/a", 0666);
    }
    AS(USER_B, GROUP_B)
    {
        TRY(unlink("st/a"));
        TRY(rmdir("st/ad"));
        TRY(link("st/a", "st/l"));
        write_byte("st/a");
        TRY(open("st/a", O_CREAT | O_WRONLY, 0644) >= 0);
    }
    TRY(unlink("st/a"));
}

static void modes_search_and_read(void)
{
    TRY(mkdir("x", 0711));
    twin_touch("x/f", 0644);
    TRY(mkdir("r", 0744));
    twin_touch("r/f", 0644);
    TRY(mkdir("none", 0700));
    twin_touch("none/f", 0644);
    AS(USER_A, GROUP_A)
    {
        TRY(access("x/f", R_OK));
        TRY(open("x", O_RDONLY | O_DIRECTORY));
        TRY(access("r/f", R_OK));
        TRY(open("r", O_RDONLY | O_DIRECTORY) >= 0);
        TRY(access("none/f", F_OK));
        TRY(open("none/f", O_RDONLY));
        TRY(access("none/absent", F_OK));
        twin_show("r/f");
        TRY(unlink("x/f"));
    }
    twin_touch("w", 0222);
    twin_touch("ro", 0444);
    AS(USER_A, GROUP_A)
    {
        TRY(open("w", O_RDONLY));
        TRY(open("w", O_WRONLY) >= 0);
        TRY(open("w", O_RDWR));
        TRY(open("ro", O_RDONLY | O_TRUNC));
        TRY(open("ro", O_WRONLY));
        TRY(truncate("ro", 0));
    }
}

const struct twin_body twin_modes_bodies[] = {
    { .name = "modes_chmod", .run = modes_chmod },
    { .name = "modes_chown", .run = modes_chown },
    { .name = "modes_supplementary_groups", .run = modes_supplementary_groups },
    { .name = "modes_setid_falls", .run = modes_setid_falls },
    { .name = "modes_setid_by_mapping", .run = modes_setid_by_mapping },
    { .name = "modes_sticky_and_setgid", .run = modes_sticky_and_setgid },
    { .name = "modes_search_and_read", .run = modes_search_and_read },
    { .name = NULL },
};
