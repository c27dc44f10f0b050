/*
 * The border of phrd: which message, from whom, how long, answered by what. What the SRS
 * answers goes to it as it came (its decoders are the ones that are fuzzed); the rest is
 * decoded here. Nothing in here waits.
 *
 * Who may what. A mount is believed to be one when it runs as root, as [phr] user or as we do:
 * it says which entries it has applied. A tool may be anybody's: what changes something is
 * signed by its author and checked by the SRS, what it can fetch is ciphertext or public.
 * Admin is root or our own user.
 */
#include "sidecar/phrd_rules.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/log.h"
#include "format/limits.h"
#include "ipc/hello.h"
#include "sidecar/phrd.h"
#include "sidecar/storekey.h"

enum {
    M = 1u << IPC_ROLE_MOUNT,
    T = 1u << IPC_ROLE_TOOL,
    SMALL = 64,
    STRANGER_OBJECTS_MAX = 64,                   /* under way, of all strangers together */
    STRANGER_BYTES_MAX = 64 * 1024 * 1024,
    LIST_BYTES_MAX = IPC_PAYLOAD_BYTES_MAX - 1024
};

static const struct view nothing = { NULL, 0 };

static bool is_admin(const struct peer *peer)
{
    return peer->uid == 0 || peer->uid == geteuid();
}

static bool is_trusted(const struct phrd *p, const struct peer *peer)
{
    return is_admin(peer) || peer->uid == p->mount_uid;
}

static void on_hello(void *user, struct request *req, struct view payload)
{
    struct phrd *p = user;
    const struct peer *peer = request_get_peer(req);
    struct hello_reply reply = { .host = p->host, .srs_card = p->srs_card,
                                 .time_s = clock_realtime_s() };
    uint8_t bytes[HELLO_REPLY_BYTES];
    struct hello hello;
    int rc = hello_decode(payload, &hello);

    if (rc == 0 && hello.role == IPC_ROLE_MOUNT && !is_trusted(p, peer)) {
        log_warn("mount_refused", LOG_U64("uid", peer->uid));
        rc = -EPERM;
    }
    if (rc == 0 && hello.role == IPC_ROLE_MOUNT) {
        rc = mounts_join(p->mounts, peer, &hello.host, hello.lease_s);
        if (rc == 0)
            log_info("mount_joined", LOG_ID("host", hello.host.b), LOG_U64("uid", peer->uid));
    }
    if (rc < 0) {
        request_reply(req, rc, nothing);
        return;
    }
    request_set_role(req, hello.role, &hello.host);
    hello_reply_encode(&reply, bytes);
    request_reply(req, 0, view_of(bytes, sizeof bytes));
}

void phrd_rules_on_close(void *user, const struct peer *peer)
{
    struct phrd *p = user;

    if (peer->role != IPC_ROLE_MOUNT)
        return;
    mounts_leave(p->mounts, peer);
    log_info("mount_left", LOG_ID("host", peer->host.b));
}

/* ---- what the SRS answers ---- */

static const struct {
    enum msg_type type;
    enum srs_ask ask;
} asks[] = {
    { MSG_OP_PUSH, SRS_OP_PUSH },
    { MSG_LEDGER_FETCH, SRS_LEDGER_FETCH },
    { MSG_LEDGER_LIST, SRS_LEDGER_LIST },
    { MSG_OPEN, SRS_OPEN },
    { MSG_PROVE, SRS_PROVE },
    { MSG_SPOOL_PUSH, SRS_SPOOL_PUSH },
    { MSG_AUDIT_FETCH, SRS_AUDIT_FETCH },
    { MSG_AUDIT_HEAD, SRS_AUDIT_HEAD },
    { MSG_AUDIT_CONSISTENCY, SRS_AUDIT_CONSISTENCY },
    { MSG_SUSPEND, SRS_SUSPEND },
    { MSG_EVENT, SRS_EVENT },
};

static void on_srs_done(void *user, int status, struct view payload)
{
    request_reply(user, status, payload);
}

