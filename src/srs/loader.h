/*
 * Objects that an epoch change names are read from the store on a thread of its own: a store that
 * is slow keeps only that push waiting, not the committer and with it everybody's opens.
 */
#ifndef PHR_SRS_LOADER_H
#define PHR_SRS_LOADER_H

#include "phr/err.h"
#include "phr/types.h"

struct job;
struct loader;
struct srs;

/* What a job had to wait for, so far. */
struct loaded_object {
    struct loaded_object *next;
    struct id16 patient;
    struct digest id;
    bool is_done;
    int rc;
    uint8_t *bytes;
    size_t n;
};
void loader_free_objects(struct loaded_object *first);

int loader_open(struct srs *s, struct loader **out_loader) PHR_MUST_CHECK;
/* Before the committer ends: what still waits goes back to it as not found, more is not taken. */
void loader_stop(struct loader *l);
void loader_free(struct loader *l); /* after the committer; NULL is fine, for both */
/* Takes a job whose newest object is to be read; it comes back by committer_resubmit. PHR_E_STORE: too many. */
int loader_submit(struct loader *l, struct job *job) PHR_MUST_CHECK;

/*
 * The load_object of the committer's state: a copy of what the current job has waited for, or
 * PHR_E_PENDING, and then the job is to be handed to loader_submit. user is struct srs.
 */
int loader_get(void *user, const struct id16 *patient, const struct digest *object_id,
               uint8_t **out_p, size_t *out_n) PHR_MUST_CHECK;

#endif
