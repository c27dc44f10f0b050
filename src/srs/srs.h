/*
 * The setup and re-encryption server as a library (used by phrd and, later, phr-srs): orders
 * the ledger, keeps grants, logs, re-encrypts. It holds no key of a person.
 *
 * One committer thread takes what is queued, decides in order, writes one transaction of
 * srs.db, one fsync, computes W1s, answers, then starts the next batch: no fixed window (S-3,
 * CRYPTO 2.8 and appendix C: log before release, revocation and release never overlap).
 */
#ifndef PHR_SRS_SRS_H
#define PHR_SRS_SRS_H

#include "base/cursor.h"
#include "format/card.h"

struct srs;
struct srs_opts {
    int dir_fd;   /* sidecar/: srs.db, srs.key, rk.keys */
    int realm_fd; /* realm/: authority.card, srs.card */
    uint64_t lease_s;
    void *user;
    /* The ledger of a patient grew; from the committer thread; must not block. entry is durable. */
    void (*on_entry)(void *user, const struct id16 *patient, uint64_t seq,
                     struct view entry);
    /* A new signed checkpoint; from the committer thread. */
    void (*on_checkpoint)(void *user, uint64_t size, struct view note);
    /* An epoch change names an object: read it whole from the store, blocking; on a thread of the SRS
       that does nothing else. *out_p is the SRS's (free). PHR_E_STORE while it is not there. */
    int (*load_object)(void *user, const struct id16 *patient,
                       const struct digest *object_id, uint8_t **out_p, size_t *out_n);
};

/* phrd --init: makes srs.key and rk.keys (0600) and realm/srs.request, a card request to be approved. */
int srs_init(int dir_fd, int realm_fd) PHR_MUST_CHECK;
int srs_open(const struct srs_opts *opts, struct srs **out_srs) PHR_MUST_CHECK;
/* Answers what is queued, then ends. */
void srs_close(struct srs *s);
const struct card *srs_get_card(const struct srs *s);

/* What can be asked; payloads and answers exactly as the message of the same name in ipc/message.h. */
enum srs_ask {
    SRS_OP_PUSH,
    SRS_LEDGER_FETCH,
    SRS_LEDGER_LIST,
    SRS_OPEN,
    SRS_PROVE,
    SRS_SPOOL_PUSH,
    SRS_AUDIT_FETCH,
    SRS_AUDIT_HEAD,
    SRS_AUDIT_CONSISTENCY,
    SRS_SUSPEND,
    SRS_EVENT
};
struct srs_peer {
    uint32_t uid;
    bool is_admin; /* root or the sidecar's own user */
};
typedef void (*srs_done)(void *user, int status, struct view payload);
/*
 * Copies the payload. done is called exactly once from a thread of the SRS; -EAGAIN when the
 * queue (bounded) is full, PHR_E_CLOSED after srs_close: done is then not called.
 */
int srs_submit(struct srs *s, enum srs_ask ask, const struct srs_peer *peer,
               struct view payload, srs_done done, void *user) PHR_MUST_CHECK;
/* Counters for phr status, as JSON object text; caller frees. */
char *srs_dup_status(struct srs *s);
/* Ledger entries whose copy in the bucket is not confirmed (redriven at start). */
int srs_entries_unstored(struct srs *s,
                         int (*on_entry)(void *user, const struct id16 *patient,
                                         uint64_t seq, struct view entry),
                         void *user) PHR_MUST_CHECK;
int srs_entry_stored(struct srs *s, const struct id16 *patient,
                     uint64_t seq) PHR_MUST_CHECK;
/* Rebuild from the bucket: entries in order, verified, into an empty srs.db. Grants come back
   without re-encryption keys (they are in no bucket): owners grant anew. */
int srs_import_entry(struct srs *s, struct view entry) PHR_MUST_CHECK;

#endif
