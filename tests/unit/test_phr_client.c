/*
 * libphr against a phrd in memory: one realm for the group, since every keyring costs a second
 * (Argon2id's floor is not lowered for tests).
 */
#include "phrd_fixture.h"

#include <dirent.h>
#include <sys/wait.h>

#include "client/epoch.h"
#include "crypto/aead.h"
#include "crypto/pre_reader.h"
#include "crypto/pre_writer.h"
#include "format/header.h"

enum { FILE_COUNT = 270 }; /* more than one op of re-wrapped headers */

static struct phrd phrd;

static struct phr_client *open_client(void)
{
    struct phr_client *c = NULL;
    char why[256];

    CHECK_EQ(phr_client_open(NULL, &c, why, sizeof why), 0);
    return c;
}

static struct phr_identity *unlock(struct phr_client *c, const char *label)
{
    struct phr_identity *i = NULL;
    struct phr_passphrase pass = phrd_pass(PHRD_PASS "\nnot this\n");
    int rc = phr_identity_unlock(c, label, NULL, &pass, &i);

    if (rc < 0)
        print_error("%s\n", phr_client_get_why(c));
    CHECK_EQ(rc, 0);
    close(pass.fd);
    return i;
}

/* An owner's session for one test. */
struct alice {
    struct phr_client *client;
    struct phr_identity *identity;
    struct phr_owner *owner;
};

static struct alice alice_open(void)
{
    struct alice a = { .client = open_client() };
    int rc;

    a.identity = unlock(a.client, "alice");
    rc = phr_owner_open(a.client, a.identity, PHR_OWNER_RESUME, &a.owner);
    if (rc < 0)
        print_error("%s\n", phr_client_get_why(a.client));
    CHECK_EQ(rc, 0);
    return a;
}

static void alice_close(struct alice *a)
{
    a->identity->is_changed =
        false; /* spares an Argon2id; one test looks at saved pins */
    phr_owner_close(a->owner);
    phr_identity_lock(a->identity);
    phr_client_close(a->client);
}

static int on_find(void *user, const struct replica_class *c, const char *name)
{
    struct class_ctx *out = user;

    if (strcmp(name, "imaging") == 0)
        *out = c->ctx;
    return 0;
}

static struct class_ctx imaging(struct alice *a)
{
    struct class_ctx ctx = { 0 };

    CHECK_EQ(owner_each_class(a->owner, on_find, &ctx), 0);
    CHECK(ctx.epoch > 0);
    return ctx;
}

/* ---- setting up, which is a test by itself ---- */

static void make_identity(struct phr_client *c, const char *label)
{
    const struct phr_identity_wish wish = { .label = label, .role = PHR_ROLE_PERSON };
    struct phr_passphrase pass = phrd_pass(PHRD_PASS);
    struct phr_passphrase authority = phrd_pass(PHRD_PASS);

    CHECK_EQ(phr_identity_new(c, &wish, &pass), 0);
    CHECK_EQ(phr_identity_approve(c, label, &authority), 0);
    close(pass.fd);
    close(authority.fd);
}

static int group_setup(void **state)
{
    struct phr_realm_wish wish = { 0 };
    struct phr_passphrase pass = phrd_pass(PHRD_PASS);
    struct phr_passphrase again = phrd_pass(PHRD_PASS);
    struct phr_passphrase owner = phrd_pass(PHRD_PASS);
    const struct phr_patient_wish patient = {
        .id = "alice", .name = "Alice", .owner = &owner, .authority = &again
    };
    struct phr_client *c;
    char hex[33];
    int rc;

    (void)state;
    phrd_init(&phrd);
    c = open_client();
    rc = phr_realm_init(c, &wish, &pass);
    if (rc < 0)
        print_error("%s\n", phr_client_get_why(c));
    CHECK_EQ(rc, 0);
    phrd_read_cards(&phrd);
    phrd_start(&phrd);
    make_identity(c, "dr.wilson");
    make_identity(c, "dr.chen");
    make_identity(c, "dr.meyer");
    rc = phr_patient_add(c, &patient, hex);
    if (rc < 0)
        print_error("%s\n", phr_client_get_why(c));
    CHECK_EQ(rc, 0);
    CHECK_EQ(strlen(hex), 32);
    CHECK_EQ(phrd.entry_count, 1);
    phr_client_close(c);
    close(pass.fd);
    close(again.fd);
    close(owner.fd);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    phrd_fini(&phrd);
    aead_thread_fini(); /* it keeps the last key of each direction */
    CHECK_EQ(secret_used_bytes(), 0);
    return 0;
}

