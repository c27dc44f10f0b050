/*
 * Drafts. A change of metadata is a transaction of rows, audit event and draft; its signature
 * costs more than all the rest, and one holds for hundreds of changes as well as for three.
 *
 * DRAFT-1  A draft is stored in the transaction of its change and leaves in the transaction that
 *          stores the op with its changes (or with a rebase, which makes everything anew from the
 *          rows): a kill between them loses nothing and repeats nothing.
 * DRAFT-2  Nobody but its writer signs it. Drafts become ops before a key goes (logout, unmount), and
 *          before a push; after a kill they wait for their writer's next login, as unsigned
 *          attributes and unsealed contents do, and others' go on without them.
 * DRAFT-3  Ops hold drafts in their order; one op holds those of one writer, class and epoch
 *          that follow each other, with nobody else's between them.
 *          Attributes alone go in ops of their own: hosts that work in one folder meet in its
 *          times, and then what was made there must not wait for a rebase.
 * DRAFT-4  A header and the removal of its file are never in one op: when an op stands, each
 *          header in it must have its inode (verify_change_close).
 */
#include "vault/opdraft.h"

#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "crypto/digest.h"
#include "format/row.h"
#include "vault/nsdb_opdraft.h"
#include "vault/outbox.h"

enum { DRAFT_OP_BYTES_MAX = OP_BYTES_MAX / 2 };

int opdraft_add(struct vault *v, const struct identity *id, const struct class_ctx *ctx,
              const struct change *changes, size_t count)
{
    scoped(writer_fini) struct writer bytes = { 0 };
    struct opdraft_row row = { .ctx = *ctx, .writer = id->user, .created_ms = clock_boottime_ms() };

    INVARIANT(nsdb_is_in_tx(v->db) && count > 0 && count <= OP_CHANGES_MAX);
    writer_init(&bytes);
    for (size_t i = 0; i < count; i++) {
        writer_u8(&bytes, (uint8_t)changes[i].type);
        writer_lp(&bytes, changes[i].body);
    }
    if (!writer_ok(&bytes))
        return -ENOMEM;
    row.changes = writer_done(&bytes);
    return row.changes.n > DRAFT_OP_BYTES_MAX ? PHR_E_LIMIT : nsdb_opdraft_add(v->db, &row);
}

/* ---- drafts into one op ---- */

struct merge {
    struct vault *v;
    const struct id16 *patient;
    enum opdraft_sign_flags flags;

    struct opdraft_row first; /* .changes is not kept */
    bool is_attrs;
    uint64_t last;
    struct identity *id;
    struct writer bytes; /* of all drafts */
    struct {
        enum change_type type;
        size_t at;
        size_t n;
    } items[OP_CHANGES_MAX];
    size_t count;
    struct id16 headers[OP_CHANGES_MAX]; /* files that have one in this op */
    size_t header_count;
};

static bool has_header(const struct merge *m, const struct id16 *file)
{
    for (size_t i = 0; i < m->header_count; i++)
        if (id_equal(&m->headers[i], file))
            return true;
    return false;
}

/* One change behind the others. False: it wants another op (DRAFT-4, limits). */
static bool add_change(struct merge *m, enum change_type type, struct view body)
{
    struct header_change header;
    struct remove_change gone;

    if (m->count == OP_CHANGES_MAX || m->bytes.n + body.n > DRAFT_OP_BYTES_MAX)
        return false;
    if (type == CHANGE_REMOVE && remove_decode(body, &gone) == 0 && has_header(m, &gone.row))
        return false;
    if (type == CHANGE_HEADER && header_change_decode(body, &header) == 0)
        m->headers[m->header_count++] = header.file;
    m->items[m->count].type = type;
    m->items[m->count].at = m->bytes.n;
    m->items[m->count++].n = body.n;
    writer_view(&m->bytes, body);
    return true;
}

