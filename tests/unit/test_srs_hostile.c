/*
 * What somebody who may talk to the SRS could try against it and against the others who do: each of
 * these once worked, or made a batch fail for everybody in it.
 */
#include "tiny_realm.h"

#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "audit/auditlog.h"
#include "base/fdio.h"
#include "crypto/label.h"
#include "format/event.h"
#include "format/open_answer.h"
#include "format/open_request.h"
#include "format/spool_record.h"
#include "format/suspension.h"
#include "srs/srs.h"
#include "srs/srs_test.h"

/* ---- a server in a directory ---- */

struct bench {
    struct tiny_realm realm;
    char dir[64];
    int fd;
    struct srs *srs;
};

static void start(struct bench *b)
{
    const struct srs_opts opts = { .dir_fd = b->fd, .realm_fd = b->fd, .lease_s = 300, .user = b };

    CHECK_EQ(srs_open(&opts, &b->srs), 0);
}

static void approve_srs(struct bench *b)
{
    const struct tiny_person *authority = &b->realm.authority;
    struct tiny_person *srs = &b->realm.srs;
    uint8_t *request;
    size_t n;

    CHECK_EQ(srs_init(b->fd, b->fd), 0);
    CHECK_EQ(fdio_load(b->fd, "srs.request", CARD_BYTES_MAX, &request, &n), 0);
    tiny_approve(srs, view_of(request, n), authority->sign, &authority->card.ed);
    free(request);
    CHECK_EQ(fdio_save(b->fd, "srs.card", view_of(srs->bytes, srs->n), 0644), 0);
    CHECK_EQ(fdio_save(b->fd, "authority.card", view_of(authority->bytes, authority->n), 0644), 0);
    b->realm.anchor = (struct verify_anchor){ authority->card.ed, srs->card.ed, srs->card.hash };
}

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
    r->status = status;
    r->is_done = true;
    if (r->out)
        writer_view(r->out, payload);
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->lock);
}

static int ask(struct bench *b, enum srs_ask what, struct view payload, struct writer *out)
{
    const struct srs_peer peer = { .uid = 1000, .is_admin = true };
    struct reply r = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .out = out };
    int rc = srs_submit(b->srs, what, &peer, payload, on_reply, &r);

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&r.lock);
    while (!r.is_done)
        pthread_cond_wait(&r.cond, &r.lock);
    pthread_mutex_unlock(&r.lock);
    return r.status;
}

/* Ops in one push, signed in this order by one writer; frees them. The results, or the status of all. */
static int push(struct bench *b, struct tiny_op **ops, uint16_t count, const struct tiny_person *by,
                const struct tiny_grant *grant, int *out_results)
{
    struct writer payload, answer;
    struct reader r;
    int rc;

    writer_init(&payload);
    writer_init(&answer);
    writer_u16(&payload, count);
    for (uint16_t i = 0; i < count; i++) {
        const struct signed_op op = tiny_op_sign(ops[i], by, &b->realm.host, ++b->realm.n);

        writer_lp(&payload, op.op);
        writer_bytes(&payload, op.sig.b, sizeof op.sig.b);
        tiny_op_free(ops[i]);
    }
    writer_u16(&payload, grant != NULL);
    if (grant) {
        writer_bytes(&payload, grant->grant.ctx.grant.b, 16);
        writer_lp(&payload, view_of(grant->sealed, sizeof grant->sealed));
    }
    rc = ask(b, SRS_OP_PUSH, writer_done(&payload), &answer);
    r = reader_over(writer_done(&answer));
    for (uint16_t i = 0; i < count && rc == 0; i++) {
        if (i == 0)
            CHECK_EQ(reader_u16(&r), count);
        out_results[i] = (int32_t)reader_u32(&r);
        (void)reader_u64(&r);
    }
    writer_fini(&payload);
    writer_fini(&answer);
    return rc;
}

static int push_one(struct bench *b, struct tiny_op *t, const struct tiny_person *by,
                    const struct tiny_grant *grant)
{
    int result = 0;
    int rc = push(b, &t, 1, by, grant, &result);

    return rc < 0 ? rc : result;
}

