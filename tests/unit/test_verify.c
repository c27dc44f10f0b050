/* The rules of the chain, each by an op or entry that breaks it. */
#include "tiny_realm.h"

#include "ledger/state_memory.h"

struct chain {
    struct tiny_realm realm;
    struct state_memory *memory;
    const struct ledger_state *state;
    uint64_t seq;
    bool has_head;
    struct digest leaf;
    struct writer object; /* what the loader hands out */
};

static int load_object(void *user, const struct id16 *patient, const struct digest *id,
                       uint8_t **out_p, size_t *out_n)
{
    struct chain *c = user;

    (void)patient;
    (void)id;
    if (c->object.n == 0)
        return PHR_E_PENDING;
    *out_p = malloc(c->object.n);
    memcpy(*out_p, c->object.p, c->object.n);
    *out_n = c->object.n;
    return 0;
}

/* Verified and applied as the SRS does. */
static int push(struct chain *c, struct tiny_op *t, const struct tiny_person *by)
{
    const struct signed_op op = tiny_op_sign(t, by, &c->realm.host, ++c->realm.n);
    const uint64_t now_s = clock_realtime_s();
    int rc = verify_op(c->state, &c->realm.anchor, &op, now_s);

    if (rc == 0)
        rc = verify_op_apply(c->state, &op, now_s);
    tiny_op_free(t);
    return rc;
}

/* Signed by the SRS and applied as a mount does. */
static int place(struct chain *c, struct tiny_op *t, const struct tiny_person *by)
{
    struct signed_op op = tiny_op_sign(t, by, &c->realm.host, ++c->realm.n);
    struct entry e = { .patient = c->realm.patient,
                       .seq = c->has_head ? c->seq + 1 : 0,
                       .prev = c->leaf,
                       .type = ENTRY_TYPE_OPS,
                       .time_s = clock_realtime_s(),
                       .srs = c->realm.srs.card.user,
                       .srs_card = c->realm.srs.card.hash,
                       .op_count = 1,
                       .ops = &op };
    struct writer bytes;
    int rc;

    writer_init(&bytes);
    CHECK_EQ(entry_encode(&e, c->realm.srs.sign, &bytes), 0);
    rc = verify_entry_apply(c->state, &c->realm.anchor, writer_done(&bytes), 0);
    if (rc == 0) {
        c->seq = e.seq;
        c->leaf = e.leaf;
        c->has_head = true;
    }
    writer_fini(&bytes);
    tiny_op_free(t);
    return rc;
}

static struct chain *chain_new(void)
{
    struct chain *c = calloc(1, sizeof *c);

    assert_non_null(c);
    tiny_realm_init(&c->realm);
    CHECK_EQ(state_memory_new(&c->memory), 0);
    c->state = state_memory_get_state(c->memory);
    writer_init(&c->object);
    state_memory_set_loader(c->memory, load_object, c);
    CHECK_EQ(place(c, tiny_genesis(&c->realm), &c->realm.owner), 0);
    return c;
}

static void chain_free(struct chain *c)
{
    state_memory_free(c->memory);
    tiny_realm_fini(&c->realm);
    writer_fini(&c->object);
    free(c);
}

static struct tiny_grant grant_to(struct chain *c, const struct tiny_person *p,
                                  enum grant_rights rights)
{
    const struct grant wish = tiny_wish(rights);
    const struct class_ctx wide = { .patient = c->realm.patient };
    struct tiny_op *t = tiny_op_new(&wide);
    struct tiny_grant g;

    tiny_put_card(t, p);
    g = tiny_put_grant(t, &c->realm.labs, &c->realm.owner, p, &c->realm.srs.card.b,
                       &wish);
    CHECK_EQ(push(c, t, &c->realm.owner), 0);
    return g;
}

static struct tiny_op *create(struct chain *c, const char *name, struct id16 *out_file,
                              struct id16 *out_row)
{
    *out_file = random_id();
    *out_row = random_id();
    return tiny_create(&c->realm.labs, name, out_file, out_row, NULL);
}

