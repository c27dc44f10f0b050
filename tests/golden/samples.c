#include "samples.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "base/scope.h"
#include "base/secret.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/pre_writer_test.h"
#include "crypto/seal_test.h"
#include "crypto/selftest_inputs.h"
#include "format/card.h"
#include "format/event.h"
#include "format/grant.h"
#include "format/header_seal_test.h"
#include "format/keyring.h"
#include "format/leaf.h"
#include "format/op.h"
#include "format/open_request.h"
#include "format/row_seal_test.h"
#include "format/snapshot.h"
#include "format/suspension.h"

enum { T0 = 1790000000 }; /* the time of appendix A */

static struct digest digest_of(const char *label)
{
    struct digest d;

    selftest_inputs_bytes(label, d.b, sizeof d.b);
    return d;
}

struct symkey sample_key(const char *label)
{
    struct symkey k;

    selftest_inputs_bytes(label, k.b, sizeof k.b);
    return k;
}

const struct symkey *sample_fk(void)
{
    static struct symkey fk;

    fk = sample_key("fk");
    return &fk;
}

const struct symkey *sample_nk(void)
{
    static struct symkey nk;

    nk = sample_key("nk");
    return &nk;
}

const struct scalar *sample_scalar(const char *label)
{
    static struct scalar by_letter[26];
    struct scalar *s = &by_letter[label[0] - 'a'];

    selftest_inputs_scalar(label, s);
    return s;
}

struct point sample_public(const char *label)
{
    struct point p;

    INVARIANT(pre_public(sample_scalar(label), &p) == 0);
    return p;
}

struct sign_key *sample_sign_key(void)
{
    struct symkey seed = sample_key("edseed");
    struct sign_key *k = sign_key_from_seed(&seed);

    INVARIANT(k != NULL);
    return k;
}

static int header_make(struct writer *out)
{
    struct symkey fk = sample_key("fk");
    const struct file_key key = { 1, &fk };
    struct header h = {
        .suite = AEAD_GCM,
        .block_log2 = BLOCK_LOG2,
        .seg_log2 = SEG_LOG2,
        .ctx = selftest_inputs_file(),
    };
    struct point a = sample_public("a");
    struct symkey kek;
    uint8_t nonce[12];
    int rc = pre_encaps_with(sample_scalar("r"), sample_scalar("u"), &a, &h.ctx,
                             &h.capsule, &kek, &h.commit);

    if (rc < 0)
        return rc;
    selftest_inputs_bytes("bn", nonce, sizeof nonce);
    return header_seal_with(&h, &kek, &key, 1, nonce, out);
}

static int manifest_make(struct writer *out)
{
    const struct manifest_entry entries[] = {
        { 0, SEG_BYTES, 1, digest_of("object 0"), digest_of("strip 0") },
        { 1, SEG_BYTES, 1, digest_of("object 1"), digest_of("strip 1") },
        { 7, 1234, 2, digest_of("object 7"), digest_of("strip 7") },
    };

    manifest_encode(entries, ARRAY_COUNT(entries), out);
    return 0;
}

struct footer sample_footer(struct view header)
{
    struct footer f = {
        .ctx = selftest_inputs_file(),
        .header = header,
        .seg_index = 5,
        .plaintext_len = 5000,
        .fk_gen = 1,
        .object_len = 5088,
        .strip_id = digest_of("strip 5"),
        .rising = 9,
    };

    selftest_inputs_bytes("salt", f.salt, sizeof f.salt);
    return f;
}

static int footer_make(struct writer *out)
{
    scoped(writer_fini) struct writer header = { 0 };
    uint8_t page[FOOTER_BYTES];
    struct footer f;
    int rc;

    writer_init(&header);
    rc = header_make(&header);
    if (rc < 0)
        return rc;
    f = sample_footer(writer_done(&header));
    rc = footer_encode(&f, sample_fk(), page);
    writer_bytes(out, page, sizeof page);
    return rc;
}

