/* What the command line did, and whom the authority suspends. */
#include "srs/asks.h"

#include <stdlib.h>
#include <string.h>

#include "format/suspension.h"
#include "srs/srs_inside.h"

bool ask_event_is_own(enum event_type t)
{
    switch (t) {
    case EVENT_RELEASE:
    case EVENT_RELEASE_AHEAD:
    case EVENT_RELEASE_NAMES:
    case EVENT_RENEW:
    case EVENT_GRANT:
    case EVENT_REVOKE:
    case EVENT_EPOCH:
    case EVENT_LOG_READ:
    case EVENT_GAP:
    case EVENT_PATIENT_ADD:
    case EVENT_SUSPEND:
    case EVENT_RESUME:
        return true;
    case EVENT_LOGIN:
    case EVENT_LOGOUT:
    case EVENT_MOUNT:
    case EVENT_UMOUNT:
    case EVENT_EXPORT:
    case EVENT_BREAK_GLASS:
    case EVENT_CUTOFF:
    case EVENT_RECOVERY:
    case EVENT_DENIED:
    case EVENT_OPEN:
    case EVENT_CREATE:
    case EVENT_WRITE:
    case EVENT_DELETE:
    case EVENT_RENAME:
    case EVENT_SETATTR:
    case EVENT_LINK:
    default:
        return false;
    }
}

/* Events of files come from mounts. */
static bool may_be_told(enum event_type t)
{
    const bool is_of_file = t == EVENT_OPEN || t == EVENT_CREATE || t == EVENT_WRITE ||
                            t == EVENT_DELETE || t == EVENT_RENAME ||
                            t == EVENT_SETATTR || t == EVENT_LINK;

    return !is_of_file && !ask_event_is_own(t);
}

int ask_event_decide(struct srs *s, struct job *job)
{
    struct reader r = reader_over(job->payload);
    const struct view bytes = reader_lp(&r, EVENT_BYTES_MAX);
    struct event e;
    int rc;

    if (!job->peer.is_admin)
        return PHR_E_RIGHTS;
    rc = reader_done(&r) ? event_decode(bytes, &e) : PHR_E_FORMAT;
    if (rc < 0)
        return rc;
    if (!may_be_told(e.type))
        return PHR_E_RIGHTS;
    e.uid = job->peer.uid;
    atomic_fetch_add(&s->counters.events, 1);
    return srs_log(s, &e, NULL);
}

/* A list replaces the one before; serials rise, so an old one cannot come back. */
static int check_serial(struct srs *s, uint64_t serial)
{
    scoped(srs_db_end) struct srs_stmt q =
        srs_db_query(s->db, "SELECT serial FROM suspension WHERE id = 1");
    int rc = srs_db_first(&q);

    if (rc == -ENOENT)
        return 0;
    if (rc == 0 && serial <= srs_db_col_u64(&q, 0))
        rc = PHR_E_ROLLBACK;
    return rc;
}

static int compare_users(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct id16));
}

static int log_change(struct srs *s, const struct job *job, enum event_type type, const struct id16 *user)
{
    const struct event e = { .type = type, .time_s = srs_now_s(s), .user = *user, .uid = job->peer.uid };

    return srs_log(s, &e, NULL);
}

/* Lists are sorted. */
static bool is_named(const struct suspension *list, const struct id16 *user)
{
    return list->count > 0 && bsearch(user->b, list->users.p, list->count, sizeof user->b, compare_users);
}

/* Who is new in the list, and who is gone from it. */
static int log_changes(struct srs *s, const struct job *job, const struct suspension *list)
{
    scoped(srs_db_end) struct srs_stmt q = srs_db_query(s->db, "SELECT user FROM suspended");
    struct id16 user;
    int rc = srs_db_step(&q);

    while (rc > 0) {
        rc = 0;
        srs_db_col_bytes(&q, 0, user.b, sizeof user.b, &rc);
        if (rc == 0 && !is_named(list, &user))
            rc = log_change(s, job, EVENT_RESUME, &user);
        if (rc < 0)
            return rc;
        rc = srs_db_step(&q);
    }
    for (uint32_t i = 0; i < list->count && rc == 0; i++) {
        user = suspension_get_user(list, i);
        if (!srs_is_suspended(s, &user, &rc) && rc == 0)
            rc = log_change(s, job, EVENT_SUSPEND, &user);
    }
    return rc;
}

int ask_event_suspend(struct srs *s, struct job *job)
{
    struct reader r = reader_over(job->payload);
    const struct view bytes = reader_lp(&r, SUSPENSION_BYTES_MAX);
    struct suspension list;
    struct srs_stmt q;
    int rc = reader_done(&r) ? suspension_check(bytes, &s->anchor.authority, &list)
                             : PHR_E_FORMAT;

    if (rc == 0)
        rc = check_serial(s, list.serial);
    if (rc == 0)
        rc = log_changes(s, job, &list);
    if (rc < 0)
        return rc;
    q = srs_db_query(s->db, "DELETE FROM suspended");
    rc = srs_db_run(&q);
    for (uint32_t i = 0; i < list.count && rc == 0; i++) {
        const struct id16 user = suspension_get_user(&list, i);

        q = srs_db_query(s->db, "INSERT INTO suspended(user) VALUES(?)");
        srs_db_bind_id(&q, &user);
        rc = srs_db_run(&q);
    }
    if (rc < 0)
        return rc;
    q = srs_db_query(s->db, "INSERT OR REPLACE INTO suspension(id, serial) VALUES(1, ?)");
    srs_db_bind_u64(&q, list.serial);
    return srs_db_run(&q);
}
