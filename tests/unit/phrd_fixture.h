/*
 * As much of phrd as libphr asks for, in memory, on a thread of its own: the ledger (verified by
 * the real rules), sealed re-encryption keys, objects. It runs in a directory with a realm.
 */
#ifndef PHR_TESTS_UNIT_PHRD_FIXTURE_H
#define PHR_TESTS_UNIT_PHRD_FIXTURE_H

#include "check.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "client/owner.h"
#include "crypto/digest.h"
#include "crypto/pre_proxy.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "format/entry.h"
#include "ipc/hello.h"
#include "ipc/server.h"
#include "ledger/state_memory.h"
#include "phr/grant.h"

enum { PHRD_ENTRIES_MAX = 512, PHRD_OBJECTS_MAX = 64, PHRD_RKS_MAX = 256 };
#define PHRD_PASS "correct horse battery staple"

struct phrd_rk {
    struct id16 grant;
    uint8_t sealed[256];
    size_t n;
};

struct phrd {
    char dir[64];
    char sock[96];
    struct server *server;
    pthread_t thread;
    struct id16 host;
    struct sign_key *sign;
    struct scalar *b;
    struct card card;
    struct verify_anchor anchor;
    struct state_memory *memory;
    struct {
        uint8_t *p;
        size_t n;
        struct id16 patient;
        struct digest leaf;
    } entries[PHRD_ENTRIES_MAX];
    size_t entry_count;
    struct {
        uint8_t *p;
        size_t n;
        struct digest id;
    } objects[PHRD_OBJECTS_MAX];
    size_t object_count;
    struct phrd_rk rks[PHRD_RKS_MAX];
    size_t rk_count;
    atomic_int hide_last;      /* this many entries are not shown: a rolled-back server */
    atomic_int lose_answer_at; /* the answer to this push is lost, counted down to 0 */
    atomic_int push_count;
    struct id16 refused; /* grants to this reader are PHR_E_CARD: he is suspended */
};

static void phrd_reply_rc(struct request *req, int rc)
{
    request_reply(req, rc, view_of(NULL, 0));
}

static void phrd_on_hello(void *user, struct request *req, struct view payload)
{
    struct phrd *f = user;
    struct hello hello;
    struct hello_reply reply = { .host = f->host,
                                 .srs_card = f->card.hash,
                                 .time_s = clock_realtime_s() };
    uint8_t bytes[HELLO_REPLY_BYTES];
    int rc = hello_decode(payload, &hello);

    if (rc == 0)
        request_set_role(req, hello.role, &hello.host);
    hello_reply_encode(&reply, bytes);
    request_reply(req, rc, view_of(bytes, rc == 0 ? sizeof bytes : 0));
}

static int phrd_load(void *user, const struct id16 *patient, const struct digest *id,
                     uint8_t **out_p, size_t *out_n)
{
    const struct phrd *f = user;

    (void)patient;
    for (size_t i = 0; i < f->object_count; i++) {
        if (!digest_equal(&f->objects[i].id, id))
            continue;
        *out_p = malloc(f->objects[i].n + 1);
        memcpy(*out_p, f->objects[i].p, f->objects[i].n);
        *out_n = f->objects[i].n;
        return 0;
    }
    return PHR_E_STORE;
}

static bool phrd_is_refused(const struct phrd *f, const struct op *op)
{
    for (uint16_t i = 0; i < op->count; i++) {
        struct grant g;

        if (op->changes[i].type == CHANGE_GRANT &&
            grant_decode(op->changes[i].body, &g) == 0 &&
            id_equal(&g.ctx.reader, &f->refused))
            return true;
    }
    return false;
}

