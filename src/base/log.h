/*
 * One line, one event, key=value, fixed event names; no file name, path, content or key
 * ever (STYLE 40). Objects appear as the first eight hex digits of their id.
 * To stderr, or to the journal when JOURNAL_STREAM says that stderr is one.
 *
 *   log_warn("upload_retry", LOG_ID("object", id.b), LOG_U64("attempt", n), LOG_RC("cause", rc));
 */
#ifndef PHR_BASE_LOG_H
#define PHR_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log_field {
    enum { LOG_FIELD_ID, LOG_FIELD_U64, LOG_FIELD_RC, LOG_FIELD_WORD } kind;
    const char *key;
    const uint8_t *id;
    uint64_t u64;
    int rc;
    const char *word; /* one of our own fixed words, never outside text */
};

#define LOG_ID(k, bytes) ((struct log_field){ .kind = LOG_FIELD_ID, .key = (k), .id = (bytes) })
#define LOG_U64(k, v) ((struct log_field){ .kind = LOG_FIELD_U64, .key = (k), .u64 = (v) })
#define LOG_RC(k, v) ((struct log_field){ .kind = LOG_FIELD_RC, .key = (k), .rc = (v) })
#define LOG_WORD(k, v) ((struct log_field){ .kind = LOG_FIELD_WORD, .key = (k), .word = (v) })

void log_open(const char *program, enum log_level level);
void log_event(enum log_level level, const char *event, const struct log_field *fields,
               size_t count);

#define LOG_FIELDS(...)                                                                    \
    ((struct log_field[]){ __VA_ARGS__ }),                                                 \
        sizeof((struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field)
#define log_error(event, ...) log_event(LOG_LEVEL_ERROR, event, LOG_FIELDS(__VA_ARGS__))
#define log_warn(event, ...) log_event(LOG_LEVEL_WARN, event, LOG_FIELDS(__VA_ARGS__))
#define log_info(event, ...) log_event(LOG_LEVEL_INFO, event, LOG_FIELDS(__VA_ARGS__))
#define log_debug(event, ...) log_event(LOG_LEVEL_DEBUG, event, LOG_FIELDS(__VA_ARGS__))

#endif