void sample_overlay_group(struct overlay_group *out_group)
{
    struct overlay_group g = {
        .log_id = selftest_inputs_id("log"),
        .group_no = 3,
        .prev = digest_of("group 2"),
        .file_size = 123456,
        .mtime_s = T0,
        .mtime_ns = 5,
        .count = 4,
        .records = {
            { .block = 7, .len = BLOCK_BYTES, .kind = OVERLAY_DATA },
            { .block = 123456, .len = 1000, .kind = OVERLAY_TRUNCATE },
            { .block = 4096, .len = 8192, .kind = OVERLAY_PUNCH },
            { .block = 100, .len = 50, .kind = OVERLAY_ZERO },
        },
    };

    selftest_inputs_bytes("bn", g.records[0].nonce, 12);
    selftest_inputs_bytes("tag", g.records[0].tag, 16);
    *out_group = g;
}

int sample_overlay_keys(struct overlay_keys *out_keys)
{
    struct id16 log = selftest_inputs_id("log");
    struct id16 file = selftest_inputs_id("file");

    return overlay_keys_derive(sample_fk(), &log, &file, out_keys);
}

static int overlay_group_make(struct writer *out)
{
    struct overlay_keys k;
    struct overlay_group g;
    struct digest mac;
    int rc = sample_overlay_keys(&k);

    if (rc < 0)
        return rc;
    sample_overlay_group(&g);
    rc = overlay_group_encode(&g, AEAD_GCM, &k, out, &mac);
    overlay_keys_free(&k);
    return rc;
}

static struct dentry sample_dentry(void)
{
    struct dentry d = { .ino = selftest_inputs_id("file"), .type = DT_REG };

    d.name_bytes = strlen("scan-2026.dcm");
    memcpy(d.name, "scan-2026.dcm", d.name_bytes);
    return d;
}

static int dentry_plain_make(struct writer *out)
{
    struct dentry d = sample_dentry();

    dentry_plain_encode(&d, out);
    return 0;
}

static int row_keys_make(struct row_keys *out_keys)
{
    struct file_ctx ctx = selftest_inputs_file();

    return row_keys_derive(sample_nk(), &ctx.class_ctx, out_keys);
}

static int dentry_make(struct writer *out)
{
    scoped(writer_fini) struct writer sealed = { 0 };
    struct dentry d = sample_dentry();
    struct dentry_row row = {
        .row = selftest_inputs_id("row"),
        .parent = selftest_inputs_id("dir"),
        .version = 1,
    };
    struct row_keys k;
    int rc = row_keys_make(&k);

    if (rc < 0)
        return rc;
    writer_init(&sealed);
    row.tag = name_tag(&k, &row.parent, view_of(d.name, d.name_bytes));
    rc = dentry_seal(&k, &row, &d, &sealed);
    row_keys_free(&k);
    row.sealed = writer_done(&sealed);
    dentry_row_encode(&row, out);
    return rc;
}

struct inode_attr sample_inode_attr(void)
{
    static const uint8_t xattrs[] = { 1,   0,   6,   0, 0, 0, 'u', 's', 'e',
                                      'r', '.', 'a', 1, 0, 0, 0,   '1' };

    return (struct inode_attr){
        .mode = S_IFREG | 0640,
        .uid = 1000,
        .gid = 100,
        .rdev = 0,
        .size = 5000,
        .atime = { T0, 1 },
        .mtime = { T0 - 1, 999999999 },
        .ctime = { T0 + 1, 0 },
        .btime = { -1, 500000000 }, /* half a second before 1970 */
        .xattrs = { xattrs, sizeof xattrs },
        .patient_name = view_text("Ada"),
        .compartment_name = view_text("labs"),
    };
}

static int inode_plain_make(struct writer *out)
{
    struct inode_attr a = sample_inode_attr();

    inode_plain_encode(&a, out);
    return 0;
}

static int inode_make(struct writer *out)
{
    scoped(writer_fini) struct writer sealed = { 0 };
    struct inode_attr a = sample_inode_attr();
    struct inode_row row = { .ino = selftest_inputs_id("file"), .version = 2 };
    struct row_keys k;
    int rc = row_keys_make(&k);

    if (rc < 0)
        return rc;
    writer_init(&sealed);
    rc = inode_seal(&k, &row, &a, &sealed);
    row_keys_free(&k);
    row.sealed = writer_done(&sealed);
    inode_row_encode(&row, out);
    return rc;
}

