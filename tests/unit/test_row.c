#include "format_check.h"

#include <dirent.h>

#include "format/row_seal_test.h"

static struct row_keys keys;

static int keys_open(void **state)
{
    struct file_ctx ctx = selftest_inputs_file();

    (void)state;
    return row_keys_derive(sample_nk(), &ctx.class_ctx, &keys);
}

static int keys_close(void **state)
{
    (void)state;
    row_keys_free(&keys);
    return 0;
}

static int decode_dentry(struct view bytes)
{
    struct dentry_row row;

    return dentry_row_decode(bytes, &row);
}

static int decode_inode(struct view bytes)
{
    struct inode_row row;

    return inode_row_decode(bytes, &row);
}

static int decode_dentry_plain(struct view bytes)
{
    struct dentry d;

    return dentry_plain_decode(bytes, &d);
}

static int decode_inode_plain(struct view bytes)
{
    struct inode_attr a;

    return inode_plain_decode(bytes, &a);
}

TEST(name_tag__is_the_known_answer)
{
    struct id16 dir = selftest_inputs_id("dir");
    struct id16 tag = name_tag(&keys, &dir, view_text("scan-2026.dcm"));

    UNUSED_STATE;
    check_hex(tag.b, sizeof tag.b, "62e1d2de54d2519fc648e36bca05615e");
}

TEST(name_tag__depends_on_parent_name_and_epoch)
{
    struct file_ctx ctx = selftest_inputs_file();
    struct id16 dir = selftest_inputs_id("dir");
    struct id16 file = selftest_inputs_id("file");
    struct id16 a = name_tag(&keys, &dir, view_text("a"));
    struct id16 other;
    struct row_keys next;

    UNUSED_STATE;
    other = name_tag(&keys, &file, view_text("a"));
    CHECK(!id_equal(&a, &other));
    other = name_tag(&keys, &dir, view_text("b"));
    CHECK(!id_equal(&a, &other));
    ctx.class_ctx.epoch++;
    CHECK_EQ(row_keys_derive(sample_nk(), &ctx.class_ctx, &next), 0);
    other = name_tag(&next, &dir, view_text("a"));
    CHECK(!id_equal(&a, &other));
    row_keys_free(&next);
}

TEST(row__refuses_cuts_and_one_byte_more)
{
    UNUSED_STATE;
    check_cuts("dentry", decode_dentry, 32);
    check_cuts("inode", decode_inode, 32);
    check_cuts("dentry_plain", decode_dentry_plain, 0);
    check_cuts("inode_plain", decode_inode_plain, 0);
}

TEST(row_plain__refuses_padding_that_is_not_zero)
{
    UNUSED_STATE;
    check_byte("dentry_plain", decode_dentry_plain, 63, 1);
    check_byte("inode_plain", decode_inode_plain, 127, 1);
}

TEST(dentry_plain__refuses_what_no_directory_holds)
{
    UNUSED_STATE;
    check_byte("dentry_plain", decode_dentry_plain, 4, '/');
    check_byte("dentry_plain", decode_dentry_plain, 5, 0);
    check_byte("dentry_plain", decode_dentry_plain, 0, 0);  /* no name at all */
    check_byte("dentry_plain", decode_dentry_plain, 33, 3); /* no such type */
}

TEST(inode_plain__refuses_what_is_out_of_range)
{
    UNUSED_STATE;
    check_byte("inode_plain", decode_inode_plain, 22, 0x20); /* size beyond 16 TiB */
    check_byte("inode_plain", decode_inode_plain, 35, 0x40); /* nanoseconds */
    check_byte("inode_plain", decode_inode_plain, 73, 0x10); /* link target too long */
    check_byte("inode_plain", decode_inode_plain, 80, 2);    /* xattr count */
}

static void dentry_row_make(struct writer *w, struct dentry_row *out_row)
{
    writer_init(w);
    CHECK_EQ(sample_make("dentry", w), 0);
    CHECK_EQ(dentry_row_decode(writer_done(w), out_row), 0);
}

