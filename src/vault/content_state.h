/*
 * What the content*.c files share: one struct contents per vault, one struct content per node
 * that is open, unsynced or being sealed. The essay with the invariants is in content.c.
 */
#ifndef PHR_VAULT_CONTENT_STATE_H
#define PHR_VAULT_CONTENT_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "format/segment.h"
#include "vault/content.h"
#include "vault/content_layout.h"
#include "vault/content_map.h"

enum {
    SMALL_BYTES_MAX = 1024 * 1024,           /* ct of a file that stays in memory until FLUSH */
    REPLAYED_KEPT = 1024,
    MEMORY_BYTES_MAX = 16 * 1024 * 1024,     /* of all files together */
    STRIPS_MAX = 512,                        /* 14 MiB of strips */
    SCRATCH_BYTES = 1024 * 1024,             /* one write of the kernel */
    SCRATCH_KEPT_MAX = 8,
    SMALL_ROOM_BYTES = 16 * 1024,            /* of a small file that is written, as long as it fits */
    SMALL_ROOMS_KEPT_MAX = 32,
    LEVEL_RECORDS_MAX = 1 << 20,
    LEVEL_PAGES_MAX = 262144,                /* 1 GiB */
    SEAL_OPEN_MS = 5 * 60 * 1000,            /* a file that stays open is sealed so often */
    SEAL_DIRT_BYTES = 256 * 1024 * 1024,     /* of an open file: sealed at the next flush point */
    BUILDINGS_MAX = 64,                      /* segments of one file that grow at a time */
    TOUCHED_ROOM_MIN = 8
};

/* ---- strips: content_strip.c ---- */

struct strip {
    uint64_t container; /* with offset: which segment */
    uint64_t offset;
    struct symkey *key; /* K_seg, arena */
    uint8_t salt[SALT_BYTES];
    uint32_t blocks;    /* entries */
    uint32_t vouched;   /* a zero entry below is a hole; from here on it is damage */
    uint64_t rising;    /* of the newest whole footer of a growing segment */
    uint16_t *rank;     /* dense segments with holes: data blocks before this one; else NULL */
    uint8_t *entries;
    unsigned refs;      /* contents->strip_lock */
    uint64_t used_at;   /* contents->strip_lock */
    struct strip *next; /* contents->strip_lock: bucket */
};

/* ---- segments that grow: content_build.c ---- */

struct building {
    struct strip strip;
    uint32_t entry_room;     /* entries: SEG_BLOCKS, or as many as ct_room has blocks */
    uint32_t flushed_blocks; /* RULE 1: slots below are never written again */
    uint64_t rising;         /* number of the last footer */
    bool is_dirty;           /* entries that no footer vouches for */
    unsigned rewrites;       /* small file: times that it was written anew */
    uint8_t *ct;             /* small file: its bytes, no container yet */
    size_t ct_room;
    uint8_t *nonces;         /* random, each used once */
    size_t nonce_at;
    uint64_t sealed_count;   /* messages under this key */
};

/* ---- overlay levels: content_log.c ---- */

struct pending {
    struct overlay_group group;
    uint8_t *ct; /* whole pages */
    size_t ct_room;
    uint32_t data_count;
    uint16_t record_of[OVERLAY_GROUP_RECORDS_MAX]; /* data block -> its record */
};
struct level {
    uint64_t container; /* 0 until the first group is written */
    struct id16 log_id;
    uint32_t fk_gen;
    struct overlay_keys keys;
    struct digest prev;   /* chain before the next group */
    uint64_t groups;
    uint64_t end_page;    /* where the next group goes */
    uint64_t zeroed_page; /* pages from end_page to this one are zeros (LOG-5) */
    uint64_t records;
    struct block_map map;
    struct pending *pending; /* NULL: nothing waits */
};

/* ---- one file ---- */

struct content {
    struct contents *cs;
    uint64_t nodeid; /* fixed */
    struct id16 file; /* fixed after load */

    /* contents->lock */
    unsigned refs;
    unsigned open_count;
    unsigned writer_count; /* of these, those whose close flushes */
    struct content *next; /* bucket */
    bool is_unsynced;     /* in contents->unsynced, which holds a reference */
    struct content *next_unsynced;

    pthread_mutex_t sync_lock; /* one fsync at a time; before lock */
    _Atomic bool is_syncing;   /* set under lock, cleared under contents->lock: the syncer has
                                  taken what was touched */

