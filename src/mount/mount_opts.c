#include "mount/mount_opts.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"

enum { WORD_BYTES_MAX = PATH_MAX + 64 };

struct parse {
    struct mount_opts *opts;
    const char *config_path; /* borrowed from argv, or NULL */
    char config_word[PATH_MAX];
    char *why;
    size_t why_bytes;
};

static int parse_list(struct parse *p, const char *list);
static int parse_word(struct parse *p, char *word);
static int finish(struct parse *p, char *source, char *dir);

static int fail(struct parse *p, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct parse *p, int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(p->why, p->why_bytes, format, args);
    va_end(args);
    return rc;
}

static const char usage_text[] =
    "usage: phrfs SOURCE DIR [-f] [-d] [-o option,...]\n"
    "       phrfs --check [-o config=FILE]\n"
    "  -f                    stay in the foreground\n"
    "  -d                    log everything (implies -f)\n"
    "  -o config=FILE        configuration, default /etc/phr/phr.conf\n"
    "  -o identity=FILE      keyring of one identity for the whole mount\n"
    "  -o passfile=FILE      its passphrase: first line of a file that is 0600\n"
    "  -o passfd=N           its passphrase from an open descriptor\n"
    "  -o ownership=WHAT     stored or grants; default grants with allow_other\n"
    "  -o allow_other        other users may use the mount\n"
    "  -o ro,rw,nosuid,nodev,noexec,noatime,uid=N,gid=N,umask=N\n"
    "See phrfs(8).\n";

int mount_opts_parse(int argc, char *argv[], struct mount_opts *out_opts, char *out_why,
                     size_t why_bytes)
{
    static const struct option long_opts[] = { { "help", no_argument, NULL, 'h' },
                                               { "version", no_argument, NULL, 'V' },
                                               { "check", no_argument, NULL, 'c' },
                                               { 0 } };
    struct parse p = { .opts = out_opts, .why = out_why, .why_bytes = why_bytes };
    int rc = 0;
    int c;

    memset(out_opts, 0, sizeof *out_opts);
    out_opts->title = argv[0];
    for (int i = 0; i < argc && argv[i] == argv[0] + out_opts->title_bytes; i++)
        out_opts->title_bytes += strlen(argv[i]) + 1; /* they lie one behind the other */
    out_opts->fuse_fd = -1;
    out_opts->identity_fd = -1;
    out_opts->pass_fd = -1;
    out_why[0] = '\0';
    opterr = 0;
    while (rc == 0 && (c = getopt_long(argc, argv, "fdo:hV", long_opts, NULL)) != -1) {
        switch (c) {
        case 'f':
            out_opts->is_foreground = true;
            break;
        case 'd':
            out_opts->is_debug = out_opts->is_foreground = true;
            break;
        case 'o':
            rc = parse_list(&p, optarg);
            break;
        case 'c':
            out_opts->is_check = out_opts->is_foreground = out_opts->is_read_only = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return PHR_E_USAGE;
        case 'V':
            puts("phrfs " PHR_VERSION);
            return PHR_E_USAGE;
        default:
            return fail(&p, PHR_E_USAGE, "unknown argument '%s'; see phrfs --help",
                        argv[optind - 1]);
        }
    }
    if (rc == 0 && out_opts->is_check && argc == optind)
        return finish(&p, NULL, NULL);
    if (rc < 0)
        return rc;
    if (argc - optind != 2 || out_opts->is_check)
        return fail(&p, PHR_E_USAGE,
                    "phrfs needs a source and a directory; see phrfs --help");
    return finish(&p, argv[optind], argv[optind + 1]);
}

