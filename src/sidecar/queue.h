/*
 * What is to be uploaded, when, and what comes of a failure. No threads, no clock, no I/O:
 * transport.c has those, tests have their own.
 *
 *   WAITING --a worker came free--> SENDING --the store has it--> (gone)
 *   SENDING --not now--> WAITING (later)     SENDING --refused--> PARKED --an operator asked--> WAITING
 *
 * QUEUE-1 A failure that is the store's holds everything back (the gate): one probe at a time,
 *         at growing distances with jitter; its success opens the gate.
 * QUEUE-2 A failure that is the item's parks it at once, one of its way after WAY_TRIES_MAX tries,
 *         and the others go on. An item that fails as if it were the store's fault while
 *         others succeed is parked after SOLO_TRIES_MAX of those.
 * QUEUE-3 Items of one group (a patient's ledger) go one after the other in the order of
 *         their coming; a parked one holds its group.
 */
#ifndef PHR_SIDECAR_QUEUE_H
#define PHR_SIDECAR_QUEUE_H

#include "sidecar/objstore.h"

enum { QUEUE_WAY_TRIES_MAX = 6, QUEUE_SOLO_TRIES_MAX = 6 };

enum queue_kind { QUEUE_OBJECT, QUEUE_ENTRY, QUEUE_CHECKPOINT };
enum queue_state { QUEUE_WAITING, QUEUE_SENDING, QUEUE_PARKED };

struct queue_item {
    char key[OBJSTORE_KEY_BYTES_MAX + 1];
    enum queue_kind kind;
    bool has_group;
    struct id16 patient; /* the group, for entries */
    uint64_t seq;
    int fd;         /* objects: the item's own */
    uint8_t *body;  /* entries, checkpoints: the item's own */
    uint64_t offset;
    uint64_t bytes;
    struct digest sha256;
    void *waiters;  /* transport.c's */
    /* the queue's own from here on */
    enum queue_state state;
    uint32_t attempts;
    uint32_t way_failures;
    uint32_t solo_failures;
    uint64_t successes_seen;
    uint64_t due_ms;
    struct queue_item *next;
    struct queue_item *prev;
    struct queue_item *hash_next;
};
/* Zeroed, fd -1; NULL without memory. */
struct queue_item *queue_item_new(void) PHR_MUST_CHECK;
void queue_item_free(struct queue_item *it); /* with fd and body; waiters are NULL by then */

struct queue;
int queue_new(uint32_t (*random)(void), struct queue **out_queue) PHR_MUST_CHECK;
void queue_free(struct queue *q); /* with its items */
SCOPED_HANDLE(struct queue, queue_free)

struct queue_item *queue_find(const struct queue *q, const char *key); /* NULL: not there */
/* Takes it. The key must not be there yet. */
void queue_add(struct queue *q, struct queue_item *it, uint64_t now_ms);
/* The next one that may go, now SENDING; NULL: none now. */
struct queue_item *queue_take(struct queue *q, uint64_t now_ms);
/* When queue_take is worth another call; UINT64_MAX: after the next add, end or unpark. */
uint64_t queue_next_ms(const struct queue *q, uint64_t now_ms);

enum queue_verdict {
    QUEUE_DONE,  /* rc was 0; the item is out of the queue and the caller's */
    QUEUE_AGAIN, /* it waits for its next try */
    QUEUE_STUCK  /* parked */
};
enum queue_verdict queue_end(struct queue *q, struct queue_item *it, int rc,
                             const struct objstore_note *note, uint64_t now_ms);
/* Parked ones go again; also opens the gate. How many. */
uint32_t queue_unpark(struct queue *q, uint64_t now_ms);
/* The first item, for emptying the queue at the end; NULL when empty. */
struct queue_item *queue_pop(struct queue *q);

struct queue_counts {
    uint32_t waiting[3]; /* by kind, those under way included */
    uint32_t parked[3];
    uint64_t bytes;      /* waiting */
    bool is_gated;
    uint64_t gate_ms;
};
void queue_count(const struct queue *q, struct queue_counts *out_counts);

#endif
