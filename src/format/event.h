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
    EVENT_SUSPEND,       /* the authority's list names this identity from now on */
    EVENT_RESUME,        /* and no longer */
    EVENT_LAST = EVENT_RESUME
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

#include "format/spool_record.h" /* for those who include this */

#endif
