/*
 * Which ledgers a host keeps up with: those that are here already, and those that concern who has
 * logged in. A realm may have a hundred thousand patients, of whom a workstation knows fifty.
 *
 * FOLLOWING-1  A change of a ledger that is not followed is asked about ("does it concern one of
 *              ours?"); if not, it counts as applied: nothing here depends on it.
 * FOLLOWING-2  A ledger that is here and that the server does not know any more, or knows less of, was rolled back;
 *              with another entry at our head it is a fork. Said aloud, and nothing more is taken from there.
 */
#include <string.h>

#include "base/clock.h"
#include "crypto/digest.h"
#include "format/limits.h"
#include "vault/nsdb_ledger.h"
#include "vault/worker_inside.h"

enum { STRANGER_BYTES = 16 + 8, STRANGERS_MAX = 16 * LEDGER_LIST_IDS_MAX };

void following_fini(struct following *f)
{
    for (size_t i = 0; i < FOLLOWING_BUCKETS; i++) {
        while (f->buckets[i]) {
            struct patient_work *p = f->buckets[i];

            f->buckets[i] = p->next;
            free(p);
        }
    }
    free(f->users);
    writer_fini(&f->named);
    writer_fini(&f->strangers);
}

static struct patient_work **bucket_of(struct following *f, const struct id16 *patient)
{
    return &f->buckets[get_le32(patient->b) % FOLLOWING_BUCKETS]; /* ids are hashes */
}

static struct patient_work *find(struct following *f, const struct id16 *patient)
{
    struct patient_work *p = *bucket_of(f, patient);

    while (p && !id_equal(&p->patient, patient))
        p = p->next;
    return p;
}

struct patient_work *following_get(struct following *f, const struct id16 *patient)
{
    struct patient_work **bucket = bucket_of(f, patient);
    struct patient_work *p = find(f, patient);

    if (p)
        return p;
    p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->patient = *patient;
    p->next = *bucket;
    *bucket = p;
    return p;
}

void following_want(struct following *f, struct patient_work *p)
{
    if (p->is_wanted)
        return;
    p->is_wanted = true;
    p->next_wanted = f->wanted;
    f->wanted = p;
}

struct patient_work *following_take(struct following *f)
{
    struct patient_work *all = f->wanted;

    f->wanted = NULL;
    return all;
}

void following_restart(struct following *f)
{
    f->wants_held = true;
    for (size_t i = 0; i < f->user_count; i++)
        f->users[i].is_listed = false;
    writer_fini(&f->strangers); /* the lists tell what they would */
    writer_init(&f->strangers);
}

bool following_wants_list(const struct following *f)
{
    bool wants = f->wants_held || f->named.n > 0 || f->strangers.n > 0;

    for (size_t i = 0; i < f->user_count; i++)
        wants |= !f->users[i].is_listed;
    return wants;
}

/* ---- what other threads say ---- */

int worker_follow(struct vault *v, const struct id16 *user, const struct id16 *patients, size_t count)
{
    struct worker *w = v->worker;
    struct following *f = &w->following;
    struct followed_user *grown;
    size_t i = 0;
    int rc = 0;

    pthread_mutex_lock(&w->lock);
    while (i < f->user_count && !id_equal(&f->users[i].user, user))
        i++;
    if (i == f->user_count) {
        grown = realloc(f->users, (f->user_count + 1) * sizeof *grown);
        if (grown) {
            grown[f->user_count++] = (struct followed_user){ .user = *user };
            f->users = grown;
            w->is_fresh = false;
        } else {
            rc = -ENOMEM;
        }
    }
    for (size_t k = 0; rc == 0 && k <= count; k++) {
        const struct id16 *patient = k < count ? &patients[k] : user; /* his own, if he has one */

        if (find(f, patient))
            continue;
        writer_bytes(&f->named, patient->b, sizeof patient->b);
        w->is_fresh = false;
    }
    if (rc == 0 && !writer_ok(&f->named))
        rc = -ENOMEM;
    w->has_news = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    return rc;
}

