/* Two hosts, one ledger: rebase, conflicts, epochs, what survives a kill. */
#include "vault_fixture.h"

#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/secret.h"
#include "crypto/random.h"
#include "fake_contents.h"
#include "ipc/link.h"
#include "vault/content.h"
#include "vault/header_new.h"
#include "vault/names.h"
#include "vault/nsdb_ledger.h"
#include "vault/nsdb_names.h"
#include "vault/nsdb_outbox.h"
#include "vault/outbox.h"

enum { UID = 1000 };

static struct bed bed;
static struct mount_bed a;
static struct mount_bed b;

static int setup(void **state)
{
    (void)state;
    bed_init(&bed);
    bed_genesis(&bed);
    mount_open(&a, &bed, "hosta", VAULT_OWNERSHIP_STORED);
    mount_login(&a, UID, &bed.realm.owner);
    mount_open(&b, &bed, "hostb", VAULT_OWNERSHIP_STORED);
    mount_login(&b, UID, &bed.realm.owner);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mount_close(&a);
    mount_close(&b);
    bed_fini(&bed);
    return 0;
}

static uint64_t make_dir(struct mount_bed *m, uint64_t parent, const char *name)
{
    struct who who = who_of(UID);
    struct node_attr attr;

    CHECK_EQ(node_mkdir(m->v, &who, parent, view_text(name), 0755, &attr), 0);
    return attr.nodeid;
}

static uint64_t root_of(struct mount_bed *m)
{
    return walk(m, UID, "anna/labs");
}

static bool shows(struct mount_bed *m, const char *path)
{
    for (int i = 0; i < 200; i++) {
        if (walk(m, UID, path) != 0)
            return true;
        bed_sleep_ms(10);
    }
    return false;
}

/* Other hosts' attributes come in entries of their own: waits up to two seconds for this one. */
static uint32_t mode_within(struct mount_bed *m, uint64_t nodeid, uint32_t wanted)
{
    struct who who = who_of(UID);
    struct node_attr attr = { 0 };

    for (int i = 0; i < 200 && (attr.st.st_mode & 0777) != wanted; i++) {
        CHECK_EQ(node_getattr(m->v, &who, nodeid, &attr), 0);
        bed_sleep_ms(10);
    }
    return attr.st.st_mode & 0777;
}

static int64_t size_within(struct mount_bed *m, const char *path, int64_t wanted)
{
    struct who who = who_of(UID);
    struct node_attr attr = { 0 };

    for (int i = 0; i < 200 && attr.st.st_size != wanted; i++) {
        uint64_t nodeid = walk(m, UID, path);

        if (nodeid)
            CHECK_EQ(node_getattr(m->v, &who, nodeid, &attr), 0);
        bed_sleep_ms(10);
    }
    return attr.st.st_size;
}

/* What is stuck, for whoever reads a failure. */
static void say_outbox(struct mount_bed *m)
{
    struct nsdb_stmt s;
    struct outbox_row row;

    nsdb_outbox_scan(vault_get_nsdb(m->v), NULL, &s);
    while (nsdb_outbox_next(&s, &row) > 0) {
        struct op op;

        CHECK_EQ(op_decode(row.op, &op), 0);
        print_message("op %llu lane %d state %d reason %s first change %d of %u epoch %u\n",
                      (unsigned long long)row.id, row.lane, row.state, phr_err_name(row.reason),
                      op.changes[0].type, op.count, op.epoch);
        op_fini(&op);
    }
    nsdb_end(&s);
}

static void settle(struct mount_bed *m)
{
    struct vault_backlog left = { .ops = 1 };

    for (int i = 0; i < 10 && left.ops > 0; i++)
        left = mount_sync(m);
    if (left.ops || left.parked)
        say_outbox(m);
    CHECK_EQ(left.ops, 0);
    CHECK_EQ(left.parked, 0);
}

/* phrd is back; a commits first, b comes after a restart. */
static void come_online(void)
{
    mount_close(&b);
    bed_start(&bed);
    for (int i = 0; i < 200 && !link_is_up(vault_get_link(a.v)); i++)
        bed_sleep_ms(10);
    settle(&a);
    mount_open(&b, &bed, "hostb", VAULT_OWNERSHIP_STORED);
    mount_login(&b, UID, &bed.realm.owner);
}

static size_t count_conflicts(struct mount_bed *m, const char *prefix)
{
    struct names_seen seen;
    size_t n = 0;

    list_dir(m, UID, root_of(m), &seen);
    for (size_t i = 0; i < seen.count; i++)
        n += strncmp(seen.names[i], prefix, strlen(prefix)) == 0 && strstr(seen.names[i], " (conflict ");
    return n;
}

TEST(outbox__a_change_of_one_host_shows_on_the_other)
{
    struct who who = who_of(UID);
    UNUSED_STATE;

    make_dir(&a, root_of(&a), "shared");
    settle(&a);
    CHECK(shows(&b, "anna/labs/shared"));
    CHECK_EQ(node_rename(b.v, &who, root_of(&b), view_text("shared"), root_of(&b), view_text("moved"), 0), 0);
    settle(&b);
    CHECK(shows(&a, "anna/labs/moved"));
    CHECK_EQ(walk(&a, UID, "anna/labs/shared"), 0);
    CHECK_EQ(node_rmdir(a.v, &who, root_of(&a), view_text("moved")), 0);
    settle(&a);
}

