/*
 * Reading everything that is stored here, a step at a time: database, ledgers against the pins of
 * who is logged in, objects on their way, then every node: row, names, header, contents.
 *
 * CHECK-1  A step ends after its time, and what was found and how far it came are rows by then
 *          (nsdb_damage.c). Nobody waits for a whole check but who asked for it.
 * CHECK-2  What nobody here holds keys for is checked as far as that goes without: hashes of
 *          sealed segments, and that rows can be parsed.
 * CHECK-3  Repaired is what reads well afterwards, and nothing else is called so.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/digest.h"
#include "vault/jsontext.h"
#include "vault/names.h"
#include "vault/nsdb_damage.h"
#include "vault/nsdb_ledger.h"
#include "vault/worker.h"

enum { NODES_AT_A_TIME = 32, RUNS_MAX = 64, CURSOR_MS_MAX = 24 * 3600 * 1000, TOLD_AT_A_TIME = 64,
       TOLD_BYTES_MAX = 3 * 1024 * 1024 /* of an answer; the counts are true all the same */ };

/* What is wrong with one node. */
struct found {
    uint64_t nodeid;
    struct damage_row rows[RUNS_MAX];
    size_t count;
};

static int check_whole(struct vault *v);
static int check_node(struct vault *v, uint64_t nodeid, bool repairs);
static int tell(struct vault *v, const struct damage_cursor *at, bool is_finished, char **out_json);

static void found_add(struct found *f, enum damage_what what, uint64_t first, uint64_t count, int rc)
{
    struct damage_row *last = f->count > 0 ? &f->rows[f->count - 1] : NULL;

    if (last && last->what == what && what == DAMAGE_BLOCKS && last->first + last->count == first &&
        last->reason == rc) {
        last->count += count;
        return;
    }
    if (f->count == RUNS_MAX) { /* the run grows over what is whole: more than this is no list */
        last->count = what == last->what ? first + count - last->first : last->count;
        return;
    }
    f->rows[f->count++] = (struct damage_row){
        .nodeid = f->nodeid, .what = what, .first = first, .count = count, .reason = rc
    };
}

static int found_save(struct vault *v, const struct found *f)
{
    int rc = 0;

    if (f->count == 0)
        return 0;
    rc = nsdb_begin(v->db);
    if (rc < 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < f->count; i++)
        rc = nsdb_damage_put(v->db, &f->rows[i]);
    if (rc < 0)
        nsdb_rollback(v->db);
    else
        nsdb_commit_soon(v->db);
    return rc;
}

/* ---- steps ---- */

static int begin(struct vault *v, bool is_new, struct damage_cursor *out_at)
{
    uint64_t now_ms = clock_realtime_s() * 1000;
    int rc = is_new ? -ENOENT : nsdb_damage_get_cursor(v->db, out_at);

    if (rc == 0 && now_ms - out_at->started_ms < CURSOR_MS_MAX)
        return 0;
    *out_at = (struct damage_cursor){ .started_ms = now_ms };
    rc = nsdb_begin(v->db);
    if (rc < 0)
        return rc;
    rc = nsdb_damage_begin(v->db, true);
    if (rc < 0) {
        nsdb_rollback(v->db);
        return rc;
    }
    rc = nsdb_commit(v->db);
    return rc < 0 ? rc : check_whole(v);
}

static int save_cursor(struct vault *v, const struct damage_cursor *at, bool is_finished)
{
    int rc = nsdb_begin(v->db);

    if (rc < 0)
        return rc;
    rc = is_finished ? nsdb_damage_end(v->db) : nsdb_damage_put_cursor(v->db, at);
    if (rc < 0)
        nsdb_rollback(v->db);
    else
        nsdb_commit_soon(v->db);
    return rc;
}

