/* Login and logout: an identity and a uid. */
#include <string.h>

#include "base/clock.h"
#include "crypto/digest.h"
#include "vault/access_state.h"
#include "vault/apply.h"
#include "vault/identity.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/nodecache.h"
#include "vault/notify.h"
#include "vault/opdraft.h"
#include "vault/pool.h"
#include "vault/rebase.h"
#include "vault/spool.h"
#include "vault/worker.h"

enum { FRESH_MS = 10000, LINK_MS = 500, NAMES_MS = 2000, FLUSH_MS = 5000 };

static struct session *exact_session(struct vault *v, uint32_t uid)
{
    for (struct session *s = v->sessions; s; s = s->next)
        if (s->uid == uid)
            return s;
    return NULL;
}

static void note_session(struct vault *v, enum event_type type, uint32_t uid,
                         const struct session *s, const char *reason)
{
    char program[32];
    struct event e;

    spool_event_init(v, &e, type, NULL, s, program);
    e.uid = uid;
    e.reason = view_text(reason);
    ignored(spool_event(v->spool, &e)); /* opens are what a missing record stops */
}

/* The uid's own session with this identity; takes the keyring. */
static int bind(struct vault *v, uint32_t uid, struct keyring *take, enum purpose purpose,
                struct identity **out_id)
{
    struct session *s = exact_session(v, uid);
    struct identity *id = session_identity(v, &take->user);
    struct identity *made = NULL;
    int rc;

    if (s && (s->is_leaving || !id_equal(&s->id->user, &take->user))) {
        keyring_free(take);
        return PHR_E_BUSY;
    }
    rc = identity_new(v, take, &made); /* checked again even if it is unlocked already */
    if (rc < 0)
        return rc;
    if (id) {
        identity_free(made);
    } else {
        id = made;
        id->next = v->identities;
        v->identities = id;
    }
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s)
            return -ENOMEM; /* an identity without session: harmless, the next login takes it up */
        s->uid = uid;
        s->id = id;
        s->next = v->sessions;
        v->sessions = s;
        id->sessions++;
    }
    s->purpose = purpose;
    s->used_ms = clock_boottime_ms();
    note_session(v, EVENT_LOGIN, uid, s, "");
    *out_id = id;
    return 0;
}

/* His ledgers are fetched; a pinned one that the server hides would not be missed otherwise. */
static int follow(struct vault *v, const struct keyring *ring)
{
    scoped(free) struct id16 *patients = calloc(ring->pin_count + 1, sizeof *patients);

    if (!patients)
        return -ENOMEM;
    for (size_t i = 0; i < ring->pin_count; i++)
        patients[i] = ring->pins[i].patient;
    return worker_follow(v, &ring->user, patients, ring->pin_count);
}

int vault_login(struct vault *v, uint32_t uid, struct keyring *take, enum purpose purpose,
                struct id16 *out_user)
{
    struct identity *id;
    struct id16 user;
    int rc;

    rc = follow(v, take);
    if (rc < 0) {
        keyring_free(take);
        return rc;
    }
    /* A mount's own identity logs in while the link is still being made. */
    worker_wait_fresh(v, v->link && link_is_up(v->link) ? FRESH_MS : LINK_MS);
    nsdb_lock(v->db);
    rc = bind(v, uid, take, purpose, &id);
    if (rc == 0)
        user = id->user;
    nsdb_unlock(v->db);
    if (rc < 0)
        return rc;
    apply_settle(v);
    lease_wait_names(v, &user, NAMES_MS);
    apply_settle(v);
    ignored(rebase_redo_all(v)); /* what cannot be made anew stays parked */
    contents_kick(v->contents);
    worker_kick(v);
    *out_user = user;
    return 0;
}

static void drop_identity(struct vault *v, struct identity *id)
{
    struct identity **at = &v->identities;

    while (*at != id)
        at = &(*at)->next;
    *at = id->next;
    lease_forget(v, &id->user, NULL);
    nodecache_drop_all(v);
    identity_free(id);
}

static void drop_session(struct vault *v, struct session *s)
{
    struct session **at = &v->sessions;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    if (--s->id->sessions == 0)
        drop_identity(v, s->id);
    free(s);
}

/* The names lock is held, and is not afterwards. */
static int leave(struct vault *v, struct session *s, const char *reason, uint32_t *out_unsealed)
{
    const struct id16 user = s->id->user;
    const bool is_last = s->id->sessions == 1;
    uint32_t unsealed = 0;
    int rc = 0;

    s->is_leaving = true; /* nothing new is opened, and nobody else frees it */
    if (is_last)
        cutoff_flush_user(v, &user);
    nsdb_unlock(v->db);
    if (is_last) {
        notify_wait(v, FLUSH_MS); /* the kernel has written back what it held */
        cutoff_user_now(v, &user, PHR_E_LOCKED);
        rc = contents_logout(v->contents, &user, &unsealed);
    }
    nsdb_lock(v->db);
    if (is_last) {
        ignored(touch_flush(v, &user));  /* time stamps only */
        ignored(names_sign_dirty(v, &user));   /* signed at the next login instead */
        ignored(opdraft_sign_all(v));            /* the same (DRAFT-2) */
        cutoff_flush_user(v, &user);
    }
    note_session(v, EVENT_LOGOUT, s->uid, s, reason);
    for (const struct class_key *k = s->id->classes; k; k = k->next)
        cutoff_tell_tops(v, &k->ctx);
    drop_session(v, s);
    pool_forget(v->pool);
    nsdb_unlock(v->db);
    notify_names(v);
    worker_push_now(v);
    if (rc < 0)
        return rc;
    *out_unsealed = unsealed;
    return 0;
}

int vault_logout(struct vault *v, uint32_t uid, uint32_t *out_unsealed)
{
    struct session *s;

    nsdb_lock(v->db);
    s = exact_session(v, uid);
    if (s && !s->is_leaving)
        return leave(v, s, "", out_unsealed);
    nsdb_unlock(v->db);
    return PHR_E_LOCKED;
}

int vault_logout_idle(struct vault *v, uint64_t idle_ms, uint32_t *out_uid, uint32_t *out_unsealed)
{
    uint64_t now = clock_boottime_ms();

    nsdb_lock(v->db);
    for (struct session *s = v->sessions; s; s = s->next) {
        if (s->uid == VAULT_UID_ANY || s->is_leaving || s->used_ms + idle_ms > now ||
            access_used_ms(v, &s->id->user) + idle_ms > now)
            continue;
        *out_uid = s->uid;
        return leave(v, s, "idle", out_unsealed);
    }
    nsdb_unlock(v->db);
    return -ENOENT;
}
