#include "fake_vault.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fdio.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "ipc/caller.h"

struct access {
    struct key_set *keys;
    struct id16 user;
    atomic_uint refs;
};

uint64_t fake_store_bytes_max;

struct id16 fake_file_id(uint64_t nodeid)
{
    struct id16 id = { { 'f', 'i', 'l', 'e' } };

    put_le64(id.b + 8, nodeid);
    return id;
}

int fake_vault_open(const char *dir, struct vault **out_vault)
{
    char path[4096];
    struct vault *v = calloc(1, sizeof *v);
    int rc;

    if (!v)
        return -ENOMEM;
    pthread_mutex_init(&v->lock, NULL);
    v->config.seal_delay_ms = 3600 * 1000; /* tests seal when they want to */
    v->config.temp_age_ms = 3600 * 1000;
    v->config.floor_bytes = 1024 * 1024;
    v->config.store_bytes_max = fake_store_bytes_max;
    v->device_key = secret_alloc(32);
    memset(v->device_key, 7, 32);
    v->next_op = 1;
    rc = fdio_make_dir(dir, 0700, &v->dir_fd);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof path, "%s/namespace.db", dir);
    rc = nsdb_open(path, &v->db);
    if (rc < 0)
        return rc;
    rc = contents_open(v, v->dir_fd, &v->contents);
    if (rc < 0)
        return rc;
    *out_vault = v;
    return 0;
}

void fake_vault_close(struct vault *v)
{
    contents_close(v->contents);
    nsdb_close(v->db);
    close(v->dir_fd);
    secret_free(v->device_key);
    for (size_t i = 0; i < v->object_count; i++)
        free(v->objects[i].bytes);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

void fake_dir_remove(const char *dir)
{
    char command[4200];

    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) /* tests only */
        abort();
}

/* ---- keys ---- */

struct key_set *key_set_borrow(struct key_set *k)
{
    __atomic_add_fetch(&k->refs, 1, __ATOMIC_SEQ_CST);
    return k;
}

void key_set_release(struct key_set *k)
{
    if (!k || __atomic_sub_fetch(&k->refs, 1, __ATOMIC_SEQ_CST) > 0)
        return;
    for (size_t i = 0; i < k->count; i++)
        secret_free(k->keys[i].key);
    free(k);
}

const struct symkey *key_set_find(const struct key_set *k, uint32_t gen)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->keys[i].gen == gen)
            return k->keys[i].key;
    return NULL;
}

static struct key_set *fake_keys(uint64_t nodeid)
{
    struct key_set *k = calloc(1, sizeof *k);
    struct symkey *kek = secret_alloc(sizeof *kek);
    struct id16 file = fake_file_id(nodeid);
    struct digest fk = digest_sha256(view_of(file.b, sizeof file.b));
    struct capsule capsule = { 0 };
    struct digest commit = { { 1 } };
    struct writer w;

    k->refs = 1;
    k->suite = AEAD_GCM;
    k->ctx.file = file;
    k->ctx.hdr_gen = 1;
    k->ctx.class_ctx.epoch = 1;
    k->ctx.class_ctx.patient.b[0] = 'p';
    k->ctx.class_ctx.class_id.b[0] = 'c';
    k->count = 1;
    k->keys[0].gen = 1;
    k->keys[0].key = secret_alloc(sizeof(struct symkey));
    memcpy(k->keys[0].key->b, fk.b, 32);
    writer_init(&w);
    INVARIANT(header_seal(k->suite, &k->ctx, &capsule, kek, &commit, k->keys, 1, &w) ==
              0);
    memcpy(k->header, w.p, w.n);
    k->header_bytes = w.n;
    writer_fini(&w);
    secret_free(kek);
    return k;
}

int access_open(struct vault *v, const struct who *who, uint64_t nodeid,
                enum access_mode mode, bool trunc, struct waiter *w,
                struct access **out_access)
{
    struct access *a = calloc(1, sizeof *a);

