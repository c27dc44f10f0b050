#include "client/logread.h"

#include "base/clock.h"
#include "crypto/digest.h"
#include "crypto/label.h"

enum { PAGE_ROWS = 1000, AUDIT_TIMEOUT_MS = 60 * 1000 };

static void add_proof(const struct logread *r, uint64_t from, uint32_t count,
                      struct writer *ask)
{
    scoped(writer_fini) struct writer proof;
    scoped(writer_fini) struct writer what;
    const struct phr_identity *i = r->viewer;
    const struct verify_key ed = sign_key_public(i->sign);
    const uint64_t now_s = clock_realtime_s();
    struct digest digest;
    struct signature sig;

    writer_init(&proof);
    writer_init(&what);
    writer_text(&what, "audit");
    writer_bytes(&what, i->ring->user.b, sizeof i->ring->user.b);
    writer_u64(&what, now_s);
    writer_u64(&what, from);
    writer_u32(&what, count);
    digest = digest_sha256(writer_done(&what));
    sig = sign_labelled(i->sign, LABEL_OPEN, &digest);
    writer_bytes(&proof, i->ring->user.b, sizeof i->ring->user.b);
    writer_u64(&proof, now_s);
    writer_bytes(&proof, ed.b, sizeof ed.b);
    writer_bytes(&proof, sig.b, sizeof sig.b);
    writer_lp(ask, writer_done(&proof));
}

static int fetch(struct logread *r, uint64_t from, uint32_t count,
                 struct caller_reply *out_reply)
{
    scoped(writer_fini) struct writer ask;

    writer_init(&ask);
    writer_u64(&ask, from);
    writer_u32(&ask, count);
    if (r->needs_proof)
        add_proof(r, from, count, &ask);
    else
        writer_lp(&ask, (struct view){ 0 });
    if (!writer_ok(&ask))
        return -ENOMEM;
    return client_ask(r->client, MSG_AUDIT_FETCH, writer_done(&ask), -1, AUDIT_TIMEOUT_MS,
                      out_reply);
}

/* Root reads all; others need a patient's signature and see that patient's records. */
static int fetch_allowed(struct logread *r, uint64_t from, uint32_t count,
                         struct caller_reply *out_reply)
{
    int rc = fetch(r, from, count, out_reply);

    if (rc != PHR_E_RIGHTS && rc != -EPERM && rc != -EACCES)
        return rc;
    if (!r->viewer || r->viewer->card.role != CARD_OWNER || r->needs_proof)
        return client_fail(r->client, PHR_E_RIGHTS,
                           "the log is for root, and for patients with "
                           "--as and their own keyring");
    r->needs_proof = true;
    return fetch(r, from, count, out_reply);
}

static int read_page(struct logread *r, uint64_t from, uint32_t count, uint64_t *out_size,
                     uint32_t *out_rows)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    struct reader in;
    uint32_t rows;
    int rc = fetch_allowed(r, from, count, &reply);

    if (rc < 0)
        return rc;
    in = reader_over(view_of(reply.bytes, reply.n));
    *out_size = reader_u64(&in);
    rows = reader_u32(&in);
    for (uint32_t i = 0; i < rows && rc == 0; i++) {
        struct auditlog_row row;

        rc = auditlog_row_decode(&in, &row);
        if (rc == 0)
            rc = r->on_row(r->user, &row);
    }
    if (rc == 0 && !reader_done(&in))
        rc = PHR_E_PROTOCOL;
    *out_rows = rows;
    return rc;
}

/* The server cannot open one of these: which one? */
static int find_sealed(struct logread *r, uint64_t from, uint64_t end,
                       uint64_t *out_index)
{
    for (uint64_t at = from; at < end && at < from + PAGE_ROWS; at++) {
        scoped(caller_reply_fini) struct caller_reply reply = { 0 };
        int rc = fetch_allowed(r, at, 1, &reply);

        if (rc == PHR_E_SEAL || rc == PHR_E_AUDIT_BROKEN) {
            *out_index = at;
            return 0;
        }
        if (rc < 0)
            return rc;
    }
    return -ENOENT;
}

/* Rows 0..end-1 (end 0: as many as there are when the first page is read). */
int logread_all(struct logread *r, uint64_t end, uint64_t *out_bad_index)
{
    uint64_t at = 0;
    uint64_t size = end;
    uint32_t rows = 0;
    int rc = 0;

    *out_bad_index = UINT64_MAX;
    do {
        const uint64_t left = end ? end - at : PAGE_ROWS;
        uint64_t now_size = 0;

        rc = read_page(r, at, left < PAGE_ROWS ? (uint32_t)left : PAGE_ROWS, &now_size,
                       &rows);
        if (rc == PHR_E_SEAL || rc == PHR_E_AUDIT_BROKEN) {
            if (find_sealed(r, at, end ? end : UINT64_MAX, out_bad_index) == 0)
                rc = PHR_E_AUDIT_BROKEN;
            return rc;
        }
        if (end == 0) {
            end = now_size;
            size = now_size;
        }
        at += rows;
        client_progress(r->client, "log", at, size);
    } while (rc == 0 && rows > 0 && at < end);
    return rc;
}
