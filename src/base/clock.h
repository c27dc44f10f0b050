/* Time by purpose. Deadlines and leases count on BOOTTIME so that suspend counts. */
#ifndef PHR_BASE_CLOCK_H
#define PHR_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

uint64_t clock_realtime_s(void); /* seconds since 1970, UTC */
uint64_t clock_boottime_ms(void);
uint64_t clock_monotonic_ns(void); /* for durations far below a millisecond */

/* For waits that end in time whatever the clock is set to meanwhile. */
void clock_cond_init(pthread_cond_t *c);
/* With such a condition and m held: until signalled, at most so long; may end early as any wait. */
void clock_cond_wait_ms(pthread_cond_t *c, pthread_mutex_t *m, uint64_t ms);

#endif
