/*
 * Reading and proving the log. AUDIT-1: every record that is shown was checked against its leaf
 * first. AUDIT-2: a verification first takes the signed checkpoint, then the rows below it: the
 * log grows meanwhile, by our own reading of it if by nothing else.
 */
#include "phr/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "audit/auditcheck.h"
#include "base/hex.h"
#include "client/logread.h"
#include "client/whois.h"
#include "crypto/digest.h"

enum {
    MERGE_S = 5,     /* accesses of one kind closer than this are one row */
    MERGE_BACK = 64, /* how many rows back a like one is looked for */
    PROGRAM_BYTES = 64,
    REASON_BYTES = 256,
    AUDIT_TIMEOUT_MS = 60 * 1000
};

/* ---- showing ---- */

struct item {
    uint64_t index;
    uint64_t index_last;
    uint64_t last_s;
    uint32_t count;
    struct event e; /* program and reason are the two below */
    char program[PROGRAM_BYTES];
    char reason[REASON_BYTES];
};

struct showing {
    const struct phr_audit_wish *wish;
    struct whois *whois;
    enum event_type op; /* 0: all */
    struct item *items;
    size_t count;
    size_t room;
};

static bool matches_name(const struct whois *w, const struct id16 *id, const char *wanted)
{
    char name[WHOIS_NAME_BYTES];
    char hex[33];

    if (!wanted)
        return true;
    whois_user(w, id, name);
    hex_encode(id->b, sizeof id->b, hex);
    return strcmp(name, wanted) == 0 || strcmp(hex, wanted) == 0;
}

static bool is_wanted(const struct showing *s, const struct event *e)
{
    const struct phr_audit_wish *w = s->wish;

    return matches_name(s->whois, &e->user, w->who) &&
           matches_name(s->whois, &e->patient, w->patient) &&
           (s->op == 0 || s->op == e->type) && e->time_s >= w->since_s &&
           (w->until_s == 0 || e->time_s <= w->until_s) &&
           (w->outcome == PHR_AUDIT_ANY ||
            (w->outcome == PHR_AUDIT_OK) == (e->outcome == 0));
}

/* What a program does to many files at a time; grants, revocations, logins stand alone. */
static bool is_access(enum event_type t)
{
    return (t >= EVENT_OPEN && t <= EVENT_DENIED) || t == EVENT_EXPORT;
}

static bool is_like(const struct item *a, const struct item *b)
{
    return is_access(a->e.type) && a->e.type == b->e.type &&
           a->e.outcome == b->e.outcome && a->e.uid == b->e.uid &&
           a->e.purpose == b->e.purpose && id_equal(&a->e.user, &b->e.user) &&
           id_equal(&a->e.host, &b->e.host) && id_equal(&a->e.patient, &b->e.patient) &&
           id_equal(&a->e.class_id, &b->e.class_id) &&
           strcmp(a->program, b->program) == 0 && strcmp(a->reason, b->reason) == 0 &&
           b->e.time_s <= a->last_s + MERGE_S && b->e.time_s + MERGE_S >= a->last_s;
}

static bool merge(struct showing *s, const struct item *item)
{
    for (size_t back = 1; back <= s->count && back <= MERGE_BACK; back++) {
        struct item *other = &s->items[s->count - back];

        if (!is_like(other, item))
            continue;
        other->count++;
        other->index_last = item->index;
        if (item->e.time_s > other->last_s)
            other->last_s = item->e.time_s;
        if (!id_equal(&other->e.file, &item->e.file))
            other->e.file = (struct id16){ 0 }; /* several */
        return true;
    }
    return false;
}

/* Control characters of a program's name or a typed reason do not reach a terminal. */
static void copy_text(struct view from, char *out, size_t room)
{
    size_t n = from.n < room - 1 ? from.n : room - 1;

    for (size_t i = 0; i < n; i++)
        out[i] = from.p[i] < 0x20 || from.p[i] == 0x7f ? '?' : (char)from.p[i];
    out[n] = '\0';
}

static int keep(struct showing *s, const struct item *item)
{
    if (!s->wish->is_raw && merge(s, item))
        return 0;
    if (s->count == s->room) {
        size_t room = s->room ? s->room * 2 : 256;
        struct item *bigger = reallocarray(s->items, room, sizeof *bigger);

        if (!bigger)
            return -ENOMEM;
        s->items = bigger;
        s->room = room;
    }
    s->items[s->count++] = *item;
    return 0;
}

