/* Statements of namespace.db: cached by their address, bound, stepped, and noted for the redo log. */
#include "vault/nsdb_sql.h"

#include <string.h>

#include "base/checked.h"
#include "vault/nsdb_inside.h"

bool nsdb_is_change(const char *sql)
{
    return strncmp(sql, "INSERT ", 7) == 0 || strncmp(sql, "UPDATE ", 7) == 0 ||
           strncmp(sql, "DELETE ", 7) == 0;
}

static struct stmt_slot *find_slot(struct nsdb *db, const char *sql)
{
    size_t i = ((uintptr_t)sql >> 3) & (STMT_SLOTS - 1);

    while (db->slots[i].sql && db->slots[i].sql != sql)
        i = (i + 1) & (STMT_SLOTS - 1);
    return &db->slots[i];
}

void nsdb_query(struct nsdb *db, const char *sql, struct nsdb_stmt *out_stmt)
{
    struct stmt_slot *slot;
    sqlite3_stmt *st = NULL;

    out_stmt->db = db; /* member by member: the ids need no zeros */
    out_stmt->st = NULL;
    out_stmt->is_cached = false;
    out_stmt->is_noted = false;
    out_stmt->at = 0;
    out_stmt->rc = 0;
    out_stmt->id_count = 0;
    nsdb_lock(db);
    slot = find_slot(db, sql);
    out_stmt->slot = slot;
    if (!slot->st) {
        out_stmt->rc = nsdb_reason(
            sqlite3_prepare_v3(db->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &slot->st, NULL));
        if (out_stmt->rc < 0)
            return;
        slot->sql = sql;
        slot->is_change = nsdb_is_change(sql);
    }
    if (slot->is_used) {
        out_stmt->rc = nsdb_reason(sqlite3_prepare_v2(db->db, sql, -1, &st, NULL));
        out_stmt->st = st;
        return;
    }
    slot->is_used = true;
    out_stmt->is_cached = true;
    out_stmt->st = slot->st;
}

static void note(struct nsdb_stmt *s, int sqlite_rc)
{
    if (s->rc == 0)
        s->rc = nsdb_reason(sqlite_rc);
}

int nsdb_query_u64(struct nsdb *db, const char *sql, uint64_t *out_value)
{
    struct nsdb_stmt s;
    int rc;

    nsdb_query(db, sql, &s);
    rc = nsdb_step(&s);
    *out_value = rc > 0 ? nsdb_col_u64(&s, 0) : 0;
    nsdb_end(&s);
    return rc < 0 ? rc : 0;
}

/* The next parameter, for SQLite and for the redo log. 0: there was a failure before. */
static int next_param(struct nsdb_stmt *s, enum redo_type type, const void *p, uint64_t n)
{
    if (s->rc < 0)
        return 0;
    INVARIANT(s->at < REDO_PARAMS_MAX);
    s->params[s->at] = (struct redo_param){ type, p, n };
    return ++s->at;
}

void nsdb_bind_u64(struct nsdb_stmt *s, uint64_t v)
{
    int at = next_param(s, REDO_NUMBER, NULL, v);

    if (at > 0)
        note(s, sqlite3_bind_int64(s->st, at, (sqlite3_int64)v));
}

void nsdb_bind_id(struct nsdb_stmt *s, const struct id16 *id)
{
    const bool has_room = s->id_count < NSDB_STMT_IDS;
    int at;

    if (!id) {
        at = next_param(s, REDO_NULL, NULL, 0);
        if (at > 0)
            note(s, sqlite3_bind_null(s->st, at));
        return;
    }
    if (has_room) {
        s->ids[s->id_count] = *id;
        id = &s->ids[s->id_count++];
    }
    at = next_param(s, REDO_BLOB, id->b, sizeof id->b);
    if (at > 0)
        note(s, sqlite3_bind_blob(s->st, at, id->b, sizeof id->b,
                                  has_room ? SQLITE_STATIC : SQLITE_TRANSIENT));
}

