/* Events of a mount or a tool, before they become audit leaves (DESIGN 8). */
#ifndef PHR_FORMAT_EVENT_H
#define PHR_FORMAT_EVENT_H

#include "base/cursor.h"
#include "crypto/aead.h"
#include "crypto/pre.h"
#include "format/grant.h"
#include "format/limits.h"

/* The place in this list, from 1, is on the wire and in the log: append only. */
enum event_type {
    EVENT_OPEN = 1,      /* content opened: by the owner, under a lease, one's own new file */
    EVENT_RELEASE,       /* the SRS released a key for an open */
    EVENT_RELEASE_AHEAD, /* the SRS released a key ahead of an open */
    EVENT_RELEASE_NAMES, /* the SRS released a names key */
    EVENT_RENEW,         /* a lease was renewed */
    EVENT_CREATE,
    EVENT_WRITE,         /* a file was opened for writing and changed: at its seal, one per writer */
    EVENT_DELETE,
    EVENT_RENAME,
    EVENT_SETATTR,
    EVENT_LINK,
    EVENT_DENIED,        /* an attempt without the right */
    EVENT_GRANT,
    EVENT_REVOKE,
    EVENT_EPOCH,
    EVENT_LOGIN,
    EVENT_LOGOUT,
    EVENT_MOUNT,
    EVENT_UMOUNT,
    EVENT_EXPORT,
    EVENT_BREAK_GLASS,
    EVENT_LOG_READ,
    EVENT_GAP,           /* events of a mount are missing */
    EVENT_PATIENT_ADD,
    EVENT_CUTOFF,        /* a mount cut a reader off */
    EVENT_RECOVERY,      /* a file came back older than its last write after a power cut */
    EVENT_LAST = EVENT_RECOVERY
};
const char *event_name(enum event_type t);
int event_parse(const char *name, enum event_type *out_type) PHR_MUST_CHECK; /* PHR_E_USAGE */

struct event {
    enum event_type type;
    int32_t outcome; /* 0 or the negative reason */
    uint64_t time_s;
    uint32_t time_ns;
    struct id16 host;
    struct id16 user; /* zero: no identity */
    struct digest card;
    uint32_t uid;
    struct view program; /* comm of the process, as the kernel gives it */
    struct id16 patient;
    struct id16 class_id;
    struct id16 file;
    struct id16 grant;
    enum purpose purpose;
    struct view reason; /* what a user typed; empty most of the time */
};
int event_encode(const struct event *e, struct writer *out) PHR_MUST_CHECK;
int event_decode(struct view bytes, struct event *out_event) PHR_MUST_CHECK; /* borrows */

/*
 * The spool (CRYPTO 2.5): header = host16 || LE64 no || Seal(SRS key, "spool"||host16||LE64 no, K_spool);
 * record = LE32 len || LE64 n || nonce24 || XChaCha20-Poly1305(K_spool, host16||LE64 n||prev32, event);
 * prev = SHA-256 of the record before, zero first. Also used for the table of events that ride
 * in a transaction: its `no` has the top bit set.
 */
#define SPOOL_NO_TABLE (UINT64_C(1) << 63)
enum { SPOOL_HEADER_BYTES = 16 + 8 + 32 + 80, SPOOL_RECORD_EXTRA_BYTES = 4 + 8 + 24 + 16 };
int spool_header_encode(const struct id16 *host, uint64_t no, const struct point *srs,
                        const struct symkey *k_spool, uint8_t out[SPOOL_HEADER_BYTES]) PHR_MUST_CHECK;
/* SRS only. out_key in the arena. */
int spool_header_open(struct view header, const struct scalar *srs, struct id16 *out_host,
                      uint64_t *out_no, struct symkey *out_key) PHR_MUST_CHECK;
int spool_record_seal(const struct symkey *k_spool, const struct id16 *host, uint64_t n,
                      const struct digest *prev, struct view event, struct writer *out) PHR_MUST_CHECK;
/* First record of bytes; out_used is its whole length; plain appended to *plain. */
int spool_record_open(const struct symkey *k_spool, const struct id16 *host, uint64_t n,
                      const struct digest *prev, struct view bytes, size_t *out_used,
                      struct writer *plain) PHR_MUST_CHECK;

#endif
