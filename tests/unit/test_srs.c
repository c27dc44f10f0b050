/*
 * The SRS from grant to opened key, what it refuses, and what a failing disk or a kill leaves.
 * fdatasync and fsync are ours here, so that syncs can be counted and made to fail.
 */
#include "tiny_realm.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit/auditcheck.h"
#include "base/fdio.h"
#include "crypto/label.h"
#include "crypto/pre_proxy.h"
#include "format/event.h"
#include "format/open_answer.h"
#include "format/open_request.h"
#include "format/spool_record.h"
#include "format/suspension.h"
#include "srs/srs.h"
#include "srs/srs_test.h"

static atomic_int sync_count;
static atomic_int sync_fails;    /* -EIO from each sync while it is not 0 */
static atomic_int sync_kills_at; /* SIGKILL at the n-th sync; 0: never */

static int counted_sync(int fd, long number)
{
    const int count = atomic_fetch_add(&sync_count, 1) + 1;

    if (atomic_load(&sync_kills_at) != 0 && count == atomic_load(&sync_kills_at))
        raise(SIGKILL);
    if (atomic_load(&sync_fails)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(number, fd);
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    return counted_sync(fd, SYS_fdatasync);
}

__attribute__((visibility("default"))) int fsync(int fd)
{
    return counted_sync(fd, SYS_fsync);
}

/* ---- a server in a directory ---- */

struct bench {
    struct tiny_realm realm;
    char dir[64];
    int fd;
    struct srs *srs;
    atomic_int entries;
    atomic_int checkpoints;
    struct writer object;
    pthread_mutex_t store; /* held: the store does not answer */
    struct writer last_entry;
};

static void on_entry(void *user, const struct id16 *patient, uint64_t seq,
                     struct view entry)
{
    struct bench *b = user;

    (void)patient;
    (void)seq;
    b->last_entry.n = 0;
    writer_view(&b->last_entry, entry);
    atomic_fetch_add(&b->entries, 1);
}

static void on_checkpoint(void *user, uint64_t size, struct view note)
{
    struct bench *b = user;

    (void)size;
    CHECK(note.n > 0);
    atomic_fetch_add(&b->checkpoints, 1);
}

static int load_object(void *user, const struct id16 *patient, const struct digest *id,
                       uint8_t **out_p, size_t *out_n)
{
    struct bench *b = user;

    (void)patient;
    (void)id;
    pthread_mutex_lock(&b->store);
    pthread_mutex_unlock(&b->store);
    if (b->object.n == 0)
        return PHR_E_STORE;
    *out_p = malloc(b->object.n);
    memcpy(*out_p, b->object.p, b->object.n);
    *out_n = b->object.n;
    return 0;
}

static int start(struct bench *b)
{
    const struct srs_opts opts = { .dir_fd = b->fd,
                                   .realm_fd = b->fd,
                                   .lease_s = 300,
                                   .user = b,
                                   .on_entry = on_entry,
                                   .on_checkpoint = on_checkpoint,
                                   .load_object = load_object };

    return srs_open(&opts, &b->srs);
}

static void stop(struct bench *b)
{
    srs_close(b->srs);
    b->srs = NULL;
}

/* As phrd --init and phr init do. */
static void approve_srs(struct bench *b)
{
    uint8_t *request;
    size_t n;
    struct tiny_person *srs = &b->realm.srs;
    const struct tiny_person *authority = &b->realm.authority;

    CHECK_EQ(srs_init(b->fd, b->fd), 0);
    CHECK_EQ(srs_init(b->fd, b->fd), 0); /* again: goes on */
    CHECK_EQ(fdio_load(b->fd, "srs.request", CARD_BYTES_MAX, &request, &n), 0);
    tiny_approve(srs, view_of(request, n), authority->sign, &authority->card.ed);
    free(request);
    CHECK_EQ(fdio_save(b->fd, "srs.card", view_of(srs->bytes, srs->n), 0644), 0);
    CHECK_EQ(
        fdio_save(b->fd, "authority.card", view_of(authority->bytes, authority->n), 0644),
        0);
    b->realm.anchor =
        (struct verify_anchor){ authority->card.ed, srs->card.ed, srs->card.hash };
}

static int ask(struct bench *b, enum srs_ask what, bool is_admin, struct view payload,
               struct writer *out);
static int push_one(struct bench *b, struct tiny_op *t, const struct tiny_person *by,
                    const struct tiny_grant *grant);

static struct bench *bench_new(void)
{
    struct bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    strcpy(b->dir, "/tmp/test_srs.XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    CHECK_EQ(fdio_open_dir(AT_FDCWD, b->dir, &b->fd), 0);
    pthread_mutex_init(&b->store, NULL);
    writer_init(&b->object);
    writer_init(&b->last_entry);
    tiny_realm_init(&b->realm);
    approve_srs(b);
    CHECK_EQ(start(b), 0);
    CHECK_EQ(push_one(b, tiny_genesis(&b->realm), &b->realm.owner, NULL), 0);
    return b;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void bench_free(struct bench *b)
{
    stop(b);
    close(b->fd);
    CHECK_EQ(nftw(b->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    writer_fini(&b->object);
    writer_fini(&b->last_entry);
    tiny_realm_fini(&b->realm);
    free(b);
}

/* ---- asking ---- */

struct reply {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_done;
    int status;
    struct writer *out;
};

static void on_reply(void *user, int status, struct view payload)
{
    struct reply *r = user;

    pthread_mutex_lock(&r->lock);
    CHECK(!r->is_done);
    r->status = status;
    r->is_done = true;
    if (r->out)
        writer_view(r->out, payload);
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->lock);
}

static void reply_init(struct reply *r, struct writer *out)
{
    *r = (struct reply){ .out = out };
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->cond, NULL);
}

static int reply_wait(struct reply *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->is_done)
        pthread_cond_wait(&r->cond, &r->lock);
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->cond);
    return r->status;
}

static int ask(struct bench *b, enum srs_ask what, bool is_admin, struct view payload,
               struct writer *out)
{
    const struct srs_peer peer = { .uid = 1000, .is_admin = is_admin };
    struct reply r;
    int rc;

    reply_init(&r, out);
    rc = srs_submit(b->srs, what, &peer, payload, on_reply, &r);
    return rc < 0 ? rc : reply_wait(&r);
}

/* One op, with the key of one grant beside; frees it. */
static int push_one(struct bench *b, struct tiny_op *t, const struct tiny_person *by,
                    const struct tiny_grant *grant)
{
    const struct signed_op op = tiny_op_sign(t, by, &b->realm.host, ++b->realm.n);
    struct writer payload, answer;
    struct reader r;
    int rc;

    writer_init(&payload);
    writer_init(&answer);
    writer_u16(&payload, 1);
    writer_lp(&payload, op.op);
    writer_bytes(&payload, op.sig.b, sizeof op.sig.b);
    writer_u16(&payload, grant != NULL);
    if (grant) {
        writer_bytes(&payload, grant->grant.ctx.grant.b, 16);
        writer_lp(&payload, view_of(grant->sealed, sizeof grant->sealed));
    }
    rc = ask(b, SRS_OP_PUSH, false, writer_done(&payload), &answer);
    if (rc == 0) {
        r = reader_over(writer_done(&answer));
        CHECK_EQ(reader_u16(&r), 1);
        rc = (int32_t)reader_u32(&r);
        (void)reader_u64(&r);
        CHECK(reader_done(&r));
    }
    writer_fini(&payload);
    writer_fini(&answer);
    tiny_op_free(t);
    return rc;
}

/* Nobody's ledgers: a question that every state of the server can answer. */
static const uint8_t list_nothing[] = { LEDGER_LIST_NAMED, 0, 0, 0, 0, 0, 0, 0, 0 };

static struct view nothing_listed(void)
{
    return view_of(list_nothing, sizeof list_nothing);
}

/* Entries are announced behind the answers: one more answer later they have been. */
static int entries_of(struct bench *b)
{
    CHECK_EQ(ask(b, SRS_LEDGER_LIST, false, nothing_listed(), NULL), 0);
    return atomic_load(&b->entries);
}

static struct tiny_op *grant_op(struct bench *b, const struct tiny_person *to,
                                const struct grant *wish, struct tiny_grant *out)
{
    const struct class_ctx wide = { .patient = b->realm.patient };
    struct tiny_op *t = tiny_op_new(&wide);

    tiny_put_card(t, to);
    *out = tiny_put_grant(t, &b->realm.labs, &b->realm.owner, to, &b->realm.srs.card.b,
                          wish);
    return t;
}

static struct tiny_grant grant(struct bench *b, const struct tiny_person *to,
                               enum grant_rights rights)
{
    const struct grant wish = tiny_wish(rights);
    struct tiny_grant g;
    struct tiny_op *t = grant_op(b, to, &wish, &g);

    CHECK_EQ(push_one(b, t, &b->realm.owner, &g), 0);
    return g;
}

struct made_file {
    struct id16 id;
    struct id16 row;
    struct writer header;
};

static struct made_file make_file(struct bench *b, const char *name)
{
    struct made_file f = { .id = random_id(), .row = random_id() };

    writer_init(&f.header);
    CHECK_EQ(push_one(b, tiny_create(&b->realm.labs, name, &f.id, &f.row, &f.header),
                      &b->realm.owner, NULL),
             0);
    return f;
}

static int revoke_grant(struct bench *b, const struct id16 *id)
{
    struct tiny_op *t = tiny_op_new(&b->realm.labs.ctx);

    tiny_put_revoke(t, id);
    return push_one(b, t, &b->realm.owner, NULL);
}

/* ---- opening ---- */

struct wish {
    const struct tiny_grant *grant;
    const struct tiny_person *by;
    struct open_file files[4];
    uint16_t count;
    int64_t skew_s;
    enum purpose purpose;
    struct id16 req; /* zero: a new one */
};

static struct open_file open_file_of(const struct bench *b, const struct made_file *f,
                                     enum open_why why)
{
    return (struct open_file){ .ctx = { b->realm.labs.ctx, f->id, 1 },
                               .header = header_digest(writer_done(&f->header)),
                               .why = why };
}

static void write_open(const struct wish *w, struct writer *out)
{
    struct open_request q = { .req = id_is_zero(&w->req) ? random_id() : w->req,
                              .grant = w->grant->grant.ctx.grant,
                              .purpose = w->purpose ? w->purpose : PURPOSE_TREAT,
                              .time_s = clock_realtime_s() + (uint64_t)w->skew_s,
                              .count = w->count };
    const struct open_context c = { .uid = 1000, .program = view_text("dcmdump") };
    struct open_file files[4];
    struct writer context, request;

    memcpy(files, w->files, sizeof files);
    q.files = files;
    writer_init(&context);
    writer_init(&request);
    open_context_encode(&c, &context);
    q.context = digest_sha256(writer_done(&context));
    CHECK_EQ(open_request_encode(&q, w->by->sign, &request), 0);
    writer_lp(out, writer_done(&request));
    writer_lp(out, writer_done(&context));
    writer_fini(&context);
    writer_fini(&request);
}

static int open_files(struct bench *b, const struct wish *w,
                      struct open_answer *out_answer)
{
    struct writer payload, answer;
    int rc;

    writer_init(&payload);
    writer_init(&answer);
    write_open(w, &payload);
    rc = ask(b, SRS_OPEN, false, writer_done(&payload), &answer);
    if (rc == 0) {
        CHECK_EQ(open_answer_decode(writer_done(&answer), out_answer), 0);
        CHECK_EQ(open_answer_check(out_answer, &b->realm.srs.card.ed), 0);
        CHECK_EQ(out_answer->count, w->count);
    }
    writer_fini(&payload);
    writer_fini(&answer);
    return rc;
}

/* The verdict on the one file of w. */
static int verdict(struct bench *b, const struct wish *w)
{
    static const struct point nothing;
    struct open_answer answer;
    int rc = open_files(b, w, &answer);

    if (rc < 0)
        return rc;
    rc = answer.items[0].rc;
    if (rc < 0)
        CHECK_BYTES(answer.items[0].w1.b, nothing.b, 32);
    open_answer_fini(&answer);
    return rc;
}

static int open_one(struct bench *b, const struct tiny_grant *g,
                    const struct tiny_person *by, const struct made_file *f)
{
    const struct wish w = {
        .grant = g, .by = by, .files = { open_file_of(b, f, OPEN_WHY_OPEN) }, .count = 1
    };

    return verdict(b, &w);
}

/* ---- the log ---- */

static struct checkpoint head_of(struct bench *b)
{
    struct checkpoint c;
    struct writer answer;
    struct reader r;

    writer_init(&answer);
    CHECK_EQ(ask(b, SRS_AUDIT_HEAD, false, view_of("", 0), &answer), 0);
    r = reader_over(writer_done(&answer));
    CHECK_EQ(checkpoint_check(reader_lp(&r, 4096), &b->realm.srs.card.ed, &c), 0);
    CHECK(reader_done(&r));
    writer_fini(&answer);
    return c;
}

static int fetch_audit(struct bench *b, uint64_t from, uint32_t count, struct view proof,
                       bool is_admin, struct writer *out)
{
    struct writer payload;
    int rc;

    writer_init(&payload);
    writer_u64(&payload, from);
    writer_u32(&payload, count);
    writer_lp(&payload, proof);
    rc = ask(b, SRS_AUDIT_FETCH, is_admin, writer_done(&payload), out);
    writer_fini(&payload);
    return rc;
}

/* Every record against its leaf, every leaf against the signed root; counts the events of a type. */
static size_t check_log(struct bench *b, enum event_type type)
{
    scoped(auditcheck_free) struct auditcheck *c = NULL;
    struct auditcheck_report report;
    struct checkpoint head;
    struct auditlog_row row;
    struct writer rows;
    struct reader r;
    struct event e;
    uint32_t count;
    size_t found = 0;

    writer_init(&rows);
    CHECK_EQ(fetch_audit(b, 0, UINT32_MAX, view_of("", 0), true, &rows), 0);
    CHECK_EQ(auditcheck_new(&c), 0);
    r = reader_over(writer_done(&rows));
    (void)reader_u64(&r);
    count = reader_u32(&r);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(auditlog_row_decode(&r, &row), 0);
        CHECK_EQ(auditcheck_row(c, &row), 0);
        CHECK_EQ(event_decode(row.record, &e), 0);
        found += e.type == type;
    }
    CHECK(reader_done(&r));
    head = head_of(b);
    CHECK_EQ(auditcheck_checkpoint(c, &head), 0);
    report = auditcheck_get_report(c);
    CHECK_EQ(report.fault, AUDITCHECK_NONE);
    CHECK_EQ(report.size, head.size);
    writer_fini(&rows);
    return found;
}

