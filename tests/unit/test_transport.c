/* The transport over a store whose moods the test sets, with sync.db in a directory of its own. */
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/fdio.h"
#include "base/log.h"
#include "crypto/digest.h"
#include "sidecar/transport.h"

enum { KEYS_MAX = 2000 };

struct moody {
    struct objstore base;
    pthread_mutex_t lock;
    char keys[KEYS_MAX][160];
    atomic_size_t count; /* names that are whole */
    atomic_bool is_away;
    atomic_int refuse_left;  /* so many puts are refused for good */
    atomic_bool lies;        /* gets answer other bytes */
    atomic_int puts;
};

static int moody_put(struct objstore *s, const struct objstore_put *put, struct objstore_note *note)
{
    struct moody *m = (struct moody *)s;

    atomic_fetch_add(&m->puts, 1);
    if (atomic_load(&m->is_away)) {
        objstore_note_set(note, OBJSTORE_BLAME_STORE, "away");
        return PHR_E_STORE;
    }
    if (atomic_load(&m->refuse_left) > 0) {
        atomic_fetch_sub(&m->refuse_left, 1);
        objstore_note_set(note, OBJSTORE_BLAME_ITEM, "refused");
        return PHR_E_STORE_REFUSED;
    }
    pthread_mutex_lock(&m->lock);
    if (atomic_load(&m->count) < KEYS_MAX) {
        snprintf(m->keys[atomic_load(&m->count)], sizeof m->keys[0], "%s", put->key);
        atomic_fetch_add(&m->count, 1);
    }
    pthread_mutex_unlock(&m->lock);
    return 0;
}

static int moody_get(struct objstore *s, const char *key, int fd, uint64_t bytes_max,
                     uint32_t timeout_ms, uint64_t *out_bytes, struct digest *out_sha256,
                     struct objstore_note *note)
{
    struct moody *m = (struct moody *)s;
    const char *text = atomic_load(&m->lies) ? "lies" : "true";

    (void)key;
    (void)bytes_max;
    (void)timeout_ms;
    if (atomic_load(&m->is_away)) {
        objstore_note_set(note, OBJSTORE_BLAME_STORE, "away");
        return PHR_E_STORE;
    }
    *out_bytes = 4;
    *out_sha256 = digest_sha256(view_text(text));
    return fdio_pwrite_all(fd, text, 4, 0);
}

static int moody_list(struct objstore *s, const char *prefix,
                      int (*on_key)(void *user, const char *key), void *user,
                      struct objstore_note *note)
{
    (void)s;
    (void)prefix;
    (void)note;
    return on_key(user, "p/one");
}

static int moody_probe(struct objstore *s, struct objstore_note *note)
{
    (void)s;
    (void)note;
    return 0;
}

static void moody_nothing(struct objstore *s)
{
    (void)s;
}

static const struct objstore_ops moody_ops = { 4,           moody_put,     moody_get, moody_list,
                                               moody_probe, moody_nothing, moody_nothing };

struct world {
    char dir[40];
    char db_path[60];
    struct moody store;
    struct syncdb *db;
    struct transport *t;
    atomic_int done;
    atomic_int last_rc;
    atomic_int entries;
};

static void on_entry_stored(void *user, const struct id16 *patient, uint64_t seq)
{
    struct world *w = user;

    (void)patient;
    (void)seq;
    atomic_fetch_add(&w->entries, 1);
}

static void on_done(void *user, int rc, uint64_t bytes)
{
    struct world *w = user;

    (void)bytes;
    atomic_store(&w->last_rc, rc);
    atomic_fetch_add(&w->done, 1);
}

static void world_start(struct world *w)
{
    struct transport_opts opts = { .store = &w->store.base, .store_url = "moody", .user = w,
                                   .on_entry_stored = on_entry_stored };

    CHECK_EQ(syncdb_open(w->db_path, &w->db), 0);
    opts.db = w->db;
    CHECK_EQ(transport_open(&opts, &w->t), 0);
}

static void world_stop(struct world *w)
{
    transport_close(w->t);
    syncdb_close(w->db);
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);

    CHECK(w != NULL);
    w->store.base.ops = &moody_ops;
    pthread_mutex_init(&w->store.lock, NULL);
    memcpy(w->dir, "/tmp/phr-transport-XXXXXX", sizeof "/tmp/phr-transport-XXXXXX");
    CHECK(mkdtemp(w->dir) != NULL);
    snprintf(w->db_path, sizeof w->db_path, "%s/sync.db", w->dir);
    world_start(w);
    return w;
}

