/*
 * The SRS's life: keys, database, log, committer; and what is asked outside the table of asks.
 * Reading order: srs.h, committer.c, ask_open.c, ask_push.c, ask_grant.c, srs_state.c.
 */
#include "srs/srs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/hex.h"
#include "crypto/pre.h"
#include "crypto/random.h"
#include "srs/asks.h"
#include "srs/checkpointer.h"
#include "srs/rkstore.h"
#include "srs/srs_inside.h"
#include "srs/srs_test.h"

#define SRS_VALID_S (UINT64_C(20) * 365 * 24 * 3600)

const struct ask committer_asks[] = {
    [SRS_OP_PUSH] = { ask_push_decide, NULL, false },
    [SRS_LEDGER_FETCH] = { ask_ledger_fetch, NULL, true },
    [SRS_LEDGER_LIST] = { ask_ledger_list, NULL, true },
    [SRS_OPEN] = { ask_open_decide, ask_open_release, false },
    [SRS_PROVE] = { ask_prove_decide, NULL, true },
    [SRS_SPOOL_PUSH] = { ask_spool_push, NULL, false },
    [SRS_AUDIT_FETCH] = { ask_audit_fetch, NULL, false },
    [SRS_AUDIT_HEAD] = { ask_audit_head, NULL, false },
    [SRS_AUDIT_CONSISTENCY] = { ask_audit_consistency, NULL, true },
    [SRS_SUSPEND] = { ask_event_suspend, NULL, false },
    [SRS_EVENT] = { ask_event_decide, NULL, false },
};

/* ---- first time ---- */

static int save_request(int realm_fd, const struct srs_key *key)
{
    scoped(writer_fini) struct writer bytes;
    const uint64_t now_s = clock_realtime_s();
    struct card c = { .user = random_id(),
                      .role = CARD_SRS,
                      .ed = sign_key_public(key->sign),
                      .not_before_s = now_s,
                      .not_after_s = now_s + SRS_VALID_S,
                      .serial = 1,
                      .label = "srs" };
    int rc = pre_public(key->b, &c.b);

    writer_init(&bytes);
    if (rc == 0)
        rc = card_request_encode(&c, key->sign, key->b, &bytes);
    return rc < 0 ? rc : fdio_save(realm_fd, "srs.request", writer_done(&bytes), 0644);
}

/* Run again after a crash it goes on: keys that are there stay. */
int srs_init(int dir_fd, int realm_fd)
{
    scoped(srs_key_fini) struct srs_key key = { 0 };
    int rc = srs_key_make(dir_fd);

    if (rc == 0 || rc == -EEXIST)
        rc = rkslot_make(dir_fd);
    if (rc == 0)
        rc = srs_key_load(dir_fd, &key);
    return rc < 0 ? rc : save_request(realm_fd, &key);
}

/* ---- the log's place in the database ---- */

static int get_node(void *user, unsigned level, uint64_t index, struct digest *out_hash)
{
    const struct srs *s = user;
    struct srs_stmt q =
        level == 0
            ? srs_db_query(s->db, "SELECT leaf FROM audit WHERE idx = ?")
            : srs_db_query(s->db, "SELECT hash FROM node WHERE idx = ? AND level = ?");
    int rc;

    srs_db_bind_u64(&q, index);
    if (level > 0)
        srs_db_bind_u64(&q, level);
    rc = srs_db_first(&q);
    if (rc == 0)
        srs_db_col_bytes(&q, 0, out_hash->b, sizeof out_hash->b, &rc);
    srs_db_end(&q);
    return rc == -ENOENT ? -EIO : rc;
}

static int put_node(void *user, unsigned level, uint64_t index, const struct digest *hash)
{
    const struct srs *s = user;
    struct srs_stmt q;

    if (level == 0)
        return 0; /* stands in its row */
    q = srs_db_query(s->db, "INSERT INTO node(level, idx, hash) VALUES(?,?,?)");
    srs_db_bind_u64(&q, level);
    srs_db_bind_u64(&q, index);
    srs_db_bind_digest(&q, hash);
    return srs_db_run(&q);
}

static int put_row(void *user, uint64_t index, const struct auditlog_stored *row)
{
    const struct srs *s = user;
    struct srs_stmt q = srs_db_query(
        s->db,
        "INSERT INTO audit(idx, patient, entry, leaf, salt, box) VALUES(?,?,?,?,?,?)");

    srs_db_bind_u64(&q, index);
    srs_db_bind_id(&q, &row->patient);
    srs_db_bind_view(&q, view_of(row->entry, sizeof row->entry));
    srs_db_bind_digest(&q, &row->leaf);
    srs_db_bind_view(&q, view_of(row->salt, sizeof row->salt));
    srs_db_bind_view(&q, view_of(row->box, row->box_bytes));
    return srs_db_run(&q);
}