static struct bench *bench_new(void)
{
    struct bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    strcpy(b->dir, "/tmp/test_srs_hostile.XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    CHECK_EQ(fdio_open_dir(AT_FDCWD, b->dir, &b->fd), 0);
    tiny_realm_init(&b->realm);
    approve_srs(b);
    start(b);
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
    srs_close(b->srs);
    close(b->fd);
    CHECK_EQ(nftw(b->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    tiny_realm_fini(&b->realm);
    free(b);
}

static int try_grant(struct bench *b, const struct tiny_person *to, const struct grant *wish,
                     struct tiny_grant *out)
{
    const struct class_ctx wide = { .patient = b->realm.patient };
    struct tiny_op *t = tiny_op_new(&wide);

    tiny_put_card(t, to);
    *out = tiny_put_grant(t, &b->realm.labs, &b->realm.owner, to, &b->realm.srs.card.b, wish);
    return push_one(b, t, &b->realm.owner, out);
}

static struct tiny_grant grant(struct bench *b, const struct tiny_person *to, enum grant_rights rights)
{
    const struct grant wish = tiny_wish(rights);
    struct tiny_grant g;

    CHECK_EQ(try_grant(b, to, &wish, &g), 0);
    return g;
}

static struct tiny_op *create(struct bench *b, const char *name, struct writer *keep_header, struct id16 *out_file)
{
    const struct id16 row = random_id();

    *out_file = random_id();
    return tiny_create(&b->realm.labs, name, out_file, &row, keep_header);
}

/* ---- opening ---- */

/* The one file's verdict; *out_lease_s may be NULL. */
static int open_one(struct bench *b, const struct tiny_grant *g, const struct tiny_person *by,
                    const struct id16 *file, struct view header, uint32_t *out_lease_s)
{
    struct open_file f = { .ctx = { b->realm.labs.ctx, *file, 1 },
                           .header = header_digest(header),
                           .why = OPEN_WHY_OPEN };
    struct open_request q = { .req = random_id(),
                              .grant = g->grant.ctx.grant,
                              .purpose = PURPOSE_TREAT,
                              .time_s = clock_realtime_s(),
                              .count = 1,
                              .files = &f };
    const struct open_context c = { .uid = 1000, .program = view_text("dcmdump") };
    struct open_answer decoded;
    struct writer context, request, payload, answer;
    int rc;

    writer_init(&context);
    writer_init(&request);
    writer_init(&payload);
    writer_init(&answer);
    open_context_encode(&c, &context);
    q.context = digest_sha256(writer_done(&context));
    CHECK_EQ(open_request_encode(&q, by->sign, &request), 0);
    writer_lp(&payload, writer_done(&request));
    writer_lp(&payload, writer_done(&context));
    rc = ask(b, SRS_OPEN, writer_done(&payload), &answer);
    if (rc == 0) {
        CHECK_EQ(open_answer_decode(writer_done(&answer), &decoded), 0);
        rc = decoded.items[0].rc;
        if (out_lease_s)
            *out_lease_s = decoded.lease_s;
        open_answer_fini(&decoded);
    }
    writer_fini(&context);
    writer_fini(&request);
    writer_fini(&payload);
    writer_fini(&answer);
    return rc;
}

/* ---- the log ---- */

/* How many leaves of this type, and what the last of them says; as the admin sees it. */
static size_t count_events(struct bench *b, enum event_type type, struct event *out_last)
{
    struct writer payload, rows;
    struct auditlog_row row;
    struct reader r;
    struct event e;
    uint32_t count;
    size_t found = 0;

    writer_init(&payload);
    writer_init(&rows);
    writer_u64(&payload, 0);
    writer_u32(&payload, UINT32_MAX);
    writer_lp(&payload, view_of("", 0));
    CHECK_EQ(ask(b, SRS_AUDIT_FETCH, writer_done(&payload), &rows), 0);
    r = reader_over(writer_done(&rows));
    (void)reader_u64(&r);
    count = reader_u32(&r);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(auditlog_row_decode(&r, &row), 0);
        CHECK_EQ(event_decode(row.record, &e), 0);
        if (e.type != type)
            continue;
        found++;
        if (out_last)
            *out_last = e;
    }
    CHECK(reader_done(&r));
    writer_fini(&payload);
    writer_fini(&rows);
    return found;
}

/* ---- tests ---- */

static void put_big_inode(struct tiny_op *t, size_t sealed_bytes)
{
    static uint8_t sealed[INODE_BYTES_MAX];
    const struct inode_row row = { .ino = random_id(), .version = 1, .sealed = { sealed, sealed_bytes } };

    inode_row_encode(&row, tiny_op_add(t, CHANGE_INODE));
}

/* An op of exactly n bytes. Sealed rows are padded, so it takes some small ones to meet n. */
static struct tiny_op *op_of_size(struct bench *b, size_t n)
{
    enum { OP_FIXED_BYTES = 158, INODE_BYTES = 1 + 4 + 16 + 8 + 40, PAD = 32, BIG = 250 * 1024 / PAD * PAD };
    struct tiny_op *t = tiny_op_new(&b->realm.labs.ctx);
    size_t left = n - OP_FIXED_BYTES;

    while (left > BIG + 64 * INODE_BYTES) {
        put_big_inode(t, BIG + 40);
        left -= BIG + INODE_BYTES;
    }
    while (left % PAD != INODE_BYTES % PAD) {
        put_big_inode(t, PAD + 40);
        left -= PAD + INODE_BYTES;
    }
    put_big_inode(t, left - INODE_BYTES + 40);
    (void)tiny_op_sign(t, &b->realm.owner, &b->realm.host, 1);
    assert_int_equal(t->bytes.n, n);
    return t;
}

TEST(srs_hostile__what_can_be_signed_fits_an_entry)
{
    struct bench *b = bench_new();
    struct tiny_op *ops[2] = { op_of_size(b, OP_BYTES_MAX), op_of_size(b, 5000) };
    int results[2] = { 1, 1 };

    UNUSED_STATE;
    CHECK_EQ(push(b, ops, 2, &b->realm.owner, NULL, results), 0);
    CHECK_EQ(results[0], 0);
    CHECK_EQ(results[1], 0);
    /* Two that fill an entry but for its count. */
    ops[0] = op_of_size(b, ENTRY_BODY_BYTES_MAX - 5000 - 2 * (4 + 64) - 1);
    ops[1] = op_of_size(b, 5000);
    CHECK_EQ(push(b, ops, 2, &b->realm.owner, NULL, results), 0);
    CHECK_EQ(results[0], 0);
    CHECK_EQ(results[1], 0);
    bench_free(b);
}

static int stop_at_once(void *user, const struct id16 *patient, uint64_t seq, struct view entry)
{
    int *calls = user;

    (void)patient;
    (void)seq;
    (void)entry;
    ++*calls;
    return -EAGAIN; /* as a full queue says */
}

TEST(srs_hostile__a_full_upload_queue_is_nobodys_failed_batch)
{
    struct bench *b = bench_new();
    scoped(free) char *status = NULL;
    int calls = 0;

    UNUSED_STATE;
    CHECK_EQ(srs_entries_unstored(b->srs, stop_at_once, &calls), -EAGAIN);
    CHECK_EQ(calls, 1);
    status = srs_dup_status(b->srs);
    assert_non_null(status);
    CHECK(strstr(status, "\"failed_batches\":0") != NULL);
    bench_free(b);
}

TEST(srs_hostile__the_names_key_is_the_owners)
{
    struct bench *b = bench_new();
    struct tiny_op *t;

    UNUSED_STATE;
    (void)grant(b, &b->realm.writer, GRANT_RW);
    t = tiny_op_new(&b->realm.labs.ctx);
    tiny_put_header(t, &b->realm.labs, &b->realm.labs.ctx.class_id, 2, NULL);
    CHECK_EQ(push_one(b, t, &b->realm.writer, NULL), PHR_E_RIGHTS);
    t = tiny_op_new(&b->realm.labs.ctx);
    tiny_put_header(t, &b->realm.labs, &b->realm.labs.ctx.class_id, 2, NULL);
    CHECK_EQ(push_one(b, t, &b->realm.owner, NULL), 0);
    bench_free(b);
}

TEST(srs_hostile__a_right_to_write_ends_with_its_grant)
{
    struct bench *b = bench_new();
    struct grant later = tiny_wish(GRANT_RW);
    struct tiny_grant g;
    struct event e = { 0 };
    struct id16 file;

    UNUSED_STATE;
    later.not_before_s = clock_realtime_s() + 1000;
    CHECK_EQ(try_grant(b, &b->realm.writer, &later, &g), 0);
    CHECK_EQ(push_one(b, create(b, "early", NULL, &file), &b->realm.writer, NULL), PHR_E_EXPIRED);
    srs_set_skew(b->srs, 2000);
    CHECK_EQ(push_one(b, create(b, "in time", NULL, &file), &b->realm.writer, NULL), 0);
    srs_set_skew(b->srs, 4000); /* its end is at 3600 */
    CHECK_EQ(push_one(b, create(b, "late", NULL, &file), &b->realm.writer, NULL), PHR_E_EXPIRED);
    CHECK_EQ(push_one(b, create(b, "by the owner", NULL, &file), &b->realm.owner, NULL), 0);
    CHECK_EQ(count_events(b, EVENT_DENIED, &e), 2);
    CHECK_EQ(e.outcome, PHR_E_EXPIRED);
    CHECK(id_equal(&e.user, &b->realm.writer.card.user));
    srs_set_skew(b->srs, TINY_YEAR_S + 10); /* a second grant would not help: the card has ended */
    CHECK_EQ(push_one(b, create(b, "too late", NULL, &file), &b->realm.writer, NULL), PHR_E_EXPIRED);
    bench_free(b);
}

TEST(srs_hostile__a_lease_ends_with_its_grant)
{
    struct bench *b = bench_new();
    struct grant brief = tiny_wish(GRANT_R);
    struct tiny_grant g;
    struct writer header;
    struct id16 file;
    uint32_t lease_s = 0;

    UNUSED_STATE;
    writer_init(&header);
    brief.not_after_s = clock_realtime_s() + 40;
    CHECK_EQ(try_grant(b, &b->realm.reader, &brief, &g), 0);
    CHECK_EQ(push_one(b, create(b, "a", &header, &file), &b->realm.owner, NULL), 0);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &file, writer_done(&header), &lease_s), 0);
    CHECK(lease_s > 0 && lease_s <= 40);
    g = grant(b, &b->realm.reader, GRANT_R);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &file, writer_done(&header), &lease_s), 0);
    CHECK_EQ(lease_s, 300);
    writer_fini(&header);
    bench_free(b);
}