int vault_check_step(struct vault *v, const struct vault_check *opts, bool *out_finished,
                     char **out_json)
{
    uint64_t end_ms = clock_boottime_ms() + opts->budget_ms;
    struct damage_cursor at;
    uint64_t nodeids[NODES_AT_A_TIME];
    size_t n = 1;
    int rc = begin(v, opts->is_new, &at);

    while (rc == 0 && n > 0 && clock_boottime_ms() < end_ms) {
        rc = nsdb_damage_nodes(v->db, at.after, nodeids, NODES_AT_A_TIME, &n);
        for (size_t i = 0; rc == 0 && i < n && clock_boottime_ms() < end_ms; i++) {
            rc = check_node(v, nodeids[i], opts->repairs);
            at.after = nodeids[i];
            at.done++;
        }
    }
    if (rc == 0)
        rc = save_cursor(v, &at, n == 0);
    if (rc == 0)
        rc = tell(v, &at, n == 0, out_json);
    if (rc == 0)
        *out_finished = n == 0;
    return rc;
}

int vault_check(struct vault *v, char **out_json)
{
    struct vault_check opts = { .is_new = true, .budget_ms = UINT32_MAX };
    bool is_finished;

    return vault_check_step(v, &opts, &is_finished, out_json);
}

/* ---- what concerns no single node ---- */

static void check_pins(struct vault *v, struct found *f)
{
    for (const struct identity *id = v->identities; id; id = id->next) {
        for (size_t i = 0; id->ring && i < id->ring->pin_count; i++) {
            const struct keyring_pin *pin = &id->ring->pins[i];
            struct digest leaf;
            uint64_t seq;
            int rc = nsdb_patient_get(v->db, &pin->patient, &seq, &leaf);

            if (rc == -ENOENT)
                continue; /* not fetched yet: nothing that could be older */
            if (rc == 0 && seq < pin->seq && !worker_is_behind(v, &pin->patient, seq))
                rc = PHR_E_ROLLBACK;
            if (rc == 0 && seq == pin->seq && !digest_equal(&leaf, &pin->leaf))
                rc = PHR_E_FORK;
            if (rc < 0)
                found_add(f, DAMAGE_LEDGER, f->count, 1, rc);
        }
    }
}

struct objects {
    struct vault *v;
    struct found *found;
};

/* A container that is not there can never be offered to the store. Its bytes: with its file. */
static int check_object(void *user, const struct object_row *row)
{
    struct objects *o = user;
    int rc = contents_has_container(o->v->contents, row->container);

    if (rc < 0) {
        o->found->nodeid = row->nodeid;
        found_add(o->found, DAMAGE_OBJECT, row->op_rowid, 1, rc);
    }
    return 0;
}

static int check_whole(struct vault *v)
{
    struct found f = { 0 };
    struct objects o = { v, &f };
    int rc = 0;

    for (size_t place = 0; rc != -ENOENT; place++) {
        rc = nsdb_damage_table(v->db, place);
        if (rc < 0 && rc != -ENOENT)
            found_add(&f, DAMAGE_DATABASE, place, 1, rc);
    }
    nsdb_lock(v->db);
    check_pins(v, &f);
    rc = nsdb_object_each(v->db, check_object, &o);
    nsdb_unlock(v->db);
    return rc < 0 ? rc : found_save(v, &f);
}

/* ---- a node ---- */

/* The owner's key opens every header of his compartments; without it parsing must do. */
static bool has_owner(struct vault *v, const struct class_ctx *ctx)
{
    for (struct identity *id = v->identities; id; id = id->next) {
        const struct class_key *k = session_class_epoch(id, ctx);

        if (k && k->a)
            return true;
    }
    return false;
}

