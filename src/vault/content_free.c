/*
 * Freeing what no row names any more, and finding what a crash left.
 *
 * FREE-1  A container goes one pass of the syncer after the row stopped naming it, when that
 *         row is itself on disk (STORE-5); not while an object on its way needs it; not while a
 *         handle of an older version of the node is open.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "store/pack.h"
#include "vault/content_state.h"

enum { SWEEP_ROWS = 256 };

static const char clean_mark_key[] = "content_clean_mark";

/* Numbers of containers, sorted before they are asked. */
struct used_set {
    uint64_t *ids;
    size_t count;
    size_t room;
    bool failed;
};

static void used_add(void *user, uint64_t container)
{
    struct used_set *u = user;

    if (u->count == u->room) {
        size_t room = u->room ? u->room * 2 : 256;
        uint64_t *p = realloc(u->ids, room * sizeof *p);

        if (!p) {
            u->failed = true;
            return;
        }
        u->ids = p;
        u->room = room;
    }
    u->ids[u->count++] = container;
}

static int used_object(void *user, const struct object_row *row)
{
    used_add(user, row->container);
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void used_sort(struct used_set *u)
{
    if (u->count > 0)
        qsort(u->ids, u->count, sizeof *u->ids, compare_ids);
}

/* Place of the first one >= id. */
static size_t used_place(const struct used_set *u, uint64_t id)
{
    size_t low = 0;
    size_t high = u->count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (u->ids[mid] < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool used_has(void *user, uint64_t container)
{
    const struct used_set *u = user;
    size_t i = used_place(u, container);

    return i < u->count && u->ids[i] == container;
}

/* For the sweep: a pack is used by any object in it. Ids of one pack lie side by side but for
   those of other kinds that happen to be in between. */
static bool used_has_file(void *user, uint64_t file)
{
    const struct used_set *u = user;
    uint64_t end = pack_id(container_number(file) + 1);

    if (container_kind(file) != CONTAINER_PACK)
        return used_has(user, file);
    for (size_t i = used_place(u, file); i < u->count && u->ids[i] < end; i++)
        if (container_kind(u->ids[i]) == CONTAINER_PACK)
            return true;
    return false;
}

/* What a crash left inside packs that are used. */
static void free_gaps(struct contents *cs, const struct used_set *u, uint64_t from)
{
    uint64_t file = 0;
    uint64_t at = 0;

    for (size_t i = 0; i < u->count; i++) {
        uint64_t id = u->ids[i];

        if (container_kind(id) != CONTAINER_PACK || container_number(id) < from ||
            container_number(id) >= cs->first_number)
            continue;
        if (container_file(id) != file) {
            store_free_part(cs->store, file, at, PACK_BYTES_MAX - at);
            file = container_file(id);
            at = 0;
        }
        if (container_at(id) > at)
            store_free_part(cs->store, file, at, container_at(id) - at);
        at = container_at(id) + pack_object_bytes(id);
    }
    store_free_part(cs->store, file, at, PACK_BYTES_MAX - at);
}

/* FREE_LATER: ask again; FREE_NEVER: a row names it, whoever replaces that row asks anew. */
enum free_answer { FREE_NOW, FREE_LATER, FREE_NEVER };

static enum free_answer may_free(struct contents *cs, const struct freed_row *f,
                                 struct used_set *objects)
{
    scoped(writer_fini) struct writer keep;
    scoped(layout_fini) struct layout cur = { 0 };
    scoped(layout_fini) struct layout base = { 0 };
    struct content_row row;
    bool has_base;
    int rc;

    writer_init(&keep);
    if (f->loc.len > 0)
        return FREE_NOW; /* a part that a durable row no longer counts on */
    if (contents_is_open_retired(cs, f->nodeid) || used_has(objects, f->loc.container))
        return FREE_LATER;
    if (f->nodeid == 0)
        return FREE_NOW;
    rc = nsdb_content_get(cs->db, f->nodeid, &keep, &row);
    if (rc == -ENOENT)
        return FREE_NOW;
    if (rc == 0)
        rc = locs_decode(row.locs, &cur, &base, &has_base);
    if (rc < 0)
        return FREE_LATER;
    return layout_names(&cur, f->loc.container) || layout_names(&base, f->loc.container)
               ? FREE_NEVER
               : FREE_NOW;
}

static void free_one(struct contents *cs, const struct loc *loc)
{
    if (loc->len > 0) {
        store_free_part(cs->store, loc->container, loc->offset, loc->len);
        return;
    }
    strips_forget(cs, loc->container);
    store_free(cs->store, loc->container);
}

/* What was handed over before this pass's sync of the WAL (SYNC-3). */
void contents_free_dropped(struct contents *cs, struct freed_row *list)
{
    struct used_set objects = { 0 };
    bool is_known =
        list && nsdb_object_each(cs->db, used_object, &objects) == 0 && !objects.failed;

    used_sort(&objects);
    while (list) {
        struct freed_row *f = list;
        enum free_answer answer = is_known ? may_free(cs, f, &objects) : FREE_LATER;

        list = f->next;
        if (answer == FREE_LATER) {
            contents_free_part_later(cs, f->nodeid, &f->loc);
        } else if (answer == FREE_NOW) {
            free_one(cs, &f->loc);
        }
        free(f);
    }
    free(objects.ids);
}

/* ---- what a crash left (STORE-6) ---- */

struct sweep_rows {
    struct used_set *used;
    uint64_t from; /* numbers that are swept */
    uint64_t below;
    uint64_t last; /* node */
    unsigned rows; /* of this page */
};

static void sweep_add(void *user, uint64_t container)
{
    const struct sweep_rows *s = user;

    if (container_number(container) >= s->from && container_number(container) < s->below)
        used_add(s->used, container);
}

static int used_row(void *user, const struct content_row *row)
{
    scoped(layout_fini) struct layout cur = { 0 };
    scoped(layout_fini) struct layout base = { 0 };
    struct sweep_rows *s = user;
    bool has_base;

    s->last = row->nodeid;
    s->rows++;
    if (locs_decode(row->locs, &cur, &base, &has_base) < 0) {
        s->used->failed = true; /* who knows what it names: nothing is swept */
        return 0;
    }
    layout_each(&cur, sweep_add, s);
    layout_each(&base, sweep_add, s);
    return s->rows == SWEEP_ROWS;
}

/*
 * A page at a time, since the mount serves meanwhile. A row that changes between two pages names new
 * numbers, which are not swept; one that gets another node gets a higher one, which comes later.
 */
static int used_rows(struct contents *cs, uint64_t from, struct used_set *u)
{
    struct sweep_rows s = { .used = u, .from = from, .below = cs->first_number };
    int rc;

    do {
        s.rows = 0;
        rc = nsdb_content_each(cs->db, s.last, used_row, &s);
    } while (rc > 0);
    return rc;
}

/* is_end: no container is made any more. */
static int put_mark(struct contents *cs, uint64_t number, bool is_end)
{
    int rc = nsdb_begin(cs->db);

    if (rc < 0)
        return rc;
    rc = nsdb_meta_put_u64(cs->db, clean_mark_key, number);
    if (rc == 0 && is_end)
        rc = nsdb_container_settle(cs->db, number);
    if (rc < 0) {
        nsdb_rollback(cs->db);
        return rc;
    }
    return nsdb_commit(cs->db);
}

void contents_sweep(struct contents *cs)
{
    struct used_set u = { 0 };
    uint64_t from = 0;
    int rc = nsdb_meta_get_u64(cs->db, clean_mark_key, &from);

    if (rc < 0 && rc != -ENOENT)
        return;
    if (nsdb_kept_logs(cs->db) > 0)
        return; /* what is unnamed here may be named there (REDO-4) */
    if (from < cs->first_number && !vault_is_read_only(cs->v)) {
        rc = used_rows(cs, from, &u);
        if (rc == 0)
            rc = nsdb_object_each(cs->db, used_object, &u);
        if (rc == 0 && !u.failed) {
            used_sort(&u);
            rc = store_sweep(cs->store, from, cs->first_number, used_has_file, &u);
            if (rc == 0) {
                free_gaps(cs, &u, from);
                ignored(put_mark(cs, cs->first_number, false)); /* else it is swept once more */
            }
        }
        free(u.ids);
    }
}

void contents_mark_clean(struct contents *cs)
{
    if (nsdb_kept_logs(cs->db) == 0)
        ignored(put_mark(cs, store_get_next(cs->store), true)); /* else the next start sweeps */
}