TEST(phr_realm__is_not_made_twice)
{
    struct phr_client *c = open_client();
    struct phr_realm_wish wish = { 0 };
    struct phr_passphrase pass = phrd_pass(PHRD_PASS);

    UNUSED_STATE;
    CHECK_EQ(phr_realm_init(c, &wish, &pass), PHR_E_EXISTS);
    close(pass.fd);
    phr_client_close(c);
}

TEST(phr_identity__keyrings_are_for_their_owner_alone)
{
    static const char *const files[] = { "authority", "dr.wilson", "alice" };
    struct phr_client *c = open_client();
    struct phr_identity *i = NULL;
    struct phr_passphrase pass = { .fd = -1, .file = "/dev/null" };
    struct stat st;
    char path[160];

    UNUSED_STATE;
    for (size_t k = 0; k < 3; k++) {
        snprintf(path, sizeof path, "%s/home/keys/%s.keyring", phrd.dir, files[k]);
        CHECK_EQ(stat(path, &st), 0);
        CHECK_EQ(st.st_mode & 07777, 0600);
    }
    CHECK_EQ(chmod(path, 0640), 0);
    CHECK_EQ(phr_identity_unlock(c, "alice", NULL, &pass, &i), PHR_E_RIGHTS);
    CHECK_EQ(chmod(path, 0600), 0);
    CHECK_EQ(phr_identity_unlock(c, "alice", NULL, &pass, &i),
             PHR_E_RIGHTS); /* /dev/null is no passfile */
    CHECK_EQ(phr_identity_unlock(c, "nobody", NULL, &pass, &i), PHR_E_UNKNOWN_ID);
    CHECK_EQ(phr_identity_unlock(c, "../x", NULL, &pass, &i), PHR_E_UNKNOWN_ID);
    phr_client_close(c);
}

TEST(phr_identity__does_not_open_with_a_wrong_passphrase)
{
    struct phr_client *c = open_client();
    struct phr_identity *i = NULL;
    struct phr_passphrase pass = phrd_pass(PHRD_PASS "r\n");

    UNUSED_STATE;
    CHECK_EQ(phr_identity_unlock(c, "dr.wilson", NULL, &pass, &i), PHR_E_PASSPHRASE);
    close(pass.fd);
    phr_client_close(c);
}

TEST(phr_identity__takes_up_its_card_when_unlocked)
{
    struct phr_client *c = open_client();
    struct phr_identity *i = unlock(c, "dr.wilson");

    UNUSED_STATE;
    CHECK(phr_identity_is_approved(i));
    phr_identity_lock(i); /* saves */
    i = unlock(c, "dr.wilson");
    CHECK(!i->is_changed);
    CHECK(phr_identity_is_approved(i));
    phr_identity_lock(i);
    phr_client_close(c);
}

/* ---- patients, grants ---- */

static int on_count(void *user, const struct phr_compartment_info *info)
{
    unsigned *count = user;

    *count += 1;
    CHECK_EQ(info->epoch, 1);
    CHECK(!info->is_unfinished);
    return 0;
}

TEST(phr_patient__has_six_compartments_and_may_get_more)
{
    struct alice a = alice_open();
    unsigned count = 0;

    UNUSED_STATE;
    CHECK_EQ(phr_compartment_each(a.owner, on_count, &count), 0);
    CHECK_EQ(count, 6);
    CHECK_EQ(phr_compartment_add(a.owner, "imaging"), PHR_E_EXISTS);
    CHECK_EQ(phr_compartment_add(a.owner, "genetics"), 0);
    count = 0;
    CHECK_EQ(phr_compartment_each(a.owner, on_count, &count), 0);
    CHECK_EQ(count, 7);
    alice_close(&a);
}