/* Words are separated by commas; "\," is a comma inside a word, as in fstab. */
static int parse_list(struct parse *p, const char *list)
{
    char word[WORD_BYTES_MAX];
    size_t n = 0;
    int rc = 0;

    for (const char *at = list; rc == 0; at++) {
        if (*at == '\\' && at[1] != '\0') {
            at++;
        } else if (*at == ',' || *at == '\0') {
            word[n] = '\0';
            if (n > 0)
                rc = parse_word(p, word);
            n = 0;
            if (*at == '\0')
                break;
            continue;
        }
        if (n + 1 >= sizeof word)
            return fail(p, PHR_E_USAGE, "an option is too long");
        word[n++] = *at;
    }
    return rc;
}

static int set_text(struct parse *p, char *room, size_t room_bytes, const char *name,
                    const char *value)
{
    if ((size_t)snprintf(room, room_bytes, "%s", value) >= room_bytes)
        return fail(p, PHR_E_USAGE, "the value of '%s' is too long", name);
    return 0;
}

static int set_number(struct parse *p, const char *name, const char *value, int base,
                      uint32_t *out_number)
{
    char *end = NULL;
    unsigned long number;

    errno = 0;
    number = strtoul(value, &end, base);
    if (errno != 0 || end == value || *end != '\0' || number > UINT32_MAX ||
        value[0] == '-')
        return fail(p, PHR_E_USAGE, "'%s=%s' is not a number", name, value);
    *out_number = (uint32_t)number;
    return 0;
}

static int set_fd(struct parse *p, const char *name, const char *value, int *out_fd)
{
    uint32_t number;
    int rc = set_number(p, name, value, 10, &number);

    if (rc < 0)
        return rc;
    if (number > INT_MAX || fcntl((int)number, F_GETFD) < 0)
        return fail(p, PHR_E_USAGE, "'%s=%s' is not an open descriptor", name, value);
    *out_fd = (int)number;
    return 0;
}

static int set_ownership(struct parse *p, const char *value)
{
    if (strcmp(value, "stored") == 0)
        p->opts->ownership = VAULT_OWNERSHIP_STORED;
    else if (strcmp(value, "grants") == 0)
        p->opts->ownership = VAULT_OWNERSHIP_GRANTS;
    else
        return fail(p, PHR_E_USAGE, "ownership is 'stored' or 'grants', not '%s'", value);
    return 0;
}

/* Handled by the kernel: told to mount(2) in the order given. */
static bool is_kernel_word(const char *word)
{
    static const char *const words[] = { "ro",    "rw",    "nosuid", "suid",
                                         "nodev", "dev",   "exec",   "noexec",
                                         "sync",  "async", "dirsync" };

    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (strcmp(word, words[i]) == 0)
            return true;
    }
    return false;
}

static int add_kernel_word(struct parse *p, const char *word)
{
    struct mount_opts *o = p->opts;
    size_t used = strlen(o->kernel_words);
    int n = snprintf(o->kernel_words + used, sizeof o->kernel_words - used, ",%s", word);

    if (n < 0 || (size_t)n >= sizeof o->kernel_words - used)
        return fail(p, PHR_E_USAGE, "too many mount options");
    if (strcmp(word, "ro") == 0)
        o->is_read_only = true;
    else if (strcmp(word, "rw") == 0)
        o->is_read_only = false;
    return 0;
}

static int parse_value(struct parse *p, const char *name, const char *value)
{
    struct mount_opts *o = p->opts;

    if (strcmp(name, "config") == 0) {
        p->config_path = p->config_word;
        return set_text(p, p->config_word, sizeof p->config_word, name, value);
    }
    if (strcmp(name, "identity") == 0)
        return set_text(p, o->identity, sizeof o->identity, name, value);
    if (strcmp(name, "passfile") == 0)
        return set_text(p, o->passfile, sizeof o->passfile, name, value);
    if (strcmp(name, "dir") == 0)
        return set_text(p, o->dir, sizeof o->dir, name, value);
    if (strcmp(name, "passfd") == 0)
        return set_fd(p, name, value, &o->pass_fd);
    if (strcmp(name, "identityfd") == 0)
        return set_fd(p, name, value, &o->identity_fd);
    if (strcmp(name, "ownership") == 0)
        return set_ownership(p, value);
    if (strcmp(name, "uid") == 0)
        return o->has_uid = true, set_number(p, name, value, 10, &o->uid);
    if (strcmp(name, "gid") == 0)
        return o->has_gid = true, set_number(p, name, value, 10, &o->gid);
    if (strcmp(name, "umask") == 0)
        return o->has_umask = true, set_number(p, name, value, 8, &o->umask);
    return fail(p, PHR_E_USAGE, "unknown mount option '%s'", name);
}