TEST(verify__genesis_is_the_owners_alone)
{
    struct chain *c = calloc(1, sizeof *c);
    struct tiny_op *t;

    UNUSED_STATE;
    assert_non_null(c);
    tiny_realm_init(&c->realm);
    CHECK_EQ(state_memory_new(&c->memory), 0);
    c->state = state_memory_get_state(c->memory);
    CHECK_EQ(push(c, tiny_genesis(&c->realm), &c->realm.reader), PHR_E_CARD);
    t = tiny_op_new(&c->realm.labs.ctx);
    tiny_put_class(t, &c->realm.labs, &c->realm.owner); /* without the card */
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_CARD);
    t = tiny_op_new(&c->realm.labs.ctx);
    tiny_put_card(t, &c->realm.reader);
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_CARD);
    CHECK_EQ(push(c, tiny_genesis(&c->realm), &c->realm.owner), 0);
    CHECK_EQ(push(c, tiny_genesis(&c->realm), &c->realm.owner),
             PHR_E_STALE); /* the class is there */
    chain_free(c);
}

TEST(verify__owner_creates_renames_removes)
{
    struct chain *c = chain_new();
    const struct tiny_class *labs = &c->realm.labs;
    struct id16 file, row;
    struct tiny_op *t = create(c, "a", &file, &row);

    UNUSED_STATE;
    CHECK_EQ(place(c, t, &c->realm.owner), 0);
    t = tiny_op_new(&labs->ctx);
    tiny_put_dentry(t, labs, &row, &labs->ctx.class_id, "b", &file, 2);
    CHECK_EQ(place(c, t, &c->realm.owner), 0);
    t = tiny_op_new(&labs->ctx);
    tiny_put_dentry(t, labs, &row, &labs->ctx.class_id, "c", &file,
                    2); /* replaces what is no more */
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_STALE);
    t = tiny_op_new(&labs->ctx);
    tiny_put_remove(t, &row, 2);
    tiny_put_remove(t, &file, 1);
    CHECK_EQ(place(c, t, &c->realm.owner), 0);
    t = tiny_op_new(&labs->ctx);
    tiny_put_header(t, labs, &file, 2, NULL); /* of a file that is gone */
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_STALE);
    CHECK_EQ(place(c, create(c, "b", &file, &row), &c->realm.owner),
             0); /* the name is free again */
    chain_free(c);
}

TEST(verify__one_live_dentry_per_name)
{
    struct chain *c = chain_new();
    const struct tiny_class *labs = &c->realm.labs;
    struct id16 file, row, file2, row2;
    struct tiny_op *t;

    UNUSED_STATE;
    CHECK_EQ(push(c, create(c, "a", &file, &row), &c->realm.owner), 0);
    CHECK_EQ(push(c, create(c, "a", &file2, &row2), &c->realm.owner), PHR_E_STALE);
    CHECK_EQ(push(c, create(c, "b", &file2, &row2), &c->realm.owner), 0);
    /* rename over: the old one is removed by the same op */
    t = tiny_op_new(&labs->ctx);
    tiny_put_remove(t, &row, 1);
    tiny_put_remove(t, &file, 1);
    tiny_put_dentry(t, labs, &row2, &labs->ctx.class_id, "a", &file2, 2);
    CHECK_EQ(push(c, t, &c->realm.owner), 0);
    CHECK_EQ(push(c, create(c, "a", &file, &row), &c->realm.owner), PHR_E_STALE);
    CHECK_EQ(push(c, create(c, "b", &file, &row), &c->realm.owner), 0);
    /* two of one name in one op */
    file = random_id();
    row = random_id();
    t = create(c, "c", &file2, &row2);
    tiny_put_dentry(t, labs, &row, &labs->ctx.class_id, "c", &file, 1);
    tiny_put_inode(t, labs, &file, 1);
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_STALE);
    chain_free(c);
}

