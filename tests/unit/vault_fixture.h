/*
 * A vault with a real SRS behind a real socket, in one process and one temporary directory:
 * what the tests of names, access and outbox stand on. People come from tiny_realm.h.
 */
#ifndef PHR_TESTS_UNIT_VAULT_FIXTURE_H
#define PHR_TESTS_UNIT_VAULT_FIXTURE_H

#include "tiny_realm.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/config.h"
#include "base/fdio.h"
#include "format/keyring.h"
#include "ipc/hello.h"
#include "ipc/server.h"
#include "srs/srs.h"
#include "vault/file.h"
#include "vault/node.h"

enum { BED_OBJECTS_MAX = 16 };

/* phrd's half: socket, SRS, objects. */
struct bed {
    char dir[64];
    int dir_fd;
    struct tiny_realm realm;
    struct id16 host; /* of phrd */
    struct srs *srs;
    struct server *server;
    pthread_t thread;
    uint64_t lease_s;
    atomic_int opens; /* MSG_OPEN requests seen */
    struct id16 watched; /* a patient; set before anything is pushed of him */
    atomic_int watched_applied;
    atomic_int pushes;
    atomic_int refuses_pushes; /* for now: -EAGAIN */
    atomic_int holds_lists;    /* for now: these are answered when it is 0 again */
    atomic_int holds_fetches;
    atomic_int lists; /* seen */
    atomic_int fetches;
    struct {
        uint8_t *p;
        size_t n;
        struct digest id;
    } objects[BED_OBJECTS_MAX];
    size_t object_count;
};

/* One mount. */
struct mount_bed {
    struct bed *bed;
    struct config config;
    struct vault *v;
    atomic_int inval_nodes;
    atomic_int inval_entries;
    atomic_int inval_names;
};

static inline void bed_done(void *user, int status, struct view payload)
{
    request_reply(user, status, payload);
}

static inline void bed_submit(struct bed *b, enum srs_ask ask, struct request *req, struct view payload)
{
    struct srs_peer peer = { .uid = getuid(), .is_admin = true };
    int rc = srs_submit(b->srs, ask, &peer, payload, bed_done, req);

    if (rc < 0)
        request_reply(req, rc, view_of(NULL, 0));
}

static inline void bed_on_hello(void *user, struct request *req, struct view payload)
{
    struct bed *b = user;
    struct hello hello;
    struct hello_reply reply = { .host = b->host, .srs_card = b->realm.srs.card.hash,
                                 .time_s = clock_realtime_s() };
    uint8_t bytes[HELLO_REPLY_BYTES];
    int rc = hello_decode(payload, &hello);

    if (rc == 0)
        request_set_role(req, hello.role, &hello.host);
    hello_reply_encode(&reply, bytes);
    request_reply(req, rc, view_of(bytes, rc == 0 ? sizeof bytes : 0));
}

#define BED_FORWARD(name, ask)                                                              \
    static inline void bed_on_##name(void *user, struct request *req, struct view payload)  \
    {                                                                                       \
        bed_submit(user, ask, req, payload);                                                \
    }
BED_FORWARD(spool, SRS_SPOOL_PUSH)

/* A request that waits for its gate on a thread of its own: others go on, as behind a slow server. */
struct bed_late {
    struct bed *b;
    atomic_int *gate;
    enum srs_ask ask;
    struct request *req;
    size_t n;
    uint8_t payload[];
};

static inline void *bed_late_main(void *arg)
{
    struct bed_late *l = arg;
    struct timespec t = { .tv_nsec = 5 * 1000 * 1000 };

    while (atomic_load(l->gate))
        nanosleep(&t, NULL);
    bed_submit(l->b, l->ask, l->req, view_of(l->payload, l->n));
    free(l);
    return NULL;
}

static inline void bed_submit_behind(struct bed *b, atomic_int *gate, enum srs_ask ask, struct request *req,
                                     struct view payload)
{
    struct bed_late *l;
    pthread_t thread;