static void world_free(struct world *w)
{
    char path[80];

    world_stop(w);
    snprintf(path, sizeof path, "%s-wal", w->db_path);
    unlink(path);
    snprintf(path, sizeof path, "%s-shm", w->db_path);
    unlink(path);
    CHECK_EQ(unlink(w->db_path), 0);
    CHECK_EQ(rmdir(w->dir), 0);
    pthread_mutex_destroy(&w->store.lock);
    free(w);
}

static const struct id16 patient = { { 0xaa } };

static int offer(struct world *w, uint8_t n)
{
    struct digest id = { { n } };
    int fd = memfd_create("t", MFD_CLOEXEC);

    CHECK(fd >= 0);
    return transport_put_object(w->t, &patient, &id, fd, 0, 0, on_done, w);
}

#define CHECK_SOON(x)                                                                      \
    do {                                                                                   \
        for (int soon_ = 0; soon_ < 1500 && !(x); soon_++)                                 \
            poll(NULL, 0, 10);                                                             \
        CHECK(x);                                                                          \
    } while (0)

TEST(transport__says_stored_once_and_remembers_it_over_a_restart)
{
    struct world *w = world_new();

    UNUSED_STATE;
    CHECK_EQ(offer(w, 1), 0);
    CHECK_SOON(atomic_load(&w->done) == 1);
    CHECK_EQ(atomic_load(&w->last_rc), 0);
    CHECK_EQ(offer(w, 1), 0);
    CHECK_EQ(atomic_load(&w->done), 2); /* at once */
    world_stop(w);
    world_start(w);
    CHECK_EQ(offer(w, 1), 0);
    CHECK_EQ(atomic_load(&w->done), 3);
    CHECK_EQ(atomic_load(&w->store.puts), 1);
    world_free(w);
}

TEST(transport__an_outage_ends_by_itself_and_loses_nobody)
{
    struct world *w = world_new();

    UNUSED_STATE;
    atomic_store(&w->store.is_away, true);
    for (uint8_t i = 0; i < 20; i++)
        CHECK_EQ(offer(w, i), 0);
    CHECK_EQ(offer(w, 0), 0); /* the same again: both are answered */
    CHECK_SOON(atomic_load(&w->store.puts) >= 3);
    CHECK_EQ(atomic_load(&w->done), 0);
    atomic_store(&w->store.is_away, false);
    CHECK_SOON(atomic_load(&w->done) == 21);
    CHECK_EQ(atomic_load(&w->last_rc), 0);
    CHECK_EQ(atomic_load(&w->store.count), 20);
    world_free(w);
}

TEST(transport__parks_what_is_refused_until_somebody_asks)
{
    struct world *w = world_new();
    json_t *status;

    UNUSED_STATE;
    atomic_store(&w->store.refuse_left, 1);
    CHECK_EQ(offer(w, 1), 0);
    CHECK_SOON(atomic_load(&w->done) == 1);
    CHECK_EQ(atomic_load(&w->last_rc), PHR_E_STORE_REFUSED);
    CHECK_EQ(offer(w, 2), 0); /* others go on */
    CHECK_SOON(atomic_load(&w->done) == 2);
    CHECK_EQ(atomic_load(&w->last_rc), 0);
    CHECK_EQ(offer(w, 1), PHR_E_STORE_REFUSED);
    status = transport_dup_status(w->t);
    CHECK_EQ(json_array_size(json_object_get(status, "parked")), 1);
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(status, "parked"), 0), "words")),
                        "refused");
    json_decref(status);
    CHECK_EQ(transport_retry(w->t), 1);
    CHECK_SOON(atomic_load(&w->store.count) == 2);
    CHECK_EQ(offer(w, 1), 0);
    CHECK_SOON(atomic_load(&w->last_rc) == 0 && atomic_load(&w->done) == 3);
    world_free(w);
}

TEST(transport__entries_go_in_order_through_faults)
{
    struct world *w = world_new();

    UNUSED_STATE;
    for (uint64_t seq = 0; seq < 100; seq++) {
        CHECK_EQ(transport_put_entry(w->t, &patient, seq, view_text("entry")), 0);
        if (seq == 30)
            atomic_store(&w->store.is_away, true);
        if (seq == 60) {
            poll(NULL, 0, 300);
            atomic_store(&w->store.is_away, false);
        }
    }
    CHECK_SOON(atomic_load(&w->entries) == 100);
    for (size_t i = 1; i < 100; i++) /* as the store got them */
        CHECK(strcmp(w->store.keys[i - 1], w->store.keys[i]) < 0);
    world_free(w);
}

