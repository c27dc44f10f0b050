/* Containers and the WAL to the disk, several at a time. */
#include "base/checked.h"
#include "vault/content_state.h"

enum { SYNC_THREADS_MAX = 4, SYNC_THREADS_FROM = 8 };

struct sync_share {
    struct contents *cs;
    const uint64_t *ids;
    size_t count;
    size_t items; /* one more with the WAL, which is the first */
    _Atomic size_t at;
    _Atomic int rc;
};

static void *sync_share_main(void *arg)
{
    struct sync_share *s = arg;
    size_t i;

    while ((i = atomic_fetch_add(&s->at, 1)) < s->items) {
        int rc = i < s->items - s->count
                     ? nsdb_sync(s->cs->db)
                     : container_sync(s->cs->store, s->ids[i - (s->items - s->count)]);

        if (rc < 0)
            atomic_store(&s->rc, rc);
    }
    return NULL;
}

/* ---- the helper: an fsync of SQLite's journal is a container and the WAL, three times a transaction ---- */

static void *helper_main(void *arg)
{
    struct sync_helper *h = arg;

    pthread_mutex_lock(&h->lock);
    while (!h->is_stopping) {
        struct sync_share *job = h->job;

        if (!job) {
            pthread_cond_wait(&h->wake, &h->lock);
            continue;
        }
        h->job = NULL;
        h->begun = job;
        pthread_mutex_unlock(&h->lock);
        sync_share_main(job);
        pthread_mutex_lock(&h->lock);
        h->begun = NULL;
        pthread_cond_broadcast(&h->done);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

int contents_helper_start(struct contents *cs)
{
    int rc = -pthread_create(&cs->helper.thread, NULL, helper_main, &cs->helper);

    cs->helper.has_thread = rc == 0;
    return rc;
}

void contents_helper_stop(struct contents *cs)
{
    struct sync_helper *h = &cs->helper;

    pthread_mutex_lock(&h->lock);
    h->is_stopping = true;
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
    if (h->has_thread)
        pthread_join(h->thread, NULL);
    h->has_thread = false;
}

/* False: it works for another. */
static bool helper_give(struct sync_helper *h, struct sync_share *job)
{
    scoped(unlock) pthread_mutex_t *held = lock(&h->lock);

    if (!h->has_thread || h->is_stopping || h->job || h->begun)
        return false;
    h->job = job;
    pthread_cond_signal(&h->wake);
    return true;
}

/* The job is over, or was never begun: then nothing of it is left to do. */
static void helper_take_back(struct sync_helper *h, struct sync_share *job)
{
    pthread_mutex_lock(&h->lock);
    if (h->job == job)
        h->job = NULL;
    while (h->begun == job)
        pthread_cond_wait(&h->done, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

/* Many containers are synced by several threads: the disk merges their flushes. So it does with
   that of the WAL: a row that is on disk before its bytes is the same as one that the kernel
   wrote early (ROW-3), and who waits waits for both. */
int contents_sync_disk(struct contents *cs, const uint64_t *ids, size_t count,
                       bool with_wal)
{
    struct sync_share s = {
        .cs = cs, .ids = ids, .count = count, .items = count + with_wal
    };
    size_t want = count > SYNC_THREADS_FROM ? SYNC_THREADS_MAX : count > 0 && with_wal;
    bool is_helped = want == 1 && helper_give(&cs->helper, &s);
    pthread_t threads[SYNC_THREADS_MAX];
    size_t n = 0;

    while (!is_helped && n < want &&
           pthread_create(&threads[n], NULL, sync_share_main, &s) == 0)
        n++;
    sync_share_main(&s);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    if (is_helped)
        helper_take_back(&cs->helper, &s);
    return atomic_load(&s.rc);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Many files share a pack: each container once. */
size_t contents_sort_ids(uint64_t *ids, size_t count)
{
    size_t n = 0;

    if (count > 0)
        qsort(ids, count, sizeof *ids, compare_ids);
    for (size_t i = 0; i < count; i++)
        if (n == 0 || ids[n - 1] != ids[i])
            ids[n++] = ids[i];
    return n;
}