void nsdb_bind_digest(struct nsdb_stmt *s, const struct digest *d)
{
    int at = next_param(s, REDO_BLOB, d->b, sizeof d->b);

    if (at > 0)
        note(s, sqlite3_bind_blob(s->st, at, d->b, sizeof d->b, SQLITE_TRANSIENT));
}

void nsdb_bind_view(struct nsdb_stmt *s, struct view v)
{
    int at = next_param(s, REDO_BLOB, v.p, v.n);

    if (at > 0)
        note(s, sqlite3_bind_blob64(s->st, at, v.p ? v.p : (const uint8_t *)"", v.n, SQLITE_STATIC));
}

void nsdb_bind_text(struct nsdb_stmt *s, const char *text)
{
    int at = next_param(s, REDO_TEXT, text, strlen(text));

    if (at > 0)
        note(s, sqlite3_bind_text(s->st, at, text, -1, SQLITE_TRANSIENT));
}

int nsdb_step(struct nsdb_stmt *s)
{
    int rc;

    if (s->rc == 0 && s->db->held_rc < 0)
        s->rc = nsdb_go_on(s->db);
    if (s->rc < 0)
        return s->rc;
    rc = sqlite3_step(s->st);
    if ((rc == SQLITE_DONE || rc == SQLITE_ROW) && !s->is_noted && s->slot->is_change) {
        s->is_noted = true;
        if (s->db->is_open)
            redo_note(s->db->redo, &s->slot->name, s->slot->sql, s->params, (size_t)s->at);
    }
    if (rc == SQLITE_ROW)
        return 1;
    return nsdb_reason(rc);
}

uint64_t nsdb_col_u64(const struct nsdb_stmt *s, int i)
{
    return (uint64_t)sqlite3_column_int64(s->st, i);
}

bool nsdb_col_is_null(const struct nsdb_stmt *s, int i)
{
    return sqlite3_column_type(s->st, i) == SQLITE_NULL;
}

struct view nsdb_col_view(const struct nsdb_stmt *s, int i)
{
    const void *p = sqlite3_column_blob(s->st, i);

    return view_of(p, (size_t)sqlite3_column_bytes(s->st, i));
}

static bool col_fixed(const struct nsdb_stmt *s, int i, uint8_t *out, size_t n)
{
    struct view v = nsdb_col_view(s, i);

    memset(out, 0, n);
    if (v.n != n || !v.p)
        return false;
    memcpy(out, v.p, n);
    return true;
}

bool nsdb_col_id(const struct nsdb_stmt *s, int i, struct id16 *out_id)
{
    return col_fixed(s, i, out_id->b, sizeof out_id->b);
}

bool nsdb_col_digest(const struct nsdb_stmt *s, int i, struct digest *out_digest)
{
    return col_fixed(s, i, out_digest->b, sizeof out_digest->b);
}

void nsdb_end(struct nsdb_stmt *s)
{
    if (!s->db)
        return;
    if (!s->is_cached) {
        sqlite3_finalize(s->st);
    } else {
        sqlite3_reset(s->st);
        sqlite3_clear_bindings(s->st);
        s->slot->is_used = false;
    }
    nsdb_unlock(s->db);
    s->db = NULL;
    s->st = NULL;
}

int nsdb_run(struct nsdb_stmt *s)
{
    int rc;

    do
        rc = nsdb_step(s);
    while (rc > 0);
    nsdb_end(s);
    return rc;
}

int nsdb_run_id(struct nsdb *db, const char *sql, const struct id16 *id)
{
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    nsdb_bind_id(&s, id);
    return nsdb_run(&s);
}

int nsdb_run_word(struct nsdb *db, const char *sql)
{
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    s.is_noted = true; /* of the log's own business */
    return nsdb_run(&s);
}

uint64_t nsdb_changes(struct nsdb *db)
{
    return (uint64_t)sqlite3_changes64(db->db);
}

uint64_t nsdb_last_rowid(struct nsdb *db)
{
    return (uint64_t)sqlite3_last_insert_rowid(db->db);
}
