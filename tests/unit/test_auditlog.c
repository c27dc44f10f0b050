/* Append, hand out, verify; and what each kind of tampering is found as. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "audit/auditcheck.h"
#include "crypto/random.h"

enum { ROWS = 20 };

struct kept {
    struct auditlog_stored rows[ROWS];
    struct digest nodes[8][ROWS];
    struct auditlog_store store;
    struct auditlog log;
    struct symkey *key;
};

static int get_node(void *user, unsigned level, uint64_t index, struct digest *out_hash)
{
    struct kept *k = user;

    *out_hash = level == 0 ? k->rows[index].leaf : k->nodes[level][index];
    return 0;
}

static int put_node(void *user, unsigned level, uint64_t index, const struct digest *hash)
{
    struct kept *k = user;

    k->nodes[level][index] = *hash;
    return 0;
}

static int put_row(void *user, uint64_t index, const struct auditlog_stored *row)
{
    struct kept *k = user;

    k->rows[index] = *row;
    return 0;
}

static int get_row(void *user, uint64_t index, struct auditlog_stored *out_row)
{
    struct kept *k = user;

    *out_row = k->rows[index];
    return 0;
}

static struct id16 patient_of(size_t i)
{
    return (struct id16){ { (uint8_t)(1 + i % 2) } };
}

static struct kept *fill(void)
{
    struct kept *k = calloc(1, sizeof *k);

    assert_non_null(k);
    k->key = secret_alloc(sizeof *k->key);
    assert_non_null(k->key);
    random_fill(k->key->b, sizeof k->key->b);
    k->store = (struct auditlog_store){ { k, get_node, put_node }, put_row, get_row };
    CHECK_EQ(auditlog_load(&k->store, 0, k->key, &k->log), 0);
    for (size_t i = 0; i < ROWS; i++) {
        const struct event e = { .type = EVENT_OPEN,
                                 .time_s = 100 + i,
                                 .patient = patient_of(i) };

        CHECK_EQ(auditlog_append(&k->log, &e, 1000 + i, NULL), 0);
    }
    return k;
}

static void drop(struct kept *k)
{
    secret_free(k->key);
    free(k);
}

static struct checkpoint head_at(struct kept *k, uint64_t size)
{
    struct checkpoint c = { .size = size };

    CHECK_EQ(tree_root_at(&k->log.tree, size, &c.root), 0);
    return c;
}

/* All rows as somebody fetched them; whose NULL: the administrator. */
static struct auditcheck_report check_all(struct kept *k, const struct id16 *whose,
                                          const struct checkpoint *heads,
                                          size_t head_count, size_t rows)
{
    scoped(auditcheck_free) struct auditcheck *c = NULL;
    struct writer w;
    struct reader r;

    CHECK_EQ(auditcheck_new(&c), 0);
    writer_init(&w);
    for (size_t i = 0; i < rows; i++)
        CHECK_EQ(auditlog_copy_row(&k->log, i, whose, &w), 0);
    r = reader_over(writer_done(&w));
    for (size_t i = 0; i < rows; i++) {
        struct auditlog_row row;

        CHECK_EQ(auditlog_row_decode(&r, &row), 0);
        ignored(auditcheck_row(c, &row)); /* the report is what is looked at */
    }
    CHECK(reader_done(&r));
    for (size_t i = 0; i < head_count; i++)
        ignored(auditcheck_checkpoint(c, &heads[i]));
    writer_fini(&w);
    return auditcheck_get_report(c);
}

TEST(auditlog__verifies_as_a_whole)
{
    struct kept *k = fill();
    const struct checkpoint heads[] = { head_at(k, 0), head_at(k, 7), head_at(k, ROWS) };
    struct auditcheck_report r = check_all(k, NULL, heads, 3, ROWS);

    UNUSED_STATE;
    CHECK_EQ(r.fault, AUDITCHECK_NONE);
    CHECK_EQ(r.size, ROWS);
    CHECK_EQ(r.record_count, ROWS);
    CHECK_BYTES(r.root.b, heads[2].root.b, 32);
    drop(k);
}

