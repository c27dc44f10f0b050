#include "format/event.h"

#include <string.h>

#include "base/checked.h"

enum { PROGRAM_BYTES_MAX = 64, REASON_BYTES_MAX = 512 };

static const char *const event_names[] = {
    [EVENT_OPEN] = "open",
    [EVENT_RELEASE] = "release",
    [EVENT_RELEASE_AHEAD] = "release-ahead",
    [EVENT_RELEASE_NAMES] = "release-names",
    [EVENT_RENEW] = "renew",
    [EVENT_CREATE] = "create",
    [EVENT_WRITE] = "write",
    [EVENT_DELETE] = "delete",
    [EVENT_RENAME] = "rename",
    [EVENT_SETATTR] = "setattr",
    [EVENT_LINK] = "link",
    [EVENT_DENIED] = "denied",
    [EVENT_GRANT] = "grant",
    [EVENT_REVOKE] = "revoke",
    [EVENT_EPOCH] = "epoch",
    [EVENT_LOGIN] = "login",
    [EVENT_LOGOUT] = "logout",
    [EVENT_MOUNT] = "mount",
    [EVENT_UMOUNT] = "umount",
    [EVENT_EXPORT] = "export",
    [EVENT_BREAK_GLASS] = "break-glass",
    [EVENT_LOG_READ] = "log-read",
    [EVENT_GAP] = "gap",
    [EVENT_PATIENT_ADD] = "patient-add",
    [EVENT_CUTOFF] = "cutoff",
    [EVENT_RECOVERY] = "recovery",
    [EVENT_SUSPEND] = "suspend",
    [EVENT_RESUME] = "resume",
};
static_assert(ARRAY_COUNT(event_names) == EVENT_LAST + 1, "a name for each type");

const char *event_name(enum event_type t)
{
    return (unsigned)t >= EVENT_OPEN && (unsigned)t <= EVENT_LAST ? event_names[t]
                                                                  : "unknown";
}

int event_parse(const char *name, enum event_type *out_type)
{
    for (unsigned i = EVENT_OPEN; i <= EVENT_LAST; i++) {
        if (strcmp(name, event_names[i]) == 0) {
            *out_type = (enum event_type)i;
            return 0;
        }
    }
    return PHR_E_USAGE;
}

static bool is_sound(const struct event *e)
{
    return (unsigned)e->type >= EVENT_OPEN && (unsigned)e->type <= EVENT_LAST &&
           e->outcome <= 0 && e->time_ns < 1000000000 && e->purpose <= PURPOSE_LAST &&
           e->program.n <= PROGRAM_BYTES_MAX && e->reason.n <= REASON_BYTES_MAX;
}

int event_encode(const struct event *e, struct writer *out)
{
    if (!is_sound(e))
        return PHR_E_LIMIT;
    writer_text(out, "PHRFS-E1");
    writer_u8(out, (uint8_t)e->type);
    writer_u32(out, (uint32_t)e->outcome);
    writer_u64(out, e->time_s);
    writer_u32(out, e->time_ns);
    writer_bytes(out, e->host.b, sizeof e->host.b);
    writer_bytes(out, e->user.b, sizeof e->user.b);
    writer_bytes(out, e->card.b, sizeof e->card.b);
    writer_u32(out, e->uid);
    writer_lp(out, e->program);
    writer_bytes(out, e->patient.b, sizeof e->patient.b);
    writer_bytes(out, e->class_id.b, sizeof e->class_id.b);
    writer_bytes(out, e->file.b, sizeof e->file.b);
    writer_bytes(out, e->grant.b, sizeof e->grant.b);
    writer_u16(out, (uint16_t)e->purpose);
    writer_lp(out, e->reason);
    return writer_ok(out) ? 0 : -ENOMEM;
}

int event_decode(struct view bytes, struct event *out_event)
{
    struct reader r = reader_over(bytes);
    struct event e = { 0 };
    uint8_t type;
    uint16_t purpose;

    if (bytes.n > EVENT_BYTES_MAX)
        return PHR_E_FORMAT;
    reader_expect(&r, "PHRFS-E1");
    type = reader_u8(&r);
    e.outcome = (int32_t)reader_u32(&r);
    e.time_s = reader_u64(&r);
    e.time_ns = reader_u32(&r);
    reader_bytes(&r, e.host.b, sizeof e.host.b);
    reader_bytes(&r, e.user.b, sizeof e.user.b);
    reader_bytes(&r, e.card.b, sizeof e.card.b);
    e.uid = reader_u32(&r);
    e.program = reader_lp(&r, PROGRAM_BYTES_MAX);
    reader_bytes(&r, e.patient.b, sizeof e.patient.b);
    reader_bytes(&r, e.class_id.b, sizeof e.class_id.b);
    reader_bytes(&r, e.file.b, sizeof e.file.b);
    reader_bytes(&r, e.grant.b, sizeof e.grant.b);
    purpose = reader_u16(&r);
    e.reason = reader_lp(&r, REASON_BYTES_MAX);
    if (!reader_done(&r) || type < EVENT_OPEN || type > EVENT_LAST ||
        purpose > PURPOSE_LAST)
        return PHR_E_FORMAT;
    e.type = (enum event_type)type;
    e.purpose = (enum purpose)purpose;
    if (!is_sound(&e))
        return PHR_E_FORMAT;
    *out_event = e;
    return 0;
}
