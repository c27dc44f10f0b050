/*
 * Overlay levels: what may not be written in place (RULE 2), as groups in a log of its own.
 *
 * LOG-1  A group is one pwritev and counts whole or not at all (its MAC covers every record, a
 *        record its block's tag). Replay ends at the first group that is not whole; the next
 *        group goes there.
 * LOG-2  The chain runs over the groups, so none can be left out, moved or brought back. The
 *        number of groups that must be there is in the row, under the device key (pin).
 * LOG-3  A group that is written before its flush point (256 blocks were full) carries the size
 *        that was committed last, so a crash cuts what lies beyond it.
 * LOG-4  Upper levels win over lower ones and over segments. Only the uppermost grows; those
 *        below are being merged by the sealer and change no more (S-1).
 * LOG-5  While syncs come close upon each other, zeros are written behind the last group, with it:
 *        a sync that finds its bytes' place on disk writes them, and does not wait for the journal of
 *        the file system below. No group begins with zeros, and a group that lies on some is whole
 *        when each block of it opens (verify_from in content_recover.c), not by the file's size.
 */
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/label.h"
#include "crypto/random.h"
#include "vault/content_state.h"

enum {
    GROUP_HEADER_BYTES_MAX = 4 * BLOCK_BYTES,
    CT_ROOM_FIRST = 4 * BLOCK_BYTES,
    AHEAD_PAGES = 64,     /* zeros behind a group, */
    AHEAD_PAGES_MIN = 16, /* when there are fewer, */
    AHEAD_BLOCKS_MAX = 32 /* and the group is short */
};

static int pending_start(struct level *l);
static void pending_free(struct content *ct, struct level *l);
static int replay_group(struct content *ct, struct level *l,
                        const struct overlay_group *g, uint64_t first_page, bool verify);

int level_add(struct content *ct)
{
    struct level *l = &ct->levels[ct->level_count];
    const struct file_key *key = &ct->keys->keys[ct->keys->count - 1];
    int rc;

    if (ct->level_count == LEVELS_MAX)
        return PHR_E_LIMIT;
    *l = (struct level){ .log_id = random_id(), .fk_gen = key->gen, .end_page = 1 };
    rc = overlay_keys_derive(key->key, &l->log_id, &ct->file, &l->keys);
    if (rc < 0)
        return rc;
    l->prev = overlay_chain_start(&l->log_id);
    ct->level_count++;
    return 0;
}

void level_fini(struct content *ct, struct level *l)
{
    pending_free(ct, l);
    overlay_keys_free(&l->keys);
    map_fini(&l->map);
    *l = (struct level){ 0 };
}

struct digest level_pin(struct content *ct, const struct level *l)
{
    uint8_t room[128];
    struct writer w;

    writer_init_fixed(&w, (struct span){ room, sizeof room });
    writer_text(&w, LABEL_STATE);
    writer_bytes(&w, ct->file.b, sizeof ct->file.b);
    writer_bytes(&w, l->log_id.b, sizeof l->log_id.b);
    writer_u64(&w, l->groups);
    writer_bytes(&w, l->prev.b, sizeof l->prev.b);
    INVARIANT(writer_ok(&w));
    return digest_hmac(view_of(vault_get_device_key(ct->cs->v), 32), writer_done(&w));
}

/* ---- writing ---- */

static int pending_start(struct level *l)
{
    struct pending *p;

    if (l->pending)
        return 0;
    p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->group.log_id = l->log_id;
    p->group.group_no = l->groups;
    p->group.prev = l->prev;
    l->pending = p;
    return 0;
}

static void pending_free(struct content *ct, struct level *l)
{
    if (!l->pending)
        return;
    contents_memory_give(ct->cs, l->pending->ct_room);
    free(l->pending->ct);
    free(l->pending);
    l->pending = NULL;
}

/* Room for one more block of ct. Over the common limit it is taken all the same: the group goes
   out at 256 blocks at the latest. */
static int pending_room(struct content *ct, struct pending *p)
{
    size_t need = (size_t)(p->data_count + 1) * BLOCK_BYTES;
    size_t room = p->ct_room ? p->ct_room * 2 : CT_ROOM_FIRST;
    uint8_t *bytes;

    if (need <= p->ct_room)
        return 0;
    bytes = realloc(p->ct, room);
    if (!bytes)
        return -ENOMEM;
    atomic_fetch_add(&ct->cs->memory_bytes, (int64_t)(room - p->ct_room));
    p->ct = bytes;
    p->ct_room = room;
    return 0;
}