TEST(srs_hostile__without_its_slot_a_grant_is_dead_and_hurts_nobody)
{
    struct bench *b = bench_new();
    const struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
    scoped(free) char *status = NULL;
    struct writer header;
    struct id16 file;

    UNUSED_STATE;
    writer_init(&header);
    CHECK_EQ(push_one(b, create(b, "a", &header, &file), &b->realm.owner, NULL), 0);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &file, writer_done(&header), NULL), 0);
    srs_close(b->srs);
    CHECK_EQ(fdio_unlink(b->fd, "rk.keys"), 0); /* srs.db came from a backup, and rk.keys is in none */
    CHECK_EQ(srs_init(b->fd, b->fd), 0);
    start(b);
    CHECK_EQ(open_one(b, &g, &b->realm.reader, &file, writer_done(&header), NULL), PHR_E_NO_GRANT);
    status = srs_dup_status(b->srs);
    assert_non_null(status);
    CHECK(strstr(status, "\"failed_batches\":0") != NULL);
    writer_fini(&header);
    bench_free(b);
}

TEST(srs_hostile__terms_that_it_cannot_keep_are_refused)
{
    struct bench *b = bench_new();
    struct grant wish = tiny_wish(GRANT_R);
    struct tiny_grant g;

    UNUSED_STATE;
    wish.policy.b[0] = 1; /* a second factor, say */
    CHECK_EQ(try_grant(b, &b->realm.reader, &wish, &g), PHR_E_FORMAT);
    bench_free(b);
}

