/*
 * How many keys the SRS releases: the multiplication alone, and the whole way of a request (signature,
 * grant, leaf, transaction, sync, point, receipt), with the log synced and with syncs left out.
 *
 *   srs_bench [--json] [--dir DIR] [--ms N]     DIR: where srs.db lies, by default under /tmp
 *
 * Per line: releases per second of wall clock, and per second of processor time (one core).
 */
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fdio.h"
#include "base/secret.h"

/* The tests' realm, with checks that end the process instead of a test. */
#define PHR_TESTS_UNIT_CHECK_H
#define CHECK(x) INVARIANT(x)
#define CHECK_EQ(a, b) INVARIANT((a) == (b))
#define assert_non_null(p) INVARIANT((p) != NULL)
#include "../../tests/unit/tiny_realm.h"

#include "crypto/pre_proxy.h"
#include "format/open_request.h"
#include "srs/srs.h"

enum {
    MS_DEFAULT = 500,
    MS_MAX = 60000,
    IN_FLIGHT_MAX = 64,
    FILES_MAX = OPEN_FILES_MAX,
    REQUESTS_MAX = 200000
};

static atomic_bool is_sync_off;
static atomic_uint_fast64_t sync_count;

/* Ours come before the C library's for SQLite too: so syncs are counted, and left out. */
static int counted_sync(int fd, long number)
{
    atomic_fetch_add(&sync_count, 1);
    return atomic_load(&is_sync_off) ? 0 : (int)syscall(number, fd);
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    return counted_sync(fd, SYS_fdatasync);
}

__attribute__((visibility("default"))) int fsync(int fd)
{
    return counted_sync(fd, SYS_fsync);
}

struct stage {
    struct tiny_realm realm;
    struct tiny_grant grant;
    char dir[4096];
    int fd;
    struct srs *srs;
    struct open_file files[FILES_MAX];
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned in_flight; /* lock */
};

struct result {
    const char *name;
    double per_s;
    double per_cpu_s;
    double per_sync;
};

static double clock_s(clockid_t id)
{
    struct timespec t;

    INVARIANT(clock_gettime(id, &t) == 0);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- asking ---- */

static void on_done(void *user, int status, struct view payload)
{
    struct stage *s = user;

    INVARIANT(status == 0 && payload.n > 0);
    pthread_mutex_lock(&s->lock);
    s->in_flight--;
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->lock);
}

