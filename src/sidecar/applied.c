#include "sidecar/applied.h"

#include <string.h>

#include "base/checked.h"

struct progress {
    struct id16 patient;
    uint64_t seq;
};

struct host {
    struct id16 id;
    uint64_t connection; /* 0: away */
    uint64_t lease_ms;
    uint64_t seen_ms;    /* when it went */
    struct progress *progress;
    size_t count;
    size_t room;
    size_t oldest; /* once all places are taken */
};

struct applied {
    struct host *hosts;
    size_t count;
};

int applied_new(struct applied **out_applied)
{
    scoped(applied_free) struct applied *a = calloc(1, sizeof *a);

    if (!a)
        return -ENOMEM;
    a->hosts = calloc(APPLIED_HOSTS_MAX, sizeof *a->hosts);
    if (!a->hosts)
        return -ENOMEM;
    *out_applied = give(a);
    return 0;
}

void applied_free(struct applied *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->count; i++)
        free(a->hosts[i].progress);
    free(a->hosts);
    free(a);
}

static struct host *find(struct applied *a, const struct id16 *id)
{
    for (size_t i = 0; i < a->count; i++) {
        if (memcmp(a->hosts[i].id.b, id->b, sizeof id->b) == 0)
            return &a->hosts[i];
    }
    return NULL;
}

/* APPLIED-2 */
static void forget_gone(struct applied *a, uint64_t now_ms)
{
    for (size_t i = 0; i < a->count;) {
        struct host *h = &a->hosts[i];

        if (h->connection != 0 || h->seen_ms + h->lease_ms > now_ms) {
            i++;
            continue;
        }
        free(h->progress);
        *h = a->hosts[--a->count];
    }
}

static struct host *find_or_add(struct applied *a, const struct id16 *id)
{
    struct host *h = find(a, id);

    if (h || a->count == APPLIED_HOSTS_MAX)
        return h;
    h = &a->hosts[a->count++];
    *h = (struct host){ .id = *id };
    return h;
}

int applied_join(struct applied *a, const struct id16 *host, uint64_t connection, uint64_t lease_s,
                 uint64_t now_ms)
{
    struct host *h;

    INVARIANT(connection != 0);
    forget_gone(a, now_ms);
    h = find_or_add(a, host);
    if (!h)
        return PHR_E_LIMIT;
    /* A shorter lease than before counts only for keys to come: the longer one stands. */
    if (h->lease_ms < lease_s * 1000)
        h->lease_ms = lease_s * 1000;
    h->connection = connection;
    h->seen_ms = now_ms;
    return 0;
}

int applied_remember(struct applied *a, const struct id16 *host, uint64_t lease_s, uint64_t seen_ms)
{
    struct host *h = find_or_add(a, host);

    if (!h)
        return PHR_E_LIMIT;
    h->lease_ms = lease_s * 1000;
    h->seen_ms = seen_ms;
    return 0;
}

void applied_leave(struct applied *a, const struct id16 *host, uint64_t connection, uint64_t now_ms)
{
    struct host *h = find(a, host);

    if (!h || h->connection != connection)
        return; /* it is back on another connection already */
    h->connection = 0;
    h->seen_ms = now_ms;
}

int applied_set(struct applied *a, const struct id16 *host, const struct id16 *patient, uint64_t seq)
{
    struct host *h = find(a, host);

    if (!h)
        return PHR_E_PROTOCOL;
    for (size_t i = 0; i < h->count; i++) {
        if (memcmp(h->progress[i].patient.b, patient->b, sizeof patient->b) != 0)
            continue;
        if (h->progress[i].seq < seq)
            h->progress[i].seq = seq;
        return 0;
    }
    if (h->count == APPLIED_PATIENTS_MAX) { /* APPLIED-4 */
        h->progress[h->oldest] = (struct progress){ *patient, seq };
        h->oldest = (h->oldest + 1) % APPLIED_PATIENTS_MAX;
        return 0;
    }
    if (h->count == h->room) {
        size_t room = h->room ? h->room * 2 : 16;
        struct progress *more = reallocarray(h->progress, room, sizeof *more);

        if (!more)
            return -ENOMEM;
        h->progress = more;
        h->room = room;
    }
    h->progress[h->count++] = (struct progress){ *patient, seq };
    return 0;
}

static bool has_applied(const struct host *h, const struct id16 *patient, uint64_t seq)
{
    for (size_t i = 0; i < h->count; i++) {
        if (memcmp(h->progress[i].patient.b, patient->b, sizeof patient->b) == 0)
            return h->progress[i].seq >= seq;
    }
    return false;
}

size_t applied_list(struct applied *a, const struct id16 *patient, uint64_t seq, uint64_t asked_ms,
                    uint64_t now_ms, struct applied_row *out_rows, size_t max)
{
    size_t n = 0;

    forget_gone(a, now_ms);
    for (size_t i = 0; i < a->count && n < max; i++) {
        const struct host *h = &a->hosts[i];
        uint64_t last_ms = h->connection != 0 || h->seen_ms > asked_ms ? asked_ms : h->seen_ms;

        out_rows[n++] = (struct applied_row){ .host = h->id,
                                              .has_applied = has_applied(h, patient, seq),
                                              .is_connected = h->connection != 0,
                                              .cut_off_ms = last_ms + h->lease_ms };
    }
    return n;
}

bool applied_is_done(struct applied *a, const struct id16 *patient, uint64_t seq, uint64_t now_ms)
{
    forget_gone(a, now_ms);
    for (size_t i = 0; i < a->count; i++) {
        if (!has_applied(&a->hosts[i], patient, seq))
            return false;
    }
    return true;
}

size_t applied_connected_count(const struct applied *a)
{
    size_t n = 0;

    for (size_t i = 0; i < a->count; i++)
        n += a->hosts[i].connection != 0;
    return n;
}
