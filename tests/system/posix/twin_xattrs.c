#include "twin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

static char value[1 << 17];

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The order of a listing is the file system's. Names of the host's security modules stay out. */
static void list(const char *path)
{
    char room[65536], line[4096] = "";
    const char *names[256];
    ssize_t n = llistxattr(path, room, sizeof room);
    size_t count = 0;

    if (n < 0) {
        twin_result("listxattr", -1, errno);
        return;
    }
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(room + at) + 1) {
        if (strcmp(room + at, "security.selinux") != 0 && count < 256)
            names[count++] = room + at;
    }
    qsort(names, count, sizeof names[0], by_name);
    for (size_t i = 0; i < count; i++) {
        strncat(line, names[i], sizeof line - strlen(line) - 2);
        strcat(line, " ");
    }
    twin_line("listxattr", "%s", line);
}

static void xattrs_user(void)
{
    char room[64] = { 0 };
    char name[300];
    int fd;

    twin_touch("f", 0644);
    list("f");
    TRY(setxattr("f", "user.a", "one", 3, 0));
    TRY(setxattr("f", "user.a", "two", 3, XATTR_CREATE));
    TRY(setxattr("f", "user.b", "two", 3, XATTR_REPLACE));
    TRY(setxattr("f", "user.b", "two", 3, XATTR_CREATE));
    TRY(setxattr("f", "user.a", "longer", 6, XATTR_REPLACE));
    TRY(setxattr("f", "user.a", "x", 1, XATTR_CREATE | XATTR_REPLACE));
    TRY(setxattr("f", "user.a", "x", 1, 77));
    TRY(getxattr("f", "user.a", room, sizeof room));
    TRY(getxattr("f", "user.a", NULL, 0));
    TRY(getxattr("f", "user.a", room, 2));
    TRY(getxattr("f", "user.none", room, sizeof room));
    TRY(listxattr("f", room, 1));
    TRY(listxattr("f", NULL, 0));
    list("f");
    TRY(setxattr("f", "user.empty", "", 0, 0));
    TRY(getxattr("f", "user.empty", room, sizeof room));
    TRY(removexattr("f", "user.empty"));
    TRY(removexattr("f", "user.empty"));
    TRY(setxattr("f", "user.", "x", 1, 0));
    TRY(setxattr("f", "user", "x", 1, 0));
    TRY(setxattr("f", "nonsense.a", "x", 1, 0));
    TRY(getxattr("f", "nonsense.a", room, sizeof room));
    TRY(setxattr("f", "", "x", 1, 0));
    TRY(setxattr("f", "system.nonsense", "x", 1, 0));
    memcpy(name, "user.", 5);
    memset(name + 5, 'n', 250);
    name[255] = '\0';
    TRY(setxattr("f", name, "long name", 9, 0));
    TRY(getxattr("f", name, room, sizeof room));
    TRY(removexattr("f", name));
    name[255] = 'n';
    name[256] = '\0';
    TRY(setxattr("f", name, "x", 1, 0));
    TRY(setxattr("f", "user.binary", "a\0b\xff", 4, 0));
    TRY(getxattr("f", "user.binary", room, sizeof room));
    TRY(setxattr("none", "user.a", "x", 1, 0));
    fd = FD(open("f", O_RDONLY));
    TRY(fsetxattr(fd, "user.fd", "1", 1, 0));
    TRY(unlink("f"));
    TRY(fgetxattr(fd, "user.fd", room, sizeof room));
    TRY(fsetxattr(fd, "user.late", "1", 1, 0));
    TRY(fremovexattr(fd, "user.fd"));
    TRY(flistxattr(fd, room, sizeof room) > 0);
}

static void xattrs_sizes(void)
{
    twin_touch("f", 0644);
    memset(value, 'v', sizeof value);
    TRY(setxattr("f", "user.v", value, 1000, 0));
    TRY(setxattr("f", "user.v", value, 3900, 0));
    TRY(getxattr("f", "user.v", NULL, 0));
    TRY(setxattr("f", "user.v", value, 4096, 0));
    TRY(setxattr("f", "user.v", value, 65536, 0));
    TRY(setxattr("f", "user.v", value, 65537, 0));
    TRY(getxattr("f", "user.v", NULL, 0));
    TRY(removexattr("f", "user.v"));
    for (int i = 0; i < 100; i++) {
        char name[32];

        snprintf(name, sizeof name, "user.%03d", i);
        if (setxattr("f", name, value, 10, 0) < 0)
            twin_result("a hundred names", -1, errno);
    }
    TRY(listxattr("f", NULL, 0));
    for (int i = 0; i < 100; i += 2) {
        char name[32];

        snprintf(name, sizeof name, "user.%03d", i);
        if (removexattr("f", name) < 0)
            twin_result("half of them away", -1, errno);
    }
    TRY(listxattr("f", NULL, 0));
}

