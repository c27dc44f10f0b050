/* What the store last said about itself: for status, for the log, and for asking again. Any thread. */
#ifndef PHR_SIDECAR_STORESTATE_H
#define PHR_SIDECAR_STORESTATE_H

#include <pthread.h>

#include "sidecar/objstore.h"

enum storestate_word { STORESTATE_UNKNOWN, STORESTATE_OK, STORESTATE_AWAY, STORESTATE_REFUSING };

struct storestate_view {
    enum storestate_word word;
    uint64_t asked_ms;     /* CLOCK_BOOTTIME of its last word, or its last silence; 0: never */
    uint64_t last_error_s;
    char last_error[200];
};

struct storestate {
    pthread_mutex_t lock;
    struct storestate_view now; /* lock */
};
void storestate_init(struct storestate *s);
void storestate_fini(struct storestate *s);
/* The result of any operation on the store; a change of its state is logged, once. */
void storestate_note(struct storestate *s, int rc, const struct objstore_note *note);
void storestate_copy(struct storestate *s, struct storestate_view *out_view);
/* True, and counted as asked, when it is not OK and has not been asked for every_ms. */
bool storestate_take_turn(struct storestate *s, uint64_t every_ms);
const char *storestate_text(enum storestate_word word);

#endif
