/*
 * From a file as it is to the objects of a sealed version.
 *
 * MAKE-1  The file is frozen first: growing segments take no more blocks, the overlay levels no
 *         more groups; what is written from now on goes to a new level above them. So every byte
 *         that is read or hashed here stays as it is (S-1), and writers go on.
 * MAKE-2  A segment that no level touches and that has no holes is its object already: it is
 *         hashed where it lies. A short one gets strip || salt behind its last byte; its old
 *         strip stays until the row that no longer needs it is durable.
 * MAKE-3  Anything else is read block by block, every block verified, and written under a fresh
 *         salt to a new container. An in-place merge would save the copy and cost the proof that
 *         a torn merge can be undone; a segment is 4 MiB at most.
 * MAKE-4  Everything an entry names is fdatasynced before the row that names it is committed;
 *         files that are sealed together, whose bytes are often in one pack, at once.
 */
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/random.h"
#include "store/pack.h"
#include "vault/sealer_state.h"

static int freeze(struct content *ct, struct prepared *p, bool is_forced);
static int make_segs(struct prepared *p);
static int make_seg(struct prepared *p, uint64_t index);
static int make_manifest(struct prepared *p);

/* ct->lock held, any: still the file of the snapshot? */
bool prepared_is_same(const struct prepared *p)
{
    return !p->ct->is_retired && p->ct->reset_seq == p->reset_seq && p->ct->is_loaded &&
           p->ct->keys;
}

int sealer_prepare(struct sealer *s, uint64_t nodeid, bool is_forced,
                   struct prepared *out)
{
    struct contents *cs = s->cs;
    struct prepared p = { 0 };
    int rc = node_get_class(cs->v, nodeid, &p.ctx);

    if (rc == 0)
        rc = access_keys_local(cs->v, nodeid, &p.keys);
    if (rc == 0)
        rc = content_borrow(cs, nodeid, &p.ct);
    if (rc < 0) {
        key_set_release(p.keys);
        return rc;
    }
    pthread_rwlock_wrlock(&p.ct->lock);
    rc = freeze(p.ct, &p, is_forced);
    p.ct->is_sealing = rc == 0;
    pthread_rwlock_unlock(&p.ct->lock);
    if (rc == 0)
        rc = make_segs(&p);
    if (rc == 0)
        rc = make_manifest(&p);
    if (rc < 0) {
        prepared_discard(&p);
        prepared_fini(&p);
        return rc;
    }
    *out = p;
    return 0;
}

void prepared_fini(struct prepared *p)
{
    struct content *ct = p->ct;
    bool is_open;

    if (ct) {
        is_open = contents_is_open(ct->cs, ct->nodeid);
        pthread_rwlock_wrlock(&ct->lock);
        ct->is_sealing = false;
        if (!is_open && !ct->has_change)
            content_drop_keys(ct);
        pthread_rwlock_unlock(&ct->lock);
        content_release(ct);
    }
    key_set_release(p->keys);
    layout_fini(&p->snap);
    free(p->segs);
    *p = (struct prepared){ 0 };
}

void prepared_discard(struct prepared *p)
{
    for (size_t i = 0; i < p->seg_count; i++) {
        const struct sealed_seg *g = &p->segs[i];

        if (g->seg.loc.container && g->seg.loc.container != g->old)
            store_free(p->ct->cs->store, g->seg.loc.container); /* no row names it */
    }
    if (p->manifest_container)
        store_free(p->ct->cs->store, p->manifest_container); /* no row names it */
    pthread_rwlock_wrlock(&p->ct->lock);
    if (p->ct->reset_seq == p->reset_seq)
        p->ct->frozen_count = 0; /* the top level goes on; the next try freezes anew */
    pthread_rwlock_unlock(&p->ct->lock);
}

/* Not yet: a reason for the sealer's thread alone. */
static int is_due(struct content *ct, bool is_forced)
{
    enum content_state state;

    pthread_mutex_lock(&ct->attr_lock);
    state = ct->state;
    pthread_mutex_unlock(&ct->attr_lock);
    if (state != CONTENT_DIRTY)
        return -EALREADY;
    if (is_forced || !contents_is_open(ct->cs, ct->nodeid) ||
        ct->dirt_bytes >= SEAL_DIRT_BYTES)
        return 0;
    return content_now_ms() - ct->sealed_at_ms >= SEAL_OPEN_MS ? 0 : -EAGAIN;
}