void worker_on_changed(struct vault *v, const struct id16 *patient, uint64_t seq)
{
    struct worker *w = v->worker;
    struct following *f;
    struct patient_work *p;

    if (!w)
        return;
    f = &w->following;
    pthread_mutex_lock(&w->lock);
    p = find(f, patient);
    if (p) {
        p->told_head = seq;
        following_want(f, p);
    } else if (f->strangers.n < STRANGERS_MAX * STRANGER_BYTES) {
        writer_bytes(&f->strangers, patient->b, sizeof patient->b);
        writer_u64(&f->strangers, seq);
    }
    if (f->strangers.n >= STRANGERS_MAX * STRANGER_BYTES || !writer_ok(&f->strangers))
        following_restart(f); /* too many to ask about one by one */
    w->has_news = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* ---- contradictions ---- */

void following_contradict(struct worker *w, struct patient_work *p, int reason)
{
    const struct vault_upcalls *up = &w->v->opts.upcalls;
    bool is_new;

    pthread_mutex_lock(&w->lock);
    is_new = reason != 0 && p->contradiction != reason;
    p->contradiction = reason;
    pthread_mutex_unlock(&w->lock);
    if (is_new && up->contradicted)
        up->contradicted(up->user, &p->patient, reason);
}

bool following_is_contradicted(struct worker *w, const struct patient_work *p)
{
    bool is_contradicted;

    pthread_mutex_lock(&w->lock);
    is_contradicted = p->contradiction != 0;
    pthread_mutex_unlock(&w->lock);
    return is_contradicted;
}

bool worker_is_behind(struct vault *v, const struct id16 *patient, uint64_t seq)
{
    struct worker *w = v->worker;
    const struct patient_work *p;
    bool is_behind;

    pthread_mutex_lock(&w->lock);
    p = find(&w->following, patient);
    is_behind = p && p->told_head > seq;
    pthread_mutex_unlock(&w->lock);
    return is_behind || !worker_is_fresh(v);
}

int worker_contradiction(struct vault *v, const struct id16 *patient)
{
    struct worker *w = v->worker;
    struct patient_work *p;
    int reason;

    if (!w)
        return 0;
    pthread_mutex_lock(&w->lock);
    p = find(&w->following, patient);
    reason = p ? p->contradiction : 0;
    pthread_mutex_unlock(&w->lock);
    return reason;
}

/* ---- lists ---- */

/* FOLLOWING-2 */
static void take_head(struct worker *w, const struct id16 *patient, uint64_t head,
                      const struct digest *leaf)
{
    struct patient_work *p;
    struct digest ours;
    uint64_t seq = 0;
    int rc = nsdb_patient_get(w->v->db, patient, &seq, &ours);

    pthread_mutex_lock(&w->lock);
    p = following_get(&w->following, patient);
    if (p)
        p->told_head = head;
    if (p && (rc == -ENOENT || (rc == 0 && seq < head)))
        following_want(&w->following, p);
    pthread_mutex_unlock(&w->lock);
    if (!p || rc < 0)
        return;
    if (seq == head && !digest_equal(leaf, &ours))
        following_contradict(w, p, PHR_E_FORK);
    else
        following_contradict(w, p, seq > head ? PHR_E_ROLLBACK : 0);
    if (seq == head)
        fetching_tell_applied(w->v, patient, seq);
}

int following_take_answer(struct worker *w, struct view answer, struct writer *out_patients, bool *out_more)
{
    struct reader r = reader_over(answer);
    uint32_t n = reader_u32(&r);

    for (uint32_t i = 0; i < n && reader_ok(&r); i++) {
        struct id16 patient;
        struct digest leaf;
        uint64_t head;

        reader_bytes(&r, patient.b, sizeof patient.b);
        head = reader_u64(&r);
        reader_bytes(&r, leaf.b, sizeof leaf.b);
        if (!reader_ok(&r))
            break;
        take_head(w, &patient, head, &leaf);
        writer_bytes(out_patients, patient.b, sizeof patient.b);
    }
    *out_more = reader_u8(&r) != 0 && n > 0;
    if (!reader_done(&r))
        return PHR_E_PROTOCOL;
    return writer_ok(out_patients) ? 0 : -ENOMEM;
}

/* One question; *out_more of the answer, *out_patients its ids. */
static int ask(struct worker *w, const struct writer *question, struct writer *out_patients,
               bool *out_more)
{
    scoped(writer_fini) struct writer answer = { 0 };
    int rc;

    writer_init(&answer);
    if (!writer_ok(question))
        return -ENOMEM;
    rc = worker_call(w->v, MSG_LEDGER_LIST, writer_done(question), -1, CALL_TIMEOUT_MS, &answer);
    return rc < 0 ? rc : following_take_answer(w, writer_done(&answer), out_patients, out_more);
}

static bool has_id(const struct writer *ids, const struct id16 *id)
{
    for (size_t at = 0; at + sizeof *id <= ids->n; at += sizeof *id)
        if (memcmp(ids->p + at, id->b, sizeof id->b) == 0)
            return true;
    return false;
}

/* ids: at most LEDGER_LIST_IDS_MAX of 16 bytes each. */
static int ask_named(struct worker *w, struct view ids, struct view users, struct writer *out_patients)
{
    scoped(writer_fini) struct writer question = { 0 };
    bool more;

    writer_init(&question);
    writer_u8(&question, LEDGER_LIST_NAMED);
    writer_u32(&question, (uint32_t)(ids.n / sizeof(struct id16)));
    writer_view(&question, ids);
    writer_u32(&question, (uint32_t)(users.n / sizeof(struct id16)));
    writer_view(&question, users);
    return ask(w, &question, out_patients, &more);
}

static int list_reader(struct worker *w, const struct id16 *user)
{
    struct id16 after = { { 0 } };
    bool more = true;
    int rc = 0;

    while (rc == 0 && more) {
        scoped(writer_fini) struct writer question = { 0 };
        scoped(writer_fini) struct writer patients = { 0 };

        writer_init(&question);
        writer_init(&patients);
        writer_u8(&question, LEDGER_LIST_OF_READER);
        writer_bytes(&question, user->b, sizeof user->b);
        writer_bytes(&question, after.b, sizeof after.b);
        rc = ask(w, &question, &patients, &more);
        if (rc == 0 && more) {
            const uint8_t *last = patients.p + patients.n - sizeof after.b;

            if (memcmp(last, after.b, sizeof after.b) <= 0)
                return PHR_E_PROTOCOL; /* it would never end */
            memcpy(after.b, last, sizeof after.b);
        }
    }
    return rc;
}

static int list_users(struct worker *w)
{
    struct following *f = &w->following;
    int rc = 0;

    for (size_t i = 0; rc == 0; i++) {
        struct id16 user;
        bool is_listed;

        pthread_mutex_lock(&w->lock);
        if (i >= f->user_count) {
            pthread_mutex_unlock(&w->lock);
            break;
        }
        user = f->users[i].user;
        is_listed = f->users[i].is_listed;
        f->users[i].is_listed = true; /* unless a restart or a failure says otherwise */
        pthread_mutex_unlock(&w->lock);
        if (is_listed)
            continue;
        rc = list_reader(w, &user);
        if (rc < 0) {
            pthread_mutex_lock(&w->lock);
            f->users[i].is_listed = false; /* users only ever grow */
            pthread_mutex_unlock(&w->lock);
        }
    }
    return rc;
}

static int list_held_batch(struct worker *w, const struct writer *ids)
{
    scoped(writer_fini) struct writer known = { 0 };
    int rc;

    writer_init(&known);
    rc = ask_named(w, writer_done(ids), view_of(NULL, 0), &known);
    for (size_t at = 0; rc == 0 && known.n < ids->n && at < ids->n; at += sizeof(struct id16)) {
        struct patient_work *p;
        struct id16 patient;

        memcpy(patient.b, ids->p + at, sizeof patient.b);
        if (has_id(&known, &patient))
            continue;
        pthread_mutex_lock(&w->lock);
        p = following_get(&w->following, &patient);
        pthread_mutex_unlock(&w->lock);
        if (p)
            following_contradict(w, p, PHR_E_ROLLBACK);
    }
    return rc;
}

static int list_held(struct worker *w)
{
    struct id16 patient = { { 0 } };
    bool more = true;
    int rc = 0;

    while (rc == 0 && more) {
        scoped(writer_fini) struct writer ids = { 0 };

        writer_init(&ids);
        while (ids.n < LEDGER_LIST_IDS_MAX * sizeof patient &&
               (more = nsdb_patient_next(w->v->db, &patient, &patient) == 0))
            writer_bytes(&ids, patient.b, sizeof patient.b);
        rc = !writer_ok(&ids) ? -ENOMEM : ids.n > 0 ? list_held_batch(w, &ids) : 0;
    }
    return rc;
}

/* Takes at most one question's worth off the front of a list. */
static struct writer take_front(struct worker *w, struct writer *list, size_t item_bytes)
{
    struct writer taken;
    size_t n;

    writer_init(&taken);
    pthread_mutex_lock(&w->lock);
    n = list->n < LEDGER_LIST_IDS_MAX * item_bytes ? list->n : LEDGER_LIST_IDS_MAX * item_bytes;
    if (n > 0)
        writer_bytes(&taken, list->p, n);
    if (n > 0 && writer_ok(&taken)) {
        memmove(list->p, list->p + n, list->n - n);
        list->n -= n;
    }
    pthread_mutex_unlock(&w->lock);
    return taken;
}

static void put_back(struct worker *w, struct writer *list, const struct writer *taken)
{
    pthread_mutex_lock(&w->lock);
    writer_view(list, view_of(taken->p, taken->n));
    pthread_mutex_unlock(&w->lock);
}

static int list_named(struct worker *w)
{
    int rc = 0;

    for (;;) {
        scoped(writer_fini) struct writer ids = take_front(w, &w->following.named, sizeof(struct id16));
        scoped(writer_fini) struct writer known = { 0 };

        writer_init(&known);
        if (ids.n == 0)
            return 0;
        rc = ask_named(w, writer_done(&ids), view_of(NULL, 0), &known);
        if (rc < 0) {
            put_back(w, &w->following.named, &ids);
            return rc;
        }
    }
}

/* Of a ledger that is here, the change may have come before the list of what is held. */
static bool want_if_followed(struct worker *w, const struct id16 *patient)
{
    struct patient_work *p;

    pthread_mutex_lock(&w->lock);
    p = find(&w->following, patient);
    if (p)
        following_want(&w->following, p);
    pthread_mutex_unlock(&w->lock);
    return p != NULL;
}

/* FOLLOWING-1 */
static int list_strangers(struct worker *w)
{
    struct following *f = &w->following;
    scoped(writer_fini) struct writer users = { 0 };

    writer_init(&users);
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < f->user_count && i < LEDGER_LIST_IDS_MAX; i++)
        writer_bytes(&users, f->users[i].user.b, sizeof f->users[i].user.b);
    pthread_mutex_unlock(&w->lock);
    for (;;) {
        scoped(writer_fini) struct writer taken = take_front(w, &f->strangers, STRANGER_BYTES);
        scoped(writer_fini) struct writer ids = { 0 };
        scoped(writer_fini) struct writer ours = { 0 };
        int rc = 0;

        writer_init(&ids);
        writer_init(&ours);
        if (taken.n == 0)
            return writer_ok(&users) ? 0 : -ENOMEM;
        for (size_t at = 0; at < taken.n; at += STRANGER_BYTES)
            writer_bytes(&ids, taken.p + at, sizeof(struct id16));
        if (users.n > 0)
            rc = ask_named(w, writer_done(&ids), writer_done(&users), &ours);
        if (rc < 0) {
            put_back(w, &f->strangers, &taken);
            return rc;
        }
        for (size_t at = 0; at < taken.n; at += STRANGER_BYTES) {
            struct id16 patient;

            memcpy(patient.b, taken.p + at, sizeof patient.b);
            if (!want_if_followed(w, &patient) && !has_id(&ours, &patient))
                fetching_tell_applied(w->v, &patient, get_le64(taken.p + at + sizeof patient));
        }
    }
}

int following_list(struct worker *w)
{
    bool wants_held;
    int rc = 0;

    pthread_mutex_lock(&w->lock);
    wants_held = w->following.wants_held;
    w->following.wants_held = false;
    pthread_mutex_unlock(&w->lock);
    if (wants_held) {
        rc = list_held(w);
        if (rc < 0) {
            pthread_mutex_lock(&w->lock);
            w->following.wants_held = true;
            pthread_mutex_unlock(&w->lock);
        }
    }
    if (rc == 0)
        rc = list_named(w);
    if (rc == 0)
        rc = list_users(w);
    if (rc == 0)
        rc = list_strangers(w);
    return rc;
}
