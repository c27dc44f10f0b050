/*
 * A reader asks for keys (CRYPTO 2.6).
 *
 * OPEN-1  Each file gets a leaf before its point is computed, and each refusal one too. A request
 *   whose signature does not verify gets one leaf as a whole, and of those a uid gets UNSIGNED_MAX in a
 *   minute, the last of which says so (PHR_E_LIMIT): anybody can send them, and could fill the disk.
 * OPEN-2  The capsule is the ledger's own, looked up by file; a reader names it by hash only.
 * OPEN-3  A request is taken once: its id is remembered for longer than its time is accepted.
 * OPEN-4  Names keys and contents are told apart by the file, so that neither is recorded as the other.
 */
#include "srs/asks.h"

#include <string.h>

#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/pre_proxy.h"
#include "format/open_answer.h"
#include "format/open_request.h"
#include "srs/rkstore.h"
#include "srs/srs_inside.h"

enum {
    SKEW_S_MAX = 120,
    SEEN_S = 300,
    OPEN_REQUEST_BYTES_MAX = 256 * 1024,
    UNSIGNED_MAX = 60,
    REASON_BYTES_MAX = 512 /* what an event holds; the rest of a long one is cut */
};

struct opening {
    struct open_request req;
    struct open_context context; /* borrows from the payload */
    struct view request_bytes;
    struct srs_grant grant;
    struct card card;
    bool is_signed; /* by the reader of the grant */
    struct scalar *rk;
    struct open_answer_item *items;
    struct point *w; /* per file; zero: nothing to release */
};

static void opening_free(void *p)
{
    struct opening *o = p;

    if (!o)
        return;
    open_request_fini(&o->req);
    secret_free(o->rk);
    free(o->items);
    free(o->w);
    free(o);
}

static inline void opening_free_scope(struct opening **o)
{
    opening_free(*o);
    *o = NULL;
}

static int parse(struct job *job, struct opening *o)
{
    struct reader r = reader_over(job->payload);
    struct digest context_hash;
    struct view context;
    int rc;

    o->request_bytes = reader_lp(&r, OPEN_REQUEST_BYTES_MAX);
    context = reader_lp(&r, CONTEXT_BYTES_MAX);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    rc = open_request_decode(o->request_bytes, &o->req);
    if (rc == 0)
        rc = open_context_decode(context, &o->context);
    if (rc < 0)
        return rc;
    context_hash = digest_sha256(context);
    if (!digest_equal(&context_hash, &o->req.context) || o->req.count == 0 ||
        o->req.count > OPEN_FILES_MAX)
        return PHR_E_FORMAT;
    o->items = calloc(o->req.count, sizeof *o->items);
    o->w = calloc(o->req.count, sizeof *o->w);
    return o->items && o->w ? 0 : -ENOMEM;
}

/* ---- the request as a whole ---- */

/* OPEN-3 */
static int remember(struct srs *s, const struct id16 *req, uint64_t now_s)
{
    struct srs_stmt q = srs_db_query(s->db, "DELETE FROM seen WHERE time_s < ?");
    int rc;

    srs_db_bind_u64(&q, now_s > SEEN_S ? now_s - SEEN_S : 0);
    rc = srs_db_run(&q);
    if (rc < 0)
        return rc;
    q = srs_db_query(s->db, "SELECT 1 FROM seen WHERE req = ?");
    srs_db_bind_id(&q, req);
    rc = srs_db_first(&q);
    srs_db_end(&q);
    if (rc != -ENOENT)
        return rc < 0 ? rc : PHR_E_REPLAY;
    q = srs_db_query(s->db, "INSERT INTO seen(req, time_s) VALUES(?,?)");
    srs_db_bind_id(&q, req);
    srs_db_bind_u64(&q, now_s);
    return srs_db_run(&q);
}

static int judge_signature(struct srs *s, struct opening *o)
{
    const struct grant_ctx *ctx = &o->grant.grant.ctx;
    int rc = srs_state_get_grant(&s->state, &o->req.grant, &o->grant);

    if (rc < 0)
        return rc == -ENOENT ? PHR_E_NO_GRANT : rc;
    rc = srs_state_get_card(&s->state, &ctx->class_ctx.patient, &ctx->reader_card,
                            &o->card);
    if (rc < 0)
        return rc == -ENOENT ? PHR_E_CARD : rc;
    rc = open_request_check(o->request_bytes, &o->card.ed);
    o->is_signed = rc == 0;
    return rc;
}

static int judge_grant(struct srs *s, struct opening *o, uint64_t now_s)
{
    const struct grant *g = &o->grant.grant;
    int rc;

    if (o->grant.is_revoked)
        return PHR_E_REVOKED;
    rc = grant_check_time(g, now_s);
    if (rc == 0)
        rc = card_check_time(&o->card, now_s);
    if (rc < 0)
        return rc;
    if (srs_is_suspended(s, &g->ctx.reader, &rc))
        return PHR_E_CARD;
    if (rc < 0)
        return rc;
    if (o->req.purpose == PURPOSE_ANY ||
        (g->purpose != PURPOSE_ANY && g->purpose != o->req.purpose))
        return PHR_E_RIGHTS;
    if (!o->grant.has_key)
        return PHR_E_NO_GRANT; /* retired, or rebuilt from the bucket: the owner grants anew */
    o->rk = secret_alloc(sizeof *o->rk);
    if (!o->rk)
        return -ENOMEM;
    rc = rkstore_load(s->slots, &o->grant, o->rk);
    return rc == PHR_E_SEAL ? PHR_E_NO_GRANT : rc;
}

