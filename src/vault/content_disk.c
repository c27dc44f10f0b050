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
    pthread_t threads[SYNC_THREADS_MAX];
    size_t n = 0;

    while (n < want && pthread_create(&threads[n], NULL, sync_share_main, &s) == 0)
        n++;
    sync_share_main(&s);
    while (n > 0)
        pthread_join(threads[--n], NULL);
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