static int parse_word(struct parse *p, char *word)
{
    char *value = strchr(word, '=');

    if (value) {
        *value = '\0';
        return parse_value(p, word, value + 1);
    }
    if (is_kernel_word(word))
        return add_kernel_word(p, word);
    if (strcmp(word, "allow_other") == 0)
        p->opts->is_for_all = true;
    else if (strcmp(word, "debug") == 0)
        p->opts->is_debug = p->opts->is_foreground = true;
    else if (strcmp(word, "noatime") != 0 && strcmp(word, "default_permissions") != 0)
        return fail(p, PHR_E_USAGE, "unknown mount option '%s'", word);
    return 0; /* noatime and default_permissions: always so */
}

static int take_source(struct parse *p, const char *source)
{
    if (source[0] == '\0' || strlen(source) > SOURCE_BYTES_MAX)
        return fail(p, PHR_E_USAGE, "the source is a name of 1 to %d bytes",
                    SOURCE_BYTES_MAX);
    if (strcmp(source, "/dev/fuse") == 0)
        return fail(p, PHR_E_USAGE,
                    "do not name a mount /dev/fuse: systemd would unmount it");
    return set_text(p, p->opts->source, sizeof p->opts->source, "source", source);
}

static int take_dir(struct parse *p, const char *dir)
{
    struct mount_opts *o = p->opts;
    struct stat st;

    if (strncmp(dir, "/dev/fd/", 8) == 0)
        return set_fd(p, "/dev/fd", dir + 8, &o->fuse_fd);
    if (!realpath(dir, o->dir))
        return fail(p, -errno, "cannot mount on %s: %s", dir, strerror(errno));
    if (stat(o->dir, &st) < 0)
        return fail(p, -errno, "cannot mount on %s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return fail(p, -ENOTDIR, "cannot mount on %s: not a directory", dir);
    return 0;
}

/* The daemon leaves its directory, so paths become absolute now. */
static int make_absolute(struct parse *p, char path[PATH_MAX], const char *name)
{
    char absolute[PATH_MAX];

    if (path[0] == '\0')
        return 0;
    if (!realpath(path, absolute))
        return fail(p, -errno, "%s %s: %s", name, path, strerror(errno));
    memcpy(path, absolute, sizeof absolute);
    return 0;
}

static int finish(struct parse *p, char *source, char *dir)
{
    struct mount_opts *o = p->opts;
    int rc = source ? take_source(p, source) : 0;

    if (rc == 0 && dir)
        rc = take_dir(p, dir);
    if (rc == 0)
        rc = make_absolute(p, o->identity, "identity");
    if (rc == 0)
        rc = make_absolute(p, o->passfile, "passfile");
    if (rc == 0)
        rc = config_load(p->config_path, &o->config, p->why, p->why_bytes);
    if (rc < 0)
        return rc;
    if (o->passfile[0] && o->pass_fd >= 0)
        return fail(p, PHR_E_USAGE, "passfile= and passfd= exclude each other");
    if ((o->passfile[0] || o->pass_fd >= 0) != (o->identity[0] || o->identity_fd >= 0))
        return fail(p, PHR_E_USAGE, "identity= and passfile= (or passfd=) go together");
    if (o->ownership == 0)
        o->ownership = o->is_for_all ? VAULT_OWNERSHIP_GRANTS : VAULT_OWNERSHIP_STORED;
    return 0;
}