static void wait_below(struct stage *s, unsigned limit)
{
    pthread_mutex_lock(&s->lock);
    while (s->in_flight >= limit)
        pthread_cond_wait(&s->cond, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static void submit(struct stage *s, enum srs_ask ask, struct view payload)
{
    const struct srs_peer peer = { .uid = 1000, .is_admin = true };

    pthread_mutex_lock(&s->lock);
    s->in_flight++;
    pthread_mutex_unlock(&s->lock);
    INVARIANT(srs_submit(s->srs, ask, &peer, payload, on_done, s) == 0);
}

static void push(struct stage *s, struct tiny_op *t)
{
    const struct signed_op op =
        tiny_op_sign(t, &s->realm.owner, &s->realm.host, ++s->realm.n);
    struct writer payload;

    writer_init(&payload);
    writer_u16(&payload, 1);
    writer_lp(&payload, op.op);
    writer_bytes(&payload, op.sig.b, sizeof op.sig.b);
    writer_u16(&payload, 1);
    writer_bytes(&payload, s->grant.grant.ctx.grant.b, 16);
    writer_lp(&payload, view_of(s->grant.sealed, sizeof s->grant.sealed));
    submit(s, SRS_OP_PUSH, writer_done(&payload));
    wait_below(s, 1);
    writer_fini(&payload);
    tiny_op_free(t);
}

/* ---- the stage ---- */

static void stage_approve(struct stage *s)
{
    struct tiny_person *srs = &s->realm.srs;
    const struct tiny_person *authority = &s->realm.authority;
    uint8_t *request;
    size_t n;

    CHECK_EQ(srs_init(s->fd, s->fd), 0);
    CHECK_EQ(fdio_load(s->fd, "srs.request", CARD_BYTES_MAX, &request, &n), 0);
    tiny_approve(srs, view_of(request, n), authority->sign, &authority->card.ed);
    free(request);
    CHECK_EQ(fdio_save(s->fd, "srs.card", view_of(srs->bytes, srs->n), 0644), 0);
    CHECK_EQ(
        fdio_save(s->fd, "authority.card", view_of(authority->bytes, authority->n), 0644),
        0);
}

static void stage_fill(struct stage *s)
{
    const struct class_ctx wide = { .patient = s->realm.patient };
    const struct grant wish = tiny_wish(GRANT_R);
    struct tiny_op *t = tiny_op_new(&wide);

    push(s, tiny_genesis(&s->realm));
    tiny_put_card(t, &s->realm.reader);
    s->grant = tiny_put_grant(t, &s->realm.labs, &s->realm.owner, &s->realm.reader,
                              &s->realm.srs.card.b, &wish);
    push(s, t);
    for (size_t i = 0; i < FILES_MAX; i++) {
        const struct id16 file = random_id();
        const struct id16 row = random_id();
        struct writer header;
        char name[16];

        writer_init(&header);
        ignored(snprintf(name, sizeof name, "f%zu", i)); /* fits */
        push(s, tiny_create(&s->realm.labs, name, &file, &row, &header));
        s->files[i] = (struct open_file){ { s->realm.labs.ctx, file, 1 },
                                          header_digest(writer_done(&header)),
                                          OPEN_WHY_OPEN };
        writer_fini(&header);
    }
}

static void stage_open(struct stage *s, const char *base)
{
    struct srs_opts opts = { .lease_s = 300 };

    INVARIANT(snprintf(s->dir, sizeof s->dir, "%s/srs_bench.XXXXXX", base) <
              (int)sizeof s->dir);
    INVARIANT(mkdtemp(s->dir) != NULL);
    CHECK_EQ(fdio_open_dir(AT_FDCWD, s->dir, &s->fd), 0);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->cond, NULL);
    tiny_realm_init(&s->realm);
    stage_approve(s);
    opts.dir_fd = s->fd;
    opts.realm_fd = s->fd;
    CHECK_EQ(srs_open(&opts, &s->srs), 0);
    stage_fill(s);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void stage_close(struct stage *s)
{
    srs_close(s->srs);
    close(s->fd);
    ignored(nftw(s->dir, remove_one, 8,
                 FTW_DEPTH | FTW_PHYS)); /* a leftover in /tmp is no result */
    tiny_realm_fini(&s->realm);
}

/* ---- the lines ---- */

static struct result measure_points(struct stage *s, double seconds)
{
    struct scalar *rk = secret_alloc(sizeof *rk);
    struct point w = s->realm.labs.a_pub;
    double cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    const double start = clock_s(CLOCK_MONOTONIC);
    uint64_t count = 0;
    double wall;

    assert_non_null(rk);
    pre_scalar_random(rk);
    do {
        struct point out;

        CHECK_EQ(pre_reencrypt(rk, &w, &out), 0);
        w = out;
        count++;
        wall = clock_s(CLOCK_MONOTONIC) - start;
    } while (wall < seconds);
    cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    secret_free(rk);
    return (struct result){ "multiplication alone", (double)count / wall,
                            (double)count / cpu, 0 };
}

static void write_request(const struct stage *s, unsigned files, struct writer *out)
{
    const struct open_context c = { .uid = 1000, .program = view_text("srs_bench") };
    struct open_file some[FILES_MAX];
    struct open_request q = { .req = random_id(),
                              .grant = s->grant.grant.ctx.grant,
                              .purpose = PURPOSE_TREAT,
                              .time_s = clock_realtime_s(),
                              .count = (uint16_t)files,
                              .files = some };
    struct writer context, request;

    memcpy(some, s->files, sizeof some);
    writer_init(&context);
    writer_init(&request);
    open_context_encode(&c, &context);
    q.context = digest_sha256(writer_done(&context));
    CHECK_EQ(open_request_encode(&q, s->realm.reader.sign, &request), 0);
    writer_lp(out, writer_done(&request));
    writer_lp(out, writer_done(&context));
    writer_fini(&context);
    writer_fini(&request);
}

struct load {
    const char *name;
    unsigned in_flight;
    unsigned files;
    bool is_synced;
};

/* The readers are this thread, and what they use for making their requests is not the server's. */
static struct result measure_opens(struct stage *s, const struct load *l, double seconds)
{
    double cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    const double start = clock_s(CLOCK_MONOTONIC);
    uint64_t syncs = atomic_load(&sync_count);
    uint64_t count = 0;
    double readers = 0;
    double releases;
    double wall;

    atomic_store(&is_sync_off, !l->is_synced);
    do {
        struct writer payload;

        writer_init(&payload);
        readers -= clock_s(CLOCK_THREAD_CPUTIME_ID);
        write_request(s, l->files, &payload);
        readers += clock_s(CLOCK_THREAD_CPUTIME_ID);
        wait_below(s, l->in_flight);
        submit(s, SRS_OPEN, writer_done(&payload));
        writer_fini(&payload);
        count++;
    } while (clock_s(CLOCK_MONOTONIC) - start < seconds && count < REQUESTS_MAX);
    wait_below(s, 1);
    wall = clock_s(CLOCK_MONOTONIC) - start;
    cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu - readers;
    syncs = atomic_load(&sync_count) - syncs;
    releases = (double)count * l->files;
    atomic_store(&is_sync_off, false);
    return (struct result){ l->name, releases / wall, releases / cpu,
                            syncs ? releases / (double)syncs : 0 };
}

static void print(const struct result *r, bool is_json, bool is_last)
{
    if (is_json)
        printf(
            "  {\"name\":\"%s\",\"per_s\":%.0f,\"per_cpu_s\":%.0f,\"per_sync\":%.1f}%s\n",
            r->name, r->per_s, r->per_cpu_s, r->per_sync, is_last ? "" : ",");
    else
        printf("%-44s %9.0f /s %9.0f /core-s %7.1f /sync\n", r->name, r->per_s,
               r->per_cpu_s, r->per_sync);
}

static const struct load loads[] = {
    { "1 file per request, 1 at a time, synced", 1, 1, true },
    { "1 file per request, 16 at a time, synced", 16, 1, true },
    { "1 file per request, 64 at a time, synced", IN_FLIGHT_MAX, 1, true },
    { "16 files per request, 16 at a time, synced", 16, 16, true },
    { "256 files per request, 4 at a time, synced", 4, FILES_MAX, true },
    { "1 file per request, 1 at a time, not synced", 1, 1, false },
    { "1 file per request, 64 at a time, not synced", IN_FLIGHT_MAX, 1, false },
    { "256 files per request, 4 at a time, not synced", 4, FILES_MAX, false },
};

static void run(struct stage *s, bool is_json, double seconds)
{
    struct result r = measure_points(s, seconds);

    if (is_json)
        printf("[\n");
    print(&r, is_json, false);
    for (size_t i = 0; i < ARRAY_COUNT(loads); i++) {
        r = measure_opens(s, &loads[i], seconds);
        print(&r, is_json, i + 1 == ARRAY_COUNT(loads));
    }
    if (is_json)
        printf("]\n");
}

int main(int argc, char *argv[])
{
    static struct stage stage;
    const char *base = "/tmp";
    long ms = MS_DEFAULT;
    bool is_json = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            is_json = true;
        } else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc) {
            base = argv[++i];
        } else if (strcmp(argv[i], "--ms") == 0 && i + 1 < argc) {
            ms = strtol(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: srs_bench [--json] [--dir DIR] [--ms N]\n");
            return 2;
        }
    }
    if (ms < 1 || ms > MS_MAX || secret_arena_open() < 0)
        return 1;
    stage_open(&stage, base);
    run(&stage, is_json, (double)ms / 1000);
    stage_close(&stage);
    return 0;
}