TEST(outbox__the_first_committer_keeps_the_name)
{
    uint64_t mine;
    uint64_t theirs;
    UNUSED_STATE;

    bed_stop(&bed); /* both work offline */
    bed_sleep_ms(50);
    mine = create(&a, UID, root_of(&a), "note.txt");
    CHECK_EQ(fake_contents_seal(a.v, mine, 11), 0);
    theirs = create(&b, UID, root_of(&b), "note.txt");
    CHECK_EQ(fake_contents_seal(b.v, theirs, 22), 0);
    make_dir(&b, root_of(&b), "untouched");
    come_online();
    settle(&b);
    CHECK_EQ(count_conflicts(&b, "note"), 1);
    CHECK(shows(&b, "anna/labs/untouched"));
    CHECK(shows(&a, "anna/labs/untouched"));
    for (int i = 0; i < 200 && count_conflicts(&a, "note") == 0; i++)
        bed_sleep_ms(10);
    CHECK_EQ(count_conflicts(&a, "note"), 1);
    CHECK_EQ(walk(&a, UID, "anna/labs/note.txt"), mine);
    /* The loser's file is the same node there, under its new name. */
    struct node_attr attr;
    struct who who = who_of(UID);

    CHECK_EQ(node_getattr(b.v, &who, theirs, &attr), 0);
    CHECK_EQ(attr.st.st_size, 22);
}

TEST(outbox__edit_beats_delete_and_the_first_rename_wins)
{
    struct who who = who_of(UID);
    struct node_change c = { .set = NODE_SET_MODE, .mode = 0700 };
    struct node_attr attr;
    uint64_t dir = make_dir(&a, root_of(&a), "fate");
    UNUSED_STATE;

    make_dir(&a, root_of(&a), "twice");
    settle(&a);
    CHECK(shows(&b, "anna/labs/fate"));
    CHECK(shows(&b, "anna/labs/twice"));
    bed_stop(&bed);
    bed_sleep_ms(50);
    CHECK_EQ(node_setattr(a.v, &who, dir, &c, NULL, &attr), 0);
    CHECK_EQ(node_rename(a.v, &who, root_of(&a), view_text("twice"), root_of(&a), view_text("by-a"), 0), 0);
    CHECK_EQ(node_rmdir(b.v, &who, root_of(&b), view_text("fate")), 0);
    CHECK_EQ(node_rename(b.v, &who, root_of(&b), view_text("twice"), root_of(&b), view_text("by-b"), 0), 0);
    come_online();
    settle(&b);
    CHECK(shows(&b, "anna/labs/by-a"));
    CHECK_EQ(walk(&b, UID, "anna/labs/by-b"), 0);
    CHECK(shows(&a, "anna/labs/by-a"));
}

TEST(outbox__contents_changed_on_both_sides_become_a_copy)
{
    struct who who = who_of(UID);
    struct node_change c = { .set = NODE_SET_SIZE, .size = 3 };
    struct node_attr attr;
    struct file *open;
    uint64_t mine = create(&a, UID, root_of(&a), "both.dcm");
    uint64_t theirs;
    UNUSED_STATE;

    CHECK_EQ(fake_contents_seal(a.v, mine, 100), 0);
    settle(&a);
    CHECK(shows(&b, "anna/labs/both.dcm"));
    theirs = walk(&b, UID, "anna/labs/both.dcm");
    bed_stop(&bed);
    bed_sleep_ms(50);
    CHECK_EQ(open_file(&b, UID, theirs, O_RDWR, &open), 0);
    CHECK_EQ(node_setattr(b.v, &who, theirs, &c, NULL, &attr), 0);
    CHECK_EQ(fake_contents_seal(b.v, theirs, 222), 0);
    CHECK_EQ(fake_contents_seal(a.v, mine, 111), 0);
    file_release(open);
    come_online();
    for (int i = 0; i < 500 && count_conflicts(&b, "both") == 0; i++)
        bed_sleep_ms(10);
    CHECK_EQ(count_conflicts(&b, "both"), 1);
    CHECK_EQ(lookup(&b, UID, root_of(&b), "both.dcm", &attr), 0);
    CHECK_EQ(attr.st.st_size, 111);
    CHECK(attr.nodeid != theirs);
    settle(&b);
}

/* ---- keys of a file that is rewritten ---- */

static struct key_set *keys_of(struct mount_bed *m, const char *path)
{
    struct key_set *keys = NULL;

    CHECK_EQ(access_keys_local(m->v, walk(m, UID, path), &keys), 0);
    return keys;
}

static bool has_all(const struct key_set *keys, const struct key_set *of)
{
    for (size_t i = 0; i < of->count; i++) {
        const struct symkey *k = key_set_find(keys, of->keys[i].gen);

        if (!k || memcmp(k->b, of->keys[i].key->b, sizeof k->b) != 0)
            return false;
    }
    return true;
}

static void truncate_file(struct mount_bed *m, const char *path)
{
    struct file *open;

    CHECK_EQ(open_file(m, UID, walk(m, UID, path), O_RDWR | O_TRUNC, &open), 0);
    file_release(open);
}

TEST(outbox__a_truncation_keeps_the_keys_of_the_version_before)
{
    struct key_set *before;
    struct key_set *after;
    struct key_set *later;
    UNUSED_STATE;

    create(&a, UID, root_of(&a), "rewritten");
    settle(&a);
    before = keys_of(&a, "anna/labs/rewritten");
    truncate_file(&a, "anna/labs/rewritten"); /* and the writer is killed: the old version is what there is */
    after = keys_of(&a, "anna/labs/rewritten");
    CHECK_EQ(after->count, before->count + 1);
    CHECK(has_all(after, before));
    CHECK(after->keys[after->count - 1].gen > before->keys[before->count - 1].gen);
    settle(&a);
    for (int i = 0; i < 3 * FK_COUNT_MAX; i++) {
        truncate_file(&a, "anna/labs/rewritten");
        settle(&a);
    }
    later = keys_of(&a, "anna/labs/rewritten");
    CHECK(later->count > 1 && later->count < FK_COUNT_MAX); /* there is room for epochs */
    key_set_release(before);
    key_set_release(after);
    key_set_release(later);
}

