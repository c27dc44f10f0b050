#include "twin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static const char access_name[] = "system.posix_acl_access";
static const char default_name[] = "system.posix_acl_default";

/* getfacl and setfacl of Debian's acl package, as people use them; -n keeps the ids as numbers. */
static int setfacl(const char *options)
{
    char line[300];
    int status;

    snprintf(line, sizeof line, "setfacl %s 2>/dev/null", options);
    status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void getfacl(const char *path)
{
    char line[300], label[64];
    FILE *out;

    snprintf(line, sizeof line, "getfacl -n --omit-header -E %s 2>&1", path);
    snprintf(label, sizeof label, "getfacl %s", path);
    out = popen(line, "r");
    while (out && fgets(line, sizeof line, out)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0])
            twin_line(label, "%s", line);
    }
    if (out)
        pclose(out);
}

static void acls_access(void)
{
    TRY(chmod(".", 0755));
    twin_write_file("f", 10, 1);
    TRY(chmod("f", 0600));
    getfacl("f");
    TRY(setfacl("-m u:4711:r f"));
    getfacl("f");
    twin_show("f");
    AS(USER_A, GROUP_A)
    {
        TRY(open("f", O_RDONLY) >= 0);
        TRY(open("f", O_RDWR));
        TRY(access("f", R_OK));
        TRY(access("f", W_OK));
        TRY(setfacl("-m u:4712:r f"));
    }
    AS(USER_B, GROUP_B)
    {
        TRY(open("f", O_RDONLY));
    }
    TRY(chmod("f", 0600)); /* the mask goes */
    getfacl("f");
    AS(USER_A, GROUP_A)
    {
        TRY(open("f", O_RDONLY));
    }
    TRY(chmod("f", 0664));
    getfacl("f");
    TRY(setfacl("-m g:4722:rw,m::rwx f"));
    getfacl("f");
    twin_show("f");
    AS(USER_B, GROUP_B)
    {
        TRY(open("f", O_RDWR) >= 0);
    }
    TRY(setfacl("-x u:4711 f"));
    getfacl("f");
    TRY(setfacl("-b f"));
    getfacl("f");
    twin_show("f");
    TRY(getxattr("f", access_name, NULL, 0));
    TRY(setfacl("-m u:4711:- f"));
    AS(USER_A, GROUP_A)
    {
        TRY(open("f", O_RDONLY));
    }
    TRY(setfacl("-d -m u:4711:r f")); /* only directories have one */
}

static void acls_default(void)
{
    umask(077);
    TRY(mkdir("d", 0755));
    TRY(chmod("d", 0755));
    TRY(setfacl("-d -m u:4711:rwx,g:4722:rx d"));
    getfacl("d");
    TRY(close(open("d/f", O_CREAT | O_RDWR, 0666)));
    TRY(close(open("d/x", O_CREAT | O_RDWR, 0700)));
    TRY(mkdir("d/sub", 0777));
    TRY(mkfifo("d/p", 0666));
    TRY(symlink("f", "d/s"));
    TRY(mknod("d/n", S_IFREG | 0666, 0));
    getfacl("d/f");
    twin_show("d/f");
    getfacl("d/x");
    twin_show("d/x");
    getfacl("d/sub");
    twin_show("d/sub");
    getfacl("d/p");
    twin_show("d/p");
    getfacl("d/n");
    TRY(mkdir("d/sub/deeper", 0700));
    getfacl("d/sub/deeper");
    AS(USER_A, GROUP_A)
    {
        TRY(open("d/f", O_RDWR) >= 0);
        TRY(open("d/sub/mine", O_CREAT | O_RDWR, 0666) >= 0);
        TRY(open("d/mine", O_CREAT | O_RDWR, 0666));
    }
    twin_show("d/sub/mine");
    getfacl("d/sub/mine");
    TRY(rename("d/f", "moved"));
    getfacl("moved");
    TRY(setfacl("-k d"));
    getfacl("d");
    TRY(close(open("d/plain", O_CREAT | O_RDWR, 0666)));
    twin_show("d/plain");
    TRY(setfacl("-d -m u::rwx,g::-,o::- d"));
    umask(0);
    TRY(close(open("d/minimal", O_CREAT | O_RDWR, 0666)));
    twin_show("d/minimal");
    getfacl("d/minimal");
}