    (void)v;
    (void)who;
    (void)mode;
    (void)trunc;
    (void)w;
    a->refs = 1;
    a->keys = fake_keys(nodeid);
    a->user.b[0] = 'u';
    *out_access = a;
    return 0;
}

struct access *access_borrow(struct access *a)
{
    atomic_fetch_add(&a->refs, 1);
    return a;
}

void access_release(struct access *a)
{
    if (!a || atomic_fetch_sub(&a->refs, 1) > 1)
        return;
    key_set_release(a->keys);
    free(a);
}

int access_check(struct access *a)
{
    (void)a;
    return 0;
}

struct key_set *access_get_keys(const struct access *a)
{
    return a->keys;
}

const struct id16 *access_get_user(const struct access *a)
{
    return &a->user;
}

int access_keys_local(struct vault *v, uint64_t nodeid, struct key_set **out_keys)
{
    if (v->is_locked)
        return PHR_E_LOCKED;
    *out_keys = fake_keys(nodeid);
    return 0;
}

/* ---- the vault ---- */

struct nsdb *vault_get_nsdb(struct vault *v)
{
    return v->db;
}

struct contents *vault_get_contents(struct vault *v)
{
    return v->contents;
}

struct link *vault_get_link(struct vault *v)
{
    return (struct link *)v; /* the functions below take it back */
}

const struct config *vault_get_config(struct vault *v)
{
    return &v->config;
}

const struct vault_upcalls *vault_get_upcalls(struct vault *v)
{
    return &v->upcalls;
}

const uint8_t *vault_get_device_key(struct vault *v)
{
    return v->device_key;
}

const struct id16 *vault_get_host(struct vault *v)
{
    return &v->host;
}

bool vault_begin_writing(struct vault *v)
{
    bool was = v->is_read_only;

    v->is_read_only = false;
    return was;
}

bool vault_is_read_only(struct vault *v)
{
    return v->is_read_only;
}

int node_get_class(struct vault *v, uint64_t nodeid, struct class_ctx *out_ctx)
{
    (void)v;
    (void)nodeid;
    *out_ctx = (struct class_ctx){ .epoch = 1 };
    out_ctx->patient.b[0] = 'p';
    out_ctx->class_id.b[0] = 'c';
    return 0;
}

void node_on_last_release(struct vault *v, uint64_t nodeid)
{
    (void)nodeid;
    __atomic_add_fetch(&v->last_releases, 1, __ATOMIC_SEQ_CST);
}

int content_sync_events(struct vault *v)
{
    (void)v;
    return 0;
}

int outbox_add_seals(struct vault *v, const struct id16 *writer,
                     const struct class_ctx *ctx, const struct seal_change *seals,
                     size_t count, uint64_t *out_op_rowid)
{
    (void)writer;
    (void)ctx;
    pthread_mutex_lock(&v->lock);
    for (size_t i = 0; i < count && v->seal_count < FAKE_SEALS_MAX; i++)
        v->seals[v->seal_count++] =
            (struct fake_seal){ v->next_op, get_le64(seals[i].file.b + 8), seals[i],
                                false };
    *out_op_rowid = v->next_op++;
    pthread_mutex_unlock(&v->lock);
    return 0;
}

int outbox_release(struct vault *v, uint64_t op_rowid)
{
    pthread_mutex_lock(&v->lock);
    for (size_t i = 0; i < v->seal_count; i++)
        if (v->seals[i].op_rowid == op_rowid)
            v->seals[i].is_released = true;
    pthread_mutex_unlock(&v->lock);
    return 0;
}

/* ---- phrd ---- */

bool link_is_up(const struct link *l)
{
    const struct vault *v = (const struct vault *)l;

    return !v->is_link_down;
}

static int take_object(struct vault *v, const struct digest *id, int fd, uint64_t offset,
                       size_t n)
{
    uint8_t *p = malloc(n + 1);
    struct digest have;
    int rc = fdio_pread_all(fd, p, n, offset);

    have = digest_sha256(view_of(p, n));
    if (rc < 0 || !digest_equal(&have, id)) {
        free(p);
        return PHR_E_STORE_REFUSED;
    }
    pthread_mutex_lock(&v->lock);
    INVARIANT(v->object_count < FAKE_OBJECTS_MAX);
    v->objects[v->object_count++] = (struct fake_object){ *id, p, n };
    pthread_mutex_unlock(&v->lock);
    return 0;
}

