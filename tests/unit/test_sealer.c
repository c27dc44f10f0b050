/* Sealing, offering objects, and reading the sealed version in another vault. */
#include "check.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crypto/digest.h"
#include "fake_vault.h"

enum { WAIT_MS = 20000 };

static char dirs[2][64];

static struct vault *open_vault(int which)
{
    struct vault *v = NULL;

    snprintf(dirs[which], sizeof dirs[which], "/tmp/phr-sealer-%d-%d", which,
             (int)getpid());
    CHECK_EQ(fake_vault_open(dirs[which], &v), 0);
    return v;
}

static void close_vault(struct vault *v, int which)
{
    fake_vault_close(v);
    fake_dir_remove(dirs[which]);
}

static void fill(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((i * 13 + i / 4096 * 5 + seed) & 0xff);
}

static void put(struct file *f, uint64_t at, size_t n, unsigned seed)
{
    uint8_t *p = malloc(n);

    fill(p, n, seed);
    CHECK_EQ(file_write(f, at, view_of(p, n), NULL), 0);
    free(p);
}

static void wait_sealed(struct vault *v, uint32_t unsealed_max, uint32_t objects_max)
{
    struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
    uint32_t unsealed = 1;
    uint32_t objects = 1;
    uint32_t parked;

    contents_seal_all(v->contents);
    for (int i = 0; i < WAIT_MS / 20; i++) {
        contents_count(v->contents, &unsealed, &objects, &parked);
        if (unsealed <= unsealed_max && objects <= objects_max)
            return;
        nanosleep(&pause, NULL);
    }
    print_error("%u unsealed, %u objects, %u parked\n", unsealed, objects, parked);
    fail();
}

static struct fake_seal *last_seal(struct vault *v, uint64_t nodeid)
{
    for (size_t i = v->seal_count; i > 0; i--)
        if (v->seals[i - 1].nodeid == nodeid)
            return &v->seals[i - 1];
    fail();
    return NULL;
}

static uint8_t *read_all(struct vault *v, uint64_t nodeid, size_t *out_n)
{
    struct file *f = NULL;
    struct content_attr a;
    uint8_t *p;
    size_t at = 0;

    CHECK_EQ(contents_getattr(v->contents, nodeid, &a), 0);
    CHECK_EQ(fake_open(v, nodeid, O_RDONLY, &f), 0);
    p = calloc(1, a.size + 1);
    while (at < a.size) {
        struct fake_waiter w;
        size_t n = 0;
        size_t want = a.size - at < 200000 ? a.size - at : 200000;
        int rc;

        fake_waiter_init(&w);
        rc = file_read(f, at, (struct span){ p + at, want }, &w.w, &n);
        if (rc == PHR_E_PENDING) {
            CHECK_EQ(fake_waiter_wait(&w, WAIT_MS), 0);
            continue;
        }
        CHECK_EQ(rc, 0);
        CHECK_EQ(n, want);
        at += n;
    }
    file_release(f);
    *out_n = a.size;
    return p;
}

/* The ledger brings the seal to another host, which reads the file. */
static void check_elsewhere(struct vault *from, uint64_t nodeid)
{
    struct vault *to = open_vault(1);
    struct fake_seal *s = last_seal(from, nodeid);
    struct class_ctx ctx = { .epoch = 1 };
    size_t want_n = 0;
    size_t have_n = 0;
    uint8_t *want = read_all(from, nodeid, &want_n);
    uint8_t *have;

    CHECK(s->is_released);
    memcpy(to->objects, from->objects, sizeof to->objects);
    to->object_count = from->object_count;
    CHECK_EQ(nsdb_begin(to->db), 0);
    CHECK_EQ(contents_apply_seal(to->contents, nodeid, &ctx, &s->seal), 0);
    CHECK_EQ(nsdb_commit(to->db), 0);
    have = read_all(to, nodeid, &have_n);
    CHECK_EQ(have_n, want_n);
    CHECK_BYTES(have, want, want_n);
    free(have);
    have = read_all(to, nodeid, &have_n); /* from its own disk */
    CHECK_BYTES(have, want, want_n);
    free(want);
    free(have);
    to->object_count = 0; /* they are from's */
    close_vault(to, 1);
}