static int phrd_place(struct phrd *f, const struct signed_op *op, uint64_t *out_seq)
{
    const struct ledger_state *s = state_memory_get_state(f->memory);
    struct op decoded = { 0 };
    struct entry e = { .type = ENTRY_TYPE_OPS,
                       .time_s = clock_realtime_s(),
                       .op_count = 1 };
    struct signed_op copy = *op;
    struct writer out;
    int rc = op_decode(op->op, &decoded);

    if (rc == 0)
        rc = phrd_is_refused(f, &decoded) ? PHR_E_CARD
                                          : verify_op(s, &f->anchor, op, e.time_s);
    e.patient = decoded.patient;
    op_fini(&decoded);
    if (rc < 0)
        return rc;
    if (s->get_head(s->user, &e.patient, &e.seq, &e.prev) == 0)
        e.seq++;
    e.srs = f->card.user;
    e.srs_card = f->card.hash;
    e.ops = &copy;
    writer_init(&out);
    rc = entry_encode(&e, f->sign, &out);
    if (rc == 0)
        rc = verify_entry_apply(s, &f->anchor, writer_done(&out), 0);
    if (rc == 0 && f->entry_count < PHRD_ENTRIES_MAX) {
        f->entries[f->entry_count].patient = e.patient;
        f->entries[f->entry_count].leaf = e.leaf;
        f->entries[f->entry_count].p = writer_take(&out, &f->entries[f->entry_count].n);
        f->entry_count++;
        *out_seq = e.seq;
    }
    writer_fini(&out);
    return rc;
}

static void phrd_on_push(void *user, struct request *req, struct view payload)
{
    struct phrd *f = user;
    struct reader in = reader_over(payload);
    struct signed_op op;
    uint8_t reply[2 + 4 + 8];
    uint64_t seq = 0;
    uint16_t rk_count;
    int rc;

    if (reader_u16(&in) != 1) {
        phrd_reply_rc(req, PHR_E_PROTOCOL);
        return;
    }
    op.op = reader_lp(&in, OP_BYTES_MAX);
    reader_bytes(&in, op.sig.b, sizeof op.sig.b);
    rk_count = reader_u16(&in);
    for (uint16_t i = 0; i < rk_count && f->rk_count < PHRD_RKS_MAX; i++) {
        struct phrd_rk *rk = &f->rks[f->rk_count++];
        struct view sealed;

        reader_bytes(&in, rk->grant.b, sizeof rk->grant.b);
        sealed = reader_lp(&in, sizeof rk->sealed);
        rk->n = sealed.n;
        if (sealed.n)
            memcpy(rk->sealed, sealed.p, sealed.n);
    }
    if (!reader_done(&in)) {
        phrd_reply_rc(req, PHR_E_PROTOCOL);
        return;
    }
    rc = phrd_place(f, &op, &seq);
    atomic_fetch_add(&f->push_count, 1);
    if (atomic_load(&f->lose_answer_at) > 0 &&
        atomic_fetch_sub(&f->lose_answer_at, 1) == 1) {
        phrd_reply_rc(req, PHR_E_CLOSED);
        return;
    }
    put_le16(reply, 1);
    put_le32(reply + 2, (uint32_t)rc);
    put_le64(reply + 6, seq);
    request_reply(req, 0, view_of(reply, sizeof reply));
}

static void phrd_on_fetch(void *user, struct request *req, struct view payload)
{
    struct phrd *f = user;
    struct reader in = reader_over(payload);
    struct writer out;
    struct id16 patient;
    uint64_t seq = 0;
    uint64_t from;
    uint64_t head = 0;
    uint16_t count = 0;
    size_t shown = f->entry_count - (size_t)atomic_load(&f->hide_last);

    reader_bytes(&in, patient.b, sizeof patient.b);
    from = reader_u64(&in);
    (void)reader_u32(&in);
    for (size_t i = 0; i < shown; i++)
        head += id_equal(&f->entries[i].patient, &patient);
    if (!reader_done(&in) || head == 0) {
        phrd_reply_rc(req, head == 0 ? PHR_E_UNKNOWN_ID : PHR_E_PROTOCOL);
        return;
    }
    writer_init(&out);
    writer_u64(&out, head - 1);
    writer_u16(&out, 0);
    for (size_t i = 0; i < shown && count < 3;
         i++) { /* few at a time, so that clients must ask on */
        if (!id_equal(&f->entries[i].patient, &patient) || seq++ < from)
            continue;
        writer_lp(&out, view_of(f->entries[i].p, f->entries[i].n));
        count++;
    }
    put_le16(out.p + 8, count);
    request_reply(req, 0, writer_done(&out));
    writer_fini(&out);
}