static int on_shown_row(void *user, const struct auditlog_row *row)
{
    struct showing *s = user;
    struct item item = { .index = row->index, .index_last = row->index, .count = 1 };
    struct audit_entry entry;
    struct digest commitment;
    int rc;

    if (row->record.n == 0)
        return 0; /* another patient's */
    rc = audit_entry_decode(view_of(row->entry, sizeof row->entry), &entry);
    if (rc < 0)
        return PHR_E_AUDIT_BROKEN;
    commitment = audit_commitment(row->salt, row->record);
    if (!digest_equal(&commitment, &entry.commitment))
        return PHR_E_AUDIT_BROKEN; /* AUDIT-1 */
    rc = event_decode(row->record, &item.e);
    if (rc < 0)
        return rc;
    if (!is_wanted(s, &item.e))
        return 0;
    copy_text(item.e.program, item.program, sizeof item.program);
    copy_text(item.e.reason, item.reason, sizeof item.reason);
    item.e.program = (struct view){ 0 };
    item.e.reason = (struct view){ 0 };
    item.last_s = item.e.time_s;
    return keep(s, &item);
}

static void fill_row(const struct showing *s, const struct item *i,
                     struct phr_audit_row *out)
{
    char name[WHOIS_NAME_BYTES];
    time_t at = (time_t)i->e.time_s;
    struct tm tm;

    *out = (struct phr_audit_row){
        .index = i->index,
        .index_last = i->index_last,
        .time_s = i->e.time_s,
        .op = event_name(i->e.type),
        .outcome = i->e.outcome,
        .outcome_text = i->e.outcome ? phr_err_text(i->e.outcome) : "ok",
        .uid = i->e.uid,
        .purpose = i->e.purpose == PURPOSE_ANY ? "" : purpose_name(i->e.purpose),
        .count = i->count
    };
    if (gmtime_r(&at, &tm))
        ignored(strftime(out->time, sizeof out->time, "%Y-%m-%dT%H:%M:%SZ", &tm));
    whois_user(s->whois, &i->e.user, name);
    ignored(snprintf(out->who, sizeof out->who, "%.64s", name));
    whois_user(s->whois, &i->e.patient, out->patient);
    whois_class(s->whois, &i->e.patient, &i->e.class_id, out->compartment);
    memcpy(out->program, i->program, sizeof out->program);
    memcpy(out->reason, i->reason, sizeof out->reason);
    if (!id_is_zero(&i->e.host))
        hex_encode(i->e.host.b, sizeof i->e.host.b, out->host);
    if (!id_is_zero(&i->e.file))
        hex_encode(i->e.file.b, sizeof i->e.file.b, out->file);
    if (!id_is_zero(&i->e.grant))
        hex_encode(i->e.grant.b, sizeof i->e.grant.b, out->grant);
}

int phr_audit_each(struct phr_client *c, const struct phr_audit_wish *wish,
                   int (*on_row)(void *user, const struct phr_audit_row *row), void *user)
{
    scoped(whois_free) struct whois *whois = NULL;
    struct showing s = { .wish = wish };
    struct logread r = {
        .client = c, .viewer = wish->viewer, .on_row = on_shown_row, .user = &s
    };
    uint64_t bad = UINT64_MAX;
    int rc;

    c->why[0] = '\0';
    if (wish->op && event_parse(wish->op, &s.op) < 0)
        return client_fail(c, PHR_E_USAGE, "'%s' is not an operation of the log",
                           wish->op);
    rc = whois_new(c, wish->viewer, &whois);
    s.whois = whois;
    if (rc == 0)
        rc = logread_all(&r, 0, &bad);
    for (size_t i = wish->limit && wish->limit < s.count ? s.count - (size_t)wish->limit
                                                         : 0;
         rc == 0 && i < s.count; i++) {
        struct phr_audit_row row;

        fill_row(&s, &s.items[i], &row);
        rc = on_row(user, &row);
    }
    free(s.items);
    if (rc == PHR_E_AUDIT_BROKEN)
        return client_fail(c, rc,
                           "the log does not verify; 'phr audit verify' says where");
    return rc < 0 && !c->why[0] ? client_fail_plain(c, rc, "the log") : rc;
}

/* ---- proving ---- */

static int find_srs_key(struct phr_client *c, const struct phr_identity *viewer,
                        struct verify_key *out)
{
    scoped(writer_fini) struct writer authority_bytes;
    scoped(writer_fini) struct writer srs_bytes;
    struct card authority;
    struct card srs;
    int rc;

    writer_init(&authority_bytes);
    writer_init(&srs_bytes);
    if (viewer) {
        *out = viewer->srs.ed;
        return 0;
    }
    rc = client_load_authority(c, &authority_bytes, &authority);
    if (rc == 0)
        rc = client_load_card(c, "srs.card", &authority.ed, &srs_bytes, &srs);
    if (rc == 0)
        *out = srs.ed;
    return rc;
}

static int fetch_head(struct phr_client *c, const struct verify_key *srs,
                      struct checkpoint *out)
{
    scoped(caller_reply_fini) struct caller_reply reply = { 0 };
    struct reader in;
    struct view note;
    int rc =
        client_ask(c, MSG_AUDIT_HEAD, (struct view){ 0 }, -1, AUDIT_TIMEOUT_MS, &reply);