static int xattr_make(struct writer *out)
{
    scoped(writer_fini) struct writer one = { 0 };
    int rc;

    writer_init(&one);
    rc = xattr_set(view_of(NULL, 0), view_text("user.b"), view_text("two"), &one);
    if (rc < 0)
        return rc;
    return xattr_set(writer_done(&one), view_text("user.a"), view_text(""), out);
}

struct grant sample_grant(void)
{
    struct grant g = {
        .ctx = selftest_inputs_grant(),
        .a = sample_public("a"),
        .b = sample_public("b"),
        .rights = GRANT_RW,
        .not_before_s = T0,
        .not_after_s = T0 + 86400,
        .max_opens = 1000,
        .purpose = PURPOSE_TREAT,
        .policy = digest_of("policy"),
        .x = sample_public("x"),
        .r = sample_public("r"),
        .sealed_rk = digest_of("sealed rk"),
    };

    return g;
}

static int grant_make(struct writer *out)
{
    scoped(sign_key_free) struct sign_key *owner = sample_sign_key();
    struct grant g = sample_grant();

    return grant_encode(&g, owner, out);
}

struct card sample_card(void)
{
    scoped(sign_key_free) struct sign_key *self = sample_sign_key();
    struct card c = {
        .user = selftest_inputs_id("reader"),
        .role = CARD_PERSON,
        .org = selftest_inputs_id("org"),
        .ed = sign_key_public(self),
        .b = sample_public("b"),
        .not_before_s = T0,
        .not_after_s = T0 + 365 * 86400,
        .serial = 7,
        .label = "dr.wilson",
    };

    return c;
}

static int card_request_make(struct writer *out)
{
    scoped(sign_key_free) struct sign_key *self = sample_sign_key();
    struct card c = sample_card();

    return card_request_encode(&c, self, sample_scalar("b"), out);
}

static int card_make(struct writer *out)
{
    scoped(sign_key_free) struct sign_key *authority = sample_sign_key();
    scoped(writer_fini) struct writer request = { 0 };
    int rc;

    writer_init(&request);
    rc = card_request_make(&request);
    if (rc < 0)
        return rc;
    return card_approve(writer_done(&request), authority, out);
}

static int suspension_make(struct writer *out)
{
    scoped(sign_key_free) struct sign_key *authority = sample_sign_key();
    uint8_t users[32] = { 1 };
    const struct suspension s = { 3, T0, 2, { users, sizeof users } };

    users[16] = 2;
    return suspension_encode(&s, authority, out);
}

/* A sealed block of 50 bytes as it lies on disk: ct, then its strip entry. */
static int strip_make(struct writer *out)
{
    const struct seg_geometry g = { AEAD_GCM, BLOCK_LOG2, SEG_LOG2 };
    struct symkey key = sample_key("fk");
    const uint8_t nonce[12] = { 1 };
    uint8_t block[50] = { 0 };
    uint8_t entry[STRIP_ENTRY_GCM_BYTES];
    int rc = block_seal(&g, &key, 7, nonce, view_of(block, sizeof block), block, entry);

    writer_bytes(out, block, sizeof block);
    writer_bytes(out, entry, sizeof entry);
    return rc;
}

/* What a header seals: generation and key, twice. */
static int header_keys_make(struct writer *out)
{
    for (uint32_t i = 1; i <= 2; i++) {
        struct symkey fk = sample_key("fk");

        writer_u32(out, i);
        writer_bytes(out, fk.b, sizeof fk.b);
    }
    return 0;
}

static int class_record_make(struct writer *out)
{
    static const uint8_t zeros[CLASS_SEALED_BYTES];
    struct file_ctx ctx = selftest_inputs_file();
    struct class_record c = {
        .ctx = ctx.class_ctx,
        .a = sample_public("a"),
        .sealed = { zeros, sizeof zeros },
    };

    class_record_encode(&c, out);
    return 0;
}

