/*
 * What was sealed elsewhere, fetched as it is read: the list of segments first, then segments.
 *
 * HYDRATE-1  Nobody waits here: who needs something leaves a waiter and is called once, when it
 *            is there, when it failed, or after the deadline.
 * HYDRATE-2  Bytes count only after their SHA-256 is the object's id from the manifest, and the
 *            manifest after its id and root are those of the signed seal. phrd is believed nothing.
 * HYDRATE-3  A fetched segment is fdatasynced and has a footer (S-4) before a row names it.
 */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "crypto/digest.h"
#include "ipc/caller.h"
#include "vault/content_state.h"

enum {
    FETCH_DEADLINE_MS = 20 * 1000,
    FETCHES_MAX = 256,
    AHEAD_MAX = 4, /* fetches that nobody waits for yet */
    OBJECT_BYTES_MAX = SEG_BYTES + SEG_BLOCKS * STRIP_ENTRY_XCHACHA_BYTES + SALT_BYTES,
    MANIFEST_BYTES_MAX = 512 * 1024 * 1024
};

struct fetch {
    struct hydrate *h;
    struct content *ct; /* a reference */
    bool is_manifest;
    uint64_t index;
    struct digest object_id;
    uint64_t container;
    int status;
    uint64_t len;
    struct waiter *waiters;  /* h->lock */
    struct fetch *next;      /* h->lock: of all */
    struct fetch *next_done; /* h->lock */
};

struct hydrate {
    struct contents *cs;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* leaf */
    pthread_cond_t wake;
    bool is_stopping;
    struct fetch *fetches; /* in flight or done and not settled */
    struct fetch *done;
    unsigned count;
};

static void *hydrate_main(void *arg);
static int fetch_start(struct hydrate *h, struct fetch *f, const struct id16 *patient,
                       uint64_t bytes_max);
static void on_object(void *user, int status, struct view payload);
static int settle(struct fetch *f);

int hydrate_open(struct contents *cs, struct hydrate **out_hydrate)
{
    struct hydrate *h = calloc(1, sizeof *h);
    int rc;

    if (!h)
        return -ENOMEM;
    h->cs = cs;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    rc = -pthread_create(&h->thread, NULL, hydrate_main, h);
    h->has_thread = rc == 0;
    if (rc < 0) {
        hydrate_close(h);
        return rc;
    }
    *out_hydrate = h;
    return 0;
}

void hydrate_stop(struct hydrate *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->is_stopping = true;
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

/* The link has answered everything before (content.h), so nothing is in flight for long. */
void hydrate_close(struct hydrate *h)
{
    if (!h)
        return;
    hydrate_stop(h);
    if (h->has_thread)
        pthread_join(h->thread, NULL);
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->wake);
    free(h);
}

/* h->lock. */
static struct fetch *fetch_find(struct hydrate *h, const struct content *ct,
                                uint64_t index, bool is_manifest)
{
    struct fetch *f = h->fetches;

    while (f && (f->ct != ct || f->is_manifest != is_manifest ||
                 (!is_manifest && f->index != index)))
        f = f->next;
    return f;
}

/* What to ask for; under the content's lock. -EALREADY: it is here by now. */
static int fetch_describe(struct fetch *f, uint64_t *out_bytes_max)
{
    struct content *ct = f->ct;
    const struct seg *seg;
    int rc = 0;

    pthread_rwlock_rdlock(&ct->lock);
    seg = layout_find(&ct->cur, f->index);
    if (f->is_manifest && ct->cur.is_unlisted &&
        ct->cur.sealed_count <= MANIFEST_BYTES_MAX / MANIFEST_ENTRY_BYTES) {
        f->object_id = ct->cur.manifest_object;
        *out_bytes_max = ct->cur.sealed_count * MANIFEST_ENTRY_BYTES;
    } else if (!f->is_manifest && seg && seg->form == SEG_ABSENT) {
        f->object_id = seg->object_id;
        *out_bytes_max = OBJECT_BYTES_MAX;
    } else {
        rc = f->is_manifest && ct->cur.is_unlisted ? PHR_E_LIMIT : -EALREADY;
    }
    pthread_rwlock_unlock(&ct->lock);
    return rc;
}