TEST(sealer__another_host_reads_what_was_sealed)
{
    static const size_t sizes[] = {
        0, 1, 5000, 1 << 20, (4 << 20) - 100, 4 << 20, (9 << 20) + 5
    };
    struct vault *v = open_vault(0);

    UNUSED_STATE;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct file *f = NULL;

        CHECK_EQ(fake_create(v, 100 + i, &f), 0);
        if (sizes[i])
            put(f, 0, sizes[i], i);
        CHECK_EQ(file_flush(f), 0);
        file_release(f);
    }
    wait_sealed(v, 0, 0);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        check_elsewhere(v, 100 + i);
    close_vault(v, 0);
}

TEST(sealer__merges_overlay_holes_and_cuts)
{
    struct vault *v = open_vault(0);
    struct file *f = NULL;

    UNUSED_STATE;
    CHECK_EQ(fake_create(v, 200, &f), 0);
    put(f, 0, 6 << 20, 1);
    CHECK_EQ(file_flush(f), 0);
    put(f, 5000, 100, 2);
    put(f, 13 << 20, 70000, 3);
    CHECK_EQ(file_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20,
                            1 << 20, NULL),
             0);
    CHECK_EQ(file_flush(f), 0);
    wait_sealed(v, 0, 0);
    CHECK_EQ(last_seal(v, 200)->seal.content_version, 1);
    CHECK_EQ(last_seal(v, 200)->seal.base_version, 0);
    CHECK_EQ(last_seal(v, 200)->seal.segment_count, 3);
    check_elsewhere(v, 200);
    put(f, (4 << 20) + 10, 10, 4);
    CHECK_EQ(contents_truncate(v->contents, 200, file_get_access(f), 5 << 20, NULL), 0);
    put(f, 7 << 20, 10, 4);
    CHECK_EQ(file_flush(f), 0);
    wait_sealed(v, 0, 0);
    CHECK_EQ(last_seal(v, 200)->seal.content_version, 2);
    CHECK_EQ(last_seal(v, 200)->seal.base_version, 1);
    check_elsewhere(v, 200);
    file_release(f);
    close_vault(v, 0);
}

/* phrd hashes what it is offered (fake_vault.c does): a changed byte would be refused. */
TEST(sealer__writers_never_change_what_is_sealed)
{
    struct vault *v = open_vault(0);
    struct file *f = NULL;
    uint32_t unsealed;
    uint32_t objects;
    uint32_t parked;

    UNUSED_STATE;
    CHECK_EQ(fake_create(v, 300, &f), 0);
    put(f, 0, 5 << 20, 1);
    for (unsigned round = 0; round < 12; round++) {
        contents_seal_all(v->contents);
        for (unsigned i = 0; i < 60; i++)
            put(f, (round * 977 + i * 61) * 1009 % (6 << 20), 3000, i);
        CHECK_EQ(file_flush(f), 0);
        if (round % 4 == 3)
            CHECK_EQ(
                contents_truncate(v->contents, 300, file_get_access(f), 3 << 20, NULL),
                0);
    }
    CHECK_EQ(file_flush(f), 0);
    wait_sealed(v, 0, 0);
    contents_count(v->contents, &unsealed, &objects, &parked);
    CHECK_EQ(parked, 0);
    check_elsewhere(v, 300);
    file_release(f);
    close_vault(v, 0);
}

TEST(sealer__waits_for_a_login_and_for_the_store)
{
    struct vault *v = open_vault(0);
    struct file *f = NULL;
    struct timespec pause = { .tv_nsec = 300 * 1000 * 1000 };
    uint32_t unsealed;
    uint32_t objects;
    uint32_t parked;

    UNUSED_STATE;
    v->is_locked = true;
    CHECK_EQ(fake_create(v, 400, &f), 0);
    put(f, 0, 5000, 1);
    CHECK_EQ(file_flush(f), 0);
    file_release(f);
    contents_seal_all(v->contents);
    nanosleep(&pause, NULL);
    contents_count(v->contents, &unsealed, &objects, &parked);
    CHECK_EQ(unsealed, 1);
    v->is_locked = false;
    v->put_status = PHR_E_STORE_REFUSED;
    contents_kick(v->contents);
    wait_sealed(v, 0, 2);
    nanosleep(&pause, NULL);
    nanosleep(&pause, NULL);
    contents_count(v->contents, &unsealed, &objects, &parked);
    CHECK_EQ(objects, 2);
    CHECK_EQ(parked, 2);
    CHECK(!last_seal(v, 400)->is_released);
    v->put_status = 0;
    contents_kick(v->contents);
    wait_sealed(v, 0, 0);
    CHECK(last_seal(v, 400)->is_released);
    fake_vault_close(v);
    v = open_vault(0); /* the row says SEALED: nothing is sealed again */
    contents_seal_all(v->contents);
    nanosleep(&pause, NULL);
    CHECK_EQ(v->seal_count, 0);
    close_vault(v, 0);
}