TEST(outbox__a_truncation_on_both_sides_keeps_the_keys_of_both)
{
    enum { TRIES = 5 };
    char path[TRIES][32];
    struct key_set *mine = NULL;
    struct key_set *theirs = NULL;
    struct key_set *both;
    int at = TRIES;
    UNUSED_STATE;

    for (int i = 0; i < TRIES; i++) {
        snprintf(path[i], sizeof path[i], "anna/labs/twice-rewritten%d", i);
        CHECK_EQ(fake_contents_seal(a.v, create(&a, UID, root_of(&a), path[i] + strlen("anna/labs/")), 44), 0);
    }
    settle(&a);
    CHECK(shows(&b, path[TRIES - 1]));
    bed_stop(&bed);
    bed_sleep_ms(50);
    /* Generations are drawn: rarely both draw the same one (header_new.c). */
    for (int i = 0; i < TRIES && at == TRIES; i++) {
        truncate_file(&a, path[i]);
        truncate_file(&b, path[i]);
        mine = keys_of(&a, path[i]);
        theirs = keys_of(&b, path[i]);
        if (mine->keys[mine->count - 1].gen != theirs->keys[theirs->count - 1].gen) {
            at = i;
        } else {
            key_set_release(mine);
            key_set_release(theirs);
        }
    }
    CHECK(at < TRIES);
    come_online();
    settle(&b);
    both = keys_of(&b, path[at]);
    CHECK(has_all(both, mine));
    CHECK(has_all(both, theirs));
    CHECK_EQ(both->count, 3);
    key_set_release(mine);
    key_set_release(theirs);
    key_set_release(both);
}

/* As a truncation does, with this number for the fresh key. */
static void rekey_as(struct mount_bed *m, const char *path, uint32_t gen)
{
    struct key_set *old = keys_of(m, path);
    struct file_key keys[FK_COUNT_MAX] = { 0 };
    struct key_set *made = NULL;
    struct class_ctx ctx;
    struct names_tx tx;
    size_t n;

    CHECK_EQ(node_get_class(m->v, walk(m, UID, path), &ctx), 0);
    nsdb_lock(vault_get_nsdb(m->v));
    struct session *s = session_of_uid(m->v, UID);
    struct class_key *k = session_class(s->id, &ctx.class_id);

    for (n = 0; n <= old->count; n++) {
        keys[n].gen = n < old->count ? old->keys[n].gen : gen;
        keys[n].key = secret_alloc(sizeof *keys[n].key);
        CHECK(keys[n].key != NULL);
        if (n < old->count)
            memcpy(keys[n].key->b, old->keys[n].key->b, sizeof keys[n].key->b);
        else
            random_fill(keys[n].key->b, sizeof keys[n].key->b);
    }
    CHECK_EQ(header_new_wrap(&k->ctx, &k->a_pub, &old->ctx.file, old->ctx.hdr_gen + 1, keys, n, &made), 0);
    CHECK_EQ(names_begin(&tx, m->v, NULL, s, k), 0);
    CHECK_EQ(names_put_header(&tx, made), 0);
    CHECK_EQ(names_commit(&tx, NULL, true), 0);
    nsdb_unlock(vault_get_nsdb(m->v));
    key_set_release(made);
    key_set_release(old);
}

/* Both wrote the file under a key of their own with the same number; is_sealed: the first has sealed it. */
static void check_same_generation(const char *path, bool is_sealed)
{
    uint64_t nodeid = create(&a, UID, root_of(&a), path + strlen("anna/labs/"));
    struct key_set *mine;
    struct key_set *theirs;
    struct key_set *after;
    struct key_set *read_keys = NULL;
    struct file *open;
    uint64_t there;
    uint32_t gen;

    CHECK_EQ(fake_contents_seal(a.v, nodeid, 44), 0);
    settle(&a);
    CHECK(shows(&b, path));
    there = walk(&b, UID, path);
    bed_stop(&bed);
    bed_sleep_ms(50);
    truncate_file(&a, path);
    mine = keys_of(&a, path);
    gen = mine->keys[mine->count - 1].gen;
    rekey_as(&b, path, gen);
    theirs = keys_of(&b, path);
    CHECK_EQ(theirs->keys[theirs->count - 1].gen, gen);
    CHECK(!has_all(theirs, mine));
    CHECK_EQ(open_file(&b, UID, there, O_RDWR, &open), 0);
    CHECK_EQ(contents_truncate(vault_get_contents(b.v), there, file_get_access(open), 222, NULL), 0);
    file_release(open);
    CHECK_EQ(fake_contents_seal(b.v, there, 222), 0);
    if (is_sealed)
        CHECK_EQ(fake_contents_seal(a.v, nodeid, 111), 0);
    come_online();
    settle(&b);
    for (int i = 0; i < 500 && count_conflicts(&b, path + strlen("anna/labs/")) == 0; i++)
        bed_sleep_ms(10);
    CHECK_EQ(count_conflicts(&b, path + strlen("anna/labs/")), 1);
    read_keys = fake_contents_read_keys(b.v);
    CHECK(read_keys != NULL && has_all(read_keys, theirs)); /* what the copy was read with */
    after = keys_of(&b, path);
    CHECK(has_all(after, mine)); /* the first committer's */
    CHECK(walk(&b, UID, path) != there);
    CHECK_EQ(size_within(&b, path, is_sealed ? 111 : 44), is_sealed ? 111 : 44);
    key_set_release(read_keys);
    key_set_release(mine);
    key_set_release(theirs);
    key_set_release(after);
}