static void xattrs_kinds(void)
{
    char room[64];

    twin_touch("f", 0666);
    TRY(mkdir("d", 0777));
    TRY(symlink("f", "s"));
    TRY(mkfifo("p", 0666));
    TRY(mknod("k", S_IFSOCK | 0666, 0));
    TRY(setxattr("d", "user.a", "1", 1, 0));
    TRY(lsetxattr("s", "user.a", "1", 1, 0));
    TRY(setxattr("p", "user.a", "1", 1, 0));
    TRY(setxattr("k", "user.a", "1", 1, 0));
    TRY(lgetxattr("s", "user.a", room, sizeof room));
    TRY(lsetxattr("s", "trusted.t", "1", 1, 0));
    TRY(setxattr("p", "trusted.t", "1", 1, 0));
    TRY(setxattr("k", "trusted.t", "1", 1, 0));
    TRY(setxattr("f", "trusted.t", "1", 1, 0));
    TRY(setxattr("f", "security.test", "1", 1, 0));
    TRY(lgetxattr("s", "trusted.t", room, sizeof room));
    list("s");
    list("f");
    list("p");
    AS(USER_A, GROUP_A)
    {
        list("f");
        TRY(getxattr("f", "trusted.t", room, sizeof room));
        TRY(setxattr("f", "trusted.u", "1", 1, 0));
        TRY(getxattr("f", "security.test", room, sizeof room));
        TRY(setxattr("f", "security.test", "2", 1, 0));
        TRY(setxattr("f", "user.mine", "1", 1, 0));
        TRY(setxattr("d", "user.mine", "1", 1, 0));
    }
    TRY(chmod("f", 0644));
    TRY(chmod("d", 01777));
    AS(USER_A, GROUP_A)
    {
        TRY(setxattr("f", "user.mine", "2", 1, 0));
        TRY(getxattr("f", "user.mine", room, sizeof room));
        TRY(removexattr("f", "user.mine"));
        TRY(setxattr("d", "user.mine", "2", 1, 0));
    }
    TRY(chmod("f", 0));
    AS(USER_A, GROUP_A)
    {
        TRY(getxattr("f", "user.mine", room, sizeof room));
        list("f");
    }
}

static void xattrs_label(void)
{
    char room[64];

    twin_touch("f", 0644);
    TRY(getxattr("f", "security.selinux", room, sizeof room));
    TRY(setxattr("f", "security.selinux", "u:r:t", 5, 0));
    TRY(getxattr("f", "security.selinux", room, sizeof room));
    TRY(removexattr("f", "security.selinux"));
}

/* security.capability falls with what is written, and needs the right form. */
static void xattrs_capability(void)
{
    static const uint8_t cap[20] = { 0, 0, 0, 2, 0, 4, 0, 0 };
    char room[64];
    int fd;

    twin_write_file("f", 100, 1);
    TRY(setxattr("f", "security.capability", "bad", 3, 0));
    TRY(setxattr("f", "security.capability", cap, sizeof cap, 0));
    TRY(getxattr("f", "security.capability", room, sizeof room));
    TRY(chmod("f", 0777));
    TRY(getxattr("f", "security.capability", room, sizeof room));
    fd = FD(open("f", O_WRONLY));
    TRY(write(fd, "x", 1));
    TRY(getxattr("f", "security.capability", room, sizeof room));
    TRY(close(fd));
    TRY(setxattr("f", "security.capability", cap, sizeof cap, 0));
    TRY(truncate("f", 5));
    TRY(getxattr("f", "security.capability", room, sizeof room));
    TRY(setxattr("f", "security.capability", cap, sizeof cap, 0));
    TRY(chown("f", 1, 1));
    TRY(getxattr("f", "security.capability", room, sizeof room));
}

static void xattrs_times(void)
{
    twin_touch("f", 0644);
    MOVES("f", setxattr("f", "user.a", "1", 1, 0));
    MOVES("f", setxattr("f", "user.a", "2", 1, 0));
    MOVES("f", removexattr("f", "user.a"));
    MOVES("f", removexattr("f", "user.a"));
    MOVES("f", getxattr("f", "user.a", NULL, 0));
}

const struct twin_body twin_xattrs_bodies[] = {
    { .name = "xattrs_user", .run = xattrs_user },
    { .name = "xattrs_sizes", .run = xattrs_sizes },
    { .name = "xattrs_kinds", .run = xattrs_kinds },
    { .name = "xattrs_capability", .run = xattrs_capability },
    { .name = "xattrs_label", .run = xattrs_label },
    { .name = "xattrs_times", .run = xattrs_times },
    { .name = NULL },
};