/* ---- tests ---- */

TEST(srs__releases_what_the_reader_can_open)
{
    struct bench *b = bench_new();
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    const struct tiny_class *labs = &b->realm.labs;
    const struct id16 file = random_id(), row = random_id();
    struct symkey *kek = secret_alloc(sizeof *kek), *mine = secret_alloc(sizeof *mine);
    struct scalar *d = secret_alloc(sizeof *d);
    struct header_change change = { .file = file, .hdr_gen = 1 };
    struct tiny_op *t = tiny_op_new(&labs->ctx);
    struct open_answer answer;
    struct writer header;
    struct header h;
    struct wish w = { .grant = &g, .by = &b->realm.reader, .count = 1 };

    UNUSED_STATE;
    writer_init(&header);
    tiny_write_header(labs, &file, 1, NULL, kek, &header);
    change.header = writer_done(&header);
    tiny_put_dentry(t, labs, &row, &labs->ctx.class_id, "scan.dcm", &file, 1);
    tiny_put_inode(t, labs, &file, 1);
    header_change_encode(&change, tiny_op_add(t, CHANGE_HEADER));
    CHECK_EQ(push_one(b, t, &b->realm.owner, NULL), 0);
    w.files[0] = (struct open_file){ { labs->ctx, file, 1 },
                                     header_digest(change.header),
                                     OPEN_WHY_OPEN };
    CHECK_EQ(open_files(b, &w, &answer), 0);
    CHECK_EQ(answer.items[0].rc, 0);
    CHECK_EQ(answer.lease_s, 300);
    CHECK_EQ(header_decode(change.header, &h), 0);
    CHECK_EQ(pre_reader_grant_key(b->realm.reader.b, &g.grant.ctx, &g.grant.a, &g.grant.b,
                                  &g.grant.x, &g.grant.r, d),
             0);
    CHECK_EQ(pre_reader_decaps(d, &h.ctx, &g.grant.a, &h.capsule, &answer.items[0].w1,
                               &h.commit, mine),
             0);
    CHECK_BYTES(mine->b, kek->b, sizeof kek->b);
    open_answer_fini(&answer);
    secret_free(kek);
    secret_free(mine);
    secret_free(d);
    writer_fini(&header);
    CHECK_EQ(check_log(b, EVENT_RELEASE), 1);
    CHECK_EQ(check_log(b, EVENT_GRANT), 1);
    CHECK_EQ(check_log(b, EVENT_PATIENT_ADD), 1);
    bench_free(b);
}

