/*
 * Ownership by scope. One of the two homes of GNU extensions (the other is checked.h).
 *
 *   scoped(vault_close) struct vault *v = NULL;    closed when the scope ends
 *   *out_vault = give(v);                          kept: v is NULL from here on
 *   ignored(fdio_unlink(fd, name));                a result that may be lost, with a reason
 */
#ifndef PHR_BASE_SCOPE_H
#define PHR_BASE_SCOPE_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define scoped(fn) __attribute__((cleanup(fn##_scope)))

#define SCOPED_HANDLE(type, fn)                                                            \
    static inline void fn##_scope(type **slot)                                             \
    {                                                                                      \
        fn(*slot);                                                                         \
        *slot = NULL;                                                                      \
    }

#define give(p)                                                                            \
    __extension__({                                                                        \
        __typeof__(p) give_held_ = (p);                                                    \
        (p) = NULL;                                                                        \
        give_held_;                                                                        \
    })

#define give_fd(fd)                                                                        \
    __extension__({                                                                        \
        int give_held_ = (fd);                                                             \
        (fd) = -1;                                                                         \
        give_held_;                                                                        \
    })

#define ignored(expr)                                                                      \
    do {                                                                                   \
        __typeof__(expr) ignored_result_ = (expr);                                         \
        (void)ignored_result_;                                                             \
    } while (0)

static inline void free_scope(void *slot)
{
    void **p = (void **)slot;

    free(*p);
    *p = NULL;
}

static inline void close_fd_scope(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static inline void unlock_scope(pthread_mutex_t **m)
{
    if (*m)
        pthread_mutex_unlock(*m);
}

/* scoped(unlock) pthread_mutex_t *held = lock(&x->lock); */
static inline pthread_mutex_t *lock(pthread_mutex_t *m)
{
    pthread_mutex_lock(m);
    return m;
}

#endif
