/* What a vault says about itself: status, sync. */
#include <string.h>

#include "base/clock.h"
#include "crypto/digest.h"
#include "ipc/caller.h"
#include "vault/jsontext.h"
#include "vault/names.h"
#include "vault/node_top.h"
#include "vault/nsdb_ledger.h"
#include "vault/nsdb_opdraft.h"
#include "vault/nsdb_outbox.h"
#include "vault/worker.h"

static void add_session(struct vault *v, struct writer *out, const struct session *s)
{
    uint64_t now = clock_boottime_ms();
    bool first = true;

    writer_text(out, "{\"uid\":");
    if (s->uid == VAULT_UID_ANY)
        writer_text(out, "null");
    else
        jsontext_f(out, "%u", s->uid);
    writer_text(out, ",\"user\":");
    jsontext_id(out, &s->id->user);
    jsontext_f(out, ",\"label\":\"%s\",\"purpose\":\"%s\",\"compartments\":[", s->id->card.label,
           s->purpose == PURPOSE_ANY ? "ANY" : purpose_name(s->purpose));
    for (const struct class_key *k = s->id->classes; k; k = k->next) {
        char name[NAME_BYTES_MAX + 1] = "";

        if (!k->is_current)
            continue;
        if (!first)
            writer_u8(out, ',');
        first = false;
        writer_text(out, "{\"patient_id\":");
        jsontext_id(out, &k->ctx.patient);
        writer_text(out, ",\"compartment_id\":");
        jsontext_id(out, &k->ctx.class_id);
        if (k->has_rows)
            node_top_name(v, k, true, name);
        writer_text(out, ",\"patient\":");
        jsontext_string(out, view_text(name));
        writer_text(out, ",\"compartment\":");
        jsontext_string(out, view_text(k->name));
        jsontext_f(out, ",\"epoch\":%u,\"rights\":\"%s\",\"names\":%s", k->ctx.epoch,
               k->is_owner ? "owner" : k->rights == GRANT_RW ? "rw" : "r",
               k->has_rows ? "true" : "false");
        if (!k->is_owner && k->lease_end_ms > now)
            jsontext_f(out, ",\"lease_s\":%llu", (unsigned long long)((k->lease_end_ms - now) / 1000));
        writer_u8(out, '}');
    }
    writer_text(out, "]}");
}

static int backlog_of(struct vault *v, struct vault_backlog *out)
{
    struct vault_backlog b = { 0 };
    uint64_t dirty[1];
    uint32_t parked_rows = 0;
    uint32_t parked_objects = 0;
    uint32_t drafts = 0;
    size_t dirty_count = 0;
    int rc = nsdb_outbox_count(v->db, &b.ops, &b.parked);

    if (rc == 0)
        rc = nsdb_opdraft_count(v->db, &drafts);
    if (rc == 0)
        rc = nsdb_parked_count(v->db, &parked_rows);
    if (rc == 0)
        rc = nsdb_inode_list_dirty(v->db, 0, dirty, 1, &dirty_count);
    if (rc < 0)
        return rc;
    contents_count(v->contents, &b.unsealed, &b.objects, &parked_objects);
    b.ops += drafts + (uint32_t)dirty_count;
    b.parked += parked_rows + parked_objects;
    *out = b;
    return 0;
}

char *vault_dup_status(struct vault *v, uint32_t uid)
{
    struct vault_backlog b = { 0 };
    struct writer out;
    bool is_first = true;
    size_t n;

    writer_init(&out);
    ignored(backlog_of(v, &b)); /* zeros where the database does not answer */
    jsontext_f(&out, "{\"mount\":{\"ownership\":\"%s\",\"read_only\":%s,\"phrd\":%s,",
           v->opts.ownership == VAULT_OWNERSHIP_GRANTS ? "grants" : "stored",
           vault_is_read_only(v) ? "true" : "false",
           v->link && link_is_up(v->link) ? "true" : "false");
    writer_text(&out, "\"host\":");
    jsontext_id(&out, &v->host);
    if (nsdb_kept_logs(v->db) > 0)
        jsontext_f(&out, ",\"kept_logs\":%u", nsdb_kept_logs(v->db));
    jsontext_f(&out, ",\"pending_ops\":%u,\"unsealed_files\":%u,\"objects_waiting\":%u,\"parked\":%u,",
           b.ops, b.unsealed, b.objects, b.parked);
    writer_text(&out, "\"sessions\":[");
    nsdb_lock(v->db);
    for (const struct session *s = v->sessions; s; s = s->next) {
        if (uid != VAULT_UID_ANY && uid != s->uid)
            continue; /* whose patients these are is nobody else's business */
        if (!is_first)
            writer_u8(&out, ',');
        is_first = false;
        add_session(v, &out, s);
    }
    nsdb_unlock(v->db);
    writer_text(&out, "],\"ledgers\":[");
    struct id16 patient = { { 0 } };
    bool first = true;

    while (nsdb_patient_next(v->db, &patient, &patient) == 0) {
        struct digest leaf;
        uint64_t seq = 0;
        int contradiction = worker_contradiction(v, &patient);

        if (nsdb_patient_get(v->db, &patient, &seq, &leaf) < 0)
            continue;
        writer_text(&out, first ? "{\"patient_id\":" : ",{\"patient_id\":");
        first = false;
        jsontext_id(&out, &patient);
        jsontext_f(&out, ",\"seq\":%llu", (unsigned long long)seq);
        if (contradiction != 0) {
            writer_text(&out, ",\"contradiction\":");
            jsontext_string(&out, view_text(phr_err_text(contradiction)));
        }
        writer_u8(&out, '}');
    }
    writer_text(&out, "]}}");
    writer_u8(&out, '\0');
    return (char *)writer_take(&out, &n);
}

int vault_sync(struct vault *v, uint32_t timeout_ms, struct vault_backlog *out_left)
{
    uint64_t end = clock_boottime_ms() + timeout_ms;
    int rc;

    for (;;) {
        uint64_t now = clock_boottime_ms();

        rc = touch_sign(v);
        if (rc < 0)
            return rc;
        contents_seal_all(v->contents);
        worker_push_now(v);
        rc = backlog_of(v, out_left);
        if (rc < 0)
            return rc;
        if (out_left->ops == 0 && out_left->unsealed == 0 && out_left->objects == 0)
            return nsdb_sync(v->db); /* what the ledger has must not be undone here by a power cut */
        if (now >= end)
            return 0;
        worker_wait_round(v, end - now < 100 ? (uint32_t)(end - now) : 100);
    }
}

unsigned vault_kept_logs(struct vault *v)
{
    return nsdb_kept_logs(v->db);
}
