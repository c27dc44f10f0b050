/*
 * The queue and the one thread behind it. A job is decided inside the batch's transaction,
 * released after its commit, answered, freed.
 */
#ifndef PHR_SRS_COMMITTER_H
#define PHR_SRS_COMMITTER_H

#include "base/cursor.h"
#include "srs/srs.h"

struct committer;

struct job {
    struct job *next;
    enum srs_ask ask;
    struct srs_peer peer;
    uint8_t *bytes; /* the payload, ours */
    struct view payload;
    srs_done done;
    void *user;
    int status;
    struct writer answer;
    void *held;                             /* from decide to release */
    void (*free_held)(void *held);          /* whichever way the batch ends */
    int (*call)(struct srs *s, void *user); /* instead of an ask: committer_call */
    struct loaded_object *objects;          /* loader.h: what it has waited for */
};

/* One per enum srs_ask. */
struct ask {
    /*
     * In the transaction. A negative result undoes what this job wrote; PHR_E_PENDING: the job goes to
     * the loader and is decided anew.
     */
    int (*decide)(struct srs *s, struct job *job);
    /* After the commit; NULL: the answer is ready. Nothing may be undone any more. */
    int (*release)(struct srs *s, struct job *job);
    bool is_reading; /* decide writes nothing */
};
extern const struct ask committer_asks[];

int committer_open(struct srs *s, struct committer **out_committer) PHR_MUST_CHECK;
/* Takes no more, answers what is queued, signs a last checkpoint, ends the thread. */
void committer_close(struct committer *c);
int committer_submit(struct committer *c,
                     struct job *job) PHR_MUST_CHECK; /* takes the job on success */
/* From the loader: whatever the queue holds, before committer_close. */
void committer_resubmit(struct committer *c, struct job *job);
/* Runs call in a batch and waits for its commit. From a callback of the committer: at once. */
int committer_call(struct committer *c, int (*call)(struct srs *s, void *user),
                   void *user) PHR_MUST_CHECK;
size_t committer_queued(struct committer *c);

#endif
