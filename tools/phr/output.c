#include "output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool is_progress_shown;
static bool is_json_printed;

int output_json(json_t *take)
{
    char *text =
        take ? json_dumps(take, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY)
             : NULL;

    json_decref(take);
    if (!text)
        return -ENOMEM;
    puts(text);
    free(text);
    is_json_printed = true;
    return 0;
}

bool output_is_json_printed(void)
{
    return is_json_printed;
}

int output_done(const struct args *a, json_t *take, const char *format, ...)
{
    va_list args;

    output_progress_end();
    if (a->is_set[ARG_JSON]) {
        json_t *all = take ? take : json_object();

        json_object_set_new(all, "done", json_true());
        return output_json(all);
    }
    json_decref(take);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    return 0;
}

const char *output_time(uint64_t s)
{
    static char text[40];
    time_t t = (time_t)s;
    struct tm tm;

    if (s == 0 || !gmtime_r(&t, &tm) ||
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        return "never";
    return text;
}

int output_place(const char *word, struct output_place *out)
{
    const char *slash = strchr(word, '/');
    size_t n = slash ? (size_t)(slash - word) : strlen(word);

    if (n == 0 || n >= sizeof out->patient || (slash && slash[1] == '\0'))
        return PHR_E_USAGE;
    memcpy(out->patient, word, n);
    out->patient[n] = '\0';
    out->compartment = slash ? slash + 1 : NULL;
    return 0;
}

void output_progress(void *user, const char *step, uint64_t done, uint64_t all)
{
    (void)user;
    if (!isatty(STDERR_FILENO))
        return;
    if (all > 0)
        fprintf(stderr, "\r%-14s %" PRIu64 " of %" PRIu64 "   ", step, done, all);
    else
        fprintf(stderr, "\r%-40s", step);
    fflush(stderr);
    is_progress_shown = true;
}

void output_progress_end(void)
{
    if (is_progress_shown)
        fprintf(stderr, "\r%-44s\r", "");
    is_progress_shown = false;
}
