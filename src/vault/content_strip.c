/*
 * Strips and segment keys, read from disk once and kept while they are used (LRU).
 *
 * STRIP-1  A strip counts as far as something authentic vouches for it: a sealed segment by
 *          the manifest's strip_id, another by a whole footer under the file key. A zero entry
 *          beyond that is damage, never a hole (P6).
 * STRIP-2  A growing segment only ever gets entries behind those that were written (RULE 1), so
 *          a strip cut to the length of an older footer is that footer's strip, bit for bit:
 *          a torn or half-written newer one takes nothing away.
 */
#include <string.h>

#include "base/checked.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "vault/content_state.h"

enum { FOOTERS = 2 };

static int load_dense(struct content *ct, const struct seg *seg, struct strip *s);
static int load_building(struct content *ct, const struct seg *seg, struct strip *s);

uint8_t *strip_entry(const struct content *ct, const struct strip *s, uint32_t j)
{
    return s->entries + (size_t)j * strip_entry_bytes(ct->geometry.suite);
}

uint64_t strip_area_at(void)
{
    return SEG_BYTES;
}

uint64_t strip_area_bytes(const struct content *ct)
{
    uint64_t n = SEG_BLOCKS * strip_entry_bytes(ct->geometry.suite) + SALT_BYTES;

    return (n + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

uint32_t seg_block_bytes(const struct seg *seg, uint32_t j)
{
    uint32_t left = seg->plaintext_len - j * BLOCK_BYTES;

    return left < BLOCK_BYTES ? left : BLOCK_BYTES;
}

uint64_t strip_block_at(const struct seg *seg, const struct strip *s, uint32_t j)
{
    uint64_t slot = s->rank ? s->rank[j] : j;

    return seg->loc.offset + slot * BLOCK_BYTES;
}

void strip_fini(struct strip *s)
{
    secret_free(s->key);
    free(s->rank);
    free(s->entries);
    *s = (struct strip){ 0 };
}

static int strip_set_key(struct content *ct, const struct seg *seg, struct strip *s)
{
    const struct symkey *fk = ct->keys ? key_set_find(ct->keys, seg->fk_gen) : NULL;

    if (!ct->keys)
        return PHR_E_LOCKED;
    if (!fk)
        return PHR_E_SEAL;
    s->key = secret_alloc(sizeof *s->key);
    if (!s->key)
        return -ENOMEM;
    segment_key(fk, s->salt, &ct->file, seg->index, &ct->geometry, s->key);
    return 0;
}

/* A whole, authentic footer of this segment? */
static bool footer_vouches(struct content *ct, const struct seg *seg,
                           const struct strip *s, struct view page, struct footer *out)
{
    const struct symkey *fk = key_set_find(ct->keys, seg->fk_gen);

    return fk && footer_decode(page, out) == 0 && !out->is_overlay &&
           out->seg_index == seg->index && out->fk_gen == seg->fk_gen &&
           memcmp(out->salt, s->salt, SALT_BYTES) == 0 &&
           footer_check(page, out, fk) == 0;
}

static int rank_blocks(struct content *ct, struct strip *s)
{
    uint32_t data = 0;

    for (uint32_t j = 0; j < s->blocks; j++)
        data += !strip_entry_is_hole(strip_entry(ct, s, j), ct->geometry.suite);
    if (data == s->blocks)
        return 0;
    s->rank = calloc(s->blocks, sizeof *s->rank);
    if (!s->rank)
        return -ENOMEM;
    data = 0;
    for (uint32_t j = 0; j < s->blocks; j++) {
        s->rank[j] = (uint16_t)data;
        data += !strip_entry_is_hole(strip_entry(ct, s, j), ct->geometry.suite);
    }
    return 0;
}

/* Entries of so many blocks, and the salt, which lies behind them on disk. */
static size_t strip_room(const struct content *ct, uint32_t blocks)
{
    return blocks * strip_entry_bytes(ct->geometry.suite) + SALT_BYTES;
}

int strip_load(struct content *ct, const struct seg *seg, struct strip *out_strip)
{
    struct strip s = { .container = seg->loc.container,
                       .offset = seg->loc.offset,
                       .blocks = layout_blocks(seg->plaintext_len) };
    int rc;

    INVARIANT(seg->loc.container != 0);
    s.entries = calloc(1, strip_room(ct, seg->form == SEG_DENSE ? s.blocks : SEG_BLOCKS));
    if (!s.entries)
        return -ENOMEM;
    rc = seg->form == SEG_DENSE ? load_dense(ct, seg, &s) : load_building(ct, seg, &s);
    if (rc == 0)
        rc = strip_set_key(ct, seg, &s);
    if (rc < 0) {
        strip_fini(&s);
        return rc;
    }
    *out_strip = s;
    return 0;
}

/* The object's last bytes are strip || salt. */
static int load_dense(struct content *ct, const struct seg *seg, struct strip *s)
{
    size_t strip_bytes = s->blocks * strip_entry_bytes(ct->geometry.suite);
    uint64_t at = seg->loc.offset + seg->loc.len;
    scoped(free) uint8_t *page = malloc(FOOTER_BYTES);
    struct digest id;
    struct footer f;
    int rc;

    if (!page)
        return -ENOMEM;
    if (seg->loc.len < strip_bytes + SALT_BYTES)
        return PHR_E_SEAL;
    rc = container_read(ct->cs->store, s->container,
                        (struct span){ s->entries, strip_bytes + SALT_BYTES },
                        at - SALT_BYTES - strip_bytes);
    if (rc < 0)
        return rc == -ENODATA ? PHR_E_SEAL : rc;
    memcpy(s->salt, s->entries + strip_bytes, SALT_BYTES);
    id = strip_id(s->salt, view_of(s->entries, strip_bytes));
    if (seg->is_sealed) {
        if (!digest_equal(&id, &seg->strip_id))
            return PHR_E_SEAL;
    } else {
        if (!ct->keys)
            return PHR_E_LOCKED;
        at = (at + FOOTER_BYTES - 1) / FOOTER_BYTES * FOOTER_BYTES;
        rc = container_read(ct->cs->store, s->container,
                            (struct span){ page, FOOTER_BYTES }, at);
        if (rc < 0)
            return rc == -ENODATA ? PHR_E_SEAL : rc;
        if (!footer_vouches(ct, seg, s, view_of(page, FOOTER_BYTES), &f) ||
            f.plaintext_len != seg->plaintext_len || !digest_equal(&id, &f.strip_id))
            return PHR_E_SEAL;
    }
    s->vouched = s->blocks;
    return rank_blocks(ct, s);
}

static int load_building(struct content *ct, const struct seg *seg, struct strip *s)
{
    size_t entry = strip_entry_bytes(ct->geometry.suite);
    size_t area = (size_t)strip_area_bytes(ct);
    size_t whole = area + FOOTERS * FOOTER_BYTES;
    scoped(free) uint8_t *p = malloc(whole);
    int rc;

    if (!p)
        return -ENOMEM;
    if (!ct->keys)
        return PHR_E_LOCKED;
    rc = container_read(ct->cs->store, s->container, (struct span){ p, whole },
                        strip_area_at());
    if (rc < 0)
        return rc == -ENODATA ? PHR_E_SEAL : rc;
    memcpy(s->salt, p + SEG_BLOCKS * entry, SALT_BYTES);
    for (size_t i = 0; i < FOOTERS; i++) { /* STRIP-2 */
        struct view page = view_of(p + area + i * FOOTER_BYTES, FOOTER_BYTES);
        struct footer f;
        struct digest id;
        uint32_t blocks;

        if (!footer_vouches(ct, seg, s, page, &f))
            continue;
        blocks = layout_blocks(f.plaintext_len);
        id = strip_id(s->salt, view_of(p, blocks * entry));
        if (!digest_equal(&id, &f.strip_id))
            continue;
        if (blocks > s->vouched)
            s->vouched = blocks;
        if (f.rising > s->rising)
            s->rising = f.rising;
    }
    memcpy(s->entries, p, s->blocks * entry); /* behind: of a flush that never was */
    return 0;
}

int seg_footer(struct content *ct, const struct seg *seg, const struct strip *s,
               uint64_t rising, uint64_t object_len, uint8_t out[FOOTER_BYTES])
{
    const struct symkey *fk = key_set_find(ct->keys, seg->fk_gen);
    struct footer f = { .ctx = ct->keys->ctx,
                        .header = view_of(ct->keys->header, ct->keys->header_bytes),
                        .seg_index = seg->index,
                        .plaintext_len = seg->plaintext_len,
                        .fk_gen = seg->fk_gen,
                        .object_len = object_len,
                        .rising = rising };

    if (!fk)
        return PHR_E_SEAL;
    memcpy(f.salt, s->salt, SALT_BYTES);
    f.strip_id =
        strip_id(s->salt, view_of(s->entries, layout_blocks(seg->plaintext_len) *
                                                  strip_entry_bytes(ct->geometry.suite)));
    return footer_encode(&f, fk, out);
}

/* ---- reading ---- */

static int open_blocks(struct content *ct, const struct seg *seg, const struct strip *s,
                       uint32_t j, uint32_t n, uint8_t *p)
{
    for (uint32_t i = 0; i < n; i++, p += BLOCK_BYTES) {
        const uint8_t *entry = strip_entry(ct, s, j + i);
        uint32_t bytes = seg_block_bytes(seg, j + i);
        int rc;

        if (strip_entry_is_hole(entry, ct->geometry.suite)) {
            if (j + i >= s->vouched)
                return PHR_E_SEAL;
            memset(p, 0, bytes);
            continue;
        }
        rc = block_open_sealed(&ct->geometry, s->key, j + i, entry, view_of(p, bytes), p);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Blocks from j on that lie behind each other on disk, or are all holes. */
static uint32_t run_of(struct content *ct, const struct strip *s, uint32_t j, uint32_t n,
                       bool *out_is_hole)
{
    uint32_t run = 1;

    *out_is_hole = false;
    if (!s->rank)
        return n;
    *out_is_hole = strip_entry_is_hole(strip_entry(ct, s, j), ct->geometry.suite);
    while (run < n && strip_entry_is_hole(strip_entry(ct, s, j + run),
                                          ct->geometry.suite) == *out_is_hole)
        run++;
    return run;
}

int seg_read(struct content *ct, const struct seg *seg, const struct strip *s, uint32_t j,
             uint32_t n, uint8_t *p)
{
    while (n > 0) {
        bool is_hole;
        uint32_t run = run_of(ct, s, j, n, &is_hole);
        size_t bytes =
            (size_t)(run - 1) * BLOCK_BYTES + seg_block_bytes(seg, j + run - 1);
        int rc = 0;

        if (!is_hole)
            rc = container_read(ct->cs->store, seg->loc.container,
                                (struct span){ p, bytes }, strip_block_at(seg, s, j));
        if (rc == -ENODATA)
            rc = PHR_E_SEAL; /* the file lost its end */
        if (rc == 0)
            rc = open_blocks(ct, seg, s, j, run, p);
        if (rc < 0) {
            secret_wipe(p, bytes);
            return rc;
        }
        j += run;
        n -= run;
        p += (size_t)run * BLOCK_BYTES;
    }
    return 0;
}

/* ---- the cache ---- */

static size_t strip_bucket(uint64_t container)
{
    return (size_t)((container * UINT64_C(0x9e3779b97f4a7c15)) >> 32) % STRIPS_MAX;
}

/* strip_lock. */
static struct strip *strip_find(struct contents *cs, const struct seg *seg)
{
    struct strip *s = cs->strips[strip_bucket(seg->loc.container)];

    while (s && (s->container != seg->loc.container || s->offset != seg->loc.offset))
        s = s->next;
    return s;
}

static void strip_free(struct strip *s)
{
    strip_fini(s);
    free(s);
}

/* strip_lock. Takes it out of the table; freed when nobody uses it. */
static void strip_unlink(struct contents *cs, struct strip **at)
{
    struct strip *s = *at;

    *at = s->next;
    cs->strip_count--;
    s->container = 0; /* strips_release frees it */
    if (s->refs == 0)
        strip_free(s);
}

/* strip_lock. */
static void strip_evict(struct contents *cs)
{
    struct strip **oldest = NULL;

    for (size_t i = 0; i < STRIPS_MAX; i++)
        for (struct strip **at = &cs->strips[i]; *at; at = &(*at)->next)
            if ((*at)->refs == 0 && (!oldest || (*at)->used_at < (*oldest)->used_at))
                oldest = at;
    if (oldest)
        strip_unlink(cs, oldest);
}

int strips_borrow(struct content *ct, const struct seg *seg, struct strip **out_strip)
{
    struct contents *cs = ct->cs;
    struct strip *s;
    struct strip *other;
    int rc;

    pthread_mutex_lock(&cs->strip_lock);
    s = strip_find(cs, seg);
    if (s) {
        s->refs++;
        s->used_at = ++cs->strip_tick;
    }
    pthread_mutex_unlock(&cs->strip_lock);
    if (s) {
        *out_strip = s;
        return 0;
    }
    s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    rc = strip_load(ct, seg, s);
    if (rc < 0) {
        free(s);
        return rc;
    }
    s->refs = 1;
    pthread_mutex_lock(&cs->strip_lock);
    other = strip_find(cs, seg);
    if (other) { /* another reader was faster */
        other->refs++;
        pthread_mutex_unlock(&cs->strip_lock);
        strip_free(s);
        *out_strip = other;
        return 0;
    }
    if (cs->strip_count >= STRIPS_MAX)
        strip_evict(cs);
    s->used_at = ++cs->strip_tick;
    s->next = cs->strips[strip_bucket(s->container)];
    cs->strips[strip_bucket(s->container)] = s;
    cs->strip_count++;
    pthread_mutex_unlock(&cs->strip_lock);
    *out_strip = s;
    return 0;
}

void strips_release(struct contents *cs, struct strip *s)
{
    bool is_last;

    pthread_mutex_lock(&cs->strip_lock);
    s->refs--;
    is_last = s->refs == 0 && s->container == 0;
    pthread_mutex_unlock(&cs->strip_lock);
    if (is_last)
        strip_free(s);
}

void strips_forget(struct contents *cs, uint64_t container)
{
    pthread_mutex_lock(&cs->strip_lock);
    for (size_t i = 0; i < STRIPS_MAX; i++) {
        struct strip **at = &cs->strips[i];

        if (container && i != strip_bucket(container))
            continue;
        while (*at) {
            if (container == 0 || (*at)->container == container)
                strip_unlink(cs, at);
            else
                at = &(*at)->next;
        }
    }
    pthread_mutex_unlock(&cs->strip_lock);
}
