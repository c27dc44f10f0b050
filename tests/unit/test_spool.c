/* Audit events on their way: what the SRS opens is what was recorded, in order, over restarts and cuts. */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fdio.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "vault/nsdb.h"
#include "vault/spool.h"

static char dir[64];
static int dir_fd = -1;
static struct nsdb *db;
static struct spool *spool;
static struct scalar *srs;
static struct spool_opts opts;

static int setup(void **state)
{
    char path[96];

    (void)state;
    snprintf(dir, sizeof dir, "/tmp/phr-spool-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    CHECK_EQ(fdio_open_dir(AT_FDCWD, dir, &dir_fd), 0);
    snprintf(path, sizeof path, "%s/namespace.db", dir);
    CHECK_EQ(nsdb_open(path, &db), 0);
    srs = secret_alloc(sizeof *srs);
    pre_scalar_random(srs);
    opts = (struct spool_opts){ .dir_fd = dir_fd, .db = db, .host = random_id() };
    CHECK_EQ(pre_public(srs, &opts.srs), 0);
    return spool_open(&opts, &spool);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    spool_close(spool);
    nsdb_close(db);
    secret_free(srs);
    close(dir_fd);
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct event event_of(uint64_t time_s)
{
    return (struct event){ .type = EVENT_OPEN, .time_s = time_s, .host = opts.host, .uid = 1000,
                           .program = view_text("cat") };
}

/* As the SRS does: header, then the chain from 0. Returns the time of the last event. */
static uint64_t open_bundle(struct view payload, uint64_t *out_no, uint32_t *out_count, uint64_t *out_next)
{
    struct reader r = reader_over(payload);
    struct view header = reader_lp(&r, SPOOL_HEADER_BYTES);
    uint64_t n = reader_u64(&r);
    struct view records = reader_lp(&r, 1 << 24);
    struct symkey *key = secret_alloc(sizeof *key);
    struct digest prev = { { 0 } };
    struct id16 host;
    uint64_t time_s = 0;
    uint32_t count = 0;

    CHECK(reader_done(&r));
    CHECK_EQ(n, 0);
    CHECK_EQ(spool_header_open(header, srs, &host, out_no, key), 0);
    while (records.n > 0) {
        struct writer plain;
        struct event e;
        size_t used;

        writer_init(&plain);
        CHECK_EQ(spool_record_open(key, &host, n, &prev, records, &used, &plain), 0);
        CHECK_EQ(event_decode(writer_done(&plain), &e), 0);
        CHECK(e.time_s > time_s);
        time_s = e.time_s;
        prev = digest_sha256(view_of(records.p, used));
        records = view_of(records.p + used, records.n - used);
        n++;
        count++;
        writer_fini(&plain);
    }
    secret_free(key);
    *out_count = count;
    *out_next = n;
    return time_s;
}

static uint32_t take(bool table, bool acknowledge, uint64_t *out_last)
{
    struct writer payload;
    uint64_t no = 0;
    uint64_t seen_no = 0;
    uint64_t next = 0;
    uint32_t count = 0;
    uint32_t seen = 0;

    writer_init(&payload);
    CHECK_EQ(spool_take(spool, table, &payload, &no, &count), 0);
    if (count > 0) {
        *out_last = open_bundle(writer_done(&payload), &seen_no, &seen, &next);
        CHECK_EQ(seen_no, no);
        CHECK_EQ(seen, count);
        if (acknowledge)
            CHECK_EQ(spool_acknowledge(spool, table, no, next), 0);
    }
    writer_fini(&payload);
    return count;
}

TEST(spool__what_was_recorded_is_what_the_server_opens)
{
    uint64_t last = 0;
    struct event e;
    UNUSED_STATE;

    for (uint64_t i = 1; i <= 50; i++) {
        e = event_of(i);
        CHECK_EQ(spool_event(spool, &e), 0);
    }
    CHECK_EQ(spool_sync(spool), 0);
    CHECK_EQ(take(false, false, &last), 50);
    CHECK_EQ(last, 50);
    CHECK_EQ(take(false, true, &last), 50); /* a lost answer: the same again */
    CHECK_EQ(take(false, true, &last), 0);
}

/* The first number of the next bundle, acknowledged up to `next`. */
static uint64_t take_from(uint64_t next, uint32_t *out_count)
{
    struct writer payload;
    struct reader r;
    uint64_t first;
    uint64_t no = 0;

    writer_init(&payload);
    CHECK_EQ(spool_take(spool, false, &payload, &no, out_count), 0);
    r = reader_over(writer_done(&payload));
    (void)reader_lp(&r, SPOOL_HEADER_BYTES);
    first = reader_u64(&r);
    CHECK(reader_ok(&r));
    CHECK_EQ(spool_acknowledge(spool, false, no, next), 0);
    writer_fini(&payload);
    return first;
}

TEST(spool__what_the_server_has_is_not_sent_again_unless_it_lost_it)
{
    uint64_t last = 0;
    uint32_t count = 0;
    struct event e = event_of(51);
    UNUSED_STATE;

    CHECK_EQ(spool_event(spool, &e), 0);
    e = event_of(52);
    CHECK_EQ(spool_event(spool, &e), 0);
    CHECK_EQ(take_from(51, &count), 50); /* it took one of two */
    CHECK_EQ(count, 2);
    CHECK_EQ(take_from(52, &count), 51);
    CHECK_EQ(count, 1);
    e = event_of(53);
    CHECK_EQ(spool_event(spool, &e), 0);
    CHECK_EQ(take_from(20, &count), 52); /* it was set back */
    CHECK_EQ(count, 1);
    CHECK_EQ(take_from(53, &count), 20);
    CHECK_EQ(count, 33);
    CHECK_EQ(take(false, true, &last), 0);
}

TEST(spool__a_torn_tail_is_cut_and_a_new_start_has_a_file_of_its_own)
{
    char name[400];
    uint64_t last = 0;
    struct event e = event_of(60);
    struct dirent *d;
    DIR *files;
    int fd;
    UNUSED_STATE;

    CHECK_EQ(spool_event(spool, &e), 0);
    spool_close(spool);
    snprintf(name, sizeof name, "%s/spool", dir);
    files = opendir(name);
    assert_non_null(files);
    while ((d = readdir(files)) && d->d_name[0] == '.')
        continue;
    assert_non_null(d);
    snprintf(name, sizeof name, "%s/spool/%s", dir, d->d_name);
    closedir(files);
    fd = open(name, O_WRONLY | O_APPEND | O_CLOEXEC);
    CHECK_EQ(write(fd, "\x70\x00\x00\x00torn", 8), 8);
    close(fd);
    CHECK_EQ(spool_open(&opts, &spool), 0);
    e = event_of(61);
    CHECK_EQ(spool_event(spool, &e), 0);
    CHECK_EQ(take(false, true, &last), 54); /* the server skips what it has */
    CHECK_EQ(last, 60);
    CHECK_EQ(take(false, true, &last), 1);
    CHECK_EQ(last, 61);
    CHECK_EQ(take(false, true, &last), 0);
}

TEST(spool__events_of_a_transaction_come_and_go_with_it)
{
    struct event e = event_of(100);
    uint64_t last = 0;
    UNUSED_STATE;

    CHECK_EQ(nsdb_begin(db), 0);
    CHECK_EQ(spool_event_tx(spool, &e), 0);
    nsdb_rollback(db);
    spool_undo_tx(spool);
    CHECK_EQ(take(true, true, &last), 0);
    for (uint64_t i = 101; i <= 103; i++) {
        e = event_of(i);
        CHECK_EQ(nsdb_begin(db), 0);
        CHECK_EQ(spool_event_tx(spool, &e), 0);
        CHECK_EQ(nsdb_commit(db), 0);
    }
    CHECK_EQ(take(true, false, &last), 3);
    CHECK_EQ(take(true, true, &last), 3);
    CHECK_EQ(last, 103);
    CHECK_EQ(take(true, true, &last), 0);
}

TEST(spool__an_event_that_cannot_be_written_is_an_error)
{
    struct event e = event_of(200);
    char *huge = calloc(1, EVENT_BYTES_MAX + 1);
    UNUSED_STATE;

    e.reason = view_of((const uint8_t *)huge, EVENT_BYTES_MAX + 1);
    CHECK_EQ(spool_event(spool, &e), PHR_E_AUDIT);
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(spool__what_was_recorded_is_what_the_server_opens),
        UNIT(spool__what_the_server_has_is_not_sent_again_unless_it_lost_it),
        UNIT(spool__a_torn_tail_is_cut_and_a_new_start_has_a_file_of_its_own),
        UNIT(spool__events_of_a_transaction_come_and_go_with_it),
        UNIT(spool__an_event_that_cannot_be_written_is_an_error),
    };

    if (secret_arena_open() < 0)
        return 1;
    return cmocka_run_group_tests(tests, setup, teardown);
}