/* A file of the owner: dentry, inode, header of a random key; one op for as many as fit. */
static void add_file(struct alice *a, const struct compartment *keys, struct draft *d,
                     unsigned no)
{
    scoped(secret_free) struct symkey *fk = secret_alloc(sizeof *fk);
    scoped(secret_free) struct symkey *kek = secret_alloc(sizeof *kek);
    scoped(writer_fini) struct writer sealed;
    scoped(writer_fini) struct writer sealed_inode;
    scoped(writer_fini) struct writer header;
    struct dentry_row row = { .row = random_id(),
                              .parent = keys->ctx.class_id,
                              .version = 1 };
    struct dentry dentry = { .ino = random_id(), .type = DT_REG };
    struct inode_row inode = { .ino = dentry.ino, .version = 1 };
    const struct inode_attr attr = { .mode = S_IFREG | 0644, .size = no };
    const struct file_ctx ctx = { .class_ctx = keys->ctx,
                                  .file = dentry.ino,
                                  .hdr_gen = 1 };
    const struct file_key key = { .gen = 1, .key = fk };
    struct header_change change = { .file = dentry.ino, .hdr_gen = 1 };
    struct capsule capsule;
    struct digest commit;

    (void)a;
    writer_init(&sealed);
    writer_init(&sealed_inode);
    writer_init(&header);
    dentry.name_bytes =
        (size_t)snprintf((char *)dentry.name, sizeof dentry.name, "slice-%03u.dcm", no);
    row.tag = name_tag(&keys->rows, &row.parent, view_of(dentry.name, dentry.name_bytes));
    CHECK_EQ(dentry_seal(&keys->rows, &row, &dentry, &sealed), 0);
    row.sealed = writer_done(&sealed);
    dentry_row_encode(&row, draft_add(d, CHANGE_DENTRY));
    CHECK_EQ(inode_seal(&keys->rows, &inode, &attr, &sealed_inode), 0);
    inode.sealed = writer_done(&sealed_inode);
    inode_row_encode(&inode, draft_add(d, CHANGE_INODE));
    memset(fk->b, (int)(no & 0xff), sizeof fk->b);
    CHECK_EQ(pre_encaps(&keys->a_pub, &ctx, &capsule, kek, &commit), 0);
    CHECK_EQ(header_seal(AEAD_XCHACHA, &ctx, &capsule, kek, &commit, &key, 1, &header),
             0);
    change.header = writer_done(&header);
    header_change_encode(&change, draft_add(d, CHANGE_HEADER));
}

static void add_files(struct alice *a, unsigned count)
{
    struct compartment keys = { 0 };
    struct class_ctx ctx = imaging(a);
    unsigned no = 0;

    CHECK_EQ(owner_open_class(a->owner, &ctx.class_id, &keys), 0);
    while (no < count) {
        struct draft d;

        CHECK_EQ(draft_init(&d, &ctx), 0);
        for (; no < count && d.count + 3 <= OP_CHANGES_MAX; no++)
            add_file(a, &keys, &d, no);
        CHECK_EQ(draft_submit(&d, a->owner, NULL), 0);
        draft_fini(&d);
    }
    compartment_fini(&keys);
}

static const struct replica_grant *find_grant(struct alice *a, const char *label,
                                              const struct class_ctx *ctx)
{
    const struct replica_grant *g;

    for (size_t i = 0; (g = replica_get_grant(a->owner->replica, i)) != NULL; i++) {
        struct card card;

        if (!g->is_revoked && class_ctx_equal(&g->grant.ctx.class_ctx, ctx) &&
            replica_find_card(a->owner->replica, &g->grant.ctx.reader, &card) == 0 &&
            strcmp(card.label, label) == 0)
            return g;
    }
    return NULL;
}

/* Opens a header as its reader does: d from the grant, W1 from the server. The first key's first byte. */
static int read_header(struct alice *a, const char *label, const struct replica_header *h,
                       const struct class_ctx *ctx)
{
    const struct replica_grant *g = find_grant(a, label, ctx);
    struct phr_identity *reader;
    struct scalar *rk;
    struct scalar *d;
    struct symkey *kek;
    struct file_key keys[FK_COUNT_MAX];
    struct header header;
    struct point w;
    struct point w1;
    size_t count = 0;
    int first;

    if (!g)
        return PHR_E_NO_GRANT;
    reader = unlock(a->client, label);
    rk = phrd_open_rk(&phrd, &g->grant);
    d = secret_alloc(sizeof *d);
    kek = secret_alloc(sizeof *kek);
    CHECK_EQ(header_decode(h->bytes, &header), 0);
    CHECK_EQ(pre_capsule_w(&header.capsule, &w), 0);
    CHECK_EQ(pre_reencrypt(rk, &w, &w1), 0);
    CHECK_EQ(pre_reader_grant_key(reader->ring->b, &g->grant.ctx, &g->grant.a,
                                  &g->grant.b, &g->grant.x, &g->grant.r, d),
             0);
    CHECK_EQ(pre_reader_decaps(d, &header.ctx, &g->grant.a, &header.capsule, &w1,
                               &header.commit, kek),
             0);
    CHECK_EQ(header_open_sealed(&header, kek, keys, &count), 0);
    CHECK_EQ(count, 1);
    first = keys[0].key->b[0];
    file_keys_free(keys, count);
    secret_free(rk);
    secret_free(d);
    secret_free(kek);
    reader->is_changed = false;
    phr_identity_lock(reader);
    return first;
}

