/*
 * Whatever may be asked of an SRS, against a real one. First byte: the ask, with the payload as it
 * is; or one of two above them whose payload is made right (signed, sealed), so that mutations get
 * past what random bytes never do:
 *   PUSH_SIGNED   u8 who signs || u8 of which context || n*(u8 type || LE16 n || body): an op of these changes
 *   SPOOL_SEALED  n*(LE16 n || event): a spool of these events
 * Patient and class are new in each run: where a body says so in words, their ids are put.
 */
#include "../unit/tiny_realm.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fdio.h"
#include "format/spool_record.h"
#include "fuzz.h"
#include "srs/srs.h"

enum { PUSH_SIGNED = SRS_EVENT + 1, SPOOL_SEALED, KINDS, INPUTS_OF_A_SERVER = 20000, CHANGES_MAX = 16 };
enum { WHO_WRITER = 1, WHO_READER = 2, CONTEXT_WIDE = 1 };

static const uint8_t patient_word[16] = "the patient's id";
static const uint8_t class_word[16] = "the class's id..";

static struct {
    struct tiny_realm realm;
    struct srs *srs;
    char dir[64];
    int fd;
    unsigned inputs;
    uint64_t spool_no;
} server;

struct reply {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_done;
    int status;
};

static void on_reply(void *user, int status, struct view payload)
{
    struct reply *r = user;

    INVARIANT(status <= 0 && (payload.n == 0 || payload.p));
    pthread_mutex_lock(&r->lock);
    INVARIANT(!r->is_done);
    r->status = status;
    r->is_done = true;
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->lock);
}

static int ask(enum srs_ask what, bool is_admin, struct view payload)
{
    const struct srs_peer peer = { .uid = 1000, .is_admin = is_admin };
    struct reply r = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

    INVARIANT(srs_submit(server.srs, what, &peer, payload, on_reply, &r) == 0);
    pthread_mutex_lock(&r.lock);
    while (!r.is_done)
        pthread_cond_wait(&r.cond, &r.lock);
    pthread_mutex_unlock(&r.lock);
    return r.status;
}

static int push(struct tiny_op *t, const struct tiny_person *by, const struct tiny_grant *grant)
{
    scoped(writer_fini) struct writer payload = { 0 };
    const struct signed_op op = tiny_op_sign(t, by, &server.realm.host, ++server.realm.n);

    writer_init(&payload);
    writer_u16(&payload, 1);
    writer_lp(&payload, op.op);
    writer_bytes(&payload, op.sig.b, sizeof op.sig.b);
    writer_u16(&payload, grant != NULL);
    if (grant) {
        writer_bytes(&payload, grant->grant.ctx.grant.b, 16);
        writer_lp(&payload, view_of(grant->sealed, sizeof grant->sealed));
    }
    tiny_op_free(t);
    return ask(SRS_OP_PUSH, false, writer_done(&payload));
}

static void approve(void)
{
    const struct tiny_person *authority = &server.realm.authority;
    struct tiny_person *srs = &server.realm.srs;
    uint8_t *request;
    size_t n;

    INVARIANT(srs_init(server.fd, server.fd) == 0);
    INVARIANT(fdio_load(server.fd, "srs.request", CARD_BYTES_MAX, &request, &n) == 0);
    tiny_approve(srs, view_of(request, n), authority->sign, &authority->card.ed);
    free(request);
    INVARIANT(fdio_save(server.fd, "srs.card", view_of(srs->bytes, srs->n), 0644) == 0);
    INVARIANT(fdio_save(server.fd, "authority.card", view_of(authority->bytes, authority->n), 0644) == 0);
}

static int load_nothing(void *user, const struct id16 *patient, const struct digest *id, uint8_t **out_p,
                        size_t *out_n)
{
    (void)user;
    (void)patient;
    (void)id;
    (void)out_p;
    (void)out_n;
    return PHR_E_STORE;
}

