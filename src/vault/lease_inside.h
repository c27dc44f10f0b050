/*
 * What lease.c (keys in memory, who waits for them, their end), lease_ask.c (asking the SRS for them) and
 * lease_opener.c share. Under the names lock unless it says otherwise.
 */
#ifndef PHR_VAULT_LEASE_INSIDE_H
#define PHR_VAULT_LEASE_INSIDE_H

#include <pthread.h>

#include "vault/access_state.h"

enum { LEASE_BUCKETS = 1024 };

struct held { /* one file's key of one identity */
    struct held *next;    /* bucket */
    struct held *newer;   /* least recently used first */
    struct held *older;
    struct id16 user;
    struct file_ctx ctx;
    bool is_current;      /* ctx is what the row of the file's header says */
    struct key_set *keys; /* NULL: released, not opened yet */
    struct point w1;
};

struct waiting {
    struct waiting *next;
    struct waiter *w;
    struct id16 file;
    struct digest not_hash;
    uint64_t deadline_ms;
    int rc;
};

enum ask_kind { ASK_FILES, ASK_NAMES, ASK_RENEW };
struct ask {
    struct ask *next;
    struct vault *v;
    enum ask_kind kind;
    struct id16 user;
    struct id16 grant;
    struct file_ctx *files;
    size_t count;
    uint64_t sent_ms;
    struct waiting *waiting;
    struct who who;      /* files: in whose name */
    enum purpose purpose;
    struct id16 parent;  /* files ahead: of this folder, */
    uint64_t cookie;     /* behind this place */
    size_t ahead_left;   /* so many more, when these are here */
};

struct opener;

struct lease {
    struct held *buckets[LEASE_BUCKETS];
    struct held *oldest;
    struct held *newest;
    size_t count;
    struct ask *asks;
    struct waiting *header_waits;
    pthread_cond_t answered; /* with wait_lock */
    pthread_mutex_t wait_lock; /* leaf */
    uint64_t answers; /* wait_lock */
    struct opener *opener;
};

/* ---- lease.c ---- */
struct held *lease_find_held(struct lease *l, const struct id16 *user, const struct file_ctx *ctx);
struct held *lease_add_held(struct lease *l, const struct id16 *user, const struct file_ctx *ctx); /* NULL: out of memory */
/* Makes k->d, once. */
int lease_grant_key(struct identity *id, struct class_key *k) PHR_MUST_CHECK;
/* The file's keys by d and A of its grant and what the SRS released; no lock needed. */
int lease_open_released(const struct scalar *d, const struct point *a_pub, const struct header *h,
                        const struct point *w1, struct file_key *out_keys, size_t *out_count) PHR_MUST_CHECK;
/* Takes the list; no lock held (LEASE-2). */
void lease_wake_all(struct waiting *list);
/* PHR_E_PENDING, or why not. */
int lease_add_waiting(struct waiting **list, struct waiter *w, const struct id16 *file,
                      uint64_t timeout_ms) PHR_MUST_CHECK;

/* ---- lease_opener.c ---- */
int opener_open(struct vault *v, struct opener **out_opener) PHR_MUST_CHECK;
void opener_close(struct opener *o); /* names lock not held; NULL is fine */
/* This file was released ahead: its key is opened before somebody waits for it. A hint. */
void opener_want(struct opener *o, const struct id16 *user, const struct file_ctx *ctx);

/* ---- lease_ask.c ---- */
/* For the names of a class, or for its lease to go on. */
int lease_ask_root(struct vault *v, struct identity *id, struct class_key *k, enum ask_kind kind) PHR_MUST_CHECK;

#endif