static void acls_modes(void)
{
    twin_touch("f", 0640);
    TRY(setfacl("-m u:4711:rwx,g:4722:rx f"));
    for (unsigned mode = 0; mode <= 0777; mode += 0137) {
        TRY(chmod("f", mode));
        getfacl("f");
        twin_show("f");
    }
    TRY(chown("f", USER_A, GROUP_A));
    getfacl("f");
    TRY(chmod("f", 02755));
    TRY(setfacl("-m u:4712:r f")); /* root keeps set-group-id */
    twin_show("f");
    TRY(chown("f", USER_A, GROUP_B));
    TRY(chmod("f", 02755));
    AS(USER_A, GROUP_A)
    {
        TRY(setfacl("-m u:4712:rx f")); /* an owner outside the group does not */
    }
    twin_show("f");
    TRY(mkdir("d", 0755));
    TRY(chown("d", USER_A, GROUP_B));
    TRY(chmod("d", 02755));
    AS(USER_A, GROUP_A)
    {
        TRY(setfacl("-d -m u:4712:rx d")); /* a default ACL takes nothing away */
    }
    twin_show("d");
    AS(USER_A, GROUP_A)
    {
        TRY(setfacl("-m u:4712:rx d"));
    }
    twin_show("d");
    MOVES("f", setfacl("-m u:4713:r f"));
    MOVES("f", setfacl("-b f"));
}

static void acls_raw(void)
{
    /* version 2, then tag, rights, id: owner rw, group r, other r */
    static const uint8_t minimal[] = { 2,   0,   0, 0, 1,   0,   6,   0,   255, 255,
                                       255, 255, 4, 0, 4,   0,   255, 255, 255, 255,
                                       32,  0,   0, 0, 255, 255, 255, 255 };
    uint8_t bad[sizeof minimal];

    twin_touch("f", 0777);
    TRY(mkdir("d", 0755));
    TRY(symlink("f", "s"));
    TRY(setxattr("f", access_name, minimal, sizeof minimal, 0));
    twin_show("f");
    TRY(getxattr("f", access_name, NULL, 0)); /* says what the mode says: not kept */
    TRY(setxattr("f", default_name, minimal, sizeof minimal, 0));
    TRY(setxattr("d", default_name, minimal, sizeof minimal, 0));
    TRY(getxattr("d", default_name, NULL, 0));
    TRY(listxattr("d", NULL, 0));
    TRY(removexattr("d", default_name));
    TRY(removexattr("d", default_name));
    TRY(removexattr("f", access_name));
    memcpy(bad, minimal, sizeof bad);
    bad[0] = 3;
    TRY(setxattr("f", access_name, bad, sizeof bad, 0));
    bad[0] = 2;
    TRY(setxattr("f", access_name, bad, sizeof bad - 8, 0));
    TRY(setxattr("f", access_name, bad, sizeof bad - 1, 0));
    TRY(setxattr("f", access_name, bad, 4, 0));
    TRY(setxattr("f", access_name, bad, 0, 0));
    bad[4] = 99;
    TRY(setxattr("f", access_name, bad, sizeof bad, 0));
    TRY(lsetxattr("s", access_name, minimal, sizeof minimal, 0));
    TRY(lgetxattr("s", access_name, NULL, 0));
    AS(USER_A, GROUP_A)
    {
        TRY(setxattr("f", access_name, minimal, sizeof minimal, 0));
    }
}

const struct twin_body twin_acls_bodies[] = {
    { .name = "acls_access", .run = acls_access },
    { .name = "acls_default", .run = acls_default },
    { .name = "acls_modes", .run = acls_modes },
    { .name = "acls_raw", .run = acls_raw },
    { .name = NULL },
};