TEST(srs__records_names_ahead_renew_as_what_they_are)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    struct wish w = { .grant = &g, .by = &b->realm.reader, .count = 2 };
    struct open_answer answer;
    static const struct point nothing;

    UNUSED_STATE;
    w.files[0] = open_file_of(b, &f, OPEN_WHY_AHEAD);
    w.files[1] = open_file_of(b, &f, OPEN_WHY_RENEW);
    CHECK_EQ(open_files(b, &w, &answer), 0);
    CHECK_EQ(answer.items[0].rc, 0);
    CHECK_EQ(answer.items[1].rc, 0);
    CHECK_BYTES(answer.items[1].w1.b, nothing.b, 32); /* a renewal releases nothing */
    open_answer_fini(&answer);
    w.count = 1;
    w.files[0] = open_file_of(b, &f, OPEN_WHY_NAMES); /* a content is not a names key */
    CHECK_EQ(verdict(b, &w), PHR_E_RIGHTS);
    w.files[0].ctx.file = b->realm.labs.ctx.class_id;
    w.files[0].why = OPEN_WHY_OPEN;
    CHECK_EQ(verdict(b, &w), PHR_E_RIGHTS);
    CHECK_EQ(check_log(b, EVENT_RELEASE_AHEAD), 1);
    CHECK_EQ(check_log(b, EVENT_RENEW), 1);
    CHECK_EQ(check_log(b, EVENT_DENIED), 2);
    writer_fini(&f.header);
    bench_free(b);
}

TEST(srs__refuses_what_is_not_the_ledgers)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a"), other = make_file(b, "b");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    struct wish w = { .grant = &g, .by = &b->realm.reader, .count = 1 };
    struct made_file ghost = { .id = { { 1 } } };
    struct tiny_op *t;

    UNUSED_STATE;
    writer_init(&ghost.header);
    w.files[0] = open_file_of(b, &ghost, OPEN_WHY_OPEN);
    CHECK_EQ(verdict(b, &w), PHR_E_NO_HEADER);
    w.files[0] = open_file_of(b, &f, OPEN_WHY_OPEN);
    w.files[0].header =
        header_digest(writer_done(&other.header)); /* another file's capsule */
    CHECK_EQ(verdict(b, &w), PHR_E_STALE_HEADER);
    w.files[0] = open_file_of(b, &f, OPEN_WHY_OPEN);
    w.files[0].ctx.class_ctx.class_id.b[0] ^= 1;
    CHECK_EQ(verdict(b, &w), PHR_E_NO_GRANT);
    t = tiny_op_new(&b->realm.labs.ctx);
    tiny_put_header(t, &b->realm.labs, &f.id, 2, NULL);
    CHECK_EQ(push_one(b, t, &b->realm.owner, NULL), 0);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), PHR_E_STALE_HEADER);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &other), 0);
    CHECK_EQ(check_log(b, EVENT_DENIED), 4);
    writer_fini(&f.header);
    writer_fini(&other.header);
    bench_free(b);
}

TEST(srs__refuses_strangers_replays_and_wrong_clocks)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    struct tiny_grant unknown = g;
    struct wish w = { .grant = &g, .by = &b->realm.reader, .count = 1 };

    UNUSED_STATE;
    w.files[0] = open_file_of(b, &f, OPEN_WHY_OPEN);
    w.req = random_id();
    CHECK_EQ(verdict(b, &w), 0);
    CHECK_EQ(verdict(b, &w), PHR_E_REPLAY);
    w.req = (struct id16){ { 0 } };
    w.by = &b->realm.writer;
    CHECK_EQ(verdict(b, &w), PHR_E_SIGNATURE);
    w.by = &b->realm.reader;
    w.skew_s = 130;
    CHECK_EQ(verdict(b, &w), PHR_E_TIME_SKEW);
    w.skew_s = -130;
    CHECK_EQ(verdict(b, &w), PHR_E_TIME_SKEW);
    w.skew_s = -100;
    CHECK_EQ(verdict(b, &w), 0);
    w.skew_s = 0;
    unknown.grant.ctx.grant = random_id();
    w.grant = &unknown;
    CHECK_EQ(verdict(b, &w), PHR_E_NO_GRANT);
    CHECK_EQ(check_log(b, EVENT_DENIED), 5);
    writer_fini(&f.header);
    bench_free(b);
}

