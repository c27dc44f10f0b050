/*
 * The inside of struct srs, for the files of this module. Everything but the committer's queue and
 * the counters belongs to the committer's thread.
 */
#ifndef PHR_SRS_SRS_INSIDE_H
#define PHR_SRS_SRS_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "audit/auditlog.h"
#include "ledger/verify.h"
#include "srs/batch.h"
#include "srs/committer.h"
#include "srs/loader.h"
#include "srs/rkslot.h"
#include "srs/srs.h"
#include "srs/srs_db.h"
#include "srs/srs_key.h"
#include "srs/srs_state.h"

enum { STRANGERS_MAX = 64 };

struct srs {
    struct srs_opts opts;
    struct srs_key key;
    struct card card;
    struct verify_anchor anchor;
    struct srs_db *db;
    struct srs_state state;
    struct rkslot_file *slots;
    struct auditlog_store log_store;
    struct auditlog log;
    char origin[64]; /* of checkpoints */
    struct batch batch;
    uint64_t checkpoint_size; /* of the newest signed note in the database */
    uint64_t checkpoint_ms;   /* when it was signed, on the boot clock */
    struct job *current;      /* being decided */
    struct srs_stranger { /* unsigned requests of a uid in a minute; two uids may share a place */
        uint32_t uid;
        uint64_t minute;
        uint32_t count;
    } strangers[STRANGERS_MAX];
    struct committer *committer;
    struct loader *loader;
    _Atomic int64_t skew_s; /* tests */
    struct srs_counters {
        atomic_uint_fast64_t jobs, batches, failed_batches, releases, denials, ops,
            ops_refused, entries, events, unshredded;
    } counters;
};

uint64_t srs_now_s(const struct srs *s);
/* A leaf of this event in the open transaction; out_leaf may be NULL. */
int srs_log(struct srs *s, const struct event *e, struct digest *out_leaf) PHR_MUST_CHECK;
bool srs_is_suspended(struct srs *s, const struct id16 *user, int *io_rc);

#endif
