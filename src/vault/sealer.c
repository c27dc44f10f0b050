/*
 * The sealer's thread: decides when a changed file becomes a version, and keeps objects moving.
 *
 * A file is due `seal_delay_ms` after its last close and not before `temp_age_ms` after it was
 * made; one that stays open, every five minutes or 256 MiB; all of them at once when somebody
 * asks for a sync. While many files are being written, what is due waits a while more: hashing,
 * syncing and sending would take the disk and the processors from who writes. What nobody can open
 * now (its writer is logged out) waits for a kick, in its row alone.
 *
 * SEALER-1  Memory and the time that the names lock is held do not grow with the files that wait: the
 *           table has TODO_MAX places. What found none, and what an earlier run or a logout left, is
 *           found by a walk through the rows that are not clean, in pages, as places become free.
 *
 *   noted ──due──► prepared ──transaction──► sealed ──objects confirmed──► op released
 *     ▲               │ changed or cut meanwhile, or no room
 *     └───────────────┘
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/heap.h"
#include "vault/sealer_state.h"

enum {
    WAITING_ROOM_MIN = 256,
    RETRY_MS = 2000,
    BUSY_FLUSHES = 20,     /* flush points in a tick: many files are being written, */
    BUSY_WAIT_MS = 20 * 1000 /* and what is due waits no longer than this */
};

static void *sealer_main(void *arg);

int sealer_open(struct contents *cs, struct sealer **out_sealer)
{
    struct sealer *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return -ENOMEM;
    s->cs = cs;
    s->queue_end = &s->queue;
    s->is_kicked = true; /* what an earlier run left */
    pthread_mutex_init(&s->lock, NULL);
    clock_cond_init(&s->wake);
    rc = -pthread_create(&s->thread, NULL, sealer_main, s);
    s->has_thread = rc == 0;
    if (rc < 0) {
        sealer_close(s);
        return rc;
    }
    *out_sealer = s;
    return 0;
}

void sealer_stop(struct sealer *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->has_thread)
        pthread_join(s->thread, NULL);
    s->has_thread = false;
}

void sealer_close(struct sealer *s)
{
    if (!s)
        return;
    sealer_stop(s);
    offer_fini(s);
    free(s->todos);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s);
}

/* ---- what is noted ---- */

/* s->lock, room > 0. */
static struct todo *todo_slot(struct todo *todos, size_t room, uint64_t nodeid)
{
    size_t i = (size_t)((nodeid * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (room - 1);

    while (todos[i].nodeid && todos[i].nodeid != nodeid)
        i = (i + 1) & (room - 1);
    return &todos[i];
}

/* s->lock. */
static bool todo_grow(struct sealer *s)
{
    size_t room = s->todo_room ? s->todo_room * 2 : WAITING_ROOM_MIN;
    struct todo *todos = calloc(room, sizeof *todos);

    if (!todos)
        return false;
    for (size_t i = 0; i < s->todo_room; i++)
        if (s->todos[i].nodeid)
            *todo_slot(todos, room, s->todos[i].nodeid) = s->todos[i];
    free(s->todos);
    s->todos = todos;
    s->todo_room = room;
    return true;
}

static void note(struct sealer *s, uint64_t nodeid, uint64_t due_ms,
                 uint64_t not_before_ms)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->lock);
    struct todo *t;

    if (s->todo_count >= s->todo_room / 4 * 3 && !todo_grow(s)) {
        s->is_short = true;
        return;
    }
    t = todo_slot(s->todos, s->todo_room, nodeid);
    if (!t->nodeid && s->todo_count >= TODO_MAX) {
        s->is_short = true;
        return;
    }
    if (!t->nodeid) {
        s->todo_count++;
        t->nodeid = nodeid;
    }
    if (not_before_ms > t->not_before_ms)
        t->not_before_ms = not_before_ms;
    t->due_ms = due_ms > t->not_before_ms ? due_ms : t->not_before_ms;
}

void sealer_note(struct sealer *s, uint64_t nodeid, uint64_t due_ms)
{
    note(s, nodeid, due_ms, 0);
}

void sealer_note_new(struct sealer *s, uint64_t nodeid, uint64_t not_before_ms)
{
    note(s, nodeid, not_before_ms, not_before_ms);
}