static uint32_t grant(struct alice *a, const char *to, const char *compartment,
                      bool may_write)
{
    const struct phr_grant_wish wish = { .compartment = compartment,
                                         .to = to,
                                         .may_write = may_write };
    uint32_t count = 0;
    int rc = phr_grant_add(a->owner, &wish, &count);

    if (rc < 0)
        print_error("%s\n", phr_client_get_why(a->client));
    CHECK_EQ(rc, 0);
    return count;
}

TEST(phr_grant__lets_the_reader_open_what_the_owner_wrote)
{
    struct alice a = alice_open();
    struct class_ctx ctx = imaging(&a);
    const struct replica_header *h;
    uint64_t seq;
    struct digest leaf;

    UNUSED_STATE;
    add_files(&a, FILE_COUNT);
    CHECK_EQ(grant(&a, "dr.wilson", "imaging", false), 1);
    CHECK_EQ(grant(&a, "dr.chen", NULL, false), 7);
    CHECK(replica_get_head(a.owner->replica, &seq, &leaf));
    h = replica_get_header(a.owner->replica, 0);
    for (size_t i = 0; (h = replica_get_header(a.owner->replica, i)) != NULL; i++) {
        if (class_ctx_equal(&h->ctx.class_ctx, &ctx) &&
            !id_equal(&h->ctx.file, &ctx.class_id))
            break;
    }
    CHECK(h != NULL);
    CHECK_EQ(read_header(&a, "dr.wilson", h, &ctx),
             0); /* the first file's key is all 0 */
    CHECK_EQ(grant(&a, "dr.wilson", "imaging", true),
             1); /* rights change: the old grant is replaced */
    CHECK(!epoch_is_unfinished(a.owner->replica, &ctx.class_id));
    CHECK_EQ(find_grant(&a, "dr.wilson", &ctx)->grant.rights, GRANT_RW);
    alice_close(&a);
}

TEST(phr_grant__refuses_what_makes_no_sense)
{
    struct alice a = alice_open();
    struct phr_grant_wish wish = { .to = "dr.nobody" };
    uint32_t count = 7;
    size_t pushes = (size_t)atomic_load(&phrd.push_count);

    UNUSED_STATE;
    CHECK_EQ(phr_grant_add(a.owner, &wish, &count), PHR_E_UNKNOWN_ID);
    wish.to = "authority";
    CHECK_EQ(phr_grant_add(a.owner, &wish, &count), PHR_E_UNKNOWN_ID);
    wish.to = "dr.wilson";
    wish.compartment = "teeth";
    CHECK_EQ(phr_grant_add(a.owner, &wish, &count), PHR_E_UNKNOWN_ID);
    wish.compartment = NULL;
    wish.not_after_s = 1;
    CHECK_EQ(phr_grant_add(a.owner, &wish, &count), PHR_E_USAGE);
    wish.not_after_s = 0;
    wish.purpose = "FUN";
    CHECK_EQ(phr_grant_add(a.owner, &wish, &count), PHR_E_USAGE);
    CHECK_EQ(count, 7);
    CHECK_EQ(atomic_load(&phrd.push_count), pushes);
    alice_close(&a);
}

/* ---- revocation ---- */

struct kill_at {
    unsigned left;
};

static void on_step(void *user, const char *step, uint64_t done, uint64_t all)
{
    struct kill_at *k = user;

    (void)done;
    (void)all;
    if (strcmp(step, "names") != 0 && --k->left == 0)
        _exit(9); /* as kill -9: no destructor runs */
}

