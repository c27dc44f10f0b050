/* What the sealer's files share. */
#ifndef PHR_VAULT_SEALER_STATE_H
#define PHR_VAULT_SEALER_STATE_H

#include "vault/content_state.h"

enum {
    SEAL_BATCH_MAX = 64,              /* files prepared at a time; an op takes 256 */
    TODO_MAX = 8192,                  /* files in the table, of those that wait */
    WALK_ROWS = 256,                  /* rows looked at under the names lock at a time */
    OFFERS_QUEUED_MAX = 4096,         /* in memory, of the objects that are not confirmed */
    BACKLOG_COUNT_MAX = 10000,        /* status counts no further */
    OFFERS_IN_FLIGHT_MAX = 8,
    SEALER_TICK_MS = 250,
    OFFER_RETRY_MS = 1000
};

/* One segment of the sealed version. */
struct sealed_seg {
    struct seg seg;      /* as it will stand in the table; is_sealed */
    uint64_t old;        /* container of the segment that it replaces; 0: none was there */
    bool is_new_object;  /* not confirmed by an earlier seal */
    struct loc freed;    /* old strip of a segment that became dense in place */
};

/* One file between its snapshot and its commit. */
struct prepared {
    struct content *ct; /* a reference */
    struct key_set *keys;
    struct class_ctx ctx;
    struct id16 writer;
    struct layout snap;
    size_t frozen;      /* levels of the snapshot */
    uint64_t seq;
    uint64_t reset_seq;
    uint64_t size;
    struct sealed_seg *segs;
    size_t seg_count;
    size_t seg_room;
    uint64_t manifest_container;
    uint64_t manifest_bytes;
    struct digest manifest_object;
    struct digest manifest_root;
    int rc;
};

struct offer {
    struct sealer *s;
    struct object_row row;
    int status;
    struct offer *next;
};

struct todo {
    uint64_t nodeid; /* 0: free */
    uint64_t due_ms;
    uint64_t not_before_ms;
};

struct sealer {
    struct contents *cs;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock; /* leaf */
    pthread_cond_t wake;
    bool is_stopping;
    bool is_kicked;    /* look at every dirty row and every object again */
    bool is_short;     /* a file found no place in the table: another walk finds it */
    bool wants_walk;   /* the thread's own: it was kicked */
    bool is_walking;   /* the thread's own: through the dirty rows, */
    uint64_t walk_at;  /* the thread's own: behind this node */
    bool is_forced;    /* seal whatever its age */
    bool has_sealed;    /* the thread's own: since the heap was trimmed */
    bool is_busy;       /* the thread's own: many flush points of late */
    uint64_t looked_ms; /* the thread's own: when it looked for that */
    struct todo *todos; /* open addressing */
    size_t todo_room;
    size_t todo_count;
    struct offer *queue; /* to be offered */
    struct offer **queue_end;
    size_t queue_count;
    bool has_more;     /* the thread's own: objects behind last are in rows only */
    struct object_row last; /* the thread's own */
    struct offer *done; /* answered, from the link's thread */
    unsigned in_flight;
    uint32_t parked;
    uint64_t retry_ms;  /* no offer before */
};

/* sealer_make.c, the sealer's thread. Freezes the file and makes the objects. */
int sealer_prepare(struct sealer *s, uint64_t nodeid, bool is_forced, struct prepared *out) PHR_MUST_CHECK;
/* The bytes of all of them to the disk. */
int prepared_sync(const struct prepared *files, size_t count) PHR_MUST_CHECK;
void prepared_fini(struct prepared *p); /* gives the reference back */
/* What was made for nothing. */
void prepared_discard(struct prepared *p);

/* A content lock held, any: still the file of the snapshot? */
bool prepared_is_same(const struct prepared *p);
int prepared_add(struct prepared *p, const struct sealed_seg *g) PHR_MUST_CHECK;
/* Hashes the object as it lies on disk: object_id, is_sealed. */
int prepared_hash(struct prepared *p, struct seg *seg) PHR_MUST_CHECK;
/* sealer_rewrite.c; old may be NULL. */
int sealer_rewrite(struct prepared *p, uint64_t index, const struct seg *old) PHR_MUST_CHECK;

/* sealer_commit.c: rows, op and objects of files of one class and writer in one transaction. */
int sealer_commit(struct sealer *s, struct prepared **files, size_t count) PHR_MUST_CHECK;

/* sealer_offer.c */
int offer_add(struct sealer *s, const struct object_row *row) PHR_MUST_CHECK;
void offer_reload(struct sealer *s); /* everything that is not confirmed, in runs to come */
void offer_run(struct sealer *s);     /* takes answers, offers the next */
void offer_fini(struct sealer *s);

#endif