TEST(dentry__opens_as_it_was_sealed)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct id16 file = selftest_inputs_id("file");
    struct dentry_row row;
    struct dentry d;

    UNUSED_STATE;
    dentry_row_make(&w, &row);
    CHECK_EQ(dentry_open_sealed(&keys, &row, &d), 0);
    CHECK_EQ(d.name_bytes, 13);
    assert_string_equal((char *)d.name, "scan-2026.dcm");
    CHECK(id_equal(&d.ino, &file));
    CHECK_EQ(d.type, DT_REG);
}

TEST(dentry__does_not_open_in_another_place)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct dentry_row row;
    struct dentry_row other;
    struct row_keys wrong = { keys.row, keys.tag };
    struct dentry d;

    UNUSED_STATE;
    dentry_row_make(&w, &row);
    other = row;
    other.version++; /* an old row under a new version */
    CHECK_EQ(dentry_open_sealed(&keys, &other, &d), PHR_E_SEAL);
    other = row;
    other.parent.b[0] ^= 1;
    CHECK_EQ(dentry_open_sealed(&keys, &other, &d), PHR_E_SEAL);
    other = row;
    other.tag.b[0] ^= 1;
    CHECK_EQ(dentry_open_sealed(&keys, &other, &d), PHR_E_SEAL);
    other = row;
    other.row.b[0] ^= 1;
    CHECK_EQ(dentry_open_sealed(&keys, &other, &d), PHR_E_SEAL);
    CHECK_EQ(dentry_open_sealed(&wrong, &row, &d), PHR_E_SEAL);
    w.p[w.n - 1] ^= 1;
    CHECK_EQ(dentry_open_sealed(&keys, &row, &d), PHR_E_SEAL);
}

TEST(dentry__takes_names_of_any_bytes_up_to_255)
{
    struct dentry_row ids = { .version = 1 };
    struct dentry d = { .type = DT_DIR };
    struct dentry back;

    UNUSED_STATE;
    for (size_t n = 1; n <= NAME_BYTES_MAX; n += 127) {
        scoped(writer_fini) struct writer w = { 0 };

        writer_init(&w);
        memset(d.name, 0xff, n);
        d.name_bytes = n;
        CHECK_EQ(dentry_seal(&keys, &ids, &d, &w), 0);
        CHECK_EQ((w.n - 40) % 32, 0);
        ids.sealed = writer_done(&w);
        CHECK_EQ(dentry_open_sealed(&keys, &ids, &back), 0);
        CHECK_EQ(back.name_bytes, n);
        CHECK_BYTES(back.name, d.name, n);
    }
}

TEST(dentry__is_not_sealed_with_a_name_that_is_a_path)
{
    static const char *const names[] = { "", ".", "..", "a/b", "/" };
    struct dentry_row ids = { .version = 1 };

    UNUSED_STATE;
    for (size_t i = 0; i < 5; i++) {
        scoped(writer_fini) struct writer w = { 0 };
        struct dentry d = { .type = DT_DIR, .name_bytes = strlen(names[i]) };

        writer_init(&w);
        memcpy(d.name, names[i], d.name_bytes);
        CHECK_EQ(dentry_seal(&keys, &ids, &d, &w), -EINVAL);
    }
}

TEST(inode__opens_as_it_was_sealed)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct inode_attr want = sample_inode_attr();
    struct writer plain;
    struct inode_row row;
    struct inode_attr a;

    UNUSED_STATE;
    writer_init(&w);
    writer_init(&plain);
    CHECK_EQ(sample_make("inode", &w), 0);
    CHECK_EQ(inode_row_decode(writer_done(&w), &row), 0);
    CHECK_EQ(inode_open_sealed(&keys, &row, &plain, &a), 0);
    CHECK(a.mode == want.mode && a.uid == want.uid && a.gid == want.gid &&
          a.size == want.size);
    CHECK(a.btime.s == -1 && a.btime.ns == 500000000);
    CHECK(a.mtime.s == want.mtime.s && a.mtime.ns == want.mtime.ns);
    CHECK(view_equal(a.xattrs, want.xattrs) &&
          view_equal(a.patient_name, want.patient_name));
    CHECK(view_equal(a.compartment_name, want.compartment_name) && a.link_target.n == 0);
    inode_plain_free(&plain);
    row.version++;
    writer_init(&plain);
    CHECK_EQ(inode_open_sealed(&keys, &row, &plain, &a), PHR_E_SEAL);
    inode_plain_free(&plain);
}