TEST(auditlog__shows_a_patient_his_records_and_everybodys_leaves)
{
    struct kept *k = fill();
    const struct id16 whose = patient_of(1);
    const struct checkpoint heads[] = { head_at(k, ROWS) };
    struct auditcheck_report r = check_all(k, &whose, heads, 1, ROWS);
    struct auditlog_row row;
    struct writer w;
    struct reader in;
    static const uint8_t none[AUDITLOG_SALT_BYTES];

    UNUSED_STATE;
    CHECK_EQ(r.fault, AUDITCHECK_NONE);
    CHECK_EQ(r.record_count, ROWS / 2);
    writer_init(&w);
    CHECK_EQ(auditlog_copy_row(&k->log, 0, &whose, &w), 0);
    in = reader_over(writer_done(&w));
    CHECK_EQ(auditlog_row_decode(&in, &row), 0);
    CHECK_EQ(row.record.n, 0);
    CHECK_BYTES(row.salt, none, sizeof none); /* it could confirm a guess */
    writer_fini(&w);
    drop(k);
}

TEST(auditlog__stored_record_does_not_open_when_it_was_changed_or_moved)
{
    struct kept *k = fill();
    struct writer w;

    UNUSED_STATE;
    writer_init(&w);
    k->rows[3].box[30] ^= 1;
    CHECK_EQ(auditlog_copy_row(&k->log, 3, NULL, &w), PHR_E_SEAL);
    k->rows[4] = k->rows[6];
    CHECK_EQ(auditlog_copy_row(&k->log, 4, NULL, &w), PHR_E_SEAL);
    writer_fini(&w);
    drop(k);
}

TEST(auditlog__names_the_row_whose_commitment_is_wrong)
{
    struct kept *k = fill();
    const struct checkpoint heads[] = { head_at(k, ROWS) };
    struct auditcheck_report r;

    UNUSED_STATE;
    k->rows[5].salt[0] ^= 1; /* as a changed record would */
    r = check_all(k, NULL, heads, 1, ROWS);
    CHECK_EQ(r.fault, AUDITCHECK_COMMITMENT);
    CHECK_EQ(r.bad_index, 5);
    CHECK_EQ(r.record_count, ROWS - 1);
    drop(k);
}

TEST(auditlog__names_the_row_whose_entry_is_not_its_leafs)
{
    struct kept *k = fill();
    const struct checkpoint heads[] = { head_at(k, ROWS) };
    struct auditcheck_report r;

    UNUSED_STATE;
    k->rows[9].entry[10] ^= 1; /* its time */
    r = check_all(k, NULL, heads, 1, ROWS);
    CHECK_EQ(r.fault, AUDITCHECK_LEAF);
    CHECK_EQ(r.bad_index, 9);
    drop(k);
}

TEST(auditlog__brackets_a_row_that_was_changed_with_its_leaf)
{
    struct kept *k = fill();
    const struct checkpoint heads[] = { head_at(k, 4), head_at(k, 12), head_at(k, ROWS) };
    struct auditcheck_report r;

    UNUSED_STATE;
    k->rows[9].entry[10] ^= 1;
    k->rows[9].leaf = tree_leaf(view_of(k->rows[9].entry, AUDIT_ENTRY_BYTES));
    r = check_all(k, NULL, heads, 3, ROWS);
    CHECK_EQ(r.fault, AUDITCHECK_ROOT);
    CHECK_EQ(r.bad_index, 4);
    CHECK_EQ(r.bad_index_last, 11);
    drop(k);
}

TEST(auditlog__notices_rows_that_are_gone)
{
    struct kept *k = fill();
    const struct checkpoint heads[] = { head_at(k, ROWS) };
    struct auditcheck_report r = check_all(k, NULL, heads, 1, ROWS - 3);

    UNUSED_STATE;
    CHECK_EQ(r.fault, AUDITCHECK_SHORT);
    CHECK_EQ(r.bad_index, ROWS - 3);
    CHECK_EQ(r.bad_index_last, ROWS - 1);
    drop(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(auditlog__verifies_as_a_whole),
        UNIT(auditlog__shows_a_patient_his_records_and_everybodys_leaves),
        UNIT(auditlog__stored_record_does_not_open_when_it_was_changed_or_moved),
        UNIT(auditlog__names_the_row_whose_commitment_is_wrong),
        UNIT(auditlog__names_the_row_whose_entry_is_not_its_leafs),
        UNIT(auditlog__brackets_a_row_that_was_changed_with_its_leaf),
        UNIT(auditlog__notices_rows_that_are_gone),
    };

    return RUN_TESTS(tests);
}
