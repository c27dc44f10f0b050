#include "sidecar/queue.h"

#include <string.h>

#include "base/checked.h"

enum {
    BUCKETS = 4096,
    GROUP_BITS = 1024,
    GATE_MS_MIN = 250,
    GATE_MS_MAX = 10 * 1000, /* so long after an outage nobody waits for more than this */
    ITEM_MS_MIN = 500,
    ITEM_MS_MAX = 5 * 60 * 1000
};

struct queue {
    uint32_t (*random)(void);
    struct queue_item *head;
    struct queue_item *tail;
    struct queue_item *buckets[BUCKETS];
    uint32_t sending;
    uint64_t successes;
    uint32_t store_failures; /* in a row */
    uint64_t gate_ms;        /* with store_failures > 0: nothing before it */
};

struct queue_item *queue_item_new(void)
{
    struct queue_item *it = calloc(1, sizeof *it);

    if (it)
        it->fd = -1;
    return it;
}

void queue_item_free(struct queue_item *it)
{
    if (!it)
        return;
    INVARIANT(it->waiters == NULL);
    if (it->fd >= 0)
        close(it->fd);
    free(it->body);
    free(it);
}

int queue_new(uint32_t (*random)(void), struct queue **out_queue)
{
    struct queue *q = calloc(1, sizeof *q);

    if (!q)
        return -ENOMEM;
    q->random = random;
    *out_queue = q;
    return 0;
}

static size_t bucket_of(const char *key)
{
    uint32_t h = 2166136261u; /* FNV-1a; keys are hashes themselves */

    for (; *key; key++)
        h = (h ^ (uint8_t)*key) * 16777619u;
    return h % BUCKETS;
}

struct queue_item *queue_find(const struct queue *q, const char *key)
{
    struct queue_item *it = q->buckets[bucket_of(key)];

    while (it && strcmp(it->key, key) != 0)
        it = it->hash_next;
    return it;
}

void queue_add(struct queue *q, struct queue_item *it, uint64_t now_ms)
{
    size_t b = bucket_of(it->key);

    INVARIANT(!queue_find(q, it->key));
    it->state = QUEUE_WAITING;
    it->due_ms = now_ms;
    it->successes_seen = q->successes;
    it->hash_next = q->buckets[b];
    q->buckets[b] = it;
    it->prev = q->tail;
    it->next = NULL;
    if (q->tail)
        q->tail->next = it;
    else
        q->head = it;
    q->tail = it;
}

static void unlink_item(struct queue *q, struct queue_item *it)
{
    struct queue_item **at = &q->buckets[bucket_of(it->key)];

    while (*at != it)
        at = &(*at)->hash_next;
    *at = it->hash_next;
    if (it->prev)
        it->prev->next = it->next;
    else
        q->head = it->next;
    if (it->next)
        it->next->prev = it->prev;
    else
        q->tail = it->prev;
    it->next = it->prev = it->hash_next = NULL;
}

/*
 * QUEUE-3: has an earlier item of this group been seen in this scan? Patients that share a
 * bit merely wait for each other.
 */
static bool is_behind(uint64_t bits[GROUP_BITS / 64], const struct queue_item *it)
{
    unsigned bit = ((unsigned)it->patient.b[0] | (unsigned)it->patient.b[1] << 8) % GROUP_BITS;
    bool seen;

    if (!it->has_group)
        return false;
    seen = bits[bit / 64] >> (bit % 64) & 1;
    bits[bit / 64] |= UINT64_C(1) << (bit % 64);
    return seen;
}

/*
 * The first that may go now. While the store is in doubt, the one that was tried least: else a
 * poisoned one at the head would be every probe, and keep the gate shut for the others.
 */
static struct queue_item *scan(const struct queue *q, uint64_t now_ms, uint64_t *out_next_ms)
{
    uint64_t bits[GROUP_BITS / 64] = { 0 };
    struct queue_item *best = NULL;

    *out_next_ms = UINT64_MAX;
    for (struct queue_item *it = q->head; it; it = it->next) {
        bool behind = is_behind(bits, it);

        if (behind || it->state != QUEUE_WAITING)
            continue;
        if (it->due_ms > now_ms) {
            if (it->due_ms < *out_next_ms)
                *out_next_ms = it->due_ms;
            continue;
        }
        if (!best || it->attempts < best->attempts)
            best = it;
        if (q->store_failures == 0 || best->attempts == 0)
            return best;
    }
    return best;
}

static bool is_gated(const struct queue *q, uint64_t now_ms)
{
    return q->store_failures > 0 && (now_ms < q->gate_ms || q->sending > 0);
}