TEST(transport__has_a_limit_for_entries_and_says_when_there_is_room)
{
    struct world *w = world_new();
    uint64_t seq = 0;
    bool wants = false;

    UNUSED_STATE;
    atomic_store(&w->store.is_away, true);
    while (transport_put_entry(w->t, &patient, seq, view_text("entry")) == 0)
        seq++;
    CHECK(seq > 100 && seq < 10000);
    CHECK(!transport_wants_entries(w->t));
    atomic_store(&w->store.is_away, false);
    CHECK_SOON(wants || (wants = transport_wants_entries(w->t)));
    CHECK(!transport_wants_entries(w->t)); /* said once */
    CHECK_EQ(transport_put_entry(w->t, &patient, seq, view_text("entry")), 0);
    CHECK_SOON(atomic_load(&w->entries) == (int)seq + 1);
    world_free(w);
}

TEST(transport__checkpoints_survive_a_restart)
{
    struct world *w = world_new();

    UNUSED_STATE;
    atomic_store(&w->store.is_away, true);
    CHECK_EQ(transport_put_checkpoint(w->t, 77, view_text("note")), 0);
    CHECK_SOON(atomic_load(&w->store.puts) > 0);
    world_stop(w);
    atomic_store(&w->store.is_away, false);
    world_start(w);
    CHECK_SOON(atomic_load(&w->store.count) == 1);
    CHECK(strstr(w->store.keys[0], "audit/checkpoint/00000000000000000077") != NULL);
    world_free(w);
}

TEST(transport__hands_out_only_the_bytes_that_were_asked_for)
{
    struct world *w = world_new();
    struct digest id = digest_sha256(view_text("true"));
    uint8_t *p = NULL;
    size_t n = 0;
    int fd = memfd_create("t", MFD_CLOEXEC);
    int seen = dup(fd);

    UNUSED_STATE;
    atomic_store(&w->store.lies, true);
    CHECK_EQ(transport_get_object(w->t, &patient, &id, fd, 100, NULL, on_done, w), 0);
    CHECK_SOON(atomic_load(&w->done) == 1);
    CHECK_EQ(atomic_load(&w->last_rc), PHR_E_SEAL);
    CHECK_EQ(lseek(seen, 0, SEEK_END), 0); /* nothing is left in the file */
    CHECK_EQ(transport_load_object(w->t, &patient, &id, &p, &n), PHR_E_SEAL);
    atomic_store(&w->store.lies, false);
    CHECK_EQ(transport_load_object(w->t, &patient, &id, &p, &n), 0);
    CHECK_EQ(n, 4);
    free(p);
    atomic_store(&w->store.is_away, true);
    CHECK_EQ(transport_load_object(w->t, &patient, &id, &p, &n), PHR_E_STORE);
    close(seen);
    world_free(w);
}

TEST(transport__close_answers_who_waits)
{
    struct world *w = world_new();

    UNUSED_STATE;
    atomic_store(&w->store.is_away, true);
    for (uint8_t i = 0; i < 5; i++)
        CHECK_EQ(offer(w, i), 0);
    world_free(w); /* the sanitizers look for what is left */
}

TEST(syncdb__a_damaged_file_is_put_aside)
{
    struct world *w = world_new();
    struct id16 host;
    struct id16 again;
    char damaged[80];
    FILE *f;

    UNUSED_STATE;
    CHECK_EQ(syncdb_host(w->db, &host), 0);
    world_stop(w);
    CHECK_EQ(syncdb_open(w->db_path, &w->db), 0);
    CHECK_EQ(syncdb_host(w->db, &again), 0);
    CHECK_BYTES(host.b, again.b, 16);
    syncdb_close(w->db);
    f = fopen(w->db_path, "w");
    CHECK(f != NULL && fputs("this is no database, whatever its name may say", f) > 0);
    fclose(f);
    world_start(w);
    CHECK_EQ(syncdb_host(w->db, &again), 0);
    CHECK(memcmp(host.b, again.b, 16) != 0);
    snprintf(damaged, sizeof damaged, "%s.damaged", w->db_path);
    CHECK_EQ(unlink(damaged), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(transport__says_stored_once_and_remembers_it_over_a_restart),
        UNIT(transport__an_outage_ends_by_itself_and_loses_nobody),
        UNIT(transport__parks_what_is_refused_until_somebody_asks),
        UNIT(transport__entries_go_in_order_through_faults),
        UNIT(transport__has_a_limit_for_entries_and_says_when_there_is_room),
        UNIT(transport__checkpoints_survive_a_restart),
        UNIT(transport__hands_out_only_the_bytes_that_were_asked_for),
        UNIT(transport__close_answers_who_waits),
        UNIT(syncdb__a_damaged_file_is_put_aside),
    };

    log_open("test_transport", LOG_LEVEL_ERROR);
    return RUN_TESTS(tests);
}
