/*
 * How densely requests come, and whether it pays to wait for the next one without sleeping.
 * Numbers only: who reads, and on what thread, is receive.c's.
 */
#ifndef PHR_MOUNT_PACE_H
#define PHR_MOUNT_PACE_H

#include "phr/types.h"

enum pace_wait { PACE_SLEPT = 0, PACE_SPIN_HIT, PACE_SPIN_MISS };

struct pace {
    int close; /* rises with quick requests that came soon after an answer, */
    int dense; /* and with those that came at once */
    int credit;    /* of spinning */
    unsigned rest; /* requests until spinning is tried again */
    unsigned backoff;
    uint64_t answered_ns; /* the last time that an answer was given */
};

void pace_init(struct pace *p);
/* A request has come; is_quick: one that is answered at once. */
void pace_asked(struct pace *p, uint64_t now_ns, bool is_quick, enum pace_wait waited);
/* The request now under way was not answered at once: it waits for the disk. */
void pace_waits(struct pace *p);
void pace_answered(struct pace *p, uint64_t now_ns);
/* One program works through quick requests: one thread may answer them. */
bool pace_is_close(const struct pace *p);
/* And the next one will likely come within what the wake-up of a thread costs. */
bool pace_is_dense(const struct pace *p);
bool pace_may_spin(const struct pace *p);

#endif
