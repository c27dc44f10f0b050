#include "args.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct option_row {
    const char *name;
    const char *argument;
    const char *help;
} option_rows[ARG_COUNT] = {
#define X(id, option_name, option_argument, option_help) \
    [ARG_##id] = { option_name, option_argument, option_help },
    ARGS_OPTIONS(X)
#undef X
};

static bool has_words(const char *name, int argc, char *argv[], int *out_used)
{
    int used = 0;

    while (*name) {
        size_t n = strcspn(name, " ");

        if (used >= argc || strlen(argv[used]) != n || strncmp(argv[used], name, n) != 0)
            return false;
        used++;
        name += n + (name[n] == ' ');
    }
    *out_used = used;
    return true;
}

const struct args_command *args_find(const struct args_command *all, size_t count,
                                     int argc, char *argv[], int *out_used)
{
    const struct args_command *found = NULL;
    int longest = 0;
    int used = 0;

    for (size_t i = 0; i < count; i++) {
        if (has_words(all[i].name, argc, argv, &used) && used > longest) {
            found = &all[i];
            longest = used;
        }
    }
    *out_used = longest;
    return found;
}

static int find_option(const char *word, size_t n)
{
    for (int i = 0; i < ARG_COUNT; i++) {
        if (strlen(option_rows[i].name) == n &&
            strncmp(option_rows[i].name, word, n) == 0)
            return i;
    }
    return -1;
}

/* One option at argv[*io_at]; moves *io_at past its argument. */
static int parse_option(const struct args_command *cmd, int argc, char *argv[],
                        int *io_at, struct args *a, char *out_why, size_t why_bytes)
{
    const char *word = strcmp(argv[*io_at], "-o") == 0 ? "options" : argv[*io_at] + 2;
    const char *equals = strchr(word, '=');
    int o = find_option(word, equals ? (size_t)(equals - word) : strlen(word));

    if (o < 0 || !((cmd->options | ARGS_ALWAYS) & (UINT64_C(1) << o))) {
        snprintf(out_why, why_bytes, "%s does not know %s; see phr %s --help", cmd->name,
                 argv[*io_at], cmd->name);
        return PHR_E_USAGE;
    }
    a->is_set[o] = true;
    if (!option_rows[o].argument) {
        if (!equals)
            return 0;
        snprintf(out_why, why_bytes, "--%s takes no value", option_rows[o].name);
        return PHR_E_USAGE;
    }
    if (!equals && *io_at + 1 >= argc) {
        snprintf(out_why, why_bytes, "--%s needs a value: %s", option_rows[o].name,
                 option_rows[o].argument);
        return PHR_E_USAGE;
    }
    a->text[o] = equals ? equals + 1 : argv[++*io_at];
    return 0;
}

int args_parse(const struct args_command *cmd, int argc, char *argv[],
               struct args *out_args, char *out_why, size_t why_bytes)
{
    bool words_only = false;
    int rc = 0;

    *out_args = (struct args){ 0 };
    for (int i = 0; i < argc && rc == 0; i++) {
        if (!words_only && strcmp(argv[i], "--") == 0) {
            words_only = true;
        } else if (!words_only &&
                   (strncmp(argv[i], "--", 2) == 0 || strcmp(argv[i], "-o") == 0)) {
            rc = parse_option(cmd, argc, argv, &i, out_args, out_why, why_bytes);
        } else if (!words_only && strcmp(argv[i], "-h") == 0) {
            out_args->is_set[ARG_HELP] = true;
        } else if (out_args->word_count >= cmd->words_max) {
            snprintf(out_why, why_bytes, "'%s' is one word too many; see phr %s --help",
                     argv[i], cmd->name);
            rc = PHR_E_USAGE;
        } else {
            out_args->words[out_args->word_count++] = argv[i];
        }
    }
    if (rc < 0 || out_args->is_set[ARG_HELP])
        return rc;
    if (out_args->word_count < cmd->words_min) {
        snprintf(out_why, why_bytes, "usage: phr %s %s; see phr %s --help", cmd->name,
                 cmd->words, cmd->name);
        return PHR_E_USAGE;
    }
    for (int o = 0; o < ARG_COUNT; o++) {
        if ((cmd->required & (UINT64_C(1) << o)) && !out_args->is_set[o]) {
            snprintf(out_why, why_bytes, "say --%s %s; see phr %s --help",
                     option_rows[o].name, option_rows[o].argument, cmd->name);
            return PHR_E_USAGE;
        }
    }
    return 0;
}

void args_print_help(const struct args_command *cmd)
{
    printf("usage: phr %s%s%s [options]\n\n%s\n\n", cmd->name, cmd->words[0] ? " " : "",
           cmd->words, cmd->purpose);
    for (int i = 0; i < ARG_COUNT; i++) {
        char left[64];

        if (!((cmd->options | ARGS_ALWAYS) & (UINT64_C(1) << i)))
            continue;
        snprintf(left, sizeof left, "--%s%s%s", option_rows[i].name,
                 option_rows[i].argument ? " " : "",
                 option_rows[i].argument ? option_rows[i].argument : "");
        printf("  %-28s %s\n", left, option_rows[i].help);
    }
    printf("\nSee phr(1).\n");
}

struct phr_passphrase args_get_passphrase(const struct args *a, enum args_option file,
                                          enum args_option fd, const char *prompt)
{
    struct phr_passphrase p = { .fd = -1, .file = a->text[file], .prompt = prompt };
    uint64_t number;

    if (a->text[fd]) /* what is no number is no descriptor, and reading it says so */
        p.fd = args_number(a, fd, 0, 1 << 20, &number) == 0 ? (int)number : INT_MAX;
    return p;
}

int args_number(const struct args *a, enum args_option o, uint64_t fallback, uint64_t max,
                uint64_t *out_number)
{
    uint64_t number = fallback;
    int end = 0;

    if (a->text[o]) {
        if (a->text[o][0] < '0' || a->text[o][0] > '9' || strlen(a->text[o]) > 18 ||
            sscanf(a->text[o], "%" SCNu64 "%n", &number, &end) != 1 ||
            a->text[o][end] != '\0' || number > max)
            return PHR_E_USAGE;
    }
    *out_number = number;
    return 0;
}

static int parse_date(const char *text, bool is_end, uint64_t *out_s)
{
    struct tm tm = { 0 };
    const char *rest = strptime(text, "%Y-%m-%d", &tm);
    time_t at;

    if (rest && *rest == 'T') {
        rest = strptime(rest + 1, "%H:%M:%S", &tm);
        is_end = false;
        if (rest && *rest == 'Z')
            rest++;
    }
    if (!rest || *rest != '\0')
        return PHR_E_USAGE;
    at = timegm(&tm);
    if (at < 0)
        return PHR_E_USAGE;
    *out_s = (uint64_t)at + (is_end ? 24 * 60 * 60 - 1 : 0);
    return 0;
}

int args_time(const struct args *a, enum args_option o, bool is_future, uint64_t *out_s)
{
    const char *text = a->text[o];
    uint64_t now = (uint64_t)time(NULL);
    uint64_t number;
    uint64_t unit;
    char letter;
    int end = 0;

    if (!text) {
        *out_s = 0;
        return 0;
    }
    if (text[0] < '0' || text[0] > '9' || strlen(text) > 24)
        return PHR_E_USAGE;
    if (sscanf(text, "%9" SCNu64 "%c%n", &number, &letter, &end) != 2 ||
        text[end] != '\0')
        return parse_date(text, is_future, out_s);
    unit = letter == 's'   ? 1
           : letter == 'm' ? 60
           : letter == 'h' ? 3600
           : letter == 'd' ? 86400
                           : 0;
    if (unit == 0 || (!is_future && number * unit > now))
        return PHR_E_USAGE;
    *out_s = is_future ? now + number * unit : now - number * unit;
    return 0;
}
