/* Rows of a check. The table is made by the first one: a vault that was never checked has none. */
#include "vault/nsdb_damage.h"

#include <string.h>

#include "base/checked.h"

static const char after_key[] = "check_after";
static const char done_key[] = "check_done";
static const char started_key[] = "check_started_ms";

static int run(struct nsdb *db, const char *sql)
{
    struct nsdb_stmt s;

    nsdb_query(db, sql, &s);
    return nsdb_run(&s);
}

int nsdb_damage_begin(struct nsdb *db, bool is_new)
{
    static const char create[] =
        "CREATE TABLE IF NOT EXISTS damage(nodeid INTEGER, what INTEGER, first INTEGER,"
        " count INTEGER, reason INTEGER, repaired INTEGER, PRIMARY KEY(nodeid, what, first))"
        " WITHOUT ROWID";
    static const char clear[] = "DELETE FROM damage";
    int rc = run(db, create);

    if (rc < 0 || !is_new)
        return rc;
    rc = nsdb_damage_end(db);
    return rc < 0 ? rc : run(db, clear);
}

int nsdb_damage_get_cursor(struct nsdb *db, struct damage_cursor *out_cursor)
{
    struct damage_cursor c;
    int rc = nsdb_meta_get_u64(db, after_key, &c.after);

    if (rc == 0)
        rc = nsdb_meta_get_u64(db, done_key, &c.done);
    if (rc == 0)
        rc = nsdb_meta_get_u64(db, started_key, &c.started_ms);
    if (rc < 0)
        return rc;
    *out_cursor = c;
    return 0;
}

int nsdb_damage_put_cursor(struct nsdb *db, const struct damage_cursor *cursor)
{
    int rc = nsdb_meta_put_u64(db, after_key, cursor->after);

    if (rc == 0)
        rc = nsdb_meta_put_u64(db, done_key, cursor->done);
    return rc < 0 ? rc : nsdb_meta_put_u64(db, started_key, cursor->started_ms);
}

int nsdb_damage_end(struct nsdb *db)
{
    static const char sql[] = "DELETE FROM meta WHERE key GLOB 'check_*'";

    return run(db, sql);
}

int nsdb_damage_put(struct nsdb *db, const struct damage_row *row)
{
    static const char join[] =
        "UPDATE damage SET count = count + ?1 WHERE nodeid = ?2 AND what = ?3 AND what = 1"
        " AND first + count = ?4 AND reason = ?5 AND repaired = ?6";
    static const char insert[] =
        "INSERT OR REPLACE INTO damage(count, nodeid, what, first, reason, repaired)"
        " VALUES(?1,?2,?3,?4,?5,?6)";
    const char *const both[] = { join, insert };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_COUNT(both); i++) {
        struct nsdb_stmt s;

        nsdb_query(db, both[i], &s);
        nsdb_bind_u64(&s, row->count);
        nsdb_bind_u64(&s, row->nodeid);
        nsdb_bind_u64(&s, row->what);
        nsdb_bind_u64(&s, row->first);
        nsdb_bind_u64(&s, (uint64_t)-row->reason);
        nsdb_bind_u64(&s, row->is_repaired ? 1 : 0);
        rc = nsdb_run(&s);
        if (rc == 0 && nsdb_changes(db) > 0)
            break;
    }
    return rc;
}

int nsdb_damage_list(struct nsdb *db, const struct damage_row *after,
                     struct damage_row *out_rows, size_t room, size_t *out_n)
{
    static const char sql[] =
        "SELECT nodeid, what, first, count, reason, repaired FROM damage"
        " WHERE (nodeid, what, first) > (?, ?, ?) ORDER BY nodeid, what, first LIMIT ?";
    struct nsdb_stmt s;
    size_t n = 0;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, after->nodeid);
    nsdb_bind_u64(&s, after->what);
    nsdb_bind_u64(&s, after->first);
    nsdb_bind_u64(&s, room);
    while ((rc = nsdb_step(&s)) > 0 && n < room)
        out_rows[n++] =
            (struct damage_row){ .nodeid = nsdb_col_u64(&s, 0),
                                 .what = (enum damage_what)nsdb_col_u64(&s, 1),
                                 .first = nsdb_col_u64(&s, 2),
                                 .count = nsdb_col_u64(&s, 3),
                                 .reason = -(int)nsdb_col_u64(&s, 4),
                                 .is_repaired = nsdb_col_u64(&s, 5) != 0 };
    nsdb_end(&s);
    if (rc < 0)
        return rc;
    *out_n = n;
    return 0;
}

int nsdb_damage_nodes(struct nsdb *db, uint64_t after, uint64_t *out_nodeids, size_t room,
                      size_t *out_n)
{
    static const char sql[] = "SELECT nodeid FROM inode WHERE nodeid > ? ORDER BY nodeid LIMIT ?";
    struct nsdb_stmt s;
    size_t n = 0;
    int rc;

    nsdb_query(db, sql, &s);
    nsdb_bind_u64(&s, after);
    nsdb_bind_u64(&s, room);
    while ((rc = nsdb_step(&s)) > 0 && n < room)
        out_nodeids[n++] = nsdb_col_u64(&s, 0);
    nsdb_end(&s);
    if (rc < 0)
        return rc;
    *out_n = n;
    return 0;
}

int nsdb_damage_count_nodes(struct nsdb *db, uint64_t *out_n)
{
    static const char sql[] = "SELECT count(*) FROM inode";

    return nsdb_query_u64(db, sql, out_n);
}

int nsdb_damage_table(struct nsdb *db, size_t place)
{
    static const char *const checks[] = {
        "PRAGMA quick_check('inode')",  "PRAGMA quick_check('dentry')",
        "PRAGMA quick_check('header')", "PRAGMA quick_check('content')",
        "PRAGMA quick_check('seal')",   "PRAGMA quick_check('shadow')",
        "PRAGMA quick_check('object')", "PRAGMA quick_check('outbox')",
        "PRAGMA quick_check('draft')",
        "PRAGMA quick_check('class')",  "PRAGMA quick_check('patient')",
        "PRAGMA quick_check('grants')", "PRAGMA quick_check('card')",
    };
    struct nsdb_stmt s;
    struct view word;
    int rc;

    if (place >= ARRAY_COUNT(checks))
        return -ENOENT;
    nsdb_query(db, checks[place], &s);
    rc = nsdb_step(&s);
    if (rc > 0) {
        word = nsdb_col_view(&s, 0);
        rc = word.n == 2 && memcmp(word.p, "ok", 2) == 0 ? 0 : PHR_E_FORMAT;
    }
    nsdb_end(&s);
    return rc;
}