static int get_row(void *user, uint64_t index, struct auditlog_stored *out_row)
{
    const struct srs *s = user;
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db, "SELECT patient, entry, leaf, salt, box FROM audit WHERE idx = ?");
    struct view box;
    int rc;

    srs_db_bind_u64(&q, index);
    rc = srs_db_first(&q);
    if (rc < 0)
        return rc == -ENOENT ? -EIO : rc;
    box = srs_db_col_view(&q, 4);
    if (box.n > sizeof out_row->box)
        return -EIO;
    srs_db_col_bytes(&q, 0, out_row->patient.b, sizeof out_row->patient.b, &rc);
    srs_db_col_bytes(&q, 1, out_row->entry, sizeof out_row->entry, &rc);
    srs_db_col_bytes(&q, 2, out_row->leaf.b, sizeof out_row->leaf.b, &rc);
    srs_db_col_bytes(&q, 3, out_row->salt, sizeof out_row->salt, &rc);
    memcpy(out_row->box, box.p, box.n);
    out_row->box_bytes = box.n;
    return rc;
}

static int load_log(struct srs *s)
{
    struct srs_stmt q =
        srs_db_query(s->db, "SELECT coalesce(max(idx) + 1, 0) FROM audit");
    uint64_t size = 0;
    int rc = srs_db_first(&q);

    if (rc == 0)
        size = srs_db_col_u64(&q, 0);
    srs_db_end(&q);
    s->log_store = (struct auditlog_store){
        .tree = { .user = s, .get_node = get_node, .put_node = put_node },
        .put_row = put_row,
        .get_row = get_row
    };
    return rc < 0 ? rc : auditlog_load(&s->log_store, size, s->key.record, &s->log);
}

/* ---- open, close ---- */

static int load_card(const struct srs *s, const char *name,
                     struct verify_key *io_authority, struct card *out_card)
{
    scoped(free) uint8_t *bytes = NULL;
    size_t n = 0;
    int rc = fdio_load(s->opts.realm_fd, name, CARD_BYTES_MAX, &bytes, &n);

    if (rc < 0)
        return rc;
    if (!io_authority)
        return card_decode(view_of(bytes, n), out_card);
    return card_check(view_of(bytes, n), io_authority, out_card);
}

/* The realm's cards, and that ours is of our keys. */
static int load_cards(struct srs *s)
{
    struct card authority;
    struct verify_key ed = sign_key_public(s->key.sign);
    struct point b;
    char hex[33];
    int rc = load_card(s, "authority.card", NULL, &authority);

    if (rc == 0)
        rc = load_card(s, "authority.card", &authority.ed,
                       &authority); /* signed by itself */
    if (rc == 0 && authority.role != CARD_AUTHORITY)
        rc = PHR_E_CARD;
    if (rc == 0)
        rc = load_card(s, "srs.card", &authority.ed, &s->card);
    if (rc == 0)
        rc = pre_public(s->key.b, &b);
    if (rc < 0)
        return rc;
    if (s->card.role != CARD_SRS ||
        !view_equal(view_of(ed.b, sizeof ed.b), view_of(s->card.ed.b, sizeof ed.b)) ||
        !view_equal(view_of(b.b, sizeof b.b), view_of(s->card.b.b, sizeof b.b)))
        return PHR_E_CARD;
    s->anchor = (struct verify_anchor){ authority.ed, s->card.ed, s->card.hash };
    hex_encode(s->card.user.b, sizeof s->card.user.b, hex);
    ignored(snprintf(s->origin, sizeof s->origin, "phrfs/%s", hex)); /* fits: 6 + 32 */
    return 0;
}

/* Slots that no grant names are left over from a crash: overwritten before anything is asked. */
static int load_slots(struct srs *s)
{
    int rc = rkslot_open(s->opts.dir_fd, &s->slots);

    if (rc == 0)
        rc = rkstore_mark_slots(&s->state, s->slots);
    return rc < 0 ? rc : rkslot_sweep(s->slots);
}

SCOPED_HANDLE(struct srs, srs_close)

int srs_open(const struct srs_opts *opts, struct srs **out_srs)
{
    scoped(srs_close) struct srs *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return -ENOMEM;
    s->opts = *opts;
    rc = srs_key_load(opts->dir_fd, &s->key);
    if (rc == 0)
        rc = load_cards(s);
    if (rc == 0)
        rc = srs_db_open(opts->dir_fd, "srs.db", &s->db);
    if (rc < 0)
        return rc;
    s->state =
        (struct srs_state){ .db = s->db, .load_object = loader_get, .load_user = s };
    srs_state_init(&s->state);
    rc = load_slots(s);
    if (rc == 0)
        rc = load_log(s);
    if (rc < 0)
        return rc;
    checkpointer_load(s);
    rc = committer_open(s, &s->committer);
    if (rc == 0)
        rc = loader_open(s, &s->loader);
    if (rc < 0)
        return rc;
    *out_srs = give(s);
    return 0;
}

void srs_close(struct srs *s)
{
    if (!s)
        return;
    loader_stop(s->loader);
    committer_close(s->committer);
    loader_free(s->loader);
    batch_fini(&s->batch);
    rkslot_close(s->slots);
    srs_db_close(s->db);
    srs_key_fini(&s->key);
    free(s);
}

const struct card *srs_get_card(const struct srs *s)
{
    return &s->card;
}