/* Up to SEAL_BATCH_MAX that are due leave the table. */
static size_t todo_take(struct sealer *s, bool is_forced, uint64_t *out_nodeids)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->lock);
    uint64_t now_ms = content_now_ms() - (s->is_busy ? BUSY_WAIT_MS : 0);
    struct todo *todos;
    size_t n = 0;

    for (size_t i = 0; i < s->todo_room && n == 0; i++)
        n += s->todos[i].nodeid && (is_forced || s->todos[i].due_ms <= now_ms);
    if (n == 0)
        return 0;
    todos = calloc(s->todo_room, sizeof *todos);
    if (!todos)
        return 0;
    n = 0;
    for (size_t i = 0; i < s->todo_room; i++) {
        const struct todo *t = &s->todos[i];

        if (!t->nodeid)
            continue;
        if (n < SEAL_BATCH_MAX && (is_forced || t->due_ms <= now_ms))
            out_nodeids[n++] = t->nodeid;
        else
            *todo_slot(todos, s->todo_room, t->nodeid) = *t;
    }
    s->todo_count -= n;
    free(s->todos);
    s->todos = todos;
    return n;
}

/* ---- what waits in rows alone ---- */

static bool is_noted(struct sealer *s, uint64_t nodeid)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->lock);

    return s->todo_room > 0 && todo_slot(s->todos, s->todo_room, nodeid)->nodeid != 0;
}

static void note_row(struct sealer *s, const struct dirty_row *row)
{
    uint64_t due_ms = row->changed_ms + vault_get_config(s->cs->v)->seal_delay_ms;
    uint64_t real_ms = content_real_ms();

    if (row->state == CONTENT_DIRTY && !is_noted(s, row->nodeid))
        sealer_note(s, row->nodeid,
                    content_now_ms() + (due_ms > real_ms ? due_ms - real_ms : 0));
}

/* A walk goes to its end, whoever kicks meanwhile: else the last rows might never have their turn. */
static bool walk_begins(struct sealer *s)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->lock);
    bool has_room = s->todo_count + WALK_ROWS <= TODO_MAX;

    if (!s->is_walking && s->wants_walk) {
        s->is_walking = true;
        s->walk_at = 0;
        s->wants_walk = false;
    } else if (!s->is_walking && s->is_short && s->todo_count <= TODO_MAX / 2) {
        s->is_walking = true;
        s->walk_at = 0;
        s->is_short = false;
    }
    return s->is_walking && has_room && !s->is_stopping;
}

/* SEALER-1: pages until the table is full, or the last row was seen. */
static void walk(struct sealer *s)
{
    while (walk_begins(s)) {
        struct dirty_row rows[WALK_ROWS];
        size_t n = 0;

        if (nsdb_content_list_dirty(s->cs->db, s->walk_at, rows, WALK_ROWS, &n) < 0)
            return; /* goes on at the next tick */
        for (size_t i = 0; i < n; i++)
            note_row(s, &rows[i]);
        if (n > 0)
            s->walk_at = rows[n - 1].nodeid;
        s->is_walking = n == WALK_ROWS;
    }
}

/* ---- sealing ---- */

/* What comes next for a file that was not sealed now. */
static void note_again(struct sealer *s, uint64_t nodeid, int rc)
{
    switch (rc) {
    case -EALREADY: /* nothing changed */
    case -ENOENT:   /* deleted */
        return;
    case PHR_E_LOCKED: /* the next kick finds it */
    case PHR_E_SEAL: /* damaged: unsealed, and counted so */
    case PHR_E_ROLLBACK:
        return;
    case -EAGAIN: /* open, and not old enough */
        sealer_note(s, nodeid, content_now_ms() + SEAL_OPEN_MS / 5);
        return;
    default: /* changed meanwhile, no room, a part on its way */
        sealer_note(s, nodeid, content_now_ms() + RETRY_MS);
        return;
    }
}

static void finish(struct sealer *s, struct prepared *p, int rc)
{
    uint64_t nodeid = p->ct->nodeid;

    if (rc < 0) {
        prepared_discard(p);
        note_again(s, nodeid, rc);
    }
    prepared_fini(p);
}

static bool is_together(const struct prepared *a, const struct prepared *b)
{
    return memcmp(a->writer.b, b->writer.b, sizeof a->writer.b) == 0 &&
           class_ctx_equal(&a->ctx, &b->ctx);
}

static void commit_all(struct sealer *s, struct prepared *files, size_t count)
{
    bool done[SEAL_BATCH_MAX] = { false };

    for (size_t i = 0; i < count; i++) {
        struct prepared *group[SEAL_BATCH_MAX];
        size_t n = 0;

        if (done[i])
            continue;
        for (size_t j = i; j < count; j++) {
            if (done[j] || !is_together(&files[i], &files[j]))
                continue;
            group[n++] = &files[j];
            done[j] = true;
        }
        ignored(sealer_commit(s, group, n)); /* each file's rc says the same */
        for (size_t j = 0; j < n; j++)
            finish(s, group[j], group[j]->rc);
    }
}

/* All at once; where that fails, each alone tells which. How many are left. */
static size_t sync_all(struct sealer *s, struct prepared *files, size_t count)
{
    size_t kept = 0;

    if (prepared_sync(files, count) == 0)
        return count;
    for (size_t i = 0; i < count; i++) {
        int rc = prepared_sync(&files[i], 1);

        if (rc < 0)
            finish(s, &files[i], rc);
        else
            files[kept++] = files[i];
    }
    return kept;
}

