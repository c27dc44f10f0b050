#include "srs/loader.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/digest.h"
#include "srs/srs_inside.h"

enum { LOADER_JOBS_MAX = 32, JOB_OBJECTS_MAX = 8 };

struct loader {
    struct srs *srs;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *first; /* lock */
    struct job *last;  /* lock */
    unsigned count;    /* lock */
    bool is_closing;   /* lock */
};

void loader_free_objects(struct loaded_object *first)
{
    while (first) {
        struct loaded_object *next = first->next;

        free(first->bytes);
        free(first);
        first = next;
    }
}

/* ---- on the committer's thread ---- */

static int copy_out(const struct loaded_object *o, uint8_t **out_p, size_t *out_n)
{
    uint8_t *copy;

    if (o->rc < 0)
        return o->rc;
    copy = malloc(o->n ? o->n : 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, o->bytes, o->n);
    *out_p = copy;
    *out_n = o->n;
    return 0;
}

static int want(struct job *job, const struct id16 *patient,
                const struct digest *object_id)
{
    struct loaded_object *o;
    unsigned count = 0;

    for (o = job->objects; o; o = o->next)
        count++;
    o = count < JOB_OBJECTS_MAX ? calloc(1, sizeof *o) : NULL;
    if (!o)
        return count < JOB_OBJECTS_MAX ? -ENOMEM : PHR_E_LIMIT;
    o->patient = *patient;
    o->id = *object_id;
    o->next = job->objects;
    job->objects = o;
    return PHR_E_PENDING;
}

int loader_get(void *user, const struct id16 *patient, const struct digest *object_id,
               uint8_t **out_p, size_t *out_n)
{
    struct srs *s = user;
    struct job *job = s->current;

    if (!s->opts.load_object)
        return PHR_E_STORE;
    if (!job || job->call) /* an import: nobody else is served meanwhile */
        return s->opts.load_object(s->opts.user, patient, object_id, out_p, out_n);
    for (const struct loaded_object *o = job->objects; o; o = o->next) {
        if (o->is_done && id_equal(&o->patient, patient) &&
            digest_equal(&o->id, object_id))
            return copy_out(o, out_p, out_n);
    }
    return want(job, patient, object_id);
}

int loader_submit(struct loader *l, struct job *job)
{
    int rc = 0;

    pthread_mutex_lock(&l->lock);
    if (l->is_closing || l->count == LOADER_JOBS_MAX)
        rc = PHR_E_STORE;
    if (rc == 0) {
        job->next = NULL;
        if (l->last)
            l->last->next = job;
        else
            l->first = job;
        l->last = job;
        l->count++;
        pthread_cond_signal(&l->wake);
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* ---- on its own ---- */

/* NULL: the end. out_is_closing: do not read any more. */
static struct job *take_job(struct loader *l, bool *out_is_closing)
{
    struct job *job;

    pthread_mutex_lock(&l->lock);
    while (!l->first && !l->is_closing)
        pthread_cond_wait(&l->wake, &l->lock);
    job = l->first;
    if (job) {
        l->first = job->next;
        if (!l->first)
            l->last = NULL;
        l->count--;
        job->next = NULL;
    }
    *out_is_closing = l->is_closing;
    pthread_mutex_unlock(&l->lock);
    return job;
}

static void *thread_main(void *p)
{
    struct loader *l = p;
    struct srs *s = l->srs;
    bool is_closing;
    struct job *job;

    while ((job = take_job(l, &is_closing)) != NULL) {
        struct loaded_object *o = job->objects;

        o->rc = is_closing ? PHR_E_STORE
                           : s->opts.load_object(s->opts.user, &o->patient, &o->id,
                                                 &o->bytes, &o->n);
        o->is_done = true;
        committer_resubmit(s->committer, job);
    }
    return NULL;
}

int loader_open(struct srs *s, struct loader **out_loader)
{
    struct loader *l = calloc(1, sizeof *l);
    int rc;

    if (!l)
        return -ENOMEM;
    l->srs = s;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wake, NULL);
    rc = -pthread_create(&l->thread, NULL, thread_main, l);
    l->has_thread = rc == 0;
    if (rc < 0) {
        loader_free(l);
        return rc;
    }
    *out_loader = l;
    return 0;
}

void loader_stop(struct loader *l)
{
    if (!l || !l->has_thread)
        return;
    pthread_mutex_lock(&l->lock);
    l->is_closing = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    l->has_thread = false;
}

void loader_free(struct loader *l)
{
    if (!l)
        return;
    loader_stop(l);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