static void phrd_on_put(void *user, struct request *req, struct view payload)
{
    struct phrd *f = user;
    struct reader in = reader_over(payload);
    scoped(close_fd) int fd = request_take_fd(req);
    struct digest id;
    struct digest have;
    uint64_t len;
    uint8_t *bytes;

    (void)reader_view(&in, 16);
    reader_bytes(&in, id.b, sizeof id.b);
    (void)reader_u64(&in);
    len = reader_u64(&in);
    bytes = malloc(len + 1);
    if (!reader_done(&in) || !bytes || fdio_pread_all(fd, bytes, len, 0) < 0 ||
        f->object_count == PHRD_OBJECTS_MAX) {
        free(bytes);
        phrd_reply_rc(req, PHR_E_PROTOCOL);
        return;
    }
    have = digest_sha256(view_of(bytes, len));
    CHECK(digest_equal(&have, &id));
    f->objects[f->object_count].p = bytes;
    f->objects[f->object_count].n = len;
    f->objects[f->object_count++].id = id;
    phrd_reply_rc(req, 0);
}

static void phrd_on_get(void *user, struct request *req, struct view payload)
{
    struct phrd *f = user;
    struct reader in = reader_over(payload);
    scoped(close_fd) int fd = request_take_fd(req);
    scoped(free) uint8_t *bytes = NULL;
    struct digest id;
    uint8_t reply[8];
    size_t n = 0;
    int rc;

    (void)reader_view(&in, 16);
    reader_bytes(&in, id.b, sizeof id.b);
    (void)reader_u64(&in);
    rc = phrd_load(f, NULL, &id, &bytes, &n);
    if (rc == 0)
        rc = fdio_pwrite_all(fd, bytes, n, 0);
    put_le64(reply, n);
    request_reply(req, rc, view_of(reply, rc == 0 ? sizeof reply : 0));
}

/* One mount has applied all, another has not and holds a lease until 2000000000. */
static void phrd_on_wait(void *user, struct request *req, struct view payload)
{
    uint8_t reply[2 + 2 * 25] = { 2 };

    (void)user;
    (void)payload;
    memset(reply + 2, 0xa1, 16);
    reply[18] = 1;
    memset(reply + 27, 0xb2, 16);
    put_le64(reply + 44, 2000000000);
    request_reply(req, 0, view_of(reply, sizeof reply));
}

#define PHRD_TOOL (1u << IPC_ROLE_TOOL)
static const struct rule phrd_rules[] = {
    { MSG_HELLO, 1u << IPC_ROLE_NONE, HELLO_BYTES, 0, false, phrd_on_hello },
    { MSG_OP_PUSH, PHRD_TOOL, IPC_PAYLOAD_BYTES_MAX, 0, false, phrd_on_push },
    { MSG_LEDGER_FETCH, PHRD_TOOL, 28, 0, false, phrd_on_fetch },
    { MSG_OBJECT_PUT, PHRD_TOOL, 64, 1, false, phrd_on_put },
    { MSG_OBJECT_GET, PHRD_TOOL, 56, 1, false, phrd_on_get },
    { MSG_WAIT_APPLIED, PHRD_TOOL, 28, 0, false, phrd_on_wait },
};

static void *phrd_run(void *arg)
{
    struct phrd *f = arg;

    ignored(server_run(f->server)); /* the tests see what it did */
    return NULL;
}

static void phrd_start(struct phrd *f)
{
    const struct server_opts opts = { .socket_path = f->sock,
                                      .socket_mode = 0600,
                                      .rules = phrd_rules,
                                      .rule_count =
                                          sizeof phrd_rules / sizeof phrd_rules[0],
                                      .user = f,
                                      .connections_max = 16,
                                      .in_flight_max = 8 };

    CHECK_EQ(server_open(&opts, &f->server), 0);
    CHECK_EQ(pthread_create(&f->thread, NULL, phrd_run, f), 0);
}

/* realm/srs.request as `phrd --init` would write it. */
static void phrd_write_request(struct phrd *f)
{
    struct writer out;
    struct card card = { .role = CARD_SRS,
                         .user = random_id(),
                         .not_before_s = 1,
                         .not_after_s = 4000000000,
                         .serial = 1,
                         .label = "srs" };
    char path[128];
    int dir = -1;

    writer_init(&out);
    card.org = card.user;
    card.ed = sign_key_public(f->sign);
    CHECK_EQ(pre_public(f->b, &card.b), 0);
    CHECK_EQ(card_request_encode(&card, f->sign, f->b, &out), 0);
    snprintf(path, sizeof path, "%s/home/realm", f->dir);
    CHECK_EQ(fdio_make_dir(path, 0755, &dir), 0);
    CHECK_EQ(fdio_save(dir, "srs.request", writer_done(&out), 0644), 0);
    close(dir);
    writer_fini(&out);
}

