/*
 * Making room: local copies of what the object store has are given up (S-7).
 *
 * EVICT-1  Only segments of a file whose row is CLEAN: the ledger has the seal, and a seal gets
 *          there only after all of its objects were confirmed. No overlay, no base, not durable
 *          twice over: such a row names nothing else.
 * EVICT-2  Only files that nobody has in memory. The row changes under the names lock; who comes
 *          later reads the new row and fetches.
 * EVICT-3  The container goes as any other: one pass later (FREE-1).
 *
 * Which files were read last is not known here; a cursor goes round by node number.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "vault/content_state.h"

enum { EVICT_ROWS_AT_A_TIME = 64, EVICT_PERIOD_MS = 10 * 1000 };

struct evict {
    struct contents *cs;
    uint64_t nodeids[EVICT_ROWS_AT_A_TIME];
    size_t count;
    uint64_t last; /* node seen last */
};

static int sum_row(void *user, const struct content_row *row)
{
    scoped(layout_fini) struct layout cur = { 0 };
    scoped(layout_fini) struct layout base = { 0 };
    uint64_t *bytes = user;
    bool has_base;

    if (locs_decode(row->locs, &cur, &base, &has_base) < 0)
        return 0;
    for (size_t i = 0; i < cur.seg_count; i++)
        *bytes += cur.segs[i].form == SEG_DENSE      ? cur.segs[i].loc.len
                  : cur.segs[i].form == SEG_BUILDING ? cur.segs[i].plaintext_len
                                                     : 0;
    return 0;
}

/* How much should go. */
static uint64_t bytes_too_many(struct contents *cs)
{
    const struct config *config = vault_get_config(cs->v);
    uint64_t reserve =
        config->floor_bytes / 4; /* so that it is not for one segment each time */
    int64_t room = store_get_room(cs->store);
    uint64_t want = 0;
    uint64_t have = 0;

    if (room < (int64_t)reserve)
        want = (uint64_t)((int64_t)reserve - room);
    if (config->store_bytes_max == 0)
        return want;
    if (nsdb_content_each(cs->db, 0, sum_row, &have) < 0 ||
        have <= config->store_bytes_max)
        return want;
    have -= config->store_bytes_max;
    return have > want ? have : want;
}

static int collect(void *user, const struct content_row *row)
{
    struct evict *e = user;

    e->last = row->nodeid;
    if (row->state == CONTENT_CLEAN && row->is_durable && row->blocks_512 > 0)
        e->nodeids[e->count++] = row->nodeid;
    return e->count == EVICT_ROWS_AT_A_TIME ? 1 : 0;
}

/* In a transaction, hence under the names lock. */
static int give_up(struct contents *cs, uint64_t nodeid, uint64_t *out_bytes)
{
    scoped(writer_fini) struct writer keep;
    scoped(writer_fini) struct writer w;
    scoped(layout_fini) struct layout cur = { 0 };
    scoped(layout_fini) struct layout base = { 0 };
    struct content_row row;
    bool has_base = false;
    int rc;

    writer_init(&keep);
    writer_init(&w);
    rc = nsdb_content_get(cs->db, nodeid, &keep, &row);
    if (rc == 0)
        rc = locs_decode(row.locs, &cur, &base, &has_base);
    if (rc < 0)
        return rc;
    if (row.state != CONTENT_CLEAN || !row.is_durable || has_base || cur.level_count > 0)
        return -EAGAIN; /* changed since */
    *out_bytes = 0;
    for (size_t i = 0; i < cur.seg_count; i++) {
        struct seg *seg = &cur.segs[i];

        if (!seg->is_sealed || seg->form != SEG_DENSE)
            continue;
        *out_bytes += seg->loc.len;
        contents_free_later(cs, nodeid, seg->loc.container);
        seg->form = SEG_ABSENT;
        seg->loc = (struct loc){ 0 };
    }
    if (*out_bytes == 0)
        return -EAGAIN;
    locs_encode(&cur, NULL, &w);
    if (!writer_ok(&w))
        return -ENOMEM;
    row.locs = writer_done(&w);
    return nsdb_content_put(cs->db, &row);
}

static uint64_t evict_one(struct contents *cs, uint64_t nodeid)
{
    struct content *ct;
    uint64_t bytes = 0;
    int rc = nsdb_begin(cs->db);

    if (rc < 0)
        return 0;
    ct = content_find(cs, nodeid); /* EVICT-2 */
    rc = ct ? -EBUSY : give_up(cs, nodeid, &bytes);
    if (rc < 0)
        nsdb_rollback(cs->db); /* what was handed over is still named, so it stays */
    else
        nsdb_commit_soon(cs->db);
    if (ct)
        content_release(ct);
    return rc < 0 ? 0 : bytes;
}

void contents_evict(struct contents *cs)
{
    scoped(unlock) pthread_mutex_t *held = lock(&cs->pass_lock);
    uint64_t now_ms = content_now_ms();
    uint64_t from = cs->evict_at;
    uint64_t want;
    bool has_wrapped = from == 0;

    if (vault_is_read_only(cs->v) ||
        (now_ms - cs->evict_ms < EVICT_PERIOD_MS && !store_is_low(cs->store)))
        return;
    cs->evict_ms = now_ms;
    want = bytes_too_many(cs);
    while (want > 0) {
        struct evict e = { .cs = cs, .last = cs->evict_at };
        int rc = nsdb_content_each(cs->db, cs->evict_at, collect, &e);

        for (size_t i = 0; i < e.count && want > 0; i++) {
            uint64_t gone = evict_one(cs, e.nodeids[i]);

            want = gone < want ? want - gone : 0;
            cs->evict_at = e.nodeids[i];
        }
        if (rc < 0 || want == 0)
            return;
        if (rc == 0) { /* the last row was seen */
            cs->evict_at = 0;
            if (has_wrapped)
                return;
            has_wrapped = true;
        } else if (has_wrapped && from != 0 && cs->evict_at >= from) {
            return; /* once round */
        }
    }
}