/* 1: it is in, 0: it wants another op, and none of it is in this one. */
static int add_draft(struct merge *m, const struct opdraft_row *row)
{
    struct reader r = reader_over(row->changes);
    const size_t bytes = m->bytes.n;
    const size_t count = m->count;
    const size_t headers = m->header_count;

    while (r.left > 0) {
        enum change_type type = (enum change_type)reader_u8(&r);
        struct view body = reader_lp(&r, OP_BYTES_MAX);

        if (!reader_ok(&r) || type < CHANGE_CLASS_RECORD || type > CHANGE_LAST)
            return PHR_E_FORMAT; /* nobody signs what nobody could read */
        if (!add_change(m, type, body)) {
            m->bytes.n = bytes;
            m->count = count;
            m->header_count = headers;
            return 0;
        }
    }
    if (!writer_ok(&m->bytes))
        return -ENOMEM;
    m->last = row->id;
    return 1;
}

/* True of what names_sign_dirty made: inodes and nothing else. */
static bool is_attrs(struct view changes)
{
    struct reader r = reader_over(changes);

    while (r.left > 0 && reader_ok(&r)) {
        if (reader_u8(&r) != CHANGE_INODE)
            return false;
        (void)reader_lp(&r, OP_BYTES_MAX);
    }
    return true;
}

static bool goes_along(const struct merge *m, const struct opdraft_row *row)
{
    return m->flags != OPDRAFT_SINGLE && id_equal(&row->writer, &m->first.writer) &&
           class_ctx_equal(&row->ctx, &m->first.ctx) && is_attrs(row->changes) == m->is_attrs;
}

/* Drafts above an id, as many as one op takes. */
static int gather(struct merge *m, uint64_t after)
{
    struct opdraft_row row;
    struct nsdb_stmt s;
    int rc;

    nsdb_opdraft_scan(m->v->db, m->patient, after, &s);
    while ((rc = nsdb_opdraft_next(&s, &row)) > 0) {
        struct identity *id = session_identity(m->v, &row.writer);

        if (!id)
            continue; /* DRAFT-2 */
        if (m->count > 0 && !goes_along(m, &row))
            break;
        if (m->count == 0) {
            m->first = row;
            m->id = id;
            m->is_attrs = is_attrs(row.changes);
        }
        rc = add_draft(m, &row);
        if (rc <= 0)
            break;
    }
    nsdb_end(&s);
    return rc < 0 ? rc : 0;
}

/* One op out of the first drafts above an id. *io_after 0: there are no more. */
static int sign_some(struct merge *m, uint64_t *io_after)
{
    struct change changes[OP_CHANGES_MAX];
    uint64_t rowid;
    int rc = gather(m, *io_after);

    *io_after = 0;
    if (rc < 0 || m->count == 0)
        return rc;
    for (size_t i = 0; i < m->count; i++) {
        const size_t n = m->items[i].n;

        changes[i] = (struct change){ m->items[i].type, view_of(n ? m->bytes.p + m->items[i].at : NULL, n) };
    }
    rc = outbox_add(m->v, m->id, &m->first.ctx, OP_LANE_META, OUTBOX_READY, changes, m->count, &rowid);
    if (rc == 0)
        rc = nsdb_opdraft_delete(m->v->db, &m->first, m->last);
    if (rc == 0)
        *io_after = m->last;
    return rc;
}

/* A transaction for each op: the names lock is held for a signature and its rows at most. */
int opdraft_sign(struct vault *v, const struct id16 *patient, enum opdraft_sign_flags flags)
{
    uint64_t after = 0;
    int rc;

    do {
        struct merge *m = calloc(1, sizeof *m);

        if (!m)
            return -ENOMEM;
        *m = (struct merge){ .v = v, .patient = patient, .flags = flags };
        writer_init(&m->bytes);
        rc = nsdb_begin(v->db);
        if (rc == 0) {
            rc = sign_some(m, &after);
            if (rc < 0 || m->count == 0)
                nsdb_rollback(v->db);
            else
                rc = nsdb_commit(v->db);
        }
        writer_fini(&m->bytes);
        free(m);
    } while (rc == 0 && after > 0);
    return rc;
}

int opdraft_sign_all(struct vault *v)
{
    struct id16 patient = { { 0 } };
    int rc = 0;

    while (rc == 0 && nsdb_outbox_patient_next(v->db, &patient, &patient) == 0)
        rc = opdraft_sign(v, &patient, OPDRAFT_MERGED);
    return rc;
}
