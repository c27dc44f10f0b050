/* What worker.c, following.c, fetching.c and pushing.c share. Names lock before w->lock. */
#ifndef PHR_VAULT_WORKER_INSIDE_H
#define PHR_VAULT_WORKER_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "vault/worker.h"

enum {
    CALL_TIMEOUT_MS = 10000,
    PAUSE_MS = 1000, /* after a failure */
    FOLLOWING_BUCKETS = 4096
};

/* A ledger that this host keeps up with. */
struct patient_work {
    struct patient_work *next;        /* in its bucket; lock */
    struct patient_work *next_wanted; /* lock */
    struct id16 patient;
    bool is_wanted;          /* lock: in the queue */
    uint64_t told_head;      /* lock: of the ledger, as the server said last */
    int contradiction;       /* lock: 0, or why nothing is pushed or applied (following_contradict) */
    uint64_t pause_until_ms; /* worker */
    unsigned rebases;        /* worker */
};

struct followed_user {
    struct id16 user;
    bool is_listed; /* since the link came up */
};

struct following {
    struct patient_work *buckets[FOLLOWING_BUCKETS]; /* all: w->lock */
    struct patient_work *wanted;
    struct followed_user *users;
    size_t user_count;
    bool wants_held;          /* the ledgers that are here already */
    struct writer named;      /* id16s: to be asked for by name */
    struct writer strangers;  /* id16 || LE64 seq: changed, perhaps of nobody here */
};

struct worker {
    struct vault *v;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* after the names lock */
    pthread_cond_t wake;
    pthread_cond_t done;  /* a round ended */
    bool is_stopping;     /* lock */
    bool has_news;        /* lock: of ledgers; a round begins at once */
    bool wants_push;      /* lock */
    bool wants_settle;    /* lock */
    bool is_fresh;        /* lock: all that concerns who logged in was fetched since the link came up */
    struct following following; /* lock */
    pthread_t copier;     /* worker: conflict copies, which may wait for the store (WORKER-3) */
    bool has_copier;      /* worker */
    atomic_bool is_copied; /* the copier is about to end */
    bool owes_redo;       /* worker: a rebase may have ended half-way */
    uint64_t tick_ms;     /* worker */
    uint64_t sign_ms;     /* worker */
    uint64_t audit_pause_ms; /* worker */
};

/* ---- following.c; the worker's thread unless it says otherwise ---- */
void following_fini(struct following *f);
/* w->lock held, any thread. NULL: out of memory. */
struct patient_work *following_get(struct following *f, const struct id16 *patient);
void following_want(struct following *f, struct patient_work *p);
/* The whole queue, detached; what cannot be fetched now is wanted again. */
struct patient_work *following_take(struct following *f);
/* All that has to be asked for is asked again: the link came up. */
void following_restart(struct following *f);
/*
 * The server's ledger is not the one that this host has verified (PHR_E_FORK, PHR_E_ROLLBACK, PHR_E_SIGNATURE), or is
 * again (0). The mount is told; nothing is pushed or applied until the server's answer fits again.
 */
void following_contradict(struct worker *w, struct patient_work *p, int reason);
bool following_is_contradicted(struct worker *w, const struct patient_work *p);
/* Something has not been asked for yet. */
bool following_wants_list(const struct following *f);
/* Asks the server which ledgers there are for what is followed. A negative result: once more. */
int following_list(struct worker *w);
/* What phrd answered: any bytes. *out_patients: its ids, appended. PHR_E_PROTOCOL. */
int following_take_answer(struct worker *w, struct view answer, struct writer *out_patients,
                          bool *out_more) PHR_MUST_CHECK;

/* ---- fetching.c; the worker's thread ---- */
/* All that the server has of this ledger. After a failure it pauses (p->pause_until_ms). */
int fetching_run(struct vault *v, struct patient_work *p);
/* What phrd answered: any bytes. *out_more: the ledger goes on. */
int fetching_apply_answer(struct vault *v, const struct id16 *patient, struct view answer,
                          bool *out_more) PHR_MUST_CHECK;
/* All that was taken is applied: what was removed here before the ledger had it may not come any more (REBASE-4). */
int fetching_forget_removals(struct vault *v, const struct id16 *patient);
/* This mount has applied all that it will of the ledger up to seq. */
void fetching_tell_applied(struct vault *v, const struct id16 *patient, uint64_t seq);

/* ---- pushing.c; the worker's thread ---- */
/* Every patient's ops; drafts of metadata that are younger than hold_ms stay. */
void pushing_run(struct worker *w, uint64_t hold_ms);
struct push_result {
    bool any_taken;
    bool is_held;
    uint64_t stale_id;
};
/* What phrd answered: any bytes. ids: of the ops that were pushed. PHR_E_PROTOCOL. */
int pushing_take_answer(struct vault *v, struct view answer, const uint64_t *ids, size_t count,
                        struct push_result *out) PHR_MUST_CHECK;
/* Events of the spool's file or table. 0: nothing is left, or much went. */
int pushing_spool(struct vault *v, bool table);

#endif