static int put_sealed(struct content *ct, struct level *l, uint32_t d, uint64_t block,
                      struct view plain)
{
    struct pending *p = l->pending;
    struct overlay_record *r = &p->group.records[p->record_of[d]];
    uint8_t *to = p->ct + (size_t)d * BLOCK_BYTES;
    struct map_slot s = { .block = block,
                          .page = d,
                          .group = (uint32_t)l->groups,
                          .len = (uint16_t)plain.n,
                          .place = MAP_PENDING };
    int rc;

    *r = (struct overlay_record){ .block = block, .len = plain.n, .kind = OVERLAY_DATA };
    rc = overlay_block_seal(ct->geometry.suite, &l->keys, &l->log_id, l->groups, r, plain,
                            to);
    if (rc < 0)
        return rc;
    memset(to + plain.n, 0, BLOCK_BYTES - plain.n);
    memcpy(s.nonce, r->nonce, sizeof s.nonce);
    memcpy(s.tag, r->tag, sizeof s.tag);
    return map_put(&l->map, &s);
}

int level_put(struct content *ct, struct level *l, uint64_t block, struct view plain)
{
    const struct map_slot *old = map_find(&l->map, block);
    struct pending *p;
    int rc;

    INVARIANT(plain.n >= 1 && plain.n <= BLOCK_BYTES);
    if (old && old->place == MAP_PENDING)
        return put_sealed(ct, l, old->page, block, plain);
    if (l->pending && l->pending->group.count == OVERLAY_GROUP_RECORDS_MAX) {
        rc = level_flush(ct, l, false);
        if (rc < 0)
            return rc;
    }
    rc = pending_start(l);
    if (rc < 0)
        return rc;
    p = l->pending;
    rc = pending_room(ct, p);
    if (rc < 0)
        return rc;
    p->record_of[p->data_count] = (uint16_t)p->group.count;
    rc = put_sealed(ct, l, p->data_count, block, plain);
    if (rc < 0)
        return rc;
    p->group.count++;
    p->data_count++;
    l->records++;
    return 0;
}

int level_zero(struct content *ct, struct level *l, uint64_t from, uint64_t to,
               enum overlay_kind kind)
{
    struct pending *p;
    int rc;

    INVARIANT(from < to && kind != OVERLAY_DATA);
    if (l->pending && l->pending->group.count == OVERLAY_GROUP_RECORDS_MAX) {
        rc = level_flush(ct, l, false);
        if (rc < 0)
            return rc;
    }
    rc = pending_start(l);
    if (rc == 0)
        rc = map_zero(&l->map, from, to);
    if (rc < 0)
        return rc;
    p = l->pending;
    p->group.records[p->group.count++] = (struct overlay_record){
        .block = from * BLOCK_BYTES, .len = (to - from) * BLOCK_BYTES, .kind = kind
    };
    l->records++;
    return 0;
}

/* The first page: whose log this is, for those who find it without a database (S-4). */
static int level_footer(struct content *ct, const struct level *l,
                        uint8_t out[FOOTER_BYTES])
{
    const struct symkey *fk = key_set_find(ct->keys, l->fk_gen);
    struct footer f = { .ctx = ct->keys->ctx,
                        .header = view_of(ct->keys->header, ct->keys->header_bytes),
                        .fk_gen = l->fk_gen,
                        .is_overlay = true };

    if (!fk)
        return PHR_E_SEAL;
    memcpy(f.salt, l->log_id.b, sizeof l->log_id.b);
    return footer_encode(&f, fk, out);
}

/* Pending slots that still count get their place on disk. */
static void settle_slots(struct level *l, uint64_t first_page)
{
    struct pending *p = l->pending;

    for (uint32_t d = 0; d < p->data_count; d++) {
        uint64_t block = p->group.records[p->record_of[d]].block;
        const struct map_slot *at = map_find(&l->map, block);
        struct map_slot s;

        if (!at || at->place != MAP_PENDING || at->page != d)
            continue; /* zeroed since */
        s = *at;
        s.place = MAP_ON_DISK;
        s.page = (uint32_t)(first_page + d);
        INVARIANT(map_put(&l->map, &s) == 0); /* replaces: needs no memory */
    }
}

/* LOG-5 */
static bool wants_ahead(const struct content *ct, const struct level *l, uint64_t end_page)
{
    return ct->is_synced_often && l->groups > 0 &&
           l->pending->data_count <= AHEAD_BLOCKS_MAX &&
           l->zeroed_page < end_page + AHEAD_PAGES_MIN;
}