static int judge_request(struct srs *s, struct opening *o)
{
    const uint64_t now_s = srs_now_s(s);
    int rc = judge_signature(s, o);

    if (rc < 0)
        return rc;
    if (o->req.time_s + SKEW_S_MAX < now_s || o->req.time_s > now_s + SKEW_S_MAX)
        return PHR_E_TIME_SKEW;
    rc = remember(s, &o->req.req, now_s);
    return rc < 0 ? rc : judge_grant(s, o, now_s);
}

/* ---- each file ---- */

static bool is_counted(enum open_why why)
{
    return why == OPEN_WHY_OPEN || why == OPEN_WHY_AHEAD;
}

static int judge_file(struct srs *s, struct opening *o, size_t index, uint64_t *io_opens)
{
    const struct open_file *f = &o->req.files[index];
    const struct grant *g = &o->grant.grant;
    const bool is_root = id_equal(&f->ctx.file, &f->ctx.class_ctx.class_id);
    struct srs_header h;
    int rc;

    if (!class_ctx_equal(&f->ctx.class_ctx, &g->ctx.class_ctx))
        return PHR_E_NO_GRANT;
    if (f->why == OPEN_WHY_RENEW)
        return 0;
    if (is_root != (f->why == OPEN_WHY_NAMES))
        return PHR_E_RIGHTS; /* OPEN-4 */
    rc = srs_state_get_header(&s->state, &f->ctx.class_ctx.patient, &f->ctx.file, &h);
    if (rc < 0)
        return rc == -ENOENT ? PHR_E_NO_HEADER : rc;
    if (!file_ctx_equal(&h.ctx, &f->ctx) || !digest_equal(&h.hash, &f->header))
        return PHR_E_STALE_HEADER; /* OPEN-2 */
    if (is_counted(f->why) && g->max_opens > 0 && *io_opens >= g->max_opens)
        return PHR_E_RIGHTS;
    *io_opens += is_counted(f->why);
    o->w[index] = h.w;
    return 0;
}

static enum event_type event_of(enum open_why why, int rc)
{
    if (rc < 0)
        return EVENT_DENIED;
    switch (why) {
    case OPEN_WHY_AHEAD:
        return EVENT_RELEASE_AHEAD;
    case OPEN_WHY_NAMES:
        return EVENT_RELEASE_NAMES;
    case OPEN_WHY_RENEW:
        return EVENT_RENEW;
    case OPEN_WHY_OPEN:
    default:
        return EVENT_RELEASE;
    }
}

static int log_file(struct srs *s, const struct opening *o, size_t index, int rc,
                    struct digest *out_leaf)
{
    const struct open_file *f = &o->req.files[index];
    struct event e = { .type = event_of(f->why, rc),
                       .outcome = rc,
                       .time_s = srs_now_s(s),
                       .host = o->context.host,
                       .uid = o->context.uid,
                       .program = o->context.program,
                       .patient = f->ctx.class_ctx.patient,
                       .class_id = f->ctx.class_ctx.class_id,
                       .file = f->ctx.file,
                       .grant = o->req.grant,
                       .purpose = o->req.purpose,
                       .reason = o->context.reason };

    if (e.reason.n > REASON_BYTES_MAX)
        e.reason.n = REASON_BYTES_MAX;
    if (o->is_signed) { /* otherwise nobody knows who it was */
        e.user = o->card.user;
        e.card = o->card.hash;
    }
    atomic_fetch_add(rc < 0 ? &s->counters.denials : &s->counters.releases, 1);
    return srs_log(s, &e, out_leaf);
}

/* The how-manieth of this uid in this minute. */
static uint32_t count_unsigned(struct srs *s, uint32_t uid)
{
    struct srs_stranger *n = &s->strangers[uid % STRANGERS_MAX];
    const uint64_t minute = srs_now_s(s) / 60;

    if (n->uid != uid || n->minute != minute)
        *n = (struct srs_stranger){ .uid = uid, .minute = minute };
    return ++n->count;
}

/* OPEN-1 for what nobody signed. */
static int refuse_unsigned(struct srs *s, const struct job *job, struct opening *o, int verdict)
{
    const uint32_t count = count_unsigned(s, job->peer.uid);
    struct digest leaf = { { 0 } };
    int rc = 0;

    if (count <= UNSIGNED_MAX)
        rc = log_file(s, o, 0, count < UNSIGNED_MAX ? verdict : PHR_E_LIMIT, &leaf);
    for (size_t i = 0; i < o->req.count && rc == 0; i++)
        o->items[i] = (struct open_answer_item){ .rc = verdict, .leaf = leaf };
    return rc;
}

