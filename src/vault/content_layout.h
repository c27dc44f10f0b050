/*
 * Where a version of a file lies: its segments in order and its overlay logs, oldest first.
 * A row holds one or two of them as bytes (`locs`): cur, and base when cur is not durable.
 */
#ifndef PHR_VAULT_CONTENT_LAYOUT_H
#define PHR_VAULT_CONTENT_LAYOUT_H

#include "base/cursor.h"
#include "format/manifest.h"
#include "format/row.h"
#include "store/container.h"

enum { LEVELS_MAX = 16 };

/*
 * BUILDING: ct_j at j * 4096, strip behind 4 MiB, two footer pages in turn. DENSE: the bytes of
 * the object, footer page behind. ABSENT: sealed elsewhere and not fetched yet.
 */
enum seg_form { SEG_BUILDING = 1, SEG_DENSE = 2, SEG_ABSENT = 3 };

struct building;
struct seg {
    uint64_t index;
    struct loc loc;         /* DENSE: the object; BUILDING: container only; else zero */
    uint32_t plaintext_len; /* only its last block may be short */
    uint32_t fk_gen;
    uint32_t data_blocks;   /* that are no holes */
    enum seg_form form;
    bool is_sealed;         /* the ids below are those of a manifest */
    struct digest object_id;
    struct digest strip_id;
    bool is_frozen;            /* memory only: being sealed, nothing more goes here */
    struct building *building; /* memory only: open for appends */
    struct building *kept;     /* memory only: of a small object, which may be written anew */
};

struct level_ref {
    uint64_t container;
    struct id16 log_id;
    uint32_t fk_gen;
    uint64_t groups;    /* whole groups when the row was written */
    struct digest pin;  /* over log, groups and chain, under the device key */
};

struct layout {
    uint64_t size;
    struct row_time mtime;
    struct seg *segs; /* by index */
    size_t seg_count;
    size_t seg_room;
    struct level_ref levels[LEVELS_MAX];
    size_t level_count;
    bool is_unlisted;        /* sealed elsewhere, manifest not fetched yet: segs is empty */
    uint64_t sealed_count;   /* segments of that manifest */
    struct digest manifest_root;
    struct digest manifest_object;
};

static inline uint32_t layout_blocks(uint64_t bytes)
{
    return (uint32_t)((bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);
}

void layout_fini(struct layout *l); /* buildings are the caller's */
int layout_dup(const struct layout *l, struct layout *out) PHR_MUST_CHECK; /* without buildings */
/* NULL when there is none; until the next insert or remove. */
struct seg *layout_find(const struct layout *l, uint64_t index);
/* Place of the first segment with this index or a higher one. */
size_t layout_place(const struct layout *l, uint64_t index);
/* A zeroed segment; there is none of this index yet. */
int layout_insert(struct layout *l, uint64_t index, struct seg **out_seg) PHR_MUST_CHECK;
void layout_remove(struct layout *l, size_t place);
bool layout_names(const struct layout *l, uint64_t container);
/* Each container that it names. */
void layout_each(const struct layout *l, void (*on_container)(void *user, uint64_t container),
                 void *user);

/* cur has a log whose container's number is below this one; false where the bytes are no locs. */
bool locs_have_log_below(struct view bytes, uint64_t number);
/* base may be NULL. Appended. */
void locs_encode(const struct layout *cur, const struct layout *base, struct writer *out);
/* PHR_E_FORMAT. */
int locs_decode(struct view bytes, struct layout *out_cur, struct layout *out_base,
                bool *out_has_base) PHR_MUST_CHECK;

static inline void layout_fini_scope(struct layout *l)
{
    layout_fini(l);
}

#endif