/* Names lock held. */
static void check_header(struct vault *v, const struct name_inode *inode, struct found *f)
{
    struct key_set *keys = NULL;
    struct name_header row;
    struct nsdb_stmt s;
    struct header h;
    int rc = nsdb_header_get(v->db, &inode->ino, &s, &row);

    if (rc == -ENOENT)
        return; /* not every kind of node has one */
    if (rc == 0) {
        rc = header_decode(row.bytes, &h);
        if (rc == 0 && !id_equal(&h.ctx.file, &inode->ino))
            rc = PHR_E_FORMAT;
        nsdb_end(&s);
    }
    if (rc == 0) {
        rc = access_keys_local(v, inode->nodeid, &keys);
        if (rc == PHR_E_LOCKED)
            rc = has_owner(v, &h.ctx.class_ctx) ? PHR_E_SEAL : 0;
        key_set_release(keys);
    }
    if (rc < 0)
        found_add(f, DAMAGE_HEADER, 0, 1, rc);
}

/* Names lock held. */
static void check_names(struct vault *v, const struct id16 *dir, struct found *f)
{
    struct name_dentry row;
    struct nsdb_stmt s;
    int rc;

    nsdb_dentry_scan(v->db, dir, 0, &s);
    while ((rc = nsdb_dentry_next(&s, &row)) > 0) {
        struct dentry d;
        int one = names_open_dentry(v, &row, &d);

        if (one < 0 && one != PHR_E_LOCKED)
            found_add(f, DAMAGE_NAME, row.cookie, 1, one);
    }
    nsdb_end(&s);
    if (rc < 0)
        found_add(f, DAMAGE_NAME, 0, 1, rc);
}

/* Rows; true: its contents are to be read. */
static bool check_rows(struct vault *v, struct found *f)
{
    scoped(names_fini) struct node n = { 0 };
    struct name_inode inode;
    bool has_contents = false;
    int rc;

    nsdb_lock(v->db);
    rc = names_row(v, f->nodeid, &inode);
    if (rc == 0 && inode.kind != NODE_ROOT && inode.kind != NODE_PATIENT) {
        rc = names_load(v, f->nodeid, &n);
        if (rc < 0 && rc != PHR_E_LOCKED && rc != -ESTALE)
            found_add(f, DAMAGE_ROW, 0, 1, rc);
        if (!inode.is_gone)
            check_header(v, &inode, f);
        if (rc == 0 && names_is_dir(&n))
            check_names(v, &inode.ino, f);
        has_contents = rc < 0 || !names_is_dir(&n);
    }
    nsdb_unlock(v->db);
    return has_contents;
}

static void on_damage(void *user, uint64_t nodeid, uint64_t first, uint64_t count, int rc)
{
    (void)nodeid;
    found_add(user, count > 0 ? DAMAGE_BLOCKS : DAMAGE_FOOTER, first, count, rc);
}

/* What was found before and is not found any more was repaired. */
static void note_repaired(struct found *before, const struct found *after)
{
    for (size_t i = 0; i < before->count; i++) {
        struct damage_row *b = &before->rows[i];
        bool is_there = false;

        for (size_t k = 0; k < after->count; k++) {
            const struct damage_row *a = &after->rows[k];

            is_there = is_there || (a->what == b->what && a->first < b->first + b->count + 1 &&
                                    b->first < a->first + a->count + 1);
        }
        b->is_repaired = !is_there && (b->what == DAMAGE_BLOCKS || b->what == DAMAGE_FOOTER);
    }
}

static int check_node(struct vault *v, uint64_t nodeid, bool repairs)
{
    struct found f = { .nodeid = nodeid };
    bool has_contents = check_rows(v, &f);
    size_t rows = f.count;
    int rc = has_contents ? contents_check_node(v->contents, nodeid, on_damage, &f) : 0;

    if (rc == 0 && repairs && f.count > rows) {
        struct found again = { .nodeid = nodeid };

        contents_repair(v->contents, nodeid);
        rc = contents_check_node(v->contents, nodeid, on_damage, &again);
        if (rc == 0)
            note_repaired(&f, &again);
    }
    if (rc == -ENOENT || rc == -ESTALE)
        rc = 0; /* deleted meanwhile */
    return rc < 0 ? rc : found_save(v, &f);
}

