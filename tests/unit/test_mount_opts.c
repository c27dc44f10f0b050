#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount/mount_opts.h"

static struct mount_opts opts;
static char why[512];

/* phrfs SOURCE DIR -o words */
static int parse(const char *source, const char *dir, const char *words)
{
    char program[] = "phrfs";
    char flag[] = "-o";
    char a[500], b[500], c[1200];
    char *argv[] = { program, a, b, flag, c, NULL };

    snprintf(a, sizeof a, "%s", source);
    snprintf(b, sizeof b, "%s", dir);
    snprintf(c, sizeof c, "%s", words);
    optind = 1;
    return mount_opts_parse(5, argv, &opts, why, sizeof why);
}

TEST(mount_opts__have_safe_defaults)
{
    UNUSED_STATE;
    CHECK_EQ(parse("phr:h1", "/tmp", "rw"), 0);
    CHECK_EQ(opts.ownership, VAULT_OWNERSHIP_STORED);
    CHECK(!opts.is_for_all && !opts.is_read_only && !opts.is_foreground);
    CHECK_EQ(strcmp(opts.source, "phr:h1"), 0);
    CHECK_EQ(strcmp(opts.dir, "/tmp"), 0);
    CHECK_EQ(opts.fuse_fd, -1);
}

TEST(mount_opts__rights_come_from_grants_with_allow_other)
{
    UNUSED_STATE;
    CHECK_EQ(parse("phr", "/tmp", "allow_other"), 0);
    CHECK_EQ(opts.ownership, VAULT_OWNERSHIP_GRANTS);
    CHECK_EQ(parse("phr", "/tmp", "allow_other,ownership=stored"), 0);
    CHECK_EQ(opts.ownership, VAULT_OWNERSHIP_STORED);
    CHECK_EQ(parse("phr", "/tmp", "ownership=both"), PHR_E_USAGE);
    CHECK(strstr(why, "both") != NULL);
}

TEST(mount_opts__kernel_words_go_to_the_kernel)
{
    UNUSED_STATE;
    CHECK_EQ(parse("phr", "/tmp", "ro,nosuid,noexec,noatime"), 0);
    CHECK(opts.is_read_only);
    CHECK_EQ(strcmp(opts.kernel_words, ",ro,nosuid,noexec"), 0);
}

TEST(mount_opts__unknown_words_are_named)
{
    static const char *const bad[] = { "frobnicate", "frobnicate=1", "=1",
                                       "allow_other=1" };

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(parse("phr", "/tmp", bad[i]), PHR_E_USAGE);
    CHECK_EQ(parse("phr", "/tmp", "ro,frobnicate"), PHR_E_USAGE);
    CHECK(strstr(why, "'frobnicate'") != NULL);
}

TEST(mount_opts__numbers_are_checked)
{
    static const char *const bad[] = { "uid=",           "uid=x",   "uid=-1",
                                       "uid=4294967296", "umask=9", "passfd=999",
                                       "passfd=-1" };

    UNUSED_STATE;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(parse("phr", "/tmp", bad[i]), PHR_E_USAGE);
    CHECK_EQ(parse("phr", "/tmp", "uid=1000,gid=1001,umask=027"), 0);
    CHECK(opts.has_uid && opts.uid == 1000 && opts.gid == 1001 && opts.umask == 027);
}

TEST(mount_opts__identity_needs_its_passphrase)
{
    UNUSED_STATE;
    CHECK_EQ(parse("phr", "/tmp", "identity=/dev/null"), PHR_E_USAGE);
    CHECK_EQ(parse("phr", "/tmp", "passfile=/dev/null"), PHR_E_USAGE);
    CHECK_EQ(parse("phr", "/tmp", "identity=/dev/null,passfile=/dev/null"), 0);
    CHECK_EQ(parse("phr", "/tmp", "identity=/nonexistent,passfile=/dev/null"), -ENOENT);
    CHECK(strstr(why, "/nonexistent") != NULL);
    CHECK_EQ(parse("phr", "/tmp", "identity=/dev/null,passfile=/dev/null,passfd=0"),
             PHR_E_USAGE);
}

TEST(mount_opts__commas_can_be_escaped)
{
    UNUSED_STATE;
    CHECK_EQ(parse("phr", "/tmp", "dir=/a\\,b\\\\c,ro"), 0);
    CHECK(opts.is_read_only);
}

TEST(mount_opts__refuse_what_is_no_source_or_directory)
{
    char longer[400];

    UNUSED_STATE;
    memset(longer, 'x', sizeof longer);
    longer[280] = '\0';
    CHECK_EQ(parse("", "/tmp", "ro"), PHR_E_USAGE);
    CHECK_EQ(parse(longer, "/tmp", "ro"), PHR_E_USAGE);
    CHECK_EQ(parse("/dev/fuse", "/tmp", "ro"), PHR_E_USAGE);
    CHECK_EQ(parse("phr", "/nonexistent", "ro"), -ENOENT);
    CHECK_EQ(parse("phr", "/dev/null", "ro"), -ENOTDIR);
}

TEST(mount_opts__take_the_descriptor_of_the_helper)
{
    char dir[32];
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    UNUSED_STATE;
    snprintf(dir, sizeof dir, "/dev/fd/%d", fd);
    CHECK_EQ(parse("phr", dir, "dir=/phr"), 0);
    CHECK_EQ(opts.fuse_fd, fd);
    CHECK_EQ(strcmp(opts.dir, "/phr"), 0);
    close(fd);
    CHECK_EQ(parse("phr", dir, "dir=/phr"), PHR_E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(mount_opts__have_safe_defaults),
        UNIT(mount_opts__rights_come_from_grants_with_allow_other),
        UNIT(mount_opts__kernel_words_go_to_the_kernel),
        UNIT(mount_opts__unknown_words_are_named),
        UNIT(mount_opts__numbers_are_checked),
        UNIT(mount_opts__identity_needs_its_passphrase),
        UNIT(mount_opts__commas_can_be_escaped),
        UNIT(mount_opts__refuse_what_is_no_source_or_directory),
        UNIT(mount_opts__take_the_descriptor_of_the_helper),
    };

    setenv("PHR_HOME", "/nonexistent/home", 1);
    unsetenv("PHR_CONFIG");
    return RUN_TESTS(tests);
}