static int revoke_make(struct writer *out)
{
    const struct revoke r = { selftest_inputs_id("grant"), REVOKE_SUSPENDED };

    revoke_encode(&r, out);
    return 0;
}

static int header_change_make(struct writer *out)
{
    scoped(writer_fini) struct writer header = { 0 };
    struct header_change c = { .file = selftest_inputs_id("file"), .hdr_gen = 1 };
    int rc;

    writer_init(&header);
    rc = header_make(&header);
    c.header = writer_done(&header);
    header_change_encode(&c, out);
    return rc;
}

static int epoch_make(struct writer *out)
{
    scoped(writer_fini) struct writer record = { 0 };
    scoped(writer_fini) struct writer header = { 0 };
    struct epoch_change e = { .object_id = digest_of("object 0") };
    int rc;

    writer_init(&record);
    writer_init(&header);
    rc = class_record_make(&record);
    if (rc == 0)
        rc = header_make(&header);
    e.class_record = writer_done(&record);
    e.names_header = writer_done(&header);
    epoch_encode(&e, out);
    return rc;
}

static int remove_make(struct writer *out)
{
    const struct remove_change r = { selftest_inputs_id("row"), 4 };

    remove_encode(&r, out);
    return 0;
}

static int seal_make(struct writer *out)
{
    const struct seal_change s = {
        .file = selftest_inputs_id("file"),
        .content_version = 2,
        .base_version = 1,
        .header = digest_of("header"),
        .size = 5000,
        .segment_count = 1,
        .manifest_root = digest_of("root"),
        .manifest_object = digest_of("manifest"),
    };

    seal_encode(&s, out);
    return 0;
}

/* Only bodies whose bytes are fixed. */
static int op_make(struct writer *out)
{
    static const struct {
        enum change_type type;
        int (*make)(struct writer *out);
    } parts[] = {
        { CHANGE_CLASS_RECORD, class_record_make },
        { CHANGE_REVOKE, revoke_make },
        { CHANGE_HEADER, header_change_make },
        { CHANGE_SEAL, seal_make },
        { CHANGE_REMOVE, remove_make },
        { CHANGE_GRANT, grant_make },
    };
    struct writer bodies[ARRAY_COUNT(parts)];
    struct change changes[ARRAY_COUNT(parts)];
    struct file_ctx ctx = selftest_inputs_file();
    struct op o = {
        .patient = ctx.class_ctx.patient,
        .class_id = ctx.class_ctx.class_id,
        .epoch = ctx.class_ctx.epoch,
        .host = selftest_inputs_id("host"),
        .n = (uint64_t)OP_LANE_SEAL << 56 | 12,
        .base_leaf = digest_of("leaf"),
        .time_s = T0,
        .writer = selftest_inputs_id("reader"),
        .writer_card = digest_of("card"),
        .count = ARRAY_COUNT(parts),
        .changes = changes,
    };
    int rc = 0;

    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        writer_init(&bodies[i]);
        if (rc == 0)
            rc = parts[i].make(&bodies[i]);
        changes[i] = (struct change){ parts[i].type, writer_done(&bodies[i]) };
    }
    if (rc == 0)
        rc = op_encode(&o, out);
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        writer_fini(&bodies[i]);
    return rc;
}

static int entry_make(struct writer *out)
{
    scoped(sign_key_free) struct sign_key *key = sample_sign_key();
    scoped(writer_fini) struct writer op = { 0 };
    struct signed_op ops[2];
    struct entry e = {
        .patient = selftest_inputs_id("patient"),
        .seq = 1,
        .prev = digest_of("leaf"),
        .type = ENTRY_TYPE_OPS,
        .time_s = T0,
        .srs = selftest_inputs_id("reader"),
        .srs_card = digest_of("card"),
        .op_count = 2,
        .ops = ops,
    };
    int rc;

    writer_init(&op);
    rc = op_make(&op);
    if (rc < 0)
        return rc;
    ops[0] = (struct signed_op){ writer_done(&op), op_sign(writer_done(&op), key) };
    ops[1] = ops[0];
    return entry_encode(&e, key, out);
}