TEST(srs__keeps_to_the_terms_of_the_grant)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct grant wish = tiny_wish(GRANT_R);
    struct tiny_grant g;
    struct wish w = { .grant = &g, .by = &b->realm.reader, .count = 1 };
    struct tiny_op *t;

    UNUSED_STATE;
    w.files[0] = open_file_of(b, &f, OPEN_WHY_OPEN);
    wish.not_after_s = clock_realtime_s() - 1;
    t = grant_op(b, &b->realm.reader, &wish, &g);
    CHECK_EQ(push_one(b, t, &b->realm.owner, &g), PHR_E_EXPIRED);
    wish = tiny_wish(GRANT_R);
    wish.max_opens = 2;
    wish.purpose = PURPOSE_TREAT;
    t = grant_op(b, &b->realm.reader, &wish, &g);
    CHECK_EQ(push_one(b, t, &b->realm.owner, &g), 0);
    w.purpose = PURPOSE_HRESCH;
    CHECK_EQ(verdict(b, &w), PHR_E_RIGHTS);
    w.purpose = PURPOSE_TREAT;
    CHECK_EQ(verdict(b, &w), 0);
    CHECK_EQ(verdict(b, &w), 0);
    CHECK_EQ(verdict(b, &w), PHR_E_RIGHTS); /* max_opens */
    srs_set_skew(b->srs, 7200);             /* two hours later it has expired */
    w.skew_s = 7200;
    CHECK_EQ(verdict(b, &w), PHR_E_EXPIRED);
    writer_fini(&f.header);
    bench_free(b);
}

TEST(srs__takes_a_grant_with_its_own_key_only)
{
    struct bench *b = bench_new();
    const struct grant wish = tiny_wish(GRANT_R);
    struct tiny_grant g, other;
    struct tiny_op *t = grant_op(b, &b->realm.reader, &wish, &g);

    UNUSED_STATE;
    CHECK_EQ(push_one(b, t, &b->realm.owner, NULL), PHR_E_NO_GRANT);
    t = grant_op(b, &b->realm.reader, &wish, &g);
    other = g;
    other.sealed[50] ^= 1;
    CHECK_EQ(push_one(b, t, &b->realm.owner, &other), PHR_E_SEAL);
    CHECK_EQ(grant(b, &b->realm.reader, GRANT_R).grant.rights, GRANT_R);
    CHECK_EQ(check_log(b, EVENT_GRANT), 1); /* the refused ones left nothing */
    CHECK_EQ(entries_of(b), 2);
    bench_free(b);
}

/* Whether any slot of rk.keys holds a key. */
static bool has_slot_keys(struct bench *b)
{
    uint8_t *bytes;
    size_t n;
    bool has = false;

    CHECK_EQ(fdio_load(b->fd, "rk.keys", 1 << 20, &bytes, &n), 0);
    for (size_t i = 32; i < n; i++)
        has = has || bytes[i] != 0;
    free(bytes);
    return has;
}

TEST(srs__a_revoked_grant_is_dead_and_its_slot_overwritten)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);

    UNUSED_STATE;
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), 0);
    CHECK(has_slot_keys(b));
    CHECK_EQ(revoke_grant(b, &g.grant.ctx.grant), 0);
    CHECK(!has_slot_keys(b));
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), PHR_E_REVOKED);
    stop(b);
    CHECK_EQ(start(b), 0);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), PHR_E_REVOKED);
    CHECK_EQ(check_log(b, EVENT_REVOKE), 1);
    writer_fini(&f.header);
    bench_free(b);
}

TEST(srs__retire_takes_the_keys_of_an_epoch)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    const struct class_ctx old = b->realm.labs.ctx;
    struct class_ctx next_ctx = old;
    struct tiny_class next;
    struct digest object;
    struct tiny_op *t;

    UNUSED_STATE;
    next_ctx.epoch++;
    next = tiny_class_new(&next_ctx);
    t = tiny_op_new(&old);
    tiny_put_ctx(t, CHANGE_EPOCH_BEGIN, &old);
    CHECK_EQ(push_one(b, t, &b->realm.owner, NULL), 0);
    tiny_write_epoch_object(&next, &f.row, "a", &f.id, &b->object);
    object = digest_sha256(writer_done(&b->object));
    b->object.n = 0; /* the store has not got it yet */
    t = tiny_op_new(&old);
    tiny_put_epoch(t, &next, &b->realm.owner, &object);
    CHECK_EQ(push_one(b, t, &b->realm.owner, NULL), PHR_E_STORE);
    tiny_write_epoch_object(&next, &f.row, "a", &f.id, &b->object);
    object = digest_sha256(writer_done(&b->object));
    t = tiny_op_new(&old);
    tiny_put_epoch(t, &next, &b->realm.owner, &object);
    CHECK_EQ(push_one(b, t, &b->realm.owner, NULL), 0);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f),
             0); /* the old epoch's key stays until it is retired */
    t = tiny_op_new(&old);
    tiny_put_ctx(t, CHANGE_RETIRE_EPOCH, &old);
    CHECK_EQ(push_one(b, t, &b->realm.owner, NULL), 0);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), PHR_E_NO_GRANT);
    CHECK(!has_slot_keys(b));
    tiny_class_fini(&next);
    writer_fini(&f.header);
    bench_free(b);
}

static void write_push(struct writer *out, const struct signed_op *op)
{
    writer_u16(out, 1);
    writer_lp(out, op->op);
    writer_bytes(out, op->sig.b, sizeof op->sig.b);
    writer_u16(out, 0);
}

/* The store hangs while an epoch change waits for its object; is_closed: until the server ends. */
static void change_epoch_with_a_store_that_hangs(bool is_closed)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    const struct class_ctx old = b->realm.labs.ctx;
    const struct srs_peer peer = { .uid = 1000 };
    struct class_ctx next_ctx = old;
    struct writer payload, answer;
    struct tiny_class next;
    struct signed_op op;
    struct digest object;
    struct tiny_op *t;
    struct reply reply;

    next_ctx.epoch++;
    next = tiny_class_new(&next_ctx);
    t = tiny_op_new(&old);
    tiny_put_ctx(t, CHANGE_EPOCH_BEGIN, &old);
    CHECK_EQ(push_one(b, t, &b->realm.owner, NULL), 0);
    tiny_write_epoch_object(&next, &f.row, "a", &f.id, &b->object);
    object = digest_sha256(writer_done(&b->object));
    t = tiny_op_new(&old);
    tiny_put_epoch(t, &next, &b->realm.owner, &object);
    op = tiny_op_sign(t, &b->realm.owner, &b->realm.host, ++b->realm.n);
    writer_init(&payload);
    writer_init(&answer);
    write_push(&payload, &op);
    reply_init(&reply, &answer);
    pthread_mutex_lock(&b->store);
    CHECK_EQ(
        srs_submit(b->srs, SRS_OP_PUSH, &peer, writer_done(&payload), on_reply, &reply),
        0);
    for (size_t i = 0; i < 10; i++)
        CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), 0);
    CHECK(!reply.is_done);
    pthread_mutex_unlock(&b->store);
    if (is_closed)
        stop(b);
    CHECK_EQ(reply_wait(&reply), 0);
    CHECK_EQ(answer.n, 14);
    CHECK((int32_t)get_le32(answer.p + 2) == 0 || is_closed);
    if (is_closed)
        CHECK_EQ(start(b), 0);
    (void)check_log(b, EVENT_OPEN);
    writer_fini(&payload);
    writer_fini(&answer);
    tiny_op_free(t);
    tiny_class_fini(&next);
    writer_fini(&f.header);
    bench_free(b);
}