/* h->lock. */
static void fetch_unlink(struct hydrate *h, struct fetch *f)
{
    struct fetch **at = &h->fetches;

    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    h->count--;
}

static void fetch_free(struct fetch *f)
{
    content_release(f->ct);
    free(f);
}

/* Everybody who waited for this fetch, told once. */
static void wake_all(struct waiter *w, int rc)
{
    while (w) {
        struct waiter *next = w->next;

        w->wake(w, rc);
        w = next;
    }
}

/* Joins a fetch that is under way, or registers this one. 1: it must be started. */
static int fetch_join(struct hydrate *h, struct fetch *f, struct waiter *w)
{
    scoped(unlock) pthread_mutex_t *held = lock(&h->lock);
    struct fetch *other = fetch_find(h, f->ct, f->index, f->is_manifest);

    if (!other && (h->count >= FETCHES_MAX || (!w && h->count >= AHEAD_MAX)))
        return PHR_E_SIDECAR;
    if (!other && h->is_stopping)
        return PHR_E_CLOSED;
    if (w) {
        w->next = (other ? other : f)->waiters;
        (other ? other : f)->waiters = w;
    }
    if (other)
        return PHR_E_PENDING;
    f->next = h->fetches;
    h->fetches = f;
    h->count++;
    return 1;
}

int hydrate_want(struct contents *cs, struct content *ct, uint64_t seg_index,
                 bool is_manifest, struct waiter *w)
{
    struct hydrate *h = cs->hydrate;
    struct fetch *f = calloc(1, sizeof *f);
    struct class_ctx ctx;
    struct waiter *others;
    uint64_t bytes_max = 0;
    int rc;

    if (!f)
        return -ENOMEM;
    content_borrow_again(ct);
    *f = (struct fetch){
        .h = h, .ct = ct, .is_manifest = is_manifest, .index = seg_index
    };
    rc = node_get_class(cs->v, ct->nodeid, &ctx);
    if (rc == 0)
        rc = fetch_describe(f, &bytes_max);
    if (rc == 0)
        rc = fetch_join(h, f, w);
    if (rc != 1) {
        fetch_free(f);
        if (rc == -EALREADY &&
            w) { /* it came in between: the caller tries again at once */
            w->wake(w, 0);
            rc = PHR_E_PENDING;
        }
        return rc;
    }
    rc = fetch_start(h, f, &ctx.patient, bytes_max);
    if (rc == 0)
        return PHR_E_PENDING;
    pthread_mutex_lock(&h->lock);
    fetch_unlink(h, f);
    others = f->waiters;
    pthread_mutex_unlock(&h->lock);
    for (struct waiter **at = &others; w && *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next; /* this one gets the answer as a result */
            break;
        }
    wake_all(others, rc);
    if (f->container)
        store_free(cs->store, f->container); /* no row names it */
    fetch_free(f);
    return rc;
}

static int fetch_start(struct hydrate *h, struct fetch *f, const struct id16 *patient,
                       uint64_t bytes_max)
{
    scoped(close_fd) int fd = -1;
    struct link *link = vault_get_link(h->cs->v);
    uint8_t room[64];
    struct writer w;
    int rc;

    if (!link || !link_is_up(link))
        return PHR_E_SIDECAR;
    writer_init_fixed(&w, (struct span){ room, sizeof room });
    writer_bytes(&w, patient->b, sizeof patient->b);
    writer_bytes(&w, f->object_id.b, sizeof f->object_id.b);
    writer_u64(&w, bytes_max);
    INVARIANT(writer_ok(&w));
    rc = container_create(h->cs->store, CONTAINER_SEGMENT, &f->container);
    if (rc == 0)
        rc = container_dup_fd(h->cs->store, f->container, true, &fd);
    if (rc < 0)
        return rc;
    rc = link_call(link, MSG_OBJECT_GET, writer_done(&w), fd, FETCH_DEADLINE_MS,
                   on_object, f);
    return rc == -EAGAIN ? PHR_E_SIDECAR
                         : rc; /* EAGAIN would mean something to a program */
}