static int snapshot_make(struct writer *out)
{
    static const char *const kinds[SNAPSHOT_KINDS] = { "dentry", "inode", "header_change",
                                                       "seal" };
    struct file_ctx ctx = selftest_inputs_file();
    struct snapshot_head h = { ctx.class_ctx, 44, digest_of("leaf") };
    struct writer rows[SNAPSHOT_KINDS];
    struct view views[SNAPSHOT_KINDS];
    struct snapshot_rows all[SNAPSHOT_KINDS];
    int rc = 0;

    for (size_t i = 0; i < SNAPSHOT_KINDS; i++) {
        writer_init(&rows[i]);
        if (rc == 0)
            rc = sample_make(kinds[i], &rows[i]);
        views[i] = writer_done(&rows[i]);
        all[i] = (struct snapshot_rows){ &views[i], 1 };
    }
    if (rc == 0)
        rc = snapshot_encode(&h, all, out);
    for (size_t i = 0; i < SNAPSHOT_KINDS; i++)
        writer_fini(&rows[i]);
    return rc;
}

static int open_request_make(struct writer *out)
{
    scoped(sign_key_free) struct sign_key *reader = sample_sign_key();
    struct open_file files[2] = {
        { selftest_inputs_file(), digest_of("header"), OPEN_WHY_OPEN },
        { selftest_inputs_file(), digest_of("header 2"), OPEN_WHY_AHEAD },
    };
    struct open_request r = {
        .req = selftest_inputs_id("req"),
        .grant = selftest_inputs_id("grant"),
        .purpose = PURPOSE_TREAT,
        .context = digest_of("context"),
        .time_s = T0,
        .checkpoint = digest_of("note"),
        .count = 2,
        .files = files,
    };

    return open_request_encode(&r, reader, out);
}

static int open_context_make(struct writer *out)
{
    const struct open_context c = {
        .host = selftest_inputs_id("host"),
        .uid = 1000,
        .program = view_text("dicomviewer"),
        .reason = view_text("ward round"),
    };

    open_context_encode(&c, out);
    return 0;
}

static int open_answer_make(struct writer *out)
{
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    struct open_answer_item items[2] = {
        { 0, digest_of("leaf"), sample_public("x") },
        { PHR_E_STALE_HEADER, digest_of("leaf 2"), { { 0 } } },
    };
    struct open_answer a = { .count = 2, .items = items, .time_s = T0, .lease_s = 300 };

    return open_answer_encode(&a, srs, out);
}

struct event sample_event(void)
{
    return (struct event){
        .type = EVENT_DENIED,
        .outcome = PHR_E_RIGHTS,
        .time_s = T0,
        .time_ns = 123456789,
        .host = selftest_inputs_id("host"),
        .user = selftest_inputs_id("reader"),
        .card = digest_of("card"),
        .uid = 1000,
        .program = view_text("cat"),
        .patient = selftest_inputs_id("patient"),
        .class_id = selftest_inputs_id("class"),
        .file = selftest_inputs_id("file"),
        .grant = selftest_inputs_id("grant"),
        .purpose = PURPOSE_BTG,
        .reason = view_text("unconscious"),
    };
}

static int event_make(struct writer *out)
{
    struct event e = sample_event();

    return event_encode(&e, out);
}

static int spool_header_make(struct writer *out)
{
    struct symkey k = sample_key("spool");
    struct id16 host = selftest_inputs_id("host");
    struct point srs = sample_public("b");
    uint8_t bytes[SPOOL_HEADER_BYTES];
    int rc = spool_header_encode(&host, 1, &srs, &k, bytes);

    if (rc == 0)
        writer_bytes(out, bytes, sizeof bytes);
    return rc;
}

static int spool_record_make(struct writer *out)
{
    scoped(writer_fini) struct writer event = { 0 };
    struct symkey k = sample_key("spool");
    struct id16 host = selftest_inputs_id("host");
    struct digest prev = { { 0 } };
    int rc;

    writer_init(&event);
    rc = event_make(&event);
    if (rc < 0)
        return rc;
    return spool_record_seal(&k, &host, 1, &prev, writer_done(&event), out);
}