/* ---- for the files of this module ---- */

uint64_t srs_now_s(const struct srs *s)
{
    return clock_realtime_s() + (uint64_t)atomic_load(&s->skew_s);
}

void srs_set_skew(struct srs *s, int64_t skew_s)
{
    atomic_store(&s->skew_s, skew_s);
}

int srs_log(struct srs *s, const struct event *e, struct digest *out_leaf)
{
    return auditlog_append(&s->log, e, srs_now_s(s), out_leaf);
}

bool srs_is_suspended(struct srs *s, const struct id16 *user, int *io_rc)
{
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT 1 FROM suspended WHERE user = ?");
    int rc;

    srs_db_bind_id(&q, user);
    rc = srs_db_first(&q);
    if (rc < 0 && rc != -ENOENT)
        *io_rc = rc;
    return rc == 0;
}

/* ---- asking ---- */

int srs_submit(struct srs *s, enum srs_ask ask, const struct srs_peer *peer,
               struct view payload, srs_done done, void *user)
{
    struct job *job;
    int rc;

    if ((unsigned)ask > SRS_EVENT)
        return PHR_E_PROTOCOL;
    job = calloc(1, sizeof *job);
    if (!job)
        return -ENOMEM;
    job->bytes = malloc(payload.n ? payload.n : 1);
    if (!job->bytes) {
        free(job);
        return -ENOMEM;
    }
    if (payload.n > 0)
        memcpy(job->bytes, payload.p, payload.n);
    job->ask = ask;
    job->peer = *peer;
    job->payload = view_of(job->bytes, payload.n);
    job->done = done;
    job->user = user;
    writer_init(&job->answer);
    rc = committer_submit(s->committer, job);
    if (rc < 0) {
        free(job->bytes);
        free(job);
        return rc;
    }
    atomic_fetch_add(&s->counters.jobs, 1);
    return 0;
}

struct unstored_walk {
    int (*on_entry)(void *user, const struct id16 *patient, uint64_t seq,
                    struct view entry);
    void *user;
};

static int walk_unstored(struct srs *s, void *user)
{
    const struct unstored_walk *w = user;
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(
        s->db,
        "SELECT patient, seq, bytes FROM entry WHERE is_stored = 0 ORDER BY rowid");
    int rc = srs_db_step(&q);

    while (rc > 0) {
        struct id16 patient;
        int bad = 0;

        srs_db_col_bytes(&q, 0, patient.b, sizeof patient.b, &bad);
        if (bad < 0)
            return bad;
        rc =
            w->on_entry(w->user, &patient, srs_db_col_u64(&q, 1), srs_db_col_view(&q, 2));
        if (rc == 0)
            rc = srs_db_step(&q);
    }
    return rc;
}

int srs_entries_unstored(struct srs *s,
                         int (*on_entry)(void *user, const struct id16 *patient,
                                         uint64_t seq, struct view entry),
                         void *user)
{
    struct unstored_walk w = { on_entry, user };

    return committer_call(s->committer, walk_unstored, &w);
}

struct stored_place {
    const struct id16 *patient;
    uint64_t seq;
};

static int mark_stored(struct srs *s, void *user)
{
    const struct stored_place *p = user;
    struct srs_stmt q = srs_db_query(
        s->db, "UPDATE entry SET is_stored = 1 WHERE patient = ? AND seq = ?");

    srs_db_bind_id(&q, p->patient);
    srs_db_bind_u64(&q, p->seq);
    return srs_db_run(&q);
}

int srs_entry_stored(struct srs *s, const struct id16 *patient, uint64_t seq)
{
    struct stored_place p = { patient, seq };

    return committer_call(s->committer, mark_stored, &p);
}

static int import(struct srs *s, void *user)
{
    const struct view *entry = user;

    return verify_entry_apply(&s->state.ledger, &s->anchor, *entry, 0);
}

int srs_import_entry(struct srs *s, struct view entry)
{
    return committer_call(s->committer, import, &entry);
}

char *srs_dup_status(struct srs *s)
{
    struct srs_counters *c = &s->counters;
    char *text = NULL;
    int n = asprintf(
        &text,
        "{\"jobs\":%llu,\"queued\":%zu,\"batches\":%llu,\"failed_batches\":%llu,"
        "\"releases\":%llu,\"denials\":%llu,\"ops\":%llu,\"ops_refused\":%llu,"
        "\"entries\":%llu,\"events\":%llu,\"unshredded\":%llu}",
        (unsigned long long)atomic_load(&c->jobs), committer_queued(s->committer),
        (unsigned long long)atomic_load(&c->batches),
        (unsigned long long)atomic_load(&c->failed_batches),
        (unsigned long long)atomic_load(&c->releases),
        (unsigned long long)atomic_load(&c->denials),
        (unsigned long long)atomic_load(&c->ops),
        (unsigned long long)atomic_load(&c->ops_refused),
        (unsigned long long)atomic_load(&c->entries),
        (unsigned long long)atomic_load(&c->events),
        (unsigned long long)atomic_load(&c->unshredded));

    return n < 0 ? NULL : text;
}