static int suspend(struct bench *b, uint64_t serial, const struct id16 *user)
{
    const struct suspension list = {
        .serial = serial, .time_s = clock_realtime_s(), .count = 1, .users = { user->b, 16 }
    };
    struct writer signed_list, payload;
    int rc;

    writer_init(&signed_list);
    writer_init(&payload);
    CHECK_EQ(suspension_encode(&list, b->realm.authority.sign, &signed_list), 0);
    writer_lp(&payload, writer_done(&signed_list));
    rc = ask(b, SRS_SUSPEND, writer_done(&payload), NULL);
    writer_fini(&signed_list);
    writer_fini(&payload);
    return rc;
}

TEST(srs_hostile__suspensions_and_attempts_of_the_suspended_are_recorded)
{
    struct bench *b = bench_new();
    struct event e = { 0 };
    struct id16 file;

    UNUSED_STATE;
    (void)grant(b, &b->realm.writer, GRANT_RW);
    CHECK_EQ(suspend(b, 1, &b->realm.writer.card.user), 0);
    CHECK_EQ(push_one(b, create(b, "a", NULL, &file), &b->realm.writer, NULL), PHR_E_CARD);
    CHECK_EQ(count_events(b, EVENT_DENIED, &e), 1);
    CHECK(id_equal(&e.user, &b->realm.writer.card.user));
    CHECK_EQ(count_events(b, EVENT_SUSPEND, &e), 1);
    CHECK(id_equal(&e.user, &b->realm.writer.card.user));
    CHECK_EQ(suspend(b, 2, &b->realm.writer.card.user), 0); /* nothing new */
    CHECK_EQ(count_events(b, EVENT_SUSPEND, NULL), 1);
    CHECK_EQ(suspend(b, 3, &b->realm.reader.card.user), 0);
    CHECK_EQ(count_events(b, EVENT_SUSPEND, NULL), 2);
    CHECK_EQ(count_events(b, EVENT_RESUME, &e), 1);
    CHECK(id_equal(&e.user, &b->realm.writer.card.user));
    bench_free(b);
}