static void on_srs(void *user, struct request *req, struct view payload)
{
    struct phrd *p = user;
    const struct peer *peer = request_get_peer(req);
    struct srs_peer asker = { .uid = peer->uid, .is_admin = is_admin(peer) };
    enum msg_type type = request_get_type(req);
    int rc = PHR_E_PROTOCOL;

    for (size_t i = 0; i < ARRAY_COUNT(asks); i++) {
        if (asks[i].type != type)
            continue;
        rc = srs_submit(p->srs, asks[i].ask, &asker, payload, on_srs_done, req);
        break;
    }
    if (rc < 0)
        request_reply(req, rc, nothing);
}

static void on_srs_admin(void *user, struct request *req, struct view payload)
{
    if (is_admin(request_get_peer(req)))
        on_srs(user, req, payload);
    else
        request_reply(req, -EPERM, nothing);
}

/* ---- objects ---- */

/* Reading or writing a stranger's file must not hang one of our threads: no FUSE of his. */
static int check_file(const struct phrd *p, const struct peer *peer, int fd, int access_mode,
                      struct stat *out_st)
{
    struct statfs fs;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, out_st) < 0 || fstatfs(fd, &fs) < 0)
        return -EBADF;
    if (!S_ISREG(out_st->st_mode) || out_st->st_size < 0)
        return -EINVAL;
    if ((flags & O_ACCMODE) != O_RDWR && (flags & O_ACCMODE) != access_mode)
        return -EBADF;
    if (flags & O_APPEND)
        return -EINVAL; /* pwrite would not go where we say */
    if (!is_trusted(p, peer) && (unsigned long)fs.f_type == FUSE_SUPER_MAGIC)
        return -EPERM;
    return 0;
}

/* One object under way. */
struct move {
    struct phrd *p;
    struct request *req;
    bool is_strangers;
    bool is_get;
};

static void move_end(struct move *m, int rc, uint64_t bytes)
{
    uint8_t out[8];
    bool has_answer = m->is_get && rc == 0;

    if (m->is_get && rc == -ENOENT) {
        /* The ledger says it was stored; ENOENT would read as "no such file". */
        log_error("object_not_in_store", LOG_WORD("answer", "refused"));
        rc = PHR_E_STORE_REFUSED;
    }
    put_le64(out, bytes);
    if (m->is_strangers)
        atomic_fetch_sub(&m->p->stranger_objects, 1);
    request_reply(m->req, rc, view_of(out, has_answer ? sizeof out : 0));
    free(m);
}

static void on_moved(void *user, int rc, uint64_t bytes)
{
    move_end(user, rc, bytes);
}

static bool is_wanted(void *user)
{
    return request_is_wanted(((struct move *)user)->req);
}

/* NULL without memory, or when strangers have enough: -EAGAIN. */
static struct move *move_new(struct phrd *p, struct request *req, bool is_get)
{
    struct move *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    *m = (struct move){ .p = p, .req = req, .is_get = is_get,
                        .is_strangers = !is_trusted(p, request_get_peer(req)) };
    if (m->is_strangers && atomic_fetch_add(&p->stranger_objects, 1) >= STRANGER_OBJECTS_MAX) {
        atomic_fetch_sub(&p->stranger_objects, 1);
        free(m);
        return NULL;
    }
    return m;
}

static uint64_t bytes_limit(const struct move *m)
{
    return m->is_strangers ? STRANGER_BYTES_MAX : OBJSTORE_OBJECT_BYTES_MAX;
}