/* ---- the answer ---- */

/* Path of a node as a logged-in identity knows it; empty when nobody does. Names lock held. */
static void path_of(struct vault *v, uint64_t nodeid, struct id16 *out_ino, char *out, size_t room)
{
    char part[NAME_BYTES_MAX * 2 + 8];
    struct name_inode inode = { 0 };
    struct class_key *k = NULL;
    struct nsdb_stmt s;
    size_t depth = 0;

    out[0] = '\0';
    *out_ino = (struct id16){ { 0 } };
    if (names_row(v, nodeid, &inode) < 0)
        return;
    *out_ino = inode.ino;
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
        if (names_row_ino(v, &row.parent, &inode) < 0)
            break;
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

static void tell_row(struct vault *v, const struct damage_row *row, struct writer *out)
{
    static const char *const words[] = { "",     "blocks", "footer", "header",  "row",
                                         "name", "object", "ledger", "database" };
    char path[4096];
    struct id16 ino;

    nsdb_lock(v->db);
    path_of(v, row->nodeid, &ino, path, sizeof path);
    nsdb_unlock(v->db);
    jsontext_f(out, "{\"what\":\"%s\",\"file_id\":", words[row->what]);
    jsontext_id(out, &ino);
    writer_text(out, ",\"path\":");
    if (path[0])
        jsontext_string(out, view_text(path));
    else
        writer_text(out, "null");
    if (row->what == DAMAGE_BLOCKS || row->what == DAMAGE_FOOTER)
        jsontext_f(out, ",\"block\":%llu", (unsigned long long)row->first);
    if (row->what == DAMAGE_BLOCKS)
        jsontext_f(out, ",\"blocks\":%llu", (unsigned long long)row->count);
    jsontext_f(out, ",\"reason\":\"%s\",\"repaired\":%s}", phr_err_name(row->reason),
               row->is_repaired ? "true" : "false");
}

static int tell_found(struct vault *v, struct writer *out)
{
    struct damage_row rows[TOLD_AT_A_TIME];
    struct damage_row after = { 0 };
    uint64_t count = 0;
    uint64_t repaired = 0;
    size_t n = 0;

    writer_text(out, ",\"damaged\":[");
    do {
        int rc = nsdb_damage_list(v->db, &after, rows, TOLD_AT_A_TIME, &n);

        if (rc < 0)
            return rc;
        for (size_t i = 0; i < n; i++) {
            if (out->n < TOLD_BYTES_MAX) {
                if (count + repaired > 0)
                    writer_u8(out, ',');
                tell_row(v, &rows[i], out);
            }
            count += !rows[i].is_repaired;
            repaired += rows[i].is_repaired;
            after = rows[i];
        }
    } while (n == TOLD_AT_A_TIME);
    jsontext_f(out, "],\"count\":%llu,\"repaired\":%llu", (unsigned long long)count,
               (unsigned long long)repaired);
    if (nsdb_kept_logs(v->db) > 0)
        jsontext_f(out, ",\"kept_logs\":%u", nsdb_kept_logs(v->db));
    return 0;
}

static int tell(struct vault *v, const struct damage_cursor *at, bool is_finished, char **out_json)
{
    struct writer out;
    uint64_t all = 0;
    size_t n;
    int rc = nsdb_damage_count_nodes(v->db, &all);

    if (rc < 0)
        return rc;
    writer_init(&out);
    jsontext_f(&out, "{\"finished\":%s,\"done\":%llu,\"all\":%llu", is_finished ? "true" : "false",
               (unsigned long long)at->done, (unsigned long long)(all > at->done ? all : at->done));
    rc = is_finished ? tell_found(v, &out) : 0;
    writer_u8(&out, '}');
    writer_u8(&out, '\0');
    if (rc < 0) {
        writer_fini(&out);
        return rc;
    }
    *out_json = (char *)writer_take(&out, &n);
    return *out_json ? 0 : -ENOMEM;
}