TEST(srs__a_store_that_hangs_keeps_only_its_push_waiting)
{
    UNUSED_STATE;
    change_epoch_with_a_store_that_hangs(false);
    change_epoch_with_a_store_that_hangs(true);
}

TEST(srs__places_several_ops_of_a_push_and_leaves_no_trace_of_refused_ones)
{
    struct bench *b = bench_new();
    const struct class_ctx *labs = &b->realm.labs.ctx;
    struct tiny_op *t[3];
    struct id16 ids[6];
    struct writer payload, answer;
    struct reader r;
    int32_t rc[3];
    uint64_t seq[3];

    UNUSED_STATE;
    (void)labs;
    writer_init(&payload);
    writer_init(&answer);
    writer_u16(&payload, 3);
    for (size_t i = 0; i < 3; i++) {
        static const char *const names[] = { "x", "x",
                                             "y" }; /* the second is one too many */
        struct signed_op op;

        ids[2 * i] = random_id();
        ids[2 * i + 1] = random_id();
        t[i] = tiny_create(&b->realm.labs, names[i], &ids[2 * i], &ids[2 * i + 1], NULL);
        op = tiny_op_sign(t[i], &b->realm.owner, &b->realm.host, ++b->realm.n);
        writer_lp(&payload, op.op);
        writer_bytes(&payload, op.sig.b, sizeof op.sig.b);
    }
    writer_u16(&payload, 0);
    CHECK_EQ(ask(b, SRS_OP_PUSH, false, writer_done(&payload), &answer), 0);
    r = reader_over(writer_done(&answer));
    CHECK_EQ(reader_u16(&r), 3);
    for (size_t i = 0; i < 3; i++) {
        rc[i] = (int32_t)reader_u32(&r);
        seq[i] = reader_u64(&r);
        tiny_op_free(t[i]);
    }
    CHECK_EQ(rc[0], 0);
    CHECK_EQ(rc[1], PHR_E_STALE);
    CHECK_EQ(rc[2], 0);
    CHECK_EQ(seq[0], 1);
    CHECK_EQ(seq[1], b->realm.n - 2); /* the last n that was seen */
    CHECK_EQ(seq[2], 1);
    CHECK_EQ(entries_of(b), 2);
    /* the same again: everything is stale, nothing is placed */
    answer.n = 0;
    CHECK_EQ(ask(b, SRS_OP_PUSH, false, writer_done(&payload), &answer), 0);
    r = reader_over(writer_done(&answer));
    CHECK_EQ(reader_u16(&r), 3);
    CHECK_EQ((int32_t)reader_u32(&r), PHR_E_STALE);
    CHECK_EQ(entries_of(b), 2);
    writer_fini(&payload);
    writer_fini(&answer);
    bench_free(b);
}

/* What is fetched verifies from nothing, as a new mount does it; and rebuilds a server. */
TEST(srs__ledger_fetch_verifies_and_rebuilds)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    struct writer payload, answer;
    struct view entries[8];
    struct reader r;
    uint16_t count;

    UNUSED_STATE;
    writer_init(&payload);
    writer_init(&answer);
    writer_bytes(&payload, b->realm.patient.b, 16);
    writer_u64(&payload, 0);
    writer_u32(&payload, 1 << 20);
    CHECK_EQ(ask(b, SRS_LEDGER_FETCH, false, writer_done(&payload), &answer), 0);
    r = reader_over(writer_done(&answer));
    CHECK_EQ(reader_u64(&r), 2);
    count = reader_u16(&r);
    CHECK_EQ(count, 3);
    for (uint16_t i = 0; i < count; i++)
        entries[i] = reader_lp(&r, ENTRY_BYTES_MAX);
    CHECK(reader_done(&r));
    stop(b);
    CHECK_EQ(fdio_unlink(b->fd, "srs.db"), 0);
    CHECK_EQ(start(b), 0);
    CHECK_EQ(srs_import_entry(b->srs, entries[1]), PHR_E_FORK);
    for (uint16_t i = 0; i < count; i++)
        CHECK_EQ(srs_import_entry(b->srs, entries[i]), 0);
    CHECK_EQ(srs_import_entry(b->srs, entries[2]), PHR_E_FORK);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f),
             PHR_E_NO_GRANT); /* keys are in no bucket */
    CHECK(!has_slot_keys(b));
    g = grant(b, &b->realm.reader, GRANT_R);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), 0);
    writer_fini(&payload);
    writer_fini(&answer);
    writer_fini(&f.header);
    bench_free(b);
}

static int count_unstored(void *user, const struct id16 *patient, uint64_t seq,
                          struct view entry)
{
    (void)patient;
    (void)seq;
    CHECK(entry.n > 0);
    ++*(int *)user;
    return 0;
}

TEST(srs__lists_entries_until_the_bucket_has_them)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    int count = 0;

    UNUSED_STATE;
    CHECK_EQ(srs_entries_unstored(b->srs, count_unstored, &count), 0);
    CHECK_EQ(count, 2);
    CHECK_EQ(srs_entry_stored(b->srs, &b->realm.patient, 0), 0);
    count = 0;
    CHECK_EQ(srs_entries_unstored(b->srs, count_unstored, &count), 0);
    CHECK_EQ(count, 1);
    writer_fini(&f.header);
    bench_free(b);
}

/* How many ledgers an answer names; more: the flag behind them. */
static uint32_t listed(struct bench *b, const struct writer *question, bool *out_more)
{
    struct writer answer;
    struct reader r;
    uint32_t n;

    writer_init(&answer);
    CHECK_EQ(ask(b, SRS_LEDGER_LIST, false, writer_done(question), &answer), 0);
    r = reader_over(writer_done(&answer));
    n = reader_u32(&r);
    reader_view(&r, n * (16 + 8 + 32));
    *out_more = reader_u8(&r) != 0;
    CHECK(reader_done(&r));
    writer_fini(&answer);
    return n;
}

static uint32_t listed_for(struct bench *b, const struct id16 *reader, const struct id16 *after)
{
    struct writer q;
    uint32_t n;
    bool more;

    writer_init(&q);
    writer_u8(&q, LEDGER_LIST_OF_READER);
    writer_bytes(&q, reader->b, sizeof reader->b);
    writer_bytes(&q, after->b, sizeof after->b);
    n = listed(b, &q, &more);
    CHECK(!more);
    writer_fini(&q);
    return n;
}