static int audit_entry_make(struct writer *out)
{
    const struct audit_entry e = { T0, EVENT_RELEASE, digest_of("commitment") };
    uint8_t bytes[AUDIT_ENTRY_BYTES];

    audit_entry_encode(&e, bytes);
    writer_bytes(out, bytes, sizeof bytes);
    return 0;
}

static int checkpoint_make(struct writer *out)
{
    scoped(sign_key_free) struct sign_key *srs = sample_sign_key();
    const struct checkpoint c = { "phr.example/audit", 42, digest_of("root") };

    return checkpoint_sign(&c, srs, out);
}

static int keyring_fill(struct keyring *k)
{
    const struct keyring_name name = { .patient = selftest_inputs_id("patient"),
                                       .name = "Ada" };
    const struct keyring_pin pin = { selftest_inputs_id("patient"), 44,
                                     digest_of("leaf") };
    int rc = keyring_add_name(k, &name);

    if (rc < 0)
        return rc;
    *k->seed = sample_key("edseed");
    *k->b = *sample_scalar("b");
    k->user = selftest_inputs_id("reader");
    k->card = malloc(3);
    if (!k->card)
        return -ENOMEM;
    memcpy(k->card, "abc", 3); /* the keyring does not look into cards */
    k->card_bytes = 3;
    return keyring_pin(k, &pin);
}

static int keyring_body_make(struct writer *out)
{
    scoped(keyring_free) struct keyring *k = NULL;
    scoped(secret_free) uint8_t *body = NULL;
    size_t n;
    int rc = keyring_new(&k);

    if (rc < 0)
        return rc;
    rc = keyring_fill(k);
    if (rc < 0)
        return rc;
    rc = keyring_body_encode(k, &body, &n);
    if (rc == 0)
        writer_bytes(out, body, n);
    return rc;
}

static int config_make(struct writer *out)
{
    writer_text(out, "; a comment\n[phr]\nhome = /srv/phr\nlog_level = warn\n\n[store]\n"
                     "url = file:///srv/objects\n\n[vault]\nseal_delay_ms = 100\n");
    return 0;
}

const struct sample samples[] = {
    { "header", header_make, true },
    { "manifest", manifest_make, true },
    { "footer", footer_make, true },
    { "overlay_group", overlay_group_make, true },
    { "dentry", dentry_make, false },
    { "dentry_plain", dentry_plain_make, true },
    { "inode", inode_make, false },
    { "inode_plain", inode_plain_make, true },
    { "xattr", xattr_make, true },
    { "grant", grant_make, true },
    { "card", card_make, false },
    { "card_request", card_request_make, false },
    { "suspension", suspension_make, true },
    { "strip", strip_make, true },
    { "header_keys", header_keys_make, true },
    { "class_record", class_record_make, true },
    { "revoke", revoke_make, true },
    { "header_change", header_change_make, true },
    { "epoch", epoch_make, true },
    { "remove", remove_make, true },
    { "seal", seal_make, true },
    { "op", op_make, true },
    { "entry", entry_make, true },
    { "snapshot", snapshot_make, false },
    { "open_request", open_request_make, true },
    { "open_context", open_context_make, true },
    { "open_answer", open_answer_make, true },
    { "event", event_make, true },
    { "spool_header", spool_header_make, false },
    { "spool_record", spool_record_make, false },
    { "audit_entry", audit_entry_make, true },
    { "checkpoint", checkpoint_make, true },
    { "keyring_body", keyring_body_make, true },
    { "config", config_make, true },
};
const size_t sample_count = ARRAY_COUNT(samples);

int sample_make(const char *name, struct writer *out)
{
    for (size_t i = 0; i < sample_count; i++) {
        if (strcmp(samples[i].name, name) == 0) {
            int rc = samples[i].make(out);

            return rc == 0 && !writer_ok(out) ? -ENOMEM : rc;
        }
    }
    return -ENOENT;
}
