/* A state over another shows changes on top of it and leaves it as it was. */
#include "tiny_realm.h"

#include "ledger/state_memory.h"

struct counted {
    size_t rows;
    size_t dentries;
};

static int count_row(void *user, const struct memory_row *row)
{
    struct counted *n = user;

    CHECK(row->bytes.n > 0);
    n->rows++;
    n->dentries += row->row.kind == LEDGER_ROW_DENTRY;
    return 0;
}

static void put_file(const struct ledger_state *s, const struct tiny_class *c,
                     const char *name, const struct id16 *row, const struct id16 *file,
                     uint64_t version)
{
    struct writer w;

    writer_init(&w);
    tiny_write_dentry(c, row, &c->ctx.class_id, name, file, version, &w);
    CHECK_EQ(s->put_dentry(s->user, &c->ctx, writer_done(&w)), 0);
    w.n = 0;
    tiny_write_inode(c, file, version, &w);
    CHECK_EQ(s->put_inode(s->user, &c->ctx, writer_done(&w)), 0);
    writer_fini(&w);
}

TEST(state_memory__over_a_base_hides_and_adds)
{
    struct state_memory *below, *above;
    const struct ledger_state *b, *a;
    struct tiny_class c = tiny_class_new(&(struct class_ctx){ { { 1 } }, { { 2 } }, 1 });
    const struct id16 row = { { 3 } }, file = { { 4 } }, row2 = { { 5 } },
                      file2 = { { 6 } };
    const struct id16 tag = name_tag(&c.rows, &c.ctx.class_id, view_text("a"));
    const struct seal_change seal = { .file = file, .content_version = 3 };
    struct counted n = { 0, 0 };
    struct ledger_row found;
    struct id16 holder;
    uint64_t number;

    UNUSED_STATE;
    CHECK_EQ(state_memory_new(&below), 0);
    b = state_memory_get_state(below);
    put_file(b, &c, "a", &row, &file, 1);
    CHECK_EQ(b->put_seal(b->user, &c.ctx, &seal), 0);
    CHECK_EQ(state_memory_new_over(b, &above), 0);
    a = state_memory_get_state(above);
    put_file(a, &c, "b", &row, &file, 2); /* renamed */
    put_file(a, &c, "a", &row2, &file2, 1);
    CHECK_EQ(a->find_name(a->user, &c.ctx.patient, &c.ctx.class_id, &tag, &holder), 0);
    CHECK(id_equal(&holder, &row2));
    CHECK_EQ(a->count_children(a->user, &c.ctx.patient, &c.ctx.class_id, &number), 0);
    CHECK_EQ(number, 2);
    CHECK_EQ(a->put_remove(a->user, &c.ctx, &row), 0);
    CHECK_EQ(a->put_remove(a->user, &c.ctx, &file), 0);
    CHECK_EQ(a->get_row(a->user, &c.ctx.patient, &file, &found), -ENOENT);
    CHECK_EQ(a->get_content_version(a->user, &c.ctx.patient, &file, &number), -ENOENT);
    CHECK_EQ(a->count_children(a->user, &c.ctx.patient, &c.ctx.class_id, &number), 0);
    CHECK_EQ(number, 1);
    state_memory_free(above);

    CHECK_EQ(b->get_row(b->user, &c.ctx.patient, &row, &found), 0);
    CHECK_EQ(found.version, 1);
    CHECK_EQ(b->find_name(b->user, &c.ctx.patient, &c.ctx.class_id, &tag, &holder), 0);
    CHECK(id_equal(&holder, &row));
    CHECK_EQ(b->get_content_version(b->user, &c.ctx.patient, &file, &number), 0);
    CHECK_EQ(number, 3);
    CHECK_EQ(state_memory_each_row(below, &c.ctx.patient, count_row, &n), 0);
    CHECK_EQ(n.rows, 2);
    CHECK_EQ(n.dentries, 1);
    state_memory_free(below);
    tiny_class_fini(&c);
}

TEST(state_memory__epoch_rows_wait_for_their_object)
{
    struct state_memory *m;
    const struct ledger_state *s;
    const struct class_ctx ctx = { { { 1 } }, { { 2 } }, 2 };
    const struct digest object = { { 9 } };

    UNUSED_STATE;
    CHECK_EQ(state_memory_new(&m), 0);
    s = state_memory_get_state(m);
    CHECK_EQ(s->put_epoch_rows(s->user, &ctx, &object), PHR_E_PENDING);
    state_memory_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(state_memory__over_a_base_hides_and_adds),
        UNIT(state_memory__epoch_rows_wait_for_their_object),
    };

    return RUN_TESTS(tests);
}