static int give_object(struct vault *v, const struct digest *id, int fd,
                       uint8_t out_len[8])
{
    for (size_t i = 0; i < v->object_count; i++) {
        if (!digest_equal(&v->objects[i].id, id))
            continue;
        put_le64(out_len, v->objects[i].n);
        return fdio_pwrite_all(fd, v->objects[i].bytes, v->objects[i].n, 0);
    }
    return PHR_E_STORE;
}

struct answer {
    link_done done;
    void *user;
    int status;
    uint8_t payload[8];
    size_t n;
};

static void *answer_main(void *arg)
{
    struct answer *a = arg;

    a->done(a->user, a->status, view_of(a->payload, a->n));
    free(a);
    return NULL;
}

int link_call(struct link *l, enum msg_type type, struct view payload, int fd,
              uint32_t timeout_ms, link_done done, void *user)
{
    struct vault *v = (struct vault *)l;
    struct reader r = reader_over(payload);
    struct answer *a = calloc(1, sizeof *a);
    struct id16 patient;
    struct digest id;
    pthread_t t;

    (void)timeout_ms;
    if (v->is_link_down) {
        free(a);
        return PHR_E_SIDECAR;
    }
    reader_bytes(&r, patient.b, sizeof patient.b);
    reader_bytes(&r, id.b, sizeof id.b);
    a->done = done;
    a->user = user;
    if (type == MSG_OBJECT_PUT) {
        uint64_t offset = reader_u64(&r);

        a->status = v->put_status;
        if (a->status == 0)
            a->status = take_object(v, &id, fd, offset, (size_t)reader_u64(&r));
    } else {
        a->status = give_object(v, &id, fd, a->payload);
        a->n = a->status == 0 ? 8 : 0;
    }
    pthread_create(&t, NULL, answer_main, a);
    pthread_detach(t);
    return 0;
}

/* ---- words for tests ---- */

int fake_create(struct vault *v, uint64_t nodeid, struct file **out_file)
{
    struct id16 file = fake_file_id(nodeid);
    struct id16 writer = { { 'u' } };
    struct access *a = NULL;
    int rc = nsdb_begin(v->db);

    if (rc == 0) {
        rc = contents_create(v->contents, nodeid, &file, &writer);
        if (rc < 0)
            nsdb_rollback(v->db);
        else
            nsdb_commit_soon(v->db);
    }
    if (rc == 0)
        rc = access_open(v, NULL, nodeid, ACCESS_WRITE, false, NULL, &a);
    if (rc == 0)
        rc = contents_open_file(v->contents, nodeid, a, O_RDWR, out_file);
    access_release(a);
    return rc;
}

int fake_open(struct vault *v, uint64_t nodeid, int flags, struct file **out_file)
{
    struct who who = { 0 };
    bool keep;

    return file_open(v, &who, nodeid, flags, NULL, out_file, &keep);
}

static void on_wake(struct waiter *w, int rc)
{
    struct fake_waiter *f = (struct fake_waiter *)w;

    pthread_mutex_lock(&f->lock);
    f->is_woken = true;
    f->rc = rc;
    pthread_cond_broadcast(&f->cond);
    pthread_mutex_unlock(&f->lock);
}

void fake_waiter_init(struct fake_waiter *f)
{
    *f = (struct fake_waiter){ .w.wake = on_wake };
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->cond, NULL);
}

int fake_waiter_wait(struct fake_waiter *f, unsigned timeout_ms)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000 + 1;
    pthread_mutex_lock(&f->lock);
    while (!f->is_woken && rc == 0)
        rc = -pthread_cond_timedwait(&f->cond, &f->lock, &until);
    if (f->is_woken)
        rc = f->rc;
    pthread_mutex_unlock(&f->lock);
    return rc;
}