TEST(srs_hostile__what_nobody_signed_does_not_fill_the_log)
{
    enum { TRIES = 100, RECORDED = 60 };
    struct bench *b = bench_new();
    struct tiny_grant unknown = { .grant = { .ctx = { .grant = random_id() } } };
    struct event e = { 0 };
    struct writer header;
    struct id16 file;

    UNUSED_STATE;
    writer_init(&header);
    CHECK_EQ(push_one(b, create(b, "a", &header, &file), &b->realm.owner, NULL), 0);
    srs_set_skew(b->srs, 60 - (int64_t)(clock_realtime_s() % 60)); /* a minute begins */
    for (int i = 0; i < TRIES; i++)
        CHECK_EQ(open_one(b, &unknown, &b->realm.reader, &file, writer_done(&header), NULL), PHR_E_NO_GRANT);
    CHECK_EQ(count_events(b, EVENT_DENIED, &e), RECORDED);
    CHECK_EQ(e.outcome, PHR_E_LIMIT);
    writer_fini(&header);
    bench_free(b);
}

/* An owner's proof by a key of which the SRS has no patient. */
TEST(srs_hostile__the_log_is_not_for_made_up_patients)
{
    struct bench *b = bench_new();
    scoped(sign_key_free) struct sign_key *key = sign_key_new();
    const uint64_t now_s = clock_realtime_s();
    struct writer to_sign, proof, payload;
    struct verify_key pk;
    struct signature sig;
    struct digest hash;
    struct id16 id;

    UNUSED_STATE;
    assert_non_null(key);
    pk = sign_key_public(key);
    id = patient_id(&pk);
    writer_init(&to_sign);
    writer_init(&proof);
    writer_init(&payload);
    writer_text(&to_sign, "audit");
    writer_bytes(&to_sign, id.b, sizeof id.b);
    writer_u64(&to_sign, now_s);
    writer_u64(&to_sign, 0);
    writer_u32(&to_sign, 10);
    hash = digest_sha256(writer_done(&to_sign));
    sig = sign_labelled(key, LABEL_OPEN, &hash);
    writer_bytes(&proof, id.b, sizeof id.b);
    writer_u64(&proof, now_s);
    writer_bytes(&proof, pk.b, sizeof pk.b);
    writer_bytes(&proof, sig.b, sizeof sig.b);
    writer_u64(&payload, 0);
    writer_u32(&payload, 10);
    writer_lp(&payload, writer_done(&proof));
    CHECK_EQ(ask(b, SRS_AUDIT_FETCH, writer_done(&payload), NULL), PHR_E_RIGHTS);
    writer_fini(&to_sign);
    writer_fini(&proof);
    writer_fini(&payload);
    bench_free(b);
}

