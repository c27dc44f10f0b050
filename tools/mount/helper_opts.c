#include "helper_opts.h"

#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

enum { WORD_BYTES_MAX = PATH_MAX + 64 };

/* Words for others: systemd, mount(8), or what is always so here. */
static const char *const ignored_words[] = {
    "defaults",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
    "user",
    "users",
    "owner",
    "group",
    "loop",
    "comment=*",
    "x-*",
    "X-*",
    "dev",
    "suid",
    "exec",
    "async",
    "relatime",
    "atime",
    "strictatime",
    "norelatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "noatime",
    "nodiratime",
    "diratime",
    "nouser",
    "nousers",
    "nogroup",
    "noowner",
    "user=*",
    "helper=*",
    "uhelper=*",
    "subtype=*",
    "fsname=*",
    "user_id=*",
    "group_id=*",
    "rootmode=*",
    "max_read=*",
    "fd=*",
    "blksize=*",
    "default_permissions",
    "mand",
    "nomand",
    "silent",
    "loud",
    "seclabel",
};

static const struct {
    const char *word;
    unsigned long set;
    unsigned long clear;
} flag_words[] = {
    { "ro", MS_RDONLY, 0 },       { "rw", 0, MS_RDONLY },
    { "nosuid", MS_NOSUID, 0 },   { "nodev", MS_NODEV, 0 },
    { "noexec", MS_NOEXEC, 0 },   { "sync", MS_SYNCHRONOUS, 0 },
    { "dirsync", MS_DIRSYNC, 0 },
};

/* Understood by phrfs; see phrfs(8). */
static const char *const own_words[] = { "ownership", "uid", "gid", "umask", "passfd" };

struct parse {
    struct helper_opts *opts;
    char *why;
    size_t why_bytes;
};

static int parse_word(struct parse *p, const char *word);

static int refuse(struct parse *p, const char *text, const char *word)
{
    snprintf(p->why, p->why_bytes, "%s '%s'", text, word);
    return PHR_E_USAGE;
}

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
            return refuse(p, "an option is too long:", "-o");
        word[n++] = *at;
    }
    return rc;
}

int helper_opts_parse(int argc, char *argv[], struct helper_opts *out_opts, char *out_why,
                      size_t why_bytes)
{
    struct parse p = { .opts = out_opts, .why = out_why, .why_bytes = why_bytes };
    const char *list = "";
    int c;

    memset(out_opts, 0, sizeof *out_opts);
    out_opts->flags = MS_NOSUID | MS_NODEV | MS_NOATIME;
    out_why[0] = '\0';
    opterr = 0;
    while ((c = getopt(argc, argv, "o:vfsnN:t:")) != -1) {
        switch (c) {
        case 'o':
            list = optarg;
            break;
        case 'v':
            out_opts->is_verbose = true;
            break;
        case 'f':
            out_opts->is_fake = true;
            break;
        case 's':
            out_opts->is_sloppy = true;
            break;
        case 'n':
            out_opts->no_table = true;
            break;
        case 'N': /* mount(8) has entered the namespace already */
        case 't': /* fuse.phrfs or phrfs: the same */
            break;
        default:
            return refuse(&p, "unknown argument", argv[optind - 1]);
        }
    }
    if (argc - optind != 2) {
        snprintf(out_why, why_bytes,
                 "usage: mount.phrfs SOURCE DIR [-v] [-f] [-s] [-n] [-o option,...]");
        return PHR_E_USAGE;
    }
    out_opts->source = argv[optind];
    out_opts->dir = argv[optind + 1];
    return parse_list(&p, list); /* after all flags: -s may stand behind -o */
}

int helper_opts_add(char *list, size_t list_bytes, const char *name, const char *value)
{
    size_t n = strlen(list);
    int put = snprintf(list + n, list_bytes - n, ",%s%s", name, value ? "=" : "");

    if (put < 0 || (size_t)put >= list_bytes - n)
        return PHR_E_LIMIT;
    n += (size_t)put;
    for (; value && *value; value++) {
        if (n + 3 >= list_bytes)
            return PHR_E_LIMIT;
        if (*value == ',' || *value == '\\')
            list[n++] = '\\';
        list[n++] = *value;
    }
    list[n] = '\0';
    return 0;
}

static bool is_ignored(const char *word)
{
    for (size_t i = 0; i < sizeof ignored_words / sizeof ignored_words[0]; i++) {
        if (fnmatch(ignored_words[i], word, 0) == 0)
            return true;
    }
    return false;
}

static bool take_flag(struct helper_opts *o, const char *word)
{
    for (size_t i = 0; i < sizeof flag_words / sizeof flag_words[0]; i++) {
        if (strcmp(word, flag_words[i].word) != 0)
            continue;
        o->flags = (o->flags | flag_words[i].set) & ~flag_words[i].clear;
        return helper_opts_add(o->kernel_words, sizeof o->kernel_words, word, NULL) == 0;
    }
    return false;
}

static int take_path(struct parse *p, char room[PATH_MAX], const char *word,
                     const char *value)
{
    if ((size_t)snprintf(room, PATH_MAX, "%s", value) >= PATH_MAX)
        return refuse(p, "the path is too long:", word);
    return 0;
}

static int take_value(struct parse *p, const char *word)
{
    struct helper_opts *o = p->opts;
    const char *value = strchr(word, '=');
    char name[32];
    size_t n = value ? (size_t)(value - word) : 0;

    if (!value || n >= sizeof name)
        return o->is_sloppy ? 0 : refuse(p, "unknown mount option", word);
    memcpy(name, word, n);
    name[n] = '\0';
    value++;
    if (strcmp(name, "config") == 0)
        return take_path(p, o->config, word, value);
    if (strcmp(name, "identity") == 0)
        return take_path(p, o->identity, word, value);
    if (strcmp(name, "passfile") == 0)
        return take_path(p, o->passfile, word, value);
    for (size_t i = 0; i < sizeof own_words / sizeof own_words[0]; i++) {
        if (strcmp(name, own_words[i]) == 0)
            return helper_opts_add(o->words, sizeof o->words, name, value);
    }
    return o->is_sloppy ? 0 : refuse(p, "unknown mount option", word);
}

static int parse_word(struct parse *p, const char *word)
{
    struct helper_opts *o = p->opts;

    if (take_flag(o, word) || is_ignored(word))
        return 0;
    if (strcmp(word, "allow_other") == 0) {
        o->is_for_all = true;
        return helper_opts_add(o->words, sizeof o->words, word, NULL);
    }
    if (strcmp(word, "remount") == 0) {
        o->is_remount = true;
        return 0;
    }
    return take_value(p, word);
}
