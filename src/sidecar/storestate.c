#include "sidecar/storestate.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"

void storestate_init(struct storestate *s)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
}

void storestate_fini(struct storestate *s)
{
    pthread_mutex_destroy(&s->lock);
}

static enum storestate_word judge(int rc, const struct objstore_note *note)
{
    if (rc == 0 || note->blame != OBJSTORE_BLAME_STORE)
        return STORESTATE_OK; /* it answered; what it thinks of one object is another matter */
    return note->http_status >= 300 && note->http_status < 429 ? STORESTATE_REFUSING
                                                               : STORESTATE_AWAY;
}

void storestate_note(struct storestate *s, int rc, const struct objstore_note *note)
{
    enum storestate_word word = judge(rc, note);
    bool is_new;

    pthread_mutex_lock(&s->lock);
    s->now.asked_ms = clock_boottime_ms();
    if (rc < 0 && rc != -ENOENT) {
        memcpy(s->now.last_error, note->words, sizeof s->now.last_error);
        s->now.last_error_s = clock_realtime_s();
    }
    is_new = word != s->now.word;
    s->now.word = word;
    pthread_mutex_unlock(&s->lock);
    if (!is_new)
        return;
    if (word == STORESTATE_OK)
        log_info("store_reached", LOG_WORD("state", "ok"));
    else
        log_warn("store_not_reached", LOG_RC("cause", rc),
                 LOG_U64("http", (uint64_t)note->http_status),
                 LOG_WORD("state", storestate_text(word)));
}

void storestate_copy(struct storestate *s, struct storestate_view *out_view)
{
    pthread_mutex_lock(&s->lock);
    *out_view = s->now;
    pthread_mutex_unlock(&s->lock);
}

bool storestate_take_turn(struct storestate *s, uint64_t every_ms)
{
    uint64_t now = clock_boottime_ms();
    bool is_due;

    pthread_mutex_lock(&s->lock);
    is_due = s->now.word != STORESTATE_OK &&
             (s->now.asked_ms == 0 || now - s->now.asked_ms > every_ms);
    if (is_due)
        s->now.asked_ms = now;
    pthread_mutex_unlock(&s->lock);
    return is_due;
}

const char *storestate_text(enum storestate_word word)
{
    static const char *const words[] = { "unknown", "ok", "away", "refusing" };

    return words[word];
}