TEST(verify__folders_are_there_and_removed_empty)
{
    struct chain *c = chain_new();
    const struct tiny_class *labs = &c->realm.labs;
    const struct id16 dir = random_id(), dir_row = random_id();
    struct id16 file = random_id(), row = random_id();
    struct tiny_op *t = tiny_op_new(&labs->ctx);

    UNUSED_STATE;
    tiny_put_dentry(t, labs, &row, &dir, "x", &file,
                    1); /* into a folder that is not there */
    tiny_put_inode(t, labs, &file, 1);
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_STALE);
    t = tiny_op_new(&labs->ctx);
    tiny_put_dentry(t, labs, &row, &dir, "x", &file,
                    1); /* the child first, in the same op */
    tiny_put_inode(t, labs, &file, 1);
    tiny_put_dentry(t, labs, &dir_row, &labs->ctx.class_id, "dir", &dir, 1);
    tiny_put_inode(t, labs, &dir, 1);
    CHECK_EQ(push(c, t, &c->realm.owner), 0);
    t = tiny_op_new(&labs->ctx);
    tiny_put_remove(t, &dir_row, 1);
    tiny_put_remove(t, &dir, 1);
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_STALE); /* somebody's file lies in it */
    t = tiny_op_new(&labs->ctx);
    tiny_put_remove(t, &dir_row, 1);
    tiny_put_remove(t, &dir, 1);
    tiny_put_remove(t, &row, 1);
    tiny_put_remove(t, &file, 1);
    CHECK_EQ(push(c, t, &c->realm.owner), 0);
    t = tiny_op_new(&labs->ctx);
    tiny_put_remove(t, &labs->ctx.class_id, 1);
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_RIGHTS);
    chain_free(c);
}

TEST(verify__writers_need_a_live_grant_of_the_class_epoch)
{
    struct chain *c = chain_new();
    struct id16 file, row;
    struct tiny_grant g;
    struct tiny_op *t;

    UNUSED_STATE;
    CHECK_EQ(push(c, create(c, "a", &file, &row), &c->realm.writer),
             PHR_E_CARD); /* nobody here */
    ignored(grant_to(c, &c->realm.reader, GRANT_R));
    CHECK_EQ(push(c, create(c, "a", &file, &row), &c->realm.reader), PHR_E_RIGHTS);
    g = grant_to(c, &c->realm.writer, GRANT_RW);
    CHECK_EQ(push(c, create(c, "a", &file, &row), &c->realm.writer), 0);
    t = tiny_op_new(&c->realm.labs.ctx);
    tiny_put_revoke(t, &g.grant.ctx.grant);
    CHECK_EQ(push(c, t, &c->realm.writer), PHR_E_RIGHTS); /* the owner's alone */
    t = tiny_op_new(&c->realm.labs.ctx);
    tiny_put_revoke(t, &g.grant.ctx.grant);
    CHECK_EQ(push(c, t, &c->realm.owner), 0);
    CHECK_EQ(push(c, create(c, "b", &file, &row), &c->realm.writer), PHR_E_RIGHTS);
    t = tiny_op_new(&c->realm.labs.ctx);
    tiny_put_revoke(t, &g.grant.ctx.grant);
    CHECK_EQ(push(c, t, &c->realm.owner), 0); /* twice is fine */
    chain_free(c);
}

TEST(verify__a_new_card_does_not_slip_into_an_old_grant)
{
    struct chain *c = chain_new();
    struct tiny_person twin =
        tiny_person_new(CARD_PERSON, "lab.writer", &c->realm.authority);
    struct id16 file, row;

    UNUSED_STATE;
    ignored(grant_to(c, &c->realm.writer, GRANT_RW));
    twin.card.user = c->realm.writer.card.user; /* a forged claim */
    CHECK_EQ(push(c, create(c, "a", &file, &row), &twin), PHR_E_CARD);
    twin.card.hash = c->realm.writer.card.hash;
    CHECK_EQ(push(c, create(c, "a", &file, &row), &twin), PHR_E_SIGNATURE);
    tiny_person_fini(&twin);
    chain_free(c);
}

