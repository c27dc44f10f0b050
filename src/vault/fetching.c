/* Entries of a ledger: asked of phrd, verified and applied in order, and phrd told how far. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "vault/apply.h"
#include "vault/lease.h"
#include "vault/notify.h"
#include "vault/nsdb_ledger.h"
#include "vault/worker_inside.h"

enum {
    OBJECT_TIMEOUT_MS = 60000,
    FETCH_BYTES = 2 * 1024 * 1024,
    SNAPSHOT_BYTES_MAX = 1024 * 1024 * 1024
};

struct applied {
    struct id16 patient;
    uint64_t seq;
};

static void on_applied_sent(void *user, int status, struct view payload)
{
    (void)user;
    (void)status; /* phrd asks again by pushing the next change */
    (void)payload;
}

/* On the notifier, after the cut-offs that were queued before. */
static void send_applied(struct vault *v, void *arg)
{
    struct applied *a = arg;
    scoped(writer_fini) struct writer payload = { 0 };

    writer_init(&payload);
    writer_bytes(&payload, a->patient.b, sizeof a->patient.b);
    writer_u64(&payload, a->seq);
    if (v->link && writer_ok(&payload))
        ignored(link_call(v->link, MSG_APPLIED, writer_done(&payload), -1, CALL_TIMEOUT_MS,
                          on_applied_sent, NULL)); /* the link is down: said again when it is up */
    free(a);
}

void fetching_tell_applied(struct vault *v, const struct id16 *patient, uint64_t seq)
{
    struct applied *a = calloc(1, sizeof *a);

    if (!a)
        return;
    a->patient = *patient;
    a->seq = seq;
    notify_call(v, send_applied, a);
}

static void tell_applied(struct vault *v, const struct id16 *patient)
{
    struct digest leaf;
    uint64_t seq;

    if (nsdb_patient_get(v->db, patient, &seq, &leaf) == 0)
        fetching_tell_applied(v, patient, seq);
}

/* The whole object into memory; the caller's (munmap). */
static int fetch_object(struct vault *v, const struct id16 *patient, const struct digest *id,
                        void **out_map, size_t *out_n)
{
    scoped(writer_fini) struct writer payload = { 0 };
    scoped(writer_fini) struct writer answer = { 0 };
    int fd = memfd_create("snapshot", MFD_CLOEXEC);
    struct stat st;
    void *p;
    int rc;

    if (fd < 0)
        return -errno;
    writer_init(&payload);
    writer_init(&answer);
    writer_bytes(&payload, patient->b, sizeof patient->b);
    writer_bytes(&payload, id->b, sizeof id->b);
    writer_u64(&payload, SNAPSHOT_BYTES_MAX);
    rc = worker_call(v, MSG_OBJECT_GET, writer_done(&payload), fd, OBJECT_TIMEOUT_MS, &answer);
    if (rc == 0 && fstat(fd, &st) < 0)
        rc = -errno;
    if (rc == 0 && st.st_size <= 0)
        rc = PHR_E_FORMAT;
    if (rc == 0) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = -errno;
        else
            *out_map = p;
        *out_n = (size_t)st.st_size;
    }
    close(fd);
    return rc;
}

static int apply_one(struct vault *v, const struct id16 *patient, struct view entry)
{
    struct apply_object object = { 0 };
    void *map = NULL;
    size_t n = 0;
    int rc = apply_entry(v, entry, &object);

    if (rc != PHR_E_PENDING)
        return rc;
    rc = fetch_object(v, patient, &object.id, &map, &n);
    if (rc < 0)
        return rc;
    object.bytes = view_of(map, n);
    rc = apply_entry(v, entry, &object);
    munmap(map, n);
    return rc;
}

int fetching_apply_answer(struct vault *v, const struct id16 *patient, struct view answer, bool *out_more)
{
    struct reader r = reader_over(answer);
    uint64_t head = reader_u64(&r);
    uint16_t n = reader_u16(&r);
    struct digest leaf;
    uint64_t seq = 0;
    int rc = reader_ok(&r) ? 0 : PHR_E_PROTOCOL;

    for (uint16_t i = 0; rc == 0 && i < n; i++) {
        struct view entry = reader_lp(&r, ENTRY_BYTES_MAX);

        rc = reader_ok(&r) ? apply_one(v, patient, entry) : PHR_E_PROTOCOL;
    }
    if (rc == 0 && !reader_done(&r))
        rc = PHR_E_PROTOCOL;
    *out_more = false;
    if (rc == 0 && n > 0 && nsdb_patient_get(v->db, patient, &seq, &leaf) == 0)
        *out_more = seq < head;
    return rc;
}

int fetching_forget_removals(struct vault *v, const struct id16 *patient)
{
    int rc;

    nsdb_lock(v->db);
    rc = nsdb_parked_forget(v->db, patient, &v->host);
    nsdb_unlock(v->db);
    return rc;
}

int fetching_run(struct vault *v, struct patient_work *p)
{
    bool more = true;
    int rc = 0;

    while (rc == 0 && more) {
        scoped(writer_fini) struct writer payload = { 0 };
        scoped(writer_fini) struct writer answer = { 0 };
        struct digest leaf;
        uint64_t from = 0;

        writer_init(&payload);
        writer_init(&answer);
        if (nsdb_patient_get(v->db, &p->patient, &from, &leaf) == 0)
            from++;
        writer_bytes(&payload, p->patient.b, sizeof p->patient.b);
        writer_u64(&payload, from);
        writer_u32(&payload, FETCH_BYTES);
        rc = worker_call(v, MSG_LEDGER_FETCH, writer_done(&payload), -1, CALL_TIMEOUT_MS, &answer);
        if (rc == 0)
            rc = fetching_apply_answer(v, &p->patient, writer_done(&answer), &more);
    }
    if (rc == 0)
        rc = fetching_forget_removals(v, &p->patient);
    if (rc == PHR_E_FORK || rc == PHR_E_ROLLBACK || rc == PHR_E_SIGNATURE)
        following_contradict(v->worker, p, rc);
    if (rc < 0) {
        log_debug("ledger_fetch_failed", LOG_ID("patient", p->patient.b), LOG_RC("cause", rc));
        p->pause_until_ms = clock_boottime_ms() + PAUSE_MS;
        v->worker->owes_redo = true;
        return rc;
    }
    lease_wake_headers(v);
    tell_applied(v, &p->patient);
    return 0;
}
