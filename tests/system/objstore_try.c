/*
 * The object store and the transport by hand, for test_objstore.py:
 *   objstore_try [--credentials F] [--ca F] [--skew SECONDS] [--no-learn] [--tamper] URL COMMAND ...
 *     put KEY FILE | put-sole KEY FILE | get KEY FILE | list PREFIX | probe
 *     queue DIR COUNT BYTES   random objects through a transport with DIR/sync.db, until stored
 *     park DIR COUNT          the same, one of them with a wrong name: it is to be parked
 * Prints one line: RC BLAME HTTP WORDS, and for some commands more.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "sidecar/objstore.h"
#include "sidecar/objstore_s3_test.h"
#include "sidecar/s3request_test.h"
#include "sidecar/transport.h"

enum { WAIT_MS_MAX = 60 * 1000 };

struct setting {
    struct objstore_config config;
    int64_t skew_s;
    bool no_learn;
    bool tamper;
};

static int report(int rc, const struct objstore_note *note)
{
    static const char *const blames[] = { "none", "store", "item", "way" };

    printf("%s %s %d %s\n", rc == 0 ? "ok" : rc > -5000 ? strerrorname_np(-rc) : phr_err_name(rc),
           blames[note->blame], note->http_status, note->words);
    return rc == 0 ? 0 : 1;
}

static int put(struct objstore *s, const char *key, const char *path, bool is_sole, bool tamper)
{
    scoped(close_fd) int fd = open(path, O_RDWR | O_CLOEXEC);
    scoped(free) uint8_t *bytes = NULL;
    struct objstore_put p = { .key = key, .fd = fd, .is_sole = is_sole };
    struct objstore_note note = { 0 };
    size_t n = 0;

    if (fd < 0 || fdio_load(AT_FDCWD, path, OBJSTORE_OBJECT_BYTES_MAX, &bytes, &n) < 0)
        return 2;
    p.bytes = n;
    p.sha256 = digest_sha256(view_of(bytes, n));
    if (tamper && fdio_pwrite_all(fd, "?", 1, n / 2) < 0)
        return 2;
    return report(objstore_put(s, &p, &note), &note);
}

static int get(struct objstore *s, const char *key, const char *path)
{
    scoped(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct objstore_note note = { 0 };
    struct digest unused;
    uint64_t bytes = 0;

    if (fd < 0)
        return 2;
    return report(objstore_get(s, key, fd, OBJSTORE_OBJECT_BYTES_MAX, 4000, &bytes, &unused, &note),
                  &note);
}

static int print_key(void *user, const char *key)
{
    (void)user;
    return puts(key) < 0 ? -EIO : 0;
}

struct tally {
    atomic_int stored;
    atomic_int refused;
    atomic_int other;
};

static void on_done(void *user, int rc, uint64_t bytes)
{
    struct tally *t = user;

    (void)bytes;
    if (rc == 0)
        atomic_fetch_add(&t->stored, 1);
    else if (rc == PHR_E_STORE_REFUSED)
        atomic_fetch_add(&t->refused, 1);
    else
        atomic_fetch_add(&t->other, 1);
}

static void on_entry_stored(void *user, const struct id16 *patient, uint64_t seq)
{
    (void)user;
    (void)patient;
    (void)seq;
}

static int offer(struct transport *t, size_t bytes, bool is_wrong, struct tally *tally)
{
    scoped(free) uint8_t *p = malloc(bytes + 1);
    int fd = memfd_create("object", MFD_CLOEXEC);
    struct id16 patient = { { 7 } };
    struct digest id;

    if (!p || fd < 0)
        return -ENOMEM;
    random_fill(p, bytes);
    id = digest_sha256(view_of(p, bytes));
    if (is_wrong)
        id.b[0] ^= 1;
    if (fdio_pwrite_all(fd, p, bytes, 0) < 0)
        return -EIO;
    return transport_put_object(t, &patient, &id, fd, 0, bytes, on_done, tally);
}

static int queue(struct objstore *s, const char *dir, int count, size_t bytes, bool has_wrong)
{
    scoped(syncdb_close) struct syncdb *db = NULL;
    struct transport *t = NULL;
    struct transport_opts opts = { .store = s, .store_url = "test", .on_entry_stored = on_entry_stored };
    struct tally tally = { 0 };
    struct timespec pause = { 0, 20 * 1000 * 1000 };
    uint64_t end = clock_boottime_ms() + WAIT_MS_MAX;
    char path[512];
    scoped(free) char *text = NULL;
    json_t *status;

    snprintf(path, sizeof path, "%s/sync.db", dir);
    if (syncdb_open(path, &db) < 0)
        return 2;
    opts.db = db;
    if (transport_open(&opts, &t) < 0)
        return 2;
    for (int i = 0; i < count; i++) {
        if (offer(t, bytes, has_wrong && i == 0, &tally) < 0)
            return 2;
    }
    while (atomic_load(&tally.stored) + atomic_load(&tally.refused) < count &&
           clock_boottime_ms() < end)
        nanosleep(&pause, NULL);
    status = transport_dup_status(t);
    text = json_dumps(status, JSON_COMPACT);
    json_decref(status);
    transport_close(t);
    printf("stored %d refused %d other %d\n%s\n", atomic_load(&tally.stored),
           atomic_load(&tally.refused), atomic_load(&tally.other), text);
    return 0;
}

static int run(struct objstore *s, const struct setting *set, int argc, char *argv[])
{
    struct objstore_note note = { 0 };
    const char *what = argv[0];

    if (argc == 3 && strcmp(what, "put") == 0)
        return put(s, argv[1], argv[2], false, set->tamper);
    if (argc == 3 && strcmp(what, "put-sole") == 0)
        return put(s, argv[1], argv[2], true, set->tamper);
    if (argc == 3 && strcmp(what, "get") == 0)
        return get(s, argv[1], argv[2]);
    if (argc == 2 && strcmp(what, "list") == 0)
        return report(objstore_list(s, argv[1], print_key, NULL, &note), &note);
    if (argc == 1 && strcmp(what, "probe") == 0)
        return report(objstore_probe(s, &note), &note);
    if (argc == 4 && strcmp(what, "queue") == 0)
        return queue(s, argv[1], atoi(argv[2]), (size_t)atoi(argv[3]), false);
    if (argc == 3 && strcmp(what, "park") == 0)
        return queue(s, argv[1], atoi(argv[2]), 1000, true);
    return 2;
}

int main(int argc, char *argv[])
{
    static const struct option options[] = { { "credentials", required_argument, NULL, 'c' },
                                             { "ca", required_argument, NULL, 'a' },
                                             { "skew", required_argument, NULL, 's' },
                                             { "no-learn", no_argument, NULL, 'n' },
                                             { "tamper", no_argument, NULL, 't' },
                                             { NULL, 0, NULL, 0 } };
    struct setting set = { .config = { .ca_file = "", .may_make = true } };
    scoped(objstore_close) struct objstore *s = NULL;
    char why[200] = "";
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'c')
            set.config.credentials = optarg;
        else if (c == 'a')
            set.config.ca_file = optarg;
        else if (c == 's')
            set.skew_s = atoll(optarg);
        else if (c == 'n')
            set.no_learn = true;
        else if (c == 't')
            set.tamper = true;
        else
            return 2;
    }
    if (argc - optind < 2 || secret_arena_open() < 0)
        return 2;
    log_open("objstore_try", LOG_LEVEL_ERROR);
    set.config.url = argv[optind];
    if (objstore_open(&set.config, &s, why, sizeof why) < 0) {
        puts(why);
        return 1;
    }
    if (strncmp(set.config.url, "s3:", 3) == 0)
        s3request_test_skew(objstore_s3_test_session(s), set.skew_s, !set.no_learn);
    return run(s, &set, argc - optind - 1, argv + optind + 1);
}