static void start(void)
{
    struct srs_opts opts = { .lease_s = 300, .load_object = load_nothing };
    struct grant wish = tiny_wish(GRANT_RW);
    struct tiny_op *t;
    struct tiny_grant g;

    fuzz_arena_open();
    snprintf(server.dir, sizeof server.dir, "%s/fuzz_srs.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    INVARIANT(mkdtemp(server.dir) != NULL && fdio_open_dir(AT_FDCWD, server.dir, &server.fd) == 0);
    tiny_realm_init(&server.realm);
    approve();
    opts.dir_fd = opts.realm_fd = server.fd;
    INVARIANT(srs_open(&opts, &server.srs) == 0);
    INVARIANT(push(tiny_genesis(&server.realm), &server.realm.owner, NULL) == 0);
    t = tiny_op_new(&server.realm.labs.ctx);
    tiny_put_card(t, &server.realm.writer);
    g = tiny_put_grant(t, &server.realm.labs, &server.realm.owner, &server.realm.writer, &server.realm.srs.card.b,
                       &wish);
    INVARIANT(push(t, &server.realm.owner, &g) == 0);
}

static int on_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void stop(void)
{
    if (!server.srs)
        return;
    srs_close(server.srs);
    tiny_realm_fini(&server.realm);
    close(server.fd);
    nftw(server.dir, on_file, 8, FTW_DEPTH | FTW_PHYS);
    memset(&server, 0, sizeof server);
}

/* The server's log grows: a new one now and then. */
static void need_server(void)
{
    static bool is_known;

    if (server.srs && server.inputs++ < INPUTS_OF_A_SERVER)
        return;
    stop();
    start();
    if (!is_known)
        atexit(stop);
    is_known = true;
}

static void put_ids(uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 16 <= n; i++) {
        if (memcmp(p + i, patient_word, 16) == 0)
            memcpy(p + i, server.realm.patient.b, 16);
        else if (memcmp(p + i, class_word, 16) == 0)
            memcpy(p + i, server.realm.labs.ctx.class_id.b, 16);
    }
}

static void push_signed(struct reader *r)
{
    const uint8_t who = reader_u8(r);
    const struct class_ctx wide = { .patient = server.realm.patient };
    const struct tiny_person *by = who == WHO_WRITER   ? &server.realm.writer
                                   : who == WHO_READER ? &server.realm.reader
                                                       : &server.realm.owner;
    struct tiny_op *t = tiny_op_new(reader_u8(r) == CONTEXT_WIDE ? &wide : &server.realm.labs.ctx);

    while (r->left >= 3 && t->op.count < CHANGES_MAX) {
        struct writer *body = tiny_op_add(t, (enum change_type)reader_u8(r));
        size_t n = reader_u16(r);

        writer_view(body, reader_view(r, n < r->left ? n : r->left));
        INVARIANT(writer_ok(body));
        put_ids(body->p, body->n);
    }
    if (t->op.count > 0)
        ignored(push(t, by, NULL)); /* any answer will do */
    else
        tiny_op_free(t);
}

static void spool_sealed(struct reader *r)
{
    scoped(writer_fini) struct writer payload = { 0 };
    scoped(writer_fini) struct writer records = { 0 };
    struct symkey *key = secret_alloc(sizeof *key);
    uint8_t header[SPOOL_HEADER_BYTES];
    struct digest prev = { { 0 } };
    const struct id16 *host = &server.realm.host;

    INVARIANT(key != NULL);
    random_fill(key->b, sizeof key->b);
    writer_init(&payload);
    writer_init(&records);
    INVARIANT(spool_header_encode(host, ++server.spool_no, &server.realm.srs.card.b, key, header) == 0);
    for (uint64_t n = 0; r->left >= 2; n++) {
        const size_t at = records.n;
        size_t len = reader_u16(r);
        scoped(writer_fini) struct writer event = { 0 };

        writer_init(&event);
        writer_view(&event, reader_view(r, len < r->left ? len : r->left));
        put_ids(event.p, event.n);
        if (event.n > EVENT_BYTES_MAX || spool_record_seal(key, host, n, &prev, writer_done(&event), &records) < 0)
            break;
        prev = digest_sha256(view_of(records.p + at, records.n - at));
    }
    writer_lp(&payload, view_of(header, sizeof header));
    writer_u64(&payload, 0);
    writer_lp(&payload, writer_done(&records));
    INVARIANT(writer_ok(&payload));
    ignored(ask(SRS_SPOOL_PUSH, false, writer_done(&payload))); /* any answer will do */
    secret_free(key);
}

static void plain(enum srs_ask what, bool is_admin, struct reader *r)
{
    scoped(writer_fini) struct writer payload = { 0 };

    writer_init(&payload);
    writer_view(&payload, view_of(r->p, r->left));
    put_ids(payload.p, payload.n);
    ignored(ask(what, is_admin, writer_done(&payload))); /* any answer will do */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_over(view_of(data, size));
    uint8_t lead = reader_u8(&r);

    need_server();
    if (lead % KINDS == PUSH_SIGNED)
        push_signed(&r);
    else if (lead % KINDS == SPOOL_SEALED)
        spool_sealed(&r);
    else
        plain((enum srs_ask)(lead % KINDS), lead >= KINDS, &r);
    return 0;
}