    if (!atomic_load(gate)) {
        bed_submit(b, ask, req, payload);
        return;
    }
    l = malloc(sizeof *l + payload.n);
    assert_non_null(l);
    *l = (struct bed_late){ .b = b, .gate = gate, .ask = ask, .req = req, .n = payload.n };
    memcpy(l->payload, payload.p, payload.n);
    CHECK_EQ(pthread_create(&thread, NULL, bed_late_main, l), 0);
    pthread_detach(thread);
}

static inline void bed_on_list(void *user, struct request *req, struct view payload)
{
    struct bed *b = user;

    atomic_fetch_add(&b->lists, 1);
    bed_submit_behind(b, &b->holds_lists, SRS_LEDGER_LIST, req, payload);
}

static inline void bed_on_fetch(void *user, struct request *req, struct view payload)
{
    struct bed *b = user;

    atomic_fetch_add(&b->fetches, 1);
    bed_submit_behind(b, &b->holds_fetches, SRS_LEDGER_FETCH, req, payload);
}

static inline void bed_on_push(void *user, struct request *req, struct view payload)
{
    struct bed *b = user;

    atomic_fetch_add(&b->pushes, 1);
    if (atomic_load(&b->refuses_pushes))
        request_reply(req, -EAGAIN, view_of(NULL, 0));
    else
        bed_submit(b, SRS_OP_PUSH, req, payload);
}

static inline void bed_on_open(void *user, struct request *req, struct view payload)
{
    atomic_fetch_add(&((struct bed *)user)->opens, 1);
    bed_submit(user, SRS_OPEN, req, payload);
}

static inline void bed_on_applied(void *user, struct request *req, struct view payload)
{
    struct bed *b = user;

    if (payload.n >= sizeof b->watched && memcmp(payload.p, b->watched.b, sizeof b->watched) == 0)
        atomic_fetch_add(&b->watched_applied, 1);
    request_reply(req, 0, view_of(NULL, 0));
}

static inline void bed_on_object_get(void *user, struct request *req, struct view payload)
{
    struct bed *b = user;
    struct reader r = reader_over(payload);
    struct id16 patient;
    struct digest id;
    int fd = request_take_fd(req);
    int rc = PHR_E_STORE;
    uint8_t answer[8];

    reader_bytes(&r, patient.b, sizeof patient.b);
    reader_bytes(&r, id.b, sizeof id.b);
    for (size_t i = 0; i < b->object_count; i++) {
        if (digest_equal(&b->objects[i].id, &id)) {
            rc = fdio_pwrite_all(fd, b->objects[i].p, b->objects[i].n, 0);
            put_le64(answer, b->objects[i].n);
        }
    }
    close(fd);
    request_reply(req, rc, view_of(answer, rc == 0 ? sizeof answer : 0));
}

static inline int bed_load_object(void *user, const struct id16 *patient, const struct digest *id,
                                  uint8_t **out_p, size_t *out_n)
{
    struct bed *b = user;

    (void)patient;
    for (size_t i = 0; i < b->object_count; i++) {
        if (!digest_equal(&b->objects[i].id, id))
            continue;
        *out_p = malloc(b->objects[i].n);
        memcpy(*out_p, b->objects[i].p, b->objects[i].n);
        *out_n = b->objects[i].n;
        return 0;
    }
    return PHR_E_STORE;
}

static inline void bed_on_entry(void *user, const struct id16 *patient, uint64_t seq, struct view entry)
{
    struct bed *b = user;
    uint8_t payload[24];

    (void)entry;
    memcpy(payload, patient->b, 16);
    put_le64(payload + 16, seq);
    if (b->server)
        server_push(b->server, IPC_ROLE_MOUNT, MSG_LEDGER_CHANGED, view_of(payload, sizeof payload));
}

static inline void bed_on_checkpoint(void *user, uint64_t size, struct view note)
{
    (void)user;
    (void)size;
    (void)note;
}

