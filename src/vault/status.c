/* What a vault says about itself: status, sync, check. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "crypto/digest.h"
#include "ipc/caller.h"
#include "vault/names.h"
#include "vault/node_top.h"
#include "vault/nsdb_ledger.h"
#include "vault/nsdb_outbox.h"
#include "vault/worker.h"

static void text_f(struct writer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void text_f(struct writer *out, const char *format, ...)
{
    char line[512];
    va_list ap;

    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    writer_text(out, line);
}

/* A JSON string; control characters and what is no ASCII as \u00XX of its bytes would lie: UTF-8 goes as it is. */
static void text_json(struct writer *out, struct view s)
{
    writer_u8(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\') {
            writer_u8(out, '\\');
            writer_u8(out, s.p[i]);
        } else if (s.p[i] < 0x20 || s.p[i] == 0x7f) {
            text_f(out, "\\u%04x", s.p[i]);
        } else {
            writer_u8(out, s.p[i]);
        }
    }
    writer_u8(out, '"');
}

static void text_id(struct writer *out, const struct id16 *id)
{
    char hex[33];

    hex_encode(id->b, sizeof id->b, hex);
    text_f(out, "\"%s\"", hex);
}

static void add_session(struct vault *v, struct writer *out, const struct session *s)
{
    uint64_t now = clock_boottime_ms();
    bool first = true;

    writer_text(out, "{\"uid\":");
    if (s->uid == VAULT_UID_ANY)
        writer_text(out, "null");
    else
        text_f(out, "%u", s->uid);
    writer_text(out, ",\"user\":");
    text_id(out, &s->id->user);
    text_f(out, ",\"label\":\"%s\",\"purpose\":\"%s\",\"compartments\":[", s->id->card.label,
           s->purpose == PURPOSE_ANY ? "ANY" : purpose_name(s->purpose));
    for (const struct class_key *k = s->id->classes; k; k = k->next) {
        char name[NAME_BYTES_MAX + 1] = "";

        if (!k->is_current)
            continue;
        if (!first)
            writer_u8(out, ',');
        first = false;
        writer_text(out, "{\"patient_id\":");
        text_id(out, &k->ctx.patient);
        writer_text(out, ",\"compartment_id\":");
        text_id(out, &k->ctx.class_id);
        if (k->has_rows)
            node_top_name(v, k, true, name);
        writer_text(out, ",\"patient\":");
        text_json(out, view_text(name));
        writer_text(out, ",\"compartment\":");
        text_json(out, view_text(k->name));
        text_f(out, ",\"epoch\":%u,\"rights\":\"%s\",\"names\":%s", k->ctx.epoch,
               k->is_owner ? "owner" : k->rights == GRANT_RW ? "rw" : "r",
               k->has_rows ? "true" : "false");
        if (!k->is_owner && k->lease_end_ms > now)
            text_f(out, ",\"lease_s\":%llu", (unsigned long long)((k->lease_end_ms - now) / 1000));
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
    size_t dirty_count = 0;
    int rc = nsdb_outbox_count(v->db, &b.ops, &b.parked);

    if (rc == 0)
        rc = nsdb_parked_count(v->db, &parked_rows);
    if (rc == 0)
        rc = nsdb_inode_list_dirty(v->db, dirty, 1, &dirty_count);
    if (rc < 0)
        return rc;
    contents_count(v->contents, &b.unsealed, &b.objects, &parked_objects);
    b.ops += (uint32_t)dirty_count;
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
    text_f(&out, "{\"mount\":{\"ownership\":\"%s\",\"read_only\":%s,\"phrd\":%s,",
           v->opts.ownership == VAULT_OWNERSHIP_GRANTS ? "grants" : "stored",
           v->opts.is_read_only ? "true" : "false",
           v->link && link_is_up(v->link) ? "true" : "false");
    writer_text(&out, "\"host\":");
    text_id(&out, &v->host);
    text_f(&out, ",\"pending_ops\":%u,\"unsealed_files\":%u,\"objects_waiting\":%u,\"parked\":%u,",
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

        if (nsdb_patient_get(v->db, &patient, &seq, &leaf) < 0)
            continue;
        writer_text(&out, first ? "{\"patient_id\":" : ",{\"patient_id\":");
        first = false;
        text_id(&out, &patient);
        text_f(&out, ",\"seq\":%llu}", (unsigned long long)seq);
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

        nsdb_lock(v->db);
        rc = touch_flush(v, NULL, false);
        if (rc == 0)
            rc = names_sign_dirty(v, NULL);
        nsdb_unlock(v->db);
        if (rc < 0)
            return rc;
        contents_seal_all(v->contents);
        worker_push_now(v);
        rc = backlog_of(v, out_left);
        if (rc < 0)
            return rc;
        if ((out_left->ops == 0 && out_left->unsealed == 0 && out_left->objects == 0) || now >= end)
            return 0;
        worker_wait_round(v, end - now < 100 ? (uint32_t)(end - now) : 100);
    }
}

/* ---- check ---- */

struct check {
    struct vault *v;
    struct writer out;
    uint64_t damaged;
};

/* Path of a node as a logged-in identity knows it; empty when nobody does. */
static void path_of(struct vault *v, uint64_t nodeid, char *out, size_t room)
{
    char part[NAME_BYTES_MAX * 2 + 8];
    struct name_inode inode;
    struct class_key *k = NULL;
    struct nsdb_stmt s;
    size_t depth = 0;

    out[0] = '\0';
    if (nsdb_inode_get(v->db, nodeid, &s, &inode) < 0)
        return;
    nsdb_end(&s);
    while (inode.kind == NODE_BELOW && depth++ < 256) {
        struct name_dentry row;
        struct dentry d;
        int rc = nsdb_dentry_of(v->db, &inode.ino, &s, &row);
        size_t n;

        if (rc == 0) {
            rc = names_open_dentry(v, &row, &d);
            nsdb_end(&s);
        }
        if (rc < 0)
            break;
        n = strlen(out);
        if (n + d.name_bytes + 2 > room)
            break;
        memmove(out + d.name_bytes + 1, out, n + 1);
        out[0] = '/';
        memcpy(out + 1, d.name, d.name_bytes);
        if (nsdb_inode_find(v->db, &row.parent, &s, &inode) < 0)
            break;
        nsdb_end(&s);
    }
    if (inode.kind == NODE_CLASS)
        k = session_class_any(v, &inode.class_id);
    if (!k) {
        out[0] = '\0';
        return;
    }
    snprintf(part, sizeof part, "%s/%s", k->patient_name, k->name);
    if (strlen(part) + strlen(out) + 1 < room) {
        memmove(out + strlen(part), out, strlen(out) + 1);
        memcpy(out, part, strlen(part));
    }
}

static void on_damage(void *user, uint64_t nodeid, uint64_t block, int rc)
{
    struct check *c = user;
    struct name_inode inode = { 0 };
    struct nsdb_stmt s;
    char path[4096];

    nsdb_lock(c->v->db);
    path_of(c->v, nodeid, path, sizeof path);
    if (nsdb_inode_get(c->v->db, nodeid, &s, &inode) == 0)
        nsdb_end(&s);
    nsdb_unlock(c->v->db);
    if (c->damaged++ > 0)
        writer_u8(&c->out, ',');
    writer_text(&c->out, "{\"file_id\":");
    text_id(&c->out, &inode.ino);
    writer_text(&c->out, ",\"path\":");
    if (path[0])
        text_json(&c->out, view_text(path));
    else
        writer_text(&c->out, "null");
    text_f(&c->out, ",\"block\":%llu,\"reason\":\"%s\"}", (unsigned long long)block,
           phr_err_name(rc));
}

static void on_progress(void *user, uint64_t done, uint64_t all)
{
    (void)user;
    (void)done;
    (void)all;
}

int vault_check(struct vault *v, char **out_json)
{
    struct check c = { .v = v };
    size_t n;
    int rc;

    writer_init(&c.out);
    writer_text(&c.out, "{\"damaged\":[");
    rc = contents_check(v->contents, on_damage, on_progress, &c);
    text_f(&c.out, "],\"count\":%llu}", (unsigned long long)c.damaged);
    writer_u8(&c.out, '\0');
    if (rc < 0) {
        writer_fini(&c.out);
        return rc;
    }
    *out_json = (char *)writer_take(&c.out, &n);
    return *out_json ? 0 : -ENOMEM;
}