/* After phr init: what the server trusts and is. */
static void phrd_read_cards(struct phrd *f)
{
    uint8_t *authority_bytes = NULL;
    uint8_t *srs_bytes = NULL;
    struct card authority;
    char path[128];
    size_t n = 0;

    snprintf(path, sizeof path, "%s/home/realm/authority.card", f->dir);
    CHECK_EQ(fdio_load(AT_FDCWD, path, 4096, &authority_bytes, &n), 0);
    CHECK_EQ(card_decode(view_of(authority_bytes, n), &authority), 0);
    snprintf(path, sizeof path, "%s/home/realm/srs.card", f->dir);
    CHECK_EQ(fdio_load(AT_FDCWD, path, 4096, &srs_bytes, &n), 0);
    CHECK_EQ(card_check(view_of(srs_bytes, n), &authority.ed, &f->card), 0);
    f->anchor = (struct verify_anchor){ .authority = authority.ed,
                                        .srs = f->card.ed,
                                        .srs_card = f->card.hash };
    free(authority_bytes);
    free(srs_bytes);
}

static void phrd_init(struct phrd *f)
{
    char path[128];

    memset(f, 0, sizeof *f);
    memcpy(f->dir, "/tmp/phr-client-XXXXXX", sizeof "/tmp/phr-client-XXXXXX");
    CHECK(mkdtemp(f->dir) != NULL);
    snprintf(path, sizeof path, "%s/run", f->dir);
    CHECK_EQ(mkdir(path, 0755), 0);
    setenv("PHR_RUN", path, 1);
    snprintf(path, sizeof path, "%s/home", f->dir);
    setenv("PHR_HOME", path, 1);
    unsetenv("PHR_CONFIG");
    snprintf(f->sock, sizeof f->sock, "%s/run/phrd.sock", f->dir);
    snprintf(path, sizeof path, "%s/pass", f->dir);
    f->host = random_id();
    f->sign = sign_key_new();
    f->b = secret_alloc(sizeof *f->b);
    CHECK(f->sign && f->b);
    pre_scalar_random(f->b);
    CHECK_EQ(state_memory_new(&f->memory), 0);
    state_memory_set_loader(f->memory, phrd_load, f);
    phrd_write_request(f);
}

static int phrd_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void phrd_fini(struct phrd *f)
{
    server_stop(f->server);
    pthread_join(f->thread, NULL);
    server_close(f->server);
    for (size_t i = 0; i < f->entry_count; i++)
        free(f->entries[i].p);
    for (size_t i = 0; i < f->object_count; i++)
        free(f->objects[i].p);
    state_memory_free(f->memory);
    sign_key_free(f->sign);
    secret_free(f->b);
    CHECK_EQ(nftw(f->dir, phrd_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* The passphrase by a pipe: what --passfd does. */
static struct phr_passphrase phrd_pass(const char *text)
{
    int ends[2];
    struct phr_passphrase p = { .fd = -1 };

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(write(ends[1], text, strlen(text)), strlen(text));
    close(ends[1]);
    p.fd = ends[0];
    return p;
}

/* The re-encryption key that came with this grant, as the server opens it; arena memory. */
static struct scalar *phrd_open_rk(const struct phrd *f, const struct grant *g)
{
    uint8_t aad[GRANT_CTX_BYTES];
    struct scalar *rk = secret_alloc(sizeof *rk);

    grant_ctx_encode(&g->ctx, aad);
    for (size_t i = 0; i < f->rk_count; i++) {
        if (!id_equal(&f->rks[i].grant, &g->ctx.grant))
            continue;
        CHECK_EQ(seal_open(f->b, view_of(aad, sizeof aad),
                           view_of(f->rks[i].sealed, f->rks[i].n),
                           (struct span){ rk->b, sizeof rk->b }),
                 0);
        CHECK_EQ(pre_check_rk(rk, &g->r), 0);
        return rk;
    }
    fail_msg("no rk came with this grant");
    return NULL;
}

#endif
