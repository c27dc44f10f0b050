/* Time by purpose. Deadlines and leases count on BOOTTIME so that suspend counts. */
#ifndef PHR_BASE_CLOCK_H
#define PHR_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_realtime_s(void); /* seconds since 1970, UTC */
uint64_t clock_boottime_ms(void);
uint64_t clock_monotonic_ns(void); /* for durations far below a millisecond */

#endif