static void on_object_put(void *user, struct request *req, struct view payload)
{
    struct phrd *p = user;
    scoped(close_fd) int fd = request_take_fd(req);
    struct move *m = move_new(p, req, false);
    struct reader r = reader_over(payload);
    struct id16 patient;
    struct digest id;
    uint64_t offset;
    uint64_t bytes;
    uint64_t end = 0;
    struct stat st;
    int rc;

    if (!m) {
        request_reply(req, -EAGAIN, nothing);
        return;
    }
    reader_bytes(&r, patient.b, sizeof patient.b);
    reader_bytes(&r, id.b, sizeof id.b);
    offset = reader_u64(&r);
    bytes = reader_u64(&r);
    rc = reader_done(&r) && fd >= 0 ? check_file(p, request_get_peer(req), fd, O_RDONLY, &st)
                                    : PHR_E_PROTOCOL;
    if (rc == 0 && (bytes > bytes_limit(m) || !checked_add(offset, bytes, &end)))
        rc = PHR_E_LIMIT;
    if (rc == 0 && end > (uint64_t)st.st_size)
        rc = -ENODATA;
    if (rc == 0)
        rc = transport_put_object(p->transport, &patient, &id, give_fd(fd), offset, bytes, on_moved,
                                  m);
    if (rc < 0)
        move_end(m, rc, 0);
}

static void on_object_get(void *user, struct request *req, struct view payload)
{
    struct phrd *p = user;
    scoped(close_fd) int fd = request_take_fd(req);
    struct move *m = move_new(p, req, true);
    struct reader r = reader_over(payload);
    struct id16 patient;
    struct digest id;
    uint64_t bytes_max;
    struct stat st;
    int rc;

    if (!m) {
        request_reply(req, -EAGAIN, nothing);
        return;
    }
    reader_bytes(&r, patient.b, sizeof patient.b);
    reader_bytes(&r, id.b, sizeof id.b);
    bytes_max = reader_u64(&r);
    rc = reader_done(&r) && fd >= 0 ? check_file(p, request_get_peer(req), fd, O_WRONLY, &st)
                                    : PHR_E_PROTOCOL;
    if (rc == 0 && st.st_size != 0)
        rc = -EEXIST;
    if (bytes_max > bytes_limit(m))
        bytes_max = bytes_limit(m);
    if (rc == 0)
        rc = transport_get_object(p->transport, &patient, &id, give_fd(fd), bytes_max, is_wanted,
                                  on_moved, m);
    if (rc < 0)
        move_end(m, rc, 0);
}

/* ---- mounts ---- */

static int read_patient_seq(struct reader *r, struct id16 *out_patient, uint64_t *out_seq)
{
    reader_bytes(r, out_patient->b, sizeof out_patient->b);
    *out_seq = reader_u64(r);
    return reader_ok(r) ? 0 : PHR_E_PROTOCOL;
}

static void on_applied(void *user, struct request *req, struct view payload)
{
    struct phrd *p = user;
    struct reader r = reader_over(payload);
    struct id16 patient;
    uint64_t seq = 0;
    int rc = read_patient_seq(&r, &patient, &seq);

    if (rc == 0 && !reader_done(&r))
        rc = PHR_E_PROTOCOL;
    if (rc == 0)
        rc = mounts_applied(p->mounts, &request_get_peer(req)->host, &patient, seq);
    request_reply(req, rc, nothing);
}

static void on_wait_applied(void *user, struct request *req, struct view payload)
{
    struct phrd *p = user;
    struct reader r = reader_over(payload);
    struct id16 patient;
    uint64_t seq = 0;
    int rc = read_patient_seq(&r, &patient, &seq);
    uint32_t timeout_ms = reader_u32(&r);

    if (rc < 0 || !reader_done(&r)) {
        request_reply(req, PHR_E_PROTOCOL, nothing);
        return;
    }
    mounts_wait(p->mounts, req, &patient, seq, timeout_ms);
    phrd_tell_changed(p, &patient, seq); /* also those that came since, and follow other ledgers */
}

/* ---- operation ---- */

static void on_status(void *user, struct request *req, struct view payload)
{
    scoped(free) char *text = phrd_dup_status(user);

    (void)payload;
    if (text)
        request_reply(req, 0, view_text(text));
    else
        request_reply(req, -ENOMEM, nothing);
}

static void on_store_retry(void *user, struct request *req, struct view payload)
{
    struct phrd *p = user;
    uint8_t out[4];

    (void)payload;
    if (!is_admin(request_get_peer(req))) {
        request_reply(req, -EPERM, nothing);
        return;
    }
    put_le32(out, phrd_retry(p));
    request_reply(req, 0, view_of(out, sizeof out));
}

