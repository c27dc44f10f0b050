/*
 * Opening: right, key, record, handle.
 *
 * ACCESS-1  No access object without a live right, and no content without one of these.
 * ACCESS-2  What needs no release is in the spool before access_open returns 0 (P2).
 * ACCESS-3  Keys of a granted reader are never stored, and in memory not beyond the lease.
 */
#include "vault/access.h"

#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/pre_owner.h"
#include "vault/access_state.h"
#include "vault/header_new.h"
#include "vault/lease.h"
#include "vault/names.h"
#include "vault/nsdb_ledger.h"
#include "vault/spool.h"

struct access *access_new(struct vault *v, const struct id16 *user, const struct id16 *class_id,
                          uint64_t nodeid, enum access_mode mode, struct key_set *take)
{
    struct access *a = calloc(1, sizeof *a);

    if (!a) {
        key_set_release(take);
        return NULL;
    }
    a->v = v;
    atomic_init(&a->refs, 1);
    atomic_init(&a->rc, 0);
    a->user = *user;
    a->class_id = *class_id;
    a->nodeid = nodeid;
    a->mode = mode;
    a->keys = take;
    pthread_mutex_lock(&v->access_lock);
    a->next = v->accesses;
    a->at = &v->accesses;
    if (a->next)
        a->next->at = &a->next;
    v->accesses = a;
    pthread_mutex_unlock(&v->access_lock);
    return a;
}

struct access *access_borrow(struct access *a)
{
    atomic_fetch_add(&a->refs, 1);
    return a;
}

void access_release(struct access *a)
{
    if (!a || atomic_fetch_sub(&a->refs, 1) != 1)
        return;
    pthread_mutex_lock(&a->v->access_lock);
    *a->at = a->next;
    if (a->next)
        a->next->at = a->at;
    pthread_mutex_unlock(&a->v->access_lock);
    key_set_release(a->keys);
    free(a);
}

int access_check(struct access *a)
{
    atomic_store_explicit(&a->used_ms, clock_boottime_ms(), memory_order_relaxed);
    return atomic_load_explicit(&a->rc, memory_order_acquire);
}

uint64_t access_used_ms(struct vault *v, const struct id16 *user)
{
    uint64_t newest = 0;

    pthread_mutex_lock(&v->access_lock);
    for (struct access *a = v->accesses; a; a = a->next) {
        uint64_t used = atomic_load_explicit(&a->used_ms, memory_order_relaxed);

        if (used > newest && id_equal(&a->user, user))
            newest = used;
    }
    pthread_mutex_unlock(&v->access_lock);
    return newest;
}

struct key_set *access_get_keys(const struct access *a)
{
    return a->keys;
}

const struct id16 *access_get_user(const struct access *a)
{
    return &a->user;
}

/* ---- key sets ---- */

int key_set_new(const struct header *h, struct file_key *take, size_t count,
                struct key_set **out_keys)
{
    struct key_set *k = calloc(1, sizeof *k);

    if (!k || h->bytes.n > sizeof k->header || count > FK_COUNT_MAX) {
        file_keys_free(take, count);
        free(k);
        return k ? PHR_E_LIMIT : -ENOMEM;
    }
    k->ctx = h->ctx;
    k->suite = h->suite;
    memcpy(k->keys, take, count * sizeof *take);
    k->count = count;
    memcpy(k->header, h->bytes.p, h->bytes.n);
    k->header_bytes = h->bytes.n;
    k->refs = 1;
    *out_keys = k;
    return 0;
}

struct key_set *key_set_borrow(struct key_set *k)
{
    __atomic_add_fetch(&k->refs, 1, __ATOMIC_RELAXED);
    return k;
}

void key_set_release(struct key_set *k)
{
    if (!k || __atomic_sub_fetch(&k->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    file_keys_free(k->keys, k->count);
    free(k);
}

const struct symkey *key_set_find(const struct key_set *k, uint32_t gen)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->keys[i].gen == gen)
            return k->keys[i].key;
    return NULL;
}

/* ---- where keys come from without asking anybody ---- */

static int keys_by_owner(struct identity *id, const struct header *h, struct key_set **out_keys)
{
    struct class_key *k = session_class_epoch(id, &h->ctx.class_ctx);
    scoped(secret_free) struct symkey *kek = secret_alloc(sizeof *kek);
    struct file_key keys[FK_COUNT_MAX];
    size_t count = 0;
    int rc;

    if (!kek)
        return -ENOMEM;
    if (!k || !k->a)
        return -ENOENT;
    rc = pre_owner_decaps(k->a, &h->ctx, &h->capsule, &h->commit, kek);
    if (rc == 0)
        rc = header_open_sealed(h, kek, keys, &count);
    if (rc < 0)
        return rc;
    return key_set_new(h, keys, count, out_keys);
}

