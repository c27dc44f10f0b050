/*
 * The golden files: what this version writes is what it wrote when the format came to be, and
 * what was written then is still read. Also the numbers of the worked example in
 * src/format/README.md, computed here and looked for there.
 *   test_golden SOURCE_ROOT
 */
#include "../unit/format_check.h"

#include <dirent.h>
#include <stdio.h>

#include "format/card.h"
#include "format/event.h"
#include "format/grant.h"
#include "format/keyring.h"
#include "format/op.h"
#include "format/row_seal_test.h"
#include "format/snapshot.h"

static const char *source_root;

static void file_load(const char *dir, const char *name, const char *suffix,
                      struct writer *out)
{
    char path[1024];
    uint8_t room[4096];
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s%s%s", source_root, dir, name, suffix);
    f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    writer_init(out);
    while ((n = fread(room, 1, sizeof room, f)) > 0)
        writer_bytes(out, room, n);
    CHECK_EQ(fclose(f), 0);
    CHECK(writer_ok(out));
}

static void golden_load(const char *name, struct writer *out)
{
    file_load("tests/golden/", name, ".bin", out);
}

TEST(golden__is_what_this_version_writes)
{
    UNUSED_STATE;
    for (size_t i = 0; i < sample_count; i++) {
        scoped(writer_fini) struct writer made = { 0 };
        scoped(writer_fini) struct writer stored = { 0 };

        if (!samples[i].is_fixed || strcmp(samples[i].name, "config") == 0)
            continue;
        writer_init(&made);
        CHECK_EQ(sample_make(samples[i].name, &made), 0);
        golden_load(samples[i].name, &stored);
        if (!view_equal(writer_done(&made), writer_done(&stored)))
            fail_msg("%s is written otherwise than it was", samples[i].name);
    }
}

TEST(golden_grant__says_rights_purpose_and_times)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct grant g;

    UNUSED_STATE;
    golden_load("grant", &w);
    CHECK_EQ(grant_decode(writer_done(&w), &g), 0);
    CHECK(w.p[172] == 3 && g.rights == GRANT_RW);
    CHECK(w.p[194] == 1 && w.p[195] == 0 && g.purpose == PURPOSE_TREAT);
    CHECK(get_le64(w.p + 174) == 1790000000 && g.not_before_s == 1790000000);
    CHECK(g.not_after_s == 1790086400);
}

TEST(golden_revoke__says_its_reason)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct revoke r;

    UNUSED_STATE;
    golden_load("revoke", &w);
    CHECK_EQ(revoke_decode(writer_done(&w), &r), 0);
    CHECK(w.n == 17 && w.p[16] == 3 && r.reason == REVOKE_SUSPENDED);
}

TEST(golden_inode__says_attributes_and_times)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct inode_attr want = sample_inode_attr();
    struct inode_attr a;

    UNUSED_STATE;
    golden_load("inode_plain", &w);
    CHECK_EQ(inode_plain_decode(writer_done(&w), &a), 0);
    CHECK(get_le32(w.p) == 0100640 && a.mode == 0100640);
    CHECK(get_le64(w.p + 60) == UINT64_MAX &&
          get_le32(w.p + 68) == 500000000); /* btime */
    CHECK(a.btime.s == -1 && a.btime.ns == 500000000 && a.size == 5000);
    CHECK(view_equal(a.xattrs, want.xattrs) &&
          view_equal(a.patient_name, view_text("Ada")));
}

TEST(golden_event__says_outcome_and_time)
{
    scoped(writer_fini) struct writer w = { 0 };
    struct event e;

    UNUSED_STATE;
    golden_load("event", &w);
    CHECK_EQ(event_decode(writer_done(&w), &e), 0);
    CHECK(w.p[8] == 12 && e.type == EVENT_DENIED && e.outcome == -5024);
    CHECK(e.time_s == 1790000000 && e.time_ns == 123456789);
}

/* What was written with a nonce of its day. */
TEST(golden_rows__still_open)
{
    scoped(writer_fini) struct writer dentry = { 0 };
    scoped(writer_fini) struct writer inode = { 0 };
    struct file_ctx ctx = selftest_inputs_file();
    struct dentry_row drow;
    struct inode_row irow;
    struct inode_attr a;
    struct writer plain;
    struct row_keys k;
    struct dentry d;

    UNUSED_STATE;
    golden_load("dentry", &dentry);
    golden_load("inode", &inode);
    writer_init(&plain);
    CHECK_EQ(row_keys_derive(sample_nk(), &ctx.class_ctx, &k), 0);
    CHECK_EQ(dentry_row_decode(writer_done(&dentry), &drow), 0);
    CHECK_EQ(dentry_open_sealed(&k, &drow, &d), 0);
    assert_string_equal((char *)d.name, "scan-2026.dcm");
    CHECK_EQ(inode_row_decode(writer_done(&inode), &irow), 0);
    CHECK_EQ(inode_open_sealed(&k, &irow, &plain, &a), 0);
    CHECK_EQ(a.mode, 0100640);
    inode_plain_free(&plain);
    row_keys_free(&k);
}

static int count_row(void *user, enum snapshot_kind kind, struct view row)
{
    (void)kind;
    (void)row;
    (*(size_t *)user)++;
    return 0;
}