TEST(verify__headers_are_bound_to_file_class_epoch_and_generation)
{
    struct chain *c = chain_new();
    const struct tiny_class *labs = &c->realm.labs;
    struct tiny_class other = tiny_class_new(&labs->ctx); /* same names, other key */
    struct id16 file, row, file2;
    struct header_change change;
    struct writer bytes;
    struct tiny_op *t;

    UNUSED_STATE;
    CHECK_EQ(push(c, create(c, "a", &file, &row), &c->realm.owner), 0);
    t = tiny_op_new(&labs->ctx);
    tiny_put_header(t, labs, &file, 1, NULL); /* not rising */
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_STALE);
    t = tiny_op_new(&labs->ctx);
    tiny_put_header(t, labs, &file, 3, NULL); /* not by one */
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_STALE);
    t = tiny_op_new(&labs->ctx);
    tiny_put_header(t, &other, &file, 2, NULL); /* a capsule for another key */
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_SIGNATURE);
    /* another file's capsule under this one's name */
    file2 = random_id();
    writer_init(&bytes);
    tiny_write_header(labs, &file2, 2, NULL, NULL, &bytes);
    change = (struct header_change){ file, 2, writer_done(&bytes) };
    t = tiny_op_new(&labs->ctx);
    header_change_encode(&change, tiny_op_add(t, CHANGE_HEADER));
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_FORMAT);
    memcpy(bytes.p + 16 + 36, file.b, 16); /* renamed inside: the proof covers the name */
    t = tiny_op_new(&labs->ctx);
    header_change_encode(&change, tiny_op_add(t, CHANGE_HEADER));
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_SIGNATURE);
    writer_fini(&bytes);
    t = tiny_op_new(&labs->ctx);
    tiny_put_header(t, labs, &file, 2, NULL);
    CHECK_EQ(push(c, t, &c->realm.owner), 0);
    tiny_class_fini(&other);
    chain_free(c);
}

TEST(verify__rows_of_another_class_are_out_of_reach)
{
    struct chain *c = chain_new();
    const struct class_ctx wide = { .patient = c->realm.patient };
    struct tiny_class notes =
        tiny_class_new(&(struct class_ctx){ c->realm.patient, random_id(), 1 });
    struct id16 file, row;
    struct tiny_op *t = tiny_op_new(&wide);

    UNUSED_STATE;
    tiny_put_class(t, &notes, &c->realm.owner);
    CHECK_EQ(push(c, t, &c->realm.owner), 0);
    CHECK_EQ(push(c,
                  tiny_create(&notes, "n", &(struct id16){ { 9 } },
                              &(struct id16){ { 8 } }, NULL),
                  &c->realm.owner),
             0);
    ignored(grant_to(c, &c->realm.writer, GRANT_RW)); /* of labs */
    t = tiny_op_new(&c->realm.labs.ctx);
    tiny_put_remove(t, &(struct id16){ { 8 } }, 1);
    CHECK_EQ(push(c, t, &c->realm.writer), PHR_E_RIGHTS);
    t = tiny_op_new(&c->realm.labs.ctx);
    tiny_put_inode(t, &c->realm.labs, &(struct id16){ { 9 } }, 2);
    CHECK_EQ(push(c, t, &c->realm.writer), PHR_E_RIGHTS);
    t = tiny_op_new(&c->realm.labs.ctx);
    tiny_put_header(t, &c->realm.labs, &(struct id16){ { 9 } }, 2, NULL);
    CHECK_EQ(push(c, t, &c->realm.writer), PHR_E_RIGHTS);
    t = tiny_op_new(&notes.ctx);
    tiny_put_inode(t, &notes, &(struct id16){ { 9 } }, 2);
    CHECK_EQ(push(c, t, &c->realm.writer), PHR_E_RIGHTS);
    file = random_id();
    row = random_id();
    t = tiny_op_new(&c->realm.labs.ctx);
    tiny_put_dentry(t, &c->realm.labs, &row, &notes.ctx.class_id, "in", &file,
                    1); /* into its root */
    tiny_put_inode(t, &c->realm.labs, &file, 1);
    CHECK_EQ(push(c, t, &c->realm.writer), PHR_E_RIGHTS);
    tiny_class_fini(&notes);
    chain_free(c);
}