/* ---- P4, with everybody at once ---- */

struct crowd {
    struct bench *b;
    const struct tiny_grant *grant;
    const struct id16 *file;
    struct view header;
    atomic_bool is_revoked; /* the revocation has been answered */
    atomic_bool is_over;
    atomic_int released;
    atomic_int released_late;
};

static void *keep_opening(void *user)
{
    struct crowd *c = user;

    while (!atomic_load(&c->is_over)) {
        const bool is_late = atomic_load(&c->is_revoked);

        if (open_one(c->b, c->grant, &c->b->realm.reader, c->file, c->header, NULL) == 0)
            atomic_fetch_add(is_late ? &c->released_late : &c->released, 1);
    }
    return NULL;
}

TEST(srs_hostile__nothing_is_released_after_a_revocation_was_answered)
{
    enum { THREADS = 6, ROUNDS = 4, BEFORE = 40, AFTER = 60 };
    struct bench *b = bench_new();
    struct writer header;
    struct id16 file;
    size_t released = 0;

    UNUSED_STATE;
    writer_init(&header);
    CHECK_EQ(push_one(b, create(b, "a", &header, &file), &b->realm.owner, NULL), 0);
    for (int round = 0; round < ROUNDS; round++) {
        const struct tiny_grant g = grant(b, &b->realm.reader, GRANT_R);
        struct crowd c = { .b = b, .grant = &g, .file = &file, .header = writer_done(&header) };
        struct tiny_op *t = tiny_op_new(&b->realm.labs.ctx);
        pthread_t threads[THREADS];

        tiny_put_revoke(t, &g.grant.ctx.grant);
        for (size_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, keep_opening, &c), 0);
        while (atomic_load(&c.released) < BEFORE)
            usleep(500);
        CHECK_EQ(push_one(b, t, &b->realm.owner, NULL), 0);
        atomic_store(&c.is_revoked, true);
        for (int i = 0; i < AFTER; i++)
            CHECK(open_one(b, &g, &b->realm.reader, &file, writer_done(&header), NULL) < 0);
        atomic_store(&c.is_over, true);
        for (size_t i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        CHECK_EQ(atomic_load(&c.released_late), 0);
        released += (size_t)atomic_load(&c.released);
    }
    CHECK_EQ(count_events(b, EVENT_RELEASE, NULL), released); /* P2: one leaf each, no more and no less */
    writer_fini(&header);
    bench_free(b);
}

/* ---- events of mounts ---- */

struct spool {
    struct id16 host;
    uint64_t no;
    struct symkey *key;
    uint8_t header[SPOOL_HEADER_BYTES];
    struct digest prev;
};

static void spool_new(struct spool *s, struct bench *b, const struct id16 *host, uint64_t no)
{
    *s = (struct spool){ .host = *host, .no = no, .key = secret_alloc(sizeof *s->key) };
    assert_non_null(s->key);
    random_fill(s->key->b, sizeof s->key->b);
    CHECK_EQ(spool_header_encode(host, no, &b->realm.srs.card.b, s->key, s->header), 0);
}

/* One record, sent at once; the next number that the SRS expects. */
static uint64_t spool_send(struct spool *s, struct bench *b, uint64_t n, enum event_type type)
{
    const struct event e = { .type = type, .host = s->host, .patient = b->realm.patient };
    struct writer plain, record, payload, answer;
    uint64_t next;

    writer_init(&plain);
    writer_init(&record);
    writer_init(&payload);
    writer_init(&answer);
    CHECK_EQ(event_encode(&e, &plain), 0);
    CHECK_EQ(spool_record_seal(s->key, &s->host, n, &s->prev, writer_done(&plain), &record), 0);
    s->prev = digest_sha256(writer_done(&record));
    writer_lp(&payload, view_of(s->header, sizeof s->header));
    writer_u64(&payload, n);
    writer_lp(&payload, writer_done(&record));
    CHECK_EQ(ask(b, SRS_SPOOL_PUSH, writer_done(&payload), &answer), 0);
    assert_int_equal(answer.n, 8);
    next = get_le64(answer.p);
    writer_fini(&plain);
    writer_fini(&record);
    writer_fini(&payload);
    writer_fini(&answer);
    return next;
}

