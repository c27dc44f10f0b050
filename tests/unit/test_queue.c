/* The queue with a clock and a chance of its own: what waits, how long, what is parked. */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "sidecar/queue.h"

static uint32_t no_chance(void)
{
    return 0;
}

static struct queue *new_queue(void)
{
    struct queue *q = NULL;

    CHECK_EQ(queue_new(no_chance, &q), 0);
    return q;
}

static struct queue_item *add(struct queue *q, const char *key, uint64_t now_ms)
{
    struct queue_item *it = queue_item_new();

    CHECK(it != NULL);
    snprintf(it->key, sizeof it->key, "%s", key);
    it->bytes = 10;
    queue_add(q, it, now_ms);
    return it;
}

static struct queue_item *add_entry(struct queue *q, uint8_t patient, uint64_t seq)
{
    struct queue_item *it = queue_item_new();

    CHECK(it != NULL);
    snprintf(it->key, sizeof it->key, "p/%u/l/%llu", patient, (unsigned long long)seq);
    it->kind = QUEUE_ENTRY;
    it->has_group = true;
    it->patient.b[0] = patient;
    it->seq = seq;
    queue_add(q, it, 0);
    return it;
}

static const struct objstore_note store_fault = { .blame = OBJSTORE_BLAME_STORE };
static const struct objstore_note item_fault = { .blame = OBJSTORE_BLAME_ITEM };
static const struct objstore_note way_fault = { .blame = OBJSTORE_BLAME_WAY };

TEST(queue__goes_in_order_and_lets_go_of_what_is_stored)
{
    struct queue *q = new_queue();
    struct queue_item *a = add(q, "a", 0);
    struct queue_item *b = add(q, "b", 0);
    struct queue_counts c;

    UNUSED_STATE;
    CHECK(queue_find(q, "b") == b);
    CHECK(queue_take(q, 0) == a);
    CHECK(queue_take(q, 0) == b); /* both at once: they are no group */
    CHECK(queue_take(q, 0) == NULL);
    CHECK_EQ(queue_end(q, a, 0, &store_fault, 0), QUEUE_DONE);
    CHECK(queue_find(q, "a") == NULL);
    queue_item_free(a);
    queue_count(q, &c);
    CHECK_EQ(c.waiting[QUEUE_OBJECT], 1);
    CHECK_EQ(c.bytes, 10);
    queue_free(q); /* with b under way */
}

TEST(queue__waits_grow_while_the_store_is_away_and_one_asks_at_a_time)
{
    static const uint64_t waits[] = { 125, 250, 500, 1000, 2000, 4000, 5000, 5000 };
    struct queue *q = new_queue();
    struct queue_item *it;
    uint64_t now = 1000;

    UNUSED_STATE;
    add(q, "a", now);
    add(q, "b", now);
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        it = queue_take(q, now);
        CHECK(it != NULL);
        if (i > 0)
            CHECK(queue_take(q, now) == NULL); /* the probe is under way */
        CHECK_EQ(queue_end(q, it, PHR_E_STORE, &store_fault, now), QUEUE_AGAIN);
        CHECK(queue_take(q, now + waits[i] - 1) == NULL);
        CHECK(queue_next_ms(q, now) == now + waits[i]);
        now += waits[i];
    }
    it = queue_take(q, now);
    CHECK_EQ(queue_end(q, it, 0, &store_fault, now), QUEUE_DONE);
    queue_item_free(it);
    it = queue_take(q, now); /* the gate is open: at once */
    CHECK(it != NULL);
    CHECK_EQ(queue_end(q, it, 0, &store_fault, now), QUEUE_DONE);
    queue_item_free(it);
    queue_free(q);
}

TEST(queue__retry_after_is_obeyed)
{
    struct queue *q = new_queue();
    struct objstore_note slow = { .blame = OBJSTORE_BLAME_STORE, .retry_after_s = 7 };
    struct queue_item *it = add(q, "a", 0);

    UNUSED_STATE;
    CHECK(queue_take(q, 0) == it);
    CHECK_EQ(queue_end(q, it, PHR_E_STORE, &slow, 0), QUEUE_AGAIN);
    CHECK(queue_take(q, 6999) == NULL);
    CHECK(queue_take(q, 7000) == it);
    queue_free(q);
}