/* S-7: what the store has confirmed is given up when there is no room, and comes back. */
TEST(sealer__local_copies_make_room_and_are_fetched_again)
{
    struct vault *v;
    struct class_ctx ctx = { .epoch = 1 };
    struct file *f = NULL;
    struct timespec pause = { .tv_nsec = 100 * 1000 * 1000 };
    uint8_t *want;
    uint8_t *have;
    size_t n = 0;
    uint64_t bytes = 0;

    UNUSED_STATE;
    fake_store_bytes_max = 1;
    v = open_vault(0);
    fake_store_bytes_max = 0;
    CHECK_EQ(fake_create(v, 600, &f), 0);
    put(f, 0, 5 << 20, 1);
    CHECK_EQ(file_flush(f), 0);
    file_release(f);
    wait_sealed(v, 0, 0);
    want = read_all(v, 600, &n);
    v->contents->evict_ms = 0;
    contents_sync_pass(v->contents);
    contents_evict(v->contents); /* sealed, but the ledger has not said so: it stays */
    v->object_count = 0;
    have = read_all(v, 600, &n);
    CHECK_BYTES(have, want, n);
    free(have);
    v->object_count = 3; /* two segments and the manifest */
    CHECK_EQ(nsdb_begin(v->db), 0);
    CHECK_EQ(contents_apply_seal(v->contents, 600, &ctx, &last_seal(v, 600)->seal), 0);
    CHECK_EQ(nsdb_commit(v->db), 0);
    for (int i = 0; i < 100; i++) {
        nanosleep(&pause, NULL);
        contents_sync_pass(v->contents);
        v->contents->evict_ms = 0;
        contents_evict(v->contents);
        contents_sync_pass(v->contents);
        contents_sync_pass(v->contents);
        store_free_wait(v->contents->store);
        bytes = 0;
        if (container_get_bytes(v->contents->store, CONTAINER_SEGMENT | 1 << 2, &bytes) ==
            -ENOENT)
            break;
    }
    CHECK_EQ(bytes, 0);
    have = read_all(v, 600, &n);
    CHECK_BYTES(have, want, n);
    free(want);
    free(have);
    close_vault(v, 0);
}

TEST(sealer__a_logout_writes_everything_and_the_next_open_reads_it)
{
    struct vault *v = open_vault(0);
    struct file *f = NULL;
    struct id16 user = { { 'u' } };
    uint32_t unsealed = 0;
    uint8_t p[4096];
    uint8_t want[4096];
    size_t n;

    UNUSED_STATE;
    CHECK_EQ(fake_create(v, 500, &f), 0);
    put(f, 0, 9000, 1);
    CHECK_EQ(contents_logout(v->contents, &user, &unsealed), 0);
    CHECK_EQ(unsealed, 1);
    fill(want, 4096, 1);
    CHECK_EQ(file_read(f, 0, (struct span){ p, 4096 }, NULL, &n), 0);
    CHECK_BYTES(p, want, 4096);
    file_release(f);
    close_vault(v, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        UNIT(sealer__another_host_reads_what_was_sealed),
        UNIT(sealer__merges_overlay_holes_and_cuts),
        UNIT(sealer__writers_never_change_what_is_sealed),
        UNIT(sealer__waits_for_a_login_and_for_the_store),
        UNIT(sealer__local_copies_make_room_and_are_fetched_again),
        UNIT(sealer__a_logout_writes_everything_and_the_next_open_reads_it),
    };

    return RUN_TESTS(tests);
}