#define BED_MOUNT (1u << IPC_ROLE_MOUNT)
static const struct rule bed_rules[] = {
    { .type = MSG_HELLO, .roles = (1u << IPC_ROLE_NONE), .bytes_max = 64, .fds = 0, .handle = bed_on_hello },
    { .type = MSG_OP_PUSH, .roles = BED_MOUNT, .bytes_max = 4 * 1024 * 1024, .fds = 0, .handle = bed_on_push },
    { .type = MSG_LEDGER_FETCH, .roles = BED_MOUNT, .bytes_max = 64, .fds = 0, .handle = bed_on_fetch },
    { .type = MSG_LEDGER_LIST, .roles = BED_MOUNT, .bytes_max = 128 * 1024, .fds = 0, .handle = bed_on_list },
    { .type = MSG_OPEN, .roles = BED_MOUNT, .bytes_max = 512 * 1024, .fds = 0, .handle = bed_on_open },
    { .type = MSG_SPOOL_PUSH, .roles = BED_MOUNT, .bytes_max = 4 * 1024 * 1024, .fds = 0, .handle = bed_on_spool },
    { .type = MSG_OBJECT_GET, .roles = BED_MOUNT, .bytes_max = 64, .fds = 1, .handle = bed_on_object_get },
    { .type = MSG_APPLIED, .roles = BED_MOUNT, .bytes_max = 64, .fds = 0, .handle = bed_on_applied },
};

static inline void *bed_serve(void *arg)
{
    struct bed *b = arg;

    ignored(server_run(b->server));
    return NULL;
}

static inline void bed_start(struct bed *b)
{
    char sock[96];
    struct server_opts opts = { .socket_path = sock, .socket_mode = 0600, .rules = bed_rules,
                                .rule_count = sizeof bed_rules / sizeof bed_rules[0], .user = b,
                                .connections_max = 8, .in_flight_max = 64 };

    snprintf(sock, sizeof sock, "%s/phrd.sock", b->dir);
    CHECK_EQ(server_open(&opts, &b->server), 0);
    CHECK_EQ(pthread_create(&b->thread, NULL, bed_serve, b), 0);
}

static inline void bed_stop(struct bed *b)
{
    if (!b->server)
        return;
    server_stop(b->server);
    pthread_join(b->thread, NULL);
    server_close(b->server);
    b->server = NULL;
}

static inline void bed_save(int fd, const char *name, const struct tiny_person *p)
{
    CHECK_EQ(fdio_save(fd, name, view_of(p->bytes, p->n), 0644), 0);
}