TEST(inode__holds_the_largest_xattrs_and_link_target)
{
    static uint8_t list[XATTR_BYTES_MAX];
    static uint8_t target[SYMLINK_BYTES_MAX];
    static const char names[] = "abcd";
    scoped(writer_fini) struct writer x = { 0 };
    scoped(writer_fini) struct writer w = { 0 };
    scoped(writer_fini) struct writer row_bytes = { 0 };
    struct inode_attr a = sample_inode_attr();
    struct inode_row row = { .version = 1 };
    struct inode_attr back;
    struct writer plain;

    UNUSED_STATE;
    /* Four values fill the list to the last byte. */
    writer_init(&x);
    writer_u16(&x, 4);
    for (uint8_t i = 0; i < 4; i++) {
        size_t room = (XATTR_BYTES_MAX - 2) / 4 - 9 + (i == 3 ? 2 : 0);

        writer_lp(&x, view_of(&names[i], 1));
        writer_lp(&x, view_of(list, room));
    }
    CHECK_EQ(x.n, XATTR_BYTES_MAX);
    a.xattrs = writer_done(&x);
    memset(target, 't', sizeof target);
    a.link_target = view_of(target, sizeof target);
    writer_init(&w);
    CHECK_EQ(inode_seal(&keys, &row, &a, &w), 0);
    row.sealed = writer_done(&w);
    writer_init(&row_bytes);
    inode_row_encode(&row, &row_bytes);
    CHECK_EQ(inode_row_decode(writer_done(&row_bytes), &row), 0);
    writer_init(&plain);
    CHECK_EQ(inode_open_sealed(&keys, &row, &plain, &back), 0);
    CHECK(view_equal(back.xattrs, a.xattrs) &&
          view_equal(back.link_target, a.link_target));
    inode_plain_free(&plain);
}

TEST(inode__is_not_sealed_when_something_is_out_of_range)
{
    static const uint8_t many[SYMLINK_BYTES_MAX + 1];
    struct inode_row ids = { .version = 1 };
    struct inode_attr a;
    struct writer w;

    UNUSED_STATE;
    writer_init(&w);
    a = sample_inode_attr();
    a.ctime.ns = 1000000000;
    CHECK_EQ(inode_seal(&keys, &ids, &a, &w), -EINVAL);
    a = sample_inode_attr();
    a.link_target = view_of(many, sizeof many);
    CHECK_EQ(inode_seal(&keys, &ids, &a, &w), -EINVAL);
    a = sample_inode_attr();
    a.xattrs = view_of(many, 3);
    CHECK_EQ(inode_seal(&keys, &ids, &a, &w), -EINVAL);
    a = sample_inode_attr();
    a.size = FILE_BYTES_MAX + 1;
    CHECK_EQ(inode_seal(&keys, &ids, &a, &w), -EINVAL);
    writer_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(name_tag__is_the_known_answer),
        UNIT(name_tag__depends_on_parent_name_and_epoch),
        UNIT(row__refuses_cuts_and_one_byte_more),
        UNIT(row_plain__refuses_padding_that_is_not_zero),
        UNIT(dentry_plain__refuses_what_no_directory_holds),
        UNIT(inode_plain__refuses_what_is_out_of_range),
        UNIT(dentry__opens_as_it_was_sealed),
        UNIT(dentry__does_not_open_in_another_place),
        UNIT(dentry__takes_names_of_any_bytes_up_to_255),
        UNIT(dentry__is_not_sealed_with_a_name_that_is_a_path),
        UNIT(inode__opens_as_it_was_sealed),
        UNIT(inode__holds_the_largest_xattrs_and_link_target),
        UNIT(inode__is_not_sealed_when_something_is_out_of_range),
    };

    return secret_arena_open() < 0 ? 1
                                   : cmocka_run_group_tests(tests, keys_open, keys_close);
}