static int judge_files(struct srs *s, struct opening *o, int verdict)
{
    uint64_t opens = o->grant.opens;
    int rc = 0;

    for (size_t i = 0; i < o->req.count && rc == 0; i++) {
        int file_rc = verdict < 0 ? verdict : judge_file(s, o, i, &opens);

        if (srs_state_is_failure(file_rc))
            return file_rc;
        o->items[i].rc = file_rc;
        rc = log_file(s, o, i, file_rc, &o->items[i].leaf);
    }
    if (rc == 0 && opens > o->grant.opens)
        rc = srs_state_add_opens(&s->state, &o->req.grant, opens - o->grant.opens);
    return rc;
}

int ask_open_decide(struct srs *s, struct job *job)
{
    scoped(opening_free) struct opening *o = calloc(1, sizeof *o);
    int verdict;
    int rc = o ? parse(job, o) : -ENOMEM;

    if (rc < 0)
        return rc;
    verdict = judge_request(s, o);
    if (srs_state_is_failure(verdict))
        return verdict;
    rc = verdict < 0 && !o->is_signed ? refuse_unsigned(s, job, o, verdict)
                                      : judge_files(s, o, verdict);
    if (rc < 0)
        return rc;
    job->held = give(o);
    job->free_held = opening_free;
    return 0;
}

/* Not beyond the end of the grant or of the reader's card: inside a lease nobody asks us again. */
static uint32_t lease_of(const struct srs *s, const struct opening *o, uint64_t now_s)
{
    const uint64_t ends[] = { o->grant.grant.not_after_s, o->card.not_after_s };
    uint64_t lease_s = s->opts.lease_s;

    for (size_t i = 0; i < 2; i++) {
        const uint64_t left_s = ends[i] > now_s ? ends[i] - now_s : 0;

        if (left_s < lease_s)
            lease_s = left_s;
    }
    return (uint32_t)lease_s;
}

/* After the commit: what was recorded is computed and signed for. */
int ask_open_release(struct srs *s, struct job *job)
{
    static const struct point nothing;
    struct opening *o = job->held;
    struct open_answer answer = { .count = o->req.count,
                                  .items = o->items,
                                  .time_s = srs_now_s(s),
                                  .lease_s = lease_of(s, o, srs_now_s(s)) };

    for (size_t i = 0; i < o->req.count; i++) {
        if (o->items[i].rc < 0 || memcmp(o->w[i].b, nothing.b, sizeof nothing.b) == 0)
            continue;
        if (pre_reencrypt(o->rk, &o->w[i], &o->items[i].w1) < 0)
            o->items[i].rc = PHR_E_POINT;
    }
    return open_answer_encode(&answer, s->key.sign, &job->answer);
}

/*
 * Proof that a point which was released is the right one. It is made for the right one only, so
 * nobody learns a point that he was not given.
 */
int ask_prove_decide(struct srs *s, struct job *job)
{
    scoped(secret_free) struct scalar *rk = secret_alloc(sizeof *rk);
    struct reader r = reader_over(job->payload);
    uint8_t ctx_bytes[FILE_CTX_BYTES];
    struct file_ctx ctx;
    struct id16 grant;
    struct srs_grant g;
    struct srs_header h;
    struct point claimed;
    struct point w1;
    struct dleq proof;
    int rc;

    reader_bytes(&r, ctx_bytes, sizeof ctx_bytes);
    reader_bytes(&r, grant.b, sizeof grant.b);
    reader_bytes(&r, claimed.b, sizeof claimed.b);
    if (!reader_done(&r))
        return PHR_E_FORMAT;
    file_ctx_decode(ctx_bytes, &ctx);
    rc = rk ? srs_state_get_grant(&s->state, &grant, &g) : -ENOMEM;
    if (rc < 0)
        return rc == -ENOENT ? PHR_E_NO_GRANT : rc;
    if (!g.has_key || !class_ctx_equal(&ctx.class_ctx, &g.grant.ctx.class_ctx))
        return PHR_E_NO_GRANT;
    rc = srs_state_get_header(&s->state, &ctx.class_ctx.patient, &ctx.file, &h);
    if (rc < 0)
        return rc == -ENOENT ? PHR_E_NO_HEADER : rc;
    if (!file_ctx_equal(&h.ctx, &ctx))
        return PHR_E_STALE_HEADER;
    rc = rkstore_load(s->slots, &g, rk);
    if (rc == 0)
        rc = pre_reencrypt(rk, &h.w, &w1);
    if (rc == 0 && memcmp(w1.b, claimed.b, sizeof w1.b) != 0)
        rc = PHR_E_POINT;
    if (rc == 0)
        rc = pre_prove(rk, &ctx, &grant, &g.grant.a, &g.grant.r, &h.w, &w1, &proof);
    if (rc < 0)
        return rc;
    writer_bytes(&job->answer, proof.c, sizeof proof.c);
    writer_bytes(&job->answer, proof.z, sizeof proof.z);
    return 0;
}