TEST(queue__a_poisoned_item_is_parked_while_the_others_go_on)
{
    struct queue *q = new_queue();
    struct queue_item *bad = add(q, "bad", 0);
    struct queue_item *good = add(q, "good", 0);
    struct queue_counts c;

    UNUSED_STATE;
    CHECK(queue_take(q, 0) == bad);
    CHECK_EQ(queue_end(q, bad, PHR_E_STORE_REFUSED, &item_fault, 0), QUEUE_STUCK);
    CHECK(queue_take(q, 0) == good);
    CHECK_EQ(queue_end(q, good, 0, &item_fault, 0), QUEUE_DONE);
    queue_item_free(good);
    CHECK(queue_take(q, UINT64_MAX / 2) == NULL);
    queue_count(q, &c);
    CHECK_EQ(c.parked[QUEUE_OBJECT], 1);
    CHECK_EQ(queue_unpark(q, 50), 1);
    CHECK(queue_take(q, 50) == bad);
    queue_free(q);
}

TEST(queue__a_fault_of_the_way_is_parked_after_its_tries)
{
    struct queue *q = new_queue();
    struct queue_item *it = add(q, "a", 0);
    uint64_t now = 0;

    UNUSED_STATE;
    for (unsigned i = 1; i < QUEUE_WAY_TRIES_MAX; i++) {
        CHECK(queue_take(q, now) == it);
        CHECK_EQ(queue_end(q, it, PHR_E_STORE, &way_fault, now), QUEUE_AGAIN);
        CHECK(queue_take(q, now) == NULL); /* its own wait; the gate is open */
        now = queue_next_ms(q, now);
    }
    CHECK(queue_take(q, now) == it);
    CHECK_EQ(queue_end(q, it, PHR_E_STORE, &way_fault, now), QUEUE_STUCK);
    queue_free(q);
}

TEST(queue__one_that_fails_like_the_store_while_others_succeed_is_parked)
{
    struct queue *q = new_queue();
    struct queue_item *bad = add(q, "bad", 0);
    uint64_t now = 0;
    enum queue_verdict v = QUEUE_AGAIN;
    unsigned tries = 0;

    UNUSED_STATE;
    while (v == QUEUE_AGAIN && tries < 100) {
        struct queue_item *it;
        char key[16];

        snprintf(key, sizeof key, "good%u", tries++);
        add(q, key, now);
        while ((it = queue_take(q, now)) != bad) {
            if (it) {
                CHECK_EQ(queue_end(q, it, 0, &store_fault, now), QUEUE_DONE);
                queue_item_free(it);
            }
            now += 100;
        }
        v = queue_end(q, bad, PHR_E_STORE, &store_fault, now);
    }
    CHECK_EQ(v, QUEUE_STUCK);
    CHECK(tries < 20);
    queue_free(q);
}

TEST(queue__the_store_alone_parks_nothing_however_long_it_is_away)
{
    struct queue *q = new_queue();
    uint64_t now = 0;

    UNUSED_STATE;
    add(q, "a", 0);
    add(q, "b", 0);
    for (unsigned i = 0; i < 10000; i++) {
        struct queue_item *it = queue_take(q, now);

        CHECK(it != NULL);
        CHECK_EQ(queue_end(q, it, PHR_E_STORE, &store_fault, now), QUEUE_AGAIN);
        now = queue_next_ms(q, now);
    }
    queue_free(q);
}

TEST(queue__entries_of_a_patient_go_one_after_the_other)
{
    struct queue *q = new_queue();
    struct queue_item *a0 = add_entry(q, 1, 0);
    struct queue_item *a1 = add_entry(q, 1, 1);
    struct queue_item *b0 = add_entry(q, 2, 0);

    UNUSED_STATE;
    CHECK(queue_take(q, 0) == a0);
    CHECK(queue_take(q, 0) == b0); /* another patient's */
    CHECK(queue_take(q, 0) == NULL);
    CHECK_EQ(queue_end(q, a0, 0, &store_fault, 0), QUEUE_DONE);
    queue_item_free(a0);
    CHECK(queue_take(q, 0) == a1);
    CHECK_EQ(queue_end(q, a1, PHR_E_FORK, &item_fault, 0), QUEUE_STUCK);
    add_entry(q, 1, 2);
    CHECK(queue_take(q, 0) == NULL); /* nothing goes past the parked one */
    queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(queue__goes_in_order_and_lets_go_of_what_is_stored),
        UNIT(queue__waits_grow_while_the_store_is_away_and_one_asks_at_a_time),
        UNIT(queue__retry_after_is_obeyed),
        UNIT(queue__a_poisoned_item_is_parked_while_the_others_go_on),
        UNIT(queue__a_fault_of_the_way_is_parked_after_its_tries),
        UNIT(queue__one_that_fails_like_the_store_while_others_succeed_is_parked),
        UNIT(queue__the_store_alone_parks_nothing_however_long_it_is_away),
        UNIT(queue__entries_of_a_patient_go_one_after_the_other),
    };

    return RUN_TESTS(tests);
}