TEST(golden_card_spool_and_snapshot__still_open)
{
    scoped(sign_key_free) struct sign_key *authority = sample_sign_key();
    scoped(writer_fini) struct writer card = { 0 };
    scoped(writer_fini) struct writer header = { 0 };
    scoped(writer_fini) struct writer record = { 0 };
    scoped(writer_fini) struct writer snapshot = { 0 };
    scoped(writer_fini) struct writer plain = { 0 };
    struct verify_key pk = sign_key_public(authority);
    struct digest prev = { { 0 } };
    struct snapshot_head head;
    struct symkey k;
    struct id16 host;
    struct card c;
    uint64_t no;
    size_t count = 0;

    UNUSED_STATE;
    golden_load("card", &card);
    CHECK_EQ(card_check(writer_done(&card), &pk, &c), 0);
    assert_string_equal(c.label, "dr.wilson");
    golden_load("spool_header", &header);
    golden_load("spool_record", &record);
    CHECK_EQ(spool_header_open(writer_done(&header), sample_scalar("b"), &host, &no, &k),
             0);
    writer_init(&plain);
    CHECK_EQ(spool_record_open(&k, &host, 1, &prev, writer_done(&record), &count, &plain),
             0);
    count = 0;
    golden_load("snapshot", &snapshot);
    CHECK_EQ(snapshot_decode(writer_done(&snapshot), &head, count_row, &count), 0);
    CHECK_EQ(count, 4);
}

/* ---- the worked example ------------------------------------------------------------------ */

struct worked {
    struct writer object;
    struct writer manifest;
};

/*
 * A file of n bytes, each 0x61: fk, file and salt of appendix A, generation 1, segment 0, the
 * nonce of block j is j + 1 in its first byte.
 */
static void worked_make(size_t n, struct worked *w)
{
    const struct seg_geometry g = { AEAD_GCM, BLOCK_LOG2, SEG_LOG2 };
    struct id16 file = selftest_inputs_id("file");
    struct writer strip;
    uint8_t salt[SALT_BYTES];
    struct symkey key;
    struct manifest_entry e = { .plaintext_len = (uint32_t)n, .fk_gen = 1 };

    selftest_inputs_bytes("salt", salt, sizeof salt);
    segment_key(sample_fk(), salt, &file, 0, &g, &key);
    writer_init(&w->object);
    writer_init(&w->manifest);
    writer_init(&strip);
    for (size_t at = 0; at < n; at += BLOCK_BYTES) {
        uint32_t j = (uint32_t)(at / BLOCK_BYTES);
        size_t len = n - at < BLOCK_BYTES ? n - at : BLOCK_BYTES;
        uint8_t nonce[12] = { (uint8_t)(j + 1) };
        uint8_t entry[STRIP_ENTRY_GCM_BYTES];
        uint8_t block[BLOCK_BYTES];

        memset(block, 'a', sizeof block);
        CHECK_EQ(block_seal(&g, &key, j, nonce, view_of(block, len), block, entry), 0);
        writer_bytes(&w->object, block, len);
        writer_bytes(&strip, entry, sizeof entry);
    }
    if (n > 0) {
        writer_view(&w->object, writer_done(&strip));
        writer_bytes(&w->object, salt, sizeof salt);
        e.object_id = digest_sha256(writer_done(&w->object));
        e.strip_id = strip_id(salt, writer_done(&strip));
        manifest_encode(&e, 1, &w->manifest);
    }
    writer_fini(&strip);
}

static void readme_expect(const struct writer *readme, const char *text)
{
    size_t n = strlen(text);

    for (size_t at = 0; at + n <= readme->n; at++) {
        if (memcmp(readme->p + at, text, n) == 0)
            return;
    }
    fail_msg("src/format/README.md does not say: %s", text);
}

static void readme_expect_row(const struct writer *readme, const char *what,
                              struct digest d)
{
    char hex[65];
    char line[256];

    hex_encode(d.b, sizeof d.b, hex);
    snprintf(line, sizeof line, "%s %s", what, hex);
    readme_expect(readme, line);
}

TEST(readme__shows_what_the_code_computes)
{
    static const size_t sizes[] = { 0, 1, 5000 };
    scoped(writer_fini) struct writer readme = { 0 };

    UNUSED_STATE;
    file_load("src/format/", "README", ".md", &readme);
    for (size_t i = 0; i < 3; i++) {
        struct worked w;
        char line[128];

        worked_make(sizes[i], &w);
        snprintf(line, sizeof line,
                 "file of %zu bytes: object %zu bytes, manifest %zu bytes", sizes[i],
                 w.object.n, w.manifest.n);
        readme_expect(&readme, line);
        if (sizes[i] > 0) {
            struct digest strip;

            memcpy(strip.b, w.manifest.p + 48, 32);
            readme_expect_row(&readme, "object_id    ",
                              digest_sha256(writer_done(&w.object)));
            readme_expect_row(&readme, "strip_id     ", strip);
            readme_expect_row(&readme, "manifest id  ",
                              digest_sha256(writer_done(&w.manifest)));
        }
        readme_expect_row(&readme, "manifest_root",
                          manifest_root(writer_done(&w.manifest)));
        writer_fini(&w.object);
        writer_fini(&w.manifest);
    }
}

int main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        UNIT(golden__is_what_this_version_writes),
        UNIT(golden_grant__says_rights_purpose_and_times),
        UNIT(golden_revoke__says_its_reason),
        UNIT(golden_inode__says_attributes_and_times),
        UNIT(golden_event__says_outcome_and_time),
        UNIT(golden_rows__still_open),
        UNIT(golden_card_spool_and_snapshot__still_open),
        UNIT(readme__shows_what_the_code_computes),
    };

    if (argc != 2)
        return 2;
    source_root = argv[1];
    return RUN_TESTS(tests);
}