/* Revokes in a child that dies after its step-th step; true when it came to its end. */
static bool revoke_until(const char *from, unsigned step)
{
    int status = 0;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        struct kill_at k = { .left = step };
        const struct phr_revoke_wish wish = { .compartment = "imaging", .from = from };
        struct phr_revoke_result r;
        struct phr_client *c = NULL;
        struct phr_identity *i = NULL;
        struct phr_owner *o = NULL;
        struct phr_passphrase pass = phrd_pass(PHRD_PASS);
        char why[256];

        close(pass.fd); /* with the rest: the server's sockets are not the child's */
        ignored(close_range(3, ~0U, 0));
        pass = phrd_pass(PHRD_PASS);
        if (phr_client_open(NULL, &c, why, sizeof why) < 0 ||
            phr_identity_unlock(c, "alice", NULL, &pass, &i) < 0 ||
            phr_owner_open(c, i, PHR_OWNER_RESUME, &o) < 0)
            _exit(1);
        phr_client_on_progress(c, on_step, &k);
        _exit(phr_revoke(o, &wish, &r) == 0 ? 0 : 1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) == 1)
        fail_msg("the revocation failed before its step %u", step);
    return WEXITSTATUS(status) == 0;
}

static void check_all_is_done(struct alice *a, uint32_t epoch)
{
    struct class_ctx ctx = imaging(a);
    const struct replica_class *c;
    const struct replica_header *h;
    struct compartment keys = { 0 };
    size_t rows = 0;

    CHECK_EQ(ctx.epoch, epoch);
    CHECK(!epoch_is_unfinished(a->owner->replica, &ctx.class_id));
    for (size_t i = 0; (c = replica_get_class(a->owner->replica, i)) != NULL; i++) {
        if (id_equal(&c->ctx.class_id, &ctx.class_id))
            CHECK_EQ(c->state,
                     c->ctx.epoch == epoch ? LEDGER_EPOCH_CURRENT : LEDGER_EPOCH_RETIRED);
    }
    for (size_t i = 0; (h = replica_get_header(a->owner->replica, i)) != NULL; i++) {
        if (id_equal(&h->ctx.class_ctx.class_id, &ctx.class_id))
            CHECK_EQ(h->ctx.class_ctx.epoch, epoch);
    }
    CHECK_EQ(owner_open_class(a->owner, &ctx.class_id, &keys), 0);
    for (size_t i = 0; replica_get_row(a->owner->replica, i) != NULL; i++) {
        const struct replica_row *row = replica_get_row(a->owner->replica, i);
        struct dentry_row d;
        struct dentry opened;

        if (row->is_dead || row->row.kind != LEDGER_ROW_DENTRY ||
            !id_equal(&row->row.class_id, &ctx.class_id))
            continue;
        CHECK_EQ(dentry_row_decode(row->bytes, &d), 0);
        CHECK_EQ(dentry_open_sealed(&keys.rows, &d, &opened), 0);
        CHECK(strncmp((char *)opened.name, "slice-", 6) == 0);
        rows++;
    }
    CHECK_EQ(rows, FILE_COUNT);
    compartment_fini(&keys);
}

TEST(phr_revoke__is_ended_by_the_next_command_when_killed_at_any_step)
{
    uint32_t epoch = 1;
    unsigned step = 1;
    bool is_over = false;

    UNUSED_STATE;
    for (; !is_over; step++) {
        struct alice a;

        is_over = revoke_until("dr.wilson", step);
        a = alice_open(); /* resumes */
        epoch++;
        check_all_is_done(&a, epoch);
        CHECK(find_grant(&a, "dr.wilson", &(struct class_ctx){ 0 }) == NULL);
        {
            struct class_ctx ctx = imaging(&a);
            const struct replica_header *names =
                replica_find_header(a.owner->replica, &ctx.class_id);

            CHECK(find_grant(&a, "dr.wilson", &ctx) == NULL);
            CHECK(find_grant(&a, "dr.chen", &ctx) != NULL);
            if (step == 1)
                CHECK(read_header(&a, "dr.chen", names, &ctx) >= 0);
            CHECK_EQ(read_header(&a, "dr.wilson", names, &ctx), PHR_E_NO_GRANT);
        }
        if (!is_over)
            CHECK_EQ(grant(&a, "dr.wilson", "imaging", false), 1);
        alice_close(&a);
    }
    CHECK(
        step >
        7); /* revoke, begin, epoch, grants, two of headers, retire, and the one that lived */
}