TEST(outbox__contents_under_a_generation_that_both_drew_become_a_copy)
{
    UNUSED_STATE;
    check_same_generation("anna/labs/drawn", true);
    check_same_generation("anna/labs/drawn-unsealed", false);
}

TEST(outbox__what_is_written_to_a_file_after_another_version_came_becomes_a_copy)
{
    uint64_t nodeid = create(&a, UID, root_of(&a), "late.dcm");
    struct content_row row;
    struct file *open;
    uint64_t there;
    UNUSED_STATE;

    CHECK_EQ(fake_contents_seal(a.v, nodeid, 44), 0);
    settle(&a);
    CHECK(shows(&b, "anna/labs/late.dcm"));
    there = walk(&b, UID, "anna/labs/late.dcm");
    CHECK_EQ(open_file(&b, UID, there, O_RDWR, &open), 0);
    CHECK_EQ(fake_contents_seal(a.v, nodeid, 55), 0);
    settle(&a);
    CHECK_EQ(size_within(&b, "anna/labs/late.dcm", 55), 55);
    CHECK(walk(&b, UID, "anna/labs/late.dcm") != there);
    CHECK_EQ(contents_truncate(vault_get_contents(b.v), there, file_get_access(open), 7, NULL), 0);
    CHECK_EQ(nsdb_content_get(vault_get_nsdb(b.v), there, NULL, &row), 0);
    CHECK_EQ(row.state, CONTENT_DIRTY);
    file_release(open);
    for (int i = 0; i < 500 && count_conflicts(&b, "late") == 0; i++)
        bed_sleep_ms(10);
    CHECK_EQ(count_conflicts(&b, "late"), 1);
    bed_sleep_ms(400); /* and is copied once */
    CHECK_EQ(count_conflicts(&b, "late"), 1);
    CHECK_EQ(nsdb_content_get(vault_get_nsdb(b.v), there, NULL, &row), -ENOENT);
}

/* ---- a new epoch beside pending changes ---- */

struct copy_rows {
    const struct tiny_class *from;
    const struct tiny_class *to;
    struct writer rows[64];
    struct id16 ids[64];
    size_t count;
};

/* The compartment's rows under the next names key: what the owner's client does (EPOCH). */
static void add_next_row(struct copy_rows *c, enum snapshot_kind kind, struct view bytes)
{
    struct writer *out = &c->rows[c->count];
    struct writer sealed;

    writer_init(out);
    writer_init(&sealed);
    if (kind == SNAPSHOT_DENTRY) {
        struct dentry_row row;
        struct dentry d;

        CHECK_EQ(dentry_row_decode(bytes, &row), 0);
        CHECK_EQ(dentry_open_sealed(&c->from->rows, &row, &d), 0);
        row.tag = name_tag(&c->to->rows, &row.parent, view_of(d.name, d.name_bytes));
        CHECK_EQ(dentry_seal(&c->to->rows, &row, &d, &sealed), 0);
        row.sealed = writer_done(&sealed);
        dentry_row_encode(&row, out);
        c->ids[c->count] = row.row;
    } else {
        struct writer plain;
        struct inode_row row;
        struct inode_attr attr;

        writer_init(&plain);
        CHECK_EQ(inode_row_decode(bytes, &row), 0);
        CHECK_EQ(inode_open_sealed(&c->from->rows, &row, &plain, &attr), 0);
        CHECK_EQ(inode_seal(&c->to->rows, &row, &attr, &sealed), 0);
        row.sealed = writer_done(&sealed);
        inode_row_encode(&row, out);
        c->ids[c->count] = row.ino;
        inode_plain_free(&plain);
    }
    writer_fini(&sealed);
    c->count++;
}

static void sort_rows(struct copy_rows *c)
{
    for (size_t i = 1; i < c->count; i++) {
        for (size_t j = i; j > 0 && memcmp(c->ids[j - 1].b, c->ids[j].b, 16) > 0; j--) {
            struct writer w = c->rows[j];
            struct id16 id = c->ids[j];

            c->rows[j] = c->rows[j - 1];
            c->ids[j] = c->ids[j - 1];
            c->rows[j - 1] = w;
            c->ids[j - 1] = id;
        }
    }
}

static void copy_all(struct nsdb *db, struct copy_rows *dentries, struct copy_rows *inodes)
{
    static const char d_sql[] = "SELECT row, parent, tag, version, sealed FROM dentry";
    static const char i_sql[] = "SELECT ino, version, sealed FROM inode WHERE kind < 2 AND gone = 0";
    struct nsdb_stmt s;

    nsdb_query(db, d_sql, &s);
    while (nsdb_step(&s) > 0) {
        struct dentry_row row = { .version = nsdb_col_u64(&s, 3), .sealed = nsdb_col_view(&s, 4) };
        struct writer w;

        CHECK(nsdb_col_id(&s, 0, &row.row));
        CHECK(nsdb_col_id(&s, 1, &row.parent));
        CHECK(nsdb_col_id(&s, 2, &row.tag));
        writer_init(&w);
        dentry_row_encode(&row, &w);
        add_next_row(dentries, SNAPSHOT_DENTRY, writer_done(&w));
        writer_fini(&w);
    }
    nsdb_end(&s);
    nsdb_query(db, i_sql, &s);
    while (nsdb_step(&s) > 0) {
        struct inode_row row = { .version = nsdb_col_u64(&s, 1), .sealed = nsdb_col_view(&s, 2) };
        struct writer w;

        CHECK(nsdb_col_id(&s, 0, &row.ino));
        writer_init(&w);
        inode_row_encode(&row, &w);
        add_next_row(inodes, SNAPSHOT_INODE, writer_done(&w));
        writer_fini(&w);
    }
    nsdb_end(&s);
}