static int keys_by_box(struct identity *id, const struct name_header *row, const struct header *h,
                       struct key_set **out_keys)
{
    struct file_key keys[FK_COUNT_MAX];
    size_t count = 0;
    int rc;

    if (row->fk_box.n == 0 || !id_equal(&row->fk_user, &id->user))
        return -ENOENT;
    rc = session_open_box(id, &row->file, row->fk_box, keys, &count);
    if (rc < 0)
        return rc;
    return key_set_new(h, keys, count, out_keys);
}

/* The owner's key is boxed once under his local key: 2 us instead of 48 at the next open. */
static void box_for_owner(struct vault *v, struct identity *id, const struct id16 *file,
                          const struct key_set *keys)
{
    scoped(writer_fini) struct writer box = { 0 };

    writer_init(&box);
    if (vault_is_read_only(v) || session_box_keys(id, file, keys->keys, keys->count, &box) < 0)
        return;
    ignored(nsdb_header_set_box(v->db, file, &id->user, writer_done(&box))); /* a cache */
}

int access_keys_here(struct vault *v, struct identity *id, const struct name_header *row,
                     const struct header *h, struct key_set **out_keys)
{
    int rc;

    *out_keys = lease_find_keys(v, id, &h->ctx);
    if (*out_keys)
        return 0;
    rc = keys_by_box(id, row, h, out_keys);
    if (rc < 0)
        rc = keys_by_owner(id, h, out_keys);
    if (rc < 0)
        return rc;
    lease_keep_keys(v, id, *out_keys);
    return 0;
}

static int keys_of_anybody(struct vault *v, const struct name_header *row, const struct header *h,
                           struct key_set **out_keys)
{
    for (struct identity *id = v->identities; id; id = id->next)
        if (keys_by_box(id, row, h, out_keys) == 0 || keys_by_owner(id, h, out_keys) == 0)
            return 0;
    return PHR_E_LOCKED;
}

int access_keys_local(struct vault *v, uint64_t nodeid, struct key_set **out_keys)
{
    struct name_inode inode;
    struct name_header row;
    bool is_parked = false;
    struct header h;
    struct nsdb_stmt s;
    int rc;

    nsdb_lock(v->db);
    rc = nsdb_inode_get(v->db, nodeid, &s, &inode);
    if (rc == 0) {
        nsdb_end(&s);
        rc = inode.is_gone ? -ENOENT : nsdb_parked_has(v->db, SHADOW_HEADER, &inode.ino, &is_parked);
    }
    if (rc == 0) /* the header is without this host's keys until that was made anew */
        rc = is_parked ? PHR_E_LOCKED : nsdb_header_get(v->db, &inode.ino, &s, &row);
    if (rc == 0) {
        rc = header_decode(row.bytes, &h);
        if (rc == 0)
            rc = keys_of_anybody(v, &row, &h, out_keys);
        nsdb_end(&s);
    }
    nsdb_unlock(v->db);
    return rc;
}

/* ---- rights ---- */

/* One record for a uid in a place (a compartment, or a patient's directory) in five seconds. */
static void record_denied(struct vault *v, const struct who *who, const struct class_ctx *where, int rc)
{
    enum { DENIED_PERIOD_MS = 5000 };
    struct session *s = session_of_uid(v, who->uid);
    uint64_t now = clock_boottime_ms();
    uint64_t place = get_le64(where->patient.b) ^ get_le64(where->class_id.b);
    uint64_t key = place ^ ((uint64_t)who->uid << 32 | who->uid);
    char program[32];
    struct event e;

    if (v->denied_uid_place == key && now - v->denied_ms < DENIED_PERIOD_MS)
        return;
    v->denied_uid_place = key;
    v->denied_ms = now;
    spool_event_init(v, &e, EVENT_DENIED, who, s, program);
    e.outcome = rc;
    e.patient = where->patient;
    e.class_id = where->class_id;
    ignored(spool_event(v->spool, &e)); /* the attempt is refused either way */
}

void access_denied(struct vault *v, const struct who *who, const struct id16 *class_id, int rc)
{
    struct class_ctx where = { 0 };

    if (nsdb_class_current(v->db, class_id, &where) < 0)
        where.class_id = *class_id;
    record_denied(v, who, &where, rc);
}

void access_denied_patient(struct vault *v, const struct who *who, const struct id16 *patient)
{
    const struct class_ctx where = { .patient = *patient };

    record_denied(v, who, &where, -EACCES);
}

int access_right(struct vault *v, const struct who *who, const struct id16 *class_id,
                 enum access_mode mode, struct session **out_session, struct class_key **out_key)
{
    struct session *s = session_of_uid(v, who->uid);
    struct class_key *k = s && !s->is_leaving ? session_class(s->id, class_id) : NULL;
    int rc = 0;

