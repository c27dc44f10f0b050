/*
 * The kernel asks about a handle only after it was told of it, and closes it after all else was
 * answered: one request's work happens before the next one's, though another thread gets it.
 * ThreadSanitizer cannot see that through /dev/fuse, so it is told; elsewhere this is nothing.
 * One edge for all handles: what it hides is a race of two requests that never overlap.
 */
#ifndef PHR_MOUNT_KERNEL_ORDER_H
#define PHR_MOUNT_KERNEL_ORDER_H

#ifdef __SANITIZE_THREAD__
extern char kernel_order_edge; /* reply.c */
void __tsan_acquire(void *edge);
void __tsan_release(void *edge);

static inline void kernel_order_asked(void)
{
    __tsan_acquire(&kernel_order_edge);
}

static inline void kernel_order_answering(void)
{
    __tsan_release(&kernel_order_edge);
}
#else
static inline void kernel_order_asked(void)
{
}

static inline void kernel_order_answering(void)
{
}
#endif

#endif