struct store_list {
    struct request *req;
    struct writer out;
    uint32_t count;
};

static int on_list_key(void *user, const char *key)
{
    struct store_list *l = user;
    struct id16 patient;
    uint64_t seq;

    if (storekey_parse_entry(key, &patient, &seq) < 0)
        return 0; /* an object */
    if (l->out.n + strlen(key) + 4 > LIST_BYTES_MAX)
        return PHR_E_LIMIT; /* ask patient by patient */
    writer_lp(&l->out, view_text(key));
    l->count++;
    return writer_ok(&l->out) ? 0 : -ENOMEM;
}

static void on_list_done(void *user, int rc, uint64_t count)
{
    struct store_list *l = user;

    (void)count;
    if (rc == 0) {
        writer_patch_u32(&l->out, 0, l->count);
        request_reply(l->req, 0, writer_done(&l->out));
    } else {
        request_reply(l->req, rc, nothing);
    }
    writer_fini(&l->out);
    free(l);
}

static void on_store_list(void *user, struct request *req, struct view payload)
{
    static const struct id16 all;
    struct phrd *p = user;
    struct store_list *l = calloc(1, sizeof *l);
    struct reader r = reader_over(payload);
    struct id16 patient;
    char prefix[STOREKEY_BYTES];
    int rc = l ? 0 : -ENOMEM;

    reader_bytes(&r, patient.b, sizeof patient.b);
    if (rc == 0 && !is_admin(request_get_peer(req)))
        rc = -EPERM;
    if (rc == 0 && !reader_done(&r))
        rc = PHR_E_PROTOCOL;
    if (rc == 0) {
        storekey_ledger(memcmp(patient.b, all.b, sizeof all.b) == 0 ? NULL : &patient, prefix);
        l->req = req;
        writer_init(&l->out);
        writer_u32(&l->out, 0);
        rc = transport_list(p->transport, prefix, on_list_key, on_list_done, l);
        if (rc < 0)
            writer_fini(&l->out);
    }
    if (rc < 0) {
        free(l);
        request_reply(req, rc, nothing);
    }
}

const struct rule phrd_rules[] = {
    { MSG_HELLO, 1u << IPC_ROLE_NONE, HELLO_BYTES, 0, false, on_hello },
    { MSG_OP_PUSH, M | T, IPC_PAYLOAD_BYTES_MAX, 0, false, on_srs },
    { MSG_LEDGER_FETCH, M | T, SMALL, 0, false, on_srs },
    { MSG_LEDGER_LIST, M | T, 1 + 2 * (4 + 16 * LEDGER_LIST_IDS_MAX), 0, false, on_srs },
    { MSG_OPEN, M | T, 64 * 1024, 0, false, on_srs },
    { MSG_PROVE, M | T, 128, 0, false, on_srs },
    { MSG_SPOOL_PUSH, M, IPC_PAYLOAD_BYTES_MAX, 0, false, on_srs },
    { MSG_OBJECT_PUT, M | T, SMALL, 1, false, on_object_put },
    { MSG_OBJECT_GET, M | T, SMALL, 1, false, on_object_get },
    { MSG_STATUS, M | T, 0, 0, false, on_status },
    { MSG_APPLIED, M, SMALL, 0, false, on_applied },
    { MSG_WAIT_APPLIED, M | T, SMALL, 0, false, on_wait_applied },
    { MSG_AUDIT_FETCH, M | T, 4096, 0, false, on_srs },
    { MSG_AUDIT_HEAD, M | T, 0, 0, false, on_srs },
    { MSG_AUDIT_CONSISTENCY, M | T, SMALL, 0, false, on_srs },
    { MSG_STORE_RETRY, T, 0, 0, false, on_store_retry },
    { MSG_SUSPEND, M | T, 64 * 1024, 0, false, on_srs },
    { MSG_EVENT, T, EVENT_BYTES_MAX + 4, 0, false, on_srs_admin },
    { MSG_STORE_LIST, T, SMALL, 0, false, on_store_list },
};
const size_t phrd_rule_count = ARRAY_COUNT(phrd_rules);