struct queue_item *queue_take(struct queue *q, uint64_t now_ms)
{
    struct queue_item *it;
    uint64_t next_ms;

    if (is_gated(q, now_ms))
        return NULL;
    it = scan(q, now_ms, &next_ms);
    if (!it)
        return NULL;
    it->state = QUEUE_SENDING;
    it->attempts++;
    q->sending++;
    return it;
}

uint64_t queue_next_ms(const struct queue *q, uint64_t now_ms)
{
    uint64_t next_ms;

    if (q->store_failures > 0 && q->sending > 0)
        return UINT64_MAX; /* the probe's end is what we wait for */
    if (scan(q, now_ms, &next_ms))
        next_ms = now_ms;
    if (q->store_failures > 0 && next_ms != UINT64_MAX && next_ms < q->gate_ms)
        next_ms = q->gate_ms;
    return next_ms;
}

/* min * 2^n, at most max, of which the upper half is left to chance. */
static uint64_t wait_ms(const struct queue *q, uint64_t min, uint64_t max, uint32_t n)
{
    uint64_t ms = n < 20 ? min << n : max;

    if (ms > max)
        ms = max;
    return ms / 2 + q->random() % (ms / 2 + 1);
}

static enum queue_verdict park(struct queue_item *it)
{
    it->state = QUEUE_PARKED;
    return QUEUE_STUCK;
}

/* QUEUE-1 */
static void hold_back(struct queue *q, const struct objstore_note *note, uint64_t now_ms)
{
    uint64_t ms = wait_ms(q, GATE_MS_MIN, GATE_MS_MAX, q->store_failures);
    uint64_t asked_ms = (uint64_t)note->retry_after_s * 1000;

    q->store_failures++;
    q->gate_ms = now_ms + (asked_ms > ms ? asked_ms : ms);
}

enum queue_verdict queue_end(struct queue *q, struct queue_item *it, int rc,
                             const struct objstore_note *note, uint64_t now_ms)
{
    INVARIANT(it->state == QUEUE_SENDING && q->sending > 0);
    q->sending--;
    if (rc == 0) {
        q->successes++;
        q->store_failures = 0;
        unlink_item(q, it);
        return QUEUE_DONE;
    }
    it->state = QUEUE_WAITING;
    if (note->blame == OBJSTORE_BLAME_ITEM)
        return park(it);
    if (note->blame == OBJSTORE_BLAME_WAY && ++it->way_failures >= QUEUE_WAY_TRIES_MAX)
        return park(it);
    if (note->blame != OBJSTORE_BLAME_WAY) {
        if (it->attempts > 1 && q->successes != it->successes_seen &&
            ++it->solo_failures >= QUEUE_SOLO_TRIES_MAX)
            return park(it);
        hold_back(q, note, now_ms);
    }
    it->successes_seen = q->successes;
    it->due_ms = now_ms + wait_ms(q, ITEM_MS_MIN, ITEM_MS_MAX, it->attempts - 1);
    /* While the store is away the gate sets the pace: nobody waits longer than it. */
    if (note->blame != OBJSTORE_BLAME_WAY && it->solo_failures == 0)
        it->due_ms = q->gate_ms;
    return QUEUE_AGAIN;
}

uint32_t queue_unpark(struct queue *q, uint64_t now_ms)
{
    uint32_t count = 0;

    q->gate_ms = now_ms;
    for (struct queue_item *it = q->head; it; it = it->next) {
        if (it->state == QUEUE_PARKED) {
            it->state = QUEUE_WAITING;
            it->attempts = it->way_failures = it->solo_failures = 0;
            count++;
        }
        if (it->state == QUEUE_WAITING)
            it->due_ms = now_ms;
    }
    return count;
}

struct queue_item *queue_pop(struct queue *q)
{
    struct queue_item *it = q->head;

    if (it)
        unlink_item(q, it);
    return it;
}

void queue_free(struct queue *q)
{
    struct queue_item *it;

    if (!q)
        return;
    while ((it = queue_pop(q)))
        queue_item_free(it);
    free(q);
}

void queue_count(const struct queue *q, struct queue_counts *out_counts)
{
    struct queue_counts c = { .is_gated = q->store_failures > 0, .gate_ms = q->gate_ms };

    for (const struct queue_item *it = q->head; it; it = it->next) {
        if (it->state == QUEUE_PARKED) {
            c.parked[it->kind]++;
        } else {
            c.waiting[it->kind]++;
            c.bytes += it->bytes;
        }
    }
    *out_counts = c;
}