    pthread_rwlock_t lock; /* all below */
    bool is_loaded;
    bool is_sealing;         /* the sealer works on it: keys stay */
    bool is_trusted;         /* ROW-3: no verification needed */
    bool has_levels;         /* logs were replayed */
    struct key_set *keys;
    struct seg_geometry geometry;
    struct layout cur;       /* size and mtime are in attr while loaded */
    struct layout base;      /* last durable version */
    bool has_base;
    bool is_row_durable;     /* what the row says */
    bool has_dirty_row;      /* the row says DIRTY */
    _Atomic bool has_unsynced_row;   /* the WAL holds a transaction of this node that is not on disk */
    bool needs_row;          /* more changed than an overlay group can tell */
    bool is_synced_often;    /* the flush of an fsync that soon followed another of some file */
    bool has_change;         /* since the last row */
    uint64_t committed_size; /* of the last row or group */
    uint64_t size;
    struct level levels[LEVELS_MAX];
    size_t level_count;
    size_t frozen_count;     /* levels below are being merged by the sealer */
    uint64_t *touched;       /* containers to fdatasync */
    size_t touched_count;
    size_t touched_room;
    uint64_t filled;         /* container that became full; its bytes may start to the disk */
    struct loc *dropped;     /* what cur no longer names; len 0: whole containers */
    size_t dropped_count;
    size_t dropped_room;
    uint64_t reset_seq;      /* rises when cur begins anew */
    uint64_t change_seq;     /* rises with each flush point */
    uint64_t durable_seq;
    uint64_t dirt_bytes;     /* written since the last seal */
    uint64_t sealed_at_ms;   /* boottime of the last seal or of the first write after it */
    uint64_t reserved_blocks; /* fallocate */

    pthread_mutex_t attr_lock; /* leaf; below */
    bool has_attr;
    bool has_row_to_come; /* changed since the last row: FLUSH writes one, with this mtime */
    struct content_attr attr;
    enum content_state state;
    uint64_t content_version;
    struct id16 writer;
    uint64_t changed_ms;
    _Atomic bool is_retired; /* a version from elsewhere took the node, or it was deleted */
};

struct freed_row {
    uint64_t nodeid; /* freed only when this node has no row any more; 0: whatever */
    struct loc loc; /* len 0: the whole container */
    struct freed_row *next;
};

struct sealer;
struct hydrate;
struct sync_share;

struct sync_helper { /* content_disk.c: the second of two syncs that need not wait for each other */
    pthread_mutex_t lock; /* leaf; below */
    pthread_cond_t wake;
    pthread_cond_t done;
    struct sync_share *job; /* not begun */
    struct sync_share *begun;
    bool is_stopping;
    bool has_thread;
    pthread_t thread;
};

struct contents {
    struct vault *v;
    struct nsdb *db;
    struct store *store;
    struct id16 boot_id;
    uint64_t first_number; /* containers of earlier runs are below */
    uint64_t evict_at;         /* pass_lock: node from which room is made next */
    _Atomic uint64_t evict_ms; /* last look */
    _Atomic uint64_t fsync_ms; /* last fsync of any file */
    _Atomic uint64_t flush_count; /* rows of flush points since the sealer's last tick */

    pthread_mutex_t lock; /* leaf: table and lists */
    struct content **buckets;
    size_t bucket_count; /* a power of two */
    size_t content_count;
    struct content *unsynced;
    pthread_cond_t synced; /* with lock: some is_syncing was cleared */
    struct freed_row *freed;
    uint64_t replayed[REPLAYED_KEPT]; /* of nodes with logs of an earlier process, those that were replayed
                                         of late; each has one place */

    pthread_mutex_t pass_lock; /* before every content lock: one pass at a time */
    pthread_mutex_t strip_lock; /* leaf */
    struct strip *strips[STRIPS_MAX];
    size_t strip_count;
    uint64_t strip_tick;

    pthread_mutex_t scratch_lock; /* leaf */
    uint8_t *scratch[SCRATCH_KEPT_MAX];
    size_t scratch_count;
    uint8_t *small_rooms[SMALL_ROOMS_KEPT_MAX];
    size_t small_room_count;

    _Atomic int64_t memory_bytes; /* ct that waits in memory */

