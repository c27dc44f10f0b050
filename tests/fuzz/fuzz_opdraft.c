/*
 * Drafts as they lie in namespace.db, into ops. The input is a row of drafts, each `u8 who || LE16 n ||
 * n bytes of changes`; who: 0 the owner, 1 a writer, else nobody who is logged in.
 */
#include "../unit/vault_fixture.h"

#include "../unit/fake_contents.h"
#include "fuzz.h"
#include "vault/nsdb_opdraft.h"
#include "vault/opdraft.h"
#include "vault/outbox.h"

enum { OWNER_UID = 1000, WRITER_UID = 1001, DRAFTS_MAX = 64 };

static struct bed bed;
static struct mount_bed m;
static struct nsdb *db;

static void stop(void)
{
    mount_close(&m);
    bed_fini(&bed);
}

static void start(void)
{
    struct vault_backlog left = { .ops = 1 };

    fuzz_arena_open();
    bed_init(&bed);
    bed_genesis(&bed);
    ignored(bed_grant(&bed, &bed.realm.writer, GRANT_RW)); /* its id */
    mount_open(&m, &bed, "host1", VAULT_OWNERSHIP_GRANTS);
    mount_login(&m, OWNER_UID, &bed.realm.owner);
    mount_login(&m, WRITER_UID, &bed.realm.writer);
    while (left.ops > 0)
        left = mount_sync(&m);
    bed_stop(&bed); /* what is signed here goes nowhere */
    db = vault_get_nsdb(m.v);
    atexit(stop);
}

/* How many were added. */
static size_t add_drafts(struct reader *r)
{
    size_t n = 0;

    while (r->left >= 3 && n < DRAFTS_MAX) {
        uint8_t who = reader_u8(r);
        size_t len = reader_u16(r);
        struct opdraft_row row = { .ctx = bed.realm.labs.ctx, .writer = { { who } } };

        if (who <= 1)
            row.writer = who == 0 ? bed.realm.owner.card.user : bed.realm.writer.card.user;
        row.changes = reader_view(r, len < r->left ? len : r->left);
        INVARIANT(nsdb_opdraft_add(db, &row) == 0);
        n++;
    }
    return n;
}

/* What was signed is an op. */
static void check_ops(void)
{
    struct outbox_row row;
    struct nsdb_stmt s;

    nsdb_outbox_scan(db, &bed.realm.patient, &s);
    while (nsdb_outbox_next(&s, &row) > 0) {
        struct op op;

        INVARIANT(op_decode(row.op, &op) == 0 && op.count > 0 && op.count <= OP_CHANGES_MAX);
        op_fini(&op);
    }
    nsdb_end(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_over(view_of(data, size));
    enum opdraft_sign_flags flags = reader_u8(&r) & 1 ? OPDRAFT_SINGLE : OPDRAFT_MERGED;
    size_t added;

    if (!db)
        start();
    INVARIANT(nsdb_begin(db) == 0);
    added = add_drafts(&r);
    nsdb_commit_soon(db);
    if (added > 0)
        ignored(opdraft_sign(m.v, &bed.realm.patient, flags)); /* damaged ones are refused */
    check_ops();
    INVARIANT(nsdb_begin(db) == 0);
    INVARIANT(nsdb_opdraft_drop(db, &bed.realm.patient) == 0 &&
              nsdb_outbox_delete_meta(db, &bed.realm.patient) == 0);
    nsdb_commit_soon(db);
    return 0;
}