/* Of the patient and one that nobody knows: those that concern user; NULL: all. */
static uint32_t listed_named(struct bench *b, const struct id16 *user)
{
    const struct id16 unknown = random_id();
    struct writer q;
    uint32_t n;
    bool more;

    writer_init(&q);
    writer_u8(&q, LEDGER_LIST_NAMED);
    writer_u32(&q, 2);
    writer_bytes(&q, b->realm.patient.b, sizeof b->realm.patient.b);
    writer_bytes(&q, unknown.b, sizeof unknown.b);
    writer_u32(&q, user ? 1 : 0);
    if (user)
        writer_bytes(&q, user->b, sizeof user->b);
    n = listed(b, &q, &more);
    writer_fini(&q);
    return n;
}

TEST(srs__lists_the_ledgers_that_concern_somebody)
{
    static const struct id16 first;
    static const uint8_t too_many[] = { LEDGER_LIST_NAMED, 0, 0, 1, 0, 0, 0, 0, 0 };
    struct bench *b = bench_new();
    const struct id16 stranger = random_id();
    struct tiny_grant g;

    UNUSED_STATE;
    CHECK_EQ(listed_for(b, &b->realm.reader.card.user, &first), 0);
    CHECK_EQ(listed_named(b, &b->realm.reader.card.user), 0);
    g = grant(b, &b->realm.reader, GRANT_R);
    CHECK_EQ(listed_for(b, &b->realm.reader.card.user, &first), 1);
    CHECK_EQ(listed_for(b, &b->realm.reader.card.user, &b->realm.patient), 0);
    CHECK_EQ(listed_for(b, &stranger, &first), 0);
    CHECK_EQ(listed_named(b, NULL), 1);
    CHECK_EQ(listed_named(b, &b->realm.reader.card.user), 1);
    CHECK_EQ(listed_named(b, &b->realm.patient), 1); /* the owner */
    CHECK_EQ(listed_named(b, &stranger), 0);
    CHECK_EQ(revoke_grant(b, &g.grant.ctx.grant), 0);
    CHECK_EQ(listed_for(b, &b->realm.reader.card.user, &first), 0);
    CHECK_EQ(listed_named(b, &b->realm.reader.card.user), 0);
    CHECK_EQ(ask(b, SRS_LEDGER_LIST, false, view_of("", 0), NULL), PHR_E_FORMAT);
    CHECK_EQ(ask(b, SRS_LEDGER_LIST, false, view_of(too_many, sizeof too_many), NULL), PHR_E_FORMAT);
    bench_free(b);
}

TEST(srs__proves_a_released_point_and_no_other)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    struct wish w = { .grant = &g,
                      .by = &b->realm.reader,
                      .files = { open_file_of(b, &f, OPEN_WHY_OPEN) },
                      .count = 1 };
    struct open_answer answer;
    uint8_t ctx[FILE_CTX_BYTES];
    struct writer payload, reply;
    struct header h;
    struct point p;
    struct dleq proof;

    UNUSED_STATE;
    writer_init(&payload);
    writer_init(&reply);
    CHECK_EQ(open_files(b, &w, &answer), 0);
    file_ctx_encode(&w.files[0].ctx, ctx);
    writer_bytes(&payload, ctx, sizeof ctx);
    writer_bytes(&payload, g.grant.ctx.grant.b, 16);
    writer_bytes(&payload, answer.items[0].w1.b, 32);
    CHECK_EQ(ask(b, SRS_PROVE, false, writer_done(&payload), &reply), 0);
    CHECK_EQ(reply.n, DLEQ_BYTES);
    memcpy(proof.c, reply.p, 32);
    memcpy(proof.z, reply.p + 32, 32);
    CHECK_EQ(header_decode(writer_done(&f.header), &h), 0);
    CHECK_EQ(pre_capsule_w(&h.capsule, &p), 0);
    CHECK_EQ(pre_check_proof(&proof, &w.files[0].ctx, &g.grant.ctx.grant, &g.grant.a,
                             &g.grant.r, &p, &answer.items[0].w1),
             0);
    memcpy(payload.p + FILE_CTX_BYTES + 16, g.grant.a.b, 32);
    CHECK_EQ(ask(b, SRS_PROVE, false, writer_done(&payload), &reply), PHR_E_POINT);
    open_answer_fini(&answer);
    writer_fini(&payload);
    writer_fini(&reply);
    writer_fini(&f.header);
    bench_free(b);
}

/* ---- events of mounts ---- */

struct spool {
    struct id16 host;
    uint64_t no;
    struct symkey *key;
    uint8_t header[SPOOL_HEADER_BYTES];
    struct digest prev;
    uint64_t n;
    struct writer records;
    size_t starts[16];
};

static void spool_add(struct spool *s, struct bench *b)
{
    const struct event e = { .type = EVENT_OPEN,
                             .host = s->host,
                             .patient = b->realm.patient };
    struct writer plain;

    writer_init(&plain);
    CHECK_EQ(event_encode(&e, &plain), 0);
    s->starts[s->n] = s->records.n;
    CHECK_EQ(spool_record_seal(s->key, &s->host, s->n, &s->prev, writer_done(&plain),
                               &s->records),
             0);
    s->prev = digest_sha256(
        view_of(s->records.p + s->starts[s->n], s->records.n - s->starts[s->n]));
    s->n++;
    writer_fini(&plain);
}

static int spool_push(struct bench *b, const struct spool *s, uint64_t from, uint64_t to,
                      uint64_t *out_next)
{
    struct writer payload, answer;
    struct reader r;
    const size_t end = to < s->n ? s->starts[to] : s->records.n;
    int rc;

    writer_init(&payload);
    writer_init(&answer);
    writer_lp(&payload, view_of(s->header, sizeof s->header));
    writer_u64(&payload, from);
    writer_lp(&payload, view_of(s->records.p + s->starts[from], end - s->starts[from]));
    rc = ask(b, SRS_SPOOL_PUSH, false, writer_done(&payload), &answer);
    r = reader_over(writer_done(&answer));
    if (rc == 0)
        *out_next = reader_u64(&r);
    writer_fini(&payload);
    writer_fini(&answer);
    return rc;
}

TEST(srs__takes_spooled_events_once_and_notices_gaps)
{
    struct bench *b = bench_new();
    struct spool s = { .host = random_id(), .key = secret_alloc(sizeof *s.key) };
    uint64_t next = 0;

    UNUSED_STATE;
    random_fill(s.key->b, sizeof s.key->b);
    writer_init(&s.records);
    CHECK_EQ(spool_header_encode(&s.host, s.no, &b->realm.srs.card.b, s.key, s.header),
             0);
    for (size_t i = 0; i < 10; i++)
        spool_add(&s, b);
    CHECK_EQ(spool_push(b, &s, 0, 3, &next), 0);
    CHECK_EQ(next, 3);
    CHECK_EQ(spool_push(b, &s, 0, 3, &next), 0); /* the same again */
    CHECK_EQ(next, 3);
    CHECK_EQ(spool_push(b, &s, 1, 5, &next), 0); /* overlapping */
    CHECK_EQ(next, 5);
    CHECK_EQ(check_log(b, EVENT_OPEN), 5);
    CHECK_EQ(check_log(b, EVENT_GAP), 0);
    CHECK_EQ(spool_push(b, &s, 7, 10, &next), 0); /* 5 and 6 are lost, and with them 7 */
    CHECK_EQ(next, 10);
    CHECK_EQ(check_log(b, EVENT_GAP), 1);
    CHECK_EQ(check_log(b, EVENT_OPEN), 7);
    s.header[40] ^= 1;
    CHECK_EQ(spool_push(b, &s, 7, 10, &next), PHR_E_SEAL);
    writer_fini(&s.records);
    secret_free(s.key);
    bench_free(b);
}