    if (!s || s->is_leaving)
        rc = v->sessions && !s ? -EACCES : PHR_E_LOCKED;
    else if (!k)
        rc = -EACCES;
    else if ((mode & ACCESS_WRITE) && k->rights != GRANT_RW)
        rc = -EACCES;
    else if (!k->has_rows) /* its release is on the way, or nobody answers */
        rc = v->link && link_is_up(v->link) ? PHR_E_LOCKED : PHR_E_SIDECAR;
    if (rc < 0) {
        if (rc == -EACCES)
            access_denied(v, who, class_id, rc);
        return rc;
    }
    if ((mode & ACCESS_WRITE) && vault_is_read_only(v))
        return -EROFS;
    *out_session = s;
    *out_key = k;
    return 0;
}

/* ---- open ---- */

struct open_try {
    struct vault *v;
    const struct who *who;
    uint64_t nodeid;
    enum access_mode mode;
    bool trunc;
    struct waiter *w;
    struct session *session;
    struct class_key *key;
    struct name_inode inode;
    struct key_set *keys;
};

static int find_keys(struct open_try *t)
{
    struct name_header row;
    struct header h;
    struct nsdb_stmt s;
    int rc;

    t->keys = lease_find_current(t->v, t->session->id, &t->inode.ino);
    if (t->keys)
        return 0;
    rc = nsdb_header_get(t->v->db, &t->inode.ino, &s, &row);
    if (rc < 0)
        return rc == -ENOENT ? PHR_E_NO_HEADER : rc;
    rc = header_decode(row.bytes, &h);
    if (rc == 0)
        rc = access_keys_here(t->v, t->session->id, &row, &h, &t->keys);
    if (rc == 0)
        lease_mark_current(t->v, t->session->id, &h.ctx);
    if (rc == 0 && t->key->is_owner && row.fk_box.n == 0)
        box_for_owner(t->v, t->session->id, &row.file, t->keys);
    if (rc == -ENOENT && t->key->is_owner)
        rc = PHR_E_SEAL; /* an epoch whose class record does not open */
    if (rc == -ENOENT) {
        struct class_ctx ctx = h.ctx.class_ctx;
        struct class_key *k = session_class_epoch(t->session->id, &ctx);

        if (!k)
            rc = PHR_E_NO_GRANT;
        else if (row.conf != row.hdr_gen)
            rc = lease_wait_header(t->v, &row.file, NULL, t->w);
        else
            rc = lease_ask_file(t->v, t->who, t->session, k, &h.ctx, row.bytes, t->w);
    }
    nsdb_end(&s);
    return rc;
}

static int open_locked(struct open_try *t, struct event *e, char program[32],
                       struct access **out_access)
{
    int rc = names_row(t->v, t->nodeid, &t->inode);

    if (rc < 0)
        return rc == -ENOENT ? -ESTALE : rc;
    if (t->inode.kind != NODE_BELOW)
        return -EISDIR;
    rc = access_right(t->v, t->who, &t->inode.class_id, t->mode, &t->session, &t->key);
    if (rc < 0)
        return rc;
    if (t->trunc)
        rc = header_new_trunc(t->v, t->session, t->key, &t->inode.ino, &t->keys);
    if (!t->trunc || rc == -EALREADY)
        rc = find_keys(t);
    if (rc == 0 && (t->mode & ACCESS_WRITE) && !t->trunc)
        rc = header_new_generation(t->v, t->session, t->key, &t->inode.ino, &t->keys);
    if (rc < 0) {
        key_set_release(t->keys);
        return rc;
    }
    spool_event_init(t->v, e, EVENT_OPEN, t->who, t->session, program);
    e->patient = t->key->ctx.patient;
    e->class_id = t->key->ctx.class_id;
    e->file = t->inode.ino;
    if (!t->key->is_owner)
        e->grant = t->key->grant.ctx.grant;
    *out_access = access_new(t->v, &t->session->id->user, &t->inode.class_id, t->nodeid, t->mode,
                             t->keys);
    return *out_access ? 0 : -ENOMEM;
}

int access_open(struct vault *v, const struct who *who, uint64_t nodeid, enum access_mode mode,
                bool trunc, struct waiter *w, struct access **out_access)
{
    struct open_try t = {
        .v = v, .who = who, .nodeid = nodeid, .mode = mode, .trunc = trunc, .w = w
    };
    struct access *a = NULL;
    char program[32];
    struct event e;
    int rc;

    nsdb_lock(v->db);
    rc = open_locked(&t, &e, program, &a);
    nsdb_unlock(v->db);
    if (rc < 0)
        return rc;
    rc = spool_event(v->spool, &e);
    if (rc < 0) {
        access_release(a);
        return rc;
    }
    *out_access = a;
    return 0;
}