static int on_host(void *user, const struct phr_revoke_host *h)
{
    unsigned *seen = user;

    CHECK_EQ(strlen(h->host), 32);
    *seen += h->is_applied ? 1 : 16;
    if (!h->is_applied)
        CHECK_EQ(h->ends_at_s, 2000000000);
    return 0;
}

TEST(phr_revoke__goes_on_when_an_answer_is_lost_and_names_the_mounts)
{
    struct alice a = alice_open();
    struct phr_revoke_wish wish = { .compartment = "imaging", .from = "dr.wilson" };
    struct phr_revoke_result r;
    uint32_t epoch = imaging(&a).epoch;
    unsigned seen = 0;

    UNUSED_STATE;
    CHECK_EQ(phr_revoke(a.owner, &wish, &r), PHR_E_NO_GRANT);
    CHECK_EQ(grant(&a, "dr.wilson", "imaging", false), 1);
    atomic_store(&phrd.lose_answer_at, 3); /* of the epoch op */
    CHECK(phr_revoke(a.owner, &wish, &r) < 0);
    CHECK_EQ(r.grant_count, 1);
    CHECK(r.seq > 0);
    alice_close(&a);
    a = alice_open();
    check_all_is_done(&a, epoch + 1);
    CHECK_EQ(phr_revoke_each_host(a.owner, r.seq, 100, on_host, &seen), 0);
    CHECK_EQ(seen, 17);
    alice_close(&a);
}

TEST(phr_revoke__leaves_out_a_reader_whom_the_server_refuses)
{
    struct alice a = alice_open();
    struct phr_revoke_wish wish = { .compartment = "imaging", .from = "dr.wilson" };
    struct phr_revoke_result r;
    struct class_ctx ctx = imaging(&a);

    UNUSED_STATE;
    CHECK_EQ(grant(&a, "dr.wilson", "imaging", false), 1);
    CHECK_EQ(grant(&a, "dr.meyer", "imaging", false), 1);
    phrd.refused = find_grant(&a, "dr.chen", &ctx)->grant.ctx.reader;
    CHECK_EQ(phr_revoke(a.owner, &wish, &r), 0);
    CHECK_EQ(r.header_count, FILE_COUNT);
    check_all_is_done(&a, ctx.epoch + 1);
    ctx = imaging(&a);
    CHECK(find_grant(&a, "dr.chen", &ctx) == NULL);
    CHECK(find_grant(&a, "dr.meyer", &ctx) != NULL);
    alice_close(&a);
}

TEST(phr_owner__refuses_a_ledger_older_than_its_keyring_has_seen)
{
    struct phr_client *c = open_client();
    struct phr_identity *i = unlock(c, "alice");
    struct phr_owner *o = NULL;

    UNUSED_STATE;
    CHECK_EQ(phr_owner_open(c, i, 0, &o), 0);
    phr_owner_close(o);
    phr_identity_lock(i); /* the pin is saved */
    i = unlock(c, "alice");
    atomic_store(&phrd.hide_last, 1);
    CHECK_EQ(phr_owner_open(c, i, 0, &o), PHR_E_ROLLBACK);
    atomic_store(&phrd.hide_last, 0);
    phr_identity_lock(i);
    i = unlock(c, "dr.chen");
    CHECK_EQ(phr_owner_open(c, i, 0, &o), PHR_E_RIGHTS);
    i->is_changed = false;
    phr_identity_lock(i);
    phr_client_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(phr_realm__is_not_made_twice),
        UNIT(phr_identity__keyrings_are_for_their_owner_alone),
        UNIT(phr_identity__does_not_open_with_a_wrong_passphrase),
        UNIT(phr_identity__takes_up_its_card_when_unlocked),
        UNIT(phr_patient__has_six_compartments_and_may_get_more),
        UNIT(phr_grant__lets_the_reader_open_what_the_owner_wrote),
        UNIT(phr_grant__refuses_what_makes_no_sense),
        UNIT(phr_revoke__is_ended_by_the_next_command_when_killed_at_any_step),
        UNIT(phr_revoke__goes_on_when_an_answer_is_lost_and_names_the_mounts),
        UNIT(phr_revoke__leaves_out_a_reader_whom_the_server_refuses),
        UNIT(phr_owner__refuses_a_ledger_older_than_its_keyring_has_seen),
    };

    if (secret_arena_open() < 0)
        return 1;
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