static void put_seal(struct tiny_op *t, const struct id16 *file, uint64_t version,
                     uint64_t base, const struct digest *header)
{
    struct seal_change seal = { .file = *file,
                                .content_version = version,
                                .base_version = base,
                                .header = *header,
                                .size = 5,
                                .segment_count = 1 };

    memset(seal.manifest_root.b, 1, 32);
    memset(seal.manifest_object.b, 2, 32);
    seal_encode(&seal, tiny_op_add(t, CHANGE_SEAL));
}

static int push_seal(struct chain *c, const struct id16 *file, uint64_t version,
                     uint64_t base, const struct digest *header)
{
    struct tiny_op *t = tiny_op_new(&c->realm.labs.ctx);

    put_seal(t, file, version, base, header);
    return push(c, t, &c->realm.owner);
}

TEST(verify__seals_follow_each_other_under_the_newest_header)
{
    struct chain *c = chain_new();
    struct id16 file = random_id(), row = random_id(), none = random_id();
    struct digest hash, hash2;
    struct writer header;
    struct tiny_op *t;

    UNUSED_STATE;
    writer_init(&header);
    CHECK_EQ(
        push(c, tiny_create(&c->realm.labs, "a", &file, &row, &header), &c->realm.owner),
        0);
    hash = header_digest(writer_done(&header));
    CHECK_EQ(push_seal(c, &none, 1, 0, &hash), PHR_E_STALE);
    CHECK_EQ(push_seal(c, &file, 1, 0, &hash), 0);
    CHECK_EQ(push_seal(c, &file, 1, 0, &hash), PHR_E_STALE);
    CHECK_EQ(push_seal(c, &file, 2, 1, &hash), 0);
    CHECK_EQ(push_seal(c, &file, 3, 1, &hash),
             PHR_E_STALE); /* based on what was replaced */
    header.n = 0;
    t = tiny_op_new(&c->realm.labs.ctx);
    tiny_put_header(t, &c->realm.labs, &file, 2, &header);
    CHECK_EQ(push(c, t, &c->realm.owner), 0);
    hash2 = header_digest(writer_done(&header));
    CHECK_EQ(push_seal(c, &file, 3, 2, &hash), PHR_E_STALE);
    CHECK_EQ(push_seal(c, &file, 3, 2, &hash2), 0);
    writer_fini(&header);
    chain_free(c);
}

TEST(verify__numbers_rise_in_each_lane)
{
    struct chain *c = chain_new();
    struct id16 file, row;
    struct tiny_op *t;
    struct signed_op op;

    UNUSED_STATE;
    CHECK_EQ(push(c, create(c, "a", &file, &row), &c->realm.owner), 0);
    t = create(c, "b", &file, &row);
    op = tiny_op_sign(t, &c->realm.owner, &c->realm.host, c->realm.n);
    CHECK_EQ(verify_op(c->state, &c->realm.anchor, &op, 0), PHR_E_STALE);
    op = tiny_op_sign(t, &c->realm.owner, &c->realm.host,
                      ((uint64_t)OP_LANE_SEAL << 56) + 1);
    CHECK_EQ(verify_op(c->state, &c->realm.anchor, &op, 0), 0);
    op = tiny_op_sign(t, &c->realm.owner, &(struct id16){ { 3 } }, 1);
    CHECK_EQ(verify_op(c->state, &c->realm.anchor, &op, 0), 0);
    op.sig.b[0] ^= 1;
    CHECK_EQ(verify_op(c->state, &c->realm.anchor, &op, 0), PHR_E_SIGNATURE);
    tiny_op_free(t);
    chain_free(c);
}