    pthread_mutex_t wake_lock; /* leaf */
    pthread_cond_t wake;
    bool is_stopping; /* wake_lock */
    bool is_swept;    /* wake_lock */
    bool has_syncer;
    pthread_t syncer;
    struct sync_helper helper;
    struct sealer *sealer;
    struct hydrate *hydrate;
};

/* Boottime and realtime in ms. */
uint64_t content_now_ms(void);
uint64_t content_real_ms(void);

/* content.c: a reference; content_release. Never takes a content's lock. */
int content_borrow(struct contents *cs, uint64_t nodeid, struct content **out_content) PHR_MUST_CHECK;
void content_borrow_again(struct content *ct); /* one more, by who has one */
struct content *content_find(struct contents *cs, uint64_t nodeid); /* NULL: not in memory */
void content_release(struct content *ct);
/* Handles of an older version of this node are still open. */
bool contents_is_open_retired(struct contents *cs, uint64_t nodeid);
int content_attr_get(struct content *ct, struct content_attr *out_attr) PHR_MUST_CHECK;
struct row_time content_mtime(struct content *ct);
void content_attr_changed(struct content *ct); /* lock held: size and blocks to attr */
void content_note_unsynced(struct content *ct);
uint8_t *contents_scratch_take(struct contents *cs);
void contents_scratch_give(struct contents *cs, uint8_t *p);
/* The same for SMALL_ROOM_BYTES: from the heap, between what stays longer, each would be a new place. */
uint8_t *contents_small_room_take(struct contents *cs);
void contents_small_room_give(struct contents *cs, uint8_t *p);
/* The container is in no row any more once the next sync pass is through (STORE-5). */
void contents_free_later(struct contents *cs, uint64_t nodeid, uint64_t container);
void contents_free_part_later(struct contents *cs, uint64_t nodeid, const struct loc *loc);
/* Memory for waiting ciphertext; false: flush first. */
bool contents_memory_take(struct contents *cs, size_t bytes);
void contents_memory_give(struct contents *cs, size_t bytes);

/* content_row.c; lock held for writing. */
/* The row; with keys also the logs (has_levels), where there are any. */
int content_load(struct content *ct) PHR_MUST_CHECK;
/* cur as it is now, with size, mtime and logs: what a row would say. */
int content_snapshot(struct content *ct, struct layout *out) PHR_MUST_CHECK;
/* ROW-2: before the first change after the row was durable, and before the row says otherwise. */
int content_keep_base(struct content *ct) PHR_MUST_CHECK;
/* A handle's keys, or the sealer's; keeps the newer. */
int content_set_keys(struct content *ct, struct key_set *keys) PHR_MUST_CHECK;
void content_drop_keys(struct content *ct);
/* The row as it stands; in a transaction of the caller. */
int content_row_put(struct content *ct) PHR_MUST_CHECK;
int content_row_commit(struct content *ct) PHR_MUST_CHECK; /* a change: dirty, not durable */
int content_touch(struct content *ct, uint64_t container) PHR_MUST_CHECK;
int content_drop(struct content *ct, uint64_t container) PHR_MUST_CHECK;
/* The old strip of a segment that became dense in place. */
int content_drop_part(struct content *ct, const struct loc *loc) PHR_MUST_CHECK;
/* Frees what lies in memory; the row is the truth then. */
void content_unload(struct content *ct);

/* content_recover.c */
/* Logs and, where the row is not to be believed, every block; with keys, lock held for writing. */
int content_recover(struct content *ct) PHR_MUST_CHECK;
/* Attributes of a row that must prove itself or replay its log first: PHR_E_LOCKED where nobody
   here has its keys. No lock held. */
int content_recover_attr(struct contents *cs, uint64_t nodeid, struct content_attr *out_attr) PHR_MUST_CHECK;
/* RECOVER-1: the row may be behind a log. */
bool contents_is_behind(struct contents *cs, uint64_t nodeid, struct view locs);
/* RECOVER-4; before any container is made. */
int contents_recover_rows(struct contents *cs) PHR_MUST_CHECK;

/* content_check.c */
int content_check_load(struct contents *cs, uint64_t nodeid, struct content **out_content) PHR_MUST_CHECK;
void content_check_leave(struct content *ct);
/* Lock held, for reading is enough. The bytes of a sealed segment against its id; its footer. */
int content_check_hash(struct content *ct, const struct seg *seg, uint8_t *scratch) PHR_MUST_CHECK;
int content_check_footer(struct content *ct, const struct seg *seg) PHR_MUST_CHECK;