    if (rc < 0)
        return rc;
    in = reader_over(view_of(reply.bytes, reply.n));
    note = reader_lp(&in, reply.n);
    if (!reader_done(&in))
        return PHR_E_PROTOCOL;
    rc = checkpoint_check(note, srs, out);
    return rc < 0 ? client_fail(c, rc,
                                "the log's checkpoint is not signed by the server that "
                                "this realm trusts")
                  : 0;
}

static int on_checked_row(void *user, const struct auditlog_row *row)
{
    int rc = auditcheck_row(user, row);

    return rc == PHR_E_AUDIT_BROKEN
               ? 0
               : rc; /* it remembers the first fault; the root may say more */
}

/* The zero patient's pin is the log's: size and root. */
static const struct keyring_pin *find_log_pin(const struct phr_identity *viewer)
{
    for (size_t i = 0; viewer && i < viewer->ring->pin_count; i++) {
        if (id_is_zero(&viewer->ring->pins[i].patient))
            return &viewer->ring->pins[i];
    }
    return NULL;
}

static int check_heads(struct phr_client *c, struct auditcheck *check,
                       const struct checkpoint *head, const struct keyring_pin *pin)
{
    int rc = 0;

    if (pin && pin->seq > head->size)
        return client_fail(c, PHR_E_ROLLBACK,
                           "the log has %" PRIu64 " records, but this keyring has seen a "
                           "signed log of %" PRIu64,
                           head->size, pin->seq);
    if (pin) {
        struct checkpoint seen = { .size = pin->seq, .root = pin->leaf };

        rc = auditcheck_checkpoint(check, &seen);
    }
    return rc < 0 ? rc : auditcheck_checkpoint(check, head);
}

static const char *fault_text(enum auditcheck_fault fault)
{
    switch (fault) {
    case AUDITCHECK_ORDER:
        return "records are missing or out of order";
    case AUDITCHECK_ENTRY:
        return "not a log entry";
    case AUDITCHECK_LEAF:
        return "the entry is not the one that the tree holds";
    case AUDITCHECK_COMMITMENT:
        return "the record is not the one that was logged";
    case AUDITCHECK_ROOT:
        return "a record from here on differs from what the server signed";
    case AUDITCHECK_SHORT:
        return "records at the end are missing";
    case AUDITCHECK_NONE:
        break;
    }
    return "no fault";
}

static int report(struct phr_client *c, const struct auditcheck *check,
                  uint64_t unsealable, struct phr_audit_proof *out)
{
    const struct auditcheck_report r = auditcheck_get_report(check);

    out->record_count = r.record_count;
    if (unsealable != UINT64_MAX &&
        (r.fault == AUDITCHECK_NONE || unsealable < r.bad_index)) {
        out->bad_index = unsealable;
        out->has_bad_index = true;
        return client_fail(c, PHR_E_AUDIT_BROKEN,
                           "record %" PRIu64 " does not open any more: it was changed",
                           unsealable);
    }
    if (r.fault == AUDITCHECK_NONE)
        return 0;
    out->bad_index = r.bad_index;
    out->has_bad_index = true;
    return client_fail(c, PHR_E_AUDIT_BROKEN, "record %" PRIu64 ": %s", r.bad_index,
                       fault_text(r.fault));
}

static int verify_below(struct phr_client *c, struct phr_identity *viewer,
                        const struct checkpoint *head, struct phr_audit_proof *out_proof)
{
    scoped(auditcheck_free) struct auditcheck *check = NULL;
    const struct keyring_pin *pin = find_log_pin(viewer);
    struct logread r = { .client = c, .viewer = viewer, .on_row = on_checked_row };
    uint64_t unsealable = UINT64_MAX;
    int rc = auditcheck_new(&check);

    r.user = check;
    out_proof->pinned_size = pin ? pin->seq : 0;
    if (rc == 0 && head->size > 0)
        rc = logread_all(&r, head->size, &unsealable); /* AUDIT-2 */
    if (rc == 0)
        rc = check_heads(c, check, head, pin);
    if (rc < 0 && rc != PHR_E_AUDIT_BROKEN)
        return rc;
    return report(c, check, unsealable, out_proof);
}

int phr_audit_verify(struct phr_client *c, struct phr_identity *viewer,
                     struct phr_audit_proof *out_proof)
{
    struct checkpoint head;
    struct verify_key srs;
    int rc;

    *out_proof = (struct phr_audit_proof){ 0 };
    c->why[0] = '\0';
    rc = find_srs_key(c, viewer, &srs);
    if (rc == 0)
        rc = fetch_head(c, &srs, &head);
    if (rc == 0) {
        out_proof->size = head.size;
        hex_encode(head.root.b, sizeof head.root.b, out_proof->root);
        rc = verify_below(c, viewer, &head, out_proof);
    }
    if (rc == 0 && viewer) {
        const struct keyring_pin pin = { .seq = head.size, .leaf = head.root };

        rc = keyring_pin(viewer->ring, &pin);
        viewer->is_changed = viewer->is_changed || rc == 0;
    }
    return rc < 0 && !c->why[0] ? client_fail_plain(c, rc, "the log") : rc;
}
