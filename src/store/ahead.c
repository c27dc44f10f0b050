/*
 * Telling the kernel to fetch a MiB (POSIX_FADV_WILLNEED) "does not wait", but it makes the pages
 * and the requests for the disk first: 0.2 to 0.4 ms a MiB, in which who reads could decrypt what
 * is there. So a thread does it, on the other processor.
 *
 * AHEAD-1  A hint lives only while nobody has read past it: few are kept, the oldest goes first.
 */
#include "store/ahead.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/scope.h"

enum { WANTS_MAX = 8 };

struct ahead {
    struct store *s;
    pthread_mutex_t lock; /* leaf: all below */
    pthread_cond_t wake;
    struct loc wants[WANTS_MAX]; /* oldest first */
    size_t count;
    bool is_stopping;
    bool has_thread;
    pthread_t thread;
};

static void *ahead_main(void *arg);

int ahead_open(struct store *s, struct ahead **out_ahead)
{
    struct ahead *a = calloc(1, sizeof *a);
    int rc;

    if (!a)
        return -ENOMEM;
    a->s = s;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->wake, NULL);
    rc = -pthread_create(&a->thread, NULL, ahead_main, a);
    a->has_thread = rc == 0;
    if (rc < 0) {
        ahead_close(a);
        return rc;
    }
    *out_ahead = a;
    return 0;
}

void ahead_close(struct ahead *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->is_stopping = true;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
    if (a->has_thread)
        pthread_join(a->thread, NULL);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->wake);
    free(a);
}

/* lock. */
static struct loc take_oldest(struct ahead *a)
{
    struct loc oldest = a->wants[0];

    a->count--;
    for (size_t i = 0; i < a->count; i++)
        a->wants[i] = a->wants[i + 1];
    return oldest;
}

void ahead_want(struct ahead *a, uint64_t id, uint64_t at, uint64_t len)
{
    scoped(unlock) pthread_mutex_t *held = lock(&a->lock);

    if (a->count == WANTS_MAX)
        ignored(take_oldest(a));
    a->wants[a->count++] = (struct loc){ container_file(id), at, len };
    pthread_cond_signal(&a->wake);
}

static void *ahead_main(void *arg)
{
    struct ahead *a = arg;

    pthread_mutex_lock(&a->lock);
    while (!a->is_stopping) {
        struct loc l;

        if (a->count == 0) {
            pthread_cond_wait(&a->wake, &a->lock);
            continue;
        }
        l = take_oldest(a);
        pthread_mutex_unlock(&a->lock);
        container_fetch(a->s, l.container, l.offset, l.len);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}