static int push_ctx(struct chain *c, enum change_type type, const struct class_ctx *ctx)
{
    struct tiny_op *t = tiny_op_new(ctx);

    tiny_put_ctx(t, type, ctx);
    return push(c, t, &c->realm.owner);
}

static int push_epoch(struct chain *c, const struct tiny_class *next)
{
    struct tiny_op *t = tiny_op_new(&c->realm.labs.ctx);
    const struct digest id = digest_sha256(writer_done(&c->object));

    tiny_put_epoch(t, next, &c->realm.owner, &id);
    return place(c, t, &c->realm.owner);
}

TEST(verify__epoch_change_replaces_rows_and_stales_the_old_epoch)
{
    struct chain *c = chain_new();
    const struct class_ctx old = c->realm.labs.ctx;
    struct class_ctx next_ctx = old;
    struct tiny_class next;
    struct id16 file, row, file2, row2;
    struct tiny_op *t;

    UNUSED_STATE;
    next_ctx.epoch++;
    next = tiny_class_new(&next_ctx);
    CHECK_EQ(push(c, create(c, "a", &file, &row), &c->realm.owner), 0);
    tiny_write_epoch_object(&next, &row, "a", &file, &c->object);
    CHECK_EQ(push_epoch(c, &next), PHR_E_STALE); /* without a hold */
    CHECK_EQ(push_ctx(c, CHANGE_EPOCH_BEGIN, &old), 0);
    CHECK_EQ(push(c, create(c, "b", &file2, &row2), &c->realm.owner), PHR_E_EPOCH_HELD);
    CHECK_EQ(push_ctx(c, CHANGE_RETIRE_EPOCH, &old),
             PHR_E_STALE); /* still the current one */
    CHECK_EQ(push_epoch(c, &next), 0);
    CHECK_EQ(push(c, create(c, "b", &file2, &row2), &c->realm.owner),
             PHR_E_STALE); /* of the old epoch */
    t = tiny_op_new(&next.ctx);
    tiny_put_dentry(t, &next, &row2, &old.class_id, "a", &file2,
                    1); /* the name lives on under the new tag */
    tiny_put_inode(t, &next, &file2, 1);
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_STALE);
    t = tiny_op_new(&next.ctx);
    tiny_put_header(t, &next, &file, 2, NULL); /* re-wrapped */
    CHECK_EQ(push(c, t, &c->realm.owner), 0);
    CHECK_EQ(push_ctx(c, CHANGE_RETIRE_EPOCH, &old), 0);
    CHECK_EQ(push_ctx(c, CHANGE_RETIRE_EPOCH, &old), PHR_E_STALE);
    tiny_class_fini(&next);
    chain_free(c);
}

TEST(verify__a_hold_lapses_and_then_no_epoch_fits_it)
{
    struct chain *c = chain_new();
    const struct class_ctx old = c->realm.labs.ctx;
    struct class_ctx next_ctx = old;
    struct tiny_class next;
    struct id16 file, row;
    struct tiny_op *t;
    struct signed_op op;
    const uint64_t later_s = clock_realtime_s() + 61;

    UNUSED_STATE;
    next_ctx.epoch++;
    next = tiny_class_new(&next_ctx);
    CHECK_EQ(push_ctx(c, CHANGE_EPOCH_BEGIN, &old), 0);
    t = create(c, "a", &file, &row);
    op = tiny_op_sign(t, &c->realm.owner, &c->realm.host, ++c->realm.n);
    CHECK_EQ(verify_op(c->state, &c->realm.anchor, &op, later_s), 0);
    CHECK_EQ(verify_op_apply(c->state, &op, later_s), 0);
    tiny_op_free(t);
    tiny_write_epoch_object(&next, &row, "a", &file, &c->object);
    CHECK_EQ(push_epoch(c, &next), PHR_E_STALE); /* its object misses a row */
    CHECK_EQ(push_ctx(c, CHANGE_EPOCH_BEGIN, &old), 0);
    CHECK_EQ(push_epoch(c, &next), 0);
    tiny_class_fini(&next);
    chain_free(c);
}