/* ---- the log's readers ---- */

TEST(srs__shows_the_log_to_its_owner_and_its_admin_only)
{
    struct bench *b = bench_new();
    const uint64_t now_s = clock_realtime_s();
    const struct tiny_person *owner = &b->realm.owner;
    struct writer signed_bytes, proof, rows;
    struct signature sig;
    struct digest hash;

    UNUSED_STATE;
    writer_init(&signed_bytes);
    writer_init(&proof);
    writer_init(&rows);
    CHECK_EQ(fetch_audit(b, 0, 10, view_of("", 0), false, &rows), PHR_E_RIGHTS);
    writer_text(&signed_bytes, "audit");
    writer_bytes(&signed_bytes, b->realm.patient.b, 16);
    writer_u64(&signed_bytes, now_s);
    writer_u64(&signed_bytes, 0);
    writer_u32(&signed_bytes, 10);
    hash = digest_sha256(writer_done(&signed_bytes));
    sig = sign_labelled(owner->sign, LABEL_OPEN, &hash);
    writer_bytes(&proof, b->realm.patient.b, 16);
    writer_u64(&proof, now_s);
    writer_bytes(&proof, owner->card.ed.b, 32);
    writer_bytes(&proof, sig.b, 64);
    CHECK_EQ(fetch_audit(b, 0, 10, writer_done(&proof), false, &rows), 0);
    CHECK_EQ(fetch_audit(b, 0, 11, writer_done(&proof), false, &rows), PHR_E_SIGNATURE);
    proof.p[0] ^= 1;
    CHECK_EQ(fetch_audit(b, 0, 10, writer_done(&proof), false, &rows), PHR_E_RIGHTS);
    CHECK_EQ(check_log(b, EVENT_LOG_READ), 2); /* the owner's, and this one */
    CHECK_EQ(check_log(b, EVENT_LOG_READ), 2); /* not again within the minute */
    writer_fini(&signed_bytes);
    writer_fini(&proof);
    writer_fini(&rows);
    bench_free(b);
}

TEST(srs__signs_heads_that_contain_each_other)
{
    struct bench *b = bench_new();
    struct checkpoint before = head_of(b), after;
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    struct tree_proof proof = { 0 };
    struct writer payload, answer;
    struct reader r;

    UNUSED_STATE;
    for (size_t i = 0; i < 5; i++)
        CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), 0);
    after = head_of(b);
    CHECK(after.size > before.size);
    (void)entries_of(b);
    CHECK(atomic_load(&b->checkpoints) >= 1);
    writer_init(&payload);
    writer_init(&answer);
    writer_u64(&payload, before.size);
    writer_u64(&payload, after.size);
    CHECK_EQ(ask(b, SRS_AUDIT_CONSISTENCY, false, writer_done(&payload), &answer), 0);
    r = reader_over(writer_done(&answer));
    proof.count = reader_u16(&r);
    for (size_t i = 0; i < proof.count; i++)
        reader_bytes(&r, proof.hashes[i].b, 32);
    CHECK(reader_done(&r));
    CHECK_EQ(tree_check_consistency(before.size, &before.root, after.size, &after.root,
                                    &proof),
             0);
    writer_fini(&payload);
    writer_fini(&answer);
    writer_fini(&f.header);
    bench_free(b);
}

static int suspend_list(struct bench *b, uint64_t serial, const struct id16 *user)
{
    const struct suspension list = { .serial = serial,
                                     .count = user != NULL,
                                     .users = { user ? user->b : NULL, user ? 16 : 0 } };
    struct writer bytes, payload;
    int rc;

    writer_init(&bytes);
    writer_init(&payload);
    CHECK_EQ(suspension_encode(&list, b->realm.authority.sign, &bytes), 0);
    writer_lp(&payload, writer_done(&bytes));
    rc = ask(b, SRS_SUSPEND, false, writer_done(&payload), NULL);
    bytes.p[8] ^= 4; /* another serial under the same signature */
    payload.n = 0;
    writer_lp(&payload, writer_done(&bytes));
    CHECK_EQ(ask(b, SRS_SUSPEND, false, writer_done(&payload), NULL), PHR_E_SIGNATURE);
    writer_fini(&bytes);
    writer_fini(&payload);
    return rc;
}

TEST(srs__refuses_whom_the_authority_suspends)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);

    UNUSED_STATE;
    CHECK_EQ(suspend_list(b, 2, &b->realm.reader.card.user), 0);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), PHR_E_CARD);
    CHECK_EQ(suspend_list(b, 1, NULL), PHR_E_ROLLBACK);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), PHR_E_CARD);
    CHECK_EQ(suspend_list(b, 3, NULL), 0);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), 0);
    writer_fini(&f.header);
    bench_free(b);
}

static int tell(struct bench *b, enum event_type type, bool is_admin)
{
    const struct event e = { .type = type };
    struct writer bytes, payload;
    int rc;

    writer_init(&bytes);
    writer_init(&payload);
    CHECK_EQ(event_encode(&e, &bytes), 0);
    writer_lp(&payload, writer_done(&bytes));
    rc = ask(b, SRS_EVENT, is_admin, writer_done(&payload), NULL);
    writer_fini(&bytes);
    writer_fini(&payload);
    return rc;
}

TEST(srs__takes_events_from_its_admin_and_none_that_are_its_own)
{
    struct bench *b = bench_new();

    UNUSED_STATE;
    CHECK_EQ(tell(b, EVENT_EXPORT, true), 0);
    CHECK_EQ(tell(b, EVENT_EXPORT, false), PHR_E_RIGHTS);
    CHECK_EQ(tell(b, EVENT_RELEASE, true), PHR_E_RIGHTS);
    CHECK_EQ(check_log(b, EVENT_EXPORT), 1);
    bench_free(b);
}

/* ---- batches, failing disks, kills ---- */

TEST(srs__concurrent_opens_share_syncs)
{
    enum { OPENS = 64 };
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    const struct wish w = { .grant = &g,
                            .by = &b->realm.reader,
                            .files = { open_file_of(b, &f, OPEN_WHY_OPEN) },
                            .count = 1 };
    const struct srs_peer peer = { .uid = 1000 };
    struct reply replies[OPENS];
    struct writer payloads[OPENS], answers[OPENS];
    int syncs;

    UNUSED_STATE;
    for (size_t i = 0; i < OPENS; i++) {
        writer_init(&payloads[i]);
        writer_init(&answers[i]);
        write_open(&w, &payloads[i]);
        reply_init(&replies[i], &answers[i]);
    }
    syncs = atomic_load(&sync_count);
    for (size_t i = 0; i < OPENS; i++)
        CHECK_EQ(srs_submit(b->srs, SRS_OPEN, &peer, writer_done(&payloads[i]), on_reply,
                            &replies[i]),
                 0);
    for (size_t i = 0; i < OPENS; i++) {
        struct open_answer a;

        CHECK_EQ(reply_wait(&replies[i]), 0);
        CHECK_EQ(open_answer_decode(writer_done(&answers[i]), &a), 0);
        CHECK_EQ(a.items[0].rc, 0);
        open_answer_fini(&a);
        writer_fini(&payloads[i]);
        writer_fini(&answers[i]);
    }
    CHECK(atomic_load(&sync_count) - syncs <= OPENS / 2); /* in fact a handful */
    CHECK_EQ(check_log(b, EVENT_RELEASE), OPENS);
    writer_fini(&f.header);
    bench_free(b);
}

