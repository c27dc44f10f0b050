/*
 * Code that is about to wait for the disk says so to whoever runs its thread, if he asked to hear
 * of it: he may call somebody to go on meanwhile.
 */
#ifndef PHR_BASE_WAITING_H
#define PHR_BASE_WAITING_H

#include <stdbool.h>

/* Of this thread. NULL: nobody. */
void waiting_set_watcher(void (*about_to_wait)(void *user), void *user);
bool waiting_is_watched(void);
/* Tells the watcher, once: he is nobody's any more. */
void waiting_begin(void);

#endif