/* epoch-begin and epoch, from the rows of a host that has nothing pending. */
static void new_epoch(struct mount_bed *m)
{
    struct tiny_class *now = &bed.realm.labs;
    struct class_ctx ctx = now->ctx;
    struct tiny_class next;
    struct tiny_op *begin = tiny_op_new(&now->ctx);
    struct tiny_op *t;
    struct copy_rows dentries = { .from = now, .to = &next };
    struct copy_rows inodes = { .from = now, .to = &next };
    struct view d_views[64];
    struct view i_views[64];
    struct snapshot_rows rows[SNAPSHOT_KINDS] = { { d_views, 0 }, { i_views, 0 } };
    struct snapshot_head head = { 0 };
    struct writer object;
    struct writer record;
    struct writer names;
    struct epoch_change change;

    ctx.epoch++;
    next = tiny_class_new(&ctx);
    tiny_put_ctx(begin, CHANGE_EPOCH_BEGIN, &now->ctx);
    CHECK_EQ(bed_push(&bed, begin, &bed.realm.owner, NULL), 0);
    copy_all(vault_get_nsdb(m->v), &dentries, &inodes);
    sort_rows(&dentries);
    sort_rows(&inodes);
    for (size_t i = 0; i < dentries.count; i++)
        d_views[i] = writer_done(&dentries.rows[i]);
    for (size_t i = 0; i < inodes.count; i++)
        i_views[i] = writer_done(&inodes.rows[i]);
    rows[SNAPSHOT_DENTRY].count = dentries.count;
    rows[SNAPSHOT_INODE].count = inodes.count;
    head.ctx = ctx;
    writer_init(&object);
    CHECK_EQ(snapshot_encode(&head, rows, &object), 0);
    change.object_id = digest_sha256(writer_done(&object));
    bed.objects[bed.object_count].id = change.object_id;
    bed.objects[bed.object_count].p = writer_take(&object, &bed.objects[bed.object_count].n);
    bed.object_count++;
    t = tiny_op_new(&ctx);
    writer_init(&record);
    writer_init(&names);
    tiny_write_record(&next, &bed.realm.owner, &record);
    tiny_write_header(&next, &ctx.class_id, 2, next.nk, NULL, &names);
    change.class_record = writer_done(&record);
    change.names_header = writer_done(&names);
    epoch_encode(&change, tiny_op_add(t, CHANGE_EPOCH));
    CHECK_EQ(bed_push(&bed, t, &bed.realm.owner, NULL), 0);
    for (size_t i = 0; i < dentries.count; i++)
        writer_fini(&dentries.rows[i]);
    for (size_t i = 0; i < inodes.count; i++)
        writer_fini(&inodes.rows[i]);
    writer_fini(&record);
    writer_fini(&names);
    tiny_class_fini(now);
    *now = next;
}

TEST(outbox__pending_changes_are_made_anew_after_an_epoch_change)
{
    struct who who = who_of(UID);
    struct node_attr attr;
    struct node_change c = { .set = NODE_SET_MODE, .mode = 0711 };
    uint64_t kept = make_dir(&a, root_of(&a), "kept");
    uint64_t file;
    struct file *open;
    UNUSED_STATE;

    settle(&a);
    settle(&b);
    CHECK(shows(&b, "anna/labs/kept"));
    bed_stop(&bed);
    bed_sleep_ms(50);
    /* b works offline: a new file that stays open, a rename, a chmod. */
    CHECK_EQ(node_create(b.v, &who, root_of(&b), view_text("pending.txt"), 0644, O_RDWR, &attr, &open), 0);
    file = attr.nodeid;
    CHECK_EQ(fake_contents_seal(b.v, file, 33), 0);
    CHECK_EQ(node_rename(b.v, &who, root_of(&b), view_text("kept"), root_of(&b), view_text("renamed"), 0), 0);
    CHECK_EQ(node_setattr(b.v, &who, walk(&b, UID, "anna/labs/renamed"), &c, NULL, &attr), 0);
    new_epoch(&a); /* a is behind the SRS by now, and has nothing pending */
    bed_start(&bed);
    for (int i = 0; i < 200 && !link_is_up(vault_get_link(b.v)); i++)
        bed_sleep_ms(10);
    settle(&b);
    CHECK_EQ(walk(&b, UID, "anna/labs/pending.txt"), file);
    file_release(open);
    CHECK(shows(&a, "anna/labs/pending.txt"));
    CHECK(shows(&a, "anna/labs/renamed"));
    CHECK_EQ(walk(&a, UID, "anna/labs/renamed"), kept);
    CHECK_EQ(mode_within(&a, kept, 0711), 0711);
    CHECK_EQ(size_within(&a, "anna/labs/pending.txt", 33), 33);
    /* And everything goes on under the new keys. */
    make_dir(&a, root_of(&a), "after");
    settle(&a);
    CHECK(shows(&b, "anna/labs/after"));
}

/* Another host changes the mode of the compartment's root, on what m knows of it. */
static void touch_root_elsewhere(struct mount_bed *m, uint32_t mode)
{
    struct tiny_class *labs = &bed.realm.labs;
    struct tiny_op *t = tiny_op_new(&labs->ctx);
    struct inode_attr attr = { .mode = S_IFDIR | mode, .patient_name = view_text("anna"),
                               .compartment_name = view_text("labs") };
    struct inode_row row = { .ino = labs->ctx.class_id };
    struct name_inode now;
    struct nsdb_stmt s;
    struct writer sealed;

    CHECK_EQ(nsdb_inode_find(vault_get_nsdb(m->v), &labs->ctx.class_id, &s, &now), 0);
    row.version = now.conf + 1;
    nsdb_end(&s);
    writer_init(&sealed);
    CHECK_EQ(inode_seal(&labs->rows, &row, &attr, &sealed), 0);
    row.sealed = writer_done(&sealed);
    inode_row_encode(&row, tiny_op_add(t, CHANGE_INODE));
    writer_fini(&sealed);
    CHECK_EQ(bed_push(&bed, t, &bed.realm.owner, NULL), 0);
}