TEST(srs__releases_nothing_when_the_record_cannot_be_written)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    struct tiny_grant refused;
    struct id16 file = random_id(), row = random_id();
    const struct grant wish = tiny_wish(GRANT_R);
    const int entries = entries_of(b);
    struct tiny_op *t;

    UNUSED_STATE;
    atomic_store(&sync_fails, 1);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), PHR_E_AUDIT);
    CHECK_EQ(ask(b, SRS_LEDGER_LIST, false, nothing_listed(), NULL),
             0); /* who only reads is answered */
    CHECK_EQ(push_one(b, tiny_create(&b->realm.labs, "b", &file, &row, NULL),
                      &b->realm.owner, NULL),
             PHR_E_AUDIT);
    t = grant_op(b, &b->realm.writer, &wish, &refused);
    CHECK_EQ(push_one(b, t, &b->realm.owner, &refused), PHR_E_AUDIT);
    CHECK_EQ(revoke_grant(b, &g.grant.ctx.grant), PHR_E_AUDIT);
    atomic_store(&sync_fails, 0);
    CHECK_EQ(entries_of(b), entries);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), 0); /* was not revoked */
    CHECK_EQ(open_one(b, &refused, &b->realm.writer, &f), PHR_E_NO_GRANT);
    CHECK_EQ(push_one(b, tiny_create(&b->realm.labs, "b", &file, &row, NULL),
                      &b->realm.owner, NULL),
             0);
    CHECK_EQ(check_log(b, EVENT_RELEASE), 1);
    stop(b);
    CHECK_EQ(start(b), 0);
    CHECK_EQ(check_log(b, EVENT_RELEASE), 1);
    writer_fini(&f.header);
    bench_free(b);
}

/* What a child does until it is killed at its n-th sync; true when it was not. */
static bool work_until_killed(struct bench *b, const struct made_file *f,
                              const struct tiny_grant *g, int n)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct tiny_grant g2;

        if (start(b) < 0)
            _exit(2);
        atomic_store(&sync_count, 0);
        atomic_store(&sync_kills_at, n);
        g2 = grant(b, &b->realm.writer, GRANT_RW);
        if (open_one(b, g, &b->realm.reader, f) != 0 ||
            revoke_grant(b, &g2.grant.ctx.grant) != 0)
            _exit(3);
        stop(b);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status))
        CHECK_EQ(WEXITSTATUS(status), 0);
    return WIFEXITED(status);
}

TEST(srs__opens_and_verifies_after_a_kill_at_any_sync)
{
    struct bench *b = bench_new();
    struct made_file f = make_file(b, "a");
    struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    bool is_through = false;

    UNUSED_STATE;
    stop(b);
    for (int n = 1; n < 40 && !is_through; n++) {
        is_through = work_until_killed(b, &f, &g, n);
        CHECK_EQ(start(b), 0);
        CHECK_EQ(open_one(b, &g, &b->realm.reader, &f), 0);
        (void)check_log(b, EVENT_RELEASE);
        stop(b);
        b->realm.n += 10; /* the child's numbers are taken */
    }
    CHECK(is_through);
    CHECK_EQ(start(b), 0);
    CHECK_EQ(revoke_grant(b, &g.grant.ctx.grant), 0);
    writer_fini(&f.header);
    bench_free(b);
}

TEST(srs__answers_everything_that_was_queued_before_it_closes)
{
    enum { JOBS = 32 };
    struct bench *b = bench_new();
    const struct srs_peer peer = { .uid = 1000 };
    struct reply replies[JOBS];

    UNUSED_STATE;
    for (size_t i = 0; i < JOBS; i++) {
        reply_init(&replies[i], NULL);
        CHECK_EQ(srs_submit(b->srs, SRS_LEDGER_LIST, &peer, nothing_listed(), on_reply,
                            &replies[i]),
                 0);
    }
    stop(b);
    for (size_t i = 0; i < JOBS; i++)
        CHECK_EQ(reply_wait(&replies[i]), 0);
    CHECK_EQ(start(b), 0);
    bench_free(b);
}

TEST(srs__payloads_of_any_length_are_refused_in_words)
{
    struct bench *b = bench_new();
    uint8_t bytes[300];

    UNUSED_STATE;
    memset(bytes, 0xff, sizeof bytes);
    for (int what = SRS_OP_PUSH; what <= SRS_EVENT; what++) {
        for (size_t n = 0; n < sizeof bytes; n += 7) {
            int rc = ask(b, (enum srs_ask)what, true, view_of(bytes, n), NULL);

            CHECK(rc <= 0 && rc != -EIO && rc != PHR_E_AUDIT);
        }
    }
    (void)check_log(b, EVENT_OPEN);
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(srs__releases_what_the_reader_can_open),
        UNIT(srs__records_names_ahead_renew_as_what_they_are),
        UNIT(srs__refuses_what_is_not_the_ledgers),
        UNIT(srs__refuses_strangers_replays_and_wrong_clocks),
        UNIT(srs__keeps_to_the_terms_of_the_grant),
        UNIT(srs__takes_a_grant_with_its_own_key_only),
        UNIT(srs__lists_the_ledgers_that_concern_somebody),
        UNIT(srs__a_revoked_grant_is_dead_and_its_slot_overwritten),
        UNIT(srs__retire_takes_the_keys_of_an_epoch),
        UNIT(srs__a_store_that_hangs_keeps_only_its_push_waiting),
        UNIT(srs__places_several_ops_of_a_push_and_leaves_no_trace_of_refused_ones),
        UNIT(srs__ledger_fetch_verifies_and_rebuilds),
        UNIT(srs__lists_entries_until_the_bucket_has_them),
        UNIT(srs__proves_a_released_point_and_no_other),
        UNIT(srs__takes_spooled_events_once_and_notices_gaps),
        UNIT(srs__shows_the_log_to_its_owner_and_its_admin_only),
        UNIT(srs__signs_heads_that_contain_each_other),
        UNIT(srs__refuses_whom_the_authority_suspends),
        UNIT(srs__takes_events_from_its_admin_and_none_that_are_its_own),
        UNIT(srs__concurrent_opens_share_syncs),
        UNIT(srs__releases_nothing_when_the_record_cannot_be_written),
        UNIT(srs__opens_and_verifies_after_a_kill_at_any_sync),
        UNIT(srs__answers_everything_that_was_queued_before_it_closes),
        UNIT(srs__payloads_of_any_length_are_refused_in_words),
    };

    return RUN_TESTS(tests);
}