/* From the link's thread. */
static void on_object(void *user, int status, struct view payload)
{
    struct fetch *f = user;
    struct hydrate *h = f->h;
    struct reader r = reader_over(payload);

    f->status = status;
    f->len = status == 0 ? reader_u64(&r) : 0;
    if (status == 0 && !reader_done(&r))
        f->status = PHR_E_PROTOCOL;
    pthread_mutex_lock(&h->lock);
    f->next_done = h->done;
    h->done = f;
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

static void *hydrate_main(void *arg)
{
    struct hydrate *h = arg;

    pthread_mutex_lock(&h->lock);
    for (;;) {
        struct fetch *f = h->done;
        struct waiter *waiters;
        int rc;

        if (!f && h->is_stopping && !h->fetches)
            break;
        if (!f) {
            pthread_cond_wait(&h->wake, &h->lock);
            continue;
        }
        h->done = f->next_done;
        pthread_mutex_unlock(&h->lock);
        rc = settle(f);
        pthread_mutex_lock(&h->lock);
        fetch_unlink(h, f);
        waiters = f->waiters;
        pthread_mutex_unlock(&h->lock);
        wake_all(waiters, rc);
        fetch_free(f);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* ---- what came ---- */

/* HYDRATE-2 */
static int check_hash(struct fetch *f)
{
    struct digest_stream *d = digest_stream_new();
    uint8_t *scratch = contents_scratch_take(f->ct->cs);
    struct digest have;
    uint64_t at = 0;
    int rc = scratch ? 0 : -ENOMEM;

    while (rc == 0 && at < f->len) {
        size_t n = f->len - at < SCRATCH_BYTES ? (size_t)(f->len - at) : SCRATCH_BYTES;

        rc = container_read(f->ct->cs->store, f->container, (struct span){ scratch, n },
                            at);
        if (rc == 0)
            digest_stream_add(d, view_of(scratch, n));
        at += n;
    }
    contents_scratch_give(f->ct->cs, scratch);
    have = digest_stream_finish(d);
    if (rc < 0)
        return rc == -ENODATA ? PHR_E_SEAL : rc;
    return digest_equal(&have, &f->object_id) ? 0 : PHR_E_SEAL;
}

/* ct->lock for writing. A row that stands at a flush point is written; else the next flush does. */
static int save_row(struct content *ct)
{
    int rc;

    content_attr_changed(ct);
    if (ct->has_change || ct->needs_row) {
        ct->needs_row = true;
        return 0;
    }
    rc = nsdb_begin(ct->cs->db);
    if (rc < 0)
        return rc;
    rc = ct->is_retired ? 0 : content_row_put(ct);
    if (rc < 0) {
        nsdb_rollback(ct->cs->db);
        return rc;
    }
    nsdb_commit_soon(ct->cs->db);
    return 0;
}

/* ct->lock for writing. */
static int list_segs(struct content *ct, const struct manifest_entry *entries,
                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct manifest_entry *e = &entries[i];
        struct seg *seg = NULL;
        int rc;

        if (e->plaintext_len == 0 || e->plaintext_len > SEG_BYTES ||
            e->seg_index >= FILE_BYTES_MAX / SEG_BYTES ||
            e->seg_index * SEG_BYTES + e->plaintext_len > ct->size)
            return PHR_E_FORMAT;
        rc = layout_insert(&ct->cur, e->seg_index, &seg);
        if (rc < 0)
            return rc;
        *seg = (struct seg){ .index = e->seg_index,
                             .plaintext_len = e->plaintext_len,
                             .fk_gen = e->fk_gen,
                             .form = SEG_ABSENT,
                             .is_sealed = true,
                             .data_blocks = layout_blocks(e->plaintext_len),
                             .object_id = e->object_id,
                             .strip_id = e->strip_id };
    }
    return 0;
}

static int take_manifest(struct fetch *f)
{
    scoped(free) struct manifest_entry *entries = NULL;
    struct content *ct = f->ct;
    scoped(free) uint8_t *bytes = malloc((size_t)f->len + 1);
    struct digest root;
    size_t count = 0;
    int rc = bytes ? 0 : -ENOMEM;

    if (rc == 0)
        rc = container_read(ct->cs->store, f->container,
                            (struct span){ bytes, (size_t)f->len }, 0);
    if (rc == 0)
        rc = manifest_decode(view_of(bytes, (size_t)f->len), &entries, &count);
    if (rc < 0)
        return rc;
    root = manifest_root(view_of(bytes, (size_t)f->len));
    pthread_rwlock_wrlock(&ct->lock);
    if (!ct->cur.is_unlisted) {
        rc = 0; /* somebody was faster, or it was cut to nothing */
    } else if (!digest_equal(&root, &ct->cur.manifest_root) ||
               count != ct->cur.sealed_count) {
        rc = PHR_E_SEAL;
    } else {
        rc = list_segs(ct, entries, count);
        if (rc < 0)
            ct->cur.seg_count = 0;
        ct->cur.is_unlisted = rc < 0;
        if (rc == 0)
            rc = save_row(ct);
    }
    pthread_rwlock_unlock(&ct->lock);
    return rc;
}

/* The footer page behind the object; without keys it has none, and the ledger has everything. */
static int add_footer(struct fetch *f)
{
    scoped(free) uint8_t *page = malloc(FOOTER_BYTES);
    struct content *ct = f->ct;
    const struct seg *seg;
    struct strip s;
    struct seg local;
    int rc = -EALREADY;

    if (!page)
        return -ENOMEM;
    pthread_rwlock_rdlock(&ct->lock);
    seg = layout_find(&ct->cur, f->index);
    if (seg && ct->keys && seg->form == SEG_ABSENT) {
        local = *seg;
        local.form = SEG_DENSE;
        local.loc = (struct loc){ f->container, 0, f->len };
        rc = strip_load(ct, &local, &s); /* checks strip_id too */
        if (rc == 0) {
            rc = seg_footer(ct, &local, &s, 1, f->len, page);
            strip_fini(&s);
        }
    }
    pthread_rwlock_unlock(&ct->lock);
    if (rc == -EALREADY)
        return 0;
    if (rc < 0)
        return rc;
    return container_write(ct->cs->store, f->container, view_of(page, FOOTER_BYTES),
                           (f->len + FOOTER_BYTES - 1) / FOOTER_BYTES * FOOTER_BYTES);
}

/* 1: taken. */
static int take_segment(struct fetch *f)
{
    struct content *ct = f->ct;
    struct seg *seg;
    int rc = add_footer(f);

    if (rc == 0)
        rc = container_sync(ct->cs->store, f->container);
    if (rc < 0)
        return rc;
    pthread_rwlock_wrlock(&ct->lock);
    seg = layout_find(&ct->cur, f->index);
    if (!seg || seg->form != SEG_ABSENT ||
        !digest_equal(&seg->object_id, &f->object_id)) {
        rc = 0; /* cut away meanwhile, or here already */
    } else {
        seg->form = SEG_DENSE;
        seg->loc = (struct loc){ f->container, 0, f->len };
        rc = save_row(ct);
        rc = rc < 0 ? rc : 1;
    }
    pthread_rwlock_unlock(&ct->lock);
    return rc;
}

static int settle(struct fetch *f)
{
    int rc = f->status;

    if (rc == 0 &&
        f->len > (f->is_manifest ? (uint64_t)MANIFEST_BYTES_MAX : OBJECT_BYTES_MAX))
        rc = PHR_E_SEAL;
    if (rc == 0)
        rc = check_hash(f);
    if (rc == 0)
        rc = f->is_manifest ? take_manifest(f) : take_segment(f);
    if (rc != 1)
        store_free(f->ct->cs->store, f->container); /* no row names it */
    return rc == 1 ? 0 : rc;
}
