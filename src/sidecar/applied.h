/*
 * Which mount has applied which entry, and until when one that has not may still hold keys.
 * Revocation asks: has everybody cut the reader off, and if not, when does it happen by
 * itself? No clock and no I/O in here; times are CLOCK_BOOTTIME milliseconds of the caller.
 *
 * APPLIED-1 A mount's keys live at most lease_s after phrd last could have given it one: as
 *           long as it is connected, that is now; afterwards, when it was last connected.
 * APPLIED-2 A host that is away and past that time is forgotten: it holds nothing.
 * APPLIED-3 A host that comes back keeps what it had applied; it says so again anyway.
 * APPLIED-4 Of each host the patients it spoke of last are remembered. A mount that is asked again
 *           (MSG_LEDGER_CHANGED, when somebody waits) says again what was forgotten.
 */
#ifndef PHR_SIDECAR_APPLIED_H
#define PHR_SIDECAR_APPLIED_H

#include "base/scope.h"
#include "phr/err.h"
#include "phr/types.h"

enum { APPLIED_HOSTS_MAX = 1024, APPLIED_PATIENTS_MAX = 1024 };

struct applied;
int applied_new(struct applied **out_applied) PHR_MUST_CHECK;
void applied_free(struct applied *a);
SCOPED_HANDLE(struct applied, applied_free)

/* A mount said HELLO. connection tells its connections apart. PHR_E_LIMIT: too many hosts. */
int applied_join(struct applied *a, const struct id16 *host, uint64_t connection, uint64_t lease_s,
                 uint64_t now_ms) PHR_MUST_CHECK;
/* One known from before a restart, last seen then. */
int applied_remember(struct applied *a, const struct id16 *host, uint64_t lease_s,
                     uint64_t seen_ms) PHR_MUST_CHECK;
void applied_leave(struct applied *a, const struct id16 *host, uint64_t connection, uint64_t now_ms);
int applied_set(struct applied *a, const struct id16 *host, const struct id16 *patient,
                uint64_t seq) PHR_MUST_CHECK;

struct applied_row {
    struct id16 host;
    bool has_applied;
    bool is_connected;
    uint64_t cut_off_ms; /* by itself, at the latest */
};
/*
 * All hosts that hold or may hold keys, at most max; the count. A question asked at asked_ms:
 * no key that an entry of then forbids is younger.
 */
size_t applied_list(struct applied *a, const struct id16 *patient, uint64_t seq, uint64_t asked_ms,
                    uint64_t now_ms, struct applied_row *out_rows, size_t max);
/* Everybody has applied it or is past its time. */
bool applied_is_done(struct applied *a, const struct id16 *patient, uint64_t seq, uint64_t now_ms);
size_t applied_connected_count(const struct applied *a);

#endif