TEST(srs_hostile__a_stream_is_its_own_headers_only)
{
    struct bench *b = bench_new();
    const struct id16 host = random_id();
    struct spool mine, other;

    UNUSED_STATE;
    spool_new(&mine, b, &host, 7);
    spool_new(&other, b, &host, 7); /* the same name and number, another key */
    CHECK_EQ(spool_send(&mine, b, 0, EVENT_OPEN), 1);
    CHECK_EQ(spool_send(&other, b, UINT32_MAX, EVENT_OPEN), UINT32_MAX + UINT64_C(1));
    CHECK_EQ(spool_send(&other, b, UINT32_MAX + UINT64_C(1), EVENT_OPEN), UINT32_MAX + UINT64_C(2));
    CHECK_EQ(count_events(b, EVENT_GAP, NULL), 2); /* a second stream of that name; what is missing in it */
    CHECK_EQ(spool_send(&mine, b, 1, EVENT_DELETE), 2);
    CHECK_EQ(count_events(b, EVENT_DELETE, NULL), 1); /* and not: taken long ago */
    CHECK_EQ(count_events(b, EVENT_GAP, NULL), 2);
    secret_free(mine.key);
    secret_free(other.key);
    bench_free(b);
}

TEST(srs_hostile__a_mount_cannot_tell_what_only_the_srs_knows)
{
    static const enum event_type own[] = { EVENT_RELEASE, EVENT_RELEASE_AHEAD, EVENT_RELEASE_NAMES,
                                           EVENT_RENEW,   EVENT_GRANT,         EVENT_REVOKE,
                                           EVENT_EPOCH,   EVENT_LOG_READ,      EVENT_GAP,
                                           EVENT_PATIENT_ADD };
    struct bench *b = bench_new();
    const struct id16 host = random_id();
    const size_t patients = count_events(b, EVENT_PATIENT_ADD, NULL);
    struct event e = { 0 };
    struct spool s;
    uint64_t n = 0;

    UNUSED_STATE;
    spool_new(&s, b, &host, 1);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++, n++)
        CHECK_EQ(spool_send(&s, b, n, own[i]), n + 1);
    CHECK_EQ(spool_send(&s, b, n, EVENT_OPEN), n + 1);
    CHECK_EQ(count_events(b, EVENT_RELEASE, NULL), 0);
    CHECK_EQ(count_events(b, EVENT_REVOKE, NULL), 0);
    CHECK_EQ(count_events(b, EVENT_PATIENT_ADD, NULL), patients);
    CHECK_EQ(count_events(b, EVENT_GAP, &e), sizeof own / sizeof own[0]);
    CHECK_EQ(e.outcome, PHR_E_RIGHTS);
    CHECK_EQ(count_events(b, EVENT_OPEN, NULL), 1);
    secret_free(s.key);
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(srs_hostile__what_can_be_signed_fits_an_entry),
        UNIT(srs_hostile__a_full_upload_queue_is_nobodys_failed_batch),
        UNIT(srs_hostile__the_names_key_is_the_owners),
        UNIT(srs_hostile__a_right_to_write_ends_with_its_grant),
        UNIT(srs_hostile__a_lease_ends_with_its_grant),
        UNIT(srs_hostile__without_its_slot_a_grant_is_dead_and_hurts_nobody),
        UNIT(srs_hostile__terms_that_it_cannot_keep_are_refused),
        UNIT(srs_hostile__suspensions_and_attempts_of_the_suspended_are_recorded),
        UNIT(srs_hostile__what_nobody_signed_does_not_fill_the_log),
        UNIT(srs_hostile__the_log_is_not_for_made_up_patients),
        UNIT(srs_hostile__nothing_is_released_after_a_revocation_was_answered),
        UNIT(srs_hostile__a_stream_is_its_own_headers_only),
        UNIT(srs_hostile__a_mount_cannot_tell_what_only_the_srs_knows),
    };

    if (secret_arena_open() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
