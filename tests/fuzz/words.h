/* The words of a command line out of an input: each ends with a zero byte. */
#ifndef PHR_TESTS_FUZZ_WORDS_H
#define PHR_TESTS_FUZZ_WORDS_H

#include "fuzz.h"

#include <string.h>

enum { WORDS_MAX = 12 };
struct words {
    int argc;
    char *argv[WORDS_MAX + 2];
    char *text;
};

/* words_fini. */
static inline void words_init(struct words *w, const char *program, const uint8_t *data, size_t size)
{
    const size_t head = strlen(program) + 1;
    size_t at = 0;

    w->text = malloc(head + size + 1);
    INVARIANT(w->text != NULL);
    memcpy(w->text, program, head);
    if (size > 0)
        memcpy(w->text + head, data, size);
    w->text[head + size] = '\0';
    w->argc = 0;
    w->argv[w->argc++] = w->text;
    while (at < size && w->argc <= WORDS_MAX) {
        w->argv[w->argc++] = w->text + head + at;
        at += strlen(w->text + head + at) + 1;
    }
    w->argv[w->argc] = NULL;
}

static inline void words_fini(struct words *w)
{
    free(w->text);
}

#endif