/* What m would push. */
static struct writer take_push(struct mount_bed *m)
{
    const struct outbox_wish wish = { .hold_ms = 0 };
    struct writer payload;
    uint64_t ids[128];
    size_t count = 0;

    writer_init(&payload);
    CHECK_EQ(outbox_take(m->v, &bed.realm.patient, &wish, &payload, ids, &count), 0);
    CHECK(count > 0);
    return payload;
}

/* Straight to the server: taken, but who made it has not heard of it. */
static void push_unheard(struct writer payload)
{
    CHECK_EQ(bed_submit_push(&bed, writer_done(&payload)), 0);
    writer_fini(&payload);
}

/*
 * A push is taken behind an entry that the host has not seen and that takes its changes back: they
 * are made anew, and then the first ones come back.
 */
TEST(outbox__ops_that_were_taken_survive_a_rebase_before_they_are_seen)
{
    struct who who = who_of(UID);
    struct vault_backlog left;
    uint64_t file;
    UNUSED_STATE;

    make_dir(&a, root_of(&a), "first");
    settle(&a);
    CHECK(shows(&b, "anna/labs/first"));
    bed_stop(&bed);
    bed_sleep_ms(50);
    touch_root_elsewhere(&a, 0750);
    file = create(&a, UID, root_of(&a), "echo");
    create(&a, UID, root_of(&a), "removed");
    CHECK_EQ(node_rename(a.v, &who, root_of(&a), view_text("first"), root_of(&a), view_text("second"), 0), 0);
    CHECK_EQ(vault_sync(a.v, 0, &left), 0); /* attributes are signed: the root is changed here too */
    push_unheard(take_push(&a));
    CHECK_EQ(fake_contents_seal(a.v, file, 44), 0);
    CHECK_EQ(node_rename(a.v, &who, root_of(&a), view_text("second"), root_of(&a), view_text("third"), 0), 0);
    CHECK_EQ(node_unlink(a.v, &who, root_of(&a), view_text("removed")), 0);
    bed_start(&bed);
    for (int i = 0; i < 200 && !link_is_up(vault_get_link(a.v)); i++)
        bed_sleep_ms(10);
    settle(&a);
    CHECK(shows(&b, "anna/labs/third"));
    CHECK_EQ(size_within(&b, "anna/labs/echo", 44), 44);
    settle(&b);
    for (struct mount_bed *m = &a; m; m = m == &a ? &b : NULL) {
        CHECK(shows(m, "anna/labs/third"));
        CHECK(shows(m, "anna/labs/echo"));
        CHECK_EQ(walk(m, UID, "anna/labs/first"), 0);
        CHECK_EQ(walk(m, UID, "anna/labs/second"), 0);
        CHECK_EQ(walk(m, UID, "anna/labs/removed"), 0);
        CHECK_EQ(count_conflicts(m, "echo"), 0);
        CHECK_EQ(count_conflicts(m, "third"), 0);
        CHECK_EQ(count_conflicts(m, "second"), 0);
    }
}

static uint64_t head_of(struct mount_bed *m)
{
    struct digest leaf;
    uint64_t seq = 0;

    CHECK_EQ(nsdb_patient_get(vault_get_nsdb(m->v), &bed.realm.patient, &seq, &leaf), 0);
    return seq;
}

/*
 * A push is on its way for so long that a fetch and a rebase come in between, and what it makes was
 * removed here: it does not come back.
 */
/* Made by the owner; its push is taken after the rebase, and this uid removed it in between. */
static void check_late_push(uint32_t remover, uint32_t mode)
{
    struct who who = who_of(remover);
    struct vault_backlog left;
    struct writer late;
    uint64_t before;

    settle(&a);
    settle(&b);
    before = head_of(&a);
    bed_stop(&bed);
    bed_sleep_ms(50);
    touch_root_elsewhere(&a, mode);
    make_dir(&a, root_of(&a), "gone");
    CHECK_EQ(vault_sync(a.v, 0, &left), 0); /* attributes are signed: the root is changed here too */
    late = take_push(&a);
    CHECK_EQ(node_rmdir(a.v, &who, root_of(&a), view_text("gone")), 0);
    atomic_store(&bed.refuses_pushes, 1);
    bed_start(&bed);
    for (int i = 0; i < 300 && head_of(&a) == before; i++)
        bed_sleep_ms(10);
    CHECK_EQ(head_of(&a), before + 1); /* fetched: what is here was made anew */
    bed_sleep_ms(300);
    push_unheard(late);
    CHECK(shows(&b, "anna/labs/gone"));
    atomic_store(&bed.refuses_pushes, 0);
    settle(&a);
    for (int i = 0; i < 300 && walk(&b, UID, "anna/labs/gone") != 0; i++)
        bed_sleep_ms(10);
    CHECK_EQ(walk(&a, UID, "anna/labs/gone"), 0);
    CHECK_EQ(walk(&b, UID, "anna/labs/gone"), 0);
}

TEST(outbox__what_was_removed_stays_removed_when_its_push_comes_late)
{
    UNUSED_STATE;
    check_late_push(UID, 0710);
}