static bool is_stopping(struct sealer *s)
{
    scoped(unlock) pthread_mutex_t *held = lock(&s->lock);

    return s->is_stopping;
}

/* False: nothing was due. */
static bool seal_batch(struct sealer *s, bool is_forced)
{
    uint64_t nodeids[SEAL_BATCH_MAX];
    size_t n = todo_take(s, is_forced, nodeids);
    scoped(free) struct prepared *files = calloc(SEAL_BATCH_MAX, sizeof *files);
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        int rc = -ENOMEM;

        if (files && !is_stopping(s))
            rc = sealer_prepare(s, nodeids[i], is_forced, &files[count]);
        if (rc < 0)
            note_again(s, nodeids[i], rc);
        else
            count++;
    }
    if (count > 0)
        commit_all(s, files, sync_all(s, files, count));
    return n > 0;
}

/* Forced: only what was noted by then, each once. */
static void seal_noted(struct sealer *s, bool is_forced)
{
    size_t rounds = 1;

    if (is_forced) {
        pthread_mutex_lock(&s->lock);
        rounds = s->todo_count / SEAL_BATCH_MAX + 1;
        pthread_mutex_unlock(&s->lock);
    }
    while (rounds-- > 0 && !is_stopping(s) && seal_batch(s, is_forced)) {
        s->has_sealed = true;
        offer_run(s);
    }
}

/* Forced: to the end of the walk, as long as there is room for what it finds. */
static void seal_now(struct sealer *s, bool is_forced)
{
    uint64_t at;

    do {
        at = s->walk_at;
        walk(s);
        seal_noted(s, is_forced);
    } while (is_forced && s->is_walking && s->walk_at != at && !is_stopping(s));
}

/* Answers wake the thread as well: only a whole tick tells. */
static void look_whether_busy(struct sealer *s)
{
    uint64_t now_ms = content_now_ms();
    uint64_t passed_ms = now_ms - s->looked_ms;

    if (passed_ms < SEALER_TICK_MS)
        return;
    s->is_busy = atomic_exchange(&s->cs->flush_count, 0) * SEALER_TICK_MS >=
                 BUSY_FLUSHES * passed_ms;
    s->looked_ms = now_ms;
}

/* What was written and sealed is no longer in memory, but what it lay in is. */
static void rest(struct sealer *s)
{
    bool is_done;

    pthread_mutex_lock(&s->lock);
    is_done = s->todo_count == 0 && !s->queue && s->in_flight == 0;
    pthread_mutex_unlock(&s->lock);
    if (!is_done || !s->has_sealed)
        return;
    s->has_sealed = false;
    heap_trim();
}

static void *sealer_main(void *arg)
{
    struct sealer *s = arg;

    pthread_mutex_lock(&s->lock);
    while (!s->is_stopping) {
        bool is_kicked = s->is_kicked;
        bool is_forced = s->is_forced;

        s->is_kicked = false;
        s->is_forced = false;
        pthread_mutex_unlock(&s->lock);
        look_whether_busy(s);
        if (!vault_is_read_only(s->cs->v)) {
            if (is_kicked) {
                offer_reload(s);
                s->wants_walk = true;
            }
            seal_now(s, is_forced);
            offer_run(s);
            rest(s);
        }
        pthread_mutex_lock(&s->lock);
        if (!s->is_stopping && !s->is_kicked && !s->is_forced && !s->done)
            clock_cond_wait_ms(&s->wake, &s->lock, SEALER_TICK_MS);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- for the names side ---- */

void contents_kick(struct contents *c)
{
    scoped(unlock) pthread_mutex_t *held = lock(&c->sealer->lock);

    c->sealer->is_kicked = true;
    pthread_cond_broadcast(&c->sealer->wake);
}

void contents_seal_all(struct contents *c)
{
    scoped(unlock) pthread_mutex_t *held = lock(&c->sealer->lock);

    c->sealer->is_kicked = true;
    c->sealer->is_forced = true;
    pthread_cond_broadcast(&c->sealer->wake);
}

void contents_count(struct contents *c, uint32_t *out_unsealed, uint32_t *out_objects,
                    uint32_t *out_parked)
{
    *out_unsealed = 0;
    *out_objects = 0;
    /* A count that cannot be read stays too low: status is no promise. */
    ignored(nsdb_content_count_dirty(c->db, BACKLOG_COUNT_MAX, out_unsealed));
    ignored(nsdb_object_count_all(c->db, BACKLOG_COUNT_MAX, out_objects));
    pthread_mutex_lock(&c->sealer->lock);
    *out_parked = c->sealer->parked;
    pthread_mutex_unlock(&c->sealer->lock);
}