/* ct->lock for writing. */
static int freeze(struct content *ct, struct prepared *p, bool is_forced)
{
    int rc = ct->is_retired ? -ENOENT : content_set_keys(ct, p->keys);

    if (rc == 0)
        rc = content_load(ct);
    if (rc == 0)
        rc = is_due(ct, is_forced);
    if (rc == 0)
        rc = content_begin_change(ct);
    if (rc == 0)
        rc = content_flush(ct, true);
    if (rc == 0)
        rc = content_snapshot(ct, &p->snap);
    if (rc < 0)
        return rc;
    small_forget(ct);
    for (size_t i = 0; i < ct->cur.seg_count; i++) {
        struct seg *seg = &ct->cur.segs[i];

        if (seg->form != SEG_BUILDING)
            continue;
        building_free(ct, seg); /* MAKE-1 */
        seg->is_frozen = true;
    }
    ct->frozen_count = ct->level_count;
    p->frozen = ct->level_count;
    p->seq = ct->change_seq;
    p->reset_seq = ct->reset_seq;
    p->size = ct->size;
    pthread_mutex_lock(&ct->attr_lock);
    p->writer = ct->writer;
    pthread_mutex_unlock(&ct->attr_lock);
    return 0;
}

/* ct->lock held. First block >= from of [from, to) for which a frozen level answers. */
static uint64_t frozen_next(const struct prepared *p, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < p->frozen; i++)
        to = map_next(&p->ct->levels[i].map, from, to);
    return to;
}

/* Every segment of the snapshot, and those that only levels know. */
static int make_segs(struct prepared *p)
{
    uint64_t end = (p->size + SEG_BYTES - 1) / SEG_BYTES;
    uint64_t index = 0;
    int rc = 0;

    while (rc == 0 && index < end) {
        size_t place = layout_place(&p->snap, index);
        uint64_t next = place < p->snap.seg_count ? p->snap.segs[place].index : end;

        pthread_rwlock_rdlock(&p->ct->lock);
        if (!prepared_is_same(p))
            rc = -ESTALE;
        else
            next = next > index ? frozen_next(p, index * SEG_BLOCKS, next * SEG_BLOCKS) /
                                      SEG_BLOCKS
                                : next;
        pthread_rwlock_unlock(&p->ct->lock);
        if (rc < 0 || next >= end)
            break;
        rc = make_seg(p, next);
        index = next + 1;
    }
    return rc;
}

int prepared_add(struct prepared *p, const struct sealed_seg *g)
{
    if (p->seg_count == p->seg_room) {
        size_t room = p->seg_room ? p->seg_room * 2 : 8;
        struct sealed_seg *segs = realloc(p->segs, room * sizeof *segs);

        if (!segs)
            return -ENOMEM;
        p->segs = segs;
        p->seg_room = room;
    }
    p->segs[p->seg_count++] = *g;
    return 0;
}

/* The object as it lies on disk. */
int prepared_hash(struct prepared *p, struct seg *seg)
{
    struct digest_stream *d = digest_stream_new();
    uint8_t *scratch = contents_scratch_take(p->ct->cs);
    uint64_t at = 0;
    int rc = scratch ? 0 : -ENOMEM;

    while (rc == 0 && at < seg->loc.len) {
        size_t n = seg->loc.len - at < SCRATCH_BYTES ? (size_t)(seg->loc.len - at)
                                                     : SCRATCH_BYTES;

        rc = container_read(p->ct->cs->store, seg->loc.container,
                            (struct span){ scratch, n }, seg->loc.offset + at);
        if (rc == 0)
            digest_stream_add(d, view_of(scratch, n));
        at += n;
    }
    contents_scratch_give(p->ct->cs, scratch);
    if (rc < 0) {
        digest_stream_free(d);
        return rc;
    }
    seg->object_id = digest_stream_finish(d);
    seg->is_sealed = true;
    return 0;
}

/* A growing segment without holes: full, or short with room for strip and footer before the
   place of the old strip. ct->lock held. */
static bool can_stay(const struct prepared *p, const struct seg *seg,
                     const struct strip *s)
{
    uint64_t strip_bytes =
        s->blocks * strip_entry_bytes(p->ct->geometry.suite) + SALT_BYTES;

    if (s->vouched < s->blocks)
        return false;
    for (uint32_t j = 0; j < s->blocks; j++)
        if (strip_entry_is_hole(strip_entry(p->ct, s, j), p->ct->geometry.suite))
            return false;
    return seg->plaintext_len == SEG_BYTES ||
           seg->plaintext_len + strip_bytes + 2 * FOOTER_BYTES <= SEG_BYTES;
}

/* ct->lock held. Writes what the object lacks, behind its bytes. */
static int finish_in_place(struct prepared *p, struct sealed_seg *g,
                           const struct strip *s)
{
    struct store *store = p->ct->cs->store;
    size_t strip_bytes = s->blocks * strip_entry_bytes(p->ct->geometry.suite);
    uint64_t object = (uint64_t)g->seg.plaintext_len + strip_bytes + SALT_BYTES;
    uint64_t footer_at = (object + FOOTER_BYTES - 1) / FOOTER_BYTES * FOOTER_BYTES;
    uint64_t whole = strip_area_at() + strip_area_bytes(p->ct) + 2 * FOOTER_BYTES;
    scoped(free) uint8_t *page = malloc(FOOTER_BYTES);
    int rc;

    if (!page)
        return -ENOMEM;
    rc = seg_footer(p->ct, &g->seg, s, s->rising + 1, object, page);
    if (rc == 0 && g->seg.plaintext_len < SEG_BYTES) {
        uint8_t salt[SALT_BYTES];
        struct iovec v[] = { { s->entries, strip_bytes }, { salt, SALT_BYTES } };

        memcpy(salt, s->salt, sizeof salt);
        rc = container_write_parts(store, g->seg.loc.container, v, 2,
                                   g->seg.plaintext_len);
        g->freed = (struct loc){ g->seg.loc.container, footer_at + FOOTER_BYTES,
                                 whole - footer_at - FOOTER_BYTES };
    } else {
        footer_at += (s->rising % 2) * FOOTER_BYTES;
    }
    if (rc == 0)
        rc = container_write(store, g->seg.loc.container, view_of(page, FOOTER_BYTES),
                             footer_at);
    g->seg.loc = (struct loc){ g->seg.loc.container, 0, object };
    g->seg.form = SEG_DENSE;
    return rc;
}