/* The writer holds no key of what the owner has sealed meanwhile: no header of his may take it away. */
TEST(outbox__a_truncation_by_who_cannot_open_the_other_keeps_both)
{
    enum { OTHER_UID = 1001 };
    const char *path = "anna/labs/unopened";
    uint64_t nodeid = create(&a, UID, root_of(&a), "unopened");
    struct key_set *mine;
    struct key_set *after;
    struct file *open;
    uint64_t there;
    UNUSED_STATE;

    CHECK_EQ(fake_contents_seal(a.v, nodeid, 44), 0);
    settle(&a);
    CHECK(shows(&b, path));
    CHECK_EQ(vault_logout(b.v, UID, &(uint32_t){ 0 }), 0);
    mount_login(&b, OTHER_UID, &bed.realm.writer);
    for (int i = 0; i < 300 && walk(&b, OTHER_UID, path) == 0; i++)
        bed_sleep_ms(10);
    there = walk(&b, OTHER_UID, path);
    CHECK(there != 0);
    bed_stop(&bed);
    bed_sleep_ms(50);
    truncate_file(&a, path);
    CHECK_EQ(fake_contents_seal(a.v, nodeid, 111), 0);
    mine = keys_of(&a, path);
    CHECK_EQ(open_file(&b, OTHER_UID, there, O_RDWR | O_TRUNC, &open), 0);
    CHECK_EQ(contents_truncate(vault_get_contents(b.v), there, file_get_access(open), 222, NULL), 0);
    file_release(open);
    CHECK_EQ(fake_contents_seal(b.v, there, 222), 0);
    mount_close(&b);
    bed_start(&bed);
    for (int i = 0; i < 200 && !link_is_up(vault_get_link(a.v)); i++)
        bed_sleep_ms(10);
    settle(&a);
    mount_open(&b, &bed, "hostb", VAULT_OWNERSHIP_STORED);
    mount_login(&b, OTHER_UID, &bed.realm.writer);
    settle(&b);
    mount_login(&b, UID, &bed.realm.owner);
    for (int i = 0; i < 500 && count_conflicts(&b, "unopened") == 0; i++)
        bed_sleep_ms(10);
    CHECK_EQ(count_conflicts(&b, "unopened"), 1);
    CHECK_EQ(size_within(&a, path, 111), 111);
    after = keys_of(&a, path);
    CHECK(has_all(after, mine));
    key_set_release(mine);
    key_set_release(after);
}

TEST(outbox__what_another_person_removed_stays_removed_when_its_push_comes_late)
{
    enum { OTHER_UID = 1001 };
    UNUSED_STATE;

    ignored(bed_grant(&bed, &bed.realm.writer, GRANT_RW));
    settle(&a);
    mount_login(&a, OTHER_UID, &bed.realm.writer);
    for (int i = 0; i < 300 && walk(&a, OTHER_UID, "anna/labs") == 0; i++)
        bed_sleep_ms(10);
    check_late_push(OTHER_UID, 0770);
}

/* In the place of libc's, also for SQLite. */
static atomic_int syncs;
static atomic_bool sync_fails;

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    if (atomic_load(&sync_fails)) {
        errno = EIO;
        return -1;
    }
    atomic_fetch_add(&syncs, 1);
    return (int)syscall(SYS_fdatasync, fd);
}

TEST(outbox__a_seal_leaves_only_when_it_is_on_disk)
{
    const struct outbox_wish wish = { .hold_ms = 0 };
    struct writer payload;
    uint64_t ids[128];
    size_t count = 0;
    uint64_t file;
    int before;
    UNUSED_STATE;

    settle(&a);
    bed_stop(&bed);
    bed_sleep_ms(50);
    file = create(&a, UID, root_of(&a), "sealed");
    CHECK_EQ(fake_contents_seal(a.v, file, 55), 0);
    writer_init(&payload);
    atomic_store(&sync_fails, true);
    CHECK(outbox_take(a.v, &bed.realm.patient, &wish, &payload, ids, &count) < 0); /* OUTBOX-4 */
    CHECK_EQ(count, 0);
    CHECK_EQ(payload.n, 0);
    atomic_store(&sync_fails, false);
    before = atomic_load(&syncs);
    CHECK_EQ(outbox_take(a.v, &bed.realm.patient, &wish, &payload, ids, &count), 0);
    CHECK(count > 1); /* the file's names and its seal */
    CHECK(atomic_load(&syncs) > before);
    writer_fini(&payload);
    bed_start(&bed);
    for (int i = 0; i < 200 && !link_is_up(vault_get_link(a.v)); i++)
        bed_sleep_ms(10);
    settle(&a);
    CHECK_EQ(size_within(&b, "anna/labs/sealed", 55), 55);
}

static bool has_ledger(struct mount_bed *m, const struct id16 *patient)
{
    struct digest leaf;
    uint64_t seq;

    return nsdb_patient_get(vault_get_nsdb(m->v), patient, &seq, &leaf) == 0;
}