static inline void bed_init(struct bed *b)
{
    uint8_t *request;
    size_t n;
    int realm_fd;
    int side_fd;
    char path[96];

    memset(b, 0, sizeof *b);
    snprintf(b->dir, sizeof b->dir, "/tmp/phr-vault-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    CHECK_EQ(fdio_open_dir(AT_FDCWD, b->dir, &b->dir_fd), 0);
    snprintf(path, sizeof path, "%s/realm", b->dir);
    CHECK_EQ(fdio_make_dir(path, 0755, &realm_fd), 0);
    snprintf(path, sizeof path, "%s/sidecar", b->dir);
    CHECK_EQ(fdio_make_dir(path, 0700, &side_fd), 0);
    tiny_realm_init(&b->realm);
    b->host = random_id();
    CHECK_EQ(srs_init(side_fd, realm_fd), 0);
    CHECK_EQ(fdio_load(realm_fd, "srs.request", CARD_BYTES_MAX, &request, &n), 0);
    tiny_approve(&b->realm.srs, view_of(request, n), b->realm.authority.sign,
                 &b->realm.authority.card.ed);
    free(request);
    bed_save(realm_fd, "authority.card", &b->realm.authority);
    bed_save(realm_fd, "srs.card", &b->realm.srs);
    struct srs_opts opts = { .dir_fd = side_fd, .realm_fd = realm_fd,
                             .lease_s = b->lease_s ? b->lease_s : 300, .user = b,
                             .on_entry = bed_on_entry, .on_checkpoint = bed_on_checkpoint,
                             .load_object = bed_load_object };
    CHECK_EQ(srs_open(&opts, &b->srs), 0);
    bed_start(b);
}

static inline int bed_rm(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void bed_fini(struct bed *b)
{
    bed_stop(b);
    srs_close(b->srs);
    for (size_t i = 0; i < b->object_count; i++)
        free(b->objects[i].p);
    tiny_realm_fini(&b->realm);
    close(b->dir_fd);
    nftw(b->dir, bed_rm, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- what the command line does: ops of the owner, straight into the SRS ---- */

struct bed_wait {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_done;
    int status;
    int rc;
};

static inline void bed_push_done(void *user, int status, struct view payload)
{
    struct bed_wait *w = user;
    struct reader r = reader_over(payload);

    pthread_mutex_lock(&w->lock);
    w->status = status;
    (void)reader_u16(&r);
    w->rc = (int32_t)reader_u32(&r);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

/* A whole push; the outcome of its first op. */
static inline int bed_submit_push(struct bed *b, struct view payload)
{
    struct bed_wait w = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
    struct srs_peer peer = { .uid = getuid(), .is_admin = true };

    CHECK_EQ(srs_submit(b->srs, SRS_OP_PUSH, &peer, payload, bed_push_done, &w), 0);
    pthread_mutex_lock(&w.lock);
    while (!w.is_done)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
    return w.status < 0 ? w.status : w.rc;
}

static inline int bed_push(struct bed *b, struct tiny_op *t, const struct tiny_person *writer,
                           const struct tiny_grant *grant)
{
    struct signed_op op = tiny_op_sign(t, writer, &b->realm.host, ((uint64_t)OP_LANE_TOOL << 56) | ++b->realm.n);
    struct writer payload;
    int rc;

    writer_init(&payload);
    writer_u16(&payload, 1);
    writer_lp(&payload, op.op);
    writer_bytes(&payload, op.sig.b, sizeof op.sig.b);
    writer_u16(&payload, grant ? 1 : 0);
    if (grant) {
        writer_bytes(&payload, grant->grant.ctx.grant.b, 16);
        writer_lp(&payload, view_of(grant->sealed, sizeof grant->sealed));
    }
    rc = bed_submit_push(b, writer_done(&payload));
    writer_fini(&payload);
    tiny_op_free(t);
    return rc;
}

static inline void bed_put_root(struct tiny_op *t, const struct tiny_class *c, const char *patient,
                                const char *name)
{
    struct inode_attr attr = { .mode = S_IFDIR | 0755, .patient_name = view_text(patient),
                               .compartment_name = view_text(name) };
    struct inode_row row = { .ino = c->ctx.class_id, .version = 1 };
    struct header_change header = { .file = c->ctx.class_id, .hdr_gen = 1 };
    struct writer bytes;
    struct writer sealed;

    writer_init(&bytes);
    writer_init(&sealed);
    tiny_write_header(c, &c->ctx.class_id, 1, c->nk, NULL, &bytes);
    header.header = writer_done(&bytes);
    header_change_encode(&header, tiny_op_add(t, CHANGE_HEADER));
    CHECK_EQ(inode_seal(&c->rows, &row, &attr, &sealed), 0);
    row.sealed = writer_done(&sealed);
    inode_row_encode(&row, tiny_op_add(t, CHANGE_INODE));
    writer_fini(&sealed);
    writer_fini(&bytes);
}

/* The owner's genesis: one compartment, "anna/labs". */
static inline void bed_genesis(struct bed *b)
{
    struct class_ctx wide = { .patient = b->realm.patient };
    struct tiny_op *t = tiny_op_new(&wide);

    tiny_put_card(t, &b->realm.owner);
    tiny_write_record(&b->realm.labs, &b->realm.owner, tiny_op_add(t, CHANGE_CLASS_RECORD));
    bed_put_root(t, &b->realm.labs, "anna", "labs");
    CHECK_EQ(bed_push(b, t, &b->realm.owner, NULL), 0);
}

static inline struct id16 bed_grant(struct bed *b, const struct tiny_person *reader, enum grant_rights rights)
{
    struct tiny_op *t = tiny_op_new(&b->realm.labs.ctx);
    struct grant wish = tiny_wish(rights);
    struct tiny_grant g;

    tiny_put_card(t, reader);
    g = tiny_put_grant(t, &b->realm.labs, &b->realm.owner, reader, &b->realm.srs.card.b, &wish);
    CHECK_EQ(bed_push(b, t, &b->realm.owner, &g), 0);
    return g.grant.ctx.grant;
}

static inline void bed_revoke(struct bed *b, const struct id16 *grant)
{
    struct tiny_op *t = tiny_op_new(&b->realm.labs.ctx);

    tiny_put_revoke(t, grant);
    CHECK_EQ(bed_push(b, t, &b->realm.owner, NULL), 0);
}

/* ---- the mount's half ---- */

static inline void bed_on_inval_node(void *user, uint64_t nodeid)
{
    (void)nodeid;
    atomic_fetch_add(&((struct mount_bed *)user)->inval_nodes, 1);
}

static inline void bed_on_inval_entry(void *user, uint64_t parent, struct view name)
{
    (void)parent;
    (void)name;
    atomic_fetch_add(&((struct mount_bed *)user)->inval_entries, 1);
}

static inline void bed_on_inval_names(void *user)
{
    atomic_fetch_add(&((struct mount_bed *)user)->inval_names, 1);
}

/* name: of the home below the bed, so that one bed can have two hosts. */
static inline void mount_open(struct mount_bed *m, struct bed *b, const char *name,
                              enum vault_ownership ownership)
{
    char path[160];
    int fd;

    memset(m, 0, sizeof *m);
    m->bed = b;
    snprintf(m->config.home, sizeof m->config.home, "%s/%s", b->dir, name);
    snprintf(m->config.run, sizeof m->config.run, "%s", b->dir);
    snprintf(m->config.audit, sizeof m->config.audit, "spool");
    m->config.lease_s = 300;
    CHECK_EQ(fdio_make_dir(m->config.home, 0755, &fd), 0);
    snprintf(path, sizeof path, "%s/%s/realm", b->dir, name);
    if (symlink("../realm", path) < 0)
        CHECK_EQ(errno, EEXIST);
    unlink(path);
    close(fd);
    CHECK_EQ(fdio_make_dir(path, 0755, &fd), 0);
    bed_save(fd, "authority.card", &b->realm.authority);
    bed_save(fd, "srs.card", &b->realm.srs);
    close(fd);
    struct vault_opts opts = { .config = &m->config, .ownership = ownership,
                               .upcalls = { m, bed_on_inval_node, bed_on_inval_entry, bed_on_inval_names } };
    CHECK_EQ(vault_open(&opts, &m->v), 0);
}

static inline void mount_close(struct mount_bed *m)
{
    vault_close(m->v);
    m->v = NULL;
}

static inline uint8_t *bed_dup(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n);

    assert_non_null(copy);
    memcpy(copy, p, n);
    return copy;
}

static inline struct keyring *bed_keyring(const struct bed *b, const struct tiny_person *p)
{
    struct keyring *k = calloc(1, sizeof *k);

    assert_non_null(k);
    k->user = p->card.user;
    k->seed = secret_alloc(sizeof *k->seed);
    k->b = secret_alloc(sizeof *k->b);
    assert_non_null(k->seed);
    assert_non_null(k->b);
    sign_key_seed(p->sign, k->seed);
    memcpy(k->b->b, p->b->b, sizeof k->b->b);
    k->card = bed_dup(p->bytes, p->n);
    k->card_bytes = p->n;
    k->is_approved = true;
    k->authority_card = bed_dup(b->realm.authority.bytes, b->realm.authority.n);
    k->authority_card_bytes = b->realm.authority.n;
    k->srs_card = bed_dup(b->realm.srs.bytes, b->realm.srs.n);
    k->srs_card_bytes = b->realm.srs.n;
    return k;
}

static inline void mount_login(struct mount_bed *m, uint32_t uid, const struct tiny_person *p)
{
    struct id16 user;

    CHECK_EQ(vault_login(m->v, uid, bed_keyring(m->bed, p), PURPOSE_TREAT, &user), 0);
}

/* A bed with one mount and its owner logged in: how most tests begin and end. */
static inline void bed_with_mount(struct bed *b, struct mount_bed *m, enum vault_ownership ownership,
                                  uint32_t owner_uid)
{
    bed_init(b);
    bed_genesis(b);
    mount_open(m, b, "host1", ownership);
    mount_login(m, owner_uid, &b->realm.owner);
}

static inline int bed_end(struct bed *b, struct mount_bed *m)
{
    mount_close(m);
    bed_fini(b);
    return 0;
}

static inline void bed_sleep_ms(unsigned ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L };

    nanosleep(&t, NULL);
}

static inline struct vault_backlog mount_sync(struct mount_bed *m)
{
    struct vault_backlog left;

    CHECK_EQ(vault_sync(m->v, 5000, &left), 0);
    return left;
}

/* ---- FUSE, nearly ---- */

static inline struct who who_of(uint32_t uid)
{
    return (struct who){ .uid = uid, .gid = uid, .pid = getpid(), .umask = 022 };
}

static inline int lookup(struct mount_bed *m, uint32_t uid, uint64_t parent, const char *name,
                         struct node_attr *out)
{
    struct who who = who_of(uid);

    return node_lookup(m->v, &who, parent, view_text(name), out);
}

/* Node id of a path below the root; 0 when there is none. */
static inline uint64_t walk(struct mount_bed *m, uint32_t uid, const char *path)
{
    uint64_t at = VAULT_ROOT_NODE;
    char copy[512];
    char *save = NULL;

    snprintf(copy, sizeof copy, "%s", path);
    for (char *part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        struct node_attr attr;

        if (lookup(m, uid, at, part, &attr) < 0)
            return 0;
        at = attr.nodeid;
    }
    return at;
}

struct bed_waiter {
    struct waiter w;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_woken;
    int rc;
};

static inline void bed_wake(struct waiter *w, int rc)
{
    struct bed_waiter *b = (struct bed_waiter *)(void *)w;

    pthread_mutex_lock(&b->lock);
    b->is_woken = true;
    b->rc = rc;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
}

/* As mount does: PENDING waits for the wake and asks again. */
static inline int open_file(struct mount_bed *m, uint32_t uid, uint64_t nodeid, int flags,
                            struct file **out_file)
{
    struct who who = who_of(uid);
    bool keep;

    for (int i = 0; i < 4; i++) {
        struct bed_waiter w = { .w.wake = bed_wake, .lock = PTHREAD_MUTEX_INITIALIZER,
                                .cond = PTHREAD_COND_INITIALIZER };
        int rc = file_open(m->v, &who, nodeid, flags, &w.w, out_file, &keep);

        if (rc != PHR_E_PENDING)
            return rc;
        pthread_mutex_lock(&w.lock);
        while (!w.is_woken)
            pthread_cond_wait(&w.cond, &w.lock);
        pthread_mutex_unlock(&w.lock);
        if (w.rc < 0)
            return w.rc;
    }
    return PHR_E_TIMEOUT;
}

static inline uint64_t create(struct mount_bed *m, uint32_t uid, uint64_t parent, const char *name)
{
    struct who who = who_of(uid);
    struct node_attr attr;
    struct file *f;

    CHECK_EQ(node_create(m->v, &who, parent, view_text(name), 0644, O_RDWR, &attr, &f), 0);
    file_release(f);
    return attr.nodeid;
}

struct names_seen {
    char names[64][256];
    size_t count;
};

static inline bool see_name(void *user, const struct dir_entry *e)
{
    struct names_seen *s = user;

    if (s->count < 64) {
        memcpy(s->names[s->count], e->name.p, e->name.n);
        s->names[s->count][e->name.n] = '\0';
        s->count++;
    }
    return true;
}

static inline size_t list_dir(struct mount_bed *m, uint32_t uid, uint64_t nodeid, struct names_seen *seen)
{
    struct who who = who_of(uid);
    struct dir *d;

    seen->count = 0;
    CHECK_EQ(node_opendir(m->v, &who, nodeid, &d), 0);
    CHECK_EQ(node_readdir(d, &who, 0, false, see_name, seen), 0);
    node_releasedir(d);
    return seen->count;
}

static inline bool has_name(const struct names_seen *seen, const char *name)
{
    for (size_t i = 0; i < seen->count; i++)
        if (strcmp(seen->names[i], name) == 0)
            return true;
    return false;
}

#endif