/* 1: it must be rewritten. ct->lock held for reading. */
static int take_untouched(struct prepared *p, struct sealed_seg *g)
{
    struct strip *s = NULL;
    int rc = strips_borrow(p->ct, &g->seg, &s);

    if (rc < 0)
        return rc;
    g->seg.strip_id =
        strip_id(s->salt, view_of(s->entries,
                                  s->blocks * strip_entry_bytes(p->ct->geometry.suite)));
    if (g->seg.form == SEG_BUILDING && !can_stay(p, &g->seg, s))
        rc = 1;
    else if (g->seg.form == SEG_BUILDING)
        rc = finish_in_place(p, g, s);
    strips_release(p->ct->cs, s);
    return rc;
}

static int make_seg(struct prepared *p, uint64_t index)
{
    const struct seg *old = layout_find(&p->snap, index);
    struct sealed_seg g = { 0 };
    uint64_t from = index * SEG_BLOCKS;
    bool is_touched;
    int rc = 0;

    pthread_rwlock_rdlock(&p->ct->lock);
    if (!prepared_is_same(p)) {
        pthread_rwlock_unlock(&p->ct->lock);
        return -ESTALE;
    }
    is_touched = !old || frozen_next(p, from, from + SEG_BLOCKS) < from + SEG_BLOCKS ||
                 index * SEG_BYTES + old->plaintext_len > p->size;
    if (old) {
        g.seg = *old;
        g.old = old->loc.container;
    }
    if (!is_touched && !old->is_sealed)
        rc = take_untouched(p, &g);
    pthread_rwlock_unlock(&p->ct->lock);
    if (rc < 0)
        return rc;
    if (is_touched || rc == 1)
        return sealer_rewrite(p, index, old);
    if (g.seg.is_sealed)
        return prepared_add(p, &g);
    g.is_new_object = true;
    rc = prepared_hash(p, &g.seg);
    return rc < 0 ? rc : prepared_add(p, &g);
}

/* ---- manifest ---- */

static int put_manifest(struct prepared *p, struct view bytes)
{
    struct store *store = p->ct->cs->store;
    struct iovec v = { (void *)(uintptr_t)bytes.p, bytes.n };
    int rc;

    if (bytes.n <= PACK_OBJECT_BYTES_MAX)
        return pack_put(store, &v, 1, &p->manifest_container);
    rc = container_create(store, CONTAINER_SEGMENT, &p->manifest_container);
    return rc < 0 ? rc : container_write(store, p->manifest_container, bytes, 0);
}

static int make_manifest(struct prepared *p)
{
    scoped(writer_fini) struct writer w;

    writer_init(&w);
    for (size_t i = 0; i < p->seg_count; i++) {
        const struct seg *seg = &p->segs[i].seg;
        struct manifest_entry e = { seg->index, seg->plaintext_len, seg->fk_gen,
                                    seg->object_id, seg->strip_id };

        if (seg->is_sealed)
            manifest_encode(&e, 1, &w);
    }
    if (!writer_ok(&w))
        return -ENOMEM;
    p->manifest_root = manifest_root(writer_done(&w));
    p->manifest_bytes = w.n;
    if (w.n == 0)
        return 0; /* no object, id zero */
    p->manifest_object = digest_sha256(writer_done(&w));
    return put_manifest(p, writer_done(&w));
}

/* ---- MAKE-4 ---- */

int prepared_sync(const struct prepared *files, size_t count)
{
    scoped(free) uint64_t *ids = NULL;
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        n += files[i].seg_count + 1;
    ids = calloc(n + 1, sizeof *ids);
    if (!ids)
        return -ENOMEM;
    n = 0;
    for (size_t i = 0; i < count; i++) {
        const struct prepared *p = &files[i];

        for (size_t k = 0; k < p->seg_count; k++)
            if (p->segs[k].is_new_object)
                ids[n++] = container_file(p->segs[k].seg.loc.container);
        if (p->manifest_container)
            ids[n++] = container_file(p->manifest_container);
    }
    return n > 0 ? contents_sync_disk(files[0].ct->cs, ids, contents_sort_ids(ids, n), false)
                 : 0;
}