TEST(outbox__ledgers_that_concern_nobody_here_stay_away)
{
    enum { READER_UID = UID + 1 };
    struct tiny_person owner = tiny_person_new(CARD_OWNER, "", &bed.realm.authority);
    const struct class_ctx wide = { .patient = owner.card.user };
    const struct class_ctx ctx = { owner.card.user, random_id(), 1 };
    struct tiny_class notes = tiny_class_new(&ctx);
    struct tiny_op *t = tiny_op_new(&wide);
    struct grant wish = tiny_wish(GRANT_R);
    struct tiny_grant g;
    uint32_t unsealed;
    UNUSED_STATE;

    bed.watched = owner.card.user;
    mount_login(&a, READER_UID, &bed.realm.reader);
    tiny_put_card(t, &owner);
    tiny_write_record(&notes, &owner, tiny_op_add(t, CHANGE_CLASS_RECORD));
    bed_put_root(t, &notes, "berta", "notes");
    CHECK_EQ(bed_push(&bed, t, &owner, NULL), 0);
    /* Both say that nothing of it is to come, so a revocation waits for neither. */
    for (int i = 0; i < 300 && atomic_load(&bed.watched_applied) < 2; i++)
        bed_sleep_ms(10);
    CHECK_EQ(atomic_load(&bed.watched_applied), 2);
    CHECK(!has_ledger(&a, &bed.watched));
    CHECK(!has_ledger(&b, &bed.watched));
    t = tiny_op_new(&ctx);
    tiny_put_card(t, &bed.realm.reader);
    g = tiny_put_grant(t, &notes, &owner, &bed.realm.reader, &bed.realm.srs.card.b, &wish);
    CHECK_EQ(bed_push(&bed, t, &owner, &g), 0);
    for (int i = 0; i < 300 && !(has_ledger(&a, &bed.watched) && atomic_load(&bed.watched_applied) == 4); i++)
        bed_sleep_ms(10);
    CHECK(has_ledger(&a, &bed.watched)); /* the reader is logged in there */
    CHECK(!has_ledger(&b, &bed.watched));
    mount_login(&b, READER_UID, &bed.realm.reader);
    CHECK(has_ledger(&b, &bed.watched)); /* a login waits for it */
    CHECK_EQ(vault_logout(a.v, READER_UID, &unsealed), 0);
    CHECK_EQ(vault_logout(b.v, READER_UID, &unsealed), 0);
    tiny_class_fini(&notes);
    tiny_person_fini(&owner);
}

TEST(outbox__a_logged_out_writer_stays_pending)
{
    uint32_t unsealed;
    uint64_t file;
    UNUSED_STATE;

    settle(&b);
    bed_stop(&bed);
    bed_sleep_ms(50);
    file = create(&b, UID, root_of(&b), "later");
    CHECK_EQ(fake_contents_seal(b.v, file, 5), 0);
    CHECK_EQ(vault_logout(b.v, UID, &unsealed), 0);
    new_epoch(&a);
    bed_start(&bed);
    for (int i = 0; i < 100 && !link_is_up(vault_get_link(b.v)); i++)
        bed_sleep_ms(10);
    bed_sleep_ms(600);
    mount_close(&b); /* and over a restart */
    mount_open(&b, &bed, "hostb", VAULT_OWNERSHIP_STORED);
    bed_sleep_ms(300);
    mount_login(&b, UID, &bed.realm.owner);
    CHECK(shows(&b, "anna/labs/later"));
    settle(&b);
    CHECK(shows(&a, "anna/labs/later"));
}

TEST(outbox__what_was_acknowledged_survives_a_kill)
{
    struct who who = who_of(UID);
    struct node_attr attr;
    int status;
    pid_t pid;
    UNUSED_STATE;

    settle(&b);
    mount_close(&b);
    pid = fork();
    if (pid == 0) {
        struct mount_bed child;

        /* Its own vault, threads and all; phrd stays with the parent. */
        mount_open(&child, &bed, "hostb", VAULT_OWNERSHIP_STORED);
        mount_login(&child, UID, &bed.realm.owner);
        make_dir(&child, root_of(&child), "killed");
        create(&child, UID, root_of(&child), "maybe");
        CHECK_EQ(node_rename(child.v, &who, root_of(&child), view_text("killed"), root_of(&child),
                             view_text("kept-over-kill"), 0), 0);
        raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    mount_open(&b, &bed, "hostb", VAULT_OWNERSHIP_STORED);
    mount_login(&b, UID, &bed.realm.owner);
    CHECK(walk(&b, UID, "anna/labs/kept-over-kill") != 0);
    CHECK_EQ(lookup(&b, UID, root_of(&b), "killed", &attr), -ENOENT);
    CHECK(walk(&b, UID, "anna/labs/maybe") != 0); /* the rename committed what came before it */
    settle(&b);
    CHECK(shows(&a, "anna/labs/kept-over-kill"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(outbox__a_change_of_one_host_shows_on_the_other),
        UNIT(outbox__the_first_committer_keeps_the_name),
        UNIT(outbox__edit_beats_delete_and_the_first_rename_wins),
        UNIT(outbox__contents_changed_on_both_sides_become_a_copy),
        UNIT(outbox__a_truncation_keeps_the_keys_of_the_version_before),
        UNIT(outbox__a_truncation_on_both_sides_keeps_the_keys_of_both),
        UNIT(outbox__contents_under_a_generation_that_both_drew_become_a_copy),
        UNIT(outbox__what_is_written_to_a_file_after_another_version_came_becomes_a_copy),
        UNIT(outbox__pending_changes_are_made_anew_after_an_epoch_change),
        UNIT(outbox__ops_that_were_taken_survive_a_rebase_before_they_are_seen),
        UNIT(outbox__a_logged_out_writer_stays_pending),
        UNIT(outbox__what_was_acknowledged_survives_a_kill),
        UNIT(outbox__what_was_removed_stays_removed_when_its_push_comes_late),
        UNIT(outbox__a_seal_leaves_only_when_it_is_on_disk),
        UNIT(outbox__ledgers_that_concern_nobody_here_stay_away),
        UNIT(outbox__what_another_person_removed_stays_removed_when_its_push_comes_late),
        UNIT(outbox__a_truncation_by_who_cannot_open_the_other_keeps_both),
    };

    if (secret_arena_open() < 0)
        return 1;
    if (getenv("PHR_TEST_DEBUG"))
        log_open("test", LOG_LEVEL_DEBUG);
    return cmocka_run_group_tests(tests, setup, teardown);
}