static int write_group(struct content *ct, struct level *l, struct view header)
{
    static const uint8_t zeros[AHEAD_PAGES * BLOCK_BYTES];
    uint64_t end_page = l->end_page + header.n / BLOCK_BYTES + l->pending->data_count;
    bool is_ahead = wants_ahead(ct, l, end_page);
    scoped(free) uint8_t *first = NULL;
    struct iovec v[4];
    int n = 0;
    int rc;

    if (l->container == 0) {
        rc = container_create(ct->cs->store, CONTAINER_OVERLAY, &l->container);
        if (rc < 0)
            return rc;
        ct->needs_row = true;
    }
    if (l->groups == 0) {
        first = malloc(FOOTER_BYTES);
        if (!first)
            return -ENOMEM;
        rc = level_footer(ct, l, first);
        if (rc < 0)
            return rc;
        v[n++] = (struct iovec){ first, FOOTER_BYTES };
    }
    v[n++] = (struct iovec){ (void *)(uintptr_t)header.p, header.n };
    if (l->pending->data_count > 0)
        v[n++] = (struct iovec){ l->pending->ct,
                                 (size_t)l->pending->data_count * BLOCK_BYTES };
    if (is_ahead)
        v[n++] = (struct iovec){ (void *)(uintptr_t)zeros, sizeof zeros };
    rc = container_write_parts(ct->cs->store, l->container, v, n,
                               l->groups == 0 ? 0 : l->end_page * BLOCK_BYTES);
    if (rc == 0 && is_ahead)
        l->zeroed_page = end_page + AHEAD_PAGES;
    return rc < 0 ? rc : content_touch(ct, l->container);
}

int level_flush(struct content *ct, struct level *l, bool is_flush_point)
{
    scoped(writer_fini) struct writer w;
    struct pending *p = l->pending;
    struct row_time mtime;
    struct digest mac;
    uint64_t first_page;
    int rc;

    writer_init(&w);
    if (!p)
        return 0;
    if (l->groups == 0 && l->container == 0)
        ct->needs_row = true; /* the row must name the log */
    p->group.file_size = is_flush_point && !ct->needs_row ? ct->size : ct->committed_size;
    mtime = content_mtime(ct);
    p->group.mtime_s = (uint64_t)mtime.s;
    p->group.mtime_ns = mtime.ns;
    rc = overlay_group_encode(&p->group, ct->geometry.suite, &l->keys, &w, &mac);
    if (rc == 0)
        rc = write_group(ct, l, writer_done(&w));
    if (rc < 0)
        return rc;
    first_page = l->end_page + w.n / BLOCK_BYTES;
    settle_slots(l, first_page);
    l->end_page = first_page + p->data_count;
    l->prev = overlay_chain_next(&l->prev, &mac);
    l->groups++;
    if (is_flush_point && !ct->needs_row)
        ct->committed_size = ct->size;
    pending_free(ct, l);
    return 0;
}

/* ---- reading ---- */

int level_read(struct content *ct, const struct level *l, const struct map_slot *slot,
               uint8_t *p)
{
    struct overlay_record r = { .block = slot->block,
                                .len = slot->len,
                                .kind = OVERLAY_DATA };
    int rc = 0;

    memcpy(r.nonce, slot->nonce, sizeof r.nonce);
    memcpy(r.tag, slot->tag, sizeof r.tag);
    if (slot->place == MAP_PENDING)
        memcpy(p, l->pending->ct + (size_t)slot->page * BLOCK_BYTES, slot->len);
    else
        rc = container_read(ct->cs->store, l->container, (struct span){ p, slot->len },
                            (uint64_t)slot->page * BLOCK_BYTES);
    if (rc < 0)
        return rc == -ENODATA ? PHR_E_SEAL : rc;
    memset(p + slot->len, 0, (size_t)BLOCK_BYTES - slot->len);
    return overlay_block_open_sealed(ct->geometry.suite, &l->keys, &l->log_id,
                                     slot->group, &r, p, p);
}

/* The next whole group, or a reason why there is none. */
static int next_group(struct content *ct, struct level *l, uint64_t file_bytes,
                      uint8_t *page, struct overlay_group *g, size_t *out_header_bytes,
                      struct digest *out_mac)
{
    uint64_t at = l->end_page * BLOCK_BYTES;
    size_t n = GROUP_HEADER_BYTES_MAX;
    int rc;

    if (at >= file_bytes)
        return -ENODATA;
    if (file_bytes - at < n)
        n = (size_t)(file_bytes - at);
    rc = container_read(ct->cs->store, l->container, (struct span){ page, n }, at);
    if (rc == 0)
        rc = overlay_group_decode(view_of(page, n), ct->geometry.suite, &l->keys, g,
                                  out_header_bytes, out_mac);
    if (rc < 0)
        return rc;
    if (!id_equal(&g->log_id, &l->log_id) || g->group_no != l->groups ||
        !digest_equal(&g->prev, &l->prev))
        return PHR_E_SEAL;
    return 0;
}

