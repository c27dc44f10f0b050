#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "phr/err.h"

enum { LINE_BYTES_MAX = 1024 };

static const char *program_name = "phrfs"; /* set once at start */
static enum log_level level_max = LOG_LEVEL_INFO;

void log_open(const char *program, enum log_level level)
{
    program_name = program;
    level_max = level;
}

static size_t put_field(char *line, size_t room, const struct log_field *f)
{
    int n = 0;

    switch (f->kind) {
    case LOG_FIELD_ID:
        n = snprintf(line, room, " %s=%02x%02x%02x%02x", f->key, f->id[0], f->id[1], f->id[2],
                     f->id[3]);
        break;
    case LOG_FIELD_U64:
        n = snprintf(line, room, " %s=%llu", f->key, (unsigned long long)f->u64);
        break;
    case LOG_FIELD_RC:
        n = snprintf(line, room, " %s=%d(%s)", f->key, f->rc, phr_err_name(f->rc));
        break;
    case LOG_FIELD_WORD:
        n = snprintf(line, room, " %s=%s", f->key, f->word);
        break;
    }
    return n > 0 && (size_t)n < room ? (size_t)n : 0;
}

void log_event(enum log_level level, const char *event, const struct log_field *fields,
               size_t count)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    char line[LINE_BYTES_MAX];
    struct timespec now;
    size_t n;

    if (level > level_max)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    n = (size_t)snprintf(line, sizeof line, "%lld.%03ld %s %s %s", (long long)now.tv_sec,
                         now.tv_nsec / 1000000, program_name, names[level], event);
    for (size_t i = 0; i < count; i++)
        n += put_field(line + n, sizeof line - n - 1, &fields[i]);
    line[n] = '\n';
    if (write(STDERR_FILENO, line, n + 1) < 0)
        return; /* nowhere left to say it */
}
