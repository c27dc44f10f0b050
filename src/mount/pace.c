#include "mount/pace.h"

/*
 * Dense: within DENSE_NS of an answer, the time that a program needs between two requests when it
 * works through a directory, with two wake-ups of sleeping processors. Close: on a busy machine the
 * same program comes as late as it gets a processor.
 */
static const uint64_t dense_ns = 200 * 1000;
static const uint64_t close_ns = 20 * 1000 * 1000;
enum { ENOUGH = 4, SCORE_MAX = 16 };
enum { CREDIT_MAX = 16, CREDIT_AGAIN = 4, MISS_COSTS = 2, REST_FIRST = 64, BACKOFF_MAX = 5 };

void pace_init(struct pace *p)
{
    *p = (struct pace){ .credit = CREDIT_MAX / 2 };
}

/*
 * Where all processors are busy, who was just answered may wait for the one that we spin on: then
 * spinning never hits, and is left alone for longer and longer.
 */
static void count_spin(struct pace *p, enum pace_wait waited)
{
    if (waited == PACE_SPIN_HIT) {
        if (p->credit < CREDIT_MAX)
            p->credit++;
        else
            p->backoff = 0;
        return;
    }
    p->credit -= MISS_COSTS;
    if (p->credit > 0)
        return;
    p->rest = REST_FIRST << p->backoff;
    p->credit = CREDIT_AGAIN;
    if (p->backoff < BACKOFF_MAX)
        p->backoff++;
}

static void count_gap(int *io_score, bool is_within)
{
    if (!is_within)
        *io_score /= 2;
    else if (*io_score < SCORE_MAX)
        ++*io_score;
}

void pace_asked(struct pace *p, uint64_t now_ns, bool is_quick, enum pace_wait waited)
{
    uint64_t gap = now_ns > p->answered_ns ? now_ns - p->answered_ns : 0;

    if (waited != PACE_SLEPT)
        count_spin(p, waited);
    else if (p->rest > 0)
        p->rest--;
    count_gap(&p->close, is_quick && gap < close_ns);
    count_gap(&p->dense, is_quick && gap < dense_ns);
}

/* Who reads what is not in memory is quicker with several threads that sleep in the kernel. */
void pace_waits(struct pace *p)
{
    p->close = 0;
    p->dense = 0;
}

void pace_answered(struct pace *p, uint64_t now_ns)
{
    p->answered_ns = now_ns;
}

bool pace_is_close(const struct pace *p)
{
    return p->close >= ENOUGH;
}

bool pace_is_dense(const struct pace *p)
{
    return p->dense >= ENOUGH;
}

bool pace_may_spin(const struct pace *p)
{
    return pace_is_dense(p) && p->rest == 0;
}