TEST(verify__grants_name_the_class_key_and_a_pinned_card)
{
    struct chain *c = chain_new();
    const struct class_ctx wide = { .patient = c->realm.patient };
    const struct grant wish = tiny_wish(GRANT_R);
    struct tiny_class forged = tiny_class_new(&c->realm.labs.ctx);
    struct tiny_op *t = tiny_op_new(&wide);

    UNUSED_STATE;
    ignored(tiny_put_grant(t, &c->realm.labs, &c->realm.owner, &c->realm.reader,
                           &c->realm.srs.card.b, &wish));
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_CARD); /* not pinned */
    t = tiny_op_new(&wide);
    tiny_put_card(t, &c->realm.reader);
    ignored(tiny_put_grant(t, &forged, &c->realm.owner, &c->realm.reader,
                           &c->realm.srs.card.b, &wish));
    CHECK_EQ(push(c, t, &c->realm.owner), PHR_E_POINT);
    t = tiny_op_new(&wide);
    tiny_put_card(t, &c->realm.reader);
    ignored(tiny_put_grant(t, &c->realm.labs, &c->realm.reader, &c->realm.reader,
                           &c->realm.srs.card.b, &wish));
    CHECK_EQ(push(c, t, &c->realm.owner),
             PHR_E_SIGNATURE); /* signed by the reader himself */
    tiny_class_fini(&forged);
    chain_free(c);
}

TEST(verify__entries_are_a_chain_signed_by_the_srs)
{
    struct chain *c = chain_new();
    struct id16 file, row;
    struct tiny_person srs = c->realm.srs;
    const struct digest leaf = c->leaf;

    UNUSED_STATE;
    c->leaf.b[0] ^= 1; /* another prev */
    CHECK_EQ(place(c, create(c, "a", &file, &row), &c->realm.owner), PHR_E_FORK);
    c->leaf = leaf;
    c->seq++; /* one left out */
    CHECK_EQ(place(c, create(c, "a", &file, &row), &c->realm.owner), PHR_E_FORK);
    c->seq--;
    c->realm.srs = c->realm.authority;
    c->realm.srs.card.hash = srs.card.hash;
    CHECK_EQ(place(c, create(c, "a", &file, &row), &c->realm.owner), PHR_E_SIGNATURE);
    c->realm.srs = srs;
    c->realm.srs.card.hash.b[0] ^= 1;
    CHECK_EQ(place(c, create(c, "a", &file, &row), &c->realm.owner), PHR_E_CARD);
    c->realm.srs = srs;
    CHECK_EQ(place(c, create(c, "a", &file, &row), &c->realm.owner), 0);
    chain_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(verify__genesis_is_the_owners_alone),
        UNIT(verify__owner_creates_renames_removes),
        UNIT(verify__one_live_dentry_per_name),
        UNIT(verify__folders_are_there_and_removed_empty),
        UNIT(verify__writers_need_a_live_grant_of_the_class_epoch),
        UNIT(verify__a_new_card_does_not_slip_into_an_old_grant),
        UNIT(verify__headers_are_bound_to_file_class_epoch_and_generation),
        UNIT(verify__rows_of_another_class_are_out_of_reach),
        UNIT(verify__seals_follow_each_other_under_the_newest_header),
        UNIT(verify__numbers_rise_in_each_lane),
        UNIT(verify__epoch_change_replaces_rows_and_stales_the_old_epoch),
        UNIT(verify__a_hold_lapses_and_then_no_epoch_fits_it),
        UNIT(verify__grants_name_the_class_key_and_a_pinned_card),
        UNIT(verify__entries_are_a_chain_signed_by_the_srs),
    };

    return RUN_TESTS(tests);
}
