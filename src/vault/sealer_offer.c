/*
 * Objects on their way to phrd: one at a time each, at most eight in flight, in the order in
 * which they were sealed. A row in namespace.db says that an object is not confirmed yet; what
 * is here is only the queue in memory, made anew from the rows after a start or a reconnect. It
 * has OFFERS_QUEUED_MAX places; what lies behind stays in rows until it is empty.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "ipc/caller.h"
#include "vault/sealer_state.h"

static void on_answer(void *user, int status, struct view payload);
static void settle_answer(struct sealer *s, struct offer *o, bool is_confirmed);

static int queue_add(struct sealer *s, const struct object_row *row)
{
    struct offer *o = calloc(1, sizeof *o);

    if (!o)
        return -ENOMEM;
    o->s = s;
    o->row = *row;
    pthread_mutex_lock(&s->lock);
    *s->queue_end = o;
    s->queue_end = &o->next;
    s->queue_count++;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* All objects of an op or none, so that what is only in rows begins with an op: their numbers rise. */
int offer_add(struct sealer *s, const struct object_row *row)
{
    if (row->op_rowid > s->last.op_rowid && s->queue_count >= OFFERS_QUEUED_MAX)
        s->has_more = true;
    if (s->has_more)
        return 0; /* its row is read when the queue is empty */
    s->last.op_rowid = row->op_rowid;
    memset(s->last.object_id.b, 0xff, sizeof s->last.object_id.b);
    return queue_add(s, row);
}

static void queue_clear(struct sealer *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->queue) {
        struct offer *o = s->queue;

        s->queue = o->next;
        free(o);
    }
    s->queue_end = &s->queue;
    s->queue_count = 0;
    pthread_mutex_unlock(&s->lock);
}

void offer_fini(struct sealer *s)
{
    queue_clear(s);
    pthread_mutex_lock(&s->lock);
    while (s->in_flight > 0) /* the link answers everything when it closes */
        pthread_cond_wait(&s->wake, &s->lock);
    while (s->done) {
        struct offer *o = s->done;

        s->done = o->next;
        free(o);
    }
    pthread_mutex_unlock(&s->lock);
}

void offer_reload(struct sealer *s)
{
    queue_clear(s);
    s->last = (struct object_row){ 0 };
    pthread_mutex_lock(&s->lock);
    s->parked = 0;
    s->retry_ms = 0;
    pthread_mutex_unlock(&s->lock);
    s->has_more = true;
}

/* The queue is empty, and rows have more. */
static void fill_queue(struct sealer *s)
{
    enum { ROWS = 256 };
    struct object_row rows[ROWS];
    size_t n = 0;

    while (s->has_more && s->queue_count + ROWS <= OFFERS_QUEUED_MAX) {
        if (nsdb_object_list(s->cs->db, &s->last, rows, ROWS, &n) < 0)
            return; /* with the next run */
        for (size_t i = 0; i < n; i++) {
            if (queue_add(s, &rows[i]) < 0)
                return;
            s->last = rows[i];
        }
        s->has_more = n == ROWS;
    }
}

static int send_offer(struct sealer *s, struct offer *o)
{
    scoped(close_fd) int fd = -1;
    struct link *link = vault_get_link(s->cs->v);
    uint8_t room[64];
    struct writer w;
    int rc;

    if (!link)
        return PHR_E_SIDECAR;
    writer_init_fixed(&w, (struct span){ room, sizeof room });
    writer_bytes(&w, o->row.patient.b, sizeof o->row.patient.b);
    writer_bytes(&w, o->row.object_id.b, sizeof o->row.object_id.b);
    writer_u64(&w, container_at(o->row.container) + o->row.offset);
    writer_u64(&w, o->row.len);
    INVARIANT(writer_ok(&w));
    rc = container_dup_fd(s->cs->store, o->row.container, false, &fd);
    if (rc < 0)
        return rc;
    return link_call(link, MSG_OBJECT_PUT, writer_done(&w), fd, 0, on_answer, o);
}