/* content_strip.c; lock held, for reading is enough. */
int strips_borrow(struct content *ct, const struct seg *seg, struct strip **out_strip) PHR_MUST_CHECK;
void strips_release(struct contents *cs, struct strip *s);
void strips_forget(struct contents *cs, uint64_t container); /* 0: all */
int strip_load(struct content *ct, const struct seg *seg, struct strip *out_strip) PHR_MUST_CHECK;
void strip_fini(struct strip *s);
uint8_t *strip_entry(const struct content *ct, const struct strip *s, uint32_t j);
uint64_t strip_area_at(void);
uint64_t strip_area_bytes(const struct content *ct); /* strip || salt, whole pages */
/* Where block j lies in its container. */
uint64_t strip_block_at(const struct seg *seg, const struct strip *s, uint32_t j);
/* Bytes of block j. */
uint32_t seg_block_bytes(const struct seg *seg, uint32_t j);
/* Reads and opens blocks [j, j + n) of a local segment into p; the last may be short. */
int seg_read(struct content *ct, const struct seg *seg, const struct strip *s, uint32_t j,
             uint32_t n, uint8_t *p) PHR_MUST_CHECK;
int seg_footer(struct content *ct, const struct seg *seg, const struct strip *s, uint64_t rising,
               uint64_t object_len, uint8_t out[FOOTER_BYTES]) PHR_MUST_CHECK;

/* content_build.c; lock held for writing. */
int building_new(struct content *ct, struct seg *seg, bool in_memory) PHR_MUST_CHECK;
int building_reopen(struct content *ct, struct seg *seg) PHR_MUST_CHECK;
/* Its key has sealed nearly as much as one key may. */
bool building_is_worn(const struct seg *seg);
/* Blocks [j, j + n) of plain, none below flushed_blocks; only the last may be short. */
int building_put(struct content *ct, struct seg *seg, uint32_t j, struct view plain) PHR_MUST_CHECK;
/* Blocks [from, to), none flushed, become holes. */
void building_zero(struct content *ct, struct seg *seg, uint32_t from, uint32_t to);
int building_read(struct content *ct, const struct seg *seg, uint32_t j, uint32_t n,
                  uint8_t *p) PHR_MUST_CHECK;
/* From memory to a container, still growing. */
int building_spill(struct content *ct, struct seg *seg) PHR_MUST_CHECK;
int building_flush(struct content *ct, struct seg *seg) PHR_MUST_CHECK;
void building_free(struct content *ct, struct seg *seg);
void building_free_one(struct content *ct, struct building *b);

/* content_small.c; lock held for writing. */
int small_flush(struct content *ct, struct seg *seg) PHR_MUST_CHECK;
/* An object that was written is open for changes again, and will go to a new place (SMALL-1). */
int small_take_back(struct content *ct, struct seg *seg) PHR_MUST_CHECK;
/* Gives up what small_take_back would need, of all segments. */
void small_forget(struct content *ct);

/* content_log.c; lock held, for writing except level_read. */
int level_add(struct content *ct) PHR_MUST_CHECK;
int level_put(struct content *ct, struct level *l, uint64_t block, struct view plain) PHR_MUST_CHECK;
int level_zero(struct content *ct, struct level *l, uint64_t from, uint64_t to,
               enum overlay_kind kind) PHR_MUST_CHECK;
/* The waiting group. Before a flush point it carries the size that was committed last. */
int level_flush(struct content *ct, struct level *l, bool is_flush_point) PHR_MUST_CHECK;
/* One block, in full: p has BLOCK_BYTES, what the slot does not have is zero. */
int level_read(struct content *ct, const struct level *l, const struct map_slot *slot,
               uint8_t *p) PHR_MUST_CHECK;
struct level_replay {
    uint64_t groups_min;   /* fewer: PHR_E_ROLLBACK */
    uint64_t groups_max;   /* stop there */
    uint64_t verify_from;  /* from this group on every block is opened */
    bool is_ahead;         /* out: the log holds more than the row says */
    uint64_t file_size;    /* out: of the last group */
    struct row_time mtime; /* out */
};
int level_open(struct content *ct, const struct level_ref *ref, struct level *l,
               struct level_replay *io_replay) PHR_MUST_CHECK;
void level_fini(struct content *ct, struct level *l);
struct digest level_pin(struct content *ct, const struct level *l);