static int verify_block(struct content *ct, struct level *l, const struct map_slot *s)
{
    scoped(free) uint8_t *p = malloc(BLOCK_BYTES);
    int rc;

    if (!p)
        return -ENOMEM;
    rc = level_read(ct, l, s, p);
    secret_wipe(p, BLOCK_BYTES);
    return rc;
}

static struct map_slot slot_of(const struct level *l, const struct overlay_record *r,
                               uint64_t page)
{
    struct map_slot s = { .block = r->block,
                          .page = (uint32_t)page,
                          .group = (uint32_t)l->groups,
                          .len = (uint16_t)r->len,
                          .place = MAP_ON_DISK };

    memcpy(s.nonce, r->nonce, sizeof s.nonce);
    memcpy(s.tag, r->tag, sizeof s.tag);
    return s;
}

/* Verification comes before the first change of the map: a group counts whole or not. */
static int replay_group(struct content *ct, struct level *l,
                        const struct overlay_group *g, uint64_t first_page, bool verify)
{
    uint64_t page = first_page;
    int rc = 0;

    for (uint32_t i = 0; verify && rc == 0 && i < g->count; i++) {
        struct map_slot s = slot_of(l, &g->records[i], page);

        if (g->records[i].kind != OVERLAY_DATA)
            continue;
        rc = verify_block(ct, l, &s);
        page++;
    }
    page = first_page;
    for (uint32_t i = 0; rc == 0 && i < g->count; i++) {
        const struct overlay_record *r = &g->records[i];
        struct map_slot s = slot_of(l, r, page);

        if (r->kind == OVERLAY_DATA) {
            rc = map_put(&l->map, &s);
            page++;
        } else {
            rc = map_zero(&l->map, r->block / BLOCK_BYTES,
                          (r->block + r->len + BLOCK_BYTES - 1) / BLOCK_BYTES);
        }
    }
    if (rc < 0)
        return rc;
    l->end_page = page;
    l->records += g->count;
    return 0;
}

static uint32_t data_records(const struct overlay_group *g)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < g->count; i++)
        n += g->records[i].kind == OVERLAY_DATA;
    return n;
}

int level_open(struct content *ct, const struct level_ref *ref, struct level *l,
               struct level_replay *io_replay)
{
    const struct symkey *fk = key_set_find(ct->keys, ref->fk_gen);
    scoped(free) struct overlay_group *g = malloc(sizeof *g);
    scoped(free) uint8_t *page = malloc(GROUP_HEADER_BYTES_MAX);
    uint64_t file_bytes = 0;
    int rc;

    *l = (struct level){ .container = ref->container,
                         .log_id = ref->log_id,
                         .fk_gen = ref->fk_gen,
                         .end_page = 1 };
    if (!g || !page)
        return -ENOMEM;
    if (!fk)
        return PHR_E_SEAL;
    rc = overlay_keys_derive(fk, &l->log_id, &ct->file, &l->keys);
    if (rc < 0)
        return rc;
    l->prev = overlay_chain_start(&l->log_id);
    rc = container_get_bytes(ct->cs->store, l->container, &file_bytes);
    while (rc == 0 && l->groups < io_replay->groups_max) {
        size_t header_bytes = 0;
        uint64_t first_page;
        struct digest mac;

        rc = next_group(ct, l, file_bytes, page, g, &header_bytes, &mac);
        if (rc < 0)
            break;
        first_page = l->end_page + header_bytes / BLOCK_BYTES;
        if ((first_page + data_records(g)) * BLOCK_BYTES > file_bytes)
            break; /* its blocks are not all there */
        rc = replay_group(ct, l, g, first_page, l->groups >= io_replay->verify_from);
        if (rc < 0)
            break;
        l->prev = overlay_chain_next(&l->prev, &mac);
        l->groups++;
        io_replay->file_size = g->file_size;
        io_replay->mtime = (struct row_time){ (int64_t)g->mtime_s, g->mtime_ns };
        if (l->groups == ref->groups) {
            struct digest pin = level_pin(ct, l);

            if (!digest_equal(&pin, &ref->pin)) {
                rc = PHR_E_ROLLBACK;
                break;
            }
        }
    }
    if (rc == -ENOMEM || rc == PHR_E_ROLLBACK)
        return rc;
    return l->groups < io_replay->groups_min ? PHR_E_ROLLBACK : 0;
}