/* From the link's thread. */
static void on_answer(void *user, int status, struct view payload)
{
    struct offer *o = user;
    struct sealer *s = o->s;

    (void)payload;
    o->status = status;
    pthread_mutex_lock(&s->lock);
    o->next = s->done;
    s->done = o;
    s->in_flight--;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

static struct offer *take_done(struct sealer *s)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->lock);
    struct offer *list = s->done;

    s->done = NULL;
    return list;
}

static struct offer *take_next(struct sealer *s)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->lock);
    struct offer *o = s->queue;

    if (!o || s->in_flight >= OFFERS_IN_FLIGHT_MAX || s->is_stopping ||
        content_now_ms() < s->retry_ms)
        return NULL;
    s->queue = o->next;
    s->queue_count--;
    if (!s->queue)
        s->queue_end = &s->queue;
    o->next = NULL;
    s->in_flight++;
    return o;
}

/* Was not sent: back to the front, and not before a while or a reconnect. */
static void give_back(struct sealer *s, struct offer *o, uint64_t retry_ms)
{
    pthread_mutex_lock(&s->lock);
    s->in_flight--;
    o->next = s->queue;
    if (!s->queue)
        s->queue_end = &o->next;
    s->queue = o;
    s->queue_count++;
    s->retry_ms = retry_ms;
    pthread_mutex_unlock(&s->lock);
}

/* In a transaction. */
static int confirm(struct sealer *s, const struct object_row *row)
{
    uint32_t left = 0;
    int rc = nsdb_object_delete(s->cs->db, &row->object_id, row->op_rowid);

    if (rc == 0)
        rc = nsdb_object_count(s->cs->db, row->op_rowid, &left);
    if (rc == 0 && left == 0)
        rc = outbox_release(s->cs->v, row->op_rowid);
    return rc;
}

/* What was stored, until `end`, in one transaction. */
static int confirm_all(struct sealer *s, const struct offer *list, const struct offer *end)
{
    int rc = nsdb_begin(s->cs->db);

    if (rc < 0)
        return rc;
    for (; rc == 0 && list != end; list = list->next)
        if (list->status == 0)
            rc = confirm(s, &list->row);
    if (rc < 0) {
        nsdb_rollback(s->cs->db);
        return rc;
    }
    return nsdb_commit(s->cs->db);
}

static void settle_answers(struct sealer *s, struct offer *list)
{
    bool is_confirmed = list && confirm_all(s, list, NULL) == 0;

    while (list) {
        struct offer *o = list;

        list = o->next;
        settle_answer(s, o, is_confirmed);
        free(o);
    }
}

void offer_run(struct sealer *s)
{
    struct offer *o;

    settle_answers(s, take_done(s));
    if (!s->queue)
        fill_queue(s);
    while ((o = take_next(s)) != NULL) {
        int rc = send_offer(s, o);

        if (rc == 0)
            continue;
        if (rc == -ENOENT) { /* its container is gone: nothing can be offered */
            pthread_mutex_lock(&s->lock);
            s->in_flight--;
            s->parked++;
            pthread_mutex_unlock(&s->lock);
            free(o);
            continue;
        }
        give_back(s, o, content_now_ms() + OFFER_RETRY_MS);
        return;
    }
}

/* Not confirmed with the others: alone. */
static void settle_answer(struct sealer *s, struct offer *o, bool is_confirmed)
{
    int rc = o->status;

    if (rc == 0 && !is_confirmed)
        rc = confirm_all(s, o, o->next);
    if (rc == 0) {
        /* A manifest, or a segment that the file no longer has: freed if no row names it. */
        contents_free_later(s->cs, o->row.nodeid, o->row.container);
        return;
    }
    pthread_mutex_lock(&s->lock);
    if (rc == PHR_E_STORE_REFUSED) {
        s->parked++; /* phrd keeps it; offered again after a reconnect */
        pthread_mutex_unlock(&s->lock);
        return;
    }
    s->retry_ms = content_now_ms() + OFFER_RETRY_MS;
    pthread_mutex_unlock(&s->lock);
    ignored(queue_add(s, &o->row)); /* out of memory: with the next reconnect */
}