/* content_io.c; lock held. */
enum source_kind { SOURCE_ZERO, SOURCE_LEVEL, SOURCE_SEG, SOURCE_ABSENT };
struct source {
    enum source_kind kind;
    const struct level *level;
    const struct map_slot *slot;
    struct seg *seg;
    uint32_t j;
};
struct source content_source(const struct content *ct, uint64_t block);
/* One block of BLOCK_BYTES, zero-filled; PHR_E_PENDING where it is not here. */
int content_read_block(struct content *ct, uint64_t block, uint8_t *p) PHR_MUST_CHECK;
/* In full; [offset, offset + room.n) lies below size. */
int content_read_range(struct content *ct, uint64_t offset, struct span room) PHR_MUST_CHECK;
/* First segment in the range that is not here; false: all are. */
bool content_find_absent(const struct content *ct, uint64_t offset, uint64_t len,
                         struct seg *out_seg);
int content_write_range(struct content *ct, uint64_t offset, struct view bytes) PHR_MUST_CHECK;
int content_put_block(struct content *ct, uint64_t block, struct view plain) PHR_MUST_CHECK;
/* A range record in the top level. */
int content_zero_blocks(struct content *ct, uint64_t from, uint64_t to,
                        enum overlay_kind kind) PHR_MUST_CHECK;

/* content_resize.c; lock held for writing. */
int content_resize(struct content *ct, uint64_t size) PHR_MUST_CHECK;
/* Empty: a new cur. */
int content_reset(struct content *ct) PHR_MUST_CHECK;
int content_zero_range(struct content *ct, uint64_t offset, uint64_t len) PHR_MUST_CHECK;
int content_seek(struct content *ct, uint64_t offset, bool want_data, uint64_t *out_offset) PHR_MUST_CHECK;

/* content_free.c */
void contents_free_dropped(struct contents *cs, struct freed_row *list); /* takes the list */
void contents_sweep(struct contents *cs);      /* containers of an earlier run that no row names */
void contents_mark_clean(struct contents *cs); /* every container is named: nothing to sweep */

/* content_evict.c; the syncer's thread. Local copies of confirmed objects go when room is short. */
void contents_evict(struct contents *cs);

/* content_disk.c: fdatasyncs; with_wal also the rows that were committed before the call. */
int contents_sync_disk(struct contents *cs, const uint64_t *ids, size_t count, bool with_wal) PHR_MUST_CHECK;
int contents_helper_start(struct contents *cs) PHR_MUST_CHECK;
void contents_helper_stop(struct contents *cs); /* no sync is under way */
/* Sorts them and leaves each once; how many there are. */
size_t contents_sort_ids(uint64_t *ids, size_t count);

/* content_sync.c */
int content_begin_change(struct content *ct) PHR_MUST_CHECK; /* lock for writing */
int content_flush(struct content *ct, bool for_row) PHR_MUST_CHECK; /* lock for writing */
int content_fsync(struct content *ct) PHR_MUST_CHECK; /* no lock */
/* content_events.c: audit events of this mount are on disk (P2). */
int content_sync_events(struct vault *v) PHR_MUST_CHECK;
void contents_sync_pass(struct contents *cs);
int contents_syncer_start(struct contents *cs) PHR_MUST_CHECK;
void contents_syncer_stop(struct contents *cs);

/* sealer.c */
int sealer_open(struct contents *cs, struct sealer **out_sealer) PHR_MUST_CHECK;
void sealer_stop(struct sealer *s);
void sealer_close(struct sealer *s);
/* This node may have something to seal; cheap, any lock held. */
void sealer_note(struct sealer *s, uint64_t nodeid, uint64_t due_ms);
/* The same, and not before that time whatever is noted later (temporary files). */
void sealer_note_new(struct sealer *s, uint64_t nodeid, uint64_t not_before_ms);

/* hydrate.c */
int hydrate_open(struct contents *cs, struct hydrate **out_hydrate) PHR_MUST_CHECK;
void hydrate_stop(struct hydrate *h); /* nothing new is asked for */
void hydrate_close(struct hydrate *h);
/* A segment, or with is_manifest the list of segments: PHR_E_PENDING, or why not. No lock held.
   w may be NULL: read-ahead. */
int hydrate_want(struct contents *cs, struct content *ct, uint64_t seg_index, bool is_manifest,
                 struct waiter *w) PHR_MUST_CHECK;

#endif
